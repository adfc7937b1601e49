"""The OpenTelemetry SDK's own exporters against the gateway: what an app measures is what is read back."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import (
    AlwaysOnExemplarFilter,
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from prometheus_client.openmetrics import parser as openmetrics

from mirubato.otlp.signals import Signal
from tests.support.gateways import Running
from tests.support.requests import fresh

DELTA = AggregationTemporality.DELTA
TEMPORALITIES: Mapping[str, dict[type, AggregationTemporality]] = {
    "cumulative": {},
    "delta": {Counter: DELTA, Histogram: DELTA, ObservableCounter: DELTA, UpDownCounter: DELTA},
}
Protocol = Literal["grpc", "http"]
both_protocols = pytest.mark.parametrize("protocol", ["grpc", "http"])
both_temporalities = pytest.mark.parametrize("temporality", list(TEMPORALITIES))


def metric_exporter(gateway: Running, protocol: Protocol, temporality: str = "cumulative") -> MetricExporter:
    preferred = TEMPORALITIES[temporality]
    if protocol == "grpc":
        endpoint = f"127.0.0.1:{gateway.gateway.ports['grpc_port']}"
        return GrpcMetrics(endpoint, insecure=True, preferred_temporality=preferred)
    url = gateway.url("otlp_http_port", "/v1/metrics")
    return HttpMetrics(url, compression=Compression.Gzip, preferred_temporality=preferred)


def watched(exporter: Any) -> list[Any]:
    """The results of an exporter, as they come."""
    results: list[Any] = []
    export = exporter.export

    def keep(*arguments: Any, **more: Any) -> Any:
        results.append(export(*arguments, **more))
        return results[-1]

    exporter.export = keep
    return results


@contextmanager
def measuring(exporter: MetricExporter, service: str, **more: Any) -> Iterator[tuple[Meter, Callable[[], None]]]:
    """A meter, and a function that exports what it has; every export must succeed."""
    results = watched(exporter)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], Resource({"service.name": service, "service.instance.id": "one"}), **more)

    def export() -> None:
        provider.force_flush()

    try:
        yield provider.get_meter("test"), export
    finally:
        provider.shutdown()
    assert set(results) == {MetricExportResult.SUCCESS}


@both_protocols
@both_temporalities
def test_every_instrument(gateway: Running, protocol: Protocol, temporality: str) -> None:
    service = fresh("service")
    exporter = metric_exporter(gateway, protocol, temporality)
    with measuring(exporter, service) as (meter, export):
        requests = meter.create_counter("requests", "1", "What was asked")
        active = meter.create_up_down_counter("active", "{request}")
        duration = meter.create_histogram("duration", "s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
        warmth = meter.create_gauge("warmth", "Cel")
        meter.create_observable_counter("seen", [lambda _: [Observation(42, {"zone": "a"})]], "By")
        meter.create_observable_gauge("share", [half], "1")
        meter.create_observable_up_down_counter("stock", [lambda _: [Observation(-7)]])
        for round_ in range(3):
            requests.add(2, {"route": "/a"})
            requests.add(1.5, {"route": "/b"})
            active.add(3)
            active.add(-2)
            duration.record(0.05 * (round_ + 1), {"route": "/a"})
            duration.record(5.0, {"route": "/a"})
            warmth.set(20.5 + round_)
            export()
    one = f'{{job="{service}"}}'
    assert gateway.value(f'requests_total{{job="{service}",route="/a"}}') == "6"
    assert gateway.value(f'requests_total{{job="{service}",route="/b"}}') == "4.5"
    assert gateway.value(f"active{one}") == "3"
    assert gateway.value(f"warmth_celsius{one}") == "22.5"
    assert gateway.value(f"seen_bytes_total{one}") == "42"
    assert gateway.value(f"share_ratio{one}") == "0.5"
    assert gateway.value(f"stock{one}") == "-7"
    by_bound = {
        found["metric"]["le"]: found["value"][1]
        for found in gateway.api("query", query=f"duration_seconds_bucket{one}")["result"]
    }
    assert by_bound == {"0.1": "2", "1": "3", "+Inf": "6"}
    assert gateway.value(f"duration_seconds_count{one}") == "6"
    assert float(gateway.value(f"duration_seconds_sum{one}")) == pytest.approx(15.3)


def half(_: CallbackOptions) -> list[Observation]:
    return [Observation(0.5)]


@both_protocols
@both_temporalities
def test_exponential_histograms(gateway: Running, protocol: Protocol, temporality: str) -> None:
    """Whatever the scale that the SDK chooses, the counts and the sum are those of what was recorded."""
    service = fresh("service")
    views = [View(instrument_name="*", aggregation=ExponentialBucketHistogramAggregation(max_size=20))]
    exporter = metric_exporter(gateway, protocol, temporality)
    with measuring(exporter, service, views=views) as (meter, export):
        size = meter.create_histogram("size", "By")
        for values in ((1.0, 2.0, 3.0, 1000.0), (0.0, 0.001, 5.0)):
            for value in values:
                size.record(value)
            export()
    (found,) = gateway.api("query", query=f'size_bytes{{job="{service}"}}')["result"]
    histogram = found["histogram"][1]
    assert histogram["count"] == "7"
    assert float(histogram["sum"]) == pytest.approx(1011.001)
    buckets = [(float(low), float(high), float(count)) for _, low, high, count in histogram["buckets"]]
    assert sum(count for *_, count in buckets) == 7
    for value in (0.001, 1.0, 2.0, 3.0, 5.0, 1000.0):
        assert any(low < value <= high and count for low, high, count in buckets), value
    (in_text,) = families(gateway, f'size_bytes{{job="{service}"}}')
    assert in_text.type == "histogram"
    assert [sample.value for sample in in_text.samples if sample.labels.get("le") == "+Inf"] == [7.0]


@both_protocols
def test_exemplars_of_sampled_spans(gateway: Running, protocol: Protocol) -> None:
    service = fresh("service")
    tracer = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False).get_tracer("test")
    exporter = metric_exporter(gateway, protocol)
    with measuring(exporter, service, exemplar_filter=AlwaysOnExemplarFilter()) as (meter, export):
        requests = meter.create_counter("requests")
        duration = meter.create_histogram("duration", "s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
        with tracer.start_as_current_span("GET") as span:
            requests.add(2, {"route": "/a"})
            duration.record(0.5)
        export()
    context = span.get_span_context()
    expected = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    shown = {
        (sample.name, sample.labels.get("le")): (sample.exemplar.labels, sample.exemplar.value)
        for selector in (f'requests_total{{job="{service}"}}', f'duration_seconds_bucket{{job="{service}"}}')
        for family in families(gateway, selector)
        for sample in family.samples
        if sample.exemplar
    }
    assert shown == {
        ("requests_total", None): (expected, 2.0),
        ("duration_seconds_bucket", "1.0"): (expected, 0.5),
    }


def families(gateway: Running, selector: str) -> list[Any]:
    reply = gateway.get("/api/prometheus", {"accept": "application/openmetrics-text"}, **{"match[]": selector})
    parse: Callable[[str], Iterator[Any]] = openmetrics.text_string_to_metric_families
    return list(parse(reply.text))


@both_protocols
def test_who_sent_it(gateway: Running, protocol: Protocol) -> None:
    service = fresh("service")
    exporter = metric_exporter(gateway, protocol)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    attributes = {"service.name": service, "service.namespace": "shop", "service.instance.id": "i", "host.name": "h"}
    provider = MeterProvider([reader], Resource(attributes))
    provider.get_meter("test").create_counter("requests").add(1)
    provider.shutdown()
    (found,) = gateway.api("series", **{"match[]": f'requests_total{{job="shop/{service}"}}'})
    assert found == {
        "__name__": "requests_total",
        "job": f"shop/{service}",
        "instance": "i",
        "service_name": service,
    }
    (info,) = gateway.api("series", **{"match[]": f'target_info{{job="shop/{service}"}}'})
    assert info == {"__name__": "target_info", "job": f"shop/{service}", "instance": "i", "host_name": "h"}


@both_protocols
def test_traces(gateway: Running, protocol: Protocol) -> None:
    port = gateway.gateway.ports["grpc_port"]
    exporter = (
        GrpcSpans(f"127.0.0.1:{port}", insecure=True)
        if protocol == "grpc"
        else HttpSpans(gateway.url("web_port", "/v1/traces"), compression=Compression.Gzip)
    )
    results = watched(exporter)
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    before = gateway.gateway.handler.counts.accepted[Signal.TRACES]
    for _ in range(3):
        with provider.get_tracer("test").start_as_current_span("GET") as span:
            span.set_attribute("http.route", "/a")
    provider.shutdown()
    assert results == [SpanExportResult.SUCCESS] * 3
    assert gateway.gateway.handler.counts.accepted[Signal.TRACES] - before == 3


@both_protocols
def test_logs(gateway: Running, protocol: Protocol) -> None:
    port = gateway.gateway.ports["grpc_port"]
    exporter = (
        GrpcLogs(f"127.0.0.1:{port}", insecure=True)
        if protocol == "grpc"
        else HttpLogs(gateway.url("otlp_http_port", "/v1/logs"))
    )
    results = watched(exporter)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    before = gateway.gateway.handler.counts.accepted[Signal.LOGS]
    for line in ("one", "two"):
        provider.get_logger("test").emit(LogRecord(body=line, severity_number=SeverityNumber.WARN))
    provider.shutdown()
    assert results == [LogRecordExportResult.SUCCESS] * 2
    assert gateway.gateway.handler.counts.accepted[Signal.LOGS] - before == 2
