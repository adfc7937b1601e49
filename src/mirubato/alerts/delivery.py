"""Delivery: a queue for each receiver, so that a broken one delays no other. Sent means answered."""

import asyncio
import contextlib
import logging
import random
import sqlite3
from collections import Counter
from collections.abc import Callable

from mirubato.alerts import outbox
from mirubato.alerts.outbox import Delivery, Done
from mirubato.database.state import StateStore
from mirubato.errors import MirubatoError
from mirubato.limits import DELIVERY_GIVES_UP_MS, DELIVERY_PAUSE_MS_MAX, DELIVERY_PAUSE_MS_MIN, OWED_AT_ONCE_MAX
from mirubato.notify.channels import shown
from mirubato.notify.receiver import Answer, Delivered, Receiver, Refusal, RetryLater

_log = logging.getLogger(__name__)


def pause_ms(attempts: int, after_s: float | None, chance: float) -> int:
    """How long to wait after an attempt: what the receiver asked for, else doubling from one second to five minutes.

    `chance` (0 to 1) spreads what failed together: full jitter over the upper half.
    """
    doubled = min(DELIVERY_PAUSE_MS_MIN << min(attempts, 20), DELIVERY_PAUSE_MS_MAX)
    spread = int(doubled * (0.5 + chance / 2))
    return spread if after_s is None else max(int(after_s * 1000), DELIVERY_PAUSE_MS_MIN // 2)


class Deliverer:
    """Sends what the outbox owes. `start`, `stop` and `wake` on the event loop."""

    def __init__(self, state: StateStore, find: Callable[[str], Receiver | None], now: Callable[[], int]) -> None:
        """`find` answers the receiver behind the name or address of a channel."""
        self._state, self._find, self._now = state, find, now
        self._news = asyncio.Event()
        self._awake: dict[str, asyncio.Event] = {}
        self._paused_until: dict[str, int] = {}
        """Receivers that are left alone until a time, ms."""
        self._tasks: list[asyncio.Task[None]] = []
        self.ended: Counter[tuple[str, Done]] = Counter()
        """Deliveries that ended, by receiver and how."""
        self.retried: Counter[str] = Counter()

    async def start(self) -> None:
        """Go on with what an earlier process left owed."""
        self._news.set()
        self._tasks.append(asyncio.create_task(self._distribute()))

    async def stop(self) -> None:
        """Leave what is not answered; it stays owed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Something new is owed."""
        self._news.set()

    async def _distribute(self) -> None:
        """Wake the queue of each receiver that something is owed to, and make it if there is none yet."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                for name in await asyncio.to_thread(self._state.read, outbox.receivers_owed):
                    await self._begin(name)
            except (MirubatoError, sqlite3.Error) as error:
                _log.error("the outbox cannot be read: %s", error)  # the next news or restart tries again

    async def _begin(self, name: str) -> None:
        if name not in self._awake:
            if self._find(name) is None:
                await asyncio.to_thread(self._refuse, name)
                return
            self._awake[name] = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._serve(name)))
        self._awake[name].set()

    def _refuse(self, name: str) -> None:
        """A channel that is not set up: said once for each message, and visible."""
        for delivery in self._state.read(lambda file: outbox.owed(file, name, OWED_AT_ONCE_MAX)):
            self._finish(delivery, Done.REFUSED, f"there is no channel {shown(name)!r}: it needs settings")
        _log.error("a message was for channel %s, which is not set up (docs/ALERTS.md, Channels)", shown(name))

    async def _serve(self, name: str) -> None:
        """One receiver's queue: the oldest that is due, one at a time."""
        awake = self._awake[name]
        while True:
            awake.clear()
            try:
                wait_ms = await self.send_next(name)
            except (MirubatoError, sqlite3.Error) as error:  # state.db: what is owed stays owed
                _log.error("deliveries to %s wait: %s", shown(name), error)
                wait_ms = DELIVERY_PAUSE_MS_MAX
            if wait_ms:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(awake.wait(), wait_ms / 1000)

    async def send_next(self, name: str) -> int:
        """Send what is due first; how many ms there is nothing to do after, 0: there may be more."""
        waiting = await asyncio.to_thread(self._state.read, lambda file: outbox.owed(file, name, OWED_AT_ONCE_MAX))
        if not waiting:
            return DELIVERY_PAUSE_MS_MAX
        first = min(waiting, key=lambda one: one.due_ms)
        if (left := max(first.due_ms, self._paused_until.get(name, 0)) - self._now()) > 0:
            return min(left, DELIVERY_PAUSE_MS_MAX)
        reference = await asyncio.to_thread(
            self._state.read, lambda file: outbox.reference(file, name, first.message.thread)
        )
        answer = await self._sent(name, first, reference)
        await asyncio.to_thread(self._record, first, answer)
        return 0

    async def _sent(self, name: str, delivery: Delivery, reference: str) -> Answer:
        try:
            receiver = self._find(name)
            return await receiver.send(delivery.message, reference) if receiver else Refusal("the channel is gone")
        except Exception as error:  # noqa: BLE001  (a defect in one receiver must not end its queue)
            _log.exception("sending to %s failed", shown(name))
            return RetryLater(f"a defect: {type(error).__name__}")

    def _record(self, delivery: Delivery, answer: Answer) -> None:
        """Put an answer on disk."""
        now = self._now()
        match answer:
            case Delivered(left):
                self._finish(delivery, Done.DELIVERED, "", left)
            case Refusal(problem):
                _log.error("%s refused message %s: %s", shown(delivery.receiver), delivery.message.id, problem)
                self._finish(delivery, Done.REFUSED, problem)
            case RetryLater(problem) if now - delivery.created_ms >= DELIVERY_GIVES_UP_MS:
                _log.error(
                    "gave up sending message %s to %s: %s", delivery.message.id, shown(delivery.receiver), problem
                )
                self._finish(delivery, Done.GIVEN_UP, problem)
            case RetryLater(problem, after_s):
                pause = pause_ms(delivery.attempts, after_s, random.random())  # noqa: S311  (jitter is no secret)
                _log.warning("%s did not take message %s: %s", shown(delivery.receiver), delivery.message.id, problem)
                self.retried[delivery.receiver] += 1
                self._state.write(lambda file: outbox.postpone(file, delivery, now + pause, problem))
                # A receiver that asked for time gets it; else only this message waits long, others may come through.
                alone = pause if after_s is not None else min(pause, DELIVERY_PAUSE_MS_MIN)
                self._paused_until[delivery.receiver] = now + alone

    def _finish(self, delivery: Delivery, done: Done, problem: str, left: str = "") -> None:
        now = self._now()
        self._state.write(lambda file: outbox.finish(file, delivery, done, now, problem, left))
        self.ended[delivery.receiver, done] += 1
