"""Exponential histograms -> native histograms, and the totals of those that come as differences."""

import math

from mirubato.limits import NATIVE_BUCKETS_MAX, NATIVE_TOTAL_BUCKETS_MAX
from mirubato.model.histogram import SCHEMA_MAX, SCHEMA_MIN, Buckets, Histogram
from mirubato.model.seams import PointRefused
from mirubato.otlp import projection_pb2 as wire

# Prometheus' default where OTLP leaves it unset (prometheusremotewrite/histograms.go).
ZERO_THRESHOLD_DEFAULT = 1e-128

NO_HISTOGRAM = Histogram(0, math.nan, 0, 0, 0)
"""What stands in the sample that ends a series."""


def native(point: wire.ExponentialHistogramDataPoint) -> Histogram:
    """The native histogram of a point; PointRefused where Prometheus has none of its kind."""
    if point.scale < SCHEMA_MIN:
        raise PointRefused("invalid", f"an exponential histogram coarser than scale {SCHEMA_MIN}")
    histogram = Histogram(
        count=float(point.count),
        sum=point.sum if point.HasField("sum") else math.nan,
        zero_count=float(point.zero_count),
        zero_threshold=point.zero_threshold or ZERO_THRESHOLD_DEFAULT,
        schema=point.scale,
        positive=_side(point.positive),
        negative=_side(point.negative),
    )
    histogram = histogram.at_schema(min(point.scale, SCHEMA_MAX))
    for side in (histogram.positive, histogram.negative):
        _check_range(side, histogram.schema)
    return histogram


def _side(buckets: wire.ExponentialHistogramDataPoint.Buckets) -> Buckets:
    if len(buckets.bucket_counts) > NATIVE_BUCKETS_MAX:
        raise PointRefused("invalid", f"an exponential histogram of more than {NATIVE_BUCKETS_MAX} buckets")
    return Buckets(buckets.offset, tuple(map(float, buckets.bucket_counts)))


def _check_range(side: Buckets, schema: int) -> None:
    """Bucket i ends at 2^((i + 1) / 2^schema), and float64 goes from 2^-1074 to 2^1024.

    Others are to be rejected (metrics/data-model.md, ExponentialHistogram); they would also make totals of any size.
    """
    low, high = side.offset, side.offset + len(side.counts)
    if side.counts and (low < -1074 * 2.0**schema - 1 or high > math.ceil(1024 * 2.0**schema)):
        raise PointRefused("invalid", "an exponential histogram with buckets beyond the range of float64")


def total(before: Histogram, more: Histogram) -> Histogram:
    """The histogram of both, in coarser buckets where there would be too many."""
    schema = min(before.schema, more.schema)
    before, more = before.at_schema(schema), more.at_schema(schema)
    steps = max(_steps(before.positive, more.positive), _steps(before.negative, more.negative))
    return before.at_schema(schema - steps).plus(more)


def _steps(left: Buckets, right: Buckets) -> int:
    """How many times the buckets of two must be halved in number, for the sum to be small enough."""
    sides = [side for side in (left, right) if side.counts]
    low = min((side.offset for side in sides), default=0)
    last = max((side.offset + len(side.counts) - 1 for side in sides), default=0)
    steps = 0
    while (last >> steps) - (low >> steps) >= NATIVE_TOTAL_BUCKETS_MAX:
        steps += 1
    return steps
