"""Reading: matchers and a window -> columns of samples, from blocks and from what is not sealed yet."""

import heapq
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from math import nan
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from mirubato.database.files import Readers
from mirubato.model.labels import NAME, Family, Labels, MetricType, is_stale
from mirubato.model.matchers import Matcher, MatchOp, match_all
from mirubato.model.rollups import DAY_MS, NEVER_ROLLED, Borders, Rolled, Use
from mirubato.model.samples import (
    Exemplar,
    Float64s,
    HistogramSample,
    Int64s,
    Kind,
    SelectedFloats,
    SelectedHistograms,
)
from mirubato.model.seams import Budget, Head, Newest, Selected
from mirubato.storage import codec, rollups
from mirubato.storage.assembly import Piece, assemble
from mirubato.storage.blocks import DamagedBlock, check, decode_series, stable_order
from mirubato.storage.kept import Kept
from mirubato.storage.recent import Chunk
from mirubato.storage.registry import Active
from mirubato.storage.rollups import NEEDED, Rollups
from mirubato.storage.store import SampleStore

T = TypeVar("T")
Arguments = ParamSpec("Arguments")


@dataclass(slots=True)
class _Chosen:
    """The series of a selection, the active ones first: labels by position, and where each id stands."""

    labels: list[Labels]
    ids: Int64s
    """Rising."""
    positions: Int64s
    """Position of each id; an archived series that came back shares the position of its younger self."""
    names: list[int]
    """Numbers of their metric names."""
    shared: bool = False
    """Whether any position has two ids."""


@dataclass(slots=True)
class _Found:
    """Pieces of the answer, in the order in which they were written."""

    pieces: list[Piece] = field(default_factory=list)
    histograms: list[HistogramSample] = field(default_factory=list)
    rollups: list[Rollups] = field(default_factory=list)
    """Whose owners are positions."""
    damaged: int = 0


class _Unbounded:
    """The budget of what is no query."""

    def check(self) -> None:
        """Never ends."""

    def take_series(self, count: int) -> None:
        """As many as there are."""

    def take_samples(self, count: int) -> None:
        """As many as there are."""


def _reading(
    method: Callable[Concatenate["Reader", Arguments], T],
) -> Callable[Concatenate["Reader", Arguments], T]:
    """The file stays open while a method reads; StorageFailed once it is being closed."""

    @wraps(method)
    def read(self: "Reader", /, *arguments: Arguments.args, **named: Arguments.kwargs) -> T:
        with self.readers.use():
            return method(self, *arguments, **named)

    return read


