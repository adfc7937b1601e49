"""From the bytes that name a series to its slot: resource -> metric -> attributes, each looked up by its bytes."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from mirubato.admission.labels import LabelLimits
from mirubato.errors import ConfigError
from mirubato.limits import ATTRIBUTE_CACHE_ENTRIES_MAX, ATTRIBUTE_CACHE_ENTRY_BYTES, LAYOUTS_IN_ALL_MAX, LAYOUTS_MAX
from mirubato.model.labels import NAME, Family, Labels, MetricType, labels_of
from mirubato.model.samples import Kind
from mirubato.model.seams import PointRefused, SeriesRegistry
from mirubato.otlp.attributes import attribute_text, labels_from
from mirubato.otlp.judge import Judge, check_sizes
from mirubato.otlp.layouts import KnownPoints, Layout
from mirubato.otlp.naming import job_and_instance, label_name, metric_name, prometheus_unit
from mirubato.otlp.wire_points import AttributeKey


def format_bound(bound: float) -> str:
    """A finite bucket bound or quantile as Prometheus' OTLP endpoint writes it: never with an exponent.

    But for -0, which is 0 here: the two are one key in a dictionary, and must be one series.
    """
    return format(Decimal(repr(bound + 0.0)), "f").removesuffix(".0")


class MetricIdentity(NamedTuple):
    """What makes two metrics of one resource different; descriptions do not (metrics/data-model.md, Identity)."""

    name: str
    unit: str
    type: MetricType
    sum: bool = False
    """A sum that may fall is a gauge to Prometheus, but only a true gauge is named `_ratio`."""
    exponential: bool = False

    def translated(self) -> str:
        """The name in Prometheus; PointRefused where it cannot have one."""
        gauge = self.type is MetricType.GAUGE and not self.sum
        try:
            return metric_name(self.name, self.unit, monotonic=self.type is MetricType.COUNTER, gauge=gauge)
        except ValueError as error:
            raise PointRefused("invalid", str(error)) from error


Learn = Callable[[bytes], Layout | None]
"""Makes the layout of a point."""


class Streams:
    """All resources that have been seen; forgets them when the registry's epoch changes or too many gather."""

    def __init__(self, registry: SeriesRegistry, limits: LabelLimits, promoted: Sequence[str]) -> None:
        self.registry = registry
        self.limits = limits
        self.promoted = _promoted_names(promoted)
        self._entries = 0
        self._epoch = registry.epoch
        self._resources: dict[bytes, ResourceStreams] = {}
        self._scopes: set[bytes] = set()
        self._layouts: defaultdict[Learn, list[Layout]] = defaultdict(list)

    def resource(self, encoded: bytes, judge: Judge) -> "ResourceStreams":
        """The resource of these bytes, which come from the request of `judge`."""
        found = self._resources.get(encoded)
        if found is None:
            judge()
            message = Resource.FromString(encoded)
            check_sizes(len(message.attributes), len(encoded))
            found = self._resources[encoded] = ResourceStreams(self, message)
            self.grown(len(encoded))
        return found

    def check_scope(self, encoded: bytes, judge: Judge) -> None:
        """Have the request judged if the scope is new: its content is of no use here, but it must be valid."""
        if encoded not in self._scopes:
            judge()
            self._scopes.add(encoded)
            self.grown(len(encoded))

    def layout_of(self, point: bytes, learn: Learn) -> Layout | None:
        """The layout of a point: nearly always one of the few that `learn` made before."""
        layouts = self._layouts[learn]
        for layout in layouts:
            if layout.fits(point):
                return layout
        learned = learn(point)
        if learned is not None:
            layouts.append(learned)
            del layouts[:-LAYOUTS_IN_ALL_MAX]
        return learned

    def grown(self, nbytes: int) -> None:
        """Count one entry more, with a key of so many bytes."""
        self._entries += 1 + nbytes // ATTRIBUTE_CACHE_ENTRY_BYTES

    def refresh(self) -> bool:
        """Forget everything if slots may have died or the caches are full; call between requests."""
        forget = self._epoch != self.registry.epoch or self._entries > ATTRIBUTE_CACHE_ENTRIES_MAX
        if forget:
            self._epoch = self.registry.epoch
            self._resources.clear()
            self._scopes.clear()
            self._entries = 0
        return forget


def _promoted_names(keys: Sequence[str]) -> dict[str, str]:
    try:
        return {key: label_name(key) for key in keys}
    except ValueError as error:
        raise ConfigError(f"MIRUBATO_PROMOTE_RESOURCE_ATTRIBUTES: {error}") from error


_IDENTIFYING = ("service.namespace", "service.name", "service.instance.id")
"""The resource attributes that become `job` and `instance`."""

_TARGET_INFO = Family("target_info", MetricType.GAUGE, help="Target metadata")


