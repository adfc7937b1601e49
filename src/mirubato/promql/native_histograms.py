"""Operations of PromQL on native histograms.

Source: prometheus, promql/quantile.go, promql/functions.go, promql/engine.go and model/histogram/float_histogram.go.
What there is to tell beside a result goes to `note`, once for each time that it happens.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from functools import reduce, wraps
from typing import Any, TypeVar, cast

import numpy as np

from mirubato.model.histogram import Buckets, Histogram, ResetHint, quotient, reconciled
from mirubato.model.samples import Float64s
from mirubato.promql import sums
from mirubato.promql.native_tables import Table
from mirubato.promql.numbers import go_g


class Operation(StrEnum):
    """What two histograms were brought together for, in the words of Prometheus."""

    ADDITION = "addition"
    SUBTRACTION = "subtraction"
    AGGREGATION = "aggregation"


class Note(Enum):
    """What an operation has to tell: whether it is a warning, and Prometheus' text (util/annotations/annotations.go).

    `{metric}` is the quoted name of the metric, `{for_metric}` a clause that is missing where there is no name.
    """

    _value_: tuple[bool, str]

    MIXED_KINDS = (
        True,
        "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {metric}",
    )
    INCOMPATIBLE_LAYOUT = True, "incompatible bucket layout encountered for binary operator {operator}"
    NOT_COUNTER = True, "this native histogram metric is not a counter: {metric}"
    NOT_GAUGE = True, "this native histogram metric is not a gauge: {metric}"
    COLLISION_IN_ADDITION = True, "conflicting counter resets during histogram addition"
    COLLISION_IN_SUBTRACTION = True, "conflicting counter resets during histogram subtraction"
    COLLISION_IN_AGGREGATION = True, "conflicting counter resets during histogram aggregation"
    RECONCILED_IN_ADDITION = False, "mismatched custom buckets were reconciled during addition"
    RECONCILED_IN_SUBTRACTION = False, "mismatched custom buckets were reconciled during subtraction"
    RECONCILED_IN_AGGREGATION = False, "mismatched custom buckets were reconciled during aggregation"
    NAN_QUANTILE = False, "input to histogram_quantile has NaN observations, result is NaN{for_metric}"
    SKEWED_QUANTILE = False, "input to histogram_quantile has NaN observations, result is skewed higher{for_metric}"
    NANS_LEFT_OUT = (
        False,
        "input to histogram_fraction has NaN observations, which are excluded from all fractions{for_metric}",
    )

    @property
    def warning(self) -> bool:
        """A warning; an info otherwise."""
        return self.value[0]

    def text(self, *, metric: str = "", operator: str = "") -> str:
        """The text about a metric (its name may be empty) or an operator."""
        escaped = metric.replace("\\", "\\\\").replace('"', '\\"')
        for_metric = f' for metric name "{escaped}"' if metric else ""
        return self.value[1].format(metric=f'"{escaped}"', for_metric=for_metric, operator=operator)


Notify = Callable[[Note], None]

_COLLISION = {
    Operation.ADDITION: Note.COLLISION_IN_ADDITION,
    Operation.SUBTRACTION: Note.COLLISION_IN_SUBTRACTION,
    Operation.AGGREGATION: Note.COLLISION_IN_AGGREGATION,
}
_RECONCILED = {
    Operation.ADDITION: Note.RECONCILED_IN_ADDITION,
    Operation.SUBTRACTION: Note.RECONCILED_IN_SUBTRACTION,
    Operation.AGGREGATION: Note.RECONCILED_IN_AGGREGATION,
}

_AnyFunction = TypeVar("_AnyFunction", bound=Callable[..., Any])


def _any_float(function: _AnyFunction) -> _AnyFunction:
    """Counts and sums may be infinite: what comes of that is Prometheus' answer, and no reason to warn."""

    @wraps(function)
    def quiet(*arguments: Any, **options: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*arguments, **options)

    return cast("_AnyFunction", quiet)


# --- operators --------------------------------------------------------------------------------------------------------