class Reader:
    """Answers selections (`model.seams.Selector`) from any thread."""

    def __init__(self, store: SampleStore) -> None:
        self._store = store
        self.readers = Readers(store.path)

    @_reading
    def select(
        self, matchers: tuple[Matcher, ...], start: int, end: int, budget: Budget, use: Use = Use.SAMPLES
    ) -> Selected:
        """Samples of the matching series from `start` to `end` (ms, both included), and rollups for a use."""
        while True:
            selected = self._select(matchers, (start, end), budget, use, self._store.kept)
            if selected is not None:
                return selected

    def _select(
        self, matchers: tuple[Matcher, ...], window: tuple[int, int], budget: Budget, use: Use, kept: Kept
    ) -> Selected | None:
        """None if retention has moved samples meanwhile."""
        start, end = window
        rolled = NEVER_ROLLED < kept.borders.raw >= start
        low = kept.borders.reach(start) if rolled else start
        gathered = self._gather(matchers, (low, end), budget, NEEDED[use] if rolled else (), kept)
        if gathered is None:
            return None
        chosen, found = gathered
        histograms = _histograms(chosen, found)
        if rolled:
            return _with_rollups(chosen, found, use, kept.borders, histograms)
        return Selected(_floats(chosen, found), histograms, damaged=found.damaged)

    def _gather(
        self,
        matchers: tuple[Matcher, ...],
        window: tuple[int, int],
        budget: Budget,
        columns: Collection[str],
        kept: Kept,
    ) -> tuple[_Chosen, _Found] | None:
        """Samples, and these columns of rollups if any are asked for; None if retention has moved samples meanwhile."""
        # Unsealed chunks first, blocks second: what is sealed in between is then seen twice, never missed.
        active, chunks = self._of_one_epoch(matchers, lambda _: self._chunks(*window))
        position_of = np.full(len(self._store.registry.series), -1, np.int64)
        position_of[active.slots] = np.arange(len(active.slots))
        found = _Found()
        with self._moment(kept) as same:
            if not same:
                return None
            chosen = self._chosen(matchers, active, budget)
            self._read_blocks(chosen, *window, budget, found)
            if columns:
                self._read_rollups(chosen, window, columns, budget, found)
        for chunk in chunks:
            budget.check()
            _read_chunk(chunk, position_of, *window, budget, found)
        return chosen, found

    @_reading
    def rollups(
        self, matchers: tuple[Matcher, ...], start: int, end: int, grid: Borders
    ) -> tuple[Sequence[Labels], Rollups]:
        """What rollups keep of a window, of samples too, in the buckets of a grid; owners are places among labels."""
        gathered = None
        while gathered is None:
            gathered = self._gather(matchers, (start, end), _Unbounded(), rollups.COLUMNS, self._store.kept)
        chosen, found = gathered
        whole = assemble(found.pieces, len(chosen.labels))
        owners = np.repeat(np.arange(len(chosen.labels)), np.diff(whole.offsets))
        live = ~is_stale(whole.values)
        made = rollups.roll(owners[live], whole.timestamps[live], whole.values[live], grid)
        return chosen.labels, rollups.fold(rollups.joined([*found.rollups, made]), grid)

    @contextmanager
    def _moment(self, kept: Kept) -> Iterator[bool]:
        """One state of the file; whether retention has come as far in it as `kept` says."""
        connection = self._connection()
        connection.execute("BEGIN")
        try:
            (version,) = connection.execute("SELECT version FROM retention").fetchone()
            yield version == kept.version
        finally:
            connection.execute("COMMIT")

    @_reading
    def series(
        self, matchers: tuple[Matcher, ...], start: int, budget: Budget, end: int | None = None
    ) -> Sequence[Labels]:
        """Labels of the matching series that have a sample at or after `start` (ms), or are on disk only.

        With `end`: only those of which a block, or a sample that is not sealed yet, lies within the window.
        """
        state = self._store.registry.state

        def read(active: Active) -> tuple[Int64s, list[Chunk]]:
            return state.last_time[active.slots], [] if end is None else self._chunks(start, end)

        active, (times, chunks) = self._of_one_epoch(matchers, read)
        chosen = self._chosen(matchers, active.only(times >= start), budget)
        if end is None:
            return chosen.labels
        held = self._ids_in_blocks(chosen, start, end, budget)
        slots = np.unique(np.concatenate([np.empty(0, np.int64), *(_slots(chunk, start, end) for chunk in chunks)]))
        held.update(np.array([one.id for one in active.series])[np.isin(active.slots, slots)].tolist())
        positions = {position for id_, position in zip(chosen.ids, chosen.positions, strict=True) if id_ in held}
        return [labels for position, labels in enumerate(chosen.labels) if position in positions]

    def label_names(self) -> list[str]:
        """Names of all labels of active series, sorted."""
        return self._store.registry.index.names()

    def label_values(self, name: str) -> list[str]:
        """Values of a label among active series, sorted."""
        return self._store.registry.index.values(name)

    def families(self) -> list[Family]:
        """All metric families of which something was ever known, by name."""
        families = self._store.registry.symbols.families[1:]
        known = [family for family in families if family.type is not MetricType.UNKNOWN or family.help or family.unit]
        return sorted(known, key=lambda family: (family.name, family.type))

    def newest(self, matchers: tuple[Matcher, ...] | None, since: int) -> list[Newest]:
        """The newest sample of each active series (or those that match), unless it is stale or older than `since`.

        It is what the last commit left, and no commit under way: the columns are copied on the writer thread.
        """
        state, call = self._store.registry.state, self._store.writer.call
        active, newest = self._of_one_epoch(
            matchers or (), lambda active: call(lambda _: state.copy(active.slots), transaction=False)
        )
        fresh = np.flatnonzero((newest.times >= since) & ~newest.stale).tolist()
        times, values, slots = newest.times.tolist(), newest.values.tolist(), active.slots.tolist()
        found = []
        for row in fresh:
            series = active.series[row]
            histogram = newest.histograms.get(slots[row])
            found.append(Newest(series.id, series.labels, series.family, times[row], values[row], histogram))
        return found

    @_reading
    def exemplars(
        self, start: int, end: int, selectors: Sequence[tuple[Matcher, ...]] = ((),)
    ) -> list[tuple[Labels, Exemplar]]:
        """Exemplars of active series that match any of some selectors, in a window, oldest first."""
        found = [self._store.registry.find(matchers).series for matchers in selectors]
        labels = {series.id: series.labels for some in found for series in some}
        rows = self._connection().execute(
            "SELECT series, timestamp, value, labels FROM exemplar WHERE timestamp BETWEEN ? AND ? ORDER BY rowid",
            (start, end),
        )
        return [
            # SQLite has no NaN: what comes back is NULL.
            (labels[id_], Exemplar(id_, timestamp, nan if value is None else value, codec.decode_labels(text)))
            for id_, timestamp, value, text in rows
            if id_ in labels
        ]

    def head(self, most: int) -> Head:
        """What is in memory, and the `most` largest of each kind of label."""
        registry, chunks = self._store.registry, self._store.recent.chunks()
        return Head(
            series=registry.active,
            chunks=len(chunks),
            time_low=min((chunk.time_low for chunk in chunks), default=0),
            time_high=max((chunk.time_high for chunk in chunks), default=0),
            **_cardinality(registry.index.counts(), most),
        )

    def close(self, timeout_s: float = 0.0) -> bool:
        """Close the connections once the queries under way have ended; False if that took too long."""
        return self.readers.close(timeout_s)

    def _connection(self) -> sqlite3.Connection:
        with self.readers.use() as connection:
            return connection

    def _chunks(self, start: int, end: int) -> list[Chunk]:
        """What is not sealed of a window."""
        return [chunk.copy() for chunk in self._store.recent.chunks() if chunk.overlaps(start, end)]

    def _of_one_epoch(self, matchers: tuple[Matcher, ...], read: Callable[[Active], T]) -> tuple[Active, T]:
        """The matching active series, and what `read` finds in their slots: before one is given to another series."""
        registry = self._store.registry
        while True:
            active = registry.find(matchers)
            result = read(active)
            if registry.epoch == active.epoch:
                return active, result

    def _chosen(self, matchers: tuple[Matcher, ...], active: Active, budget: Budget) -> _Chosen:
        budget.take_series(len(active.slots))
        labels = [series.labels for series in active.series]
        ids = self._store.registry.ids[active.slots]
        positions = np.arange(len(ids))
        names = np.unique(active.names).tolist()
        if not self._store.archived:
            return _by_id(_Chosen(labels, ids, positions, names))
        found = _Archived({(series.labels, series.kind): row for row, series in enumerate(active.series)})
        self._find_archived(matchers, set(ids.tolist()), found, budget)
        labels += found.labels
        ids = np.append(ids, np.array(found.ids, np.int64))
        positions = np.append(positions, np.array(found.positions, np.int64))
        return _by_id(_Chosen(labels, ids, positions, sorted({*names, *found.names}), len(ids) > len(labels)))

    def _find_archived(
        self, matchers: tuple[Matcher, ...], present: set[int], found: "_Archived", budget: Budget
    ) -> None:
        """Series that are on disk only, found by metric name where the matchers give one."""
        symbols = self._store.registry.symbols
        active = {series.id for series in list(self._store.registry.series) if series is not None}
        for id_, kind, name, pairs in self._series_rows(matchers):
            budget.check()
            if id_ in present or id_ in active:
                continue
            labels = symbols.labels(pairs)
            if match_all(matchers, dict(labels)):
                budget.take_series(1)
                found.add(id_, labels, Kind(kind), name)

    def _series_rows(self, matchers: tuple[Matcher, ...]) -> Iterable[tuple[int, int, int, bytes]]:
        """(id, kind, name, pairs) of the series on disk; of one metric where the matchers name it."""
        exact = [matcher.value for matcher in matchers if matcher.name == NAME and matcher.op is MatchOp.EQUAL]
        if not exact:
            return self._connection().execute("SELECT id, kind, name, pairs FROM series")
        name = self._store.registry.symbols.pair_id_of((NAME, exact[0]))
        return self._connection().execute("SELECT id, kind, name, pairs FROM series WHERE name = ?", (name,))

    def _ids_in_blocks(self, chosen: _Chosen, start: int, end: int, budget: Budget) -> set[int]:
        """The series in blocks (of samples or rollups) that overlap a window."""
        ids: set[int] = set()
        for name in chosen.names:
            for table in ("block", "rollup"):
                rows = self._connection().execute(
                    f"SELECT id, series FROM {table} INDEXED BY {table}_by_name"  # noqa: S608  (tables of ours)
                    " WHERE name = ? AND time_high >= ? AND time_low <= ?",
                    (name, start, end),
                )
                for id_, series in rows:
                    budget.check()
                    try:
                        ids.update(decode_series(series)[0].tolist())
                    except Exception as error:  # noqa: BLE001  (a damaged block)
                        self._store.report_damage(table, id_, error)
        return ids

    def _read_blocks(self, chosen: _Chosen, start: int, end: int, budget: Budget, found: _Found) -> None:
        for name in chosen.names:
            rows = self._connection().execute(
                "SELECT id, format, kind, series, timestamps, content, checksum, time_low, time_high FROM block"
                " INDEXED BY block_by_name WHERE name = ? AND time_high >= ? AND time_low <= ? ORDER BY seq_low, id",
                (name, start, end),
            )
            for id_, format_, kind, series, timestamps, content, known, low, high in rows:
                budget.check()
                try:
                    _check(id_, format_, known, series, timestamps, content)
                    run = _runs(chosen, series)
                    if run is None:
                        continue
                    if kind == Kind.HISTOGRAM:
                        part: Piece | list[HistogramSample] = _read_histograms(run, timestamps, content, (start, end))
                    else:
                        part = _read_floats(run, timestamps, content)
                except DamagedBlock as damage:
                    self._store.report_damage("block", id_, damage)
                    found.damaged += 1
                    continue
                if isinstance(part, list):
                    budget.take_samples(len(part))
                    found.histograms += part
                    continue
                inside = part if start <= low and high <= end else part.within(start, end)
                budget.take_samples(len(inside.timestamps))
                found.pieces += _apart(inside) if chosen.shared else [inside]

    def _read_rollups(
        self, chosen: _Chosen, window: tuple[int, int], columns: Collection[str], budget: Budget, found: _Found
    ) -> None:
        start, end = window
        for name in chosen.names:
            rows = self._connection().execute(
                "SELECT id, format, kind, series, timestamps, content, checksum FROM rollup INDEXED BY rollup_by_name"
                " WHERE name = ? AND time_high >= ? AND time_low < ? ORDER BY id",
                (name, start, end + DAY_MS),
            )
            for id_, format_, kind, series, timestamps, content, known in rows:
                budget.check()
                try:
                    _check(id_, format_, known, series, timestamps, content)
                    run = _runs(chosen, series)
                    if run is None:
                        continue
                    if kind == Kind.HISTOGRAM:
                        histograms = _read_histograms(run, timestamps, content, window)
                        budget.take_samples(len(histograms))
                        found.histograms += histograms
                        continue
                    part = _read_buckets(run, timestamps, content, columns, start)
                except DamagedBlock as damage:
                    self._store.report_damage("rollup", id_, damage)
                    found.damaged += 1
                    continue
                budget.take_samples(len(part))
                found.rollups.append(part)


