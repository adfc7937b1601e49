"""A metrics request, bytes -> columns: known shapes first, then the projection."""

from collections.abc import Callable, Sequence

import numpy as np
from google.protobuf.message import DecodeError

from mirubato.admission.columns import Columns, Decoded
from mirubato.admission.labels import LabelLimits
from mirubato.limits import TARGET_INFO_INTERVAL_MS
from mirubato.model.labels import MetricType
from mirubato.model.seams import PointRefused, SeriesRegistry
from mirubato.otlp import projection_pb2 as wire
from mirubato.otlp.judge import Judge, check_sizes, undecodable
from mirubato.otlp.layouts import LayoutMismatchError
from mirubato.otlp.points import read_exponentials, read_histograms, read_numbers, read_summaries, sum_flags
from mirubato.otlp.rows import Rows
from mirubato.otlp.shapes import Shapes
from mirubato.otlp.streams import MetricIdentity, ResourceStreams, Streams
from mirubato.otlp.wire_points import varint

_Seen = tuple[ResourceStreams, int]
"""A resource of a request, and the time (ns) of its first point."""


class Decoder:
    """Turns requests into columns of slots; makes the series it has not seen. One thread at a time."""

    def __init__(self, registry: SeriesRegistry, limits: LabelLimits, promoted: Sequence[str]) -> None:
        self._streams = Streams(registry, limits, promoted)
        self._shapes = Shapes()

    def decode(self, body: bytes) -> Decoded:
        """Columns of an ExportMetricsServiceRequest; BadRequest where the official classes cannot decode it."""
        if self._streams.refresh():
            self._shapes.clear()  # they hold what the streams have just let go
        try:
            decoded, seen = self._decode(body, use_layouts=True)
        except LayoutMismatchError:
            decoded, seen = self._decode(body, use_layouts=False)
        for resource, time in seen:
            _tell_of(resource, time, decoded)
        return decoded

    def _decode(self, body: bytes, *, use_layouts: bool) -> tuple[Decoded, list[_Seen]]:
        decoded, judge = Decoded(), Judge(body)
        seen: list[_Seen] = []
        rows = Rows(judge, use_layouts)
        resources = _resources(body)
        check_sizes(len(resources), len(body))
        for encoded in resources:
            known = self._shapes.match(encoded)
            if known is None:
                seen.append(self._read(encoded, rows, decoded))
                continue
            _flush(rows, decoded)  # before what comes after it: order decides among samples of one time
            rows = Rows(judge, use_layouts)
            shape, columns = known
            decoded.columns.append(columns)
            decoded.points += shape.points
            seen.append((shape.resource, shape.layout.first_time(columns)))
        _flush(rows, decoded)
        return decoded, seen

    def _read(self, encoded: bytes, rows: Rows, decoded: Decoded) -> _Seen:
        """One resource by the projection; learns its shape if it came before."""
        message = _entry(encoded)
        check_sizes(_messages(message), len(encoded))
        if len(message.resource) > 1:
            rows.judge()  # the parts of a message can be invalid where the whole is known
        resource = self._streams.resource(b"".join(message.resource), rows.judge)
        points, others = decoded.points, _others(decoded)
        rows.signature = []
        time = _read_resource(message, resource, rows, decoded)
        if _others(decoded) == others and self._shapes.sighted(encoded, tuple(rows.signature)):
            alone = Rows(rows.judge, use_layouts=False)
            _read_resource(message, resource, alone, Decoded())
            self._shapes.learn(encoded, tuple(rows.signature), resource, alone.columns(), decoded.points - points)
        return resource, time


def _tell_of(resource: ResourceStreams, time_ns: int, decoded: Decoded) -> None:
    """Pass the resource's warning on, and write target_info again if it is time."""
    if resource.warning:
        decoded.warnings.append(resource.warning)
    time = time_ns // 1_000_000
    if resource.info is None or not time or abs(time - resource.info_time) < TARGET_INFO_INTERVAL_MS:
        return
    try:
        slot = resource.info_slot()
    except PointRefused as refused:
        decoded.warnings.append(f"target_info left out: {refused}")
        return
    resource.info_time = time
    times, nothing = np.array([time_ns], np.uint64), np.zeros(1, np.uint64)
    decoded.columns.append(Columns(np.array([slot], np.int64), times, nothing, np.ones(1), np.zeros(1, np.uint8)))


def _resources(body: bytes) -> Sequence[bytes]:
    try:
        return wire.MetricsRequest.FromString(body).resource_metrics
    except DecodeError as error:
        raise undecodable(error) from error


def _entry(encoded: bytes) -> wire.ResourceMetrics:
    """A resource parsed as an entry of a request, because there it may be nested less deep than by itself."""
    try:
        entry = wire.ResourceEntry.FromString(b"".join((b"\x0a", varint(len(encoded)), encoded)))
    except DecodeError as error:
        raise undecodable(error) from error
    return entry.resource_metrics


