"""Reading: matchers and a window -> columns of samples, from blocks and from what is not sealed yet."""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import TypeVar

import numpy as np

from mirubato.model.labels import NAME, Family, Labels
from mirubato.model.matchers import Matcher, MatchOp, match_all
from mirubato.model.samples import (
    Exemplar,
    Float64s,
    HistogramSample,
    Int64s,
    Kind,
    SelectedFloats,
    SelectedHistograms,
)
from mirubato.model.seams import Budget, Newest, Selected
from mirubato.storage import codec
from mirubato.storage.blocks import decode_series, wanted_rows
from mirubato.storage.recent import Chunk
from mirubato.storage.registry import Active
from mirubato.storage.schema import open_reader
from mirubato.storage.store import SampleStore

T = TypeVar("T")


@dataclass(slots=True)
class _Chosen:
    """The series of a selection, the active ones first: labels and kind by position, and where each id stands."""

    labels: list[Labels] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    """Position of each id; an archived series that came back shares the position of its younger self."""
    names: set[int] = field(default_factory=set)
    place: dict[tuple[Labels, Kind], int] = field(default_factory=dict)

    def add(self, id_: int, labels: Labels, kind: Kind, name: int) -> None:
        """Take one series in."""
        position = self.place.setdefault((labels, kind), len(self.labels))
        if position == len(self.labels):
            self.labels.append(labels)
            self.kinds.append(kind)
        self.ids.append(id_)
        self.positions.append(position)
        self.names.add(name)


@dataclass(slots=True)
class _Found:
    """Pieces of the answer, in the order in which they were written."""

    positions: list[Int64s] = field(default_factory=list)
    timestamps: list[Int64s] = field(default_factory=list)
    values: list[Float64s] = field(default_factory=list)
    histograms: list[HistogramSample] = field(default_factory=list)


class Reader:
    """Answers selections (`model.seams.Selector`) from any thread."""

    def __init__(self, store: SampleStore) -> None:
        self._store = store
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    def select(self, matchers: tuple[Matcher, ...], start: int, end: int, budget: Budget) -> Selected:
        """Samples of the matching series from `start` to `end` (ms, both included)."""

        def unsealed(_: Active) -> list[Chunk]:
            return [chunk.copy() for chunk in self._store.recent.chunks() if chunk.overlaps(start, end)]

        # Unsealed chunks first, blocks second: what is sealed in between is then seen twice, never missed.
        active, chunks = self._of_one_epoch(matchers, unsealed)
        position_of = np.full(len(self._store.registry.series), -1, np.int64)
        chosen = self._chosen(matchers, active, budget)
        position_of[active.slots] = chosen.positions[: len(active.slots)]
        found = _Found()
        self._read_blocks(chosen, start, end, budget, found)
        for chunk in chunks:
            budget.check()
            _read_chunk(chunk, position_of, start, end, budget, found)
        return Selected(_floats(chosen, found), _histograms(chosen, found))

    def series(self, matchers: tuple[Matcher, ...], start: int, budget: Budget) -> Sequence[Labels]:
        """Labels of the matching series that have a sample at or after `start` (ms), or are on disk only."""
        state = self._store.registry.state
        active, times = self._of_one_epoch(matchers, lambda active: state.last_time[active.slots])
        return self._chosen(matchers, active.only(times >= start), budget).labels

    def label_names(self) -> list[str]:
        """Names of all labels of active series, sorted."""
        return self._store.registry.index.names()

    def label_values(self, name: str) -> list[str]:
        """Values of a label among active series, sorted."""
        return self._store.registry.index.values(name)

    def families(self) -> list[Family]:
        """All metric families that were ever seen, by name."""
        return sorted(self._store.registry.symbols.families[1:], key=lambda family: (family.name, family.type))

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

    def exemplars(self, start: int, end: int) -> list[tuple[Labels, Exemplar]]:
        """Exemplars of active series in a window, oldest first."""
        registry = self._store.registry
        labels = {series.id: series.labels for series in list(registry.series) if series is not None}
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

    def close(self) -> None:
        """Close the connections of all threads; no query may be under way."""
        while self._connections:
            self._connections.pop().close()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_reader(self._store.path)
            self._connections.append(connection)
        return connection

    def _of_one_epoch(self, matchers: tuple[Matcher, ...], read: Callable[[Active], T]) -> tuple[Active, T]:
        """The matching active series, and what `read` finds in their slots: before one is given to another series."""
        registry = self._store.registry
        while True:
            active = registry.find(matchers)
            result = read(active)
            if registry.epoch == active.epoch:
                return active, result

    def _chosen(self, matchers: tuple[Matcher, ...], active: Active, budget: Budget) -> _Chosen:
        chosen = _Chosen()
        budget.take_series(len(active.slots))
        for series, name in zip(active.series, active.names.tolist(), strict=True):
            chosen.add(series.id, series.labels, series.kind, name)
        if self._store.archived:
            self._add_archived(matchers, set(chosen.ids), chosen, budget)
        return chosen

    def _add_archived(self, matchers: tuple[Matcher, ...], present: set[int], chosen: _Chosen, budget: Budget) -> None:
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
                chosen.add(id_, labels, Kind(kind), name)

    def _series_rows(self, matchers: tuple[Matcher, ...]) -> Iterable[tuple[int, int, int, bytes]]:
        """(id, kind, name, pairs) of the series on disk; of one metric where the matchers name it."""
        exact = [matcher.value for matcher in matchers if matcher.name == NAME and matcher.op is MatchOp.EQUAL]
        if not exact:
            return self._connection().execute("SELECT id, kind, name, pairs FROM series")
        name = self._store.registry.symbols.pair_id_of((NAME, exact[0]))
        return self._connection().execute("SELECT id, kind, name, pairs FROM series WHERE name = ?", (name,))

    def _read_blocks(self, chosen: _Chosen, start: int, end: int, budget: Budget, found: _Found) -> None:
        if not chosen.ids:
            return
        ids = np.array(chosen.ids, np.int64)
        order = np.argsort(ids)
        ids, positions = ids[order], np.array(chosen.positions, np.int64)[order]
        for name in chosen.names:
            rows = self._connection().execute(
                "SELECT kind, series, timestamps, content FROM block INDEXED BY block_by_name"
                " WHERE name = ? AND time_high >= ? AND time_low <= ? ORDER BY seq_low, id",
                (name, start, end),
            )
            for kind, series, timestamps, content in rows:
                budget.check()
                _read_block(kind, (series, timestamps, content), (ids, positions), (start, end), budget, found)


