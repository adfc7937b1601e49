"""What a metrics gateway must hold after some requests, in plain Python.

The official classes, loops and dictionaries; no cache, no columns, no clever reading. A value is kept as its 64 bits,
so that NaNs and -0 count. Names and texts come from `naming` and `attributes`, which have tables of their own.

A histogram is several samples, each of a series with a past of its own; a point shares the fate of its first sample.
"""

import math
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Exemplar,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from mirubato.limits import NATIVE_BUCKETS_MAX, NATIVE_TOTAL_BUCKETS_MAX, TARGET_INFO_INTERVAL_MS
from mirubato.model.labels import STALE_NAN_BITS
from mirubato.otlp.attributes import attribute_text
from mirubato.otlp.naming import label_name, metric_name
from tests.otlp.encoding import parts_of

Labels = tuple[tuple[str, str], ...]
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


def bits(value: float) -> int:
    """A float64 as a number that is the same for the same bits."""
    return int.from_bytes(struct.pack("<d", value), "little")


class RefusedError(Exception):
    """A point is not taken; the argument is the reason's code."""


@dataclass(frozen=True)
class Rules:
    """The settings; milliseconds and bytes."""

    retention: int = 7 * 86_400_000
    future: int = 600_000
    zero_samples: bool = True
    promoted: tuple[str, ...] = ("service.name",)
    labels: int = 64
    name_bytes: int = 512
    value_bytes: int = 4096


@dataclass(frozen=True)
class Native:
    """A native histogram: bucket counts by index."""

    count: float
    sum: str
    """As text, so that NaN equals NaN."""
    zero_count: float
    zero_threshold: float
    schema: int
    positive: Mapping[int, float]
    negative: Mapping[int, float]

    def coarser(self) -> "Native":
        return replace(self, schema=self.schema - 1, positive=_halved(self.positive), negative=_halved(self.negative))

    def at(self, schema: int) -> "Native":
        native = self
        while native.schema > schema:
            native = native.coarser()
        return native

    def plus(self, other: "Native") -> "Native":
        """Of two with the same zero bucket; how zero buckets grow is tested with the histograms themselves."""
        assert self.zero_threshold == other.zero_threshold
        schema = min(self.schema, other.schema)
        left, right = self.at(schema), other.at(schema)
        positive, negative = _both(left.positive, right.positive), _both(left.negative, right.negative)
        if max(_width(positive), _width(negative)) > NATIVE_TOTAL_BUCKETS_MAX:
            return left.coarser().plus(right)
        return Native(
            left.count + right.count,
            repr(float(left.sum) + float(right.sum)),
            left.zero_count + right.zero_count,
            left.zero_threshold,
            schema,
            positive,
            negative,
        )

    def shown(self) -> "Native":
        """Without the buckets that are empty: which of those are kept is nobody's business."""
        return replace(self, positive=_filled(self.positive), negative=_filled(self.negative))