@_any_float
def add(left: Histogram, right: Histogram, note: Notify) -> Histogram | None:
    """`left + right`; None where one is exponential and the other custom."""
    if not _one_kind(left, right, note):
        return None
    _tell(left, right, Operation.ADDITION, note)
    return left.plus(right).compacted()


@_any_float
def subtract(left: Histogram, right: Histogram, note: Notify) -> Histogram | None:
    """`left - right`, a gauge; None where one is exponential and the other custom."""
    if not _one_kind(left, right, note):
        return None
    _tell(left, right, Operation.SUBTRACTION, note)
    return left.minus(right).hinted(ResetHint.GAUGE).compacted()


def _one_kind(left: Histogram, right: Histogram, note: Notify) -> bool:
    if left.custom != right.custom:
        note(Note.INCOMPATIBLE_LAYOUT)
    return left.custom == right.custom


def _tell(left: Histogram, right: Histogram, operation: Operation, note: Notify) -> None:
    if left.hint.collides(right.hint):
        note(_COLLISION[operation])
    tell_reconciled(left, right, operation, note)


def tell_reconciled(left: Histogram, right: Histogram, operation: Operation, note: Notify) -> None:
    """Tell if the two have custom bounds that differ."""
    if left.custom_bounds != right.custom_bounds:
        note(_RECONCILED[operation])


@_any_float
def scale(histogram: Histogram, factor: float) -> Histogram:
    """`histogram * factor`."""
    return histogram.times(factor).compacted()


@_any_float
def divide(histogram: Histogram, divisor: float) -> Histogram:
    """`histogram / divisor`; by zero there are no buckets left."""
    return histogram.divided(divisor).compacted()


@_any_float
def negate(histogram: Histogram) -> Histogram:
    """`-histogram`, a gauge."""
    return histogram.times(-1.0)


def equal(left: Histogram, right: Histogram) -> bool:
    """`left == right`: the same numbers in the same buckets, NaN like NaN; empty buckets and the hint do not count."""
    if left.schema != right.schema or left.custom_bounds != right.custom_bounds:
        return False
    scalars = zip(_scalars(left), _scalars(right), strict=True)
    if not all(one == other or (one != one and other != other) for one, other in scalars):  # noqa: PLR0124  NaN
        return False
    left, right = left.compacted(), right.compacted()
    return _same_counts(left.positive, right.positive) and _same_counts(left.negative, right.negative)


def _scalars(histogram: Histogram) -> tuple[float, ...]:
    return histogram.count, histogram.sum, histogram.zero_count, histogram.zero_threshold


def _same_counts(left: Buckets, right: Buckets) -> bool:
    if len(left) != len(right) or (len(left) and left.offset != right.offset):
        return False
    return np.array_equal(left.counts, right.counts, equal_nan=True)


# --- counter resets ---------------------------------------------------------------------------------------------------


def detect_reset(previous: Histogram, current: Histogram) -> bool:
    """Whether a counter was reset between two histograms: any count fell, or the buckets changed as only that does."""
    if current.hint in (ResetHint.RESET, ResetHint.NOT_RESET):
        return current.hint is ResetHint.RESET
    if current.count < previous.count or current.custom != previous.custom:
        return True
    if current.custom:
        return _fell(*(side.positive for side in reconciled(previous, current)))
    if current.schema > previous.schema or current.zero_threshold < previous.zero_threshold:
        return True
    if previous.zero_bucket_at(current.zero_threshold) != current.zero_threshold:
        return True  # a filled bucket would be cut in two
    previous = previous.with_zero_threshold(current.zero_threshold).at_schema(current.schema).outside()
    current = current.outside()
    return (
        current.zero_count < previous.zero_count
        or _fell(previous.positive, current.positive)
        or _fell(previous.negative, current.negative)
    )


