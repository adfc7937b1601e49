"""Log records on their way from the decoder to the counts made of them and to the kept logs."""

from collections.abc import Sequence
from dataclasses import dataclass

from mirubato.model.spans import Origin

ERROR_SEVERITY = 17
"""Severity numbers from here on are ERROR and FATAL (logs data model, SeverityNumber)."""


@dataclass(slots=True)
class Log:
    """One log record of a request. The message stays as it came, to be kept or thrown away."""

    service: str
    severity: int
    """Severity number 1-24, 0 if unknown: of the record, or what the `level` inside its body says."""
    time_ns: int
    """When it happened, else when it was observed, in ns since 1970; 0 if neither is known."""
    trace_id: bytes
    """Empty if it belongs to no trace."""
    span_id: bytes
    exception_type: str
    """Empty if it tells of none."""
    body: str
    """Its text, cut to LOG_BODY_CHARS_MAX characters."""
    message: bytes
    """`opentelemetry.proto.logs.v1.LogRecord`."""
    origin: Origin


Logs = Sequence[Log]
