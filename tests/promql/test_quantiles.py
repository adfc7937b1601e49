"""Quantiles and fractions of classic buckets: known cases, and a plain one-histogram version of the rules beside."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirubato.model.samples import Float64s
from mirubato.promql.quantiles import bucket_fraction, bucket_quantile
from mirubato.promql.values import Bools

INF, NAN = math.inf, math.nan


def quantile(q: float, uppers: list[float], counts: list[float]) -> float:
    """Of one histogram."""
    table = np.array(counts)[None, :, None]
    return float(bucket_quantile(np.array([q]), np.array(uppers), table).values[0, 0])


def fraction(lower: float, upper: float, uppers: list[float], counts: list[float]) -> float:
    table = np.array(counts)[None, :, None]
    return float(bucket_fraction(np.array([lower]), np.array([upper]), np.array(uppers), table)[0, 0])


@pytest.mark.parametrize(
    ("q", "uppers", "counts", "expected"),
    [
        (0.5, [1.0, 2.0, INF], [10.0, 20.0, 20.0], 1.0),
        (0.75, [1.0, 2.0, INF], [10.0, 20.0, 20.0], 1.5),
        (0.25, [1.0, 2.0, INF], [10.0, 20.0, 20.0], 0.5),  # from 0 on
        (0.9, [1.0, 2.0, INF], [10.0, 20.0, 40.0], 2.0),  # above the last bound there is nothing to go by
        (0.0, [1.0, 2.0, INF], [0.0, 20.0, 20.0], NAN),  # of an empty bucket there is no share
        (0.0, [1.0, 2.0, INF], [5.0, 20.0, 20.0], 0.0),
        (1.0, [1.0, 2.0, INF], [0.0, 20.0, 20.0], 2.0),
        (0.1, [-1.0, 2.0, INF], [10.0, 20.0, 20.0], -1.0),  # nor below the first, if it is not above 0
        (0.1, [0.0, 2.0, INF], [10.0, 20.0, 20.0], 0.0),
        (-0.1, [1.0, INF], [1.0, 1.0], -INF),
        (1.1, [1.0, INF], [1.0, 1.0], INF),
        (NAN, [1.0, INF], [1.0, 1.0], NAN),
        (0.5, [1.0, INF], [0.0, 0.0], NAN),
        (0.5, [INF], [3.0], NAN),
        (0.5, [1.0, 2.0], [3.0, 4.0], NAN),
        (-1.0, [1.0, 2.0], [3.0, 4.0], -INF),
        (0.5, [1.0, 1.0, 2.0, INF, INF], [5.0, 5.0, 20.0, 12.0, 8.0], 1.0),  # equal bounds are added
        (0.5, [1.0, 2.0, 3.0, INF], [10.0, 8.0, 20.0, 20.0], 1.0),  # what falls is lifted
        (0.75, [1.0, 2.0, 3.0, INF], [10.0, 8.0, 20.0, 20.0], 2.5),
        (1.0, [1.0, 2.0, INF], [10.0, 10.0 + 1e-12, 10.0 + 1e-12], 1.0),  # what hardly rises does not
        (0.5, [1.0, 2.0, INF], [NAN, NAN, NAN], 2.0),
    ],
)
def test_known_quantiles(q: float, uppers: list[float], counts: list[float], expected: float) -> None:
    assert quantile(q, uppers, counts) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("lower", "upper", "uppers", "counts", "expected"),
    [
        (0.0, 1.5, [1.0, 2.0, INF], [10.0, 20.0, 40.0], 0.375),
        (-INF, INF, [1.0, 2.0, INF], [10.0, 20.0, 40.0], 1.0),
        (1.0, 2.0, [1.0, 2.0, INF], [10.0, 20.0, 40.0], 0.25),
        (2.0, INF, [1.0, 2.0, INF], [10.0, 20.0, 40.0], 0.5),
        (3.0, INF, [1.0, 2.0, INF], [10.0, 20.0, 40.0], 0.5),  # within the last bucket there is nothing to go by
        (-INF, -2.0, [-1.0, 2.0, INF], [10.0, 20.0, 40.0], 0.25),  # nor within the first
        (-2.0, -INF, [-1.0, 2.0, INF], [10.0, 20.0, 40.0], 0.0),
        (1.0, 1.0, [1.0, 2.0, INF], [10.0, 20.0, 40.0], 0.0),
        (NAN, 1.0, [1.0, INF], [1.0, 1.0], NAN),
        (0.0, NAN, [1.0, INF], [1.0, 1.0], NAN),
        (0.0, 1.0, [1.0, INF], [0.0, 0.0], NAN),
        (0.0, 1.0, [1.0, 2.0], [1.0, 2.0], NAN),
        (0.0, 1.0, [INF], [3.0], 0.0),
        (0.0, 1.0, [1.0, 1.0, INF], [1.0, 2.0, 6.0], 0.5),
    ],
)
def test_known_fractions(lower: float, upper: float, uppers: list[float], counts: list[float], expected: float) -> None:
    assert fraction(lower, upper, uppers, counts) == pytest.approx(expected, nan_ok=True)


def test_what_was_forced() -> None:
    counts = np.array([[[10.0, 1.0, 10.0], [8.0, 2.0, 10.0], [5.0, 3.0, 12.0], [9.0, 3.0, 12.0]]])
    found = bucket_quantile(np.array([0.5, 0.5, 0.5]), np.array([1.0, 2.0, 4.0, INF]), counts)
    assert found.forced is not None
    assert found.forced.steps.tolist() == [0]
    assert (found.forced.lowest, found.forced.highest, found.forced.difference) == (2.0, INF, 5.0)


def test_nothing_is_told_of_quantiles_that_are_none() -> None:
    falls = np.array([[[10.0] * 3, [8.0] * 3, [9.0] * 3]])
    assert bucket_quantile(np.array([-1.0, 2.0, NAN]), np.array([1.0, 2.0, INF]), falls).forced is None
    hardly = np.array([[[10.0], [10.0 - 1e-12], [10.0]]])
    assert bucket_quantile(np.array([0.5]), np.array([1.0, 2.0, INF]), hardly).forced is None


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 3, 0), (2, 0, 4)])
def test_nothing_at_all(shape: tuple[int, int, int]) -> None:
    uppers, steps = np.arange(shape[1], dtype=np.float64), np.full(shape[2], 0.5)
    assert bucket_quantile(steps, uppers, np.zeros(shape)).values.shape == (shape[0], shape[2])
    assert bucket_fraction(steps, steps, uppers, np.zeros(shape)).shape == (shape[0], shape[2])


# --- against a plain version of the rules -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Histograms that rise, fall, rise by nothing, and lack buckets."""

    q: Float64s
    uppers: Float64s
    counts: Float64s
    present: Bools