def _fell(previous: Buckets, current: Buckets) -> bool:
    """Whether any bucket holds less than before."""
    previous = previous.compacted()
    if not len(previous):
        return False
    current = current.compacted()
    if not len(current):
        return bool((previous.counts > 0).any())
    low, high = min(previous.offset, current.offset), max(previous.end, current.end)
    return bool((current.spread(low, high) < previous.spread(low, high)).any())


# --- sums over many ---------------------------------------------------------------------------------------------------


@_any_float
def sum_histograms(histograms: Sequence[Histogram], note: Notify) -> Histogram | None:
    """Their compensated sum; None if they are of two kinds. At least one must be given."""
    if not _tell_all(histograms, note):
        return None
    table = Table.of(histograms)
    if table is None:
        return _gathered(histograms).total()
    total, low = compensated(table.rows)
    return table.histogram(total + low, joined_hint(one.hint for one in histograms))


@_any_float
def avg_histograms(histograms: Sequence[Histogram], note: Notify) -> Histogram | None:
    """Their compensated mean; None if they are of two kinds. At least one must be given."""
    if not _tell_all(histograms, note):
        return None
    table = Table.of(histograms)
    if table is not None:
        total, low = compensated(table.rows)
        if not np.isinf(total).any():
            return table.histogram(
                total / len(histograms) + low / len(histograms), joined_hint(one.hint for one in histograms)
            )
    return _mean(histograms)


def compensated(rows: Float64s) -> tuple[Float64s, Float64s]:
    """The sum of rows, from the first on, and what is to be added to it."""
    total, low = rows[0], np.zeros_like(rows[0])
    for row in rows[1:]:
        total, low = sums.add(row, total, low)
    return total, low


def _tell_all(histograms: Sequence[Histogram], note: Notify) -> bool:
    """Whether all are of one kind; tells what is to be told of their sum."""
    first = histograms[0]
    if any(one.custom != first.custom for one in histograms):
        note(Note.MIXED_KINDS)
        return False
    hints = {one.hint for one in histograms}
    if ResetHint.RESET in hints and ResetHint.NOT_RESET in hints:
        note(Note.COLLISION_IN_AGGREGATION)
    if any(one.custom_bounds != first.custom_bounds for one in histograms):
        note(Note.RECONCILED_IN_AGGREGATION)
    return True


def joined_hint(hints: Iterable[ResetHint]) -> ResetHint:
    """The hint of a sum of histograms with these."""
    return reduce(ResetHint.joined, hints)


@dataclass(frozen=True, slots=True)
class _Sum:
    """A compensated sum of histograms that need not be of one layout: `low` is to be added to `value` at the end."""

    value: Histogram
    low: Histogram

    def plus(self, more: Histogram) -> "_Sum":
        """With one more."""
        value, more = reconciled(self.value, more)
        table = _joined(value, more.outside(), self.low.moved(value.layout))
        total, low = sums.add(table.rows[1], table.rows[0], table.rows[2])
        hint = value.hint.joined(more.hint)
        return _Sum(table.histogram(total, hint), table.histogram(low, hint))

    def divided(self, divisor: float) -> "_Sum":
        """All of it by a number."""
        return _Sum(self.value.divided(divisor), self.low.divided(divisor))

    def times(self, factor: float) -> "_Sum":
        """All of it times a number."""
        return _Sum(self.value.times(factor), self.low.times(factor))

    def total(self) -> Histogram:
        """The sum."""
        return self.value.plus(self.low).hinted(self.value.hint).compacted()

    def overflows(self) -> bool:
        """Whether anything is infinite."""
        one = self.value
        scalars = (one.count, one.sum, one.zero_count)
        return any(map(math.isinf, scalars)) or any(
            np.isinf(side.counts).any() for side in (one.positive, one.negative)
        )


def _joined(*histograms: Histogram) -> Table:
    """A table of histograms of one layout, however far apart."""
    table = Table.over(histograms)
    assert table is not None
    return table


def _begun(first: Histogram) -> _Sum:
    """The sum of one."""
    return _Sum(first, Histogram(0.0, 0.0, 0.0, first.zero_threshold, first.schema, custom_bounds=first.custom_bounds))


