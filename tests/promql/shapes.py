"""Native histograms as the tests see them: sparse buckets by Prometheus' index, custom buckets and reset hints too.

Both what Prometheus answers and what the engine answers becomes a Shape, so that zeros in the middle of nowhere make no
difference. Prometheus' exponential bucket i ends at base^i; the model's, as OpenTelemetry's, begins there.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from mirubato.model.histogram import CUSTOM_SCHEMA, Buckets, Histogram, ResetHint


@dataclass(frozen=True)
class Shape:
    """One native histogram; `hint` is None where a script says nothing of it."""

    schema: int = 0
    count: float = 0.0
    sum: float = 0.0
    zero_count: float = 0.0
    zero_threshold: float = 0.0
    positive: Mapping[int, float] = field(default_factory=dict)
    negative: Mapping[int, float] = field(default_factory=dict)
    custom: tuple[float, ...] = ()
    hint: ResetHint | None = None

    @property
    def custom_kind(self) -> bool:
        """Whether its bounds are listed."""
        return self.schema == CUSTOM_SCHEMA

    def model(self) -> Histogram:
        """As the store has it."""
        first = 0 if self.custom_kind else -1
        return Histogram(
            count=self.count,
            sum=self.sum,
            zero_count=self.zero_count,
            zero_threshold=self.zero_threshold,
            schema=self.schema,
            positive=_dense(self.positive, first),
            negative=_dense(self.negative, first),
            hint=self.hint or ResetHint.UNKNOWN,
            custom_bounds=self.custom,
        )

    def plus(self, other: "Shape", times: float = 1.0) -> "Shape":
        """This and `times` the other, bucket by bucket; finer buckets of the other are merged."""
        assert self.custom == other.custom
        other = other.at_schema(self.schema)
        return replace(
            self,
            count=self.count + times * other.count,
            sum=self.sum + times * other.sum,
            zero_count=self.zero_count + times * other.zero_count,
            positive=_sum(self.positive, other.positive, times),
            negative=_sum(self.negative, other.negative, times),
        )

    def at_schema(self, schema: int) -> "Shape":
        """With 2^n neighbours merged, as a coarser schema has them."""
        assert schema <= self.schema
        steps = self.schema - schema
        return replace(
            self, schema=schema, positive=_merged(self.positive, steps), negative=_merged(self.negative, steps)
        )

    def like(self, other: "Shape", tolerance: float) -> bool:
        """Whether all numbers are within a relative tolerance of each other; hints where both have one."""
        same_kind = (self.schema, self.custom, self.zero_threshold) == (
            other.schema,
            other.custom,
            other.zero_threshold,
        )
        hints = {self.hint, other.hint}
        return (
            same_kind
            and (None in hints or len(hints) == 1)
            and close(self.count, other.count, tolerance)
            and close(self.sum, other.sum, tolerance)
            and close(self.zero_count, other.zero_count, tolerance)
            and _close_buckets(self.positive, other.positive, tolerance)
            and _close_buckets(self.negative, other.negative, tolerance)
        )


def shape_of(histogram: Histogram) -> Shape:
    """What the engine answered."""
    first = 0 if histogram.custom else 1
    return Shape(
        schema=histogram.schema,
        count=histogram.count,
        sum=histogram.sum,
        zero_count=histogram.zero_count,
        zero_threshold=histogram.zero_threshold,
        positive=_sparse(histogram.positive, first),
        negative=_sparse(histogram.negative, first),
        custom=histogram.custom_bounds,
        hint=histogram.hint,
    )


def close(left: float, right: float, tolerance: float) -> bool:
    """Equal up to a relative tolerance; NaN is like NaN."""
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return left == right or math.isclose(left, right, rel_tol=tolerance, abs_tol=0.0)


def _close_buckets(left: Mapping[int, float], right: Mapping[int, float], tolerance: float) -> bool:
    """Empty buckets are as none; so are NaN ones, which Prometheus makes of those empty ones that it keeps."""
    filled = [
        {index: count for index, count in side.items() if count and not math.isnan(count)} for side in (left, right)
    ]
    return filled[0].keys() == filled[1].keys() and all(
        close(count, filled[1][index], tolerance) for index, count in filled[0].items()
    )


def _dense(side: Mapping[int, float], first: int) -> Buckets:
    if not side:
        return Buckets()
    low, high = min(side), max(side)
    return Buckets(low + first, [side.get(index, 0.0) for index in range(low, high + 1)])


def _sparse(side: Buckets, first: int) -> dict[int, float]:
    return {index: count for index, count in enumerate(side.counts.tolist(), side.offset + first) if count}


def _merged(side: Mapping[int, float], steps: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for index, count in side.items():
        # A bucket's index is that of its upper end, so that it is the ceiling of a fraction.
        found[-(-index >> steps)] = found.get(-(-index >> steps), 0.0) + count
    return found


def _sum(left: Mapping[int, float], right: Mapping[int, float], times: float) -> dict[int, float]:
    return {index: left.get(index, 0.0) + times * right.get(index, 0.0) for index in sorted({*left, *right})}


def custom_shape(cumulative: Mapping[float, float], count: float | None, total: float) -> Shape:
    """A classic histogram (counts up to each bound) as one with custom buckets."""
    known = dict(sorted(cumulative.items()))
    if math.inf not in known:
        known[math.inf] = count if count is not None else max(known.values(), default=0.0)
    bounds, counts = list(known), list(known.values())
    steps = [upper - lower for lower, upper in pairwise([0.0, *counts])]
    return Shape(
        schema=CUSTOM_SCHEMA,
        count=count if count is not None else counts[-1],
        sum=total,
        positive={index: step for index, step in enumerate(steps) if step},
        custom=tuple(bounds[:-1]),
    )
