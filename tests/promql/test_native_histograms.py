"""Operations of PromQL on native histograms: known answers, and what they have to tell."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.model.histogram import CUSTOM_SCHEMA, NO_BUCKETS, Buckets, Histogram, ResetHint
from mirubato.promql import native_histograms as native
from mirubato.promql.native_histograms import Note, Notify

INF, NAN = math.inf, math.nan
UNKNOWN, RESET, NOT_RESET, GAUGE = ResetHint


def silent(note: Note) -> None:
    raise AssertionError(f"nothing is to be told, but {note}")


def exponential(
    *positive: float,
    offset: int = 0,
    negative: Buckets = NO_BUCKETS,
    zero: float = 0.0,
    threshold: float = 0.0,
    schema: int = 0,
    total: float = 1.0,
    hint: ResetHint = UNKNOWN,
) -> Histogram:
    """A histogram whose count is what its buckets hold."""
    count = sum(positive) + float(negative.counts.sum()) + zero
    return Histogram(count, total, zero, threshold, schema, Buckets(offset, positive), negative, hint)


def custom(bounds: tuple[float, ...], *counts: float, total: float = 1.0, hint: ResetHint = UNKNOWN) -> Histogram:
    return Histogram(sum(counts), total, 0.0, 0.0, CUSTOM_SCHEMA, Buckets(0, counts), NO_BUCKETS, hint, bounds)


ONE = exponential(1.0, 2.0)
FINER = exponential(1.0, 2.0, 3.0, 4.0, schema=1)
NEGATIVE = exponential(3.0, negative=Buckets(0, [2.0]), zero=1.0, threshold=0.5)
CUSTOM = custom((1.0, 2.0), 1.0, 2.0, 3.0)

counts = st.lists(st.integers(0, 50).map(float), max_size=6)
exponentials = st.builds(
    lambda positive, negative, zero, schema: exponential(
        *positive, offset=-1, negative=Buckets(0, negative), zero=zero, threshold=0.25, schema=schema
    ),
    counts,
    counts,
    st.integers(0, 20).map(float),
    st.integers(-1, 2),
)
customs = st.lists(st.integers(0, 50).map(float), min_size=4, max_size=4).map(
    lambda found: custom((-1.0, 0.5, 2.0), *found)
)
histograms = exponentials | customs


# --- notes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("note", "warning", "text"),
    [
        (
            Note.MIXED_KINDS,
            True,
            'vector contains a mix of histograms with exponential and custom buckets schemas for metric name "a\\"b"',
        ),
        (Note.INCOMPATIBLE_LAYOUT, True, "incompatible bucket layout encountered for binary operator +"),
        (Note.NOT_COUNTER, True, 'this native histogram metric is not a counter: "a\\"b"'),
        (Note.COLLISION_IN_ADDITION, True, "conflicting counter resets during histogram addition"),
        (Note.RECONCILED_IN_AGGREGATION, False, "mismatched custom buckets were reconciled during aggregation"),
        (
            Note.NAN_QUANTILE,
            False,
            'input to histogram_quantile has NaN observations, result is NaN for metric name "a\\"b"',
        ),
    ],
)
def test_texts(note: Note, warning: bool, text: str) -> None:
    assert note.warning is warning
    assert note.text(metric='a"b', operator="+") == text


def test_a_text_without_a_name() -> None:
    assert Note.NAN_QUANTILE.text() == "input to histogram_quantile has NaN observations, result is NaN"


# --- operators --------------------------------------------------------------------------------------------------------


def test_sums_and_differences() -> None:
    assert native.add(ONE, FINER, silent) == exponential(4.0, 9.0, total=2.0)
    assert native.subtract(FINER, ONE, silent) == exponential(2.0, 5.0, total=0.0, hint=GAUGE)


def test_a_difference_of_the_same_has_no_buckets_left() -> None:
    nothing = native.subtract(NEGATIVE, NEGATIVE, silent)
    assert nothing is not None
    assert (nothing.count, nothing.positive, nothing.negative) == (0.0, NO_BUCKETS, NO_BUCKETS)


@pytest.mark.parametrize(("left", "right"), [(ONE, CUSTOM), (CUSTOM, ONE)])
def test_two_kinds_have_no_sum(left: Histogram, right: Histogram) -> None:
    told: list[Note] = []
    assert native.add(left, right, told.append) is None
    assert native.subtract(left, right, told.append) is None
    assert told == [Note.INCOMPATIBLE_LAYOUT, Note.INCOMPATIBLE_LAYOUT]


def test_what_is_told_of_sums() -> None:
    told: list[Note] = []
    native.add(ONE.hinted(RESET), ONE.hinted(NOT_RESET), told.append)
    native.add(CUSTOM, custom((1.0, 3.0), 1.0), told.append)
    native.subtract(ONE.hinted(NOT_RESET), ONE.hinted(RESET), told.append)
    native.subtract(CUSTOM, custom((1.0, 3.0), 1.0), told.append)
    assert told == [
        Note.COLLISION_IN_ADDITION,
        Note.RECONCILED_IN_ADDITION,
        Note.COLLISION_IN_SUBTRACTION,
        Note.RECONCILED_IN_SUBTRACTION,
    ]


def test_multiples() -> None:
    assert native.scale(ONE, 2.0) == exponential(2.0, 4.0, total=2.0)
    assert native.scale(ONE, 0.0).positive == NO_BUCKETS
    assert native.divide(ONE, 2.0) == native.scale(ONE, 0.5)
    assert native.equal(native.divide(ONE, 0.0), Histogram(INF, INF, NAN, 0.0, 0))
    assert native.negate(ONE) == exponential(-1.0, -2.0, total=-1.0, hint=GAUGE)
    assert native.scale(exponential(1.0, 0.0, 1.0), INF).positive == Buckets(0, [INF, 0.0, INF])


def test_equality() -> None:
    assert native.equal(exponential(0.0, 1.0, 0.0, total=NAN), exponential(1.0, offset=1, total=NAN, hint=GAUGE))
    assert native.equal(exponential(total=NAN), exponential(0.0, total=NAN))
    assert not native.equal(ONE, exponential(1.0, 2.0, offset=1))
    assert not native.equal(ONE, exponential(2.0, 1.0))
    assert not native.equal(ONE, exponential(1.0, 2.0, total=2.0))
    assert not native.equal(ONE, exponential(1.0, 2.0, schema=1))
    assert not native.equal(CUSTOM, replace(CUSTOM, custom_bounds=(1.0, 3.0)))


# --- counter resets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("previous", "current", "reset"),
    [
        (ONE, ONE, False),
        (ONE, exponential(1.0, 3.0), False),
        (ONE, exponential(0.0, 4.0), True),  # a bucket fell
        (ONE, exponential(1.0, 1.0), True),  # the count fell
        (ONE, exponential(1.0, 1.0, zero=5.0), True),
        (exponential(1.0, zero=2.0), exponential(5.0, zero=1.0), True),
        (exponential(1.0, negative=Buckets(0, [2.0])), exponential(5.0, negative=Buckets(0, [1.0])), True),
        (exponential(2.0, 3.0), exponential(9.0, offset=-1), True),  # a bucket went
        (exponential(0.0, 3.0), exponential(3.0, 4.0, offset=1), False),  # an empty one went
        (exponential(), exponential(9.0), False),
        (ONE, exponential(9.0, 9.0, schema=1), True),  # finer than before
        (FINER, exponential(3.0, 7.0), False),  # coarser, and as much as before
        (FINER, exponential(2.0, 9.0), True),
        (exponential(1.0, threshold=0.5), exponential(1.0, 9.0, threshold=0.25), True),  # a smaller zero bucket
        (exponential(2.0, 1.0), exponential(1.0, offset=1, zero=2.0, threshold=2.0), False),  # it took in a bucket
        (exponential(2.0, 1.0), exponential(2.0, offset=1, zero=1.0, threshold=2.0), True),
        (exponential(2.0, 1.0), exponential(2.0, offset=2, zero=9.0, threshold=1.5), True),  # it cut one in two
        (CUSTOM, CUSTOM, False),
        (CUSTOM, ONE, True),
        (ONE, custom((), 9.0), True),
        (CUSTOM, custom((1.0, 3.0), 1.0, 3.0, 2.0), False),  # of common bounds only
        (CUSTOM, custom((1.0, 3.0), 0.0, 9.0, 2.0), True),
        (ONE, exponential(1.0, 2.0, hint=RESET), True),
        (ONE, exponential(1.0, hint=NOT_RESET), False),
        (ONE, exponential(1.0, hint=GAUGE), True),
    ],
)
def test_counter_resets(previous: Histogram, current: Histogram, reset: bool) -> None:
    assert native.detect_reset(previous, current) is reset


@given(histograms, st.data())
def test_more_of_the_same_is_no_reset(histogram: Histogram, data: st.DataObject) -> None:
    more = data.draw(customs if histogram.custom else exponentials)
    assert not native.detect_reset(histogram, histogram.plus(more))


# --- sums over many ---------------------------------------------------------------------------------------------------


def test_sums_are_compensated() -> None:
    large, small = exponential(1.0, total=1e16), exponential(1.0, total=1.0)
    result = native.sum_histograms([small, large, small, exponential(1.0, total=-1e16)], silent)
    assert result == exponential(4.0, total=2.0)


@given(st.lists(exponentials, min_size=1, max_size=5) | st.lists(customs, min_size=1, max_size=5))
def test_sums_and_means_are_those_of_pairs(given_ones: list[Histogram]) -> None:
    expected = given_ones[0]
    for one in given_ones[1:]:
        expected = expected.plus(one)
    assert native.sum_histograms(given_ones, silent) == expected.compacted()
    mean = native.avg_histograms(given_ones, silent)
    assert mean is not None
    assert native.equal(mean, native.divide(expected, len(given_ones)))


def test_a_mean_does_not_overflow() -> None:
    large = exponential(1e308, 1.0, total=1e308)
    sum_ = native.sum_histograms([large] * 3, silent)
    mean = native.avg_histograms([large] * 3, silent)
    assert sum_ is not None
    assert mean is not None
    assert (sum_.sum, sum_.positive.counts.tolist()) == (INF, [INF, 3.0])
    assert mean.sum == pytest.approx(1e308)
    assert mean.positive.counts.tolist() == pytest.approx([1e308, 1.0])


@pytest.mark.parametrize("together", [native.sum_histograms, native.avg_histograms])
def test_what_is_told_of_many(together: Callable[[Sequence[Histogram], Notify], Histogram | None]) -> None:
    told: list[Note] = []
    assert together([ONE, CUSTOM, ONE], told.append) is None
    assert together([ONE.hinted(RESET), ONE, ONE.hinted(NOT_RESET)], told.append) is not None
    assert together([CUSTOM, custom((2.0, 3.0), 1.0, 1.0, 1.0)], told.append) is not None
    assert told == [Note.MIXED_KINDS, Note.COLLISION_IN_AGGREGATION, Note.RECONCILED_IN_AGGREGATION]


@pytest.mark.parametrize(
    ("hints", "hint"),
    [
        ([NOT_RESET, NOT_RESET], NOT_RESET),
        ([NOT_RESET, UNKNOWN], UNKNOWN),
        ([UNKNOWN, NOT_RESET, GAUGE], GAUGE),
        ([NOT_RESET], NOT_RESET),
    ],
)
def test_hints_of_sums(hints: list[ResetHint], hint: ResetHint) -> None:
    for different in (False, True):
        ones = [(FINER if different and number else ONE).hinted(one) for number, one in enumerate(hints)]
        for together in (native.sum_histograms, native.avg_histograms):
            found = together(ones, silent)
            assert found is not None
            assert found.hint is hint


# --- numbers of histograms --------------------------------------------------------------------------------------------


def test_averages_and_deviations() -> None:
    assert native.average(exponential(2.0, 2.0, total=8.0)) == 2.0
    assert math.isnan(native.average(exponential(total=0.0)))
    pair = exponential(1.0, negative=Buckets(0, [1.0]), total=0.0)  # the root of 2, and its negative
    assert native.stdvar(pair) == pytest.approx(2.0)
    assert native.stddev(pair) == pytest.approx(math.sqrt(2.0))
    assert native.stdvar(exponential(zero=3.0, threshold=0.5, total=0.0)) == 0.0
    assert native.stdvar(custom((1.0, 3.0), 0.0, 2.0, 0.0, total=2.0)) == 1.0
    assert native.stdvar(custom((1.0,), 2.0, 0.0, total=2.0)) == INF
    assert math.isnan(native.stdvar(exponential()))
    assert math.isnan(native.stddev(exponential(1.0, total=NAN)))


@pytest.mark.parametrize(
    ("q", "histogram", "expected"),
    [
        (0.5, exponential(2.0, 2.0), 2.0),
        (0.25, exponential(2.0, 2.0), math.sqrt(2.0)),
        (0.75, exponential(2.0, 2.0), 2 * math.sqrt(2.0)),
        (0.25, exponential(2.0, zero=2.0, threshold=1.0), 0.5),  # nothing is below 0
        (0.75, exponential(negative=Buckets(0, [2.0]), zero=2.0, threshold=1.0), -0.5),  # nothing is above it
        (0.5, exponential(1.0, negative=Buckets(0, [1.0]), zero=2.0, threshold=0.5), 0.0),
        (0.25, exponential(negative=Buckets(0, [4.0])), -(2.0**0.75)),
        (0.5, custom((2.0, 4.0), 1.0, 2.0, 1.0), 3.0),
        (0.125, custom((2.0, 4.0), 1.0, 2.0, 1.0), 1.0),
        (0.1, custom((-2.0, 4.0), 1.0, 2.0, 1.0), -2.0),
        (0.9, custom((2.0, 4.0), 1.0, 2.0, 1.0), 4.0),
        (-1.0, ONE, -INF),
        (2.0, ONE, INF),
        (NAN, ONE, NAN),
        (0.5, exponential(), NAN),
        (0.0, exponential(2.0, 2.0), 1.0),
        (1.0, exponential(2.0, 2.0), 4.0),
        (1.0, Histogram(0.5, 1.0, 0.0, 0.0, 0), NAN),
        (0.6, Histogram(10.0, 1.0, 0.0, 0.0, 0, Buckets(0, [1.0])), 2.0),
        (0.4, Histogram(10.0, 1.0, 0.0, 0.0, 0, Buckets(0, [1.0])), 2.0),
        (0.7, Histogram(0.5, 1.0, 0.0, 0.0, 0), 0.0),
    ],
)
def test_known_quantiles(q: float, histogram: Histogram, expected: float) -> None:
    assert native.quantile(q, histogram, silent) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("q", "expected", "note"),
    [
        (0.25, 2.0**0.75, Note.SKEWED_QUANTILE),
        (0.5, 4.0, Note.SKEWED_QUANTILE),
        (0.75, NAN, Note.NAN_QUANTILE),
    ],
)
def test_quantiles_of_observations_that_are_no_numbers(q: float, expected: float, note: Note) -> None:
    # As if they were larger than all others: four of eight.
    told: list[Note] = []
    histogram = Histogram(8.0, NAN, 0.0, 0.0, 0, Buckets(0, [8 / 3, 4 / 3]))
    assert native.quantile(q, histogram, told.append) == pytest.approx(expected, nan_ok=True)
    assert told == [note]


def test_a_sum_that_is_not_known_says_nothing_of_observations() -> None:
    assert native.quantile(0.5, exponential(2.0, 2.0, total=NAN), silent) == 2.0
    assert native.fraction(0.0, 2.0, exponential(2.0, 2.0, total=NAN), silent) == 0.5


@pytest.mark.parametrize(
    ("lower", "upper", "histogram", "expected"),
    [
        (1.0, 2.0, exponential(2.0, 6.0), 0.25),
        (-INF, INF, NEGATIVE, 1.0),
        (1.0, math.sqrt(2.0), exponential(2.0, 2.0), 0.25),
        (-math.sqrt(2.0), -1.0, exponential(negative=Buckets(0, [2.0, 2.0])), 0.25),
        (-0.5, 0.0, exponential(zero=2.0, threshold=0.5), 0.5),
        (0.0, 0.25, exponential(2.0, zero=2.0, threshold=0.5), 0.25),
        (2.0, 3.0, custom((2.0, 4.0), 1.0, 2.0, 1.0), 0.25),
        (-INF, 1.0, custom((2.0, 4.0), 1.0, 2.0, 1.0), 0.125),
        (4.0, 5.0, custom((2.0, 4.0), 1.0, 2.0, 1.0), 0.0),
        (-INF, -3.0, custom((-2.0, 4.0), 1.0, 2.0, 1.0), 0.25),
        (2.0, 1.0, ONE, 0.0),
        (NAN, 1.0, ONE, NAN),
        (1.0, NAN, ONE, NAN),
        (0.0, 1.0, exponential(), NAN),
    ],
)
def test_known_fractions(lower: float, upper: float, histogram: Histogram, expected: float) -> None:
    assert native.fraction(lower, upper, histogram, silent) == pytest.approx(expected, nan_ok=True)


def test_fractions_leave_out_what_is_no_number() -> None:
    told: list[Note] = []
    histogram = Histogram(8.0, NAN, 0.0, 0.0, 0, Buckets(0, [4.0, 2.0]))
    assert native.fraction(-INF, INF, histogram, told.append) == 0.75
    assert native.fraction(-INF, 2.0, histogram, told.append) == 0.5
    assert told == [Note.NANS_LEFT_OUT, Note.NANS_LEFT_OUT]


@given(exponentials.filter(lambda one: one.count > 0), st.floats(0.01, 0.99))
def test_a_fraction_undoes_a_quantile(histogram: Histogram, q: float) -> None:
    value = native.quantile(q, histogram, silent)
    assert native.fraction(-INF, value, histogram, silent) == pytest.approx(q, abs=1e-6)


# --- trimming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "below", "above"),
    [
        (2.0, exponential(4.0, total=4.0 * math.sqrt(2.0)), exponential(4.0, offset=1, total=8.0 * math.sqrt(2.0))),
        (INF, exponential(4.0, 4.0), exponential(total=0.0)),
        (-INF, exponential(total=0.0), exponential(4.0, 4.0)),
        (
            math.sqrt(2.0),
            exponential(2.0, total=2.0 * 2**0.25),
            exponential(2.0, 4.0, total=2.0 * 2**0.75 + 8.0 * math.sqrt(2.0)),
        ),
    ],
)
def test_trimming(limit: float, below: Histogram, above: Histogram) -> None:
    histogram = exponential(4.0, 4.0)
    assert close(native.trim_upper(histogram, limit), below)
    assert close(native.trim_lower(histogram, limit), above)


def test_trimming_the_zero_bucket() -> None:
    both = exponential(2.0, negative=Buckets(0, [2.0]), zero=4.0, threshold=0.5)
    assert native.trim_upper(both, 0.25).zero_count == 3.0
    assert native.trim_lower(both, 0.25).zero_count == 1.0
    positive = exponential(2.0, zero=4.0, threshold=0.5)
    assert native.trim_upper(positive, 0.125).zero_count == 1.0
    assert native.trim_lower(positive, -1.0) == positive


def test_trimming_custom_buckets() -> None:
    histogram = custom((2.0, 4.0), 1.0, 2.0, 1.0)
    assert native.trim_upper(histogram, 3.0) == custom((2.0, 4.0), 1.0, 1.0, total=3.5)
    assert native.trim_upper(histogram, 1.0) == custom((2.0, 4.0), 0.5, total=0.25)
    lower = native.trim_lower(histogram, 3.0)
    assert (lower.count, lower.sum, lower.positive) == (2.0, 7.5, Buckets(1, [1.0, 1.0]))
    # Of a bucket without an end it is not known how much is above a value; what stays counts as that value.
    assert native.trim_upper(histogram, 5.0).count == 3.0
    assert native.trim_lower(histogram, 5.0).sum == 5.0
    assert native.trim_upper(custom((-2.0,), 2.0, 3.0), -5.0).count == 2.0
    assert native.trim_lower(custom((-2.0,), 2.0, 3.0), -5.0).count == 3.0


@given(histograms, st.sampled_from([-3.0, -0.1, 0.0, 0.1, 0.7, 1.0, 3.0, 100.0]))
def test_both_parts_hold_no_more_than_the_whole(histogram: Histogram, limit: float) -> None:
    parts = [native.trim_upper(histogram, limit), native.trim_lower(histogram, limit)]
    assert sum(part.count for part in parts) <= histogram.count * (1 + 1e-12)
    if not histogram.custom:
        assert sum(part.count for part in parts) == pytest.approx(histogram.count)


def close(left: Histogram, right: Histogram) -> bool:
    """Equal but for the last digits."""
    assert left.count == pytest.approx(right.count)
    assert left.sum == pytest.approx(right.sum)
    assert left.positive.counts.tolist() == pytest.approx(right.positive.counts.tolist())
    return left.positive.offset == right.positive.offset or not len(right.positive)


# --- text -------------------------------------------------------------------------------------------------------------


def test_text() -> None:
    assert native.text(NEGATIVE) == "{count:6, sum:1, [-2,-1):2, [-0.5,0.5]:1, (1,2]:3}"
    assert native.text(CUSTOM) == "{count:6, sum:1, [-Inf,1]:1, (1,2]:2, (2,+Inf]:3}"
    assert native.text(exponential(0.0, 1.0, total=NAN)) == "{count:1, sum:NaN, (2,4]:1}"


def test_notation() -> None:
    assert native.notation(ONE) == "{{count:3 sum:1 offset:1 buckets:[1 2]}}"
    assert (
        native.notation(exponential(1.0, 2.0, offset=-1, schema=2, total=0.0)) == "{{schema:2 count:3 buckets:[1 2]}}"
    )
    assert native.notation(replace(NEGATIVE, hint=GAUGE)) == (
        "{{count:6 sum:1 z_bucket:1 z_bucket_w:0.5 counter_reset_hint:gauge offset:1 buckets:[3]"
        " n_offset:1 n_buckets:[2]}}"
    )
    assert native.notation(CUSTOM.hinted(NOT_RESET)) == (
        "{{schema:-53 count:6 sum:1 custom_values:[1 2] counter_reset_hint:not_reset buckets:[1 2 3]}}"
    )
