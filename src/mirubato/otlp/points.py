"""The points of one metric -> rows, one reader for each kind of OTLP metric.

The path of everything that is not a known shape. A point whose layout and series are known costs 0.4 us; one that has
to be parsed about 2; one that makes a new series 20.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise

from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar as ExemplarMessage

from mirubato.admission.columns import COUNTER, DELTA, LEAD, STALE, Decoded, HistogramPoint
from mirubato.admission.labels import LabelLimits
from mirubato.admission.natives import NO_HISTOGRAM
from mirubato.model.labels import STALE_NAN, Labels, labels_of
from mirubato.model.samples import Exemplar
from mirubato.model.seams import PointRefused
from mirubato.otlp import projection_pb2 as wire
from mirubato.otlp.attributes import labels_from
from mirubato.otlp.layouts import histogram_layout, number_layout
from mirubato.otlp.natives import native
from mirubato.otlp.rows import Rows
from mirubato.otlp.streams import MetricStreams
from mirubato.otlp.wire_points import attribute_key

NO_RECORDED_VALUE = 1
"""Bit of a point's flags: the series ended here (metrics.proto, DataPointFlags)."""


Slots = tuple[int, ...]


def read_numbers(streams: MetricStreams, points: Sequence[bytes], flags: int, rows: Rows, decoded: Decoded) -> None:
    """Gauge and sum points: one sample each."""
    _read(_parse_number, streams, points, flags, rows, decoded)


def read_histograms(streams: MetricStreams, points: Sequence[bytes], flags: int, rows: Rows, decoded: Decoded) -> None:
    """Classic histogram points: a sample for each `le`, `+Inf`, `_count` and `_sum`."""
    _read(_parse_histogram, streams, points, flags, rows, decoded)


_Parse = Callable[[MetricStreams, bytes, int, Rows, Decoded], Slots]
"""Takes one point and answers its series; PointRefused if it cannot be taken."""


def _read(
    parse: _Parse, streams: MetricStreams, points: Sequence[bytes], flags: int, rows: Rows, decoded: Decoded
) -> None:
    """Take points by their layouts where those are known, and parse the others."""
    taken = _all_known(streams, points, flags, rows)
    if taken is None:
        taken = []
        for encoded in points:
            slots = _known(streams, encoded, flags, rows)
            try:
                taken.append(parse(streams, encoded, flags, rows, decoded) if slots is None else slots)
            except PointRefused as refused:
                decoded.rejected[refused.reason] += 1
    rows.signature.append(hash(tuple(taken)))


def _all_known(streams: MetricStreams, points: Sequence[bytes], flags: int, rows: Rows) -> list[Slots] | None:
    """Take all points of a metric at once, if they have one layout and their series are known."""
    if not streams.known or not rows.use_layouts or not points:
        return None
    known = streams.known[0]
    keys = known.layout.keys(points)
    try:
        slots = [known.slots[key] for key in keys]
    except KeyError:
        return None
    rows.add_known(known.layout, points, keys, slots, flags)
    return slots


def _known(streams: MetricStreams, encoded: bytes, flags: int, rows: Rows) -> Slots | None:
    """Take one point, if it has one of the metric's layouts and its series is known."""
    for known in streams.known if rows.use_layouts else ():
        key = known.layout.key(encoded)
        slots = known.slots.get(key)
        if slots is not None:
            rows.add_known(known.layout, (encoded,), (key,), (slots,), flags)
            return slots
    return None


def _parse_number(streams: MetricStreams, encoded: bytes, flags: int, rows: Rows, decoded: Decoded) -> Slots:
    rows.judge()
    point = wire.NumberDataPoint.FromString(encoded)
    which, stale = point.WhichOneof("value"), point.flags & NO_RECORDED_VALUE
    if which is None and not stale:
        raise PointRefused("invalid", "a number point without a value")
    slot = _slot(streams, point.attributes)
    if stale:
        rows.add(slot, point.time_unix_nano, 0, STALE_NAN, STALE)
    else:
        value = point.as_double if which == "as_double" else point.as_int
        rows.add(slot, point.time_unix_nano, point.start_time_unix_nano, value, flags)
    if point.exemplars:
        _read_exemplars(point.exemplars, streams, (slot,), (), decoded)
    elif rows.use_layouts:
        streams.know(encoded, number_layout, (slot,))
    return (slot,)


def _slot(streams: MetricStreams, attributes: Sequence[bytes]) -> int:
    key = attribute_key(attributes)
    slot = streams.numbers.get(key)
    return streams.number(key, attributes) if slot is None else slot


def _parse_histogram(streams: MetricStreams, encoded: bytes, flags: int, rows: Rows, decoded: Decoded) -> Slots:
    rows.judge()
    point = wire.HistogramDataPoint.FromString(encoded)
    bounds, counts = tuple(point.explicit_bounds), point.bucket_counts
    stale = point.flags & NO_RECORDED_VALUE
    if not stale and len(counts) != len(bounds) + 1 and (counts or bounds):
        raise PointRefused("invalid", "a histogram needs one bucket count more than explicit_bounds")
    key = attribute_key(point.attributes)
    slots = streams.groups.get((key, bounds))
    if slots is None:
        _check_bounds(bounds)
        slots = streams.histogram(key, point.attributes, bounds)
    if stale:
        add_stale(slots, point.time_unix_nano, rows)
    else:
        values = _cumulated(counts, point.count)
        if point.HasField("sum"):
            values.append(point.sum)
        slots = slots[: len(values)]
        rows.add_group(slots, point.time_unix_nano, point.start_time_unix_nano, values, [flags] * len(slots))
    if point.exemplars:
        _read_exemplars(point.exemplars, streams, slots, bounds, decoded)
    elif rows.use_layouts:
        streams.know(encoded, histogram_layout, slots)
    return slots


