"""Bringing usage into the ledger: metered hours again and again until they are final, Cloudflare's when it tells."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mirubato.costs.datasets import DATASETS, Dataset
from mirubato.costs.graphql import Analytics, TokenRefused, UsageUnknown
from mirubato.costs.ledger import Coverage, Ledger, hour_of
from mirubato.costs.metering import DATASET, Metering
from mirubato.costs.own_usage import OwnUsage
from mirubato.costs.periods import DAY_MS, HOUR_MS
from mirubato.costs.prices import Meter, PriceTable
from mirubato.costs.seeing import runs
from mirubato.costs.usage import Source, Usage, summed

_log = logging.getLogger(__name__)

# Data that comes late still counts: each hour is counted again until it is so old.
_LATE_HOURS = 3
_LATE_MS = 120_000
# Cloudflare's analytics of an hour are there a quarter of an hour later.
_GRAPHQL_LATE_MS = 15 * 60_000
_SEEN = 0.9
# Older hours than a period's are not counted after the fact.
_CATCH_UP_MS = 31 * DAY_MS
_RUNNING_MIN_MS = 1000
_FRESH_MS = 5000
_KEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Running:
    """The hour that is not over: what was counted of it, and what the gateway itself used."""

    covered: Coverage | None = None
    rows: Sequence[Usage] = ()
    own: Sequence[Usage] = ()


class Metered:
    """Keeps the hours of what passes through up to date; its methods block.

    The running hour stays in memory: state.db may be mirrored on D1, where every row that is written costs.
    """

    def __init__(self, ledger: Ledger, metering: Metering, table: PriceTable, own: OwnUsage, retention: int) -> None:
        """Samples are there for `retention` ms."""
        self._ledger, self._metering, self._own, self._retention = ledger, metering, own, retention
        self._meters: Sequence[Meter] = sorted(table.usage_meters())
        self._look_back_at = 0
        self._lock = threading.Lock()
        self._counted_at = 0
        self.running = Running()

    def collect(self, now: int) -> list[str]:
        """Count the running hour, and those before it that may have changed; sentences about what has no price."""
        with self._lock:
            notes = self._count_hours(self._due(now))
            return [*dict.fromkeys([*notes, *self._count_running(now)])]

    def refresh(self, now: int) -> None:
        """Count the running hour again if that was some seconds ago: who sends and asks wants to see it."""
        with self._lock:
            if not self._counted_at <= now < self._counted_at + _FRESH_MS:
                self._count_running(now)

    def _count_running(self, now: int) -> list[str]:
        running = hour_of(now)
        self._counted_at = now
        if self.running.own and self.running.own[0].hour < running:
            self._keep()
        own = summed([*self.running.own, *self._own.taken()])
        if now - running < _RUNNING_MIN_MS:
            self.running = Running(own=own)
            return []
        counted = self._metering.count(running, now)
        seen = counted.seen * (now - running) / HOUR_MS
        self.running = Running(Coverage(running, Source.METERED, DATASET, seen), counted.rows, own)
        return counted.notes

    def _count_hours(self, hours: Sequence[int]) -> list[str]:
        """Count some hours, all of them and those between at once, and write down those that were asked for."""
        if not hours:
            return []
        found = self._metering.hours(min(hours), max(hours))
        counted = {hour: found[hour] for hour in hours if not found[hour].failed}
        rows = [row for one in counted.values() for row in one.rows]
        covered = [Coverage(hour, Source.METERED, DATASET, one.seen) for hour, one in counted.items()]
        meters = {DATASET: list({*self._meters, *(row.meter for row in rows)})}
        self._ledger.replace(covered, meters, rows)
        return list(dict.fromkeys(note for one in found.values() for note in one.notes))

    def keep(self) -> None:
        """Write down what is counted nowhere else, at the end; not where a query does not end."""
        if self._lock.acquire(timeout=_KEEP_S):
            try:
                self._keep()
            finally:
                self._lock.release()

    def _keep(self) -> None:
        own, self.running = [*self.running.own, *self._own.taken()], replace(self.running, own=())
        self._ledger.add(own)

    def _due(self, now: int) -> list[int]:
        """The hours before the running one to count, the newest first: they matter most."""
        if now < self._look_back_at < now + 2 * HOUR_MS:
            return []
        first_time = not self._look_back_at
        running = hour_of(now)
        early = now < running + _LATE_MS
        self._look_back_at = running + _LATE_MS + (0 if early else HOUR_MS)
        late = [running - number * HOUR_MS for number in range(1, _LATE_HOURS + 1)]
        return [*late, *(self._unseen(running, late[-1]) if first_time else ())]

    def _unseen(self, running: int, before: int) -> list[int]:
        """Hours that were not counted, and whose samples are still there: the gateway was away."""
        start = hour_of(running - min(self._retention, _CATCH_UP_MS)) + HOUR_MS
        seen = {
            one.hour
            for one in self._ledger.coverage(start, before)
            if one.source is Source.METERED and one.seen >= _SEEN
        }
        return [hour for hour in range(before - HOUR_MS, start - 1, -HOUR_MS) if hour not in seen]


class Told:
    """Asks Cloudflare for the hours that it has not told of yet."""

    def __init__(self, ledger: Ledger, analytics: Analytics, history: int) -> None:
        """Of the last `history` ms, or as far back as Cloudflare goes."""
        self._ledger, self._analytics, self._history = ledger, analytics, history
        self.errors: dict[str, str] = {}
        """Why a dataset did not tell when it was last asked."""

    async def collect(self, now: int) -> None:
        """Ask for each dataset; what one of them does not tell, the others still do."""
        try:
            bounds = await self._analytics.bounds(DATASETS)
        except UsageUnknown as error:
            for dataset in DATASETS:
                await self._failed(dataset, now, str(error))
            return
        for dataset in DATASETS:
            own = bounds[dataset.node]
            if not own.enabled:
                await self._failed(dataset, now, "the account has no access to this dataset")
                continue
            try:
                await self._one(dataset, now, min(self._history, own.back - HOUR_MS))
            except TokenRefused as error:
                for each in DATASETS:
                    await self._failed(each, now, str(error))
                return
            except UsageUnknown as error:
                await self._failed(dataset, now, str(error))

    async def _one(self, dataset: Dataset, now: int, history: int) -> None:
        start, end = await asyncio.to_thread(self._window, dataset, now, history)
        if start >= end:
            return
        bounds = (await self._analytics.bounds(DATASETS))[dataset.node]
        rows = await self._analytics.usage(dataset, start, end, bounds)
        step = _step(dataset)
        covered = [Coverage(hour, Source.GRAPHQL, dataset.node, 1.0) for hour in range(start, end, step)]
        rows = [row for row in rows if start <= row.hour < end]
        await asyncio.to_thread(self._ledger.replace, covered, {dataset.node: dataset.meters}, rows)
        self.errors.pop(dataset.node, None)

    def _window(self, dataset: Dataset, now: int, history: int) -> tuple[int, int]:
        """From the first hour (or day) that is not known, or may have changed, to the last that is complete."""
        step = _step(dataset)
        end = now // DAY_MS * DAY_MS + DAY_MS if dataset.by_day else hour_of(now - _GRAPHQL_LATE_MS)
        first = -(-(now - history) // step) * step
        unseen = self._unseen(dataset, first, end)
        again = end - (2 * DAY_MS if dataset.by_day else _LATE_HOURS * HOUR_MS)
        return max(first, min(again, unseen[0] if unseen else again)), end

    def _unseen(self, dataset: Dataset, start: int, end: int) -> list[int]:
        seen = {
            one.hour for one in self._ledger.coverage(start, end) if one.dataset == dataset.node and one.seen >= _SEEN
        }
        return [hour for hour in range(start, end, _step(dataset)) if hour not in seen]

    async def _failed(self, dataset: Dataset, now: int, reason: str) -> None:
        """Write down why, at the first hour of each stretch that is not known."""
        if self.errors.get(dataset.node) != reason:
            _log.warning("usage of %s is not known: %s", dataset.node, reason)
        self.errors[dataset.node] = reason
        await asyncio.to_thread(self._note, dataset, now, reason)

    def _note(self, dataset: Dataset, now: int, reason: str) -> None:
        start = now // DAY_MS * DAY_MS - min(self._history, _CATCH_UP_MS)
        begins = [begin for begin, _ in runs(self._unseen(dataset, start, hour_of(now)), _step(dataset))]
        noted = {
            one.hour for one in self._ledger.coverage(start, now) if one.dataset == dataset.node and one.note == reason
        }
        fresh = [Coverage(hour, Source.GRAPHQL, dataset.node, 0.0, reason) for hour in begins if hour not in noted]
        if fresh:
            self._ledger.note_coverage(fresh)


def _step(dataset: Dataset) -> int:
    return DAY_MS if dataset.by_day else HOUR_MS
