"""Kept spans and logs into the open transaction of traces.db. What came before comes once only."""

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence

from mirubato.model.logs import Log, Logs
from mirubato.model.spans import Origin, Span
from mirubato.traces.fitting import fitted_log, fitted_resource, fitted_scope, fitted_span
from mirubato.traces.summary import Summary, bounded, searchable, with_spans
from mirubato.traces.tail import Batch, Cause

_FIND = (
    "SELECT id, cause, start_ns, end_ns, spans, errors, rooted, root_start_ns, root_service, root_name, texts"
    " FROM trace WHERE trace_id = ?"
)
_BEGIN = (
    "INSERT INTO trace (trace_id, kept_ms, cause, start_ns, end_ns, spans, errors, rooted, root_start_ns, root_service,"
    " root_name, texts) VALUES (?, ?, 0, 0, 0, 0, 0, 0, 0, '', '', '') RETURNING id"
)
_UPDATE = (
    "UPDATE trace SET (cause, start_ns, end_ns, spans, errors, rooted, root_start_ns, root_service, root_name, texts)"
    " = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?"
)


def keep_spans(connection: sqlite3.Connection, batch: Batch, now_ms: int) -> None:
    """Insert the spans of a batch and bring what the list says of their traces up to date."""
    origins = Origins(connection, now_ms)
    by_trace: dict[bytes, list[Span]] = {trace_id: [] for trace_id in batch.causes}
    for span in batch.spans:
        by_trace[span.trace_id].append(span)
    for trace_id, spans in by_trace.items():
        _keep_trace(connection, origins, trace_id, spans, batch.causes[trace_id], now_ms)


def keep_logs(connection: sqlite3.Connection, logs: Logs, now_ms: int) -> None:
    """Insert log records; those of a request that comes a second time are there already."""
    origins = Origins(connection, now_ms)
    connection.executemany(
        "INSERT OR IGNORE INTO log (kept_ms, time_ns, service, severity, trace_id, origin, texts, message, digest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_log_row(log, origins.number(log.origin), now_ms) for log in logs],
    )


def _log_row(log: Log, origin: int, now_ms: int) -> tuple[object, ...]:
    time_ns = bounded(log.time_ns) or now_ms * 1_000_000
    texts = f"{searchable(log.exception_type)}\n{log.body.lower()}"
    digest = digest_of((origin.to_bytes(8, "little"), log.message))
    return now_ms, time_ns, log.service, log.severity, log.trace_id, origin, texts, fitted_log(log.message), digest


class Origins:
    """Numbers of resources with their scopes; for the time of one transaction."""

    def __init__(self, connection: sqlite3.Connection, now_ms: int) -> None:
        self._connection, self._now_ms = connection, now_ms
        self._numbers: dict[int, int] = {}

    def number(self, origin: Origin) -> int:
        """The row of an origin, made if it is new. All spans of a request share one object."""
        found = self._numbers.get(id(origin))
        if found is None:
            found = self._numbers[id(origin)] = self._row(origin)
        return found

    def _row(self, origin: Origin) -> int:
        parts = (origin.service.encode(), origin.version.encode(), origin.resource, origin.scope)
        digest = digest_of(parts)
        names = origin.service, origin.version
        row = self._connection.execute(
            "INSERT INTO origin (service, version, resource, scope, used_ms, digest) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET used_ms = excluded.used_ms RETURNING id",
            (*names, fitted_resource(origin.resource), fitted_scope(origin.scope), self._now_ms, digest),
        ).fetchone()
        return int(row[0])


def digest_of(parts: Iterable[bytes]) -> bytes:
    """16 bytes that no two different lists of parts have in common."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _keep_trace(
    connection: sqlite3.Connection,
    origins: Origins,
    trace_id: bytes,
    spans: Sequence[Span],
    cause: Cause,
    now_ms: int,
) -> None:
    number, before = _summary_of(connection, trace_id)
    if number is None:
        number = int(connection.execute(_BEGIN, (trace_id, now_ms)).fetchone()[0])
    new = [span for span in spans if _is_new(connection, number, origins.number(span.origin), span)]
    after = with_spans(before, new, cause) if new else before
    connection.execute(
        _UPDATE,
        (
            max(cause, after.cause),
            after.start_ns,
            after.end_ns,
            after.spans,
            after.errors,
            after.rooted,
            after.root_start_ns,
            after.root_service,
            after.root_name,
            after.texts,
            number,
        ),
    )
    more = after.services - before.services
    connection.executemany(
        "INSERT INTO trace_service (service, trace) VALUES (?, ?)", [(service, number) for service in more]
    )


def _is_new(connection: sqlite3.Connection, trace: int, origin: int, span: Span) -> bool:
    """Insert a span, unless a request is here for the second time."""
    row = (trace, span.span_id, origin, span.error, fitted_span(span.message))
    return (
        connection.execute(
            "INSERT OR IGNORE INTO span (trace, span_id, origin, error, message) VALUES (?, ?, ?, ?, ?)", row
        ).rowcount
        == 1
    )


def _summary_of(connection: sqlite3.Connection, trace_id: bytes) -> tuple[int | None, Summary]:
    row = connection.execute(_FIND, (trace_id,)).fetchone()
    if row is None:
        return None, Summary(Cause.SAMPLED)
    number, cause, start, end, spans, errors, rooted, root_start, service, name, texts = row
    services = frozenset(
        name for (name,) in connection.execute("SELECT service FROM trace_service WHERE trace = ?", (number,))
    )
    return number, Summary(
        Cause(cause), start, end, spans, errors, bool(rooted), root_start, service, name, services, texts
    )
