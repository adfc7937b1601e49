"""OTLP requests from the official classes, short to write; times in ms."""

import base64
import itertools
import time
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Exemplar,
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
    Summary,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_NUMBERS = itertools.count()


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def fresh(word: str = "metric") -> str:
    """A metric name that no other test uses."""
    return f"{word}_{next(_NUMBERS)}_x"


def attributes(values: Mapping[str, str]) -> list[KeyValue]:
    """String attributes."""
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in values.items()]


def number(value: float | None, at_ms: int | None = None, **labels: str) -> NumberDataPoint:
    """A gauge or sum point that holds a double; None: without a value."""
    point = NumberDataPoint(time_unix_nano=_ns(at_ms), attributes=attributes(labels))
    if value is not None:
        point.as_double = value
    return point


def whole(value: int, at_ms: int | None = None, **labels: str) -> NumberDataPoint:
    """A gauge or sum point that holds an integer."""
    return NumberDataPoint(time_unix_nano=_ns(at_ms), attributes=attributes(labels), as_int=value)


def _ns(at_ms: int | None) -> int:
    return (now_ms() if at_ms is None else at_ms) * 1_000_000


def gauge(name: str, *points: NumberDataPoint, unit: str = "", help_: str = "") -> Metric:
    """A gauge."""
    return Metric(name=name, unit=unit, description=help_, gauge=Gauge(data_points=points))


def counter(name: str, *points: NumberDataPoint, unit: str = "", help_: str = "") -> Metric:
    """A cumulative monotonic sum."""
    data = Sum(data_points=points, aggregation_temporality=CUMULATIVE, is_monotonic=True)
    return Metric(name=name, unit=unit, description=help_, sum=data)


def histogram(name: str, *points: HistogramDataPoint, unit: str = "") -> Metric:
    """A cumulative classic histogram."""
    return Metric(name=name, unit=unit, histogram=Histogram(data_points=points, aggregation_temporality=CUMULATIVE))


def buckets(
    counts: Iterable[int], bounds: Iterable[float], total: float | None, at_ms: int | None = None, **labels: str
) -> HistogramDataPoint:
    """A classic histogram point with the sum `total`."""
    counts = list(counts)
    return HistogramDataPoint(
        time_unix_nano=_ns(at_ms),
        attributes=attributes(labels),
        count=sum(counts),
        sum=total,
        bucket_counts=counts,
        explicit_bounds=bounds,
    )


def exponential(name: str, *points: ExponentialHistogramDataPoint) -> Metric:
    """A cumulative exponential histogram."""
    data = ExponentialHistogram(data_points=points, aggregation_temporality=CUMULATIVE)
    return Metric(name=name, exponential_histogram=data)


def powers(
    positive: Iterable[int], *, zero: int = 0, negative: Iterable[int] = (), total: float | None = 0.0, **labels: str
) -> ExponentialHistogramDataPoint:
    """A point of scale 0: buckets (1, 2], (2, 4], ..."""
    positive, negative = list(positive), list(negative)
    point = ExponentialHistogramDataPoint(
        time_unix_nano=_ns(None),
        attributes=attributes(labels),
        count=sum(positive) + sum(negative) + zero,
        sum=total,
        zero_count=zero,
    )
    point.positive.bucket_counts.extend(positive)
    point.negative.bucket_counts.extend(negative)
    return point


def summary(name: str, quantiles: Mapping[float, float], count: int, total: float, **labels: str) -> Metric:
    """A summary of one point."""
    values = [SummaryDataPoint.ValueAtQuantile(quantile=key, value=value) for key, value in quantiles.items()]
    point = SummaryDataPoint(
        time_unix_nano=_ns(None), attributes=attributes(labels), count=count, sum=total, quantile_values=values
    )
    return Metric(name=name, summary=Summary(data_points=[point]))


def exemplar(value: float, trace: str, at_ms: int | None = None, **labels: str) -> Exemplar:
    """An exemplar with a trace id of 32 hex digits."""
    return Exemplar(
        time_unix_nano=_ns(at_ms),
        as_double=value,
        trace_id=bytes.fromhex(trace),
        span_id=bytes.fromhex(trace[:16]),
        filtered_attributes=attributes(labels),
    )


def metrics(*some: Metric, resource: Mapping[str, str] | None = None) -> ExportMetricsServiceRequest:
    """A request with one resource, by default the service `shop`."""
    who = Resource(attributes=attributes({"service.name": "shop"} if resource is None else resource))
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=who, scope_metrics=[ScopeMetrics(metrics=some)])]
    )


def spans(count: int) -> ExportTraceServiceRequest:
    """A request of some spans."""
    ids = [number.to_bytes(8, "big") for number in range(1, count + 1)]
    some = [Span(trace_id=bytes([1] * 16), span_id=span_id, name="GET") for span_id in ids]
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=some)])])


def records(count: int) -> ExportLogsServiceRequest:
    """A request of some log records."""
    some = [LogRecord(body=AnyValue(string_value=f"line {number}")) for number in range(count)]
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=some)])])


def otlp_json(message: Message) -> bytes:
    """A message as OTLP/JSON: protobuf's JSON, with numbers for enums and hex for ids."""
    return orjson.dumps(_hex_ids(MessageToDict(message, use_integers_for_enums=True)))


def _hex_ids(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _hex(key, value) for key, value in document.items()}
    return [_hex_ids(one) for one in document] if isinstance(document, list) else document


def _hex(key: str, value: Any) -> Any:
    if key in ("traceId", "spanId", "parentSpanId"):
        return base64.b64decode(value).hex()
    return _hex_ids(value)