def _check(id_: int, format_: int, known: int | None, *parts: bytes) -> None:
    if format_ < 0:
        raise DamagedBlock(id_, "it was found damaged before")
    check(id_, known, *parts)


def _runs(chosen: _Chosen, series: bytes) -> "_Runs | None":
    """Which series of a block are wanted; None if none is. DamagedBlock."""
    try:
        ids, counts = decode_series(series)
    except Exception as error:  # damaged bytes can raise anything
        raise DamagedBlock(0, f"its series cannot be decoded: {error!r}") from error
    at = np.minimum(np.searchsorted(chosen.ids, ids), len(chosen.ids) - 1)
    hit = chosen.ids[at] == ids if len(chosen.ids) else np.zeros(len(ids), np.bool_)
    return _Runs(chosen.positions[at], counts, hit) if hit.any() else None


def _by_id(chosen: _Chosen) -> _Chosen:
    order = np.argsort(chosen.ids, kind="stable")
    chosen.ids, chosen.positions = chosen.ids[order], chosen.positions[order]
    return chosen


@dataclass(slots=True)
class _Archived:
    """Series that are on disk only, behind the active ones, of which `place` knows the positions."""

    place: dict[tuple[Labels, Kind], int]
    labels: list[Labels] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    names: set[int] = field(default_factory=set)

    def add(self, id_: int, labels: Labels, kind: Kind, name: int) -> None:
        """Take one series in."""
        if (labels, kind) not in self.place:
            self.place[labels, kind] = len(self.place)
            self.labels.append(labels)
        self.ids.append(id_)
        self.positions.append(self.place[labels, kind])
        self.names.add(name)


