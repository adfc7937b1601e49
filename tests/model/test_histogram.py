"""Native histograms: what their buckets mean, and that sums and differences lose nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.limits import NATIVE_BUCKETS_MAX
from mirubato.model.histogram import (
    CUSTOM_SCHEMA,
    NO_BUCKETS,
    Buckets,
    Histogram,
    ResetHint,
    empty,
    exponential_bounds,
    quotient,
    reconciled,
)

LARGEST = float(np.finfo(np.float64).max)
UNKNOWN, RESET, NOT_RESET, GAUGE = ResetHint


def total(histogram: Histogram) -> float:
    """All that is in buckets."""
    sides = (histogram.positive, histogram.negative)
    return histogram.zero_count + sum(float(side.counts.sum()) for side in sides)


def exponential(
    positive: Buckets, negative: Buckets = NO_BUCKETS, zero: float = 0.0, threshold: float = 0.0, schema: int = 0
) -> Histogram:
    made = Histogram(0.0, 1.5, zero, threshold, schema, positive, negative).outside()
    return replace(made, count=total(made))


def custom(bounds: tuple[float, ...], *counts: float) -> Histogram:
    return Histogram(sum(counts), 2.5, 0.0, 0.0, CUSTOM_SCHEMA, Buckets(0, counts), custom_bounds=bounds)


counts = st.lists(st.integers(0, 1000).map(float), max_size=8)
sides = st.builds(Buckets, st.integers(-20, 20), counts)
exponentials = st.builds(
    exponential,
    sides,
    sides,
    st.integers(0, 1000).map(float),
    st.sampled_from([0.0, 1e-128, 0.001, 0.5, 1.0, 3.0]),
    st.integers(-4, 8),
)
customs = st.lists(st.sampled_from([-5.0, -1.0, 0.0, 0.5, 1.0, 2.0]), unique=True, max_size=5).flatmap(
    lambda bounds: st.lists(st.integers(0, 1000).map(float), min_size=len(bounds) + 1, max_size=len(bounds) + 1).map(
        lambda found: custom(tuple(sorted(bounds)), *found)
    )
)
pairs = st.tuples(exponentials, exponentials) | st.tuples(customs, customs)


# --- buckets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "index", "bound"),
    [
        (0, 0, 1.0),
        (0, 3, 8.0),
        (0, -1, 0.5),
        (1, 1, 1.414213562373095),  # the digit that Prometheus shows, one below the root of 2
        (3, -16, 0.25),
        (-1, 2, 16.0),
        (-4, -1, 2.0**-16),
        (0, 1024, LARGEST),
        (0, 1025, math.inf),
        (-4, 64, LARGEST),
        (8, 256 * 1024, LARGEST),
        (8, 256 * 1024 + 1, math.inf),
        (0, -1074, 5e-324),
        (0, -1075, 0.0),
    ],
)
def test_bounds(schema: int, index: int, bound: float) -> None:
    assert exponential_bounds(np.array([index]), schema).tolist() == [bound]


@given(st.integers(1, 8), st.integers(-3000, 3000))
def test_bounds_of_a_coarser_schema_are_every_second_one(schema: int, index: int) -> None:
    assert exponential_bounds(np.array([2 * index]), schema) == exponential_bounds(np.array([index]), schema - 1)


def test_buckets_are_equal_by_value_and_cannot_be_changed() -> None:
    one = Buckets(-1, [1.0, 2.0])
    assert one == Buckets(-1, (1.0, 2.0))
    assert hash(one) == hash(Buckets(-1, np.array([1.0, 2.0])))
    assert one != Buckets(0, [1.0, 2.0])
    assert one != Buckets(-1, [1.0, 2.5])
    assert one != "Buckets(-1, [1.0, 2.0])"
    assert Buckets(3) == Buckets(5)
    assert hash(Buckets(3)) == hash(Buckets(5))
    assert repr(one) == "Buckets(-1, [1.0, 2.0])"
    with pytest.raises(ValueError, match="read-only"):
        one.counts[0] = 5.0


@given(sides, st.integers(0, 5))
def test_coarser_buckets_hold_the_same(side: Buckets, steps: int) -> None:
    coarse = side.downscaled(steps)
    assert coarse.counts.sum() == side.counts.sum()
    assert coarse.offset == side.offset >> steps


@given(sides)
def test_compacted_buckets_begin_and_end_with_some(side: Buckets) -> None:
    compact = side.compacted()
    assert compact.counts.sum() == side.counts.sum()
    assert not len(compact) or (compact.counts[0] and compact.counts[-1])
    assert compact.compacted() == compact


def test_what_is_empty_stays_so() -> None:
    side = Buckets(2, [1.0, 0.0, 3.0])
    with np.errstate(invalid="ignore"):
        assert side.times(math.inf) == Buckets(2, [math.inf, 0.0, math.inf])
        assert side.divided(math.nan).counts[1] == 0.0


# --- sums -------------------------------------------------------------------------------------------------------------


@given(pairs)
def test_a_sum_has_all_observations_of_both(pair: tuple[Histogram, Histogram]) -> None:
    left, right = pair
    both = left.plus(right)
    assert (both.count, both.sum) == (left.count + right.count, left.sum + right.sum)
    assert total(both) == total(left) + total(right)
    assert both.compacted() == right.plus(left).compacted()


@given(pairs)
def test_a_difference_is_what_a_sum_was_made_of(pair: tuple[Histogram, Histogram]) -> None:
    left, right = pair
    both = left.plus(right)
    # In the layout of the sum, since what was in finer buckets is not known any more.
    assert both.minus(right).compacted() == left.moved(both.layout).at_schema(both.schema).compacted()


@given(pairs)
def test_the_same_layout_for_both(pair: tuple[Histogram, Histogram]) -> None:
    left, right = reconciled(*pair)
    assert left.layout == right.layout
    assert left.schema <= min(one.schema for one in pair)
    assert left.zero_threshold >= max(one.zero_threshold for one in pair)
    assert reconciled(left, right) == (left, right)


def test_the_zero_bucket_grows_to_the_end_of_a_filled_bucket() -> None:
    wide = exponential(NO_BUCKETS, zero=1.0, threshold=3.0)
    narrow = exponential(Buckets(0, [5.0, 7.0]), Buckets(2, [2.0]), zero=1.0, threshold=0.001)
    both = wide.plus(narrow)
    # 3 is within (2, 4], so that goes in too; (4, 8] of the negative side does not.
    assert (both.zero_threshold, both.zero_count) == (4.0, 14.0)
    assert (both.positive.compacted(), both.negative) == (NO_BUCKETS, Buckets(2, [2.0]))


def test_the_zero_bucket_ends_within_an_empty_bucket() -> None:
    wide = exponential(NO_BUCKETS, zero=1.0, threshold=3.0)
    narrow = exponential(Buckets(0, [5.0, 0.0, 2.0]), threshold=0.001)
    both = wide.plus(narrow)
    assert (both.zero_threshold, both.zero_count) == (3.0, 6.0)
    assert both.positive == Buckets(2, [2.0])


def test_a_bucket_of_the_negative_side_moves_the_threshold_on() -> None:
    wide = exponential(NO_BUCKETS, zero=1.0, threshold=3.0)
    narrow = exponential(Buckets(2, [1.0]), Buckets(1, [1.0]), threshold=0.0)
    assert wide.plus(narrow).zero_threshold == 4.0


def test_buckets_within_the_zero_bucket_count_only_in_the_first() -> None:
    odd = Histogram(6.0, 1.0, 1.0, 1.0, 0, Buckets(-2, [1.0, 2.0, 2.0]), Buckets(-1, [3.0]))
    assert odd.outside() == replace(odd, positive=Buckets(0, [2.0]), negative=NO_BUCKETS)
    assert odd.plus(odd).positive == Buckets(-2, [1.0, 2.0, 4.0])
    assert odd.plus(odd).negative == odd.negative


def test_custom_buckets_keep_the_bounds_of_both() -> None:
    both = custom((1.0, 2.0, 5.0), 1.0, 2.0, 3.0, 4.0).plus(custom((2.0, 3.0, 5.0), 10.0, 20.0, 30.0, 40.0))
    assert both.custom_bounds == (2.0, 5.0)
    assert both.positive == Buckets(0, [13.0, 53.0, 44.0])
    assert both.count == 110.0


def test_custom_buckets_without_common_bounds_are_one() -> None:
    both = custom((1.0,), 1.0, 2.0).plus(custom((2.0,), 3.0, 4.0))
    assert (both.custom_bounds, both.positive) == ((), Buckets(0, [10.0]))


def test_sums_are_of_a_bounded_size() -> None:
    left, right = (exponential(Buckets(offset, [1.0]), schema=8) for offset in (-250_000, 250_000))
    both = left.plus(right)
    assert len(both.positive) <= NATIVE_BUCKETS_MAX
    assert total(both) == 2.0
    assert both.schema == 3


def test_thresholds_that_are_no_numbers_end() -> None:
    odd = Histogram(1.0, 1.0, 0.0, math.nan, 0, Buckets(0, [1.0]))
    assert odd.plus(exponential(Buckets(0, [1.0]), threshold=1.0)).count == 2.0


@pytest.mark.parametrize(
    ("left", "right", "joined", "collides"),
    [
        (UNKNOWN, UNKNOWN, UNKNOWN, False),
        (RESET, RESET, RESET, False),
        (NOT_RESET, UNKNOWN, UNKNOWN, False),
        (RESET, NOT_RESET, UNKNOWN, True),
        (GAUGE, RESET, GAUGE, False),
        (GAUGE, UNKNOWN, GAUGE, False),
    ],
)
def test_hints(left: ResetHint, right: ResetHint, joined: ResetHint, collides: bool) -> None:
    for one, other in ((left, right), (right, left)):
        assert one.joined(other) is joined
        assert one.collides(other) is collides
        made = (exponential(Buckets(0, [1.0])).hinted(hint) for hint in (one, other))
        assert next(made).plus(next(made)).hint is joined


# --- multiples --------------------------------------------------------------------------------------------------------


def test_multiples() -> None:
    one = exponential(Buckets(0, [2.0]), Buckets(1, [4.0]), zero=6.0)
    half = one.divided(2.0)
    assert half == one.times(0.5)
    assert (half.count, half.sum, half.zero_count) == (6.0, 0.75, 3.0)
    assert (half.positive, half.negative) == (Buckets(0, [1.0]), Buckets(1, [2.0]))
    assert one.times(-1.0).hint is one.divided(-1.0).hint is GAUGE
    assert one.hint is one.times(2.0).hint is UNKNOWN


def test_by_zero_nothing_is_left_but_infinity() -> None:
    none = exponential(Buckets(0, [2.0]), zero=1.0).divided(0.0)
    assert (none.count, none.sum, none.zero_count, none.positive) == (math.inf, math.inf, math.inf, NO_BUCKETS)


@pytest.mark.parametrize(
    ("dividend", "divisor", "result"),
    [(1.0, 0.0, math.inf), (1.0, -0.0, -math.inf), (-2.0, 0.0, -math.inf), (3.0, 2.0, 1.5), (0.0, math.inf, 0.0)],
)
def test_quotients(dividend: float, divisor: float, result: float) -> None:
    assert quotient(dividend, divisor) == result


def test_quotients_that_are_no_number() -> None:
    assert math.isnan(quotient(0.0, 0.0))
    assert math.isnan(quotient(math.nan, 0.0))
    assert math.isnan(quotient(math.inf, math.inf))


# --- how they are shown -----------------------------------------------------------------------------------------------


def test_shown_buckets_rise() -> None:
    one = exponential(Buckets(0, [1.0, 2.0]), Buckets(-1, [3.0]), zero=4.0, threshold=0.75)
    assert one.bounded_buckets() == [
        (1, -1.0, -0.75, 3.0),  # begins where the zero bucket ends
        (3, -0.75, 0.75, 4.0),
        (0, 1.0, 2.0, 1.0),
        (0, 2.0, 4.0, 2.0),
    ]


def test_shown_custom_buckets() -> None:
    assert custom((-1.0, 2.0), 1.0, 2.0, 3.0).bounded_buckets() == [
        (3, -math.inf, -1.0, 1.0),
        (0, -1.0, 2.0, 2.0),
        (0, 2.0, math.inf, 3.0),
    ]


def test_classic_buckets() -> None:
    one = exponential(Buckets(0, [1.0, 0.0, 2.0, 0.0]), zero=4.0, threshold=0.5)
    assert one.classic_buckets() == [(0.5, 4.0), (2.0, 5.0), (4.0, 5.0), (8.0, 7.0), (math.inf, 7.0)]
    assert custom((1.0, 2.0), 1.0, 2.0, 3.0).classic_buckets() == [(1.0, 1.0), (2.0, 3.0), (math.inf, 6.0)]
    assert empty(3, 0.0).classic_buckets() == [(math.inf, 0.0)]
