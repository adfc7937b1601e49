"""Kept messages of a bounded size: of one that is too large, long texts are cut and the last parts left out. Pure."""

from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mirubato.limits import KEPT_MESSAGE_BYTES_MAX

# Names stay whole up to here, whatever else has to go.
_NAME_CHARS_MAX = 256


@dataclass(frozen=True, slots=True)
class _Fit:
    """How much of a message stays: attributes of each part, events and links, characters of a text."""

    attributes: int
    parts: int
    chars: int


# One after the other, until it is small enough; the OpenTelemetry SDKs have 128 of each by default.
_FITS = (_Fit(64, 32, 1024), _Fit(32, 8, 256), _Fit(0, 0, 256))


def fitted_span(message: bytes) -> bytes:
    """A span's message of at most KEPT_MESSAGE_BYTES_MAX bytes; its counts of dropped parts say what was left out."""
    if len(message) <= KEPT_MESSAGE_BYTES_MAX:
        return message
    span = Span()
    if not _parsed(span, message):
        return b""
    span.name, span.trace_state = span.name[:_NAME_CHARS_MAX], span.trace_state[:_NAME_CHARS_MAX]
    for fit in _FITS:
        span.status.message = span.status.message[: fit.chars]
        span.dropped_events_count += _cut(span.events, fit.parts)
        span.dropped_links_count += _cut(span.links, fit.parts)
        for part in (span, *span.events, *span.links):
            _cut_attributes(part, fit)
        for event in span.events:
            event.name = event.name[:_NAME_CHARS_MAX]
        for link in span.links:
            link.trace_state = link.trace_state[:_NAME_CHARS_MAX]
        if span.ByteSize() <= KEPT_MESSAGE_BYTES_MAX:
            break
    return span.SerializeToString()


def fitted_log(message: bytes) -> bytes:
    """The same for a log record; its body keeps ten times as much as another text."""
    if len(message) <= KEPT_MESSAGE_BYTES_MAX:
        return message
    record = LogRecord()
    if not _parsed(record, message):
        return b""
    record.severity_text, record.event_name = (
        record.severity_text[:_NAME_CHARS_MAX],
        record.event_name[:_NAME_CHARS_MAX],
    )
    for fit in _FITS:
        _cut_value(record.body, 10 * fit.chars)
        _cut_attributes(record, fit)
        if record.ByteSize() <= KEPT_MESSAGE_BYTES_MAX:
            break
    return record.SerializeToString()


def fitted_resource(content: bytes) -> bytes:
    """The same for a resource."""
    resource = Resource()
    if len(content) <= KEPT_MESSAGE_BYTES_MAX:
        return content
    if not _parsed(resource, content):
        return b""
    _cut(resource.entity_refs, 0)
    return _with_fewer_attributes(resource)


def fitted_scope(content: bytes) -> bytes:
    """The same for an instrumentation scope."""
    scope = InstrumentationScope()
    if len(content) <= KEPT_MESSAGE_BYTES_MAX:
        return content
    if not _parsed(scope, content):
        return b""
    scope.name, scope.version = scope.name[:_NAME_CHARS_MAX], scope.version[:_NAME_CHARS_MAX]
    return _with_fewer_attributes(scope)


def _with_fewer_attributes(message: Resource | InstrumentationScope) -> bytes:
    for fit in _FITS:
        _cut_attributes(message, fit)
        if message.ByteSize() <= KEPT_MESSAGE_BYTES_MAX:
            break
    return message.SerializeToString()


def _parsed(message: Any, content: bytes) -> bool:
    try:
        message.ParseFromString(content)
    except DecodeError:
        return False
    message.DiscardUnknownFields()
    return True


def _cut(parts: Any, most: int) -> int:
    """Leave out what is beyond the first; answers how many that were."""
    beyond = max(len(parts) - most, 0)
    if beyond:
        del parts[most:]
    return beyond


def _cut_attributes(part: Any, fit: _Fit) -> None:
    part.dropped_attributes_count += _cut(part.attributes, fit.attributes)
    for attribute in part.attributes:
        attribute.key = attribute.key[:_NAME_CHARS_MAX]
        _cut_value(attribute.value, fit.chars)


def _cut_value(value: AnyValue, chars: int) -> None:
    if value.HasField("string_value"):
        value.string_value = value.string_value[:chars]
    elif value.ByteSize() > chars:
        value.string_value = "(too large)"
