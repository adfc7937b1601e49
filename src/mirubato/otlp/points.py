"""The points of one metric -> rows, one reader for each kind of OTLP metric.

The path of everything that is not a known shape. A point whose layout and series are known costs 0.4 us; one that has
to be parsed about 2; one that makes a new series 20.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar as ExemplarMessage

from mirubato.model.histogram import SCHEMA_MAX, SCHEMA_MIN, Buckets, Histogram
from mirubato.model.labels import STALE_NAN, Labels, labels_of
from mirubato.model.samples import Exemplar
from mirubato.model.seams import PointRefused, Reason
from mirubato.otlp import projection_pb2 as wire
from mirubato.otlp.attributes import labels_from
from mirubato.otlp.columns import COUNTER, DELTA, LEAD, STALE, Decoded, HistogramPoint
from mirubato.otlp.layouts import histogram_layout, number_layout
from mirubato.otlp.rows import Rows
from mirubato.otlp.streams import MetricStreams

NO_RECORDED_VALUE = 1
"""Bit of a point's flags: the series ended here (metrics.proto, DataPointFlags)."""

NO_VALUE = Reason("invalid", "a number point without a value")

# Prometheus' default where OTLP leaves it unset (prometheusremotewrite/histograms.go).
ZERO_THRESHOLD_DEFAULT = 1e-128

# Bucket counts a native histogram may have on one side; the SDKs make 160.
NATIVE_BUCKETS_MAX = 20_000


def read_numbers(streams: MetricStreams, points: Sequence[bytes], flags: int, rows: Rows, decoded: Decoded) -> None:
    """Gauge and sum points: one sample each."""
    if _all_known(streams, points, flags, rows):
        return
    for encoded in points:
        if not _known(streams, encoded, flags, rows):
            _parse_number(streams, encoded, flags, rows, decoded)


def _all_known(streams: MetricStreams, points: Sequence[bytes], flags: int, rows: Rows) -> bool:
    """Take all points of a metric at once, if they have one layout and their series are known."""
    if not streams.known or not rows.use_layouts or not points:
        return False
    known = streams.known[0]
    keys = list(map(known.layout.key, points))
    slots = list(map(known.slots.get, keys))
    if None in slots:
        return False
    rows.add_known(known.layout, points, keys, slots, flags)  # type: ignore[arg-type]
    rows.signature.append(hash(tuple(slots)))
    return True


def _known(streams: MetricStreams, encoded: bytes, flags: int, rows: Rows) -> bool:
    """Take one point, if it has one of the metric's layouts and its series is known."""
    for known in streams.known if rows.use_layouts else ():
        key = known.layout.key(encoded)
        slots = known.slots.get(key)
        if slots is not None:
            rows.add_known(known.layout, (encoded,), (key,), (slots,), flags)
            rows.signature.append(hash(slots))
            return True
    return False


def _parse_number(streams: MetricStreams, encoded: bytes, flags: int, rows: Rows, decoded: Decoded) -> None:
    rows.judge()
    point = wire.NumberDataPoint.FromString(encoded)
    attributes = point.attributes
    key = (len(attributes), b"".join(attributes))
    try:
        slot = streams.numbers.get(key)
        if slot is None:
            slot = streams.number(key, attributes)
        which = point.WhichOneof("value")
        if point.flags & NO_RECORDED_VALUE:
            rows.add(slot, point.time_unix_nano, 0, STALE_NAN, STALE)
        elif which is None:
            raise PointRefused(*NO_VALUE)
        else:
            value = point.as_double if which == "as_double" else point.as_int
            rows.add(slot, point.time_unix_nano, point.start_time_unix_nano, value, flags)
    except PointRefused as refused:
        decoded.rejected[refused.reason] += 1
        return
    rows.signature.append(slot)
    if point.exemplars:
        _read_exemplars(point.exemplars, (slot,), (), decoded)
    elif rows.use_layouts and key in streams.numbers:
        streams.know(encoded, number_layout, (slot,))


def read_histograms(streams: MetricStreams, points: Sequence[bytes], flags: int, rows: Rows, decoded: Decoded) -> None:
    """Classic histogram points: a sample for each `le`, `+Inf`, `_count` and `_sum`."""
    if _all_known(streams, points, flags, rows):
        return
    for encoded in points:
        if not _known(streams, encoded, flags, rows):
            _parse_histogram(streams, encoded, flags, rows, decoded)


def _parse_histogram(streams: MetricStreams, encoded: bytes, flags: int, rows: Rows, decoded: Decoded) -> None:
    rows.judge()
    point = wire.HistogramDataPoint.FromString(encoded)
    attributes = point.attributes
    key = (len(attributes), b"".join(attributes))
    bounds, counts = tuple(point.explicit_bounds), list(point.bucket_counts)
    try:
        slots = streams.groups.get((key, bounds))
        if slots is None:
            _check_bounds(bounds)
            slots = streams.histogram(key, attributes, bounds)
        if point.flags & NO_RECORDED_VALUE:
            add_stale(slots, point.time_unix_nano, rows)
        else:
            _check_counts(counts, bounds)
            values = _cumulated(counts, point.count)
            if point.HasField("sum"):
                values.append(point.sum)
            slots = slots[: len(values)]
            rows.add_group(slots, point.time_unix_nano, point.start_time_unix_nano, values, [flags] * len(slots))
    except PointRefused as refused:
        decoded.rejected[refused.reason] += 1
        return
    rows.signature.append(hash(slots))
    if point.exemplars:
        _read_exemplars(point.exemplars, slots, bounds, decoded)
    elif rows.use_layouts and (key, bounds) in streams.groups:
        streams.know(encoded, histogram_layout, slots)


