"""Native histograms in selectors and ranges: series by series, because each has its own buckets.

Floats of the same labels were evaluated before: these functions write into their result, or say why they cannot.
Source: prometheus, promql/engine.go and promql/functions.go.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np

from mirubato.model.histogram import Histogram, ResetHint
from mirubato.model.labels import metric_name
from mirubato.model.samples import Float64s, Int64s
from mirubato.promql import native_extended, native_histograms, native_windows
from mirubato.promql.annotations import Annotations
from mirubato.promql.expressions import Span
from mirubato.promql.native_histograms import Notify
from mirubato.promql.native_windows import NativeWindows
from mirubato.promql.range_functions import Range
from mirubato.promql.values import Bools, Histograms, Vector, no_histograms
from mirubato.promql.windows import Columns, NativeColumn

HistogramFunction = Callable[[NativeWindows, Notify], native_windows.Answers]


def negated(histograms: Histograms) -> Histograms:
    """`-` of each."""
    return _each(histograms, native_histograms.negate)


def without_hints(histograms: Sequence[Histogram]) -> list[Histogram]:
    """Hints about resets taken away: a subquery may skip samples or repeat them."""
    known = (ResetHint.RESET, ResetHint.NOT_RESET)
    return [one.hinted(ResetHint.UNKNOWN) if one.hint in known else one for one in histograms]


def _each(histograms: Histograms, function: Callable[[Histogram], Histogram]) -> Histograms:
    result = no_histograms(histograms.shape)
    flat = result.reshape(-1)
    for index, one in enumerate(histograms.reshape(-1).tolist()):
        if one is not None:
            flat[index] = function(one)
    return result


# --- instant selectors ------------------------------------------------------------------------------------------------


def newest(
    found: Vector,
    native: dict[int, NativeColumn],
    columns: Columns,
    bounds: tuple[Int64s, Int64s],
    *,
    times: bool,
) -> None:
    """Where the newest sample of the look-back is a histogram, it is shown: or its time, in seconds."""
    starts, ends = bounds
    found.histograms = no_histograms(found.present.shape)
    for row, column in native.items():
        at = np.searchsorted(column.timestamps, ends, side="right") - 1
        safe = np.maximum(at, 0)
        seen = (at >= 0) & (column.timestamps[safe] > starts)
        seen &= column.timestamps[safe] > _newest_float(columns, row, ends)
        found.present[row] &= ~seen
        for step in np.flatnonzero(seen).tolist():
            one = column.histograms[at[step]]
            if one is not None and times:
                found.values[row, step], found.present[row, step] = column.timestamps[at[step]] / 1000, True
            elif one is not None:
                found.histograms[row, step] = one
    if times:
        found.histograms = None


def smooth(
    found: Vector,
    native: dict[int, NativeColumn],
    columns: Columns,
    near: tuple[Int64s, int],
    about: tuple[Annotations, Span],
) -> None:
    """Histograms of smoothed selectors; where there are floats `near` a time (ms, and how far), there is no answer."""
    notes, span = about
    times, lookback = near
    found.histograms = no_histograms(found.present.shape)
    for row, column in native.items():
        about_row = _About(notes, span, metric_name(found.labels[row]))
        held = _held(column)
        floats = columns.timestamps[columns.offsets[row] : columns.offsets[row + 1]].tolist()
        for step, at in enumerate(times.tolist()):
            if not _any_near(held.times, at, lookback):
                continue
            if _any_near(floats, at, lookback):
                about_row.mixed()
                found.present[row, step] = False
            else:
                found.histograms[row, step] = native_extended.at_time(held, at, lookback, about_row.notify)


def _any_near(times: Sequence[int], at: int, lookback: int) -> bool:
    return bisect_right(times, at - lookback) < bisect_right(times, at + lookback)


def _held(column: NativeColumn) -> native_extended.Held:
    """The histograms; staleness markers are gone."""
    return native_extended.Held(column.timestamps.tolist(), [one for one in column.histograms if one is not None])


def _newest_float(columns: Columns, row: int, ends: Int64s) -> Int64s:
    """When the newest float at each step was there, long ago where none was."""
    own = columns.timestamps[columns.offsets[row] : columns.offsets[row + 1]]
    padded = np.append(np.int64(-1 << 62), own)
    return padded[np.searchsorted(own, ends, side="right")]


# --- ranges -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """One series with histograms in its ranges, and where its floats are."""

    windows: NativeWindows
    floats: Int64s
    """How many floats are in the window of each step."""
    float_times: Int64s
    float_values: Float64s
    """All its floats."""
    reach: int
    """How far before a range its anchor is looked for, ms."""

    @property
    def some(self) -> Bools:
        """Where there is a histogram."""
        some: Bools = self.windows.high > self.windows.low
        return some

    @property
    def mixed(self) -> Bools:
        """Where there are both."""
        return self.some & (self.floats > 0)

    def without(self, steps: Bools) -> NativeWindows:
        """The windows, those of some steps empty."""
        return replace(self.windows, high=np.where(steps, self.windows.low, self.windows.high))

    def float_window(self, step: int) -> slice:
        """The floats of one window."""
        bounds = [self.windows.starts[step], self.windows.ends[step]]
        low, high = np.searchsorted(self.float_times, bounds, side="right").tolist()
        return slice(low, high)


@dataclass(frozen=True, slots=True)
class _About:
    """Whom to tell, of what."""

    notes: Annotations
    span: Span
    metric: str

    @property
    def notify(self) -> Notify:
        """For operations on histograms."""
        return self.notes.notify(self.span, metric=self.metric)

    def mixed(self) -> None:
        """Floats and histograms in one window."""
        self.notes.warn(f'encountered a mix of histograms and floats for metric name "{self.metric}"', self.span)

    def ignored(self) -> None:
        """Histograms beside floats do not count."""
        text = "ignored histograms in a range containing both floats and histograms for metric name"
        self.notes.info(f'{text} "{self.metric}"', self.span)


def apply(name: str, span: Span, range_: Range, result: Vector, notes: Annotations) -> None:
    """What a range function makes of the series that have histograms, written into the result."""
    result.histograms = no_histograms(result.present.shape)
    for index in range_.vector.native:
        row = _row(range_, index)
        about = _About(notes, span, metric_name(range_.vector.labels[index]))
        if range_.vector.extended:
            _extended(name, row, range_, result, index, about)
        elif name in _COMBINED:
            _COMBINED[name](row, result, index)
        elif name in _HISTOGRAMS:
            _only_histograms(_HISTOGRAMS[name], row, result, index, about)
        elif name in _LAST_TWO:
            _last_two(_LAST_TWO[name], row, result, index, about)
        elif row.mixed.any():
            about.ignored()


def _row(range_: Range, index: int) -> _Row:
    vector = range_.vector
    column, run = vector.native[index], range_.windows.run_of[index]
    low = np.searchsorted(column.timestamps, vector.starts, side="right")
    high = np.maximum(np.searchsorted(column.timestamps, vector.ends, side="right"), low)
    held = [one for one in column.histograms if one is not None]
    windows = NativeWindows(column.timestamps, held, low, high, vector.starts, vector.ends)
    own = slice(vector.columns.offsets[index], vector.columns.offsets[index + 1])
    floats = range_.windows.high[run] - range_.windows.low[run]
    return _Row(windows, floats, vector.columns.timestamps[own], vector.columns.values[own], vector.before_ms)


def _write(answers: native_windows.Answers, result: Vector, index: int) -> None:
    assert result.histograms is not None
    for step, one in enumerate(answers):
        if one is not None:
            result.histograms[index, step] = one


def _only_histograms(function: HistogramFunction, row: _Row, result: Vector, index: int, about: _About) -> None:
    """`rate` and others: a window with floats too has no answer."""
    if row.mixed.any():
        about.mixed()
        result.present[index] &= ~row.mixed
    _write(function(row.without(row.mixed), about.notify), result, index)


def _extended(name: str, row: _Row, range_: Range, result: Vector, index: int, about: _About) -> None:
    """Anchored and smoothed ranges: `rate` and others, `changes` and `resets`."""
    vector = range_.vector
    held = _held(vector.native[index])
    reach = (vector.before_ms, vector.after_ms)
    edges = native_extended.windows(held, vector.starts, vector.ends, reach, smoothed=vector.smoothed)
    if name in ("changes", "resets"):
        _anchored_neighbours(row, edges, result, index, resets=name == "resets")
        return
    seconds = vector.range_ms / 1000 if name == "rate" else 1.0
    answers: native_windows.Answers = []
    for step, one in enumerate(edges):
        some, mixed = one.high > one.low, row.floats[step] > 0
        if some and mixed:
            about.mixed()
            result.present[index, step] = False
        change = None
        if some and not mixed:
            change = native_extended.change(held, one, about.notify, counter=name != "delta")
        answers.append(change and change.divided(seconds))
    _write(answers, result, index)


def _anchored_neighbours(
    row: _Row, edges: Sequence[native_extended.Edges], result: Vector, index: int, *, resets: bool
) -> None:
    """From the newest sample at or before the start of each range, be it a float or a histogram."""
    samples = _samples(row, slice(None), range(len(row.windows.histograms)))
    times = [time for time, _ in samples]
    for step, one in enumerate(edges):
        if one.high == one.low:
            continue
        first = bisect_right(times, one.start)
        end = bisect_right(times, one.end)
        begin = max(first - 1, bisect_right(times, int(row.windows.starts[step]) - row.reach))
        result.present[index, step] = end > first
        pairs = pairwise(samples[begin:end])
        result.values[index, step] = sum(_differ(old, new, resets=resets) for (_, old), (_, new) in pairs)


def _last_two(function: HistogramFunction, row: _Row, result: Vector, index: int, about: _About) -> None:
    """`irate` and `idelta`: of the last two samples, which must be of one kind."""
    windows, skipped = row.windows, np.zeros(len(row.floats), np.bool_)
    for step in np.flatnonzero(row.mixed).tolist():
        floats = row.float_times[row.float_window(step)][-2:].tolist()
        native = windows.timestamps[windows.low[step] : windows.high[step]][-2:].tolist()
        last = sorted([*floats, *native])[-2:]
        of_floats = sum(time in floats for time in last)
        skipped[step] = of_floats > 0
        result.present[index, step] &= of_floats == len(last)
        if 0 < of_floats < len(last):
            about.mixed()
    _write(function(row.without(skipped), about.notify), result, index)


# --- functions that take both alike -----------------------------------------------------------------------------------


def _count(row: _Row, result: Vector, index: int) -> None:
    result.values[index] = row.floats + row.windows.high - row.windows.low
    result.present[index] = (row.floats > 0) | row.some


def _present(row: _Row, result: Vector, index: int) -> None:
    result.values[index] = 1.0
    result.present[index] = (row.floats > 0) | row.some


def _at_edge(row: _Row, result: Vector, index: int, *, last: bool, times: bool) -> None:
    """The first or last sample of each window, or its time in seconds."""
    assert result.histograms is not None
    windows = row.windows
    for step in np.flatnonzero(row.some).tolist():
        at = int(windows.high[step] - 1 if last else windows.low[step])
        when = int(windows.timestamps[at])
        floats = row.float_times[row.float_window(step)]
        if len(floats) and (int(floats[-1]) > when if last else int(floats[0]) < when):
            continue
        result.present[index, step] = times
        if times:
            result.values[index, step] = when / 1000
        else:
            result.histograms[index, step] = windows.histograms[at]


def _neighbours(row: _Row, result: Vector, index: int, *, resets: bool) -> None:
    """`changes` and `resets`: from a float to a histogram and back is one too."""
    some = row.some
    counts = native_windows.resets(row.windows) if resets else native_windows.changes(row.windows)
    result.values[index] = np.where(some, counts, result.values[index])
    result.present[index] |= some
    for step in np.flatnonzero(row.mixed).tolist():
        result.values[index, step] = _mixed_neighbours(row, step, resets=resets)


def _samples(row: _Row, floats: slice, histograms: range) -> list[tuple[int, float | Histogram]]:
    """Floats and histograms by time."""
    windows = row.windows
    samples: list[tuple[int, float | Histogram]] = [
        *zip(row.float_times[floats].tolist(), row.float_values[floats].tolist(), strict=True),
        *((int(windows.timestamps[at]), windows.histograms[at]) for at in histograms),
    ]
    return sorted(samples, key=lambda sample: sample[0])


def _mixed_neighbours(row: _Row, step: int, *, resets: bool) -> int:
    windows = row.windows
    samples = _samples(row, row.float_window(step), range(windows.low[step], windows.high[step]))
    return sum(_differ(old, new, resets=resets) for (_, old), (_, new) in pairwise(samples))


def _differ(old: float | Histogram, new: float | Histogram, *, resets: bool) -> bool:
    if isinstance(old, Histogram) and isinstance(new, Histogram):
        return native_histograms.detect_reset(old, new) if resets else not native_histograms.equal(old, new)
    if isinstance(old, Histogram) or isinstance(new, Histogram):
        return True
    return new < old if resets else new != old and not (math.isnan(old) and math.isnan(new))


_COMBINED: dict[str, Callable[[_Row, Vector, int], None]] = {
    "absent_over_time": _present,
    "changes": partial(_neighbours, resets=False),
    "count_over_time": _count,
    "first_over_time": partial(_at_edge, last=False, times=False),
    "last_over_time": partial(_at_edge, last=True, times=False),
    "present_over_time": _present,
    "resets": partial(_neighbours, resets=True),
    "ts_of_first_over_time": partial(_at_edge, last=False, times=True),
    "ts_of_last_over_time": partial(_at_edge, last=True, times=True),
}
_HISTOGRAMS: dict[str, HistogramFunction] = {
    "avg_over_time": native_windows.avg_over_time,
    "delta": native_windows.delta,
    "increase": native_windows.increase,
    "rate": native_windows.rate,
    "sum_over_time": native_windows.sum_over_time,
}
_LAST_TWO: dict[str, HistogramFunction] = {"idelta": native_windows.idelta, "irate": native_windows.irate}