@dataclass(frozen=True, slots=True)
class _Runs:
    """The series of a block: the position of each in the answer, how many samples it has, whether it is wanted."""

    positions: Int64s
    counts: Int64s
    wanted: NDArray[np.bool_]


def _read_floats(runs: _Runs, timestamps: bytes, content: bytes) -> Piece:
    """The wanted samples of a block; DamagedBlock."""
    with _decoding():
        times, values = codec.decode_times(timestamps, runs.counts), codec.decode_values(content, runs.counts)
    if runs.wanted.all():
        return Piece(runs.positions, runs.counts, times, values)
    kept = np.repeat(runs.wanted, runs.counts)
    return Piece(runs.positions[runs.wanted], runs.counts[runs.wanted], times[kept], values[kept])


def _read_histograms(
    runs: _Runs, encoded_times: bytes, content: bytes, window: tuple[int, int]
) -> list[HistogramSample]:
    """The wanted native histograms of a block that lie in a window; DamagedBlock."""
    with _decoding():
        timestamps = codec.decode_times(encoded_times, runs.counts)
        inside = (timestamps >= window[0]) & (timestamps <= window[1]) & np.repeat(runs.wanted, runs.counts)
        samples = codec.decode_histograms(content, [0] * len(timestamps), timestamps.tolist())
    rows = np.flatnonzero(inside)
    owners = np.repeat(runs.positions, runs.counts)[rows].tolist()
    return [replace(samples[row], series=owner) for row, owner in zip(rows.tolist(), owners, strict=True)]


