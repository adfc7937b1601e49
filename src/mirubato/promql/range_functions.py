"""Functions of the floats of a range, for all series and steps at once.

Source: prometheus, promql/functions.go. Each takes a chunk of windows and answers values and where there are any.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from mirubato.errors import QueryError
from mirubato.model.samples import Float64s, Int64s
from mirubato.promql import sums
from mirubato.promql.values import Bools
from mirubato.promql.windows import Chunk, Columns, RangeVector, Windows

# Samples that are laid out as a table at once, where a function must see every sample of every window.
_TABLE_CELLS = 1 << 18

Answer = tuple[Float64s, Bools]


@dataclass(frozen=True, slots=True)
class Range:
    """What a function of a range may ask beside the samples."""

    vector: RangeVector
    windows: Windows
    times: Int64s
    """The steps themselves, ms."""
    scalars: tuple[Float64s, ...]
    """Scalar arguments, one value for each step."""


FloatFunction = Callable[[Chunk, Range], Answer]
TableFunction = Callable[[slice, Int64s, Bools], Float64s]
"""Of some cells of a chunk (counted row by row): for each a row with the places of its samples, and which are there."""


# --- what needs only the ends of a window -----------------------------------------------------------------------------


def _count(chunk: Chunk, _: Range) -> Answer:
    counts = chunk.high - chunk.low
    return counts.astype(np.float64), counts > 0


def _present(chunk: Chunk, _: Range) -> Answer:
    some = chunk.high > chunk.low
    return np.ones(some.shape), some


def _first(chunk: Chunk, _: Range) -> Answer:
    return _picked(chunk, chunk.columns.values, chunk.low)


def _last(chunk: Chunk, _: Range) -> Answer:
    return _picked(chunk, chunk.columns.values, chunk.high - 1)


def _time_of_first(chunk: Chunk, _: Range) -> Answer:
    return _picked(chunk, chunk.columns.timestamps / 1000, chunk.low)


def _time_of_last(chunk: Chunk, _: Range) -> Answer:
    return _picked(chunk, chunk.columns.timestamps / 1000, chunk.high - 1)


def _picked(chunk: Chunk, column: Float64s, at: Int64s) -> Answer:
    some = chunk.high > chunk.low
    return column[np.where(some, at, 0)], some


def _instant_change(chunk: Chunk, _: Range, *, counter: bool) -> Answer:
    """`irate` and `idelta`: of the last two samples."""
    some = chunk.high - chunk.low >= 2
    last = np.where(some, chunk.high - 1, 0)
    values, times = chunk.columns.values, chunk.columns.timestamps
    new, old = values[last], values[last - 1]
    change = new - old
    if counter:
        change = np.where(new < old, new, change) / ((times[last] - times[last - 1]) / 1000)
    return change, some


# --- rate, increase, delta --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Extrapolation:
    """What depends on timestamps only: [runs, steps], durations in seconds (extrapolatedRate)."""

    enough: Bools
    sampled: Float64s
    """From the first sample to the last."""
    to_start: Float64s
    covered: Float64s
    """From the first sample to where the window is taken to end."""
    factor: Float64s
    unit_s: float
    """Seconds that the change is divided by."""


def _extrapolation(range_: Range, unit_s: float) -> _Extrapolation:
    windows, vector = range_.windows, range_.vector
    counts = windows.high - windows.low
    first, last = windows.at(windows.low), windows.at(np.maximum(windows.high - 1, 0))
    to_start, to_end = (first - vector.starts) / 1000, (vector.ends - last) / 1000
    sampled = (last - first) / 1000
    average = sampled / np.maximum(counts - 1, 1)
    threshold = average * 1.1
    to_start = np.where(to_start >= threshold, average / 2, to_start)
    covered = sampled + np.where(to_end >= threshold, average / 2, to_end)
    enough = counts >= 2
    factor = (covered + to_start) / np.where(enough, sampled, 1.0) / unit_s
    return _Extrapolation(enough, sampled, to_start, covered, factor, unit_s)


def _extrapolated(range_: Range, *, counter: bool, per_second: bool) -> FloatFunction:
    """The change between the ends of a window, extrapolated to all of it."""
    extrapolation = _extrapolation(range_, range_.vector.range_ms / 1000 if per_second else 1.0)
    drops = _Drops(range_.windows) if counter else None

    def answer(chunk: Chunk, _: Range) -> Answer:
        enough = extrapolation.enough[chunk.runs]
        first, last = np.where(enough, chunk.low, 0), np.where(enough, chunk.high - 1, 0)
        begin = chunk.columns.values[first]
        change = chunk.columns.values[last] - begin
        if drops is not None:
            drops.correct(chunk, change)
        result = change * extrapolation.factor[chunk.runs]
        if counter:
            _stop_at_zero(result, change, begin, chunk.runs, extrapolation)
        return result, enough

    return answer


def _stop_at_zero(
    result: Float64s, change: Float64s, begin: Float64s, runs: Int64s, extrapolation: _Extrapolation
) -> None:
    """A counter was never below zero: where extrapolation would take it there, it begins at zero instead."""
    to_start, sampled = extrapolation.to_start[runs], extrapolation.sampled[runs]
    nearer = (change > 0) & (begin >= 0) & (begin * sampled < to_start * change)
    if nearer.any():
        length, change = sampled[nearer], change[nearer]
        to_zero = length * (begin[nearer] / change)
        factor = (extrapolation.covered[runs][nearer] + to_zero) / length / extrapolation.unit_s
        result[nearer] = change * factor


# Of a difference of running totals so many times as large, 12 digits are right.
_RUNNING_MAX = 1e4


class _Drops:
    """Where counters fell: what was there before counts on."""

    def __init__(self, windows: Windows) -> None:
        columns = windows.columns
        fell = np.flatnonzero(columns.values[1:] < columns.values[:-1]) + 1
        owners = np.searchsorted(columns.offsets, fell, side="right") - 1
        within = fell > columns.offsets[owners]
        fell, owners = fell[within], owners[within]
        self.some = np.zeros(len(columns.offsets) - 1, np.bool_)
        self.some[owners] = True
        self._before = np.zeros(len(columns.values) + 1)
        self._before[fell] = columns.values[fell - 1]
        self._running = _running(columns, fell, owners)

    def correct(self, chunk: Chunk, change: Float64s) -> None:
        """Add what was lost to the changes of a chunk."""
        some = self.some[chunk.rows]
        if some.all():
            change += self.between(chunk.low, chunk.high)
        elif some.any():
            rows = np.flatnonzero(some)
            change[rows] += self.between(chunk.low[rows], chunk.high[rows])

    def between(self, low: Int64s, high: Int64s) -> Float64s:
        """What was lost between the first and the last of some samples.

        Differences of running totals, but where so little of a total is left that its digits would show: those are
        summed by themselves. To sum all windows takes a third of the time of a query over 12,000 series.
        """
        last = np.maximum(high - 1, low)
        running = self._running[last]
        lost = running - self._running[low]
        doubtful = ~(np.abs(running) <= np.abs(lost) * _RUNNING_MAX) & (lost != 0)
        if doubtful.any():
            lost[doubtful] = _plain_sums(self._before, np.minimum(low + 1, high)[doubtful], high[doubtful])
        return lost


def _running(columns: Columns, fell: Int64s, owners: Int64s) -> Float64s:
    """At each sample what its row has lost so far, and one more; `fell` are samples below the one before."""
    begins = np.unique(columns.offsets[:-1])
    marks = np.union1d(begins, fell)
    before = np.zeros(len(marks))
    at = np.searchsorted(marks, fell)
    lost = columns.values[fell - 1]
    # The n-th drop of all rows at once, so that each row has a sum of its own.
    rank = np.arange(len(fell)) - np.searchsorted(owners, owners)
    order, ends = np.argsort(rank, kind="stable"), np.cumsum(np.bincount(rank))
    for turn, end in enumerate(ends.tolist()):
        now = order[ends[turn - 1] if turn else 0 : end]
        before[at[now]] = lost[now] + (before[at[now - 1]] if turn else 0.0)
    running = np.repeat(before, np.diff(np.append(marks, len(columns.values))))
    return np.append(running, 0.0)


def drop_sums(windows: Windows) -> Callable[[Int64s, Int64s], Float64s]:
    """What counters lost between the first and the last of some samples of each cell."""
    drops = _Drops(windows)
    return lambda low, high: drops.between(low, np.maximum(high, low))


def _plain_sums(column: Float64s, low: Int64s, high: Int64s, add: np.ufunc = np.add) -> Float64s:
    """Sum (or another reduction) of column[low:high] for each cell, 0 where that is empty; the column has one more."""
    flat = np.stack([low.ravel(), high.ravel()], axis=1).ravel()
    result = add.reduceat(column, flat)[::2].reshape(low.shape)
    return np.where(high > low, result, 0.0)


# --- what needs every sample of a window ------------------------------------------------------------------------------


def _reduced(range_: Range, reduction: np.ufunc) -> FloatFunction:
    """Minimum or maximum, NaN only where all are."""
    column = np.append(range_.windows.columns.values, 0.0)
    return lambda chunk, _: (_plain_sums(column, chunk.low, chunk.high, reduction), chunk.high > chunk.low)


def _summed(range_: Range, *, mean: bool) -> FloatFunction:
    """`sum_over_time` and `avg_over_time`: plain sums, and compensated ones where those might be off."""
    values = range_.windows.columns.values
    column = np.append(values, 0.0)
    sizes = None if not len(values) or values.min() >= 0 else np.abs(column)

    def answer(chunk: Chunk, _: Range) -> Answer:
        low, high = chunk.low, chunk.high
        with np.errstate(over="ignore", invalid="ignore"):
            totals = _plain_sums(column, low, high)
            doubtful = sums.suspect(totals, totals if sizes is None else _plain_sums(sizes, low, high))
            if mean:
                totals = totals / np.maximum(high - low, 1)
        if doubtful.any():
            careful = sums.table_mean if mean else sums.table_sum
            totals[doubtful] = _tabled(low[doubtful], high[doubtful], lambda _, at, mask: careful(values[at], mask))
        return totals, high > low

    return answer


def _tabled(low: Int64s, high: Int64s, function: TableFunction) -> Float64s:
    """A function of tables: one row for each cell, with the places of its samples, and a mask of what is there."""
    low, high = low.ravel(), high.ravel()
    results = np.zeros(len(low))
    for cells in _pieces(high - low):
        width = int((high[cells] - low[cells]).max(initial=0))
        at = low[cells, None] + np.arange(width)
        mask = at < high[cells, None]
        if width:
            with np.errstate(all="ignore"):
                results[cells] = function(cells, np.where(mask, at, low[cells, None] * mask[:, :1]), mask)
    return results


def _pieces(sizes: Int64s) -> Iterator[slice]:
    """Cells whose table is not too large."""
    count = max(_TABLE_CELLS // max(int(sizes.max(initial=1)), 1), 1)
    for first in range(0, len(sizes), count):
        yield slice(first, first + count)


def _by_table(function: Callable[[Chunk, Range], TableFunction], least: int) -> FloatFunction:
    def answer(chunk: Chunk, range_: Range) -> Answer:
        some = chunk.high - chunk.low >= least
        values = _tabled(chunk.low, chunk.high, function(chunk, range_))
        return values.reshape(chunk.low.shape), some

    return answer


def _variance(chunk: Chunk, _range: Range) -> TableFunction:
    """Welford's algorithm with compensated sums."""
    values = chunk.columns.values

    def of(_: slice, at: Int64s, mask: Bools) -> Float64s:
        rows = len(at)
        mean, mean_low, squares, squares_low = np.zeros((4, rows))
        for column in range(at.shape[1]):
            x, on = values[at[:, column]], mask[:, column]
            delta = x - (mean + mean_low)
            mean_next, mean_low_next = sums.add(delta / (column + 1), mean, mean_low)
            grown, low = sums.add(delta * (x - (mean_next + mean_low_next)), squares, squares_low)
            mean, mean_low = np.where(on, mean_next, mean), np.where(on, mean_low_next, mean_low)
            squares, squares_low = np.where(on, grown, squares), np.where(on, low, squares_low)
        result: Float64s = (squares + squares_low) / np.maximum(mask.sum(axis=1), 1)
        return result

    return of


