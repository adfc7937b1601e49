"""A real app with our sampler exports over OTLP to a gateway: what it did is what the gateway counts."""

import random
from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mirubato.alerts.intervals import Sampled, interval_of
from mirubato.sdk.keeping import KeepingSpanProcessor
from mirubato.sdk.sampler import sampler_from_argument
from tests.support.gateways import Running, running
from tests.support.requests import fresh

REQUESTS, FAILED_SHARE, RATE = 3000, 0.05, 0.2


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("app")) as one:
        yield one


def exporter(gateway: Running, protocol: str) -> SpanExporter:
    if protocol == "grpc":
        return GrpcExporter(endpoint=f"http://127.0.0.1:{gateway.gateway.ports['grpc_port']}", insecure=True)
    return HttpExporter(endpoint=gateway.url("otlp_http_port", "/v1/traces"))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_sampled_app(gateway: Running, protocol: str) -> None:
    service, rng = fresh(), random.Random(3)
    provider = TracerProvider(
        sampler=sampler_from_argument(str(RATE)), resource=Resource.create({"service.name": service})
    )
    inner = BatchSpanProcessor(exporter(gateway, protocol), max_queue_size=20_000)
    provider.add_span_processor(KeepingSpanProcessor(inner))
    tracer, failed = provider.get_tracer("app"), 0
    for _ in range(REQUESTS):
        with tracer.start_as_current_span("GET /", kind=SpanKind.SERVER) as request:
            with tracer.start_as_current_span("inside"):
                pass
            if rng.random() < FAILED_SHARE:
                failed += 1
                request.set_status(StatusCode.ERROR)
    provider.force_flush()
    provider.shutdown()
    own = f'service_name="{service}",span_kind="SPAN_KIND_SERVER"'
    error = 'status_code="STATUS_CODE_ERROR"'
    calls, squares = "traces_span_metrics_calls_total", "traces_span_metrics_weights_squared_total"
    queries = [f"sum({metric}{{{own}{more}}})" for more in (f",{error}", "") for metric in (calls, squares)]
    bad, bad_squared, total, total_squared = (float(gateway.value(query)) for query in queries)
    assert bad == failed  # errors are always kept
    assert total == pytest.approx(REQUESTS, rel=0.12)
    weights = Sampled(total, bad_squared / bad, (total_squared - bad_squared) / (total - bad))
    low, high = interval_of(bad / total, weights)
    assert low - 0.01 < failed / REQUESTS < high + 0.01  # trace ids are random: 1 run in 20 is outside
