"""The gateway's own metrics, through the OpenTelemetry SDK and its Prometheus exporter; prefix `mirubato_`."""

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, generate_latest

Reading = Callable[[], Iterable[tuple[float, Mapping[str, str]]]]
"""Values with their attributes, read when somebody scrapes: nothing is added to the paths that count."""


class OwnMetrics:
    """Instruments of one gateway, on a registry of its own."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        reader = PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)
        resource = Resource({"service.name": "mirubato-gateway", "service.version": version})
        self._provider = MeterProvider([reader], resource)
        self._meter = self._provider.get_meter("mirubato.gateway", version)

    def counter(self, name: str, unit: str, description: str, reading: Reading) -> None:
        """A number that only rises."""
        self._meter.create_observable_counter(name, [_callback(reading)], unit, description)

    def gauge(self, name: str, unit: str, description: str, reading: Reading) -> None:
        """A number that may fall."""
        self._meter.create_observable_gauge(name, [_callback(reading)], unit, description)

    def histogram(self, name: str, unit: str, description: str, bounds: list[float]) -> Callable[[float], None]:
        """A distribution; answers the function that records one value."""
        instrument = self._meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=bounds)
        return instrument.record

    def text(self) -> bytes:
        """Prometheus text 0.0.4."""
        return generate_latest(self._registry)

    def samples(self) -> list[tuple[str, Mapping[str, str], float]]:
        """The same as name, labels and value."""
        return [(one.name, one.labels, one.value) for family in self._registry.collect() for one in family.samples]

    def close(self) -> None:
        """Let go of the SDK's reader."""
        self._provider.shutdown()


def _callback(reading: Reading) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, dict(attributes)) for value, attributes in reading()]

    return observe
