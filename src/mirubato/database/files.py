"""Opening SQLite files: what a commit promises is set here."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


class Readers:
    """Connections to one file that only read, one for each thread, closed together.

    SQLite crashes when a connection is closed under a statement that runs: who reads says so, and `close` waits.
    """

    def __init__(self, path: Path, row_factory: Any = None) -> None:
        self._path, self._row_factory = path, row_factory
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._changed = threading.Condition()
        self._in_use = 0
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection of this thread, which stays open meanwhile; StorageFailed once they are being closed."""
        with self._changed:
            if self._closed:
                raise StorageFailed(f"{self._path.name} is closed: the gateway is being stopped")
            self._in_use += 1
        try:
            yield self._mine()
        finally:
            with self._changed:
                self._in_use -= 1
                self._changed.notify_all()

    @property
    def count(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    def close(self, timeout_s: float) -> bool:
        """Let nobody begin, wait for those who read, close; what is still in use then is left as it is (False)."""
        with self._changed:
            self._closed = True
            if not self._changed.wait_for(lambda: not self._in_use, timeout_s):
                return False
        while self._connections:
            self._connections.pop().close()
        return True

    def _mine(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_reader(self._path)
            connection.row_factory = self._row_factory
            self._connections.append(connection)
        return connection
