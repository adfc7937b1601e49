"""A logs request -> its records, the series that each counts for, and what was rejected. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from mirubato.errors import BadRequest
from mirubato.limits import LOG_BODY_CHARS_MAX, LOG_JSON_CHARS_MAX, SPAN_BYTES_MAX
from mirubato.model.logs import Log
from mirubato.model.seams import Reason
from mirubato.spans import log_body
from mirubato.spans.attributes import Attributes, by_key, text
from mirubato.spans.cloudflare import MARK
from mirubato.spans.envelope import Envelope
from mirubato.spans.origins import Origins, Shared, service_of, version_of
from mirubato.spans.reading import TOO_FAR_AHEAD, TOO_OLD
from mirubato.spans.weights import HeadRates

_NS_PER_MS = 1_000_000
_NAMES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_EXCEPTION = "exception.type"
# Where loggers put the class of an error: OpenTelemetry, ECS, pino.
_EXCEPTION_PATHS = (_EXCEPTION, "error.type", "error.name", "err.type", "err.name", "exception_type")

TOO_LARGE = Reason("too_large", f"a log record of more than {SPAN_BYTES_MAX >> 10} KiB")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What reading logs asks of the settings; ms."""

    retention: int
    future: int
    rates: Mapping[str, float]
    """Of head sampling, by service."""
    level_fields: Sequence[str] = ("level", "severity")
    number_fields: Sequence[str] = ()


@dataclass(slots=True)
class ReadLogs:
    """One request. `keys` and `weights` have an entry for each record."""

    now_ms: int
    logs: list[Log] = field(default_factory=list)
    keys: list[tuple[str, ...]] = field(default_factory=list)
    """service, severity, exception type."""
    weights: list[float] = field(default_factory=list)
    fields: list[tuple[tuple[str, ...], float, float]] = field(default_factory=list)
    """(service, field), value and weight of the numbers inside bodies."""
    rejected: Counter[Reason] = field(default_factory=Counter)


class LogReader:
    """Reads requests; remembers origins. Several threads may use it."""

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._envelope = Envelope("ExportLogsServiceRequest")
        self._rates = HeadRates(settings.rates)
        self._origins = Origins(self._envelope, self._rates, ())

    def read(self, body: bytes, now_ms: int) -> ReadLogs:
        """All records of an ExportLogsServiceRequest; BadRequest where it cannot be decoded."""
        read = ReadLogs(now_ms)
        low = (now_ms - self._settings.retention) * _NS_PER_MS
        high = (now_ms + self._settings.future) * _NS_PER_MS
        for group in self._envelope.groups(body):
            shared = self._origins.of(group)
            for encoded in group.items:
                if len(encoded) > SPAN_BYTES_MAX:
                    read.rejected[TOO_LARGE] += 1
                    continue
                try:
                    record = LogRecord.FromString(encoded)
                except DecodeError as error:
                    raise BadRequest(f"not an ExportLogsServiceRequest: {error}") from error
                time = record.time_unix_nano or record.observed_time_unix_nano
                if 0 < time < low:
                    read.rejected[TOO_OLD] += 1
                elif time > high:
                    read.rejected[TOO_FAR_AHEAD] += 1
                else:
                    self._take(record, encoded, time, shared, read)
        return read

    def _take(self, record: LogRecord, encoded: bytes, time: int, shared: Shared, read: ReadLogs) -> None:
        own = by_key(record.attributes) if record.attributes else {}
        origin, weight = shared.origin, shared.head_weight
        if shared.worker or MARK in encoded:
            origin = shared.variant(service_of(own), version_of(own))
            weight = self._rates.weight(origin.service)
        body, document = _body(record.body)
        severity = log_body.first_severity(document, self._settings.level_fields) or _severity(record)
        exception = text(own.get(_EXCEPTION)) or log_body.first_text(document, _EXCEPTION_PATHS)
        weight = 1.0 if weight is None else weight
        ids = record.trace_id, record.span_id
        text_of_body = body[:LOG_BODY_CHARS_MAX]
        read.logs.append(Log(origin.service, severity, time, *ids, exception, text_of_body, encoded, origin))
        read.keys.append((origin.service, severity_name(severity), exception))
        read.weights.append(weight)
        for name, value in log_body.numbers(document, self._settings.number_fields):
            read.fields.append(((origin.service, name), value, weight))


def severity_name(number: int) -> str:
    """The short name of a severity number; UNSPECIFIED for 0 and what is none."""
    return _NAMES[(number - 1) // 4] if 1 <= number <= 24 else "UNSPECIFIED"


def _severity(record: LogRecord) -> int:
    number = int(record.severity_number)
    return number if 1 <= number <= 24 else log_body.severity(record.severity_text)


def _body(body: AnyValue) -> tuple[str, Mapping[str, Any]]:
    """A body as text, and as an object if it is one."""
    if body.WhichOneof("value") == "kvlist_value":
        members = by_key(body.kvlist_value.values)
        document = {key: _plain(value) for key, value in members.items()}
        return _message_of(members), document
    written = body.string_value if body.WhichOneof("value") == "string_value" else text(body)
    return written[:LOG_JSON_CHARS_MAX], log_body.read_object(written)


def _message_of(members: Attributes) -> str:
    """What a structured body has as its message, else all of it that is plain."""
    message = text(members.get("message")) or text(members.get("msg"))
    return message or " ".join(f"{key}={text(value)}" for key, value in members.items() if text(value))


def _plain(value: AnyValue) -> Any:
    """A value as JSON would have it, maps one level deep."""
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return {key: _plain_leaf(inner) for key, inner in by_key(value.kvlist_value.values).items()}
    return _plain_leaf(value)


def _plain_leaf(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind in ("string_value", "int_value", "double_value", "bool_value") else None