def _read_buckets(runs: _Runs, timestamps: bytes, content: bytes, columns: Collection[str], start: int) -> Rollups:
    """The wanted buckets of a block that end at or after `start`; DamagedBlock."""
    with _decoding():
        part = rollups.decode(runs.positions, runs.counts, timestamps, content, columns)
    return part.take(np.repeat(runs.wanted, runs.counts) & (part.ends >= start))


@contextmanager
def _decoding() -> Iterator[None]:
    """What goes wrong in here is the block's fault."""
    try:
        yield
    except Exception as error:  # what its bytes break is not for us to say
        raise DamagedBlock(0, f"it cannot be decoded: {error!r}") from error


def _apart(piece: Piece) -> list[Piece]:
    """Pieces in which no series comes twice: an archived series and its younger self may share a block."""
    if len(np.unique(piece.owners)) == len(piece.owners):
        return [piece]
    ends = np.cumsum(piece.counts)
    return [
        Piece(
            piece.owners[row : row + 1], piece.counts[row : row + 1], piece.timestamps[low:high], piece.values[low:high]
        )
        for row, (low, high) in enumerate(zip((ends - piece.counts).tolist(), ends.tolist(), strict=True))
    ]


def _read_chunk(chunk: Chunk, position_of: Int64s, start: int, end: int, budget: Budget, found: _Found) -> None:
    floats = chunk.floats()
    owners = position_of[floats.series]
    rows = np.flatnonzero((owners >= 0) & (floats.timestamps >= start) & (floats.timestamps <= end))
    budget.take_samples(len(rows))
    if len(rows):
        rows = rows[stable_order(owners[rows])]
        counts = np.bincount(owners[rows])
        present = np.flatnonzero(counts)
        found.pieces.append(Piece(present, counts[present], floats.timestamps[rows], floats.values[rows]))
    for sample in chunk.histograms:
        owner = int(position_of[sample.series])
        if owner >= 0 and start <= sample.timestamp <= end:
            found.histograms.append(HistogramSample(owner, sample.timestamp, sample.histogram, sample.stale))


def _slots(chunk: Chunk, start: int, end: int) -> Int64s:
    """Slots of the samples within a window."""
    floats = chunk.floats()
    inside = (floats.timestamps >= start) & (floats.timestamps <= end)
    native = [sample.series for sample in chunk.histograms if start <= sample.timestamp <= end]
    return np.append(floats.series[inside], np.array(native, np.int64))


