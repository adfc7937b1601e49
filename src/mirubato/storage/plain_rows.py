"""Hours and days of chosen metrics as plain rows in state.db, for those who read SQL and no PromQL.

Every write is an upsert of what the samples (or their rollups) give, so to do it again changes nothing. An hour is
written when it has passed, and again when samples of it came late (`late`, written by the commit that seals them).
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from mirubato.database.state import StateStore
from mirubato.limits import ROWS_BEHIND_MS_MAX
from mirubato.model.labels import NAME, Labels, metric_name
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.rollups import DAY_MS, HOUR_MS, NEVER_ROLLED, Borders
from mirubato.storage.moving import Mover
from mirubato.storage.reading import Reader
from mirubato.storage.rollups import Rollups
from mirubato.storage.store import SampleStore

_TABLES = {HOUR_MS: "rollup_hourly", DAY_MS: "rollup_daily"}
_FAR = 1 << 60


class PlainRows:
    """Writes them; on the sealer's thread."""

    def __init__(self, store: SampleStore, state: StateStore, metrics: Sequence[str], kept_ms: tuple[int, int]) -> None:
        """`kept_ms`: how long hours and days stay."""
        self._store, self._state, self._metrics = store, state, metrics
        self._kept = dict(zip(_TABLES, kept_ms, strict=True))
        self._reader, self._mover = Reader(store), Mover(store)
        store.watched = frozenset(metrics)

    def close(self) -> None:
        """Close the connection that it reads with."""
        self._reader.close()

    def write(self, now: int) -> None:
        """Bring the tables up to the last whole hour and day before `now` (ms)."""
        kept = self._store.kept
        late = self._late()
        for step, done in ((HOUR_MS, kept.rows_hourly), (DAY_MS, kept.rows_daily)):
            until = now // step * step
            oldest = max(now - min(self._kept[step], ROWS_BEHIND_MS_MAX), 0) // step * step
            if self._kept[step]:
                for end in range(max(done, oldest) + step, until + 1, step):
                    self._write(step, end, self._metrics)
                self._write_again(step, (max(oldest, kept.borders.hourly if step == HOUR_MS else 0), until), late)
            self._forget(step, now - self._kept[step])
        hour, day = now // HOUR_MS * HOUR_MS, now // DAY_MS * DAY_MS
        if late or (hour, day) != (kept.rows_hourly, kept.rows_daily):
            done_late = [("DELETE FROM late WHERE name = ? AND hour = ?", key) for key in late]
            self._mover.commit(done_late, rows_hourly=hour, rows_daily=day)

    def _write_again(self, step: int, window: tuple[int, int], late: dict[tuple[int, int], str]) -> None:
        """Buckets that changed, and the next row of each of their series, whose increase began with them."""
        changed = {(-(-hour // step) * step, metric) for (_, hour), metric in late.items()}
        changed = {(end, metric) for end, metric in changed if window[0] < end <= window[1]}
        following = set[tuple[int, str]]()
        for end, metric in sorted(changed):
            following |= {(one, metric) for one in self._write(step, end, [metric])}
        for end, metric in sorted(following - changed):
            self._write(step, end, [metric])

    def _late(self) -> dict[tuple[int, int], str]:
        """(name, hour) of what came late, and the metric."""
        found = self._store.writer.call(
            lambda connection: connection.execute("SELECT name, hour FROM late").fetchall(), transaction=False
        )
        pairs = self._store.registry.symbols.pairs
        return {(name, hour): pairs[name][1] for name, hour in found}

    def _forget(self, step: int, until: int) -> None:
        table = _TABLES[step]
        some = self._state.read(
            lambda connection: connection.execute(
                f"SELECT 1 FROM {table} WHERE end_ms <= ? LIMIT 1",  # noqa: S608  (tables of ours)
                (until,),
            ).fetchone()
        )
        if some:
            self._state.write(
                lambda connection: connection.execute(f"DELETE FROM {table} WHERE end_ms <= ?", (until,))  # noqa: S608
            )

    def _write(self, step: int, end: int, metrics: Sequence[str]) -> set[int]:
        """The rows of some metrics of one bucket; answers the ends of the rows that follow them."""
        grid = Borders(_FAR, NEVER_ROLLED if step == HOUR_MS else _FAR)
        rows: list[_Row] = []
        for metric in metrics:
            matchers = (Matcher(NAME, MatchOp.EQUAL, metric),)
            labels, found = self._reader.rollups(matchers, end - step + 1, end, grid)
            rows += _rows_of(labels, found, end)
        return self._state.write(lambda connection: _upsert(connection, _TABLES[step], end, rows)) if rows else set()


@dataclass(frozen=True, slots=True)
class _Row:
    """One series in one bucket; `increase` without what came before its first sample."""

    labels: Labels
    count: int
    sum: float
    min: float
    max: float
    first: float
    last: float
    increase: float

    @property
    def key(self) -> str:
        """What names the series in every table and on every machine: the first half of the SHA-256 of its labels."""
        return hashlib.sha256(json.dumps(self.labels).encode()).hexdigest()[:32]


def _rows_of(labels: Sequence[Labels], found: Rollups, end: int) -> Iterator[_Row]:
    own = found.take(np.flatnonzero(found.ends == end))
    columns = [own.columns[name].tolist() for name in ("count", "sum", "min", "max", "first", "last")]
    for owner, *numbers in zip(own.owners.tolist(), *columns, own.increases.tolist(), strict=True):
        yield _Row(labels[owner], *numbers)


def _upsert(connection: sqlite3.Connection, table: str, end: int, rows: Sequence[_Row]) -> set[int]:
    """Write rows, each with the increase since the one before; answers the ends of the rows that follow them."""
    following = set[int]()
    for row in rows:
        before = connection.execute(
            f"SELECT last FROM {table} WHERE series = ? AND end_ms < ? ORDER BY end_ms DESC LIMIT 1",  # noqa: S608
            (row.key, end),
        ).fetchone()
        increase = row.increase + _between(None if before is None else before[0], row.first)
        values = (_finite(value) for value in (row.sum, row.min, row.max, row.last, increase))
        connection.execute(
            f"INSERT INTO {table} (series, end_ms, metric, labels, count, sum, min, max, last, increase)"  # noqa: S608
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (series, end_ms) DO UPDATE SET count = excluded.count,"
            " sum = excluded.sum, min = excluded.min, max = excluded.max, last = excluded.last,"
            " increase = excluded.increase",
            (row.key, end, metric_name(row.labels), json.dumps(dict(row.labels)), row.count, *values),
        )
        next_end = "SELECT min(end_ms) FROM {} WHERE series = ? AND end_ms > ?".format(table)  # noqa: S608, UP032
        (after,) = connection.execute(next_end, (row.key, end)).fetchone()
        following |= set() if after is None else {after}
    return following


def _between(before: float | None, first: float) -> float:
    """What a counter grew from one sample to the next; all of it after a reset."""
    if before is None:
        return 0.0
    return first - before if first >= before else first


def _finite(value: float) -> float | None:
    """SQL has no NaN."""
    return value if -inf < value < inf else None
