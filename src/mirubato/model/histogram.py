"""One native histogram sample, and the few operations that need its buckets.

Bucket i of the positive side holds values in (base^(i), base^(i+1)] with base = 2^(2^-schema), as OpenTelemetry's
exponential histogram (metrics/data-model.md); Prometheus counts the same buckets from i + 1.
"""

import math
from dataclasses import dataclass, replace

_CLOSED = 3
"""The zero bucket's rule: both its ends belong to it."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Dense bucket counts from index `offset` on."""

    offset: int = 0
    counts: tuple[float, ...] = ()

    def downscaled(self, steps: int) -> "Buckets":
        """The same counts with 2^steps neighbours merged into one bucket."""
        if not steps or not self.counts:
            return Buckets(self.offset >> steps, self.counts)
        merged: dict[int, float] = {}
        for index, count in enumerate(self.counts, self.offset):
            merged[index >> steps] = merged.get(index >> steps, 0.0) + count
        return _dense(merged)

    def plus(self, other: "Buckets") -> "Buckets":
        """The sum of two sides of one schema."""
        if not self.counts or not other.counts:
            return self if self.counts else other
        merged = dict(enumerate(self.counts, self.offset))
        for index, count in enumerate(other.counts, other.offset):
            merged[index] = merged.get(index, 0.0) + count
        return _dense(merged)


def _dense(sparse: dict[int, float]) -> Buckets:
    low, high = min(sparse), max(sparse)
    return Buckets(low, tuple(sparse.get(index, 0.0) for index in range(low, high + 1)))


@dataclass(frozen=True, slots=True)
class Histogram:
    """A native histogram: counts are observations, `sum` is in the metric's unit; NaN sum where none was given."""

    count: float
    sum: float
    zero_count: float
    zero_threshold: float
    schema: int
    positive: Buckets = Buckets()
    negative: Buckets = Buckets()

    def at_schema(self, schema: int) -> "Histogram":
        """The same histogram with coarser buckets; `schema` must not be finer than its own."""
        assert schema <= self.schema, (schema, self.schema)
        steps = self.schema - schema
        return replace(
            self,
            schema=schema,
            positive=self.positive.downscaled(steps),
            negative=self.negative.downscaled(steps),
        )

    def plus(self, other: "Histogram") -> "Histogram":
        """The histogram of both sets of observations, at the coarser schema of the two."""
        schema = min(self.schema, other.schema)
        left, right = self.at_schema(schema), other.at_schema(schema)
        return Histogram(
            count=left.count + right.count,
            sum=left.sum + right.sum,
            zero_count=left.zero_count + right.zero_count,
            zero_threshold=max(left.zero_threshold, right.zero_threshold),
            schema=schema,
            positive=left.positive.plus(right.positive),
            negative=left.negative.plus(right.negative),
        )

    def bounded_buckets(self) -> list[tuple[int, float, float, float]]:
        """(rule, left, right, count) of each bucket in rising order: 0 open left, 1 open right, 3 closed both."""
        buckets = []
        for index, count in reversed(list(enumerate(self.negative.counts, self.negative.offset))):
            buckets.append((1, -self._bound(index + 1), -self._bound(index), count))
        if self.zero_count:
            buckets.append((_CLOSED, -self.zero_threshold, self.zero_threshold, self.zero_count))
        for index, count in enumerate(self.positive.counts, self.positive.offset):
            buckets.append((0, self._bound(index), self._bound(index + 1), count))
        return buckets

    def classic_buckets(self) -> list[tuple[float, float]]:
        """(upper bound, cumulative count) in rising order, `+Inf` last: how a text scrape can show it.

        Empty buckets at the ends are left out, but for the lower end of the first that is not: SDKs send a negative
        side that is one empty bucket, and room for larger values than any that came.
        """
        filled = self.bounded_buckets()
        while filled and not filled[-1][3]:
            filled.pop()
        first = next((index for index, bucket in enumerate(filled) if bucket[3]), 0)
        buckets: list[tuple[float, float]] = []
        total = 0.0
        for rule, left, right, count in filled[first:]:
            if not total and rule != _CLOSED and math.isfinite(left):
                buckets.append((left, 0.0))
            total += count
            if not math.isinf(right):
                buckets.append((right, total))
        return [*buckets, (math.inf, self.count)]

    def _bound(self, index: int) -> float:
        try:
            return math.exp2(index * 2.0**-self.schema)
        except OverflowError:
            return math.inf


SCHEMA_MAX = 8
"""Finest schema that Prometheus takes; finer OTLP scales are merged down (prometheusremotewrite/histograms.go)."""
SCHEMA_MIN = -4
"""Coarsest schema; a coarser point is rejected."""


def empty(schema: int, zero_threshold: float) -> Histogram:
    """No observations yet: what a histogram was at its start time."""
    return Histogram(0.0, 0.0, 0.0, zero_threshold, schema)