def _deviation(chunk: Chunk, range_: Range) -> TableFunction:
    variance = _variance(chunk, range_)
    return lambda cells, at, mask: np.sqrt(variance(cells, at, mask))


def _quantile(chunk: Chunk, range_: Range) -> TableFunction:
    wanted = np.broadcast_to(range_.scalars[0], chunk.low.shape).ravel()
    return lambda cells, at, mask: quantile_of_rows(wanted[cells], chunk.columns.values[at], mask)


def quantile_of_rows(wanted: Float64s, table: Float64s, mask: Bools) -> Float64s:
    """The quantile of the cells of a mask in each row, between two of them in proportion; NaN sorts first."""
    count = mask.sum(axis=1)
    unordered = (np.isnan(table) & mask).sum(axis=1)
    ordered = np.sort(np.where(mask, table, np.nan), axis=1)
    rank = wanted * (count - 1)
    safe = np.where(np.isfinite(rank), rank, 0.0)
    below = np.maximum(np.floor(safe), 0).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    weight = safe - np.floor(safe)
    result = _ranked(ordered, below, unordered) * (1 - weight) + _ranked(ordered, above, unordered) * weight
    result = np.where(wanted < 0, -np.inf, np.where(wanted > 1, np.inf, result))
    return np.where(np.isnan(wanted) | (count == 0), np.nan, result)


