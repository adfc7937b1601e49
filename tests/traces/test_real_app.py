"""Two apps with the OpenTelemetry SDK and a trace through both: seen as one at /api/traces, logs included."""

import logging
from contextlib import suppress
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from tests.support.gateways import Running, running


def app(gateway: Running, service: str) -> TracerProvider:
    provider = TracerProvider(
        resource=Resource({"service.name": service, "service.version": "3"}), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(gateway.url("otlp_http_port", "/v1/traces"))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def test_a_trace_through_two_apps(tmp_path: Path) -> None:
    with running(tmp_path, traces_sample_rate=0.0) as one:
        front, back = app(one, "front"), app(one, "back")
        records = LoggerProvider(resource=Resource({"service.name": "back"}), shutdown_on_exit=False)
        records.add_log_record_processor(
            BatchLogRecordProcessor(OTLPLogExporter(one.url("otlp_http_port", "/v1/logs")))
        )
        log = logging.Logger("back")
        log.addHandler(LoggingHandler(logger_provider=records))
        with front.get_tracer("front").start_as_current_span("GET /cart", kind=SpanKind.SERVER) as root:
            carrier: dict[str, str] = {}
            inject(carrier)
            with (
                suppress(ValueError),
                back.get_tracer("back").start_as_current_span(
                    "reserve", context=extract(carrier), kind=SpanKind.SERVER, attributes={"items": 3}
                ),
            ):
                log.error("could not reserve")
                raise ValueError("no stock")
        with front.get_tracer("front").start_as_current_span("GET /fine", kind=SpanKind.SERVER):
            pass
        # The front's spans are without an error and come first: they wait for the back's.
        for provider in (front, back, records):
            assert provider.force_flush()
            provider.shutdown()
        (row,) = one.get("/api/traces", start="1h").json()["traces"]
        assert row["trace_id"] == f"{root.get_span_context().trace_id:032x}"
        assert (row["root_service"], row["root_name"], row["services"]) == ("front", "GET /cart", ["back", "front"])
        answer = one.get(f"/api/traces/{row['trace_id']}").json()
        front_span, back_span = answer["spans"]
        assert (back_span["parent_id"], back_span["depth"]) == (front_span["span_id"], 1)
        assert back_span["attributes"] == {"items": 3}
        assert back_span["events"][0]["attributes"]["exception.message"] == "no stock"
        assert [each["body"] for each in answer["logs"]] == ["could not reserve"]
        assert answer["logs"][0]["span_id"] == back_span["span_id"]
