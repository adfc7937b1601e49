"""Spans and logs as the decoder hands them on, short to write."""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from mirubato.database.state import StateStore
from mirubato.model.logs import Log
from mirubato.model.spans import Origin, Span
from mirubato.traces.deploys import Deploys
from mirubato.traces.store import TraceSettings, TraceStore
from mirubato.traces.tail import TailSettings

NOW_MS = 1_764_000_000_000
TAIL = TailSettings(slow_ns=10**9, sample_rate=0.0, per_minute=100, decision_ms=30_000, buffer_bytes=1 << 24)
DAY_MS = 86_400_000
_IDS = itertools.count(1)


def trace_id(picked: bool = False) -> bytes:
    """A new one that sampling picks only if the rate is above 0.5; or one that any rate picks."""
    return os.urandom(9) + (b"\xff" if picked else b"\x00") + next(_IDS).to_bytes(6, "big")


def origin(service: str = "shop", version: str = "1") -> Origin:
    resource = Resource(attributes=[_attribute("service.name", service), _attribute("service.version", version)])
    scope = InstrumentationScope(name="lib", version="2")
    return Origin(service, version, resource.SerializeToString(), scope.SerializeToString())


def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


SHOP = origin()


def span(
    trace: bytes,
    name: str = "GET /",
    *,
    parent: bytes = b"",
    error: bool = False,
    took_ms: float = 10,
    start_ms: int = NOW_MS,
    weight: float = 1.0,
    of: Origin = SHOP,
    **attributes: str,
) -> Span:
    start, id_ = start_ms * 1_000_000, next(_IDS).to_bytes(8, "big")
    end = start + round(took_ms * 1e6)
    message = trace_pb2.Span(
        trace_id=trace,
        span_id=id_,
        parent_span_id=parent,
        name=name,
        kind=trace_pb2.Span.SPAN_KIND_SERVER,
        start_time_unix_nano=start,
        end_time_unix_nano=end,
        attributes=[_attribute(key, value) for key, value in attributes.items()],
    )
    if error:
        message.status.code, message.status.message = trace_pb2.Status.STATUS_CODE_ERROR, "it broke"
        fault = message.events.add(name="exception", time_unix_nano=start + 1_000_000)
        fault.attributes.append(_attribute("exception.type", "PaymentRefused"))
    return Span(trace, id_, parent, of.service, name, 2, start, end, error, weight, message.SerializeToString(), of)


def log(body: str, severity: int = 17, *, trace: bytes = b"", time_ms: int = NOW_MS, of: Origin = SHOP) -> Log:
    record = LogRecord(
        time_unix_nano=time_ms * 1_000_000,
        severity_number=severity,  # type: ignore[arg-type]
        body=AnyValue(string_value=body),
        trace_id=trace,
        attributes=[_attribute("exception.type", "PaymentRefused")],
    )
    return Log(
        service=of.service,
        severity=severity,
        time_ns=time_ms * 1_000_000,
        trace_id=trace,
        span_id=b"",
        exception_type="PaymentRefused",
        body=body,
        message=record.SerializeToString(),
        origin=of,
    )


@contextmanager
def opened(
    directory: Path, *, bytes_max: int = 1 << 30, retention_ms: int = DAY_MS, **tail: Any
) -> Iterator[TraceStore]:
    """A store over `directory`, and a state.db."""
    state = StateStore(directory)
    store = TraceStore(directory, TraceSettings(replace(TAIL, **tail), retention_ms, bytes_max), Deploys(state))
    try:
        yield store
    finally:
        assert store.close(5)
        assert state.close(5)


def now_ms() -> int:
    return time.time_ns() // 1_000_000