def _gathered(histograms: Sequence[Histogram]) -> _Sum:
    """The sum of several."""
    found = _begun(histograms[0])
    for one in histograms[1:]:
        found = found.plus(one)
    return found


def _mean(histograms: Sequence[Histogram]) -> Histogram:
    """The sum over the number; where it would overflow, the mean is followed from there on, histogram by histogram."""
    found = _begun(histograms[0])
    for count, one in enumerate(histograms[1:], 1):
        more = found.plus(one)
        if more.overflows():
            return _followed_mean(found.divided(count), histograms[count:], count)
        found = more
    return found.divided(len(histograms)).total()


def _followed_mean(mean: _Sum, more: Sequence[Histogram], count: int) -> Histogram:
    """The mean of `count` histograms and some more."""
    for number, one in enumerate(more, count + 1):
        mean = mean.times((number - 1) / number).plus(one.divided(number))
    return mean.total()


# --- quantiles, fractions and the like --------------------------------------------------------------------------------


def average(histogram: Histogram) -> float:
    """Sum over count."""
    return quotient(histogram.sum, histogram.count)


def stddev(histogram: Histogram) -> float:
    """Estimated standard deviation: every observation taken to be in the middle of its bucket."""
    variance = stdvar(histogram)
    return math.sqrt(variance) if variance >= 0 else math.nan


@_any_float
def stdvar(histogram: Histogram) -> float:
    """Estimated variance, likewise: the geometric middle, but the arithmetic one of custom buckets."""
    lows, highs, counts = _filled(histogram)
    if histogram.custom:
        middles = (highs + lows) / 2
    else:
        middles = np.copysign(np.sqrt(highs * lows), highs)
        middles[(lows <= 0) & (highs >= 0)] = 0.0
    distances = middles - average(histogram)
    terms = counts * distances * distances
    total = float(terms.sum())
    return quotient(math.fsum(terms) if math.isfinite(total) else total, histogram.count)


@_any_float
def quantile(q: float, histogram: Histogram, note: Notify) -> float:
    """The value that a share q of the observations does not exceed; NaN if there are none.

    Within a bucket, values are taken to be spread evenly: on a logarithmic scale, but on a linear one in custom buckets
    and the zero bucket.
    """
    if q < 0 or q > 1:
        return math.copysign(math.inf, q)
    if not histogram.count or math.isnan(q):
        return math.nan
    return _quantile(q, histogram, note)


def _quantile(q: float, histogram: Histogram, note: Notify) -> float:
    lows, highs, counts = _filled(histogram)
    if not len(counts):
        lows, highs, counts = np.zeros((3, 1))
    with_nan = math.isnan(histogram.sum)
    if not with_nan and q >= 0.5:
        return _quantile_from_above(q, histogram, (lows, highs, counts))
    rank, running = q * histogram.count, np.add.accumulate(counts)
    reached = np.flatnonzero(running >= rank)
    if not len(reached):
        return _beyond(float(highs[-1]), with_nan=with_nan, note=note)
    at = int(reached[0])
    low, high, size, count = (float(one[at]) for one in (lows, highs, counts, running))
    outer = _outer_bucket(low, high) if histogram.custom else None
    if outer is not None:
        return outer
    count = min(count, histogram.count)
    if count < rank:
        return _beyond(high, with_nan=with_nan, note=note)
    # NaN was observed, and is in no bucket.
    if with_nan and np.add.accumulate(np.append(count, counts[at + 1 :]))[-1] < histogram.count:
        note(Note.SKEWED_QUANTILE)
    return _between(_finite(low), high, quotient(rank - (count - size), size), linear=histogram.custom)


