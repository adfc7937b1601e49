"""One writer thread per SQLite file: functions travel to the connection, and whatever waits shares a commit."""

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, TypeVarTuple

from mirubato.clock import monotonic_s
from mirubato.errors import StorageFailed

_log = logging.getLogger(__name__)

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Work(Protocol):
    """Something to write. All three methods run on the writer thread."""

    def run(self, connection: sqlite3.Connection) -> None:
        """Execute statements inside the open transaction."""
        ...

    def committed(self) -> None:
        """It is on disk now."""
        ...

    def failed(self, error: Exception) -> None:
        """It was rolled back, with all else of its commit."""
        ...


class Errand(Generic[T]):
    """A function to call on the writer thread, inside a transaction or (for pragmas) outside, and wait for."""

    def __init__(
        self, function: Callable[[sqlite3.Connection], T], then: Callable[[], None] | None, *, transaction: bool
    ) -> None:
        self.transaction = transaction
        self._function, self._then = function, then
        self._done = threading.Event()
        self._result: list[T] = []
        self._error: Exception | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Call the function."""
        self._result = [self._function(connection)]

    def committed(self) -> None:
        """On disk."""
        try:
            if self._then is not None:
                self._then()
        except Exception as error:  # noqa: BLE001  (whoever waits for it gets it)
            self._error = error
        self._done.set()

    def failed(self, error: Exception) -> None:
        """Rolled back."""
        self._error = error
        self._done.set()

    def result(self) -> T:
        """Wait for it; raises what went wrong."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result[0]


class Writer:
    """The thread that owns the writing connection of one file."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._closing = False
        self._door = threading.Lock()
        self.on_commit: Callable[[float], None] | None = None
        """Told how long each commit took, in seconds."""
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> None:
        """Queue work; it is committed with whatever else waits. StorageFailed once the file is being closed."""
        with self._door:
            if self._closing and threading.current_thread() is not self._thread:
                raise StorageFailed("the database is closed")
            self._queue.put(work)

    def call(
        self,
        function: Callable[[sqlite3.Connection], T],
        then: Callable[[], None] | None = None,
        *,
        transaction: bool = True,
    ) -> T:
        """Call `function` on the writer thread and wait until it is committed; `then` runs there right after.

        Without `transaction` it runs between commits: what pragmas such as a checkpoint need.
        """
        errand = Errand(function, then, transaction=transaction)
        self.submit(errand)
        return errand.result()

    def waiting(self) -> int:
        """Queued work, roughly."""
        return self._queue.qsize()

    def close(self, timeout_s: float) -> bool:
        """Commit what was queued before, then close the file; False if that took too long."""
        with self._door:
            self._closing = True
            self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        closing = False
        while not closing or not self._queue.empty():  # the last work may have queued what it had no room for
            group = self._next_group()
            closing = closing or None in group
            self._write([work for work in group if work is not None])
        self._connection.close()

    def _next_group(self) -> list[Work | None]:
        group = [self._queue.get()]
        while group[-1] is not None and not self._queue.empty():
            group.append(self._queue.get())
        return group

    def _write(self, group: list[Work]) -> None:
        """Work that needs no transaction goes first, each by itself."""
        for work in group:
            if isinstance(work, Errand) and not work.transaction:
                self._between_commits(work)
        together = [work for work in group if not (isinstance(work, Errand) and not work.transaction)]
        if together:
            self._commit(together)

    def _between_commits(self, work: Work) -> None:
        try:
            work.run(self._connection)
        except Exception as error:  # noqa: BLE001  (whoever waits for it gets it)
            _safely(work.failed, error)
            return
        _safely(work.committed)

    def _commit(self, group: list[Work]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for work in group:
                work.run(self._connection)
            began = monotonic_s()
            self._connection.execute("COMMIT")
            took = monotonic_s() - began
        except Exception as error:  # noqa: BLE001  (a bug in one work must not end the thread that all others need)
            self._roll_back(group, error)
            return
        for work in group:
            _safely(work.committed)
        if self.on_commit is not None:
            _safely(self.on_commit, took)

    def _roll_back(self, group: list[Work], error: Exception) -> None:
        if not isinstance(error, sqlite3.Error):
            _log.exception("a write failed", exc_info=error)
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            _log.exception("rolling back failed")
        reason = StorageFailed(f"could not commit: {error}") if isinstance(error, sqlite3.Error) else error
        for work in reversed(group):
            _safely(work.failed, reason)


def _safely(tell: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
    """Tell someone what became of a commit. A bug there must not end the thread that all others need."""
    try:
        tell(*arguments)
    except Exception:  # noqa: BLE001  (see above)
        _log.exception("after a commit, %r failed", tell)
