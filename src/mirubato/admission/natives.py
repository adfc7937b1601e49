"""Rules of native histograms, whichever protocol they came by."""

import math
from dataclasses import replace

from mirubato.limits import NATIVE_BUCKETS_MAX, NATIVE_TOTAL_BUCKETS_MAX
from mirubato.model.histogram import Buckets, Histogram, ResetHint, empty
from mirubato.model.seams import PointRefused

NO_HISTOGRAM = Histogram(0, math.nan, 0, 0, 0)
"""What stands in the sample that ends a series."""


def check_size(buckets: int) -> None:
    """PointRefused for one side of a histogram with too many buckets."""
    if buckets > NATIVE_BUCKETS_MAX:
        raise PointRefused("invalid", f"an exponential histogram of more than {NATIVE_BUCKETS_MAX} buckets")


def check_range(side: Buckets, schema: int, *, infinities: bool) -> None:
    """PointRefused for buckets of one side that no float64 can be in; `infinities` have one bucket more.

    Bucket i ends at 2^((i + 1) / 2^schema), and float64 goes from 2^-1074 to 2^1024. Others are to be rejected
    (metrics/data-model.md, ExponentialHistogram); they would also make totals of any size.
    """
    low, high = side.offset, side.offset + len(side.counts) - infinities
    if len(side) and (low < -1074 * 2.0**schema - 1 or high > math.ceil(1024 * 2.0**schema)):
        raise PointRefused("invalid", "an exponential histogram with buckets beyond the range of float64")


def emptied(histogram: Histogram) -> Histogram:
    """What a histogram was at its start time: the same buckets, no observations, and a counter reset by definition."""
    before = empty(histogram.schema, histogram.zero_threshold)
    return replace(before, hint=ResetHint.RESET, custom_bounds=histogram.custom_bounds)


def total(before: Histogram, more: Histogram) -> Histogram:
    """The histogram of both, in coarser buckets where there would be too many."""
    schema = min(before.schema, more.schema)
    before, more = before.at_schema(schema), more.at_schema(schema)
    steps = max(_steps(before.positive, more.positive), _steps(before.negative, more.negative))
    return before.at_schema(schema - steps).plus(more)


def _steps(left: Buckets, right: Buckets) -> int:
    """How many times the buckets of two must be halved in number, for the sum to be small enough."""
    sides = [side for side in (left, right) if len(side)]
    low = min((side.offset for side in sides), default=0)
    last = max((side.offset + len(side.counts) - 1 for side in sides), default=0)
    steps = 0
    while (last >> steps) - (low >> steps) >= NATIVE_TOTAL_BUCKETS_MAX:
        steps += 1
    return steps