def _quantile_from_above(q: float, histogram: Histogram, buckets: tuple[Float64s, Float64s, Float64s]) -> float:
    """The same, counted from the highest bucket down."""
    lows, highs, counts = (column[::-1] for column in buckets)
    rank, running = (1 - q) * histogram.count, np.add.accumulate(counts)
    reached = np.flatnonzero(running >= rank)
    if not len(reached):
        return float(highs[-1])
    at = int(reached[0])
    low, high, size, count = (float(one[at]) for one in (lows, highs, counts, running))
    outer = _outer_bucket(low, high) if histogram.custom else None
    if outer is not None:
        return outer
    count = min(count, histogram.count)
    if count < rank:
        return high
    return _between(_finite(low), high, quotient(count - rank, size), linear=histogram.custom)


def _outer_bucket(low: float, high: float) -> float | None:
    """The answer for a custom bucket without an end: its other end; None where that is no answer."""
    if low == -math.inf:
        return high if high <= 0 else None
    return low if high == math.inf else None


def _finite(low: float) -> float:
    """The lowest custom bucket begins at 0 if it ends above that."""
    return 0.0 if low == -math.inf else low


def _beyond(highest: float, *, with_nan: bool, note: Notify) -> float:
    """What lies above all buckets."""
    if not with_nan:
        return highest
    note(Note.NAN_QUANTILE)
    return math.nan


def _between(low: float, high: float, share: float, *, linear: bool) -> float:
    """The value that has a share of its bucket below it."""
    if linear or low <= 0 <= high:
        return low + (high - low) * share
    log_low, log_high = math.log2(abs(low)), math.log2(abs(high))
    if low > 0:
        return float(np.exp2(log_low + (log_high - log_low) * share))
    return -float(np.exp2(log_high + (log_low - log_high) * (1 - share)))


@_any_float
def fraction(lower: float, upper: float, histogram: Histogram, note: Notify) -> float:
    """The share of the observations between two values, taken to be spread as for `quantile`; NaN if there are none."""
    if not histogram.count or math.isnan(lower) or math.isnan(upper):
        return math.nan
    if lower >= upper:
        return 0.0
    buckets = _filled(histogram)
    count = histogram.count
    if math.isnan(histogram.sum):
        count = float(np.add.accumulate(np.append(0.0, buckets[2]))[-1])
        if count < histogram.count:
            note(Note.NANS_LEFT_OUT)
    ranks = [min(_rank(value, histogram, buckets, count), count) for value in (lower, upper)]
    return (ranks[1] - ranks[0]) / histogram.count


def _rank(value: float, histogram: Histogram, buckets: tuple[Float64s, Float64s, Float64s], count: float) -> float:
    """How many observations are not above a value."""
    lows, highs, counts = buckets
    about_zero = (lows <= 0) & (highs >= 0)
    if histogram.custom:
        lows = np.where(about_zero, 0.0, lows)
    found = np.flatnonzero((lows >= value) | (highs > value))
    if not len(found):
        return count
    at = int(found[0])
    low, high, size = float(lows[at]), float(highs[at]), float(counts[at])
    before = float(np.add.accumulate(np.append(0.0, counts[:at]))[-1])
    if low >= value:
        return before
    linear = histogram.custom or bool(about_zero[at])
    if linear and low == -math.inf:
        return size
    return before + size * _share_below(value, low, high, linear=linear)


def _share_below(value: float, low: float, high: float, *, linear: bool) -> float:
    """How much of a bucket is below a value within it."""
    if linear:
        return (value - low) / (high - low)
    log_low, log_high, log_value = (math.log2(abs(one)) for one in (low, high, value))
    if value > 0:
        return (log_value - log_low) / (log_high - log_low)
    return 1 - (log_value - log_high) / (log_low - log_high)


def _filled(histogram: Histogram) -> tuple[Float64s, Float64s, Float64s]:
    """Lower bound, upper bound and count of all buckets that are not empty, rising.

    The zero bucket reaches only to 0 on a side where there is nothing, if there is something on the other.
    """
    below, above = (_side(histogram, side) for side in (histogram.negative, histogram.positive))
    threshold = histogram.zero_threshold
    low = 0.0 if len(above[0]) and not len(below[0]) else -threshold
    high = 0.0 if len(below[0]) and not len(above[0]) else threshold
    middle = ([low], [high], [histogram.zero_count]) if histogram.zero_count > 0 else ([], [], [])
    lows, highs, counts = (np.concatenate(parts) for parts in zip(_mirrored(below), middle, above, strict=True))
    return lows, highs, counts


