"""Functions of ranges of native histograms, for one series and all steps at once.

Source: prometheus, promql/functions.go. Neighbouring samples of one layout make one table, and a window within such a
table costs a few operations on rows; only windows across a change of layout go histogram by histogram. A window with
floats too is the caller's to decide. A window without enough samples has no answer: None, or NaN.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from mirubato.model.histogram import Histogram, ResetHint, empty
from mirubato.model.samples import Float64s, Int64s
from mirubato.promql import native_histograms as native
from mirubato.promql import sums
from mirubato.promql.native_histograms import Note, Notify, Operation
from mirubato.promql.native_tables import COUNT, SUM, Table
from mirubato.promql.values import Bools

# A window whose first or last sample is further than this many average intervals from its edge is not all covered.
_NEAR = 1.1

# Below this, every sum of whole numbers is one that float64 holds.
_WHOLE_MAX = 2.0**53

# Cells that are summed at once: what belongs to them stays in the processor's cache.
_BLOCK_CELLS = 1 << 13

Answers = list[Histogram | None]


@dataclass(frozen=True, slots=True)
class NativeWindows:
    """Native histograms of one series, times (ms) rising, none stale; and the window of each step.

    It holds the samples from `low` to `high` - 1, which are later than `starts` and not later than `ends` (ms).
    """

    timestamps: Int64s
    histograms: Sequence[Histogram]
    low: Int64s
    high: Int64s
    starts: Int64s
    ends: Int64s

    def at_least(self, samples: int) -> Int64s:
        """The steps that have so many samples."""
        return np.flatnonzero(self.high - self.low >= samples)


# --- rate and the like ------------------------------------------------------------------------------------------------


def rate(windows: NativeWindows, note: Notify) -> Answers:
    """Increase per second of each window, extrapolated to its edges; a gauge. Needs two samples."""
    return _extrapolated(windows, note, counter=True, per_second=True)


def increase(windows: NativeWindows, note: Notify) -> Answers:
    """Increase over each window, likewise."""
    return _extrapolated(windows, note, counter=True, per_second=False)


def delta(windows: NativeWindows, note: Notify) -> Answers:
    """Difference between the ends of each window, likewise, for gauges: nothing is a reset."""
    return _extrapolated(windows, note, counter=False, per_second=False)


def irate(windows: NativeWindows, note: Notify) -> Answers:
    """Increase per second between the last two samples of each window; a gauge."""
    return _latest(windows, note, counter=True)


def idelta(windows: NativeWindows, note: Notify) -> Answers:
    """Difference between the last two samples of each window; a gauge."""
    return _latest(windows, note, counter=False)


def _extrapolated(windows: NativeWindows, note: Notify, *, counter: bool, per_second: bool) -> Answers:
    series = _Series.of(windows.histograms)
    steps = windows.at_least(2)
    answers: Answers = [None] * len(windows.low)
    with np.errstate(all="ignore"):
        for part in series.parts(windows, steps):
            if part.table is None:
                changes = [_change(series, *part.window(at), note, counter=counter) for at in range(len(part.steps))]
                counts = np.array([np.nan if one is None else one.count for one in changes])
                factors = _factors(windows, series, part.steps, counts, counter=counter, per_second=per_second)
                scaled = zip(changes, factors.tolist(), strict=True)
                found: Answers = [one and one.times(factor) for one, factor in scaled]
            else:
                rows = _row_changes(series, part, part.table, counter=counter)
                counts = rows[:, COUNT]
                factors = _factors(windows, series, part.steps, counts, counter=counter, per_second=per_second)
                found = part.gauges(rows * factors[:, None])
            part.write(found, answers)
    answered = np.array([one is not None for one in answers], np.bool_)
    _tell_hints(series, windows.low[answered], windows.high[answered], note, counter=counter)
    return answers


def _row_changes(series: "_Series", part: "_Part", table: Table, *, counter: bool) -> Float64s:
    """The change over each window, as rows: what counters lost by resets added."""
    rows = table.rows[part.high - 1]
    if not counter:
        return rows - table.rows[part.low]
    resets = series.resets[part.begin :]
    # What comes before a reset between the first two samples does not matter.
    begun_anew = resets[part.low + 1]
    rows = rows - np.where(begun_anew[:, None], 0.0, table.rows[part.low])
    at = np.flatnonzero(resets)
    first, end = np.searchsorted(at, part.low + 2), np.searchsorted(at, part.high)
    for window in np.flatnonzero(first < end).tolist():
        for reset in at[first[window] : end[window]].tolist():
            rows[window] += table.rows[reset - 1]
    return rows


def _change(series: "_Series", low: int, high: int, note: Notify, *, counter: bool) -> Histogram | None:
    """The change over one window whose histograms are not of one layout; None if they are of two kinds."""
    window, resets = series.histograms[low:high], series.resets[low:high]
    first, last = window[0], window[-1]
    if counter and resets[1]:
        first = replace(empty(window[1].schema, 0.0), custom_bounds=window[1].custom_bounds)
    counted = [first, last, *(window[1:-1] if counter else ())]
    if any(one.custom != first.custom for one in counted):
        if counter and first.custom != last.custom and ResetHint.GAUGE in (window[0].hint, last.hint):
            note(Note.NOT_COUNTER)
        note(Note.MIXED_KINDS)
        return None
    change = last.at_schema(min(one.schema for one in counted))
    native.tell_reconciled(change, first, Operation.SUBTRACTION, note)
    change = change.minus(first)
    if counter:
        if window[1].hint is ResetHint.RESET:
            native.tell_reconciled(change, first, Operation.ADDITION, note)
        for reset in np.flatnonzero(resets[2:]).tolist():
            native.tell_reconciled(change, window[reset + 1], Operation.ADDITION, note)
            change = change.plus(window[reset + 1])
    return change.hinted(ResetHint.GAUGE).compacted()


def _factors(
    windows: NativeWindows, series: "_Series", steps: Int64s, counts: Float64s, *, counter: bool, per_second: bool
) -> Float64s:
    """What to multiply the changes of some windows by, whose `counts` are given (extrapolatedRate)."""
    low, last = windows.low[steps], windows.high[steps] - 1
    first_time, last_time = windows.timestamps[low], windows.timestamps[last]
    to_start = (first_time - windows.starts[steps]) / 1000
    to_end = (windows.ends[steps] - last_time) / 1000
    sampled = (last_time - first_time) / 1000
    interval = sampled / (last - low)
    to_start = np.where(to_start >= interval * _NEAR, interval / 2, to_start)
    to_end = np.where(to_end >= interval * _NEAR, interval / 2, to_end)
    if counter:
        # A counter was never below zero: it began where a line through its ends meets zero.
        first = series.counts[low]
        to_zero = np.where((counts > 0) & (first >= 0), sampled * (first / counts), to_start)
        to_start = np.where(to_zero < to_start, to_zero, to_start)
    factors: Float64s = (sampled + to_start + to_end) / sampled
    return factors / ((windows.ends[steps] - windows.starts[steps]) / 1000) if per_second else factors


def _latest(windows: NativeWindows, note: Notify, *, counter: bool) -> Answers:
    series = _Series.of(windows.histograms)
    steps = windows.at_least(2)
    pairs = replace(windows, low=windows.high - 2)
    _tell_hints(series, pairs.low[steps], pairs.high[steps], note, counter=counter)
    times = windows.timestamps
    answers: Answers = [None] * len(windows.low)
    with np.errstate(all="ignore"):
        for part in series.parts(pairs, steps):
            first = part.begin + part.low
            seconds = (times[first + 1] - times[first]) / 1000 if counter else np.ones(len(first))
            if part.table is None:
                changes = [_latest_change(series, at, note, counter=counter) for at in first.tolist()]
                found: Answers = [one and one.divided(per) for one, per in zip(changes, seconds.tolist(), strict=True)]
            else:
                found = part.gauges(_row_changes(series, part, part.table, counter=counter) / seconds[:, None])
            part.write(found, answers)
    return answers


def _latest_change(series: "_Series", at: int, note: Notify, *, counter: bool) -> Histogram | None:
    """The change from one sample to the next, of another layout; None if they are of two kinds."""
    first, last = series.histograms[at : at + 2]
    if not (counter and series.resets[at + 1]):
        if first.custom != last.custom:
            note(Note.MIXED_KINDS)
            return None
        native.tell_reconciled(last, first, Operation.SUBTRACTION, note)
        last = last.minus(first)
    return last.hinted(ResetHint.GAUGE).compacted()


def _tell_hints(series: "_Series", low: Int64s, high: Int64s, note: Notify, *, counter: bool) -> None:
    """Tell if any window holds gauges, though it is asked like a counter; or the other way."""
    gauges = series.hints == ResetHint.GAUGE
    if counter:
        held = np.append(0, np.cumsum(gauges))
        if (held[high] > held[low]).any():
            note(Note.NOT_COUNTER)
    elif not (gauges[low] & gauges[high - 1]).all():
        note(Note.NOT_GAUGE)


# --- sums and means ---------------------------------------------------------------------------------------------------


def sum_over_time(windows: NativeWindows, note: Notify) -> Answers:
    """The compensated sum of each window."""
    return _together(windows, note, native.sum_histograms, mean=False)


def avg_over_time(windows: NativeWindows, note: Notify) -> Answers:
    """The compensated mean of each window."""
    return _together(windows, note, native.avg_histograms, mean=True)


def _together(
    windows: NativeWindows,
    note: Notify,
    one_by_one: Callable[[Sequence[Histogram], Notify], Histogram | None],
    *,
    mean: bool,
) -> Answers:
    series = _Series.of(windows.histograms)
    answers: Answers = [None] * len(windows.low)
    with np.errstate(all="ignore"):
        for part in series.parts(windows, windows.at_least(1)):
            found = None if part.table is None else _table_sums(series, part, part.table, note, mean=mean)
            if found is None:
                spans = [part.window(at) for at in range(len(part.steps))]
                found = [one_by_one(series.histograms[begin:end], note) for begin, end in spans]
            part.write(found, answers)
    return answers


def _table_sums(series: "_Series", part: "_Part", table: Table, note: Notify, *, mean: bool) -> Answers | None:
    """Sums or means of windows of one layout; None where a mean cannot be had from the sum, since that overflows."""
    total, low = _row_sums(part, table)
    if mean and np.isinf(total).any():
        return None
    if mean:
        sizes = (part.high - part.low)[:, None]
        total, low = total / sizes, low / sizes
    held = series.hints_within(part)
    if (held[ResetHint.RESET] & held[ResetHint.NOT_RESET]).any():
        note(Note.COLLISION_IN_AGGREGATION)
    hints = [native.joined_hint(hint for hint in ResetHint if held[hint][at]) for at in range(len(part.steps))]
    return [*table.histograms(total + low, hints)]


def _row_sums(part: "_Part", table: Table) -> tuple[Float64s, Float64s]:
    """The sum of the rows of each window, and what is to be added to it."""
    total, low = np.zeros((len(part.low), table.rows.shape[1])), np.zeros((len(part.low), table.rows.shape[1]))
    # Sums of whole numbers are exact in any order: the counts of a series that comes as it was measured.
    rows = table.rows
    whole = (rows == np.floor(rows)).all(axis=0) & (np.abs(rows).sum(axis=0) < _WHOLE_MAX)
    sums_before = np.concatenate([np.zeros((1, int(whole.sum()))), np.cumsum(rows[:, whole], axis=0)])
    total[:, whole] = sums_before[part.high] - sums_before[part.low]
    others = np.flatnonzero(~whole)
    size = max(_BLOCK_CELLS // max(len(others), 1), 1)
    for begin in range(0, len(part.low) * bool(len(others)), size):
        block = slice(begin, begin + size)
        found = _compensated(rows[:, others], part.low[block], part.high[block])
        total[block, others], low[block, others] = found
    return total, low


def _compensated(rows: Float64s, first: Int64s, end: Int64s) -> tuple[Float64s, Float64s]:
    """The same, with compensation."""
    total = rows[first]
    low, sizes = np.zeros_like(total), end - first
    for place in range(1, int(sizes.max())):
        on = np.flatnonzero(sizes > place)
        total[on], low[on] = sums.add(rows[first[on] + place], total[on], low[on])
    return total, low


# --- counting ---------------------------------------------------------------------------------------------------------


def changes(windows: NativeWindows) -> Float64s:
    """How often one histogram of a window differs from the one before."""
    return _counted(windows, _Series.of(windows.histograms).differs)


def resets(windows: NativeWindows) -> Float64s:
    """How often a counter was reset within each window."""
    return _counted(windows, _Series.of(windows.histograms).resets)


def _counted(windows: NativeWindows, hits: Bools) -> Float64s:
    """How many samples of each window, but for its first, are hits; NaN for an empty window."""
    before = np.append(0, np.cumsum(hits))
    some = windows.high > windows.low
    first = np.where(some, windows.low + 1, 0)
    return np.where(some, before[windows.high] - before[first], np.nan)


# --- a series as tables -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """Windows within one table, whose first row is sample `begin`: `low` and `high` count from there.

    Without a table they are windows across a change of layout.
    """

    table: Table | None
    begin: int
    steps: Int64s
    low: Int64s
    high: Int64s

    def window(self, at: int) -> tuple[int, int]:
        """First sample and end of one of them."""
        return self.begin + int(self.low[at]), self.begin + int(self.high[at])

    def gauges(self, rows: Float64s) -> Answers:
        """One answer for each of them."""
        assert self.table is not None
        return [*self.table.histograms(rows, [ResetHint.GAUGE] * len(rows))]

    def write(self, found: Answers, answers: Answers) -> None:
        """Put the answers where they belong."""
        for step, one in zip(self.steps.tolist(), found, strict=True):
            answers[step] = one


@dataclass(frozen=True)
class _Series:
    """Histograms of a series, the tables of those of one layout, and how each sample differs from the one before."""

    histograms: Sequence[Histogram]
    hints: Int64s
    counts: Float64s
    begins: Int64s
    """The first sample of each table."""
    tables: Sequence[Table | None]

    @classmethod
    def of(cls, histograms: Sequence[Histogram]) -> "_Series":
        """Some histograms in order of time."""
        layouts = [one.layout for one in histograms]
        begins = [0] * bool(layouts) + [at + 1 for at, pair in enumerate(pairwise(layouts)) if pair[0] != pair[1]]
        return cls(
            histograms,
            np.array([one.hint for one in histograms], np.int64),
            np.array([one.count for one in histograms]),
            np.array(begins, np.int64),
            [Table.of(histograms[low:high]) for low, high in pairwise([*begins, len(histograms)])],
        )

    def hints_within(self, part: _Part) -> Bools:
        """Whether each window has a histogram of each hint; [hints, windows]."""
        is_one = self.hints == np.array(ResetHint)[:, None]
        before = np.pad(np.cumsum(is_one, axis=1), ((0, 0), (1, 0)))
        held: Bools = before[:, part.begin + part.high] > before[:, part.begin + part.low]
        return held

    def parts(self, windows: NativeWindows, steps: Int64s) -> Iterator[_Part]:
        """Windows of some steps, table by table; then those that cross a change of layout."""
        low, high = windows.low[steps], windows.high[steps]
        first = np.searchsorted(self.begins, low, side="right") - 1
        last = np.searchsorted(self.begins, high - 1, side="right") - 1
        within = first == last
        for number, (begin, table) in enumerate(zip(self.begins.tolist(), self.tables, strict=True)):
            own = within & (first == number)
            if table is None:
                within &= ~own
            elif own.any():
                yield _Part(table, begin, steps[own], low[own] - begin, high[own] - begin)
        if not within.all():
            yield _Part(None, 0, steps[~within], low[~within], high[~within])

    @cached_property
    def resets(self) -> Bools:
        """Whether a counter was reset between the sample before and each sample."""
        found = self._compared(_fell, native.detect_reset)
        known = (self.hints == ResetHint.RESET) | (self.hints == ResetHint.NOT_RESET)
        resets: Bools = np.where(known, self.hints == ResetHint.RESET, found)
        return resets

    @cached_property
    def differs(self) -> Bools:
        """Whether each sample differs from the one before."""
        return self._compared(_other, lambda before, after: not native.equal(before, after))

    def _compared(self, within: Callable[[Table], Bools], between: Callable[[Histogram, Histogram], bool]) -> Bools:
        """A comparison of each sample with the one before: of neighbours within a table, and between tables."""
        found = np.zeros(len(self.histograms), np.bool_)
        ends = [*self.begins[1:].tolist(), len(self.histograms)]
        for begin, end, table in zip(self.begins.tolist(), ends, self.tables, strict=True):
            if begin:
                found[begin] = between(self.histograms[begin - 1], self.histograms[begin])
            if table is not None:
                found[begin + 1 : end] = within(table)
            else:
                pairs = pairwise(self.histograms[begin:end])
                found[begin + 1 : end] = [between(before, after) for before, after in pairs]
        return found


def _fell(table: Table) -> Bools:
    lower = table.rows[1:] < table.rows[:-1]
    lower[:, SUM] = False
    fell: Bools = np.logical_or.reduce(lower, axis=1)
    return fell


def _other(table: Table) -> Bools:
    before, after = table.rows[:-1], table.rows[1:]
    both_nan = np.isnan(before) & np.isnan(after)
    other: Bools = np.logical_or.reduce((before != after) & ~both_nan, axis=1)
    return other
