"""Questions to traces.db: which traces there are, one of them whole, which logs. Each takes a connection that reads."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mirubato.limits import TRACE_ANSWER_BYTES_MAX

Row = Mapping[str, Any] | sqlite3.Row

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """Which traces; None and empty texts ask for nothing. A trace counts for the time at which it starts."""

    limit: int
    start_ms: int | None = None
    end_ms: int | None = None
    service: str = ""
    """Any service that has a span in the trace."""
    failed: bool | None = None
    """Whether it has errors."""
    min_ns: int | None = None
    max_ns: int | None = None
    words: Sequence[str] = ()
    """In lower case; each is in the name of a span, in the message of an error, or is how the trace id begins."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which log records."""

    limit: int
    start_ms: int | None = None
    end_ms: int | None = None
    service: str = ""
    severity: int | None = None
    """The least severity number."""
    words: Sequence[str] = ()
    """In lower case; each is in the body, or in the type of the exception."""


@dataclass(frozen=True, slots=True)
class KeptTrace:
    """One trace as it was kept: its row of the list, its spans, its logs."""

    row: Mapping[str, Any]
    spans: Sequence[sqlite3.Row]
    logs: Sequence[sqlite3.Row]
    truncated: bool
    """Whether there are more spans or logs, past TRACE_ANSWER_BYTES_MAX."""


class _Conditions:
    """Parts of a WHERE clause with their arguments."""

    def __init__(self) -> None:
        self.arguments: list[object] = []
        self._texts: list[str] = []

    def add(self, text: str, *arguments: object) -> None:
        self._texts.append(text)
        self.arguments += arguments

    def where(self) -> str:
        return " AND ".join(self._texts) or "1"


def find_traces(connection: sqlite3.Connection, wanted: TraceFilter) -> Sequence[Mapping[str, Any]]:
    """The newest traces that fit, at most `limit`, each with its `services`."""
    conditions = _Conditions()
    _within(conditions, "start_ns", wanted.start_ms, wanted.end_ms)
    if wanted.service:
        conditions.add("id IN (SELECT trace FROM trace_service WHERE service = ?)", wanted.service)
    if wanted.failed is not None:
        conditions.add("(errors > 0) = ?", wanted.failed)
    if wanted.min_ns is not None:
        conditions.add("end_ns - start_ns >= ?", wanted.min_ns)
    if wanted.max_ns is not None:
        conditions.add("end_ns - start_ns <= ?", wanted.max_ns)
    for word in wanted.words:
        conditions.add("(instr(texts, ?) OR substr(lower(hex(trace_id)), 1, length(?)) = ?)", word, word, word)
    rows = connection.execute(
        f"SELECT * FROM trace WHERE {conditions.where()} ORDER BY start_ns DESC LIMIT ?",  # noqa: S608  (no text of others)
        (*conditions.arguments, wanted.limit),
    ).fetchall()
    return [_with_services(connection, row) for row in rows]


def find_trace(connection: sqlite3.Connection, trace_id: bytes) -> KeptTrace | None:
    """One trace with its kept logs; None if it is not kept."""
    row = connection.execute("SELECT * FROM trace WHERE trace_id = ?", (trace_id,)).fetchone()
    if row is None:
        return None
    spans, more_spans = _bounded(
        connection.execute(
            "SELECT service, resource, scope, error, message FROM span JOIN origin ON origin.id = span.origin"
            " WHERE trace = ? ORDER BY span.id",
            (row["id"],),
        )
    )
    logs, more_logs = _bounded(
        connection.execute(
            "SELECT log.*, resource, scope FROM log JOIN origin ON origin.id = log.origin"
            " WHERE trace_id = ? AND trace_id != x'' ORDER BY time_ns",
            (trace_id,),
        )
    )
    return KeptTrace(_with_services(connection, row), spans, logs, more_spans or more_logs)


def _bounded(rows: Iterable[sqlite3.Row]) -> tuple[list[sqlite3.Row], bool]:
    """The first rows, and whether there are more than an answer may hold."""
    found: list[sqlite3.Row] = []
    size = 0
    for row in rows:
        size += len(row["message"]) + len(row["resource"]) + len(row["scope"])
        if size > TRACE_ANSWER_BYTES_MAX:
            return found, True
        found.append(row)
    return found, False


def find_logs(connection: sqlite3.Connection, wanted: LogFilter) -> Sequence[sqlite3.Row]:
    """The newest log records that fit, at most `limit`."""
    conditions = _Conditions()
    _within(conditions, "time_ns", wanted.start_ms, wanted.end_ms)
    if wanted.service:
        conditions.add("log.service = ?", wanted.service)
    if wanted.severity is not None:
        conditions.add("severity >= ?", wanted.severity)
    for word in wanted.words:
        conditions.add("instr(texts, ?)", word)
    return connection.execute(
        "SELECT log.*, resource, scope FROM log JOIN origin ON origin.id = log.origin"  # noqa: S608  (no text of others)
        f" WHERE {conditions.where()} ORDER BY time_ns DESC LIMIT ?",
        (*conditions.arguments, wanted.limit),
    ).fetchall()


def _within(conditions: _Conditions, column: str, start_ms: int | None, end_ms: int | None) -> None:
    """Both ends belong to it, the last ms as a whole."""
    if start_ms is not None:
        conditions.add(f"{column} >= ?", start_ms * _NS_PER_MS)
    if end_ms is not None:
        conditions.add(f"{column} < ?", (end_ms + 1) * _NS_PER_MS)


def _with_services(connection: sqlite3.Connection, row: sqlite3.Row) -> Mapping[str, Any]:
    services = connection.execute("SELECT service FROM trace_service WHERE trace = ? ORDER BY service", (row["id"],))
    return dict(row) | {"services": [service for (service,) in services]}
