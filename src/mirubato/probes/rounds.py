"""When each address is checked. Every address has a task and slots of its own: one that is slow delays no other."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mirubato.errors import MirubatoError
from mirubato.probes.checking import Result
from mirubato.probes.targets import Target

_log = logging.getLogger(__name__)

_STOP_S = 1.0

Check = Callable[[Target, int], Awaitable[Result]]
Write = Callable[[Target, Result], Awaitable[None]]


@dataclass(slots=True)
class Standing:
    """What is known of one address."""

    target: Target
    last: Result | None = None
    last_success_ms: int | None = None
    checks: int = 0
    failures: int = 0
    missed: int = 0
    """Slots that passed without a check: the one before took too long, or the machine slept."""
    unwritten: int = 0
    """Results that could not be stored."""


class Rounds:
    """Checks all targets, each at once and then once in every `interval_ms`."""

    def __init__(
        self, targets: Sequence[Target], interval_ms: int, check: Check, write: Write, now: Callable[[], int]
    ) -> None:
        self.standings = [Standing(target) for target in targets]
        self._interval_ms, self._check, self._write, self._now = interval_ms, check, write, now
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving = asyncio.Event()

    async def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._go_on(standing)) for standing in self.standings]

    async def stop(self) -> None:
        """End; checks under way have a second."""
        self._leaving.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _go_on(self, standing: Standing) -> None:
        offset, slot = offset_ms(standing.target, self._interval_ms), self._now()
        while not self._leaving.is_set():
            await self._once(standing, slot)
            after = next_slot(self._now(), offset, self._interval_ms)
            standing.missed += max((after - slot - 1) // self._interval_ms, 0)
            slot = after
            # The wall clock may be set while this sleeps; then the slot comes early or late, once.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), (slot - self._now()) / 1000)

    async def _once(self, standing: Standing, slot: int) -> None:
        result = await self._check(standing.target, slot)
        standing.last = result
        standing.checks += 1
        if result.success:
            standing.last_success_ms = slot
        else:
            standing.failures += 1
        try:
            await self._write(standing.target, result)
        except MirubatoError as error:
            standing.unwritten += 1
            _log.warning("a probe of %s could not be stored: %s", standing.target.name, error)


def offset_ms(target: Target, interval_ms: int) -> int:
    """Where in the interval the slots of a target lie: always the same, and not where all others do."""
    digest = hashlib.sha256(f"{target.name}\0{target.instance}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % interval_ms


def next_slot(now: int, offset: int, interval_ms: int) -> int:
    """The first slot after a time, all in ms."""
    return (now - offset) // interval_ms * interval_ms + interval_ms + offset
