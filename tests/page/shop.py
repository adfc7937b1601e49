"""A small shop's telemetry for the page: two services, a failing route, exemplars with their traces."""

import itertools
import time
from collections.abc import Iterable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tests.support.gateways import Running
from tests.support.requests import attributes, buckets, exemplar, histogram, metrics, now_ms, otlp_json

BOUNDS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5)
FAST, SLOW = (50, 30, 10, 2, 0, 0, 0, 0), (0, 0, 1, 2, 5, 9, 3, 0)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_NUMBERS = itertools.count(1)


def send(gateway: Running, path: str, body: bytes) -> int:
    """POST OTLP/JSON at the web port; the status."""
    headers = {"content-type": "application/json"}
    return gateway.http.post(gateway.url("web_port", path), content=body, headers=headers).status_code


def fill(gateway: Running) -> None:
    """Ten minutes of requests, every 15 s; the checkout is slow and fails, as its trace tells."""
    now = now_ms()
    for number, at in enumerate(range(now - 600_000, now + 1, 15_000), 1):
        points = [_point(FAST, number, at, "/products", "200"), _point(SLOW, number, at, "/checkout", "503")]
        for service in ("shop-web", "shop-orders"):
            request = metrics(histogram("http.server.request.duration", *points, unit="s"), resource=_who(service))
            assert send(gateway, "/v1/metrics", otlp_json(request)) == 200
    assert send(gateway, "/v1/traces", otlp_json(trace(now))) == 200
    _wait_for_trace(gateway)


def _who(service: str) -> dict[str, str]:
    return {"service.name": service, "service.version": "1.0.0"}


def _point(counts: Iterable[int], number: int, at: int, route: str, status: str) -> HistogramDataPoint:
    labels = {"http.route": route, "http.response.status_code": status, "http.request.method": "GET"}
    point = buckets([count * number for count in counts], BOUNDS, number * 10.0, at, **labels)
    if status == "503":
        point.exemplars.append(exemplar(1.2, TRACE, at))
    return point


def trace(now: int) -> ExportTraceServiceRequest:
    """The checkout that fails: the web asks the orders, which do not answer in time."""
    spans = {
        "shop-web": [
            _span("a" * 16, "", "GET /checkout", Span.SPAN_KIND_SERVER, now - 3000, 1200),
            _span("b" * 16, "a" * 16, "POST", Span.SPAN_KIND_CLIENT, now - 2950, 1100),
        ],
        "shop-orders": [_span("c" * 16, "b" * 16, "POST /orders", Span.SPAN_KIND_SERVER, now - 2900, 1000)],
    }
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(resource=Resource(attributes=attributes(_who(name))), scope_spans=[ScopeSpans(spans=some)])
            for name, some in spans.items()
        ]
    )


def _span(id_: str, parent: str, name: str, kind: Span.SpanKind.ValueType, start: int, length: int) -> Span:
    return Span(
        trace_id=bytes.fromhex(TRACE),
        span_id=bytes.fromhex(id_),
        parent_span_id=bytes.fromhex(parent),
        name=name,
        kind=kind,
        start_time_unix_nano=start * 1_000_000,
        end_time_unix_nano=(start + length) * 1_000_000,
        attributes=attributes({"http.route": "/checkout"}),
        status=Status(code=Status.STATUS_CODE_ERROR, message="the payment provider does not answer"),
    )


def _wait_for_trace(gateway: Running, patience_s: float = 10.0) -> None:
    until = time.monotonic() + patience_s
    while gateway.get(f"/api/traces/{TRACE}").status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.05)