def _side(histogram: Histogram, side: Buckets) -> tuple[Float64s, Float64s, Float64s]:
    """The same of one side, away from 0."""
    if not len(side):
        return side.counts, side.counts, side.counts
    bounds = histogram.bounds(side.offset, side.end)
    lows = bounds[:-1] if histogram.custom else np.maximum(bounds[:-1], histogram.zero_threshold)
    filled = side.counts != 0
    return lows[filled], bounds[1:][filled], side.counts[filled]


def _mirrored(side: tuple[Float64s, Float64s, Float64s]) -> tuple[Float64s, Float64s, Float64s]:
    lows, highs, counts = side
    return -highs[::-1], -lows[::-1], counts[::-1]


# --- trimming ---------------------------------------------------------------------------------------------------------


def trim_upper(histogram: Histogram, limit: float) -> Histogram:
    """`histogram </ limit`: without the observations above a value, as far as the buckets can tell."""
    return _trimmed(histogram, _Cut(limit, upper=True, custom=histogram.custom))


def trim_lower(histogram: Histogram, limit: float) -> Histogram:
    """`histogram >/ limit`: without the observations below a value, as far as the buckets can tell."""
    return _trimmed(histogram, _Cut(limit, upper=False, custom=histogram.custom))


_Bucket = tuple[float, float, float]
"""Lower bound, upper bound, count."""
_Part = tuple[float, float]
"""How many observations stay, and what they are taken to be."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where a histogram is cut, and which side goes: the upper one, or the lower one."""

    limit: float
    upper: bool
    custom: bool

    def part(self, bucket: _Bucket) -> _Part:
        """What stays of a bucket."""
        low, high, count = bucket
        if (high <= self.limit) if self.upper else (low >= self.limit):
            return count, self._middle(low, high)
        if not ((low < self.limit) if self.upper else (high > self.limit)):
            return 0.0, 0.0
        if low == -math.inf:
            return self._part_of_lowest(high, count)
        if high == math.inf:
            return (0.0, low) if self.upper else (count, self.limit)
        below = count * _share_below(self.limit, low, high, linear=self.custom)
        if self.upper:
            return below, self._middle(low, self.limit)
        return count - below, self._middle(self.limit, high)

    def _part_of_lowest(self, high: float, count: float) -> _Part:
        """Of a bucket from -Inf on: custom ones begin at 0 if they end above that."""
        if self.limit >= 0 and 0 < high < math.inf:
            if self.upper:
                return (count * self.limit / high, self.limit / 2) if self.limit else (0.0, high)
            return count * (1 - self.limit / high), (self.limit + high) / 2
        if self.upper and high <= 0:
            return count, self.limit
        return 0.0, 0.0 if math.isinf(high) else high

    def _middle(self, low: float, high: float) -> float:
        if math.isinf(low):
            return 0.0 if math.isinf(high) else high / 2 if high > 0 else high
        if math.isinf(high):
            return low
        if self.custom:
            return (low + high) / 2
        return math.copysign(math.sqrt(abs(low * high)), high or low)

    def zero_part(self, low: float, high: float, count: float) -> _Part:
        """What stays of the zero bucket."""
        below, above = self.limit <= low, self.limit >= high
        if below if self.upper else above and not below:
            return 0.0, 0.0
        if above if self.upper else below:
            return count, (low + high) / 2
        low_kept, high_kept = (low, self.limit) if self.upper else (self.limit, high)
        return count * quotient(high_kept - low_kept, high - low), (low_kept + high_kept) / 2


