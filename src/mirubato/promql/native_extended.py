"""`anchored` and `smoothed` selectors over native histograms, window by window.

Source: prometheus, promql/functions.go (extendedHistogramRate) and promql/engine.go (smoothSeries).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mirubato.model.histogram import Histogram, ResetHint
from mirubato.model.samples import Int64s
from mirubato.promql import native_histograms as native
from mirubato.promql.native_histograms import Note, Notify


@dataclass(frozen=True, slots=True)
class Held:
    """Native histograms of one series: times (ms) rising, none stale."""

    times: Sequence[int]
    histograms: Sequence[Histogram]

    def between(self, before: int, at: int, note: Notify, *, counter: bool) -> Histogram | None:
        """The histogram at a time between sample `before` and the next; a counter that fell began at 0."""
        old, new = self.histograms[before], self.histograms[before + 1]
        if at == self.times[before]:
            return old
        share = (at - self.times[before]) / (self.times[before + 1] - self.times[before])
        if counter and native.detect_reset(old, new):
            return new.times(share)
        change = _combined(new, old, note, subtract=True)
        # A difference is a gauge elsewhere; here it is added back at once.
        return change and _combined(change.hinted(new.hint.joined(old.hint)).times(share), old, note)


def _combined(left: Histogram, right: Histogram, note: Notify, *, subtract: bool = False) -> Histogram | None:
    """Sum or difference; conflicting hints do not matter here, and different kinds have a name of their own."""

    def told(what: Note) -> None:
        if what is Note.INCOMPATIBLE_LAYOUT:
            note(Note.MIXED_KINDS)
        elif what not in (Note.COLLISION_IN_ADDITION, Note.COLLISION_IN_SUBTRACTION):
            note(what)

    return native.subtract(left, right, told) if subtract else native.add(left, right, told)


@dataclass(frozen=True, slots=True)
class Edges:
    """A window (start, end], ms, and what is looked at beyond it."""

    start: int
    end: int
    low: int
    high: int
    """Samples `low` to `high` - 1, those beyond included."""
    smoothed: bool


def change(held: Held, edges: Edges, note: Notify, *, counter: bool) -> Histogram | None:
    """What a histogram gained between the edges of a window; None where nothing can be said."""
    last = edges.high - 1
    first = max(edges.low, min(bisect_right(held.times, edges.start), last) - 1)
    if edges.smoothed:
        last = min(bisect_left(held.times, edges.end, edges.low), last)
    if held.times[last] <= edges.start or (edges.smoothed and held.times[first] > edges.end):
        return None
    samples = held.histograms[first : last + 1]
    if not _alike(samples, note, counter=counter):
        return None
    left, right = samples[0], samples[-1]
    if edges.smoothed and held.times[first] < edges.start:
        found = held.between(first, edges.start, note, counter=counter)
        left = left if found is None else found
    if edges.smoothed and last > edges.low and held.times[last] > edges.end:
        found = held.between(last - 1, edges.end, note, counter=counter)
        right = right if found is None else found
    if not counter and not left.hint is right.hint is ResetHint.GAUGE:
        note(Note.NOT_GAUGE)
    result = _combined(right, left, note, subtract=True)
    if counter:
        spanned = edges.smoothed and held.times[first] < edges.start
        for lost in _lost(samples, left, right, spanned=spanned):
            result = result and _combined(result, lost, note)
    return result and result.hinted(ResetHint.GAUGE).compacted()


def _alike(samples: Sequence[Histogram], note: Notify, *, counter: bool) -> bool:
    for one in samples:
        if one.custom != samples[0].custom:
            note(Note.MIXED_KINDS)
            return False
        if counter and one.hint is ResetHint.GAUGE:
            note(Note.NOT_COUNTER)
    return True


def _lost(samples: Sequence[Histogram], left: Histogram, right: Histogram, *, spanned: bool) -> Sequence[Histogram]:
    """What resets between the edges took away; `spanned`: the left edge lies between the first two samples."""
    first, previous = 1, left
    if spanned and native.detect_reset(samples[0], samples[1]):
        first, previous = 2, samples[1]  # the value at the edge knows of that reset
    if first > len(samples) - 1:
        return []
    lost = []
    for one in [*samples[first:-1], right]:
        if native.detect_reset(previous, one):
            lost.append(previous)
        previous = one
    return lost


def at_time(held: Held, at: int, lookback: int, note: Notify) -> Histogram | None:
    """The histogram at a time (ms), between the samples around it within the look-back (ms)."""
    low, high = bisect_right(held.times, at - lookback), bisect_right(held.times, at + lookback)
    after = bisect_left(held.times, at, low, high)
    if after < high and held.times[after] == at:
        return held.histograms[after]
    if after == low:
        return None
    before = held.histograms[after - 1]
    if after == high:
        return before.hinted(ResetHint.UNKNOWN)
    following = held.histograms[after]
    if before.custom != following.custom:
        note(Note.MIXED_KINDS)
        return None
    counter = not before.hint is following.hint is ResetHint.GAUGE
    return held.between(after - 1, at, note, counter=counter)


def windows(held: Held, starts: Int64s, ends: Int64s, reach: tuple[int, int], *, smoothed: bool) -> list[Edges]:
    """The windows of a series at each step; `reach` is how far samples before and after them are looked for (ms)."""
    times = np.array(held.times, np.int64)
    low = np.searchsorted(times, starts - reach[0], side="right").tolist()
    high = np.searchsorted(times, ends + reach[1], side="right").tolist()
    edges = zip(starts.tolist(), ends.tolist(), low, high, strict=True)
    return [Edges(*one, smoothed) for one in edges]
