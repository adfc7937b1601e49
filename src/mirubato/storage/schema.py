"""The tables of samples.db, and how the file is opened. docs/DATA.md says what each byte means."""

import sqlite3
from pathlib import Path

from mirubato.errors import StorageFailed
from mirubato.model.rollups import NEVER_ROLLED

FORMAT = 2
"""Version of the file; a newer one is refused. 1 had no checksums and no rollups, and is read as it is."""
BATCH_FORMAT = 1
"""Version of a batch row."""

_PAGE_BYTES = 16384
# 256 pages of 16 kB: pages that change again and again go from the log to the file once for all 4 MiB.
_CHECKPOINT_PAGES = 256
_LOG_BYTES_MAX = 4 << 20

_TABLES = """
CREATE TABLE IF NOT EXISTS label_pair (id INTEGER PRIMARY KEY, name TEXT NOT NULL, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS family (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, unit TEXT NOT NULL, help TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, name INTEGER NOT NULL, kind INTEGER NOT NULL, family INTEGER NOT NULL,
    pairs BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS series_by_name ON series (name);
CREATE TABLE IF NOT EXISTS batch (
    seq INTEGER PRIMARY KEY, format INTEGER NOT NULL, samples INTEGER NOT NULL, columns BLOB NOT NULL,
    starts BLOB, histograms BLOB);
CREATE TABLE IF NOT EXISTS block (
    id INTEGER PRIMARY KEY, format INTEGER NOT NULL, kind INTEGER NOT NULL, name INTEGER NOT NULL,
    seq_low INTEGER NOT NULL, seq_high INTEGER NOT NULL, time_low INTEGER NOT NULL, time_high INTEGER NOT NULL,
    samples INTEGER NOT NULL, series BLOB NOT NULL, timestamps BLOB NOT NULL, content BLOB NOT NULL,
    checksum INTEGER);
CREATE INDEX IF NOT EXISTS block_by_name ON block (name, time_high);
CREATE INDEX IF NOT EXISTS block_by_run ON block (kind, name, seq_low, seq_high, samples, format);
CREATE INDEX IF NOT EXISTS block_by_age ON block (time_low, kind, name, time_high, samples);
CREATE TABLE IF NOT EXISTS rollup (
    id INTEGER PRIMARY KEY, format INTEGER NOT NULL, resolution INTEGER NOT NULL, kind INTEGER NOT NULL,
    name INTEGER NOT NULL, time_low INTEGER NOT NULL, time_high INTEGER NOT NULL, buckets INTEGER NOT NULL,
    series BLOB NOT NULL, timestamps BLOB NOT NULL, content BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS rollup_by_name ON rollup (name, time_high);
CREATE INDEX IF NOT EXISTS rollup_by_age ON rollup (resolution, time_low, kind, name, time_high, buckets, format);
CREATE TABLE IF NOT EXISTS retention (
    id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, raw INTEGER NOT NULL, hourly INTEGER NOT NULL,
    rows_hourly INTEGER NOT NULL, rows_daily INTEGER NOT NULL, swept INTEGER NOT NULL,
    next_series INTEGER NOT NULL, next_pair INTEGER NOT NULL, next_family INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS late (name INTEGER NOT NULL, hour INTEGER NOT NULL, PRIMARY KEY (name, hour));
CREATE TABLE IF NOT EXISTS exemplar (
    series INTEGER NOT NULL, timestamp INTEGER NOT NULL, value REAL, labels TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS exemplar_by_series ON exemplar (series, timestamp);
CREATE TABLE IF NOT EXISTS snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB NOT NULL);
"""


def open_samples(path: Path) -> sqlite3.Connection:
    """The writing connection, tables made if need be; StorageFailed says what is wrong with the file.

    `auto_vacuum` and `page_size` come before the first table: to change them later means to rewrite the file.
    synchronous=FULL is what makes a commit an fsync, and so a reply a promise.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    except (OSError, sqlite3.Error) as error:
        raise StorageFailed(f"cannot open {path}: {error}") from error
    try:
        _prepare(connection, path)
    except (sqlite3.Error, UnicodeError) as error:  # of a damaged file even the message may be damaged
        connection.close()
        raise StorageFailed(f"cannot use {path}: {error}") from error
    except StorageFailed:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StorageFailed(f"{path}: this file system cannot hold a database with a write-ahead log")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit={_LOG_BYTES_MAX}")
    version = _check_format(connection, path)
    if version == 1:
        _add_checksums(connection)
    connection.executescript(_TABLES)
    connection.execute(
        "INSERT OR IGNORE INTO retention (id, version, raw, hourly, rows_hourly, rows_daily, swept, next_series,"
        " next_pair, next_family) VALUES (1, 0, ?, ?, 0, 0, 0, 1, 1, 1)",
        (NEVER_ROLLED, NEVER_ROLLED),
    )
    connection.execute(f"PRAGMA user_version={FORMAT}")


def _add_checksums(connection: sqlite3.Connection) -> None:
    """The column may be there already: a death before `user_version` was written leaves it so."""
    columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(block)")}
    if columns and "checksum" not in columns:
        connection.execute("ALTER TABLE block ADD COLUMN checksum INTEGER")


def _check_format(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise StorageFailed(f"{path} was written by a newer version (format {version}, this one reads {FORMAT})")
    return int(version)


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, for one thread at a time; in WAL mode it never waits for the writer."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=10
    )
    connection.execute("PRAGMA query_only=1")
    return connection