def _halved(buckets: Mapping[int, float]) -> dict[int, float]:
    merged: dict[int, float] = {}
    for index, count in buckets.items():
        merged[index // 2] = merged.get(index // 2, 0.0) + count
    return merged


def _both(left: Mapping[int, float], right: Mapping[int, float]) -> dict[int, float]:
    return {index: left.get(index, 0.0) + right.get(index, 0.0) for index in {**left, **right}}


def _width(buckets: Mapping[int, float]) -> int:
    return max(buckets) - min(buckets) + 1 if buckets else 0


def _filled(buckets: Mapping[int, float]) -> dict[int, float]:
    return {index: count for index, count in sorted(buckets.items()) if count}


@dataclass
class Stream:
    """What came last of one series."""

    time: int | None = None
    start: int = 0
    value: float = 0.0
    native: Native | None = None


@dataclass(frozen=True)
class Sample:
    """One sample before the rules."""

    labels: Labels
    time: int
    start: int
    value: float | Native | None
    """None for a native histogram that ends."""
    counter: bool = False
    delta: bool = False


@dataclass
class Answer:
    """What is said to the sender."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


ExemplarRow = tuple[Labels, int, int, Labels]
"""Series, time in ms, bits of the value, labels."""


@dataclass
class Held:
    """Everything that was taken."""

    samples: dict[Labels, dict[int, int]] = field(default_factory=dict)
    natives: dict[Labels, dict[int, Native | None]] = field(default_factory=dict)
    exemplars: list[ExemplarRow] = field(default_factory=list)


@dataclass
class Sender:
    """What a resource gives to all its series."""

    identity: dict[str, str]
    promoted: dict[str, str]
    info: Labels | None


class Reference:
    """Takes requests one after the other."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.held = Held()
        self._streams: dict[tuple[Labels, bool], Stream] = {}
        self._told: dict[bytes, int] = {}

    def branch(self) -> "Reference":
        """Another one that has seen the same and holds nothing."""
        other = Reference(self.rules)
        other._streams = {key: replace(stream) for key, stream in self._streams.items()}
        other._told = dict(self._told)
        return other

    def take(self, body: bytes, now: int) -> Answer:
        """One request at time `now`; DecodeError if it is none."""
        answer = Answer()
        request = ExportMetricsServiceRequest.FromString(body)
        for one, encoded in zip(request.resource_metrics, parts_of(body, 1), strict=True):
            sender = self._sender(one.resource)
            for scope in one.scope_metrics:
                for metric in scope.metrics:
                    self._take_metric(metric, sender, now, answer)
            self._tell_of(one, b"".join(parts_of(encoded, 1)), sender, now)
        answer.accepted -= answer.rejected.total()
        return answer

    def _take_metric(self, metric: Metric, sender: Sender, now: int, answer: Answer) -> None:
        for point in points_of(metric):
            answer.accepted += 1
            try:
                samples = self._read(metric, point, sender)
                self._take_exemplars(point, samples, now)
                self._admit(samples, now)
            except RefusedError as refused:
                answer.rejected[str(refused)] += 1

    # --- reading -------------------------------------------------------------------------------------------------

    def _sender(self, resource: Resource) -> Sender:
        texts: dict[str, str] = {}
        for attribute in resource.attributes:
            try:
                texts.setdefault(attribute.key, attribute_text(attribute.value))
            except ValueError:
                continue
        identity = {}
        if "service.name" in texts:
            namespace = f"{texts['service.namespace']}/" if "service.namespace" in texts else ""
            identity["job"] = namespace + texts["service.name"]
        identity["instance"] = texts.get("service.instance.id", "")
        identity = {name: text for name, text in identity.items() if text}
        promoted = {label_name(key): texts[key] for key in self.rules.promoted if texts.get(key)}
        return Sender(identity, promoted, self._info(resource, identity))

    def _info(self, resource: Resource, identity: Mapping[str, str]) -> Labels | None:
        """The labels of target_info."""
        known = {"service.name", "service.namespace", "service.instance.id"}
        others = [attribute for attribute in resource.attributes if attribute.key not in known]
        if not others or not identity:
            return None
        try:
            return self._checked({**self._own(others), **identity, "__name__": "target_info"})
        except RefusedError:
            return None

    def _own(self, attributes: Sequence[KeyValue]) -> dict[str, str]:
        if len(attributes) > self.rules.labels:
            raise RefusedError("label_limit")
        labels: dict[str, str] = {}
        try:
            texts = [(attribute.key, attribute_text(attribute.value)) for attribute in attributes]
            for key, text in sorted(texts, key=lambda pair: pair[0]):
                name = label_name(key)
                labels[name] = f"{labels[name]};{text}" if labels.get(name) else text
        except ValueError as error:
            raise RefusedError("invalid") from error
        return {name: text for name, text in labels.items() if text and name != "__name__"}

    def _checked(self, labels: Mapping[str, str], more: int = 0) -> Labels:
        too_long = any(
            len(name.encode()) > self.rules.name_bytes or len(text.encode()) > self.rules.value_bytes
            for name, text in labels.items()
        )
        if too_long or len(labels) + more > self.rules.labels:
            raise RefusedError("label_limit")
        return tuple(sorted(labels.items()))

    def _read(self, metric: Metric, point: Any, sender: Sender) -> list[Sample]:
        """The samples of one point, the first of which decides its fate."""
        name, monotonic, delta = _translated(metric)
        kind = str(metric.WhichOneof("data"))
        parts = _PARTS[kind](point)  # what is wrong with the values comes before what is wrong with the labels
        labels = {**sender.promoted, **self._own(point.attributes), **sender.identity}
        self._checked({**labels, "__name__": name}, more=1 if kind in {"histogram", "summary"} else 0)
        time, start = point.time_unix_nano // 1_000_000, point.start_time_unix_nano // 1_000_000
        samples = []
        for suffix, more, value, rises in parts:
            named = tuple(sorted({**labels, "__name__": name + suffix, **more}.items()))
            if point.flags & 1:
                samples.append(Sample(named, time, 0, None if kind == "exponential_histogram" else _STALE))
            elif value is not None:
                samples.append(Sample(named, time, start, value, counter=monotonic or rises, delta=delta))
        return samples

    # --- the rules -----------------------------------------------------------------------------------------------

    def _admit(self, samples: Sequence[Sample], now: int) -> None:
        first = samples[0]
        if first.time < now - self.rules.retention:
            raise RefusedError("too_old")
        if first.time > now + self.rules.future:
            raise RefusedError("too_far_ahead")
        if first.delta and isinstance(first.value, float) and not _addable(first.value, first.counter):
            raise RefusedError("invalid")
        late = False
        for sample in samples:
            if not self._follow(sample, now):
                late = late or sample is first
        if late:
            raise RefusedError("out_of_order")

    def _follow(self, sample: Sample, now: int) -> bool:
        """Store one sample; False if it is a delta that comes too late."""
        native = not isinstance(sample.value, float)
        past = self._streams.setdefault((sample.labels, native), Stream())
        value = sample.value
        if sample.delta:
            if isinstance(value, float) and not math.isfinite(value):
                return True
            if (sample.time, sample.start) == (past.time, past.start):
                return True
            if past.time is not None and (
                sample.time < past.time or (sample.time == past.time and sample.start < past.time)
            ):
                return False
            value = _total(past, value)
        if self._begins(sample, past, now):
            zero: float | Native = 0.0
            if isinstance(value, Native):
                zero = Native(0.0, "0.0", 0.0, value.zero_threshold, value.schema, {}, {})
            self._store(sample.labels, sample.start, zero)
        self._store(sample.labels, sample.time, value)
        if sample.start or sample.delta:
            past.start = sample.start
        if past.time is None or sample.time >= past.time:
            past.time = sample.time
            if isinstance(value, float) and bits(value) != STALE_NAN_BITS:
                past.value = value
            if isinstance(value, Native):
                past.native = value
        return True

    def _begins(self, sample: Sample, past: Stream, now: int) -> bool:
        return (
            self.rules.zero_samples
            and sample.counter
            and 0 < sample.start < sample.time
            and sample.start != past.start
            and sample.start >= now - self.rules.retention
            and (past.time is None or (sample.start > past.time and not sample.delta))
        )

    def _store(self, labels: Labels, time: int, value: float | Native | None) -> None:
        if isinstance(value, float):
            self.held.samples.setdefault(labels, {})[time] = bits(value)
        else:
            self.held.natives.setdefault(labels, {})[time] = value.shown() if value is not None else None

    def _tell_of(self, one: ResourceMetrics, key: bytes, sender: Sender, now: int) -> None:
        """target_info: at the first point's time, once in a while; resources are told apart by their bytes."""
        firsts = [
            point.time_unix_nano // 1_000_000
            for scope in one.scope_metrics
            for metric in scope.metrics
            for point in points_of(metric)[:1]
            if point.time_unix_nano
        ]
        time = firsts[0] if firsts else 0
        if sender.info is None or not time or abs(time - self._told.get(key, -1)) < TARGET_INFO_INTERVAL_MS:
            return
        self._told[key] = time
        if now - self.rules.retention <= time <= now + self.rules.future:
            self._follow(Sample(sender.info, time, 0, 1.0), now)

    def _take_exemplars(self, point: Any, samples: Sequence[Sample], now: int) -> None:
        for exemplar in getattr(point, "exemplars", ()):
            time = exemplar.time_unix_nano // 1_000_000
            if not now - self.rules.retention <= time <= now + self.rules.future:
                continue
            value = float(getattr(exemplar, exemplar.WhichOneof("value") or "as_double"))
            bounds = getattr(point, "explicit_bounds", ())
            series = samples[sum(value > bound for bound in bounds)].labels
            self.held.exemplars.append((series, time, bits(value), self._exemplar_labels(exemplar)))

    def _exemplar_labels(self, exemplar: Exemplar) -> Labels:
        try:
            labels = dict(self._checked(self._own(exemplar.filtered_attributes)))
        except RefusedError:
            labels = {}
        if len(exemplar.trace_id) == 16 and exemplar.trace_id != bytes(16):
            labels["trace_id"] = exemplar.trace_id.hex()
        if len(exemplar.span_id) == 8 and exemplar.span_id != bytes(8):
            labels["span_id"] = exemplar.span_id.hex()
        return tuple(sorted(labels.items()))


def _translated(metric: Metric) -> tuple[str, bool, bool]:
    """The name in Prometheus, whether the metric counts up, whether it comes as differences."""
    kind = str(metric.WhichOneof("data"))
    data = getattr(metric, kind)
    temporality = getattr(data, "aggregation_temporality", CUMULATIVE)
    if temporality not in {CUMULATIVE, DELTA}:
        raise RefusedError("invalid")
    counter = kind == "sum" and data.is_monotonic
    try:
        name = metric_name(metric.name, metric.unit, monotonic=counter, gauge=kind == "gauge")
    except ValueError as error:
        raise RefusedError("invalid") from error
    return name, counter or kind in {"histogram", "exponential_histogram"}, temporality == DELTA


def points_of(metric: Metric) -> Sequence[Any]:
    """The data points, of whatever kind."""
    kind = metric.WhichOneof("data")
    return () if kind is None else list(getattr(metric, kind).data_points)


def _addable(value: float, counter: bool) -> bool:
    return math.isfinite(value) and not (counter and value < 0)


def _total(past: Stream, value: float | Native | None) -> float | Native | None:
    if isinstance(value, Native):
        return value if past.native is None else past.native.plus(value)
    return value if value is None else past.value + value


_STALE: float = struct.unpack("<d", STALE_NAN_BITS.to_bytes(8, "little"))[0]

Part = tuple[str, dict[str, str], float | Native | None, bool]
"""What a point is for one series: suffix of the name, label beside the point's own, value, whether it counts up."""


def _number(point: NumberDataPoint) -> list[Part]:
    which = point.WhichOneof("value")
    if which is None and not point.flags & 1:
        raise RefusedError("invalid")
    return [("", {}, float(getattr(point, which or "as_double")), False)]


def _histogram(point: HistogramDataPoint) -> list[Part]:
    bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
    if not point.flags & 1 and len(counts) != len(bounds) + 1 and not (counts == bounds == []):
        raise RefusedError("invalid")
    if any(not math.isfinite(bound) for bound in bounds) or bounds != sorted(set(bounds)):
        raise RefusedError("invalid")
    parts: list[Part] = []
    for index, bound in enumerate(bounds):
        below = float(sum(counts[: index + 1]) % 2**64)
        parts.append(("_bucket", {"le": shown(bound)}, below, True))
    parts.append(("_bucket", {"le": "+Inf"}, float(point.count), True))
    parts.append(("_count", {}, float(point.count), True))
    parts.append(("_sum", {}, point.sum if point.HasField("sum") else None, True))
    return parts


def _summary(point: SummaryDataPoint) -> list[Part]:
    if any(not math.isfinite(entry.quantile) for entry in point.quantile_values):
        raise RefusedError("invalid")
    parts: list[Part] = [
        ("", {"quantile": shown(entry.quantile)}, entry.value, False) for entry in point.quantile_values
    ]
    return [*parts, ("_count", {}, float(point.count), True), ("_sum", {}, point.sum, True)]


def _exponential(point: ExponentialHistogramDataPoint) -> list[Part]:
    if point.flags & 1:
        return [("", {}, None, False)]
    if point.scale < -4:
        raise RefusedError("invalid")
    schema = min(point.scale, 8)
    positive, negative = (_side(side, point.scale, schema) for side in (point.positive, point.negative))
    total = repr(point.sum) if point.HasField("sum") else "nan"
    zeros, threshold = float(point.zero_count), point.zero_threshold or 1e-128
    return [("", {}, Native(float(point.count), total, zeros, threshold, schema, positive, negative), True)]


def _side(buckets: ExponentialHistogramDataPoint.Buckets, scale: int, schema: int) -> dict[int, float]:
    if len(buckets.bucket_counts) > NATIVE_BUCKETS_MAX:
        raise RefusedError("invalid")
    coarse: dict[int, float] = {}
    for index, count in enumerate(buckets.bucket_counts, buckets.offset):
        merged = index >> (scale - schema)
        coarse[merged] = coarse.get(merged, 0.0) + float(count)
    for index in coarse:
        if index + 1 < -1074 * Fraction(2) ** schema or index >= 1024 * Fraction(2) ** schema:
            raise RefusedError("invalid")
    return coarse


def shown(bound: float) -> str:
    """A bound in digits, without an exponent."""
    text = f"{Decimal(repr(bound)):f}".removesuffix(".0")
    return "0" if text == "-0" else text


_PARTS: dict[str, Callable[[Any], list[Part]]] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "summary": _summary,
    "exponential_histogram": _exponential,
}