def _ranked(ordered: Float64s, rank: Int64s, unordered: Int64s) -> Float64s:
    at = np.clip(rank - unordered, 0, ordered.shape[1] - 1)
    found = np.take_along_axis(ordered, at[:, None], axis=1)[:, 0]
    return np.where(rank < unordered, np.nan, found)


def _median_deviation(chunk: Chunk, _: Range) -> TableFunction:
    def of(_: slice, at: Int64s, mask: Bools) -> Float64s:
        table, half = chunk.columns.values[at], np.full(len(at), 0.5)
        median = quantile_of_rows(half, table, mask)
        result = quantile_of_rows(half, np.abs(table - median[:, None]), mask)
        return np.where((np.isnan(table) & mask).any(axis=1), np.nan, result)

    return of


def _extreme_time(chunk: Chunk, _: Range, *, largest: bool) -> TableFunction:
    """When the smallest or largest value was there last, in seconds."""

    def of(_: slice, at: Int64s, mask: Bools) -> Float64s:
        values, times = chunk.columns.values[at], chunk.columns.timestamps[at]
        best, when = values[:, 0], times[:, 0]
        for column in range(at.shape[1]):
            x = values[:, column]
            better = mask[:, column] & (((x >= best) if largest else (x <= best)) | np.isnan(best))
            best, when = np.where(better, x, best), np.where(better, times[:, column], when)
        return when / 1000

    return of


