"""Tables of totals: one row for each set of labels, one column for each counter and histogram bucket.

A table lives on the writer thread, beside the state of the series, and is never behind it: when a commit is taken back
or series leave memory, the registry's epoch rises, and each row reads its totals again before it is next used.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirubato.admission.columns import COUNTER, Columns
from mirubato.limits import SPAN_SERIES_IDLE_MS, SPAN_SERIES_LEAD_MS, SPAN_SERVICES_MAX
from mirubato.model.labels import NAME, Family, labels_of
from mirubato.model.samples import NEVER, Float64s, Int64s, Kind
from mirubato.model.seams import PointRefused, SeriesRegistry
from mirubato.spans.bounds import format_bound

OVERFLOW = "overflow"
"""The label value that stands for all that did not get a series of its own."""

_NS_PER_MS = 1_000_000
_ROWS_AT_FIRST = 64

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a table counts. The first label is the service."""

    labels: tuple[str, ...]
    counters: tuple[Family, ...] = ()
    histograms: tuple[Family, ...] = ()
    bounds: tuple[float, ...] = ()
    """Of all its histograms; without any they are only `_count` and `_sum`."""
    open: tuple[int, ...] = ()
    """Labels of unbounded variety, by position: they say `overflow` in the rows past the limit."""

    @property
    def width(self) -> int:
        """Columns of totals: the counters; for each histogram its buckets (each for itself) and its sum."""
        return len(self.counters) + len(self.histograms) * (len(self.bounds) + 2)

    def series(self) -> list[tuple[Family, str, str]]:
        """(family, name, `le`) of the series of one row, in the order in which `Table` writes them."""
        found = [(family, family.name, "") for family in self.counters]
        for family in self.histograms:
            if self.bounds:
                les = [*map(format_bound, self.bounds), "+Inf"]
                found += [(family, f"{family.name}_bucket", le) for le in les]
            found += [(family, f"{family.name}_count", ""), (family, f"{family.name}_sum", "")]
        return found