def _trimmed(histogram: Histogram, cut: _Cut) -> Histogram:
    counts, total, sides = 0.0, 0.0, []
    for sign, side in ((1, histogram.positive), (-1, histogram.negative)):
        parts = [cut.part(bucket) if bucket[2] else (0.0, 0.0) for bucket in _signed(histogram, side, sign)]
        sides.append(Buckets(side.offset, [kept for kept, _ in parts]))
        for kept, middle in parts:
            counts, total = counts + kept, total + middle * kept
    zero_count = histogram.zero_count
    if zero_count > 0:
        low, high = (0.0 if alone else threshold for alone, threshold in _zero_ends(histogram))
        zero_count, middle = cut.zero_part(low, high, zero_count)
        counts, total = counts + zero_count, total + middle * zero_count
    if (zero_count, *sides) == (histogram.zero_count, histogram.positive, histogram.negative):
        return histogram
    trimmed = replace(histogram, count=counts, sum=total, zero_count=zero_count, positive=sides[0], negative=sides[1])
    return trimmed.compacted()


def _zero_ends(histogram: Histogram) -> tuple[tuple[bool, float], tuple[bool, float]]:
    """For both ends of the zero bucket whether it is at 0, since all other values are on the other side; and where."""
    positive, negative = bool(histogram.positive.counts.any()), bool(histogram.negative.counts.any())
    threshold = histogram.zero_threshold
    return (positive and not negative, -threshold), (negative and not positive, threshold)


def _signed(histogram: Histogram, side: Buckets, sign: int) -> list[_Bucket]:
    """The buckets of a side, away from 0."""
    bounds = (histogram.bounds(side.offset, side.end) * sign).tolist() if len(side) else []
    pairs = zip(bounds, bounds[1:], side.counts.tolist(), strict=False)
    return [(low, high, count) if sign > 0 else (high, low, count) for low, high, count in pairs]


# --- text -------------------------------------------------------------------------------------------------------------


def text(histogram: Histogram) -> str:
    """As Prometheus writes a histogram: `{count:2, sum:3, (1,2]:2}`."""
    parts = [f"count:{go_g(histogram.count)}", f"sum:{go_g(histogram.sum)}"]
    for low, high, count in reversed(_signed(histogram, histogram.negative, -1)):
        parts += [f"[{go_g(low)},{go_g(high)}):{go_g(count)}"] * bool(count)
    if histogram.zero_count:
        threshold = go_g(histogram.zero_threshold)
        parts.append(f"[{go_g(-histogram.zero_threshold)},{threshold}]:{go_g(histogram.zero_count)}")
    for low, high, count in _signed(histogram, histogram.positive, 1):
        parts += [f"{'[' if low == -math.inf else '('}{go_g(low)},{go_g(high)}]:{go_g(count)}"] * bool(count)
    return "{" + ", ".join(parts) + "}"


_HINTS = {ResetHint.RESET: "reset", ResetHint.NOT_RESET: "not_reset", ResetHint.GAUGE: "gauge"}


def notation(histogram: Histogram) -> str:
    """As Prometheus' test language has it: `{{count:2 sum:3 buckets:[2]}}`."""
    one = histogram.compacted()
    fields: list[tuple[str, float]] = [
        ("schema", one.schema),
        ("count", one.count),
        ("sum", one.sum),
        ("z_bucket", one.zero_count),
        ("z_bucket_w", one.zero_threshold),
    ]
    parts = [f"{name}:{go_g(value)}" for name, value in fields if value]
    if one.custom:
        parts.append(f"custom_values:{_listed(one.custom_bounds)}")
    if one.hint in _HINTS:
        parts.append(f"counter_reset_hint:{_HINTS[one.hint]}")
    for prefix, side in (("", one.positive), ("n_", one.negative)):
        # Exponential buckets count from 1 there.
        first = side.offset + (0 if one.custom else 1)
        if len(side):
            parts += [f"{prefix}offset:{first}"] * bool(first) + [f"{prefix}buckets:{_listed(side.counts.tolist())}"]
    return "{{" + " ".join(parts) + "}}"


def _listed(values: Sequence[float]) -> str:
    return "[" + " ".join(map(go_g, values)) + "]"
