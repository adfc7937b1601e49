"""Samples become hours, hours become days, and what is too old goes: one bounded commit for each step.

A step reads and computes on the thread of the sealer, then commits what goes and what stands for it in one transaction.
A death between two steps loses and doubles nothing, and the next run goes on where the last one ended.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mirubato.limits import BLOCK_VALUES_MAX, MOVED_SAMPLES_MAX
from mirubato.model.labels import is_stale
from mirubato.model.rollups import DAY_MS, HOUR_MS, NEVER_ROLLED, Borders
from mirubato.model.samples import HistogramSample, Int64s, Kind
from mirubato.storage import rollups
from mirubato.storage.blocks import (
    Block,
    DamagedBlock,
    Decoded,
    build_blocks,
    build_histogram_blocks,
    check,
    checksum,
    decode_series,
    read_block,
)
from mirubato.storage.kept import Kept, write_kept
from mirubato.storage.rollups import RollupBlock, Rollups
from mirubato.storage.schema import FORMAT, open_reader
from mirubato.storage.store import SampleStore

# Rollup blocks of one stretch are put together: hours of a day, days of a month.
_STRETCHES = {HOUR_MS: DAY_MS, DAY_MS: 32 * DAY_MS}

# So many more blocks than they would fill are put together: each bucket is written again three times a day or so.
_SMALL_BLOCKS = 8

_FAR: Final = 1 << 60
_GRIDS = {HOUR_MS: Borders(_FAR, NEVER_ROLLED), DAY_MS: Borders(_FAR, _FAR)}
"""Borders with which everything is an hour, or a day."""

Bools = NDArray[np.bool_]
Statements = list[tuple[str, tuple[object, ...]]]


@dataclass(frozen=True, slots=True)
class _Row:
    """A block (or rollup block) as it was read, decoded; `gone` says which of its samples or buckets go."""

    id: int
    decoded: Decoded | Rollups
    gone: Bools


class Mover:
    """The steps. Each answers whether it did something; all on one thread, which is also the only one that merges."""

    def __init__(self, store: SampleStore) -> None:
        self._store = store

    def commit(self, statements: Iterable[tuple[str, tuple[object, ...]]], **changes: object) -> None:
        """Execute statements, and tell the next version of what is kept, in one transaction."""
        kept = replace(self._store.kept, version=self._store.kept.version + 1, **changes)  # type: ignore[arg-type]

        def run(connection: sqlite3.Connection) -> None:
            for sql, values in statements:
                connection.execute(sql, values)
            write_kept(connection, kept)

        self._store.writer.call(run, lambda: self._tell(kept))

    def _tell(self, kept: Kept) -> None:
        self._store.kept = kept

    # --- samples ------------------------------------------------------------------------------------------------------

    def roll_samples(self, until: int, *, keep: bool) -> bool:
        """Let samples up to `until` (ms) of one metric go, some of them; rollups stand for them if `keep`."""
        with closing(open_reader(self._store.path)) as connection:
            found = connection.execute(
                "SELECT kind, name FROM block INDEXED BY block_by_age WHERE time_low <= ? ORDER BY time_low LIMIT 1",
                (until,),
            ).fetchone()
            if found is None:
                return False
            kind, name = Kind(found[0]), int(found[1])
            step = HOUR_MS if until > self._store.kept.borders.hourly else DAY_MS
            until, id_high = _portion(connection, kind, name, until, step)
            statements, rows = self._read_blocks(connection, kind, name, until, id_high)
            if not statements and not rows:  # the first series have nothing that old
                statements, rows = self._read_blocks(connection, kind, name, until, _FAR)
        for row in rows:  # first: what stands for them then takes the pages that they leave
            statements += _rest_of_block(kind, name, row)
        if keep and kind is Kind.HISTOGRAM:
            statements += self._thinned(name, rows)
        elif keep:
            statements += _inserts(kind, name, self._rolled(rows), self._store.kept.borders)
        self.commit(statements)
        return True

    def _read_blocks(
        self, connection: sqlite3.Connection, kind: Kind, name: int, until: int, id_high: int
    ) -> tuple[Statements, list[_Row]]:
        """The blocks that hold what goes; those that are damaged go as soon as they are wholly too old."""
        statements: Statements = []
        rows: list[_Row] = []
        for format_, high, *row in connection.execute(
            "SELECT format, time_high, id, series, timestamps, content, checksum FROM block"
            " WHERE kind = ? AND name = ? AND time_low <= ? ORDER BY seq_low, id",
            (int(kind), name, until),
        ):
            try:
                if format_ < 0:
                    raise DamagedBlock(row[0], "it was found damaged before")
                decoded = read_block(kind, *row)
            except DamagedBlock as damage:
                self._store.report_damage("block", damage.id, damage)
                statements.append(_aside("block", damage.id, gone=high <= until, low=until + 1))
                continue
            gone = (decoded.timestamps <= until) & (decoded.owners <= id_high)
            if gone.any():
                rows.append(_Row(row[0], decoded, gone))
        return statements, rows

    def _rolled(self, rows: Sequence[_Row]) -> Rollups:
        """Rollups of the float samples that go; of two at one time the later write counts."""
        parts = [(row.decoded, row.gone) for row in rows if isinstance(row.decoded, Decoded)]
        owners = np.concatenate([decoded.owners[gone] for decoded, gone in parts] or [np.empty(0, np.int64)])
        times = np.concatenate([decoded.timestamps[gone] for decoded, gone in parts] or [np.empty(0, np.int64)])
        values = np.concatenate([decoded.values[gone] for decoded, gone in parts] or [np.empty(0)])
        order = np.lexsort((times, owners))  # stable
        owners, times, values = owners[order], times[order], values[order]
        last = np.append((owners[1:] != owners[:-1]) | (times[1:] != times[:-1]), True)[: len(times)]
        last &= ~is_stale(values)
        return rollups.roll(owners[last], times[last], values[last], self._store.kept.borders)

    def _thinned(self, name: int, rows: Sequence[_Row]) -> Statements:
        """What is kept of the native histograms that go."""
        going = [
            sample
            for row in rows
            if isinstance(row.decoded, Decoded)
            for sample, gone in zip(row.decoded.histograms, row.gone.tolist(), strict=True)
            if gone
        ]
        borders = self._store.kept.borders
        kept = rollups.thin(_in_order(going), borders)
        hours = [sample for sample in kept if sample.timestamp > borders.hourly]
        days = [sample for sample in kept if sample.timestamp <= borders.hourly]
        return _histogram_inserts(name, HOUR_MS, hours) + _histogram_inserts(name, DAY_MS, days)

    # --- rollups ------------------------------------------------------------------------------------------------------

    def roll_hours(self, until: int) -> bool:
        """Make days of the hours up to `until` (the end of a day) of one metric."""
        return self._shrink(HOUR_MS, until, into_days=True)

    def drop(self, resolution: int, until: int) -> bool:
        """Let the rollups of one metric up to `until` go."""
        return self._shrink(resolution, until, into_days=False)

    def _shrink(self, resolution: int, until: int, *, into_days: bool) -> bool:
        with closing(open_reader(self._store.path)) as connection:
            found = connection.execute(
                "SELECT kind, name FROM rollup INDEXED BY rollup_by_age WHERE resolution = ? AND time_low <= ? LIMIT 1",
                (resolution, until),
            ).fetchone()
            if found is None:
                return False
            kind, name = Kind(found[0]), int(found[1])
            statements, rows = self._read_rollups(connection, resolution, kind, name, until)
        for row in rows:
            statements += _rest_of_rollup(kind, name, resolution, row)
        if into_days and kind is Kind.HISTOGRAM:
            going = [sample for row in rows for sample in _histograms(row, going=True)]
            statements += _histogram_inserts(name, DAY_MS, rollups.thin(_in_order(going), _GRIDS[DAY_MS]))
        elif into_days:
            going_buckets = [row.decoded.take(row.gone) for row in rows if isinstance(row.decoded, Rollups)]
            days = rollups.fold(rollups.joined(going_buckets), _GRIDS[DAY_MS])
            statements += _inserts(kind, name, days, _GRIDS[DAY_MS])
        self.commit(statements)
        return True

    def _read_rollups(
        self, connection: sqlite3.Connection, resolution: int, kind: Kind, name: int, until: int
    ) -> tuple[Statements, list[_Row]]:
        """The blocks of rollups that hold what goes, the oldest of them, about as many as one step takes."""
        statements: Statements = []
        rows: list[_Row] = []
        taken = 0
        for format_, high, buckets, *row in connection.execute(
            "SELECT format, time_high, buckets, id, series, timestamps, content, checksum FROM rollup"
            " WHERE resolution = ? AND kind = ? AND name = ? AND time_low <= ? ORDER BY time_low, id",
            (resolution, int(kind), name, until),
        ):
            try:
                if format_ < 0:
                    raise DamagedBlock(row[0], "it was found damaged before")
                decoded = read_rollup(kind, *row)
            except DamagedBlock as damage:
                self._store.report_damage("rollup", damage.id, damage)
                statements.append(_aside("rollup", damage.id, gone=high <= until, low=until + 1))
                continue
            times = decoded.ends if isinstance(decoded, Rollups) else decoded.timestamps
            rows.append(_Row(row[0], decoded, times <= until))
            taken += buckets
            if taken > MOVED_SAMPLES_MAX:
                break
        return statements, rows

    def compact(self) -> bool:
        """Put the many small blocks of one metric's rollups of one stretch together."""
        with closing(open_reader(self._store.path)) as connection:
            for resolution, stretch in _STRETCHES.items():
                found = connection.execute(
                    "SELECT kind, name, (time_low - 1) / ?1, min(time_low), max(time_low)"
                    " FROM rollup INDEXED BY rollup_by_age WHERE resolution = ?2 AND format > 0 GROUP BY 1, 2, 3"
                    " HAVING count(*) >= ?3 + sum(buckets) / ?4 AND sum(buckets) <= ?5 LIMIT 1",
                    (stretch, resolution, _SMALL_BLOCKS, BLOCK_VALUES_MAX, MOVED_SAMPLES_MAX),
                ).fetchone()
                if found is not None:
                    kind, name, _, low, high = found
                    self._put_together(connection, resolution, Kind(kind), name, (low, high))
                    return True
        return False

    def _put_together(
        self, connection: sqlite3.Connection, resolution: int, kind: Kind, name: int, window: tuple[int, int]
    ) -> None:
        rows = []
        for row in connection.execute(
            "SELECT id, series, timestamps, content, checksum FROM rollup WHERE resolution = ? AND kind = ?"
            " AND name = ? AND time_low BETWEEN ? AND ? AND format > 0 ORDER BY id",
            (resolution, int(kind), name, *window),
        ):
            try:
                decoded = read_rollup(kind, *row)
            except DamagedBlock as damage:
                self._store.report_damage("rollup", damage.id, damage)
                self.commit([_aside("rollup", damage.id, gone=False)])
                return
            size = len(decoded) if isinstance(decoded, Rollups) else len(decoded.timestamps)
            rows.append(_Row(row[0], decoded, np.ones(size, np.bool_)))
        grid = _GRIDS[resolution]
        statements: Statements = [("DELETE FROM rollup WHERE id = ?", (row.id,)) for row in rows]
        if kind is Kind.HISTOGRAM:
            samples = [sample for row in rows for sample in _histograms(row, going=True)]
            statements += _histogram_inserts(name, resolution, rollups.thin(_in_order(samples), grid))
        else:
            parts = [row.decoded for row in rows if isinstance(row.decoded, Rollups)]
            statements += _inserts(kind, name, rollups.fold(rollups.joined(parts), grid), grid)
        self.commit(statements)