def _read_block(
    kind: int,
    block: tuple[bytes, bytes, bytes],
    wanted: tuple[Int64s, Int64s],
    window: tuple[int, int],
    budget: Budget,
    found: _Found,
) -> None:
    series, encoded_times, content = block
    ids, positions = wanted
    block_ids, counts = decode_series(series)
    at = np.minimum(np.searchsorted(ids, block_ids), len(ids) - 1)
    hit = ids[at] == block_ids
    if not hit.any():
        return
    timestamps = codec.decode_whole(encoded_times, counts)
    rows, owners = wanted_rows(positions[at], counts, hit)
    times = timestamps[rows]
    inside = (times >= window[0]) & (times <= window[1])
    rows, owners, times = rows[inside], owners[inside], times[inside]
    budget.take_samples(len(rows))
    if kind == Kind.HISTOGRAM:
        samples = codec.decode_histograms(content, [0] * len(timestamps), timestamps.tolist())
        for row, owner in zip(rows.tolist(), owners.tolist(), strict=True):
            sample = samples[row]
            found.histograms.append(HistogramSample(owner, sample.timestamp, sample.histogram, sample.stale))
        return
    found.positions.append(owners)
    found.timestamps.append(times)
    found.values.append(codec.decode_values(content, counts)[rows])


def _read_chunk(chunk: Chunk, position_of: Int64s, start: int, end: int, budget: Budget, found: _Found) -> None:
    floats = chunk.floats()
    slots, times = floats.series, floats.timestamps
    owners = position_of[slots]
    rows = np.flatnonzero((owners >= 0) & (times >= start) & (times <= end))
    budget.take_samples(len(rows))
    found.positions.append(owners[rows])
    found.timestamps.append(times[rows])
    found.values.append(floats.values[rows])
    for sample in chunk.histograms:
        owner = int(position_of[sample.series])
        if owner >= 0 and start <= sample.timestamp <= end:
            found.histograms.append(HistogramSample(owner, sample.timestamp, sample.histogram, sample.stale))


def _floats(chosen: _Chosen, found: _Found) -> SelectedFloats:
    """Pieces in order of writing -> columns by series and time, of two samples at one time the later write."""
    if not any(map(len, found.positions)):
        return SelectedFloats([], np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0))
    positions, times = np.concatenate(found.positions), np.concatenate(found.timestamps)
    values = np.concatenate(found.values)
    keys = _keys(positions, times)
    if not (keys[1:] > keys[:-1]).all():
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        order = order[np.append(keys[1:] != keys[:-1], [True])]
        positions, times, values = positions[order], times[order], values[order]
    present, counts = np.unique(positions, return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return SelectedFloats([chosen.labels[position] for position in present.tolist()], offsets, times, values)


def _keys(positions: Int64s, times: Int64s) -> Int64s:
    """One number for each pair, which sorts as the pair does."""
    low = int(times.min())
    bits = (int(times.max()) - low).bit_length()
    if bits + int(positions.max()).bit_length() > 63:
        # A million series over 278 years and more: the times' ranks fit where their distances do not.
        times = np.unique(times, return_inverse=True)[1]
        low, bits = 0, len(times).bit_length()
    keys: Int64s = (positions << bits) | (times - low)
    return keys


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