class Table:
    """The rows of one layout. One thread at a time."""

    def __init__(self, layout: Layout, registry: SeriesRegistry, rows_per_service: int) -> None:
        self.layout = layout
        self._registry, self._rows_per_service = registry, rows_per_service
        self._series = layout.series()
        self._rows: dict[Key, int] = {}
        self._at_hand: dict[Key, int] = {}
        """The rows whose slots and totals are those of the registry."""
        self._keys: list[Key] = []
        self._free: list[int] = []
        self._of_service: Counter[str] = Counter()
        self.totals: Float64s = np.zeros((0, layout.width))
        self._slots: Int64s = np.zeros((0, len(self._series)), np.int64)
        self._starts: NDArray[np.uint64] = np.zeros((0, len(self._series)), np.uint64)
        self._touched_ms: Int64s = np.zeros(0, np.int64)
        self.touched: set[int] = set()
        """Rows that have changed since `taken`."""
        self.overflows = 0
        """Items that were counted in a row of many."""

    def __len__(self) -> int:
        """Rows in use."""
        return len(self._rows)

    def distrust(self) -> None:
        """Slots may have died, or a commit was taken back: believe nothing until it is read again."""
        self._at_hand.clear()

    def known(self, keys: Sequence[Key]) -> list[int]:
        """The row of each, where it is at hand; -1 where `row` has to be asked."""
        get = self._at_hand.get
        return [get(key, -1) for key in keys]

    def row(self, key: Key, stamp_ms: int) -> int:
        """The row of these labels, made if it is new; PointRefused past a limit of the registry."""
        row = self._at_hand.get(key)
        if row is None and key not in self._rows:
            key = self._admitted(key)
            row = self._at_hand.get(key)
        if row is None:
            row = self._rows[key] if key in self._rows else self._made(key)
            self._resolve(row, stamp_ms)
        return row

    def _admitted(self, key: Key) -> Key:
        """The same labels; past a limit those of the row for all others."""
        service = key[0]
        rows = self._of_service.get(service)
        if rows is None and len(self._of_service) >= SPAN_SERVICES_MAX:
            self.overflows += 1
            service, rows = OVERFLOW, self._rows_per_service
        if rows is not None and rows >= self._rows_per_service:
            self.overflows += service == key[0]
            rest = (OVERFLOW if place in self.layout.open else value for place, value in enumerate(key[1:], 1))
            return (service, *rest)
        return key

    def _made(self, key: Key) -> int:
        row = self._free.pop() if self._free else len(self._keys)
        if row == len(self._keys):
            self._keys.append(key)
            if row == len(self.totals):
                self._grow(max(2 * row, _ROWS_AT_FIRST))
        self._keys[row] = key
        self._rows[key] = row
        self._of_service[key[0]] += 1
        return row

    def _grow(self, size: int) -> None:
        more = size - len(self.totals)
        self.totals = np.concatenate([self.totals, np.zeros((more, self.layout.width))])
        self._slots = np.concatenate([self._slots, np.zeros((more, len(self._series)), np.int64)])
        self._starts = np.concatenate([self._starts, np.zeros((more, len(self._series)), np.uint64)])
        self._touched_ms = np.concatenate([self._touched_ms, np.zeros(more, np.int64)])

    def _resolve(self, row: int, stamp_ms: int) -> None:
        """Find or make the series of a row, and go on from their totals."""
        labels = [pair for pair in zip(self.layout.labels, self._keys[row], strict=True) if pair[1]]
        slots = self._slots[row]
        for column, (family, name, le) in enumerate(self._series):
            named = labels_of([*labels, (NAME, name), ("le", le)])
            slots[column] = self._registry.propose(named, Kind.FLOAT, family)
        state = self._registry.state
        new = state.last_time[slots] == NEVER
        values = np.where(new | ~np.isfinite(state.last_value[slots]), 0.0, state.last_value[slots])
        start = (stamp_ms - SPAN_SERIES_LEAD_MS) * _NS_PER_MS
        self._starts[row] = np.where(new, np.uint64(start), np.uint64(0))
        self.totals[row] = self._from_samples(values)
        self._touched_ms[row] = stamp_ms
        self._at_hand[self._keys[row]] = row

    def _from_samples(self, values: Float64s) -> Float64s:
        """Values of a row's series -> its totals. Buckets that do not fit each other (other bounds were set) are 0."""
        counters, buckets = len(self.layout.counters), len(self.layout.bounds) + 1
        parts = [values[:counters]]
        at = counters
        for _ in self.layout.histograms:
            cumulated = values[at : at + buckets]
            at += buckets if self.layout.bounds else 0
            count, total = values[at], values[at + 1]
            at += 2
            own = np.diff(cumulated, prepend=0.0) if self.layout.bounds else np.array([count])
            whole = bool((own >= 0).all()) and (not self.layout.bounds or cumulated[-1] == count)
            parts += [own, np.array([total])] if whole else [np.zeros(buckets + 1)]
        return np.concatenate(parts)

    def _samples(self, rows: Int64s) -> Float64s:
        """Totals -> values of the series, row by row."""
        totals, counters, buckets = self.totals[rows], len(self.layout.counters), len(self.layout.bounds) + 1
        parts = [totals[:, :counters]]
        for index in range(len(self.layout.histograms)):
            at = self.histogram(index)
            cumulated = np.cumsum(totals[:, at : at + buckets], axis=1)
            parts += [cumulated] if self.layout.bounds else []
            parts += [cumulated[:, -1:], totals[:, at + buckets : at + buckets + 1]]
        return np.concatenate(parts, axis=1)

    def histogram(self, index: int) -> int:
        """The column of a histogram's first bucket."""
        return len(self.layout.counters) + index * (len(self.layout.bounds) + 2)

    def observe(self, rows: Int64s, index: int, values: Float64s, weights: Float64s) -> None:
        """Put values into a histogram, each as often as its weight says."""
        at, buckets = self.histogram(index), len(self.layout.bounds) + 1
        columns = at + np.searchsorted(self.layout.bounds, values, side="left")
        np.add.at(self.totals, (rows, columns), weights)
        np.add.at(self.totals[:, at + buckets], rows, values * weights)

    def add(self, key: Key, amounts: Sequence[float], stamp_ms: int) -> None:
        """Add to the first counters of one row; PointRefused past a limit of the registry."""
        row = self.row(key, stamp_ms)
        self.totals[row, : len(amounts)] += amounts
        self.touched.add(row)

    def add_value(self, key: Key, index: int, value: float, weight: float, stamp_ms: int) -> None:
        """Put one value into a histogram of one row; PointRefused past a limit of the registry."""
        row = self.row(key, stamp_ms)
        self.observe(np.array([row]), index, np.array([value]), np.array([weight]))
        self.touched.add(row)

    def taken(self, stamp_ms: int) -> Columns | None:
        """The samples of the rows that have changed; None if none has."""
        if not self.touched:
            return None
        rows = np.array(sorted(self.touched), np.int64)
        self.touched.clear()
        self._touched_ms[rows] = stamp_ms
        return self.columns(rows, stamp_ms)

    def bucket_slot(self, row: int, index: int, value: float) -> int:
        """The slot of the bucket that a value falls into."""
        before = len(self.layout.counters) + index * (len(self.layout.bounds) + 3)
        return int(self._slots[row, before + int(np.searchsorted(self.layout.bounds, value, side="left"))])

    def columns(self, rows: Int64s, stamp_ms: int) -> Columns:
        """The samples of some rows at a time: all their series, as they are now."""
        slots = self._slots[rows].ravel()
        size = len(slots)
        times = np.full(size, stamp_ms * _NS_PER_MS, np.uint64)
        flags = np.full(size, COUNTER, np.uint8)
        return Columns(slots, times, self._starts[rows].ravel(), self._samples(rows).ravel(), flags)

    def live(self, stamp_ms: int) -> Int64s:
        """Rows that have counted lately; the others are forgotten, and so are those that have no series any more."""
        for key, row in list(self._rows.items()):
            if self._touched_ms[row] < stamp_ms - SPAN_SERIES_IDLE_MS or not self._can_go_on(row, stamp_ms):
                self._forget(key, row)
        return np.fromiter(self._rows.values(), np.int64, len(self._rows))

    def _can_go_on(self, row: int, stamp_ms: int) -> bool:
        """Whether a row's series are at hand, or can be found again."""
        if self._keys[row] in self._at_hand:
            return True
        touched = self._touched_ms[row]
        try:
            self._resolve(row, stamp_ms)
        except PointRefused:
            return False
        self._touched_ms[row] = touched
        return True

    def _forget(self, key: Key, row: int) -> None:
        del self._rows[key]
        self._at_hand.pop(key, None)
        self._free.append(row)
        self._of_service[key[0]] -= 1
        if not self._of_service[key[0]]:
            del self._of_service[key[0]]
