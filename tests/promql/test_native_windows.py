"""Functions of ranges of native histograms: known answers, and each window by itself beside all at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirubato.model.histogram import CUSTOM_SCHEMA, NO_BUCKETS, Buckets, Histogram, ResetHint
from mirubato.promql import native_histograms as native
from mirubato.promql import native_windows
from mirubato.promql.native_histograms import Note, Notify
from mirubato.promql.native_windows import Answers, NativeWindows

SECOND = 1000
UNKNOWN, RESET, NOT_RESET, GAUGE = ResetHint
Function = Callable[[NativeWindows, Notify], Answers]
FUNCTIONS: list[Function] = [
    native_windows.rate,
    native_windows.increase,
    native_windows.delta,
    native_windows.irate,
    native_windows.idelta,
    native_windows.sum_over_time,
    native_windows.avg_over_time,
]


def exponential(*positive: float, schema: int = 0, hint: ResetHint = UNKNOWN, total: float = 0.0) -> Histogram:
    return Histogram(sum(positive), total, 0.0, 0.0, schema, Buckets(0, positive), NO_BUCKETS, hint)


def custom(bounds: tuple[float, ...], *counts: float, hint: ResetHint = UNKNOWN) -> Histogram:
    return Histogram(sum(counts), 0.0, 0.0, 0.0, CUSTOM_SCHEMA, Buckets(0, counts), NO_BUCKETS, hint, bounds)


def windows(histograms: Sequence[Histogram], *ends: int, range_s: int = 60, every_s: int = 10) -> NativeWindows:
    """Samples at 10 s, 20 s, ..., and windows that end at these seconds."""
    times = (1 + np.arange(len(histograms))) * every_s * SECOND
    stops = np.array(ends, np.int64) * SECOND
    starts = stops - range_s * SECOND
    low = np.searchsorted(times, starts, side="right")
    return NativeWindows(times, histograms, low, np.searchsorted(times, stops, side="right"), starts, stops)


def silent(note: Note) -> None:
    raise AssertionError(f"nothing is to be told, but {note}")


def answer(function: Function, histograms: Sequence[Histogram], end: int, **spans: int) -> Histogram | None:
    """The answer for one window, whatever there is to tell."""
    return function(windows(histograms, end, **spans), lambda _: None)[0]


def told(function: Function, histograms: Sequence[Histogram], end: int) -> set[Note]:
    notes: list[Note] = []
    function(windows(histograms, end), notes.append)
    return set(notes)


# --- rate and the like ------------------------------------------------------------------------------------------------


def test_rates_reach_to_the_edges_of_a_window() -> None:
    samples = [exponential(10.0 * number, total=5.0 * number) for number in range(100, 107)]
    # Six samples in 50 s, in a window of 60 s.
    assert answer(native_windows.increase, samples, 60) == exponential(60.0, hint=GAUGE, total=30.0)
    assert answer(native_windows.rate, samples, 60) == exponential(1.0, hint=GAUGE, total=0.5)
    # Five samples in 40 s: 8 s to the start are covered; 12 s to the end are too far, half of the usual 10 s is.
    found = answer(native_windows.increase, samples, 82)
    assert found is not None
    assert (found.count, found.sum) == (53.0, 26.5)


def test_a_counter_was_never_below_zero() -> None:
    samples = [exponential(1.0), exponential(11.0), exponential(21.0)]
    # A line through the samples meets zero 1 s before the first.
    found = answer(native_windows.increase, samples, 30, range_s=30)
    assert found is not None
    assert found.count == pytest.approx(21.0)


def test_what_a_reset_took_is_added() -> None:
    samples = [exponential(count, hint=UNKNOWN) for count in (100.0, 110.0, 3.0, 13.0, 2.0)]
    found = answer(native_windows.increase, samples, 50, range_s=50)
    assert found is not None
    assert found.count == pytest.approx((2.0 - 100.0 + 110.0 + 13.0) * 50 / 40)


def test_what_was_before_a_reset_that_comes_second_does_not_matter() -> None:
    samples = [custom((1.0,), 50.0, 50.0), exponential(1.0), exponential(5.0)]
    found = answer(native_windows.increase, samples, 30, range_s=30)
    assert found is not None
    assert found.positive.counts.tolist() == pytest.approx([5.0 * 30 / 20])


def test_differences_of_gauges() -> None:
    samples = [exponential(count, hint=GAUGE) for count in (5.0, 9.0, 3.0)]
    found = native_windows.delta(windows(samples, 30, range_s=30), silent)[0]
    assert found is not None
    assert found.count == pytest.approx(-3.0)
    assert found.hint is GAUGE


def test_the_last_two_samples() -> None:
    samples = [exponential(count) for count in (1.0, 100.0, 120.0, 30.0)]
    assert answer(native_windows.irate, samples, 39) == exponential(2.0, hint=GAUGE)
    assert answer(native_windows.irate, samples, 40) == exponential(3.0, hint=GAUGE)  # from 0, after a reset
    assert answer(native_windows.idelta, samples, 40) == exponential(-90.0, hint=GAUGE)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_windows_with_too_few_samples(function: Function) -> None:
    samples = [exponential(1.0), exponential(2.0)]
    needed = 1 if function in (native_windows.sum_over_time, native_windows.avg_over_time) else 2
    found = function(windows(samples, 5, 10, 20, 75, 300), lambda _: None)
    assert [one is not None for one in found] == [size >= needed for size in (0, 1, 2, 1, 0)]
    assert function(windows([], 5, 10), silent) == [None, None]


# --- where the layout changes -----------------------------------------------------------------------------------------


def test_coarser_buckets_from_some_sample_on() -> None:
    samples = [
        exponential(1.0, 2.0, 3.0, 4.0, schema=1),
        exponential(2.0, 4.0, 6.0, 8.0, schema=1),
        exponential(9.0, 21.0),
    ]
    assert answer(native_windows.increase, samples, 20, range_s=20) == exponential(
        2.0, 4.0, 6.0, 8.0, schema=1, hint=GAUGE
    )
    assert answer(native_windows.increase, samples, 30, range_s=30) == exponential(9.0, 21.0, hint=GAUGE)
    assert answer(native_windows.sum_over_time, samples, 30) == exponential(18.0, 42.0)
    assert answer(native_windows.idelta, samples, 30) == exponential(3.0, 7.0, hint=GAUGE)


def test_other_bounds_are_told_of() -> None:
    samples = [custom((1.0, 2.0), 1.0, 1.0, 1.0), custom((1.0, 3.0), 2.0, 2.0, 2.0)]
    assert told(native_windows.rate, samples, 30) == {Note.RECONCILED_IN_SUBTRACTION}
    assert told(native_windows.irate, samples, 30) == {Note.RECONCILED_IN_SUBTRACTION}
    assert told(native_windows.sum_over_time, samples, 30) == {Note.RECONCILED_IN_AGGREGATION}
    resets = [custom((1.0, 2.0, 3.0), 9.0, 9.0, 9.0, 9.0), custom((1.0, 2.0, 5.0), 9.0, 9.0, 9.0, 9.0), *samples]
    assert told(native_windows.rate, resets, 40) == {Note.RECONCILED_IN_SUBTRACTION, Note.RECONCILED_IN_ADDITION}
    found = answer(native_windows.increase, samples, 20, range_s=20)
    assert found is not None
    assert (found.custom_bounds, found.positive.counts.tolist()) == ((1.0,), [2.0, 4.0])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_two_kinds_have_no_answer(function: Function) -> None:
    samples = [exponential(1.0, hint=NOT_RESET), custom((1.0,), 5.0, 5.0, hint=NOT_RESET)]
    assert answer(function, samples, 30) is None
    too = {Note.NOT_GAUGE} if function is native_windows.idelta else set()
    assert told(function, samples, 30) == {Note.MIXED_KINDS} | too


# --- hints ------------------------------------------------------------------------------------------------------------


def test_gauges_and_counters_mistaken() -> None:
    counters, gauges = [[exponential(1.0, hint=hint)] * 3 for hint in (UNKNOWN, GAUGE)]
    between = [*counters[:1], *gauges[:1], *counters[:1]]
    for function in (native_windows.rate, native_windows.increase, native_windows.irate):
        assert told(function, counters, 30) == set()
        assert told(function, gauges, 30) == {Note.NOT_COUNTER}
        assert told(function, between, 30) == {Note.NOT_COUNTER}
    for function in (native_windows.delta, native_windows.idelta):
        assert told(function, counters, 30) == {Note.NOT_GAUGE}
        assert told(function, gauges, 30) == set()


def test_hints_decide_about_resets() -> None:
    samples = [exponential(5.0), exponential(3.0, hint=NOT_RESET), exponential(4.0, hint=RESET), exponential(4.0)]
    assert native_windows.resets(windows(samples, 10, 20, 30, 40, 200)).tolist()[:4] == [0.0, 0.0, 1.0, 1.0]
    assert answer(native_windows.irate, samples, 30) == exponential(0.4, hint=GAUGE)


def test_hints_of_sums() -> None:
    samples = [exponential(1.0, hint=NOT_RESET)] * 2 + [exponential(1.0, hint=RESET), exponential(1.0, hint=GAUGE)]
    notes: list[Note] = []
    found = native_windows.sum_over_time(windows(samples, 10, 20, 30, 40), notes.append)
    assert [one and one.hint for one in found] == [NOT_RESET, NOT_RESET, UNKNOWN, GAUGE]
    assert set(notes) == {Note.COLLISION_IN_AGGREGATION}
    assert told(native_windows.avg_over_time, samples[:2], 30) == set()


# --- sums, means and numbers ------------------------------------------------------------------------------------------


def test_sums_are_compensated() -> None:
    samples = [exponential(1.0, total=total) for total in (1.0, 1e16, 1.0, -1e16)]
    assert answer(native_windows.sum_over_time, samples, 40) == exponential(4.0, total=2.0)
    assert answer(native_windows.avg_over_time, samples, 40) == exponential(1.0, total=0.5)


def test_means_do_not_overflow() -> None:
    samples = [exponential(1.0, total=1.5e308)] * 3
    found = native_windows.avg_over_time(windows(samples, 10, 30), silent)
    assert [one and one.sum for one in found] == pytest.approx([1.5e308, 1.5e308])


def test_changes_and_resets_are_counted() -> None:
    samples = [
        exponential(2.0),
        exponential(2.0),
        exponential(3.0),
        exponential(1.0),
        replace(exponential(1.0), sum=math.nan),
        replace(exponential(1.0), sum=math.nan),
        exponential(1.0, schema=1),
        custom((), 1.0),
    ]
    held = windows(samples, 5, 10, 20, 40, 60, 80, 200)
    assert np.isnan(native_windows.changes(held)[[0, -1]]).all()
    assert native_windows.changes(held)[1:-1].tolist() == [0.0, 0.0, 2.0, 3.0, 4.0]
    assert np.isnan(native_windows.resets(held)[[0, -1]]).all()
    assert native_windows.resets(held)[1:-1].tolist() == [0.0, 0.0, 1.0, 1.0, 3.0]


def test_what_is_within_the_zero_bucket_counts_only_in_the_first() -> None:
    odd = Histogram(4.0, 1.0, 1.0, 1.0, 0, Buckets(-1, [1.0, 2.0]))
    found = native_windows.sum_over_time(windows([odd, odd], 20), silent)[0]
    assert found is not None
    assert found.positive == Buckets(-1, [1.0, 4.0])


# --- all at once and one by one ---------------------------------------------------------------------------------------


@st.composite
def series(draw: st.DrawFn) -> list[Histogram]:
    """Counters that grow, and are reset, get coarser buckets, other bounds, or become of the other kind, sometimes."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    restless = draw(st.sampled_from([0.0, 0.2, 0.7]))
    one = exponential(3.0, 1.0, 2.0, 4.0, schema=2)
    found = []
    for _ in range(draw(st.integers(1, 12))):
        found.append(one.hinted(ResetHint(rng.choice([0, 0, 0, 1, 2, 3]))))
        grown = one.positive.counts + rng.integers(0, 3, len(one.positive))
        one = replace(one, positive=Buckets(one.positive.offset, grown), sum=one.sum + rng.random())
        if rng.random() < restless:
            others = [
                one.times(0.5),
                exponential(1.0, 2.0, schema=2),
                one if one.custom or one.schema < 1 else one.at_schema(one.schema - 1),
                custom((1.0, 2.0), 1.0, 2.0, 3.0),
                custom((2.0,), 1.0, 2.0),
            ]
            one = others[rng.integers(len(others))]
        one = replace(one, count=float(one.positive.counts.sum()))
    return found


