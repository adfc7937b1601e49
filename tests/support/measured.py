"""A monitor at an SDK of its own, and what its instruments hold."""

from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric

from mirubato.sdk.instruments import instruments_of
from mirubato.sdk.monitor import Monitor

Labels = frozenset[tuple[str, Any]]


@dataclass(frozen=True)
class Measured:
    """Reads what a provider's instruments hold."""

    provider: MeterProvider
    reader: InMemoryMetricReader

    def metrics(self) -> dict[str, Metric]:
        """Name -> metric."""
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def values(self, name: str) -> dict[Labels, float]:
        """Attributes -> the value of a counter, the count of a histogram; empty when there is no such metric."""
        metric = self.metrics().get(name)
        points: Any = metric.data.data_points if metric else ()
        return {
            frozenset((point.attributes or {}).items()): point.count
            if isinstance(point, HistogramDataPoint)
            else point.value
            for point in points
        }

    def total(self, name: str) -> float:
        """Over all attributes."""
        return sum(self.values(name).values())


def measured(**options: Any) -> tuple[Monitor, Measured]:
    """A monitor at a fresh provider, with the options of `Monitor`."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    return Monitor(instruments_of(provider), **options), Measured(provider, reader)
