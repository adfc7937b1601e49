"""From the bytes that name a series to its slot: resource -> metric -> attributes, each looked up by its bytes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from mirubato.limits import ATTRIBUTE_CACHE_ENTRIES_MAX, LAYOUTS_IN_ALL_MAX, LAYOUTS_MAX
from mirubato.model.labels import NAME, Family, Labels, MetricType, labels_of
from mirubato.model.samples import Kind
from mirubato.model.seams import PointRefused, SeriesRegistry
from mirubato.otlp.attributes import attribute_text, labels_from
from mirubato.otlp.judge import Judge
from mirubato.otlp.layouts import KnownPoints, Layout
from mirubato.otlp.naming import job_and_instance, label_name, metric_name, prometheus_unit
from mirubato.otlp.wire_points import AttributeKey


@dataclass(frozen=True, slots=True)
class LabelLimits:
    """Settings that bound one series: labels in number, names and values in bytes."""

    labels: int
    name_bytes: int
    value_bytes: int

    def check(self, labels: Iterable[tuple[str, str]], count: int) -> None:
        """PointRefused, naming the setting, where a bound is passed."""
        if count > self.labels:
            raise PointRefused("label_limit", f"{count} labels, more than MIRUBATO_MAX_LABELS={self.labels}")
        for name, value in labels:
            if len(name.encode()) > self.name_bytes:
                raise PointRefused(
                    "label_limit", f"a label name longer than MIRUBATO_MAX_LABEL_NAME_BYTES={self.name_bytes}"
                )
            if len(value.encode()) > self.value_bytes:
                raise PointRefused(
                    "label_limit", f"a label value longer than MIRUBATO_MAX_LABEL_VALUE_BYTES={self.value_bytes}"
                )


def format_bound(bound: float) -> str:
    """A bucket bound or quantile as Prometheus' OTLP endpoint writes it: never with an exponent."""
    text = format(Decimal(repr(bound)), "f")
    return text.removesuffix(".0") if text != "-0.0" else "-0"


class MetricIdentity(NamedTuple):
    """What makes two metrics of one resource different; descriptions do not (metrics/data-model.md, Identity)."""

    name: str
    unit: str
    type: MetricType
    sum: bool = False
    """A sum that may fall is a gauge to Prometheus, but only a true gauge is named `_ratio`."""
    exponential: bool = False


class Streams:
    """All resources that have been seen; forgets them when the registry's epoch changes or too many gather."""

    def __init__(self, registry: SeriesRegistry, limits: LabelLimits, promoted: Sequence[str]) -> None:
        self.registry = registry
        self.limits = limits
        self.promoted = tuple(promoted)
        self.entries = 0
        self._epoch = registry.epoch
        self._resources: dict[bytes, ResourceStreams] = {}
        self._scopes: set[bytes] = set()
        self._layouts: list[Layout] = []

    def resource(self, encoded: bytes, judge: Judge) -> "ResourceStreams":
        """The resource of these bytes, which come from the request of `judge`."""
        found = self._resources.get(encoded)
        if found is None:
            judge()
            found = self._resources[encoded] = ResourceStreams(self, Resource.FromString(encoded))
            self.entries += 1
        return found

    def check_scope(self, encoded: bytes, judge: Judge) -> None:
        """Have the request judged if the scope is new: its content is of no use here, but it must be valid."""
        if encoded not in self._scopes:
            judge()
            self._scopes.add(encoded)
            self.entries += 1

    def layout_of(self, point: bytes, learn: Callable[[bytes], Layout | None]) -> Layout | None:
        """The layout of a point: nearly always one of the few that were learned before."""
        for layout in self._layouts:
            if layout.fits(point):
                return layout
        learned = learn(point)
        if learned is not None:
            self._layouts.append(learned)
            del self._layouts[:-LAYOUTS_IN_ALL_MAX]
        return learned

    def refresh(self) -> None:
        """Forget everything if slots may have died or the cache is full; call between requests."""
        if self._epoch != self.registry.epoch or self.entries > ATTRIBUTE_CACHE_ENTRIES_MAX:
            self._epoch = self.registry.epoch
            self._resources.clear()
            self._scopes.clear()
            self.entries = 0


class ResourceStreams:
    """One resource: the labels it gives to every series, its metrics, and its target_info series."""

    def __init__(self, streams: Streams, resource: Resource) -> None:
        self.streams = streams
        self.info_time = -1
        self.warning = ""
        attributes = self._texts(resource)
        job, instance = job_and_instance(attributes)
        self.identity = {name: value for name, value in (("job", job), ("instance", instance)) if value}
        self.promoted = {label_name(key): attributes[key] for key in streams.promoted if attributes.get(key)}
        self.info_slot = self._target_info(resource)
        self._metrics: dict[MetricIdentity, MetricStreams] = {}

    def _texts(self, resource: Resource) -> dict[str, str]:
        texts: dict[str, str] = {}
        for attribute in resource.attributes:
            try:
                texts.setdefault(attribute.key, attribute_text(attribute.value))
            except ValueError as error:
                self.warning = f"resource attribute {attribute.key[:100]!r} left out: {error}"
        return texts

    def _target_info(self, resource: Resource) -> int | None:
        """Prometheus' rule: only where job or instance is known and other attributes are there to tell."""
        identifying = ("service.namespace", "service.name", "service.instance.id")
        others = [attribute for attribute in resource.attributes if attribute.key not in identifying]
        if not self.identity or not others:
            return None
        try:
            labels = dict(labels_from(others)) | self.identity | {NAME: "target_info"}
            self.streams.limits.check(labels.items(), len(labels))
            family = Family("target_info", MetricType.GAUGE, help="Target metadata")
            return self.streams.registry.propose(labels_of(labels.items()), Kind.FLOAT, family)
        except (PointRefused, ValueError) as refused:
            self.warning = f"target_info left out: {refused}"
            return None

    def metric(self, identity: "MetricIdentity", help_: str) -> "MetricStreams":
        """The streams of one metric; ValueError for a name that Prometheus cannot have."""
        found = self._metrics.get(identity)
        if found is None:
            found = self._metrics[identity] = MetricStreams(self, identity, help_)
            self.streams.entries += 1
        return found


