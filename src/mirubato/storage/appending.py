"""Appending: requests wait together, are prepared on the writer thread, and share one commit."""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from mirubato.errors import Overloaded, StorageFailed
from mirubato.limits import COMMIT_BYTES_MAX, WAITING_BYTES_MAX
from mirubato.model.samples import Batch
from mirubato.storage.sealing import Sealer
from mirubato.storage.store import SampleStore

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Prepare = Callable[[Sequence[Item], int], tuple[Batch, Sequence[Answer | Exception]]]
"""Requests, and the time in ms -> one batch, and an answer (or the error to raise) for each request.

A request whose commit was ended by a bug, its own or another's, comes again.
"""


_SEAL_WAIT_S = 0.02
_SEAL_WAITS_MAX = 250
"""Five seconds, half of what the OTLP exporters allow for a whole export."""


class _Request(NamedTuple, Generic[Item, Answer]):
    """What waits: a request, its size in bytes, and where the answer goes."""

    item: Item
    size: int
    future: asyncio.Future[Answer]


class Appender(Generic[Item, Answer]):
    """The way into a store: `append` answers after the commit.

    Decoding happens in `prepare`, on the writer thread: it reads and writes the state of the series, and there it needs
    no lock, sees every earlier request, and costs one hand-over for all requests of a commit.
    """

    def __init__(
        self,
        store: SampleStore,
        sealer: Sealer,
        prepare: Prepare[Item, Answer],
        now: Callable[[], int],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._store, self._sealer, self._prepare, self._now, self._loop = store, sealer, prepare, now, loop
        self._lock = threading.Lock()
        self._waiting: deque[_Request[Item, Answer]] = deque()
        self._suspects: deque[_Request[Item, Answer]] = deque()
        """Requests of a commit that a bug has ended: tried again one at a time, so that only the one to blame fails."""
        self._scheduled = False
        self._taken: Sequence[_Request[Item, Answer]] = ()
        self._answers: Sequence[Answer | Exception] = ()
        self._batch: Batch | None = None
        self._seq = 0
        self.waiting_bytes = 0

    async def append(self, item: Item, size: int) -> Answer:
        """Commit one request of `size` bytes; Overloaded if too much waits, StorageFailed if the disk says no."""
        if self.waiting_bytes + size > WAITING_BYTES_MAX:
            raise Overloaded(f"{self.waiting_bytes >> 20} MiB of requests are waiting to be committed")
        self.waiting_bytes += size
        try:
            if self._sealer.behind():
                await self._let_it_seal()
            future: asyncio.Future[Answer] = self._loop.create_future()
            with self._lock:
                self._waiting.append(_Request(item, size, future))
                self._schedule()
            return await future
        finally:
            self.waiting_bytes -= size

    async def _let_it_seal(self) -> None:
        """Unsealed samples are memory: past a bound, requests wait for the sealer, and in the end are sent away."""
        for _ in range(_SEAL_WAITS_MAX):
            self._sealer.nudge()
            await asyncio.sleep(_SEAL_WAIT_S)
            if not self._sealer.behind():
                return
        raise Overloaded(f"{self._store.recent.samples} samples are waiting to be sealed")

    def run(self, connection: sqlite3.Connection) -> None:
        """Prepare what waits and put it into the open transaction; on the writer thread, as all that follows."""
        self._taken, self._batch = self._take(), None
        now = self._now()
        self._store.registry.begin(now)
        batch, self._answers = self._prepare([request.item for request in self._taken], now)
        assert len(self._answers) == len(self._taken), (len(self._answers), len(self._taken))
        self._seq = self._store.write(connection, batch)
        self._batch = batch

    def committed(self) -> None:
        """Answer everyone."""
        assert self._batch is not None
        self._store.committed(self._seq, self._batch, self._now())
        self._answer(self._answers)
        if self._sealer.full():
            self._sealer.nudge()

    def failed(self, error: Exception) -> None:
        """Nothing was kept: everyone may try again."""
        self._store.failed()
        # A commit can fail before it comes to `run`; whoever waits then has waited for nothing, too.
        to_blame = bool(self._taken) and self._batch is None
        self._taken = self._taken or self._take()
        if isinstance(error, StorageFailed) or (to_blame and len(self._taken) == 1):
            self._answer([error] * len(self._taken))
            return
        with self._lock:
            self._suspects += self._taken
            self._taken = ()
            self._schedule()

    def _schedule(self) -> None:
        """Queue for the writer, unless queued already: a commit must not meet this twice. The lock is held."""
        if not self._scheduled:
            self._store.writer.submit(self)
            self._scheduled = True

    def _take(self) -> Sequence[_Request[Item, Answer]]:
        taken, total = [], 0
        with self._lock:
            self._scheduled = False
            if self._suspects:
                taken.append(self._suspects.popleft())
                total = COMMIT_BYTES_MAX
            while self._waiting and total < COMMIT_BYTES_MAX:
                taken.append(self._waiting.popleft())
                total += taken[-1].size
            if self._waiting or self._suspects:
                self._schedule()
        return taken

    def _answer(self, answers: Sequence[Answer | Exception]) -> None:
        taken, self._taken = self._taken, ()
        try:
            self._loop.call_soon_threadsafe(_resolve, [request.future for request in taken], answers)
        except RuntimeError:
            # The loop is closed: the gateway is leaving, and nobody waits for these any more.
            return


def _resolve(futures: Sequence[asyncio.Future[Answer]], answers: Sequence[Answer | Exception]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if future.done():  # whoever waited was cancelled: the client hung up
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