class ResourceStreams:
    """One resource: the labels it gives to every series, its metrics, and its target_info series."""

    def __init__(self, streams: Streams, resource: Resource) -> None:
        self.streams = streams
        self.warning = ""
        """What is wrong with the resource; its points are taken all the same."""
        attributes = self._texts(resource)
        job, instance = job_and_instance(attributes)
        self.identity = {name: value for name, value in (("job", job), ("instance", instance)) if value}
        self.promoted = {name: attributes[key] for key, name in streams.promoted.items() if attributes.get(key)}
        self.info = self._info(resource)
        """Labels of target_info, if the resource has one."""
        self.info_time = -1
        """When it was last written, in ms."""
        self._metrics: dict[MetricIdentity, MetricStreams] = {}

    def _texts(self, resource: Resource) -> dict[str, str]:
        """The attributes that become labels of all series; of a repeated key the first counts."""
        texts: dict[str, str] = {}
        for attribute in resource.attributes:
            if attribute.key in texts or not (attribute.key in _IDENTIFYING or attribute.key in self.streams.promoted):
                continue
            try:
                texts[attribute.key] = attribute_text(attribute.value)
            except ValueError as error:
                self.warning = f"resource attribute {attribute.key!r} left out: {error}"
        return texts

    def _info(self, resource: Resource) -> Labels | None:
        """Prometheus' rule: only where job or instance is known and other attributes are there to tell."""
        others = [attribute for attribute in resource.attributes if attribute.key not in _IDENTIFYING]
        if not self.identity or not others:
            return None
        limits = self.streams.limits
        try:
            limits.check((), len(others))
            labels = dict(labels_from(others)) | self.identity | {NAME: _TARGET_INFO.name}
            limits.check(labels.items(), len(labels))
        except (PointRefused, ValueError) as refused:
            self.warning = f"target_info left out: {refused}"
            return None
        return labels_of(labels.items())

    def info_slot(self) -> int:
        """The slot of target_info, which the resource must have; PointRefused past a limit."""
        assert self.info is not None
        return self.streams.registry.propose(self.info, Kind.FLOAT, _TARGET_INFO)

    def metric(self, identity: "MetricIdentity", help_: str) -> "MetricStreams":
        """The streams of one metric; PointRefused for a name that Prometheus cannot have."""
        found = self._metrics.get(identity)
        if found is None:
            found = self._metrics[identity] = MetricStreams(self, identity, help_)
            self.streams.grown(len(identity.name) + len(identity.unit))
        return found


class MetricStreams:
    """One metric of one resource: attribute bytes -> slot or slots."""

    def __init__(self, resource: ResourceStreams, identity: MetricIdentity, help_: str) -> None:
        self.resource = resource
        self.name = identity.translated()
        help_ = help_[: resource.streams.limits.value_bytes]
        self.family = Family(self.name, identity.type, prometheus_unit(identity.unit), help_)
        self.kind = Kind.HISTOGRAM if identity.exponential else Kind.FLOAT
        self.numbers: dict[AttributeKey, int] = {}
        """Slots of points that are one sample, by attributes."""
        self.groups: dict[tuple[AttributeKey, tuple[float, ...]], tuple[int, ...]] = {}
        """Slots of histograms and summaries, by attributes and bounds or quantiles."""
        self.known: list[KnownPoints] = []
        """What can be read without being parsed: points by layout."""

    def know(self, point: bytes, learn: Learn, slots: tuple[int, ...]) -> None:
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
        key = layout.key(point)
        known.slots[key] = slots
        self.resource.streams.grown(len(key))

    def number(self, key: AttributeKey, attributes: Sequence[bytes]) -> int:
        """The slot of a point that is one sample; PointRefused past a limit."""
        slot = self._propose(self.name, self._labels(attributes))
        self.numbers[key] = slot
        self.resource.streams.grown(len(key[1]))
        return slot

    def histogram(self, key: AttributeKey, attributes: Sequence[bytes], bounds: tuple[float, ...]) -> tuple[int, ...]:
        """Slots of the `le` buckets of `bounds`, of `+Inf`, of `_count` and of `_sum`, in this order."""
        labels = self._labels(attributes, extra=1)
        les = [*map(format_bound, bounds), "+Inf"]
        slots = [self._propose(f"{self.name}_bucket", labels | {"le": le}) for le in les]
        return self._remember((key, bounds), slots, labels)

    def summary(self, key: AttributeKey, attributes: Sequence[bytes], quantiles: tuple[float, ...]) -> tuple[int, ...]:
        """Slots of the quantiles, of `_count` and of `_sum`, in this order."""
        labels = self._labels(attributes, extra=1)
        slots = [self._propose(self.name, labels | {"quantile": format_bound(quantile)}) for quantile in quantiles]
        return self._remember((key, quantiles), slots, labels)

    def _remember(
        self, key: tuple[AttributeKey, tuple[float, ...]], slots: list[int], labels: dict[str, str]
    ) -> tuple[int, ...]:
        slots += [self._propose(f"{self.name}_count", labels), self._propose(f"{self.name}_sum", labels)]
        group = self.groups[key] = tuple(slots)
        self.resource.streams.grown(len(key[0][1]) + 16 * len(slots))
        return group

    def _labels(self, attributes: Sequence[bytes], extra: int = 0) -> dict[str, str]:
        """A point's own labels win over promoted ones, and the identity of the resource over both."""
        limits = self.resource.streams.limits
        limits.check((), len(attributes))  # before a million of them are looked at
        try:
            own = labels_from([KeyValue.FromString(attribute) for attribute in attributes])
        except ValueError as error:
            raise PointRefused("invalid", str(error)) from error
        labels = self.resource.promoted | dict(own) | self.resource.identity
        limits.check([*labels.items(), (NAME, self.name)], len(labels) + 1 + extra)
        return labels

    def _propose(self, name: str, labels: dict[str, str]) -> int:
        named: Labels = labels_of([*labels.items(), (NAME, name)])
        return self.resource.streams.registry.propose(named, self.kind, self.family)
