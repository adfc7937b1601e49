"""The OTel exporter: `OTEL_METRICS_EXPORTER=mirubato`."""

import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import (
    Counter as CounterInstrument,
)
from opentelemetry.sdk.metrics import (
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.metrics.view import Aggregation

from mirubato.analytics_engine.binding_writer import Binding, BindingWriter
from mirubato.analytics_engine.event_points import Limits, current_limits
from mirubato.analytics_engine.http_writer import HttpWriter
from mirubato.analytics_engine.layout import Layout, default_layout, load_layout
from mirubato.analytics_engine.mapping import Mapper, Tracked
from mirubato.analytics_engine.writers import Writer
from mirubato.clock import now_ms
from mirubato.errors import ConfigError

_log = logging.getLogger(__name__)

# Rows are added up, so what can be added up comes as deltas; a gauge or an updown says where it stands.
_TEMPORALITY: dict[type, AggregationTemporality] = {
    CounterInstrument: AggregationTemporality.DELTA,
    ObservableCounter: AggregationTemporality.DELTA,
    Histogram: AggregationTemporality.DELTA,
    UpDownCounter: AggregationTemporality.CUMULATIVE,
    ObservableUpDownCounter: AggregationTemporality.CUMULATIVE,
    ObservableGauge: AggregationTemporality.CUMULATIVE,
}


class AnalyticsEngineMetricExporter(MetricExporter):
    """Turns metrics into event points and hands them to a writer.

    Without arguments it is what the environment says: the writer posts to MIRUBATO_ENDPOINT (`HttpWriter`), the layout
    is the file MIRUBATO_LAYOUT or else the one in the package. `binding` is a Worker's `env.ANALYTICS`: then points
    are written there, inside the request. Nothing is raised into the SDK: every data point that
    does not arrive is in `counts`.
    """

    def __init__(
        self,
        writer: Writer | None = None,
        *,
        binding: Binding | None = None,
        layout: Layout | None = None,
        limits: Limits | None = None,
        preferred_aggregation: dict[type, Aggregation] | None = None,
    ) -> None:
        super().__init__(preferred_temporality=_TEMPORALITY, preferred_aggregation=preferred_aggregation)
        if binding is not None:
            writer = BindingWriter(binding, limits)
        self._writer = writer or HttpWriter.from_environment(os.environ)
        self._before: Counter[str] = Counter()
        self._mapper = Mapper(layout or _layout_from(os.environ), limits or current_limits())
        self._failed: Counter[str] = Counter()

    @property
    def counts(self) -> Mapping[str, int]:
        """What became of the points: those of the mapper and of the writer, and `failed_exports`."""
        return Counter(self._mapper.counts) + Counter(self._writer.counts) + self._before + self._failed

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 - the writer does not wait
        **kwargs: Any,  # noqa: ARG002
    ) -> MetricExportResult:
        """Map and hand over; FAILURE only for a defect of ours, which is logged."""
        try:
            self._writer.write(self._mapper.points(metrics_data))
        except Exception:  # noqa: BLE001 - nothing goes out to the app
            self._failed["failed_exports"] += 1
            _log.exception("metrics could not be exported")
            return MetricExportResult.FAILURE
        return MetricExportResult.SUCCESS

    def event(
        self,
        resource: Mapping[str, object],
        name: str,
        doubles: Mapping[str, float],
        blobs: Mapping[str, object],
        weight: float,
    ) -> None:
        """Hand over what `track` picked: values by key, attributes, and how many calls it stands for. Never raises."""
        try:
            self._writer.write([self._mapper.event(resource, Tracked(name, doubles, blobs, weight), now_ms())])
        except Exception:  # noqa: BLE001 - nothing goes out to the app
            self._failed["failed_events"] += 1
            _log.exception("an event could not be exported")

    def next_invocation(self, binding: Binding) -> None:
        """From here on write to this binding: each invocation of a Worker has one, and a limit, of its own."""
        self._before += Counter(self._writer.counts)
        self._writer = BindingWriter(binding)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """True if all that was handed over has been answered in time."""
        return self._writer.flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Write what waits, but take no longer than the timeout; the SDK's reader calls it `timeout`."""
        self._writer.close(float(kwargs.get("timeout", timeout_millis)) / 1000)


def _layout_from(environment: Mapping[str, str]) -> Layout:
    """The default where the file cannot be used: rows say which layout they are of, so none can be misread."""
    path = environment.get("MIRUBATO_LAYOUT")
    if not path:
        return default_layout()
    try:
        return load_layout(Path(path))
    except ConfigError as error:
        _log.error("MIRUBATO_LAYOUT: %s; the default layout is used", error)
        return default_layout()