def read_summaries(streams: MetricStreams, points: Sequence[bytes], rows: Rows, decoded: Decoded) -> None:
    """Summary points: a sample for each quantile, `_count` and `_sum`."""
    for encoded in points:
        rows.judge()
        point = wire.SummaryDataPoint.FromString(encoded)
        attributes = point.attributes
        key = (len(attributes), b"".join(attributes))
        quantiles = tuple(entry.quantile for entry in point.quantile_values)
        try:
            slots = streams.groups.get((key, quantiles)) or streams.summary(key, attributes, quantiles)
        except PointRefused as refused:
            decoded.rejected[refused.reason] += 1
            continue
        rows.signature.append(hash(slots))
        if point.flags & NO_RECORDED_VALUE:
            add_stale(slots, point.time_unix_nano, rows)
            continue
        values = [entry.value for entry in point.quantile_values] + [float(point.count), point.sum]
        flags = [0] * len(quantiles) + [COUNTER, COUNTER]
        rows.add_group(slots, point.time_unix_nano, point.start_time_unix_nano, values, flags)


def read_exponentials(
    streams: MetricStreams, points: Sequence[bytes], flags: int, rows: Rows, decoded: Decoded
) -> None:
    """Exponential histogram points: one native histogram each."""
    for encoded in points:
        rows.judge()
        point = wire.ExponentialHistogramDataPoint.FromString(encoded)
        attributes = point.attributes
        key = (len(attributes), b"".join(attributes))
        try:
            slot = streams.numbers.get(key)
            if slot is None:
                slot = streams.number(key, attributes)
            stale = bool(point.flags & NO_RECORDED_VALUE)
            histogram = Histogram(0, math.nan, 0, 0, 0) if stale else _native(point)
        except PointRefused as refused:
            decoded.rejected[refused.reason] += 1
            continue
        column_flags = LEAD | (STALE if stale else flags)
        time, start = point.time_unix_nano, point.start_time_unix_nano
        decoded.histograms.append(HistogramPoint(slot, time, start, histogram, column_flags))
        if point.exemplars:
            _read_exemplars(point.exemplars, (slot,), (), decoded)


def add_stale(slots: tuple[int, ...], time: int, rows: Rows) -> None:
    """End every series of a point."""
    rows.add_group(slots, time, 0, [STALE_NAN] * len(slots), [STALE] * len(slots))


def _check_bounds(bounds: tuple[float, ...]) -> None:
    rising = all(low < high for low, high in pairwise(bounds))
    if not rising or not all(map(math.isfinite, bounds)):
        raise PointRefused("invalid", "explicit_bounds must be finite and rising")


def _check_counts(counts: Sequence[int], bounds: tuple[float, ...]) -> None:
    if len(counts) != len(bounds) + 1 and (counts or bounds):
        raise PointRefused("invalid", "a histogram needs one bucket count more than explicit_bounds")


def _cumulated(counts: Sequence[int], count: int) -> list[float]:
    """OTLP counts each bucket by itself, `le` counts all below; `+Inf` and `_count` are the point's count."""
    values: list[float] = []
    total = 0
    for bucket in counts[:-1]:
        total += bucket
        values.append(total)
    values += (count, count)
    return values


def _native(point: wire.ExponentialHistogramDataPoint) -> Histogram:
    if point.scale < SCHEMA_MIN:
        raise PointRefused("invalid", f"an exponential histogram coarser than scale {SCHEMA_MIN}")
    sides = []
    for side in (point.positive, point.negative):
        if len(side.bucket_counts) > NATIVE_BUCKETS_MAX:
            raise PointRefused("invalid", f"an exponential histogram of more than {NATIVE_BUCKETS_MAX} buckets")
        sides.append(Buckets(side.offset, tuple(map(float, side.bucket_counts))))
    histogram = Histogram(
        count=float(point.count),
        sum=point.sum if point.HasField("sum") else math.nan,
        zero_count=float(point.zero_count),
        zero_threshold=point.zero_threshold or ZERO_THRESHOLD_DEFAULT,
        schema=point.scale,
        positive=sides[0],
        negative=sides[1],
    )
    return histogram.at_schema(min(point.scale, SCHEMA_MAX))


def _read_exemplars(
    encoded: Iterable[bytes], slots: tuple[int, ...], bounds: tuple[float, ...], decoded: Decoded
) -> None:
    """An exemplar of a histogram belongs to the bucket that holds its value."""
    for one in encoded:
        message = ExemplarMessage.FromString(one)
        value = message.as_int if message.WhichOneof("value") == "as_int" else message.as_double
        bucket = sum(value > bound for bound in bounds)
        decoded.exemplars.append(
            Exemplar(slots[bucket], message.time_unix_nano // 1_000_000, float(value), _exemplar_labels(message))
        )


def _exemplar_labels(message: ExemplarMessage) -> Labels:
    labels = dict(labels_from(message.filtered_attributes))
    if message.trace_id:
        labels["trace_id"] = message.trace_id.hex()
    if message.span_id:
        labels["span_id"] = message.span_id.hex()
    return labels_of(labels.items())


def sum_flags(temporality: int, *, monotonic: bool) -> int | None:
    """Column flags of a sum or histogram; None for the temporality that must not be used (0, metrics.proto)."""
    counter = COUNTER if monotonic else 0
    return {1: counter | DELTA, 2: counter}.get(temporality)