class MetricStreams:
    """One metric of one resource: attribute bytes -> slot or slots."""

    def __init__(self, resource: ResourceStreams, identity: MetricIdentity, help_: str) -> None:
        self.resource = resource
        self.name = metric_name(
            identity.name,
            identity.unit,
            monotonic=identity.type is MetricType.COUNTER,
            gauge=identity.type is MetricType.GAUGE and not identity.sum,
        )
        self.family = Family(self.name, identity.type, prometheus_unit(identity.unit), help_)
        self.kind = Kind.HISTOGRAM if identity.exponential else Kind.FLOAT
        self.numbers: dict[AttributeKey, int] = {}
        """Slots by attributes: how many, and their bytes joined. The count makes the split unique (`_is_canonical`)."""
        self.groups: dict[tuple[AttributeKey, tuple[float, ...]], tuple[int, ...]] = {}
        self.known: list[KnownPoints] = []
        """What can be read without being parsed: points by layout."""

    def know(self, point: bytes, learn: Callable[[bytes], Layout | None], slots: tuple[int, ...]) -> None:
        """Remember that points like this one belong to these slots."""
        layout = self.resource.streams.layout_of(point, learn)
        if layout is None:
            return
        known = next((known for known in self.known if known.layout is layout), None)
        if known is None:
            if len(self.known) >= LAYOUTS_MAX:
                return
            known = KnownPoints(layout)
            self.known.append(known)
        known.slots[layout.key(point)] = slots
        self.resource.streams.entries += 1

    def number(self, key: AttributeKey, attributes: Sequence[bytes]) -> int:
        """The slot of a point that is one sample; PointRefused past a limit."""
        slot = self._propose(self.name, self._labels(attributes))
        if _is_canonical(attributes):
            self.numbers[key] = slot
            self.resource.streams.entries += 1
        return slot

    def histogram(self, key: AttributeKey, attributes: Sequence[bytes], bounds: tuple[float, ...]) -> tuple[int, ...]:
        """Slots of the `le` buckets of `bounds`, of `+Inf`, of `_count` and of `_sum`, in this order."""
        labels = self._labels(attributes, extra=1)
        les = [*map(format_bound, bounds), "+Inf"]
        slots = [self._propose(f"{self.name}_bucket", labels | {"le": le}) for le in les]
        return self._remember(key, attributes, bounds, slots, labels)

    def summary(self, key: AttributeKey, attributes: Sequence[bytes], quantiles: tuple[float, ...]) -> tuple[int, ...]:
        """Slots of the quantiles, of `_count` and of `_sum`, in this order."""
        labels = self._labels(attributes, extra=1)
        slots = [self._propose(self.name, labels | {"quantile": format_bound(quantile)}) for quantile in quantiles]
        return self._remember(key, attributes, quantiles, slots, labels)

    def _remember(
        self,
        key: AttributeKey,
        attributes: Sequence[bytes],
        bounds: tuple[float, ...],
        slots: list[int],
        labels: dict[str, str],
    ) -> tuple[int, ...]:
        slots += [self._propose(f"{self.name}_count", labels), self._propose(f"{self.name}_sum", labels)]
        group = tuple(slots)
        if _is_canonical(attributes):
            self.groups[key, bounds] = group
            self.resource.streams.entries += 1
        return group

    def _labels(self, attributes: Sequence[bytes], extra: int = 0) -> dict[str, str]:
        """A point's own labels win over promoted ones, and the identity of the resource over both."""
        try:
            own = labels_from([KeyValue.FromString(attribute) for attribute in attributes])
        except ValueError as error:
            raise PointRefused("invalid", str(error)) from error
        labels = self.resource.promoted | dict(own) | self.resource.identity
        self.resource.streams.limits.check([*labels.items(), (NAME, self.name)], len(labels) + 1 + extra)
        return labels

    def _propose(self, name: str, labels: dict[str, str]) -> int:
        named: Labels = labels_of([*labels.items(), (NAME, name)])
        return self.resource.streams.registry.propose(named, self.kind, self.family)


def _is_canonical(attributes: Sequence[bytes]) -> bool:
    """Whether the joined bytes and the count can stand for these attributes.

    Protobuf merges a message's fields wherever they come from, so the bytes of two attributes are also the bytes of
    one attribute that has its key twice. Where each entry is exactly one key (not empty) and one value, as the
    official encoders write them, a count allows only one split; anything else is resolved anew each time.
    """
    for attribute in attributes:
        parsed = KeyValue.FromString(attribute)
        if not parsed.key or not parsed.HasField("value") or parsed.SerializeToString() != attribute:
            return False
    return True