@dataclass(frozen=True, slots=True)
class _Line:
    """Least squares: slope in 1/s, and the value at the time that x counts from."""

    slope: Float64s
    intercept: Float64s


def _line(x: Float64s, y: Float64s, mask: Bools) -> _Line:
    """The line through the cells of a mask of each row (linearRegression)."""
    count = mask.sum(axis=1).astype(np.float64)
    sum_x, sum_y, sum_xy, sum_xx = (sums.table_sum(table, mask) for table in (x, y, x * y, x * x))
    covariance, variance = sum_xy - sum_x * sum_y / count, sum_xx - sum_x * sum_x / count
    slope = covariance / variance
    intercept = sum_y / count - slope * sum_x / count
    constant = ((y == y[:, :1]) | ~mask).all(axis=1)
    level = np.where(np.isinf(y[:, 0]), np.nan, y[:, 0])
    flat = np.where(np.isinf(y[:, 0]), np.nan, 0.0)
    return _Line(np.where(constant, flat, slope), np.where(constant, level, intercept))


def _slope(chunk: Chunk, _: Range) -> TableFunction:
    def of(_: slice, at: Int64s, mask: Bools) -> Float64s:
        times = chunk.columns.timestamps[at]
        return _line((times - times[:, :1]) / 1000, chunk.columns.values[at], mask).slope

    return of


def _predicted(chunk: Chunk, range_: Range) -> TableFunction:
    now = np.broadcast_to(range_.times, chunk.low.shape).ravel()
    ahead = np.broadcast_to(range_.scalars[0], chunk.low.shape).ravel()

    def of(cells: slice, at: Int64s, mask: Bools) -> Float64s:
        x = (chunk.columns.timestamps[at] - now[cells, None]) / 1000
        line = _line(x, chunk.columns.values[at], mask)
        return line.slope * ahead[cells] + line.intercept

    return of


