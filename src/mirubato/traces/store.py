"""traces.db: the tail decision, and the thread that writes what it keeps. Answers once that is on disk."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mirubato.database.files import Readers
from mirubato.database.writer import Writer
from mirubato.errors import Overloaded
from mirubato.limits import KEPT_TRACES_MAX, WAITING_BYTES_MAX
from mirubato.model.logs import ERROR_SEVERITY, Logs
from mirubato.model.spans import Spans
from mirubato.traces import trimming
from mirubato.traces.deploys import Deploys
from mirubato.traces.keeping import keep_logs, keep_spans
from mirubato.traces.schema import open_traces
from mirubato.traces.tail import Cause, Tail, TailSettings

FILE = "traces.db"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """What traces.db may hold: for how long (ms), and how much."""

    tail: TailSettings
    retention_ms: int
    bytes_max: int


class TraceStore:
    """Kept spans and error logs. `keep` and `keep_logs` belong to one event loop; `read` to any thread."""

    def __init__(self, directory: Path, settings: TraceSettings, deploys: Deploys) -> None:
        """Open or make the file under `directory`; StorageFailed if that cannot be. `deploys` is told of versions."""
        self.path = (directory / FILE).absolute()
        self.tail = Tail(settings.tail)
        self.trimmed = 0
        """Traces and logs that had to go early, because the file was full."""
        self.kept_logs = 0
        self.waiting_bytes = 0
        self._settings, self._deploys = settings, deploys
        self._now_ms = 0
        connection = open_traces(self.path)
        _remember(connection, self.tail)
        self.writer = Writer(connection, "traces-writer")
        self._readers = Readers(self.path, sqlite3.Row)

    async def keep(self, spans: Spans, now_ms: int) -> None:
        """Decide, and commit what is to be kept; StorageFailed if the disk says no: then the same may come again."""
        await self._deploys.see(_versions(spans), now_ms, "spans")
        batch = self.tail.decide(spans, now_ms)
        if not batch.spans:
            return
        now_ms = self._not_before(now_ms)
        try:
            size = sum(len(span.message) for span in batch.spans)
            await self._write(lambda connection: keep_spans(connection, batch, now_ms), size)
        except Exception:  # whatever it was, nothing was kept: the sender tries again
            self.tail.give_back(batch, now_ms)
            raise

    async def keep_logs(self, logs: Logs, now_ms: int) -> None:
        """Commit the errors among some log records; errors as `keep`."""
        errors = [log for log in logs if log.severity >= ERROR_SEVERITY or (log.exception_type and not log.severity)]
        if not errors:
            return
        now_ms = self._not_before(now_ms)
        size = sum(len(log.message) for log in errors)
        await self._write(lambda connection: keep_logs(connection, errors, now_ms), size)
        self.kept_logs += len(errors)

    def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call `function` with a connection that only reads, from any thread; it never waits for the writer."""
        with self._readers.use() as connection:
            return function(connection)

    def tidy(self, now_ms: int) -> None:
        """Delete what is too old and give free disk back; blocks while it does. For a thread, once a minute."""
        before = now_ms - self._settings.retention_ms
        while self.writer.call(lambda connection: trimming.expire(connection, before)):
            pass
        while self.writer.call(trimming.give_back, transaction=False):
            pass

    def bytes(self) -> int:
        """Size of the file and its log."""
        return sum(path.stat().st_size for path in self.path.parent.glob(f"{FILE}*"))

    def close(self, timeout_s: float) -> bool:
        """Commit what is queued and close the file; False if that took too long."""
        read = self._readers.close(timeout_s)
        return self.writer.close(timeout_s) and read

    def _not_before(self, now_ms: int) -> int:
        """A time that never goes back: what is the oldest must not depend on a clock that was set."""
        self._now_ms = max(self._now_ms, now_ms)
        return self._now_ms

    async def _write(self, insert: Callable[[sqlite3.Connection], None], size: int) -> None:
        """Commit, and make room if there is none; Overloaded if too much waits."""
        if self.waiting_bytes + size > WAITING_BYTES_MAX:
            raise Overloaded(f"{self.waiting_bytes >> 20} MiB of spans and logs are waiting to be kept")
        work = _Write(insert, self._settings.bytes_max, asyncio.get_running_loop())
        self.waiting_bytes += size
        try:
            self.writer.submit(work)
            self.trimmed += await work.done
        finally:
            self.waiting_bytes -= size


class _Write:
    """`database.writer.Work` that an event loop waits for; `done` answers how many traces and logs had to go."""

    def __init__(
        self, insert: Callable[[sqlite3.Connection], None], bytes_max: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._insert, self._bytes_max, self._loop = insert, bytes_max, loop
        self.done: asyncio.Future[int] = loop.create_future()
        self._trimmed = 0

    def run(self, connection: sqlite3.Connection) -> None:
        """Insert, then make room."""
        self._insert(connection)
        self._trimmed = trimming.trim(connection, self._bytes_max)

    def committed(self) -> None:
        """On disk."""
        self._tell(self._trimmed)

    def failed(self, error: Exception) -> None:
        """Rolled back."""
        self._tell(error)

    def _tell(self, answer: int | Exception) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, self.done, answer)
        except RuntimeError:  # the loop is closed: the gateway is leaving, and nobody waits any more
            return


def _resolve(done: asyncio.Future[int], answer: int | Exception) -> None:
    if done.done():  # whoever waited was cancelled: the client hung up
        return
    if isinstance(answer, Exception):
        done.set_exception(answer)
    else:
        done.set_result(answer)


def _versions(spans: Spans) -> Iterator[tuple[str, str]]:
    """(service, version) of each run of spans with one origin."""
    last = None
    for span in spans:
        if span.origin is not last:
            last = span.origin
            if last.version:
                yield last.service, last.version


def _remember(connection: sqlite3.Connection, tail: Tail) -> None:
    """The newest kept traces: their later spans are kept too."""
    rows = connection.execute(
        "SELECT trace_id, cause, spans FROM (SELECT * FROM trace ORDER BY id DESC LIMIT ?) ORDER BY id",
        (KEPT_TRACES_MAX,),
    )
    for trace_id, cause, spans in rows:
        tail.remember(trace_id, Cause(cause), spans)
