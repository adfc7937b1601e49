"""What goes from traces.db: what is too old, and what does not fit. Oldest first; errors (cause 3) last."""

import sqlite3
from collections.abc import Sequence

# Rows looked at in one step: with spans of 1 kB about a MB goes at once.
_STEP = 100
# Trimming goes on to this part of the bound, so that it is not needed again at once.
_TRIMMED_TO = 0.98
# Pages given back at once, so that a commit in between waits for some ms only.
_VACUUM_PAGES = 2048


def used_bytes(connection: sqlite3.Connection) -> int:
    """Pages that hold something, of the open transaction too."""
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def trim(connection: sqlite3.Connection, bytes_max: int) -> int:
    """Delete until the rest fits, if it does not; answers how many traces and logs went."""
    if used_bytes(connection) <= bytes_max:
        return 0
    gone = 0
    while used_bytes(connection) > bytes_max * _TRIMMED_TO:
        traces, logs = _oldest(connection)
        if not traces and not logs:
            break
        gone += _delete(connection, traces, logs)
    _forget_origins(connection)
    return gone


def expire(connection: sqlite3.Connection, before_ms: int) -> int:
    """Delete some of what was kept before a time; answers how many traces and logs: 0 when none is left."""
    traces = _numbers(connection, "SELECT id FROM trace WHERE kept_ms < ? AND (cause = 3) = 0 LIMIT ?", before_ms)
    traces += _numbers(connection, "SELECT id FROM trace WHERE kept_ms < ? AND (cause = 3) = 1 LIMIT ?", before_ms)
    logs = _numbers(connection, "SELECT id FROM log WHERE kept_ms < ? LIMIT ?", before_ms)
    gone = _delete(connection, traces, logs)
    if gone:
        _forget_origins(connection)
    return gone


def give_back(connection: sqlite3.Connection) -> bool:
    """Shrink the file by some free pages, outside a transaction; whether there are more."""
    free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
    if free:  # to vacuum 0 pages means to vacuum all
        connection.executescript(f"PRAGMA incremental_vacuum({min(free, _VACUUM_PAGES)});")
    return free > _VACUUM_PAGES


def _numbers(connection: sqlite3.Connection, query: str, *arguments: int) -> list[int]:
    return [number for (number,) in connection.execute(query, (*arguments, _STEP))]


def _oldest(connection: sqlite3.Connection) -> tuple[Sequence[int], Sequence[int]]:
    """(traces, logs) to go next: no errors while there is anything else."""
    others = _numbers(connection, "SELECT id FROM trace WHERE (cause = 3) = 0 ORDER BY kept_ms LIMIT ?")
    if others:
        return others, ()
    rows = connection.execute(
        "SELECT * FROM (SELECT kept_ms, 1, id FROM trace WHERE (cause = 3) = 1 ORDER BY kept_ms LIMIT ?)"
        " UNION ALL SELECT * FROM (SELECT kept_ms, 0, id FROM log ORDER BY kept_ms LIMIT ?) ORDER BY 1 LIMIT ?",
        (_STEP, _STEP, _STEP),
    ).fetchall()
    return [number for _, trace, number in rows if trace], [number for _, trace, number in rows if not trace]


def _delete(connection: sqlite3.Connection, traces: Sequence[int], logs: Sequence[int]) -> int:
    for statement, numbers in (
        ("DELETE FROM span WHERE trace = ?", traces),
        ("DELETE FROM trace_service WHERE trace = ?", traces),
        ("DELETE FROM trace WHERE id = ?", traces),
        ("DELETE FROM log WHERE id = ?", logs),
    ):
        connection.executemany(statement, [(number,) for number in numbers])
    return len(traces) + len(logs)


def _forget_origins(connection: sqlite3.Connection) -> None:
    """Resources that were last used before the oldest of what is left began: nothing refers to them."""
    connection.execute(
        "DELETE FROM origin WHERE used_ms < min("
        " (SELECT coalesce(min(kept_ms), 1 << 62) FROM trace WHERE (cause = 3) = 0),"
        " (SELECT coalesce(min(kept_ms), 1 << 62) FROM trace WHERE (cause = 3) = 1),"
        " (SELECT coalesce(min(kept_ms), 1 << 62) FROM log))"
    )
