"""Kept traces and logs as JSON: the list, the waterfall of one trace, OTLP. Pure."""

import base64
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status, TracesData

from mirubato.limits import ATTRIBUTE_DEPTH_MAX
from mirubato.traces.reading import KeptTrace, Row
from mirubato.traces.tail import Cause

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
_HEX = frozenset(("traceId", "spanId", "parentSpanId"))
Message = TypeVar("Message", LogRecord, InstrumentationScope, Resource, Span)

# Where no severity text was given: the names of the logs data model, four numbers each.
_SEVERITIES = ("", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")


def trace_row(row: Row) -> dict[str, Any]:
    """One entry of the list; `start` in s since 1970."""
    return {
        "trace_id": row["trace_id"].hex(),
        "root_service": row["root_service"],
        "root_name": row["root_name"],
        "start": row["start_ns"] / _NS_PER_S,
        "duration_ms": (row["end_ns"] - row["start_ns"]) / _NS_PER_MS,
        "spans": row["spans"],
        "errors": row["errors"],
        "services": row["services"],
        "kept_as": Cause(row["cause"]).name.lower(),
    }


def waterfall(trace: KeptTrace) -> dict[str, Any]:
    """One trace: its row, its spans as a tree written out from top to bottom, and its logs.

    Offsets are ms after `start`. A span's `resource` is its place in `resources`.
    """
    places: dict[bytes, int] = {}
    spans = [_span(row, places.setdefault(row["resource"], len(places)), trace.row["start_ns"]) for row in trace.spans]
    return {
        **trace_row(trace.row),
        "span_count": trace.row["spans"],
        "truncated": trace.truncated,
        "spans": _as_tree(spans),
        "resources": [_attributes(_parsed(Resource(), content).attributes) for content in places],
        "logs": [log_entry(row) for row in trace.logs],
    }


def log_entry(row: Row) -> dict[str, Any]:
    """One log record; `time` in s since 1970."""
    record = _parsed(LogRecord(), row["message"])
    attributes = _attributes(record.attributes)
    return {
        "time": row["time_ns"] / _NS_PER_S,
        "service": row["service"],
        "severity": record.severity_text or _SEVERITIES[min((row["severity"] + 3) // 4, len(_SEVERITIES) - 1)],
        "severity_number": row["severity"],
        "body": _plain(record.body),
        "trace_id": row["trace_id"].hex(),
        "span_id": record.span_id.hex(),
        "exception_type": attributes.get("exception.type", ""),
        "attributes": attributes,
        "resource": _attributes(_parsed(Resource(), row["resource"]).attributes),
        "scope": _parsed(InstrumentationScope(), row["scope"]).name,
    }


def to_otlp(trace: KeptTrace) -> TracesData:
    """One trace as it came: by resource and scope."""
    data = TracesData()
    found: dict[tuple[bytes, bytes], ScopeSpans] = {}
    for row in trace.spans:
        key = row["resource"], row["scope"]
        if key not in found:
            part = data.resource_spans.add(resource=_parsed(Resource(), row["resource"]))
            found[key] = part.scope_spans.add(scope=_parsed(InstrumentationScope(), row["scope"]))
        found[key].spans.append(_parsed(Span(), row["message"]))
    return data


def otlp_json(data: TracesData) -> dict[str, Any]:
    """The same as OTLP/JSON, which is protobuf's JSON with numbers for enums and hex for ids."""
    document: dict[str, Any] = _hex_ids(MessageToDict(data, use_integers_for_enums=True))
    return document


def _span(row: Row, resource: int, start_ns: int) -> dict[str, Any]:
    span = _parsed(Span(), row["message"])
    return {
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex(),
        "service": row["service"],
        "name": span.name,
        "kind": _enum(Span.SpanKind, span.kind).removeprefix("SPAN_KIND_"),
        "offset_ms": (span.start_time_unix_nano - start_ns) / _NS_PER_MS,
        "duration_ms": (span.end_time_unix_nano - span.start_time_unix_nano) / _NS_PER_MS,
        "error": bool(row["error"]),
        "status": {
            "code": _enum(Status.StatusCode, span.status.code).removeprefix("STATUS_CODE_"),
            "message": span.status.message,
        },
        "attributes": _attributes(span.attributes),
        "events": [
            {
                "name": event.name,
                "offset_ms": (event.time_unix_nano - start_ns) / _NS_PER_MS,
                "attributes": _attributes(event.attributes),
            }
            for event in span.events
        ],
        "links": [
            {
                "trace_id": link.trace_id.hex(),
                "span_id": link.span_id.hex(),
                "attributes": _attributes(link.attributes),
            }
            for link in span.links
        ],
        "scope": _parsed(InstrumentationScope(), row["scope"]).name,
        "resource": resource,
    }


def _enum(kind: Any, number: int) -> str:
    """The name of a number; numbers that OTLP does not have stay numbers."""
    return str(kind.Name(number)) if number in kind.values() else str(number)


def _as_tree(spans: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parents before their children, and those by their time; each with its `depth`.

    A span whose parent is not here stands at the top. So does one of several that are each other's parents.
    """
    children: dict[str, list[dict[str, Any]]] = {}
    here = {span["span_id"] for span in spans}
    ordered = sorted(spans, key=lambda span: float(span["offset_ms"]))
    for span in ordered:
        parent = span["parent_id"]
        children.setdefault(parent if parent in here and parent != span["span_id"] else "", []).append(span)
    found: dict[str, dict[str, Any]] = {}
    for top in (*children.get("", ()), *ordered):
        stack = [(top, 0)]
        while stack:
            span, depth = stack.pop()
            if span["span_id"] not in found:
                found[span["span_id"]] = span | {"depth": depth}
                stack += [(child, depth + 1) for child in reversed(children.get(span["span_id"], ()))]
    return list(found.values())


def _attributes(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {attribute.key: _plain(attribute.value) for attribute in attributes}


def _plain(value: AnyValue, depth: int = 0) -> Any:
    """As JSON has it; bytes as base64, NaN and infinities as texts."""
    kind = value.WhichOneof("value")
    if kind is None or depth > ATTRIBUTE_DEPTH_MAX:
        return None
    if kind == "array_value":
        return [_plain(one, depth + 1) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: _plain(one.value, depth + 1) for one in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    plain = getattr(value, kind)
    return str(plain) if isinstance(plain, float) and not math.isfinite(plain) else plain


def _parsed(message: Message, content: bytes) -> Message:
    """Empty where the bytes are none such: that was checked when they came."""
    try:
        message.ParseFromString(content)
    except DecodeError:
        message.Clear()
    return message


def _hex_ids(document: Any) -> Any:
    if isinstance(document, dict):
        return {
            key: base64.b64decode(value).hex() if key in _HEX and isinstance(value, str) else _hex_ids(value)
            for key, value in document.items()
        }
    return [_hex_ids(one) for one in document] if isinstance(document, list) else document
