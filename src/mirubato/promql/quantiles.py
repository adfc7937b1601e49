"""Quantiles and fractions of classic histograms, for many histograms with the same bounds and all steps at once.

Source: prometheus, promql/quantile.go. Buckets are [groups, buckets, steps]: cumulative counts by rising upper bound.
"""

from dataclasses import dataclass

import numpy as np

from mirubato.model.samples import Float64s, Int64s
from mirubato.promql.values import Bools

# Neighbours that differ by less than this share of their sum are taken to be equal: sums of floats are not exact.
_TOLERANCE = 1e-12
_MIN_NORMAL = float(np.finfo(np.float64).tiny)
_MAX = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True)
class Forced:
    """Counts that fell from one bucket to a higher one and had to be lifted: at which steps, one entry per histogram.

    Further the lowest and the highest upper bound that was lifted, and by how much at most.
    """

    steps: Int64s
    lowest: float
    highest: float
    difference: float


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The quantile of each histogram at each step, [groups, steps], and what had to be mended before, if anything."""

    values: Float64s
    forced: Forced | None


def bucket_quantile(q: Float64s, uppers: Float64s, counts: Float64s, present: Bools | None = None) -> Quantiles:
    """The value that a share `q` [steps] of the observations does not exceed, spread evenly within each bucket.

    `uppers` [buckets] rise and are not NaN; of equal ones the counts are added. Buckets that are not `present` do not
    count. NaN where there are no observations, or no bucket for +Inf, or no other one.
    """
    uppers, counts, present = _distinct(uppers, counts, present)
    with np.errstate(all="ignore"):
        values, forced = _quantiles(q, uppers, counts, present)
        values = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, values))
        values[:, np.isnan(q)] = np.nan
    return Quantiles(values, forced)


def _quantiles(
    q: Float64s, uppers: Float64s, counts: Float64s, present: Bools | None
) -> tuple[Float64s, Forced | None]:
    groups, buckets, steps = counts.shape
    if not counts.size or buckets < 2 or uppers[-1] != np.inf:
        return np.full((groups, steps), np.nan), None
    odd = _odd(counts, present)
    values = _plain_quantiles(q, uppers, counts)
    if odd is None:
        return values, None
    group, step = np.nonzero(odd)
    table = np.ascontiguousarray(counts[group, :, step].T)
    here = np.ones(table.shape, np.bool_) if present is None else np.ascontiguousarray(present[group, :, step].T)
    mended = _mend(table, here, uppers)
    values[group, step] = _mended_quantiles(q[step], uppers, table, here)
    at = np.flatnonzero(mended.forced & here[-1] & (q[step] >= 0) & (q[step] <= 1))
    if not len(at):
        return values, None
    extremes = mended.lowest[at].min(), mended.highest[at].max(), mended.difference[at].max()
    return values, Forced(step[at], *map(float, extremes))


def _odd(counts: Float64s, present: Bools | None) -> Bools | None:
    """Which histograms have missing buckets, NaN, or neighbours that fall or are nearly equal; None if none has."""
    low, high = counts[:, :-1], counts[:, 1:]
    rise = high - low
    close = (rise < _TOLERANCE * np.abs(high + low)) & (rise != 0)
    odd: Bools = close.any(axis=1)
    if present is not None and not present.all():
        odd |= ~present.all(axis=1)
    if np.isnan(counts.sum()):
        odd |= np.isnan(counts).any(axis=1)
    return odd if odd.any() else None


def _plain_quantiles(q: Float64s, uppers: Float64s, counts: Float64s) -> Float64s:
    """Where no bucket is missing and all rise."""
    groups, buckets, steps = counts.shape
    observed = counts[:, -1]
    rank = q * observed
    place = (buckets - 1) - np.count_nonzero(counts[:, :-1] >= rank[:, None], axis=1)
    flat, offsets = counts.reshape(-1), np.arange(groups)[:, None] * (buckets * steps) + np.arange(steps)
    cells = offsets + place * steps
    first = place == 0
    below = np.where(first, 0.0, flat[np.maximum(cells - steps, 0)])
    start = np.where(first, 0.0, uppers[place - 1])
    values: Float64s = start + (uppers[place] - start) * ((rank - below) / (flat[cells] - below))
    values[place == buckets - 1] = uppers[-2]
    if uppers[0] <= 0:
        values[first] = uppers[0]
    values[observed == 0] = np.nan
    return values


# --- histograms that need mending -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Mended:
    """For each histogram whether counts fell, between which upper bounds, and by how much at most."""

    forced: Bools
    lowest: Float64s
    highest: Float64s
    difference: Float64s


def _mend(table: Float64s, here: Bools, uppers: Float64s) -> _Mended:
    """Make counts [buckets, histograms] rise, in place: what falls, and what rises by next to nothing, stays level."""
    size = table.shape[1]
    forced = np.zeros(size, np.bool_)
    lowest, highest, difference = np.full(size, np.inf), np.full(size, -np.inf), np.zeros(size)
    previous, begun = np.zeros(size), np.zeros(size, np.bool_)
    for upper, counts, on in zip(uppers.tolist(), table, here, strict=True):
        level = begun & on & _almost_equal(previous, counts)
        fell = begun & on & ~level & (counts < previous)
        forced |= fell
        lowest[fell] = np.minimum(lowest[fell], upper)
        highest[fell] = np.maximum(highest[fell], upper)
        difference[fell] = np.maximum(difference[fell], (previous - counts)[fell])
        counts[:] = np.where(level | fell, previous, counts)
        previous = np.where(on, counts, previous)
        begun |= on
    return _Mended(forced, lowest, highest, difference)


def _almost_equal(left: Float64s, right: Float64s) -> Bools:
    """Equal but for the last digits (util/almost)."""
    total, apart = np.abs(left) + np.abs(right), np.abs(left - right)
    tiny = (left == 0) | (right == 0) | (total < _MIN_NORMAL)
    near = np.where(tiny, apart < _TOLERANCE * _MIN_NORMAL, apart / np.minimum(total, _MAX) < _TOLERANCE)
    result: Bools = near | (left == right) | (np.isnan(left) & np.isnan(right))
    return result


def _mended_quantiles(q: Float64s, uppers: Float64s, table: Float64s, here: Bools) -> Float64s:
    """Of counts [buckets, histograms] of which some may be missing."""
    top = len(table) - 1
    columns = np.arange(table.shape[1])
    rank = q * table[-1]
    enough = here[:-1] & (table[:-1] >= rank)
    place = np.where(enough.any(axis=0), enough.argmax(axis=0), top)
    for column in np.flatnonzero(np.isnan(table).any(axis=0)).tolist():
        place[column] = _searched(table[:, column], here[:, column], float(rank[column]))
    newest = np.maximum.accumulate(np.where(here, np.arange(top + 1)[:, None], -1), axis=0)
    before = np.where(place == 0, -1, newest[place - 1, columns])
    first = before < 0
    below = np.where(first, 0.0, table[before, columns])
    start = np.where(first, 0.0, uppers[before])
    values = start + (uppers[place] - start) * ((rank - below) / (table[place, columns] - below))
    values = np.where(place == top, uppers[newest[top - 1]], values)
    values = np.where(first & (uppers[place] <= 0), uppers[place], values)
    return np.where(~here[-1] | (newest[top - 1] < 0) | (table[-1] == 0), np.nan, values)


def _searched(counts: Float64s, here: Bools, rank: float) -> int:
    """The first bucket with enough, as a binary search finds it in counts of which some are NaN."""
    buckets = np.flatnonzero(here).tolist()
    low, high = 0, len(buckets) - 1
    while low < high:
        middle = (low + high) // 2
        if counts[buckets[middle]] >= rank:
            high = middle
        else:
            low = middle + 1
    return int(buckets[low]) if buckets else len(here) - 1


# --- fractions --------------------------------------------------------------------------------------------------------


def bucket_fraction(
    lower: Float64s, upper: Float64s, uppers: Float64s, counts: Float64s, present: Bools | None = None
) -> Float64s:
    """The share of observations between two values ([steps] each), spread evenly within each bucket: [groups, steps].

    Buckets are as for `bucket_quantile`. NaN where there are no observations, or no bucket for +Inf.
    """
    uppers, counts, present = _distinct(uppers, counts, present)
    groups, _, steps = counts.shape
    if not counts.size or uppers[-1] != np.inf:
        return np.full((groups, steps), np.nan)
    with np.errstate(all="ignore"):
        ranks = [_rank(value, _plain_place(value, uppers, counts), counts[:, -1]) for value in (lower, upper)]
        shares = _share(lower, upper, ranks, counts[:, -1])
        if present is not None and not present.all():
            group, step = np.nonzero(~present.all(axis=1))
            table, here = counts[group, :, step].T, present[group, :, step].T
            lower, upper = lower[step], upper[step]
            ranks = [_rank(value, _sparse_place(value, uppers, table, here), table[-1]) for value in (lower, upper)]
            shares[group, step] = np.where(here[-1], _share(lower, upper, ranks, table[-1]), np.nan)
    return shares


@dataclass(frozen=True, slots=True)
class _Place:
    """The bucket that holds a value: its bounds, and cumulative counts up to both; above all buckets, `outside`."""

    low: Float64s
    high: Float64s
    before: Float64s
    after: Float64s
    outside: Bools


def _plain_place(value: Float64s, uppers: Float64s, counts: Float64s) -> _Place:
    """Of values [steps] in counts [groups, buckets, steps] without gaps."""
    place, steps = np.searchsorted(uppers, value, side="right"), np.arange(len(value))
    safe, first = np.minimum(place, len(uppers) - 1), place == 0
    before = np.where(first, 0.0, counts[:, place - 1, steps])
    low = np.where(first, _lowest(uppers[:1]), uppers[place - 1])
    return _Place(low, uppers[safe], before, counts[:, safe, steps], place == len(uppers))


def _sparse_place(value: Float64s, uppers: Float64s, table: Float64s, here: Bools) -> _Place:
    """Of a value for each histogram in counts [buckets, histograms] of which some are missing."""
    columns, numbers = np.arange(len(value)), np.arange(len(uppers))[:, None]
    above = here & (uppers[:, None] > value)
    place = np.where(above.any(axis=0), above.argmax(axis=0), len(uppers))
    newest = np.maximum.accumulate(np.where(here, numbers, -1), axis=0)
    previous = np.where(place == 0, -1, newest[place - 1, columns])
    safe, first = np.minimum(place, len(uppers) - 1), previous < 0
    before = np.where(first, 0.0, table[previous, columns])
    low = np.where(first, _lowest(uppers[here.argmax(axis=0)]), uppers[previous])
    return _Place(low, uppers[safe], before, table[safe, columns], place == len(uppers))


def _lowest(upper: Float64s) -> Float64s:
    """Where the lowest bucket begins: at 0 if it ends above that."""
    return np.where(upper <= 0, -np.inf, 0.0)


def _rank(value: Float64s, place: _Place, total: Float64s) -> Float64s:
    """How many observations are not above a value."""
    within = place.before + (place.after - place.before) * (value - place.low) / (place.high - place.low)
    within = np.where(place.low == -np.inf, place.after, within)
    rank = np.where(place.low >= value, place.before, within)
    return np.where(place.outside | (rank > total), total, rank)


def _share(lower: Float64s, upper: Float64s, ranks: list[Float64s], total: Float64s) -> Float64s:
    share = np.where(lower >= upper, 0.0, (ranks[1] - ranks[0]) / total)
    return np.where((total == 0) | np.isnan(lower) | np.isnan(upper), np.nan, share)


def _distinct(uppers: Float64s, counts: Float64s, present: Bools | None) -> tuple[Float64s, Float64s, Bools | None]:
    """Buckets of equal bounds made one."""
    begins = np.flatnonzero(np.insert(uppers[1:] != uppers[:-1], 0, len(uppers) > 0))
    if len(begins) == len(uppers):
        return uppers, counts, present
    if present is None:
        return uppers[begins], np.add.reduceat(counts, begins, axis=1), None
    counts = np.add.reduceat(np.where(present, counts, 0.0), begins, axis=1)
    return uppers[begins], counts, np.logical_or.reduceat(present, begins, axis=1)
