"""A world with retention, whose clock is turned; and what rollups must be, said once more in plain Python."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mirubato.clock import monotonic_s
from mirubato.database.state import StateStore
from mirubato.model.labels import Labels
from mirubato.model.rollups import DAY_MS, HOUR_MS, NEVER_ROLLED, Borders
from mirubato.promql.query import QueryBudget, Result, instant, over_steps
from mirubato.promql.values import Steps
from mirubato.storage.plain_rows import PlainRows
from mirubato.storage.retention import Retention, RetentionSettings
from tests.storage.world import EVERYTHING, Settings, World

MINUTE = 60_000
FAR = 1 << 60
HOURS, DAYS = Borders(FAR, NEVER_ROLLED), Borders(FAR, FAR)

T0 = 1_700_006_400_000
"""A midnight."""
assert T0 % DAY_MS == 0

WEEK = RetentionSettings(7 * DAY_MS, 30 * DAY_MS, 365 * DAY_MS)


class Kept(World):
    """A World whose sealer's thread (not started) has retention too; `state` makes it write plain rows."""

    def __init__(
        self,
        directory: Path,
        retention: RetentionSettings = WEEK,
        *,
        settings: Settings | None = None,
        state: StateStore | None = None,
        metrics: tuple[str, ...] = (),
        now: int = T0,
    ) -> None:
        super().__init__(directory, settings, now)
        self.rules, self.state, self.metrics = retention, state, metrics
        rows = PlainRows(self.store, state, metrics, (retention.hourly, retention.daily)) if state else None
        self.retention = Retention(self.store, self.sealer, retention, rows)
        self.sealer.then = self.retention.tick

    def close(self) -> None:
        self.retention.close()
        super().close()

    def reopened(self) -> "Kept":
        self.close()
        return self.again(self.directory)

    def again(self, directory: Path) -> "Kept":
        """The same over other files."""
        return Kept(directory, self.rules, settings=self.settings, state=self.state, metrics=self.metrics, now=self.now)

    def keep(self, now: int | None = None) -> None:
        """Turn the clock, and do what is due."""
        self.now = now or self.now
        self.retention.run(self.now)

    def merge(self) -> None:
        while self.sealer.merge():
            pass

    def rollups(self, grid: Borders) -> dict[Labels, dict[int, tuple[float, ...]]]:
        """All that rollups keep, and what is not rolled up yet as if it were: by series and end of the bucket."""
        labels, found = self.reader.rollups((EVERYTHING,), 0, 4 * T0, grid)
        columns = [found.columns[name].tolist() for name in COLUMNS]
        result: dict[Labels, dict[int, tuple[float, ...]]] = {}
        for owner, end, *values in zip(found.owners.tolist(), found.ends.tolist(), *columns, strict=True):
            assert end not in result.setdefault(labels[owner], {})
            result[labels[owner]][end] = tuple(values)
        return result

    def ask(self, text: str, time: int) -> Result:
        return instant(self.reader, text, time, budget())

    def values(self, text: str, time: int) -> dict[Labels, float]:
        return {one.labels: one.values[0] for one in self.ask(text, time).series if one.values}

    def over(self, text: str, start: int, end: int, step: int) -> dict[Labels, dict[int, float]]:
        result = over_steps(self.reader, text, Steps(start, end, step, 5 * MINUTE), budget())
        return {one.labels: dict(zip(one.times, one.values, strict=True)) for one in result.series}

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])


COLUMNS = ("count", "first_time", "last_time", "sum", "min", "max", "first", "last", "lost")


def budget() -> QueryBudget:
    return QueryBudget(monotonic_s() + 60, 1_000_000, 100_000_000)


@dataclass(frozen=True)
class Bucket:
    """What is kept of some samples (time, value), in order."""

    samples: tuple[tuple[int, float], ...]

    @property
    def lost(self) -> float:
        pairs = pairwise(self.samples)
        return sum(before for (_, before), (_, after) in pairs if after < before)

    def columns(self) -> tuple[float, ...]:
        times, values = zip(*self.samples, strict=True)
        ends = (values[0], values[-1], self.lost)
        return (len(values), times[0], times[-1], sum(values), min(values), max(values), *ends)


def buckets(samples: Mapping[int, float], step: int) -> dict[int, Bucket]:
    """The buckets of the samples of one series."""
    found: dict[int, list[tuple[int, float]]] = {}
    for time, value in sorted(samples.items()):
        found.setdefault(-(-time // step) * step, []).append((time, value))
    return {end: Bucket(tuple(inside)) for end, inside in found.items()}


def increase(samples: Iterable[tuple[int, float]]) -> float:
    """What a counter grew from the first of these samples to the last."""
    pairs = pairwise(samples)
    return sum(after - before if after >= before else after for (_, before), (_, after) in pairs)


__all__ = ["DAY_MS", "HOUR_MS"]
