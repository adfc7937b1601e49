"""Exponential histograms -> native histograms."""

import math

from mirubato.admission.natives import check_range, check_size
from mirubato.model.histogram import SCHEMA_MAX, SCHEMA_MIN, Buckets, Histogram
from mirubato.model.seams import PointRefused
from mirubato.otlp import projection_pb2 as wire

# Prometheus' default where OTLP leaves it unset (prometheusremotewrite/histograms.go).
ZERO_THRESHOLD_DEFAULT = 1e-128


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
        check_range(side, histogram.schema, infinities=False)
    return histogram


def _side(buckets: wire.ExponentialHistogramDataPoint.Buckets) -> Buckets:
    check_size(len(buckets.bucket_counts))
    return Buckets(buckets.offset, list(map(float, buckets.bucket_counts)))
