"""Acknowledged spans and logs survive SIGKILL: the counters go on where the last reply left them."""

import http.client
from contextlib import closing
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.spans.making import ERROR, log, logs, span, traces
from tests.test_kill import Process, gateway

pytestmark = pytest.mark.slow

ROUNDS, REQUESTS, SPANS = 3, 15, 20


def post(process: Process, path: str, body: bytes) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", process.ports["otlp_http_port"], timeout=20)) as connection:
        connection.request("POST", path, body, {"content-type": "application/x-protobuf"})
        reply = connection.getresponse()
        assert reply.status == 200
        assert not ExportTraceServiceResponse.FromString(reply.read()).HasField("partial_success")


def value(process: Process, expression: str) -> float:
    (found,) = process.query(expression)
    return float(found["value"][1])


def test_counters_after_kills(tmp_path: Path) -> None:
    for turn in range(1, ROUNDS + 1):
        with gateway(tmp_path / "data") as process:
            for _ in range(REQUESTS):
                spans = [span("a", weight=2.0) for _ in range(SPANS - 1)]
                post(process, "/v1/traces", traces([*spans, span("a", status=ERROR)]).SerializeToString())
                post(process, "/v1/logs", logs([log("x", 17)]).SerializeToString())
            process.kill()
        with gateway(tmp_path / "data") as process:
            calls = "traces_span_metrics_calls_total"
            assert value(process, f"sum({calls})") == turn * REQUESTS * (2 * (SPANS - 1) + 1)
            assert value(process, f'sum({calls}{{status_code="STATUS_CODE_ERROR"}})') == turn * REQUESTS
            assert value(process, "sum(traces_span_metrics_duration_seconds_count)") == value(process, f"sum({calls})")
            assert value(process, "sum(logs_records_total)") == turn * REQUESTS
            assert value(process, f"sum(resets({calls}[10m]))") == 0