def _smoothed(chunk: Chunk, range_: Range) -> TableFunction:
    """Double exponential smoothing (Holt): level and trend."""
    factors = [np.broadcast_to(scalar, chunk.low.shape).ravel() for scalar in range_.scalars]
    for name, factor in zip(("smoothing", "trend"), factors, strict=True):
        wrong = ~((factor > 0) & (factor < 1))
        if wrong.any():
            raise QueryError(f"invalid {name} factor. Expected: 0 < {name[0]}f < 1, got: {factor[wrong][0]:f}")

    def of(cells: slice, at: Int64s, mask: Bools) -> Float64s:
        return _holt(chunk.columns.values[at], mask, factors[0][cells], factors[1][cells])

    return of


def _holt(table: Float64s, mask: Bools, smoothing: Float64s, trend_factor: Float64s) -> Float64s:
    before, level = np.zeros(len(table)), table[:, 0]
    trend = table[:, 1] - table[:, 0] if table.shape[1] > 1 else before
    for column in range(1, table.shape[1]):
        on = mask[:, column]
        if column > 1:
            trend = np.where(on, trend_factor * (level - before) + (1 - trend_factor) * trend, trend)
        grown = smoothing * table[:, column] + (1 - smoothing) * (level + trend)
        before, level = np.where(on, level, before), np.where(on, grown, level)
    return level


# --- what counts pairs of neighbours ----------------------------------------------------------------------------------


def counted(windows: Windows, *, resets: bool) -> Callable[[Int64s, Int64s], Float64s]:
    """How often a sample is below (or other than) the one before it, between two samples of each cell."""
    values = windows.columns.values
    hits = np.zeros(len(values) + 1, np.int64)
    if len(values) > 1:
        new, old = values[1:], values[:-1]
        other = (new < old) if resets else (new != old) & ~(np.isnan(new) & np.isnan(old))
        hits[2:] = np.cumsum(other)
    return lambda low, high: (hits[high] - hits[np.minimum(low + 1, high)]).astype(np.float64)


def _counted(range_: Range, *, resets: bool) -> FloatFunction:
    """`resets` and `changes`."""
    hits = counted(range_.windows, resets=resets)
    return lambda chunk, _: (hits(chunk.low, chunk.high), chunk.high > chunk.low)


FUNCTIONS: dict[str, Callable[[Range], FloatFunction]] = {
    "absent_over_time": lambda _: _present,
    "avg_over_time": partial(_summed, mean=True),
    "changes": partial(_counted, resets=False),
    "count_over_time": lambda _: _count,
    "delta": partial(_extrapolated, counter=False, per_second=False),
    "deriv": lambda _: _by_table(_slope, 2),
    "double_exponential_smoothing": lambda _: _by_table(_smoothed, 2),
    "first_over_time": lambda _: _first,
    "idelta": lambda _: partial(_instant_change, counter=False),
    "increase": partial(_extrapolated, counter=True, per_second=False),
    "irate": lambda _: partial(_instant_change, counter=True),
    "last_over_time": lambda _: _last,
    "mad_over_time": lambda _: _by_table(_median_deviation, 1),
    "max_over_time": partial(_reduced, reduction=np.fmax),
    "min_over_time": partial(_reduced, reduction=np.fmin),
    "predict_linear": lambda _: _by_table(_predicted, 2),
    "present_over_time": lambda _: _present,
    "quantile_over_time": lambda _: _by_table(_quantile, 1),
    "rate": partial(_extrapolated, counter=True, per_second=True),
    "resets": partial(_counted, resets=True),
    "stddev_over_time": lambda _: _by_table(_deviation, 1),
    "stdvar_over_time": lambda _: _by_table(_variance, 1),
    "sum_over_time": partial(_summed, mean=False),
    "ts_of_first_over_time": lambda _: _time_of_first,
    "ts_of_last_over_time": lambda _: _time_of_last,
    "ts_of_max_over_time": lambda _: _by_table(partial(_extreme_time, largest=True), 1),
    "ts_of_min_over_time": lambda _: _by_table(partial(_extreme_time, largest=False), 1),
}
"""What makes the function of one call: it prepares what all its chunks share."""
