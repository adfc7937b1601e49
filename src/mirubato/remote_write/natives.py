"""Native histograms of remote write -> ours. Errors are Prometheus' (model/histogram, `Validate`)."""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

import numpy as np

from mirubato.admission.natives import check_range, check_size
from mirubato.model.histogram import (
    CUSTOM_SCHEMA,
    NO_BUCKETS,
    SCHEMA_MAX,
    SCHEMA_MIN,
    Buckets,
    Histogram,
    ResetHint,
)
from mirubato.model.seams import PointRefused
from mirubato.remote_write import remote_write_pb2 as wire

_SCHEMA_RESERVED_MAX = 52
"""Prometheus takes exponential schemas up to here and merges their buckets to those of SCHEMA_MAX."""
_HINTS = {hint.value: hint for hint in ResetHint}


def native(message: wire.Histogram) -> Histogram:
    """The histogram of a message; PointRefused where Prometheus would not take it."""
    custom = message.schema == CUSTOM_SCHEMA
    check_size(max(len(message.positive_spans), len(message.negative_spans)))
    if not custom and not SCHEMA_MIN <= message.schema <= _SCHEMA_RESERVED_MAX:
        raise _invalid(
            f"histogram has an invalid schema, which must be between {SCHEMA_MIN} and {SCHEMA_MAX} for exponential"
            f" buckets, or {CUSTOM_SCHEMA} for custom buckets"
        )
    whole = message.WhichOneof("count") != "count_float"
    positive, negative = _counts(message, whole=whole)
    count = float(message.count_int if whole else message.count_float)
    zero = message.zero_count_int if whole else message.zero_count_float
    _check_counts(message, [*positive, *negative], zero, whole=whole)
    if custom:
        _check_custom(message, zero)
    shift = 0 if custom else -1  # Prometheus' bucket i ends where ours begins
    histogram = Histogram(
        count,
        message.sum,
        float(zero),
        message.zero_threshold,
        message.schema,
        _side(message.positive_spans, positive, shift),
        _side(message.negative_spans, negative, shift),
        _HINTS.get(message.reset_hint, ResetHint.UNKNOWN),
        tuple(message.custom_values),
    )
    return histogram if custom else _in_range(histogram)


def _invalid(text: str) -> PointRefused:
    return PointRefused("invalid", text)


def _counts(message: wire.Histogram, *, whole: bool) -> tuple[Sequence[float], Sequence[float]]:
    """Counts of the positive and of the negative buckets; of an integer histogram they come as differences."""
    if whole:
        check_size(max(len(message.positive_deltas), len(message.negative_deltas)))
        return list(accumulate(message.positive_deltas)), list(accumulate(message.negative_deltas))
    check_size(max(len(message.positive_counts), len(message.negative_counts)))
    return list(message.positive_counts), list(message.negative_counts)


def _check_counts(message: wire.Histogram, buckets: Iterable[float], zero: float, *, whole: bool) -> None:
    buckets = [*buckets, zero]
    if any(count < 0 for count in buckets):
        raise _invalid("histogram has a bucket whose observation count is negative")
    if not whole:
        if message.count_float < 0:
            raise _invalid("histogram's observation count is negative")
        return
    found = sum(buckets)
    if not math.isnan(message.sum) and found != message.count_int:
        raise _invalid(
            "histogram's observation count should equal the number of observations found in the buckets"
            " (in absence of NaN)"
        )
    if found > message.count_int:
        raise _invalid(
            "histogram's observation count should be at least the number of observations found in the buckets"
        )


def _check_custom(message: wire.Histogram, zero: float) -> None:
    bounds = message.custom_values
    check_size(len(bounds))
    if any(math.isnan(bound) for bound in bounds):
        raise _invalid("histogram custom bounds must not be NaN")
    if not all(low < high for low, high in pairwise(bounds)):
        raise _invalid("histogram custom bounds must be in strictly increasing order")
    if not all(math.isfinite(bound) for bound in bounds):
        raise _invalid("histogram custom bounds must be finite")
    if sum(span.length + span.offset for span in message.positive_spans) > len(bounds) + 1:
        raise _invalid("histogram custom bounds are too few")
    if message.positive_spans and message.positive_spans[0].offset < 0:
        raise _invalid("histogram has a span whose offset is negative")
    if zero:
        raise _invalid("custom buckets: must have zero count of 0")
    if message.zero_threshold:
        raise _invalid("custom buckets: must have zero threshold of 0")
    if message.negative_spans or message.negative_deltas or message.negative_counts:
        raise _invalid("custom buckets: must not have negative buckets")


def _side(spans: Sequence[wire.BucketSpan], counts: Sequence[float], shift: int) -> Buckets:
    """Spans of buckets with gaps between them -> all from the first to the last."""
    if any(span.offset < 0 for span in spans[1:]):
        raise _invalid("histogram has a span whose offset is negative")
    if sum(span.length for span in spans) != len(counts):
        raise _invalid("histogram spans specify different number of buckets than provided")
    if not counts:
        return NO_BUCKETS
    width = sum(span.length + span.offset for span in spans) - spans[0].offset
    check_size(width)
    dense, at, taken = np.zeros(width), 0, 0
    for number, span in enumerate(spans):
        at += span.offset if number else 0
        dense[at : at + span.length] = counts[taken : taken + span.length]
        at, taken = at + span.length, taken + span.length
    return Buckets(spans[0].offset + shift, dense)


def _in_range(histogram: Histogram) -> Histogram:
    """An exponential histogram at a schema that we have; PointRefused for buckets that no float64 can be in."""
    if histogram.custom_bounds:
        raise _invalid("histogram with exponential schema must not have custom bounds")
    histogram = histogram.at_schema(min(histogram.schema, SCHEMA_MAX))
    for side in (histogram.positive, histogram.negative):
        check_range(side, histogram.schema, infinities=True)
    return histogram