def _messages(message: wire.ResourceMetrics) -> int:
    """How many scopes, metrics and points there are, or at least how many more than may be."""
    check_sizes(len(message.scope_metrics), message.ByteSize())
    count = 0
    for scope in message.scope_metrics:
        count += 1 + len(scope.metrics)
        for metric in scope.metrics:
            kind = metric.WhichOneof("data")
            count += len(getattr(metric, kind).data_points) if kind else 0
    return count


def _others(decoded: Decoded) -> tuple[int, int, int]:
    """What keeps a resource from having a shape."""
    return len(decoded.histograms), len(decoded.exemplars), decoded.rejected.total()


def _flush(rows: Rows, decoded: Decoded) -> None:
    columns = rows.columns()
    if columns is not None:
        decoded.columns.append(columns)


def _read_resource(message: wire.ResourceMetrics, resource: ResourceStreams, rows: Rows, decoded: Decoded) -> int:
    """All points of a resource; answers the time (ns) of a metric's first one, the first that is not 0."""
    time = 0
    for scope in message.scope_metrics:
        if len(scope.scope) > 1:
            rows.judge()
        resource.streams.check_scope(b"".join(scope.scope), rows.judge)
        for metric in scope.metrics:
            if metric.metadata:
                rows.judge()
            _read_metric(resource, metric, rows, decoded)
            time = time or _time_of(metric)
    return time


def _time_of(metric: wire.Metric) -> int:
    """Time (ns) of a metric's first point, 0 if there is none."""
    kind = metric.WhichOneof("data")
    points = getattr(metric, kind).data_points if kind else ()
    if not points:
        return 0
    try:
        return wire.NumberDataPoint.FromString(points[0]).time_unix_nano  # every kind of point has it in field 3
    except DecodeError as error:
        raise LayoutMismatchError from error  # else it would have been judged


def _read_metric(resource: ResourceStreams, metric: wire.Metric, rows: Rows, decoded: Decoded) -> None:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    decoded.points += len(data.data_points)
    try:
        _READERS[kind](resource, metric, rows, decoded)
    except PointRefused as refused:
        rows.judge()  # nobody will look at these points
        decoded.rejected[refused.reason] += len(data.data_points)


def _read_gauge(resource: ResourceStreams, metric: wire.Metric, rows: Rows, decoded: Decoded) -> None:
    identity = MetricIdentity(metric.name, metric.unit, MetricType.GAUGE)
    read_numbers(resource.metric(identity, metric.description), list(metric.gauge.data_points), 0, rows, decoded)


def _checked(temporality: int, *, monotonic: bool) -> int:
    flags = sum_flags(temporality, monotonic=monotonic)
    if flags is None:
        raise PointRefused("invalid", f"aggregation_temporality is {temporality}, neither delta (1) nor cumulative (2)")
    return flags


def _read_sum(resource: ResourceStreams, metric: wire.Metric, rows: Rows, decoded: Decoded) -> None:
    data = metric.sum
    flags = _checked(data.aggregation_temporality, monotonic=data.is_monotonic)
    type_ = MetricType.COUNTER if data.is_monotonic else MetricType.GAUGE
    identity = MetricIdentity(metric.name, metric.unit, type_, sum=True)
    read_numbers(resource.metric(identity, metric.description), list(data.data_points), flags, rows, decoded)


def _read_histogram(resource: ResourceStreams, metric: wire.Metric, rows: Rows, decoded: Decoded) -> None:
    data = metric.histogram
    flags = _checked(data.aggregation_temporality, monotonic=True)
    identity = MetricIdentity(metric.name, metric.unit, MetricType.HISTOGRAM)
    read_histograms(resource.metric(identity, metric.description), list(data.data_points), flags, rows, decoded)


def _read_exponential(resource: ResourceStreams, metric: wire.Metric, rows: Rows, decoded: Decoded) -> None:
    data = metric.exponential_histogram
    flags = _checked(data.aggregation_temporality, monotonic=True)
    identity = MetricIdentity(metric.name, metric.unit, MetricType.HISTOGRAM, exponential=True)
    read_exponentials(resource.metric(identity, metric.description), data.data_points, flags, rows, decoded)


def _read_summary(resource: ResourceStreams, metric: wire.Metric, rows: Rows, decoded: Decoded) -> None:
    identity = MetricIdentity(metric.name, metric.unit, MetricType.SUMMARY)
    read_summaries(resource.metric(identity, metric.description), metric.summary.data_points, rows, decoded)


_Reader = Callable[[ResourceStreams, wire.Metric, Rows, Decoded], None]
_READERS: dict[str, _Reader] = {
    "gauge": _read_gauge,
    "sum": _read_sum,
    "histogram": _read_histogram,
    "exponential_histogram": _read_exponential,
    "summary": _read_summary,
}
