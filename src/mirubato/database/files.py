"""Opening SQLite files: what a commit promises is set here."""

import sqlite3
from pathlib import Path

from mirubato.errors import StorageFailed


def open_file(path: Path, tables: str) -> sqlite3.Connection:
    """The writing connection, with `tables` made if need be; StorageFailed says what is wrong with the file.

    synchronous=FULL is what makes a commit an fsync, and so a reply a promise; `auto_vacuum` comes before the first
    table, because to set it later means to rewrite the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    except (OSError, sqlite3.Error) as error:
        raise StorageFailed(f"cannot open {path}: {error}") from error
    try:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(tables)
    except (sqlite3.Error, UnicodeError) as error:  # of a damaged file even the message may be damaged
        connection.close()
        raise StorageFailed(f"cannot use {path}: {error}") from error
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, for one thread at a time; in WAL mode it never waits for the writer."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=10
    )
    connection.execute("PRAGMA query_only=1")
    return connection
