"""The tables of traces.db, and how the file is opened. docs/TRACES.md says what is in them."""

import sqlite3
from pathlib import Path

from mirubato.database.files import open_file
from mirubato.errors import StorageFailed

FORMAT = 1
"""Version of the file; a newer one is refused."""

_LOG_BYTES_MAX = 4 << 20

# Spans have a rowid: WITHOUT ROWID, a row of more than a quarter of a page has a page of its own beside it. What was
# kept together lies together, so that the oldest go as whole pages.
_TABLES = """
CREATE TABLE IF NOT EXISTS origin (
    id INTEGER PRIMARY KEY, service TEXT NOT NULL, version TEXT NOT NULL, resource BLOB NOT NULL, scope BLOB NOT NULL,
    used_ms INTEGER NOT NULL, digest BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS trace (
    id INTEGER PRIMARY KEY, trace_id BLOB NOT NULL UNIQUE, cause INTEGER NOT NULL, kept_ms INTEGER NOT NULL,
    start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL, spans INTEGER NOT NULL, errors INTEGER NOT NULL,
    rooted INTEGER NOT NULL, root_start_ns INTEGER NOT NULL, root_service TEXT NOT NULL, root_name TEXT NOT NULL,
    texts TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS trace_by_start ON trace (start_ns);
CREATE INDEX IF NOT EXISTS trace_by_age ON trace (cause = 3, kept_ms);
CREATE TABLE IF NOT EXISTS trace_service (
    service TEXT NOT NULL, trace INTEGER NOT NULL, PRIMARY KEY (service, trace)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS trace_service_by_trace ON trace_service (trace);
CREATE TABLE IF NOT EXISTS span (
    id INTEGER PRIMARY KEY, trace INTEGER NOT NULL, span_id BLOB NOT NULL, origin INTEGER NOT NULL,
    error INTEGER NOT NULL, message BLOB NOT NULL, UNIQUE (trace, span_id));
CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY, kept_ms INTEGER NOT NULL, time_ns INTEGER NOT NULL, service TEXT NOT NULL,
    severity INTEGER NOT NULL, trace_id BLOB NOT NULL, origin INTEGER NOT NULL, texts TEXT NOT NULL,
    message BLOB NOT NULL, digest BLOB NOT NULL UNIQUE);
CREATE INDEX IF NOT EXISTS log_by_time ON log (time_ns);
CREATE INDEX IF NOT EXISTS log_by_service ON log (service, time_ns);
CREATE INDEX IF NOT EXISTS log_by_age ON log (kept_ms);
CREATE INDEX IF NOT EXISTS log_by_trace ON log (trace_id) WHERE trace_id != x'';
"""


def open_traces(path: Path) -> sqlite3.Connection:
    """The writing connection, tables made if need be; StorageFailed says what is wrong with the file."""
    connection = open_file(path, _TABLES)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        connection.close()
        raise StorageFailed(f"{path} was written by a newer version (format {version}, this one reads {FORMAT})")
    connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute(f"PRAGMA journal_size_limit={_LOG_BYTES_MAX}")
    return connection
