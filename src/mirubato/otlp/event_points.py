"""Event points -> what to keep, and of our exporter's an OTLP metrics request. Pure.

A point says how many it stands for (`sample_interval`): counts and sums are that many times as large.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from mirubato.analytics_engine.dialect import check_dataset
from mirubato.analytics_engine.event_points import EventPoint, Limits, problem
from mirubato.analytics_engine.http_writer import DEFAULT_DATASET
from mirubato.analytics_engine.layout import Layout
from mirubato.analytics_engine.reading import Reading, is_metric, joined, read
from mirubato.errors import BadQuery, BadRequest, TooLarge

_NS_PER_MS = 1_000_000
_DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_FIELDS = frozenset(("timestamp_ms", "index", "blobs", "doubles", "sample_interval"))

Buckets = ExponentialHistogramDataPoint.Buckets


@dataclass(slots=True)
class Taken:
    """The good points of a request, the metrics among them, and for the rest its place and why not."""

    dataset: str
    points: list[EventPoint] = field(default_factory=list)
    """All that Analytics Engine would take."""
    readings: list[Reading] = field(default_factory=list)
    """Those that the layout's exporter wrote. The others are events of `track`, or somebody's own columns."""
    rejected: list[tuple[int, str]] = field(default_factory=list)

    def request(self) -> bytes:
        """The readings as an OTLP metrics request."""
        return ExportMetricsServiceRequest(resource_metrics=_resources(joined(self.readings))).SerializeToString()


def take(body: bytes, layout: Layout, limits: Limits) -> Taken:
    """`{"dataset", "points": [...]}`, read; BadRequest for what is no such object, TooLarge for too many points."""
    dataset, points = _document(body, limits)
    taken = Taken(dataset)
    for position, given in enumerate(points):
        try:
            _take(_point(given), layout, limits, taken)
        except BadRequest as error:
            taken.rejected.append((position, str(error)))
    return taken


def _take(point: EventPoint, layout: Layout, limits: Limits, taken: Taken) -> None:
    wrong = problem(point, limits)
    if wrong is not None:
        raise BadRequest(wrong)
    if is_metric(point, layout):
        taken.readings.append(_weighted(read(point, layout), point.sample_interval))
    taken.points.append(point)


def _document(body: bytes, limits: Limits) -> tuple[str, list[Any]]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("points"), list):
        raise BadRequest('the body is an object with "dataset" and a list of "points"')
    points: list[Any] = document["points"]
    if len(points) > limits.points_per_invocation:
        raise TooLarge(f"{len(points)} points; one request has at most {limits.points_per_invocation}")
    try:
        return check_dataset(document.get("dataset", DEFAULT_DATASET)), points
    except (BadQuery, TypeError) as error:
        raise BadRequest(f"dataset: {error}") from error


def _point(given: Any) -> EventPoint:
    if not isinstance(given, dict):
        raise BadRequest("a point is an object")
    if unknown := given.keys() - _FIELDS:
        raise BadRequest(f"a point has no field {min(unknown)[:40]!r}")
    time, index, interval = given.get("timestamp_ms", 0), given.get("index", ""), given.get("sample_interval", 1)
    blobs, doubles = given.get("blobs", []), given.get("doubles", [])
    if not isinstance(time, int) or not isinstance(index, str):
        raise BadRequest("timestamp_ms is a whole number of ms, index a text")
    if not isinstance(interval, int) or not 1 <= interval < 1 << 31:
        raise BadRequest("sample_interval is a whole number from 1 on")
    if not isinstance(blobs, list) or not all(blob is None or isinstance(blob, str) for blob in blobs):
        raise BadRequest("blobs is a list of texts")
    if not isinstance(doubles, list) or not all(_is_number(one) for one in doubles):
        raise BadRequest("doubles is a list of numbers")
    return EventPoint(time, index, tuple(blobs), tuple(map(float, doubles)), interval)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _weighted(reading: Reading, interval: int) -> Reading:
    """What adds up, times the number of points that this one stands for."""
    if interval == 1 or reading.kind in ("gauge", "updown"):
        return reading
    return replace(
        reading,
        value=reading.value * interval,
        count=reading.count * interval,
        total=reading.total * interval,
        zero_count=reading.zero_count * interval,
        buckets={bound: count * interval for bound, count in reading.buckets.items()},
    )


def _resources(readings: Iterable[Reading]) -> list[ResourceMetrics]:
    """One for each resource and scope; a metric for each reading."""
    found: dict[tuple[Any, ...], ScopeMetrics] = {}
    resources = []
    for reading in readings:
        key = (tuple(sorted(reading.resource.items())), reading.scope)
        if key not in found:
            name, version = [*reading.scope, "", ""][:2]
            found[key] = ScopeMetrics(scope=InstrumentationScope(name=name, version=version))
            resources.append((reading.resource, found[key]))
        found[key].metrics.append(_metric(reading))
    return [
        ResourceMetrics(resource=Resource(attributes=_attributes(resource)), scope_metrics=[scope])
        for resource, scope in resources
    ]


def _attributes(attributes: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in attributes.items()]


def _metric(reading: Reading) -> Metric:
    metric = Metric(name=reading.metric, unit=reading.unit)
    times: dict[str, Any] = {
        "attributes": _attributes(reading.attributes),
        "time_unix_nano": reading.time_ms * _NS_PER_MS,
        "start_time_unix_nano": reading.start_ms * _NS_PER_MS,
    }
    match reading.kind:
        case "histogram":
            data = Histogram(aggregation_temporality=_DELTA, data_points=[_histogram(reading, times)])
            metric.histogram.CopyFrom(data)
        case "exponential":
            point = _exponential(reading, times)
            exponential = ExponentialHistogram(aggregation_temporality=_DELTA, data_points=[point])
            metric.exponential_histogram.CopyFrom(exponential)
        case "gauge":
            metric.gauge.CopyFrom(Gauge(data_points=[NumberDataPoint(as_double=reading.value, **times)]))
        case kind:
            counts = kind == "counter"
            number = NumberDataPoint(as_double=reading.value, **times)
            temporality = _DELTA if counts else _CUMULATIVE
            total = Sum(aggregation_temporality=temporality, is_monotonic=counts, data_points=[number])
            metric.sum.CopyFrom(total)
    return metric


def _histogram(reading: Reading, times: dict[str, Any]) -> HistogramDataPoint:
    bounds = sorted(bound for bound in reading.buckets if isinstance(bound, float))
    counts = [round(reading.buckets[bound]) for bound in bounds]
    count = round(reading.count)
    return HistogramDataPoint(
        count=count,
        sum=reading.total,
        explicit_bounds=bounds,
        bucket_counts=[*counts, max(count - sum(counts), 0)],
        **times,
    )


def _exponential(reading: Reading, times: dict[str, Any]) -> ExponentialHistogramDataPoint:
    return ExponentialHistogramDataPoint(
        count=round(reading.count),
        sum=reading.total,
        scale=reading.scale,
        zero_count=round(reading.zero_count),
        positive=_side(reading, "p"),
        negative=_side(reading, "n"),
        **times,
    )


def _side(reading: Reading, side: str) -> Buckets:
    places = {key: count for key, count in reading.buckets.items() if isinstance(key, tuple)}
    counts = {index: round(count) for (sign, index), count in places.items() if sign == side}
    if not counts:
        return Buckets()
    low, high = min(counts), max(counts)
    if high - low > math.ldexp(1, 16):
        raise BadRequest("event point: its buckets are too far apart")
    return Buckets(offset=low, bucket_counts=[counts.get(index, 0) for index in range(low, high + 1)])