def read_summaries(streams: MetricStreams, points: Sequence[bytes], rows: Rows, decoded: Decoded) -> None:
    """Summary points: a sample for each quantile, `_count` and `_sum`."""
    taken: list[Slots] = []
    for encoded in points:
        rows.judge()
        try:
            taken.append(_parse_summary(streams, wire.SummaryDataPoint.FromString(encoded), rows))
        except PointRefused as refused:
            decoded.rejected[refused.reason] += 1
    rows.signature.append(hash(tuple(taken)))


def _parse_summary(streams: MetricStreams, point: wire.SummaryDataPoint, rows: Rows) -> Slots:
    key = attribute_key(point.attributes)
    quantiles = tuple(entry.quantile for entry in point.quantile_values)
    slots = streams.groups.get((key, quantiles))
    if slots is None:
        if not all(map(math.isfinite, quantiles)):
            raise PointRefused("invalid", "the quantiles of a summary must be finite")
        slots = streams.summary(key, point.attributes, quantiles)
    if point.flags & NO_RECORDED_VALUE:
        add_stale(slots, point.time_unix_nano, rows)
        return slots
    values = [entry.value for entry in point.quantile_values] + [float(point.count), point.sum]
    flags = [0] * len(quantiles) + [COUNTER, COUNTER]
    rows.add_group(slots, point.time_unix_nano, point.start_time_unix_nano, values, flags)
    return slots


def read_exponentials(
    streams: MetricStreams, points: Sequence[bytes], flags: int, rows: Rows, decoded: Decoded
) -> None:
    """Exponential histogram points: one native histogram each."""
    for encoded in points:
        rows.judge()
        try:
            _parse_exponential(streams, wire.ExponentialHistogramDataPoint.FromString(encoded), flags, decoded)
        except PointRefused as refused:
            decoded.rejected[refused.reason] += 1


def _parse_exponential(
    streams: MetricStreams, point: wire.ExponentialHistogramDataPoint, flags: int, decoded: Decoded
) -> None:
    stale = point.flags & NO_RECORDED_VALUE
    histogram = NO_HISTOGRAM if stale else native(point)
    slot = _slot(streams, point.attributes)
    start, column_flags = (0, STALE) if stale else (point.start_time_unix_nano, flags)
    decoded.histograms.append(HistogramPoint(slot, point.time_unix_nano, start, histogram, LEAD | column_flags))
    if point.exemplars:
        _read_exemplars(point.exemplars, streams, (slot,), (), decoded)


def add_stale(slots: Slots, time: int, rows: Rows) -> None:
    """End every series of a point."""
    rows.add_group(slots, time, 0, [STALE_NAN] * len(slots), [STALE] * len(slots))


def _check_bounds(bounds: tuple[float, ...]) -> None:
    rising = all(low < high for low, high in pairwise(bounds))
    if not rising or not all(map(math.isfinite, bounds)):
        raise PointRefused("invalid", "explicit_bounds must be finite and rising")


def _cumulated(counts: Sequence[int], count: int) -> list[float]:
    """OTLP counts each bucket by itself, `le` counts all below; `+Inf` and `_count` are the point's count."""
    values: list[float] = list(accumulate(counts[:-1]))
    if values and values[-1] >= 1 << 64:  # nonsense, but the same on every path, and the same as in Prometheus
        values = [value % (1 << 64) for value in values]
    return [*values, count, count]


def _read_exemplars(
    encoded: Iterable[bytes], streams: MetricStreams, slots: Slots, bounds: tuple[float, ...], decoded: Decoded
) -> None:
    """An exemplar of a histogram belongs to the bucket that holds its value."""
    for one in encoded:
        message = ExemplarMessage.FromString(one)
        value = message.as_int if message.WhichOneof("value") == "as_int" else message.as_double
        slot = slots[bisect_left(bounds, value)]
        labels = _exemplar_labels(message, streams.resource.streams.limits)
        decoded.exemplars.append(Exemplar(slot, message.time_unix_nano // 1_000_000, float(value), labels))


def _exemplar_labels(message: ExemplarMessage, limits: LabelLimits) -> Labels:
    """Trace and span, and the filtered attributes if they make labels within the limits."""
    labels: dict[str, str] = {}
    try:
        limits.check((), len(message.filtered_attributes))
        labels |= labels_from(message.filtered_attributes)
        limits.check(labels.items(), len(labels))
    except (PointRefused, ValueError):
        labels = {}
    for name, id_, size in (("trace_id", message.trace_id, 16), ("span_id", message.span_id, 8)):
        if len(id_) == size and any(id_):  # any other is no id (trace/api.md, "SpanContext")
            labels[name] = id_.hex()
    return labels_of(labels.items())


def sum_flags(temporality: int, *, monotonic: bool) -> int | None:
    """Column flags of a sum or histogram; None for the temporality that must not be used (0, metrics.proto)."""
    counter = COUNTER if monotonic else 0
    return {1: counter | DELTA, 2: counter}.get(temporality)
