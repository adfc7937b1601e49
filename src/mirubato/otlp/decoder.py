"""A metrics request, bytes -> columns: known shapes first, then the projection."""

from collections.abc import Callable, Sequence

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from mirubato.errors import BadRequest
from mirubato.limits import TARGET_INFO_INTERVAL_MS
from mirubato.model.labels import MetricType
from mirubato.model.seams import Reason, SeriesRegistry
from mirubato.otlp import projection_pb2 as wire
from mirubato.otlp.columns import Columns, Decoded, Rows
from mirubato.otlp.points import read_exponentials, read_histograms, read_numbers, read_summaries, sum_flags
from mirubato.otlp.shapes import Shapes
from mirubato.otlp.streams import LabelLimits, MetricIdentity, ResourceStreams, Streams


class Decoder:
    """Turns requests into columns of slots; makes the series it has not seen. One thread at a time."""

    def __init__(self, registry: SeriesRegistry, limits: LabelLimits, promoted: Sequence[str]) -> None:
        self._streams = Streams(registry, limits, promoted)
        self._shapes = Shapes(registry)

    def decode(self, body: bytes) -> Decoded:
        """Columns of an ExportMetricsServiceRequest; BadRequest where the official classes cannot decode it."""
        self._streams.refresh()
        self._shapes.refresh()
        decoded = Decoded()
        judged = False
        for encoded in _resources(body):
            known = self._shapes.match(encoded)
            if known is not None:
                shape, columns = known
                decoded.columns.append(columns)
                decoded.points += shape.points
                self._target_info(shape.resource, int(columns.times[0]), decoded)
                continue
            if not judged:
                # The official classes are the judge of what is valid: nested bytes that the projection leaves
                # unread, depth, UTF-8. Only requests with something new in them pay (0.25 us a point), and they
                # pay before anything of them has touched the registry.
                _judge(body)
                judged = True
            self._read(encoded, decoded)
        return decoded

    def _read(self, encoded: bytes, decoded: Decoded) -> None:
        """One resource by the projection; remembers its shape if it came before."""
        message = wire.ResourceMetrics.FromString(encoded)
        resource = self._streams.resource(b"".join(message.resource))
        before = decoded.points, len(decoded.histograms), len(decoded.exemplars), decoded.rejected.total()
        rows = Rows()
        for scope in message.scope_metrics:
            for metric in scope.metrics:
                _read_metric(resource, metric, rows, decoded)
        if resource.warning:
            decoded.warnings.append(resource.warning)
        if not rows.slots:
            return
        columns = rows.columns()
        decoded.columns.append(columns)
        self._target_info(resource, rows.times[0], decoded)
        plain = (len(decoded.histograms), len(decoded.exemplars), decoded.rejected.total()) == before[1:]
        if plain:
            self._shapes.learn(encoded, resource, columns, decoded.points - before[0])

    def _target_info(self, resource: ResourceStreams, time_ns: int, decoded: Decoded) -> None:
        time = time_ns // 1_000_000
        if resource.info_slot is None or abs(time - resource.info_time) < TARGET_INFO_INTERVAL_MS:
            return
        resource.info_time = time
        decoded.columns.append(
            Columns(
                np.array([resource.info_slot], np.int64),
                np.array([time_ns], np.uint64),
                np.zeros(1, np.uint64),
                np.ones(1),
                np.zeros(1, np.uint8),
            )
        )


def _resources(body: bytes) -> Sequence[bytes]:
    try:
        return wire.MetricsRequest.FromString(body).resource_metrics
    except DecodeError as error:
        raise BadRequest(f"not an ExportMetricsServiceRequest: {error}") from error


def _judge(body: bytes) -> None:
    try:
        ExportMetricsServiceRequest.FromString(body)
    except DecodeError as error:
        raise BadRequest(f"not an ExportMetricsServiceRequest: {error}") from error


def _read_metric(resource: ResourceStreams, metric: wire.Metric, rows: Rows, decoded: Decoded) -> None:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    decoded.points += len(data.data_points)
    try:
        _READERS[kind](resource, metric, rows, decoded)
    except ValueError as error:
        decoded.rejected[Reason("invalid", str(error))] += len(data.data_points)


def _read_gauge(resource: ResourceStreams, metric: wire.Metric, rows: Rows, decoded: Decoded) -> None:
    identity = MetricIdentity(metric.name, metric.unit, MetricType.GAUGE)
    read_numbers(resource.metric(identity, metric.description), metric.gauge.data_points, 0, rows, decoded)


def _checked(temporality: int, *, monotonic: bool) -> int:
    flags = sum_flags(temporality, monotonic=monotonic)
    if flags is None:
        raise ValueError(f"aggregation_temporality is {temporality}, neither delta (1) nor cumulative (2)")
    return flags


def _read_sum(resource: ResourceStreams, metric: wire.Metric, rows: Rows, decoded: Decoded) -> None:
    data = metric.sum
    flags = _checked(data.aggregation_temporality, monotonic=data.is_monotonic)
    type_ = MetricType.COUNTER if data.is_monotonic else MetricType.GAUGE
    identity = MetricIdentity(metric.name, metric.unit, type_, sum=True)
    read_numbers(resource.metric(identity, metric.description), data.data_points, flags, rows, decoded)


def _read_histogram(resource: ResourceStreams, metric: wire.Metric, rows: Rows, decoded: Decoded) -> None:
    data = metric.histogram
    flags = _checked(data.aggregation_temporality, monotonic=True)
    identity = MetricIdentity(metric.name, metric.unit, MetricType.HISTOGRAM)
    read_histograms(resource.metric(identity, metric.description), data.data_points, flags, rows, decoded)


def _read_exponential(resource: ResourceStreams, metric: wire.Metric, _rows: Rows, decoded: Decoded) -> None:
    data = metric.exponential_histogram
    flags = _checked(data.aggregation_temporality, monotonic=True)
    identity = MetricIdentity(metric.name, metric.unit, MetricType.HISTOGRAM, exponential=True)
    read_exponentials(resource.metric(identity, metric.description), data.data_points, flags, decoded)


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