def _cardinality(counts: Mapping[str, Mapping[str, int]], most: int) -> dict[str, Any]:
    """The fields of Head that are about labels, from label -> value -> number of series."""
    by_label = [(name, len(values)) for name, values in counts.items()]
    sizes = [(name, sum(len(value) * series for value, series in values.items())) for name, values in counts.items()]
    pairs = [(f"{name}={value}", series) for name, values in counts.items() for value, series in values.items()]
    return {
        "label_pairs": sum(count for _, count in by_label),
        "by_metric": _largest(counts.get(NAME, {}).items(), most),
        "by_label": _largest(by_label, most),
        "sizes": _largest(sizes, most),
        "by_pair": _largest(pairs, most),
    }


def _largest(entries: Iterable[tuple[str, int]], most: int) -> list[tuple[str, int]]:
    return heapq.nlargest(most, entries, key=lambda entry: entry[1])


def _floats(chosen: _Chosen, found: _Found) -> SelectedFloats:
    """Columns of the series that have samples, by position."""
    one = assemble(found.pieces, len(chosen.labels))
    some = np.flatnonzero(np.diff(one.offsets))
    labels = chosen.labels if len(some) == len(chosen.labels) else [chosen.labels[row] for row in some.tolist()]
    return SelectedFloats(labels, np.append(one.offsets[some], one.offsets[-1:]), one.timestamps, one.values)


def _with_rollups(
    chosen: _Chosen, found: _Found, use: Use, borders: Borders, histograms: Sequence[SelectedHistograms]
) -> Selected:
    """The same, where samples before the border are rollups: those that still are samples become rollups here."""
    whole = assemble(found.pieces, len(chosen.labels))
    owners = np.repeat(np.arange(len(chosen.labels)), np.diff(whole.offsets))
    old = whole.timestamps <= borders.raw
    live = old & ~is_stale(whole.values)
    made = rollups.roll(owners[live], whole.timestamps[live], whole.values[live], borders)
    parts = [*found.rollups, rollups.joined([made], NEEDED[use])]
    buckets = rollups.fold(rollups.joined(parts, NEEDED[use]), borders)
    early = [time for one in histograms for time in one.timestamps[:1] if time <= borders.raw]
    fresh = owners[~old], whole.timestamps[~old], whole.values[~old]
    if not len(buckets) and not early:
        return Selected(_rows(chosen, np.unique(fresh[0]), *fresh), histograms, damaged=found.damaged)
    shown = rollups.points(buckets, use), _as_points(use, *fresh)
    columns = [np.concatenate(both) for both in zip(*shown, strict=True)]
    order = stable_order(columns[0])
    some = np.union1d(columns[0], fresh[0])
    rolled = _rows(chosen, some, *(column[order] for column in columns))
    return Selected(
        _rows(chosen, some, *fresh),
        histograms,
        Rolled(borders, rolled, bool(early) and use not in (Use.INCREASE, Use.LAST, Use.MIN, Use.MAX)),
        found.damaged,
    )


def _as_points(use: Use, owners: Int64s, times: Int64s, values: Float64s) -> tuple[Int64s, Int64s, Float64s]:
    """Samples that are not rolled up, as if each were a bucket."""
    if use not in (Use.COUNT, Use.SAMPLES):
        return owners, times, values
    live = ~is_stale(values)
    return owners[live], times[live], np.ones(int(live.sum()))


def _rows(chosen: _Chosen, positions: Int64s, owners: Int64s, times: Int64s, values: Float64s) -> SelectedFloats:
    """Columns of the series at some positions, whether they have samples or not."""
    counts = np.bincount(owners, minlength=len(chosen.labels))[positions]
    labels = [chosen.labels[position] for position in positions.tolist()]
    return SelectedFloats(labels, np.append([0], np.cumsum(counts)), times, values)


def _histograms(chosen: _Chosen, found: _Found) -> list[SelectedHistograms]:
    by_position: dict[int, dict[int, HistogramSample]] = {}
    for sample in found.histograms:
        by_position.setdefault(sample.series, {})[sample.timestamp] = sample
    selected = []
    for position, samples in sorted(by_position.items()):
        times = sorted(samples)
        histograms = [None if samples[time].stale else samples[time].histogram for time in times]
        selected.append(SelectedHistograms(chosen.labels[position], times, histograms))
    return selected
