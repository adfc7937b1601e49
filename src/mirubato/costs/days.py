"""The ledger by days: each is reconciled and summed up once, and again only when something of it is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mirubato.costs.collecting import Running
from mirubato.costs.ledger import Coverage, Ledger, hour_of
from mirubato.costs.periods import DAY_MS, HOUR_MS
from mirubato.costs.usage import Source, Usage, reconciled, summed, usable

# Same hours of so many days before are what the running hour is compared with.
_COMPARED_DAYS = 7


@dataclass(frozen=True, slots=True)
class Day:
    """A UTC day: what was used, one row for each meter, script, label and source; `hour` is the day's first."""

    rows: Sequence[Usage] = ()
    own: Sequence[Usage] = ()
    """What the gateway itself used, whether or not Cloudflare's number holds it too."""
    metered: Sequence[Usage] = ()
    coverage: Sequence[Coverage] = ()
    problems: Sequence[str] = ()


class Days:
    """Reads of a ledger; `running` is the hour that it does not have yet. Methods block."""

    def __init__(self, ledger: Ledger, running: Callable[[], Running]) -> None:
        self._ledger, self._running = ledger, running
        self._kept: dict[int, tuple[int, Day]] = {}

    def between(self, start: int, end: int) -> list[Day]:
        """The days from `start` (ms, midnight) on, in order, what is of `end` or later left out."""
        found = [self._day(at, end) for at in range(start, end, DAY_MS)]
        self._kept = {at: kept for at, kept in self._kept.items() if at >= end - 400 * DAY_MS}
        return [*found, self._unfinished(start, end)]

    def hours(self, now: int) -> list[Usage]:
        """Reconciled rows of the running hour, of the one before, and of the same hour of the days before."""
        hour = hour_of(now)
        rows = [*self._ledger.usage(hour - HOUR_MS, now), *self._rows_of_running(0, now)]
        for number in range(1, _COMPARED_DAYS + 1):
            rows += self._ledger.usage(hour - number * DAY_MS, hour - number * DAY_MS + 1)
        return reconciled(usable(rows)[0])

    def _day(self, at: int, end: int) -> Day:
        version = self._ledger.version(at)
        kept = self._kept.get(at)
        if kept is not None and kept[0] == version and at + DAY_MS <= end:
            return kept[1]
        until = min(at + DAY_MS, end)
        day = _summed_up(at, self._ledger.usage(at, until), self._ledger.coverage(at, until))
        self._kept[at] = (version, day)
        if at + DAY_MS > end:
            del self._kept[at]
        return day

    def _unfinished(self, start: int, end: int) -> Day:
        covered = self._running().covered
        coverage = [covered] if covered is not None and start <= covered.hour < end else []
        return _summed_up(hour_of(end) // DAY_MS * DAY_MS, self._rows_of_running(start, end), coverage)

    def _rows_of_running(self, start: int, end: int) -> list[Usage]:
        running = self._running()
        return [row for row in (*running.rows, *running.own) if start <= row.hour < end]


def _summed_up(at: int, rows: Sequence[Usage], coverage: Sequence[Coverage]) -> Day:
    good, problems = usable(rows)
    own = [row for row in good if row.source is Source.OWN]
    metered = [row for row in good if row.source is Source.METERED]
    return Day(_of_day(at, reconciled(good)), _of_day(at, own), _of_day(at, metered), coverage, problems)


def _of_day(at: int, rows: Sequence[Usage]) -> list[Usage]:
    return summed([replace(row, hour=at) for row in rows])
