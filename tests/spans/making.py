"""Spans and logs from the official classes, short to write, and requests of them."""

import itertools
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from mirubato.otlp.json_request import to_protobuf
from mirubato.otlp.signals import Signal

DATA = Path(__file__).parent / "data"
NS = 1_000_000_000
SERVER, CLIENT, PRODUCER, CONSUMER = (
    Span.SPAN_KIND_SERVER,
    Span.SPAN_KIND_CLIENT,
    Span.SPAN_KIND_PRODUCER,
    Span.SPAN_KIND_CONSUMER,
)
ERROR, OK, UNSET = Status.STATUS_CODE_ERROR, Status.STATUS_CODE_OK, Status.STATUS_CODE_UNSET
Value = str | int | float | bool
_NUMBERS = itertools.count(1)


def now_ns() -> int:
    """The wall clock."""
    return time.time_ns()


def identity(size: int) -> bytes:
    """An id that no other span has."""
    return next(_NUMBERS).to_bytes(size, "big")


def attributes(values: Mapping[str, Value]) -> list[KeyValue]:
    """Attributes of the type that the values have."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items()]


def any_value(value: Value) -> AnyValue:
    """One value."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=value)


def span(
    name: str = "GET /",
    kind: Span.SpanKind.ValueType = SERVER,
    status: Status.StatusCode.ValueType = UNSET,
    *,
    seconds: float = 0.1,
    weight: float | None = None,
    state: str = "",
    trace: bytes = b"",
    parent: bytes = b"",
    ended_ns: int = 0,
    **more: Value,
) -> Span:
    """A span that has just ended; `more` are attributes, with `_` for a dot."""
    given: dict[str, Value] = {key.replace("_", "."): value for key, value in more.items()}
    if weight is not None:
        given["mirubato.weight"] = weight
    end = ended_ns or now_ns()
    return Span(
        trace_id=trace or random.randbytes(16),
        span_id=identity(8),
        parent_span_id=parent,
        trace_state=state,
        name=name,
        kind=kind,
        start_time_unix_nano=end - round(seconds * NS),
        end_time_unix_nano=end,
        attributes=attributes(given),
        status=Status(code=status) if status else None,
    )


def traces(
    spans: Iterable[Span], service: str = "shop", scope: str = "lib", **resource: Value
) -> ExportTraceServiceRequest:
    """A request of one resource and scope."""
    who = Resource(attributes=attributes({"service.name": service, **resource}))
    one = ScopeSpans(scope=InstrumentationScope(name=scope), spans=spans)
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=who, scope_spans=[one])])


def logs(records: Sequence[LogRecord], service: str = "shop") -> ExportLogsServiceRequest:
    """A request of one resource."""
    who = Resource(attributes=attributes({"service.name": service}))
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=who, scope_logs=[ScopeLogs(log_records=records)])]
    )


def log(body: str, severity: int = 9, **more: Value) -> LogRecord:
    """A record of now; `more` are attributes, with `_` for a dot."""
    given: dict[str, Value] = {key.replace("_", "."): value for key, value in more.items()}
    return LogRecord(
        time_unix_nano=now_ns(),
        severity_number=severity,  # type: ignore[arg-type]
        body=AnyValue(string_value=body),
        attributes=attributes(given),
    )


def worker_json(file: str, now: int | None = None) -> bytes:
    """A request as Cloudflare sends it, its times moved so that it ends now."""
    text = (DATA / file).read_text(encoding="utf-8")
    return text.replace("1795000000", str((now_ns() if now is None else now) // NS - 10)).encode()


def worker_protobuf(file: str, now: int | None = None) -> bytes:
    """The same as protobuf."""
    signal = Signal.LOGS if "logs" in file else Signal.TRACES
    return to_protobuf(signal, worker_json(file, now))
