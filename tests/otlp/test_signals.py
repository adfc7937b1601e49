"""Traces and logs are judged and counted; answers are the official ones."""

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from mirubato.errors import BadRequest
from mirubato.model.seams import Outcome
from mirubato.otlp.signals import Signal, count_items, response

SPANS = ExportTraceServiceRequest(
    resource_spans=[
        ResourceSpans(scope_spans=[ScopeSpans(spans=[Span(name="a"), Span()]), ScopeSpans()]),
        ResourceSpans(scope_spans=[ScopeSpans(spans=[Span()])]),
    ]
).SerializeToString()
LOGS = ExportLogsServiceRequest(
    resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=[LogRecord()] * 5)]), ResourceLogs()]
).SerializeToString()


@pytest.mark.parametrize(
    ("signal", "body", "count"),
    [(Signal.TRACES, SPANS, 3), (Signal.LOGS, LOGS, 5), (Signal.TRACES, b"", 0), (Signal.LOGS, b"", 0)],
)
def test_items_are_counted(signal: Signal, body: bytes, count: int) -> None:
    assert count_items(signal, body) == Outcome(count)


@pytest.mark.parametrize(
    ("signal", "name"), [(Signal.TRACES, "ExportTraceServiceRequest"), (Signal.LOGS, "ExportLogsServiceRequest")]
)
@pytest.mark.parametrize("body", [b"\xff", SPANS[:-1], LOGS[:-1], b"\n\x04\n\x02\xff\xff"])
def test_what_is_no_request(signal: Signal, name: str, body: bytes) -> None:
    with pytest.raises(BadRequest, match=f"not an {name}"):
        count_items(signal, body)


@pytest.mark.parametrize("signal", Signal)
def test_full_success_is_an_empty_message(signal: Signal) -> None:
    assert response(signal, 0, "").SerializeToString() == b""


@pytest.mark.parametrize(
    ("signal", "field"),
    [
        (Signal.METRICS, "rejected_data_points"),
        (Signal.TRACES, "rejected_spans"),
        (Signal.LOGS, "rejected_log_records"),
    ],
)
@pytest.mark.parametrize(("rejected", "message"), [(3, "why"), (0, "a warning"), (2, "")])
def test_partial_success(signal: Signal, field: str, rejected: int, message: str) -> None:
    partial = response(signal, rejected, message).partial_success
    assert getattr(partial, field) == rejected
    assert partial.error_message == message