@st.composite
def cases(draw: st.DrawFn) -> Case:
    groups, buckets, steps = (draw(st.integers(1, most)) for most in (3, 6, 4))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    bounds = [-2.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0]
    uppers = np.sort(rng.choice(bounds, buckets, replace=False))
    uppers[-1] = draw(st.sampled_from([INF, INF, INF, 20.0]))
    counts = np.cumsum(rng.integers(0, 4, (groups, buckets, steps)) * 1.0, axis=1)
    if draw(st.booleans()):
        counts = np.abs(counts + rng.integers(-2, 3, counts.shape))
    counts *= 1 + draw(st.sampled_from([0.0, 1e-14, 1e-3])) * rng.random(counts.shape)
    present: Bools = np.greater_equal(rng.random(counts.shape), draw(st.sampled_from([0.0, 0.2])))
    q = rng.choice([0.0, 0.5, 0.9, 1.0, rng.random(), -1.0, 2.0, NAN], steps)
    return Case(q, uppers, counts, present)


def one_by_one(case: Case) -> list[tuple[int, int, list[tuple[float, float]]]]:
    """Group, step and (upper bound, count) of each histogram that has any bucket."""
    groups, _, steps = case.counts.shape
    found = []
    for group in range(groups):
        for step in range(steps):
            here = case.present[group, :, step]
            pairs = list(zip(case.uppers[here].tolist(), case.counts[group, here, step].tolist(), strict=True))
            if pairs:
                found.append((group, step, pairs))
    return found


def mended(buckets: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Counts that never fall, nor rise by next to nothing."""
    found = buckets[:1]
    for upper, count in buckets[1:]:
        before = found[-1][1]
        close = abs(count - before) < 1e-12 * (count + before)
        found.append((upper, before if close or count < before else count))
    return found


def plain_quantile(q: float, buckets: list[tuple[float, float]]) -> float:
    if math.isnan(q) or not 0 <= q <= 1:
        return NAN if math.isnan(q) else math.copysign(INF, q)
    buckets = mended(buckets)
    if buckets[-1][0] != INF or len(buckets) < 2 or not buckets[-1][1]:
        return NAN
    rank = q * buckets[-1][1]
    low, before = 0.0, 0.0
    for number, (upper, count) in enumerate(buckets[:-1]):
        if count >= rank:
            if not number and upper <= 0:
                return upper
            return low + (upper - low) * (rank - before) / (count - before) if count > before else NAN
        low, before = upper, count
    return low


def plain_rank(value: float, buckets: list[tuple[float, float]]) -> float:
    low, before = 0.0 if buckets[0][0] > 0 else -INF, 0.0
    for upper, count in buckets:
        if low >= value:
            return before
        if value < upper:
            return count if low == -INF else before + (count - before) * ((value - low) / (upper - low))
        low, before = upper, count
    return before


def plain_fraction(lower: float, upper: float, buckets: list[tuple[float, float]]) -> float:
    total = buckets[-1][1]
    if buckets[-1][0] != INF or not total:
        return NAN
    low, high = (min(plain_rank(value, buckets), total) for value in (lower, upper))
    return (high - low) / total if lower < upper else 0.0


@settings(max_examples=300)
@given(cases())
def test_quantiles_are_those_of_each_histogram(case: Case) -> None:
    found = bucket_quantile(case.q, case.uppers, case.counts, case.present)
    for group, step, buckets in one_by_one(case):
        expected = plain_quantile(float(case.q[step]), buckets)
        assert found.values[group, step] == pytest.approx(expected, rel=1e-9, nan_ok=True)


@settings(max_examples=300)
@given(cases(), st.lists(st.floats(-3, 12) | st.sampled_from([-INF, INF, 0.0, 1.0]), min_size=8, max_size=8))
def test_fractions_are_those_of_each_histogram(case: Case, values: list[float]) -> None:
    steps = case.counts.shape[2]
    lower, upper = np.array(values[:steps]), np.array(values[4 : 4 + steps])
    found = bucket_fraction(lower, upper, case.uppers, case.counts, case.present)
    for group, step, buckets in one_by_one(case):
        expected = plain_fraction(values[step], values[4 + step], buckets)
        assert found[group, step] == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


@given(cases())
def test_where_all_buckets_are_there_no_mask_is_needed(case: Case) -> None:
    all_there = np.ones(case.counts.shape, np.bool_)
    with_mask = bucket_quantile(case.q, case.uppers, case.counts, all_there)
    without = bucket_quantile(case.q, case.uppers, case.counts)
    assert np.array_equal(with_mask.values, without.values, equal_nan=True)
