"""Requests made by hand, with everything in them that a shape may have."""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, ResourceMetrics, ScopeMetrics
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

NOW = 1_700_000_000_000
"""The gateway's clock, ms."""
NS = 1_000_000
START = NOW - 600_000
DELTA, CUMULATIVE = 1, 2

Attributes = Mapping[str, str]
SHOP = {"service.name": "shop", "service.instance.id": "1", "host.name": "h"}


def pairs(attributes: Attributes) -> list[KeyValue]:
    """Text attributes."""
    return [KeyValue(key=key, value=AnyValue(string_value=text)) for key, text in attributes.items()]


def point(
    attributes: Attributes | None = None, *, time: int = NOW, start: int = START, **values: Any
) -> dict[str, Any]:
    """The fields of a data point of any kind; times in ms."""
    times = {"time_unix_nano": time * NS, "start_time_unix_nano": start * NS}
    return {"attributes": pairs(attributes or {}), **times, **values}


def gauge(name: str, *points: dict[str, Any], unit: str = "") -> Metric:
    """A gauge."""
    return Metric(name=name, unit=unit, gauge={"data_points": points})  # type: ignore[arg-type]


def counter(name: str, *points: dict[str, Any], temporality: int = CUMULATIVE, monotonic: bool = True) -> Metric:
    """A sum."""
    data: Any = {"data_points": points, "aggregation_temporality": temporality, "is_monotonic": monotonic}
    return Metric(name=name, sum=data)


def histogram(name: str, *points: dict[str, Any], temporality: int = CUMULATIVE) -> Metric:
    """A classic histogram."""
    data: Any = {"data_points": points, "aggregation_temporality": temporality}
    return Metric(name=name, histogram=data)


def exponential(name: str, *points: dict[str, Any], temporality: int = CUMULATIVE) -> Metric:
    """An exponential histogram."""
    data: Any = {"data_points": points, "aggregation_temporality": temporality}
    return Metric(name=name, exponential_histogram=data)


def summary(name: str, *points: dict[str, Any]) -> Metric:
    """A summary."""
    data: Any = {"data_points": points}
    return Metric(name=name, summary=data)


def entry(*metrics: Metric, resource: Attributes | None = None, scope: str = "") -> ResourceMetrics:
    """The metrics of one resource."""
    scoped = ScopeMetrics(scope=InstrumentationScope(name=scope) if scope else None, metrics=metrics)
    attributes = Resource(attributes=pairs(SHOP if resource is None else resource))
    return ResourceMetrics(resource=attributes, scope_metrics=[scoped])


def request(*entries: ResourceMetrics | Metric, resource: Attributes | None = None) -> bytes:
    """A request of resources, or of one resource's metrics."""
    made = [one if isinstance(one, ResourceMetrics) else entry(one, resource=resource) for one in entries]
    return ExportMetricsServiceRequest(resource_metrics=made).SerializeToString()


def decoded(body: bytes) -> ExportMetricsServiceRequest:
    """A request as the official class reads it."""
    return ExportMetricsServiceRequest.FromString(body)


def labelled(name: str, attributes: Attributes | None = None, **more: str) -> tuple[tuple[str, str], ...]:
    """The labels of a series of the shop."""
    own = {"job": "shop", "instance": "1", "service_name": "shop", **(attributes or {}), **more}
    return tuple(sorted({"__name__": name, **own}.items()))


def everything(turn: int) -> Sequence[ResourceMetrics]:
    """Two resources with all that has a shape, as of export number `turn`."""
    time = NOW - 50_000 + 10_000 * turn
    common: dict[str, Any] = {"time": time, "start": START}
    step: dict[str, Any] = {"time": time, "start": time - 10_000}
    buckets: dict[str, Any] = {"bucket_counts": [1, turn, 3], "explicit_bounds": [0.5, 2.0], "count": 4 + turn}
    quantiles = [{"quantile": 0.5, "value": 1.0 + turn}, {"quantile": 0.99, "value": 2.5}]
    shop = entry(
        gauge("queue.size", point({"q": "a"}, as_int=-turn, **common), point({"q": "b"}, as_double=0.5, **common)),
        counter("requests", point({"http.route": "/"}, as_int=100 + turn, **common)),
        histogram("time", point(**buckets, sum=1.5, min=0.1, max=9.0, **common)),
        summary("latency", point(count=3 + turn, sum=2.5, quantile_values=quantiles, **common)),
        scope="app",
    )
    worker = entry(
        counter("jobs", point({"k": "v"}, as_int=turn, **step), temporality=DELTA),
        histogram("work", point({"k": "v"}, **buckets, sum=0.25 * turn, **step), temporality=DELTA),
        counter("open", point(as_double=-1.0, **step), temporality=DELTA, monotonic=False),
        resource={"service.name": "worker", "service.namespace": "eu"},
    )
    return shop, worker