def read_rollup(
    kind: Kind, id_: int, series: bytes, timestamps: bytes, content: bytes, known: int
) -> Decoded | Rollups:
    """All of a block of rollups; owners are ids. DamagedBlock."""
    if kind is Kind.HISTOGRAM:
        return read_block(kind, id_, series, timestamps, content, known)
    check(id_, known, series, timestamps, content)
    return rollups.decode(*decode_series(series), timestamps, content)


def _portion(connection: sqlite3.Connection, kind: Kind, name: int, until: int, step: int) -> tuple[int, int]:
    """Up to when, and up to which series, one step goes: about MOVED_SAMPLES_MAX samples, but one bucket at least."""

    def size(until: int) -> tuple[int, int]:
        low, samples = connection.execute(
            "SELECT min(time_low), sum(samples) FROM block WHERE kind = ? AND name = ? AND time_low <= ?",
            (int(kind), name, until),
        ).fetchone()
        return int(low), int(samples or 0)

    low, samples = size(until)
    first = -(-low // step) * step
    while samples > MOVED_SAMPLES_MAX and until > first:
        until = max(first, (first + until) // 2 // step * step)
        _, samples = size(until)
    if samples <= MOVED_SAMPLES_MAX:
        return until, _FAR
    rows = connection.execute(
        "SELECT series FROM block WHERE kind = ? AND name = ? AND time_low <= ? AND format > 0",
        (int(kind), name, until),
    )
    ids, counts = (np.concatenate(columns) for columns in zip(*(decode_series(row[0]) for row in rows), strict=True))
    order = np.argsort(ids, kind="stable")
    at = int(np.searchsorted(np.cumsum(counts[order]), MOVED_SAMPLES_MAX))
    return until, int(ids[order][min(at, len(ids) - 1)])


def _in_order(samples: Iterable[HistogramSample]) -> list[HistogramSample]:
    """By series and time; of two at one time the one that was given last."""
    found = {(sample.series, sample.timestamp): sample for sample in samples}
    return [found[key] for key in sorted(found)]


def _histograms(row: _Row, *, going: bool) -> Iterator[HistogramSample]:
    if isinstance(row.decoded, Decoded):
        for sample, gone in zip(row.decoded.histograms, row.gone.tolist(), strict=True):
            if gone is going:
                yield sample


def _aside(table: str, id_: int, *, gone: bool, low: int | None = None) -> tuple[str, tuple[object, ...]]:
    """A damaged block goes, or stays, marked, until it is too old as a whole; `low`: it is looked at again then."""
    if gone:
        return f"DELETE FROM {table} WHERE id = ?", (id_,)  # noqa: S608  (a table of ours)
    if low is None:
        return f"UPDATE {table} SET format = -abs(format) WHERE id = ?", (id_,)  # noqa: S608
    return f"UPDATE {table} SET format = -abs(format), time_low = ? WHERE id = ?", (low, id_)  # noqa: S608


_INSERT = (
    "INSERT INTO rollup (format, resolution, kind, name, time_low, time_high, buckets, series, timestamps, content,"
    " checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def _insert(kind: Kind, name: int, resolution: int, block: RollupBlock) -> tuple[str, tuple[object, ...]]:
    blobs = (block.series, block.timestamps, block.content)
    bounds = (block.time_low, block.time_high, block.buckets)
    return _INSERT, (FORMAT, resolution, int(kind), name, *bounds, *blobs, checksum(*blobs))


def _inserts(kind: Kind, name: int, made: Rollups, borders: Borders) -> Statements:
    """Rollups in order as blocks of hours and of days."""
    days = made.ends <= borders.hourly
    statements: Statements = []
    for resolution, mask in ((HOUR_MS, ~days), (DAY_MS, days)):
        statements += [_insert(kind, name, resolution, block) for block in rollups.build(made.take(mask))]
    return statements


def _histogram_inserts(name: int, resolution: int, samples: Sequence[HistogramSample]) -> Statements:
    return [
        _insert(
            Kind.HISTOGRAM,
            name,
            resolution,
            RollupBlock(block.time_low, block.time_high, block.samples, block.series, block.timestamps, block.content),
        )
        for block in _histogram_blocks(name, samples)
    ]


def _histogram_blocks(name: int, samples: Sequence[HistogramSample]) -> list[Block]:
    if not samples:
        return []
    ids, places = np.unique(np.array([sample.series for sample in samples], np.int64), return_inverse=True)
    placed = [replace(sample, series=place) for sample, place in zip(samples, places.tolist(), strict=True)]
    return build_histogram_blocks(placed, ids, np.full(len(ids), name))


def _rest_of_block(kind: Kind, name: int, row: _Row) -> Statements:
    """A block without what goes, in the same place in the order of writes."""
    if row.gone.all():
        return [("DELETE FROM block WHERE id = ?", (row.id,))]
    assert isinstance(row.decoded, Decoded)
    if kind is Kind.HISTOGRAM:
        (block,) = _histogram_blocks(name, list(_histograms(row, going=False)))
    else:
        stays = ~row.gone
        ids, places = np.unique(row.decoded.owners[stays], return_inverse=True)
        names: Int64s = np.full(len(ids), name)
        (block,) = build_blocks(places, row.decoded.timestamps[stays], row.decoded.values[stays], ids, names)
    blobs = (block.series, block.timestamps, block.content)
    sql = (
        "UPDATE block SET format = ?, time_low = ?, time_high = ?, samples = ?, series = ?, timestamps = ?,"
        " content = ?, checksum = ? WHERE id = ?"
    )
    bounds = (block.time_low, block.time_high, block.samples)
    return [(sql, (FORMAT, *bounds, *blobs, checksum(*blobs), row.id))]


def _rest_of_rollup(kind: Kind, name: int, resolution: int, row: _Row) -> Statements:
    """A block of rollups without what goes, as a new one: order does not matter among them."""
    statements: Statements = [("DELETE FROM rollup WHERE id = ?", (row.id,))]
    if row.gone.all():
        return statements
    if isinstance(row.decoded, Rollups):
        stays = row.decoded.take(~row.gone)
        return statements + [_insert(kind, name, resolution, block) for block in rollups.build(stays)]
    return statements + _histogram_inserts(name, resolution, list(_histograms(row, going=False)))
