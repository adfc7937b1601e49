"""Queries over a selector: at one time, over steps, or the raw samples of a range."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mirubato.clock import monotonic_s
from mirubato.errors import BadQuery, QueryLimit, QueryTimeout
from mirubato.limits import LOOKBACK_MS, STEPS_MAX
from mirubato.model.histogram import Histogram
from mirubato.model.labels import Labels, is_stale
from mirubato.model.samples import Float64s, Int64s, SelectedFloats, SelectedHistograms
from mirubato.model.seams import Selector
from mirubato.promql.selectors import VectorSelector

# Sample times are 0 or more and fit in 43 bits until the year 2248. A step may be anywhere: beyond these bounds it sees
# what it would see at the bound.
_TIME_BITS = 43
_TIME_MAX = (1 << _TIME_BITS) - 2


@dataclass(slots=True)
class QueryBudget:
    """`model.seams.Budget` with the settings' bounds; `deadline_s` is of the monotonic clock."""

    deadline_s: float
    series_max: int
    samples_max: int
    series: int = 0
    samples: int = 0

    def check(self) -> None:
        """QueryTimeout once the deadline has passed."""
        if monotonic_s() > self.deadline_s:
            raise QueryTimeout("query timed out (MIRUBATO_QUERY_TIMEOUT)")

    def take_series(self, count: int) -> None:
        """QueryLimit past the number of series."""
        self.series += count
        if self.series > self.series_max:
            raise QueryLimit(f"the query touches more than MIRUBATO_MAX_QUERY_SERIES={self.series_max} series")

    def take_samples(self, count: int) -> None:
        """QueryLimit past the number of samples."""
        self.samples += count
        if self.samples > self.samples_max:
            raise QueryLimit(f"the query reads more than MIRUBATO_MAX_QUERY_SAMPLES={self.samples_max} samples")


@dataclass(frozen=True, slots=True)
class Points:
    """One series of an answer: times in ms, and a value or a histogram at each."""

    labels: Labels
    times: Sequence[int]
    values: Sequence[float] = ()
    histograms: Sequence[Histogram] = ()


@dataclass(frozen=True, slots=True)
class Steps:
    """The times of a range query: from `start` to `end` (ms), every `step` ms; a sample counts for `lookback` ms."""

    start: int
    end: int
    step: int
    lookback: int = LOOKBACK_MS

    def __post_init__(self) -> None:
        if self.step <= 0:
            raise BadQuery("zero or negative query resolution step widths are not accepted. Try a positive integer")
        if self.end < self.start:
            raise BadQuery("end timestamp must not be before start time")
        if (self.end - self.start) // self.step > STEPS_MAX:
            raise BadQuery(
                "exceeded maximum resolution of 11,000 points per timeseries."
                " Try decreasing the query resolution (?step=XX)"
            )

    def times(self) -> Int64s:
        """All times, rising."""
        return np.arange(self.start, self.end + 1, self.step).astype(np.int64)


def raw_samples(selector: Selector, query: VectorSelector, time: int, budget: QueryBudget) -> list[Points]:
    """The samples of a range vector at `time` (ms): those in (time - range, time]."""
    assert query.range_ms is not None
    budget.check()
    found = selector.select(query.matchers, max(time - query.range_ms + 1, 0), time, budget)
    points = []
    floats = found.floats
    for index, labels in enumerate(floats.labels):
        low, high = int(floats.offsets[index]), int(floats.offsets[index + 1])
        live = ~is_stale(floats.values[low:high])
        if live.any():
            times, values = floats.timestamps[low:high][live], floats.values[low:high][live]
            points.append(Points(labels, times.tolist(), values.tolist()))
    for one in found.histograms:
        pairs = [(t, h) for t, h in zip(one.timestamps, one.histograms, strict=True) if h is not None]
        if pairs:
            points.append(Points(one.labels, [t for t, _ in pairs], histograms=[h for _, h in pairs]))
    return sorted(points, key=lambda one: one.labels)


def at_steps(selector: Selector, query: VectorSelector, steps: Steps, budget: QueryBudget) -> list[Points]:
    """At each step the newest sample of the look-back (left-open), unless the series went stale there."""
    budget.check()
    found = selector.select(query.matchers, max(steps.start - steps.lookback + 1, 0), steps.end, budget)
    points = _float_steps(found.floats, steps, budget)
    for one in found.histograms:
        points += _histogram_steps(one, steps)
    return sorted(points, key=lambda one: one.labels)


def _float_steps(floats: SelectedFloats, steps: Steps, budget: QueryBudget) -> list[Points]:
    """One searchsorted over (series, time) keys finds the sample of every step of every series."""
    count, times = len(floats.labels), steps.times()
    if not count:
        return []
    budget.take_samples(count * len(times))
    owners = np.repeat(np.arange(count), np.diff(floats.offsets))
    keys = (owners << _TIME_BITS) | (floats.timestamps + 1)
    wanted = (np.arange(count)[:, None] << _TIME_BITS) | (np.clip(times, -1, _TIME_MAX) + 1)
    at = np.searchsorted(keys, wanted, side="right") - 1
    safe = np.maximum(at, 0)
    seen = (at >= floats.offsets[:-1, None]) & (floats.timestamps[safe] > times - steps.lookback)
    values: Float64s = floats.values[safe]
    seen &= ~is_stale(values)
    points = []
    for index in np.flatnonzero(seen.any(axis=1)).tolist():
        row = seen[index]
        points.append(Points(floats.labels[index], times[row].tolist(), values[index][row].tolist()))
    return points


def _histogram_steps(one: SelectedHistograms, steps: Steps) -> list[Points]:
    times = steps.times()
    stamps = np.array(one.timestamps, np.int64)
    at = np.searchsorted(stamps, times, side="right") - 1
    shown: list[tuple[int, Histogram]] = []
    for time, index in zip(times.tolist(), at.tolist(), strict=True):
        histogram = one.histograms[index] if index >= 0 and stamps[index] > time - steps.lookback else None
        if histogram is not None:
            shown.append((time, histogram))
    if not shown:
        return []
    return [Points(one.labels, [time for time, _ in shown], histograms=[histogram for _, histogram in shown])]