ENDS = (5, 10, 25, 40, 60, 80, 95, 120, 140)


@settings(max_examples=150)
@given(series(), st.sampled_from(FUNCTIONS), st.sampled_from([20, 45, 200]))
def test_each_window_is_as_it_would_be_by_itself(found: list[Histogram], function: Function, range_s: int) -> None:
    held = windows(found, *ENDS, range_s=range_s)
    all_told: set[Note] = set()
    together = function(held, all_told.add)
    each_told: set[Note] = set()
    for step, one in enumerate(together):
        own = slice(held.low[step], held.high[step])
        alone = NativeWindows(
            held.timestamps[own],
            held.histograms[own],
            np.zeros(1, np.int64),
            held.high[step : step + 1] - held.low[step],
            held.starts[step : step + 1],
            held.ends[step : step + 1],
        )
        assert same(function(alone, each_told.add)[0], one)
    assert all_told == each_told


def same(left: Histogram | None, right: Histogram | None) -> bool:
    if left is None or right is None:
        return left is right
    both = left.positive.counts.tolist(), pytest.approx(right.positive.counts.tolist())
    return both[0] == both[1] and left.hint is right.hint and left.sum == pytest.approx(right.sum, abs=1e-9)


@given(series(), st.sampled_from([20, 45, 200]))
def test_changes_and_resets_are_those_between_neighbours(found: list[Histogram], range_s: int) -> None:
    held = windows(found, *ENDS, range_s=range_s)
    counted = zip(native_windows.changes(held).tolist(), native_windows.resets(held).tolist(), strict=True)
    for step, (changes, resets) in enumerate(counted):
        own = found[held.low[step] : held.high[step]]
        pairs = list(pairwise(own))
        if own:
            assert changes == sum(not native.equal(*pair) for pair in pairs)
            assert resets == sum(native.detect_reset(*pair) for pair in pairs)
        else:
            assert math.isnan(changes)
            assert math.isnan(resets)
