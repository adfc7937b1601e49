"""Where measurements go when the app has set up no OpenTelemetry SDK of its own."""

import math
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from mirubato.sdk.drops import DROPPED, say
from mirubato.sdk.forks import forget_in_children
from mirubato.sdk.leaving import leave_in_time

Reader = Callable[[], MetricReader | None]

ENDPOINT = "MIRUBATO_ENDPOINT"
DEFAULT_ENDPOINT = "http://127.0.0.1:4319"
EXPORTERS = "opentelemetry_metrics_exporter"

BINDING = "ANALYTICS"
"""What a Worker's `env` calls its Analytics Engine binding."""

_lock = threading.Lock()


@runtime_checkable
class TakesEvents(Protocol):
    """What the exporter `mirubato` has beside those of OpenTelemetry."""

    def event(
        self,
        resource: Mapping[str, object],
        name: str,
        doubles: Mapping[str, float],
        blobs: Mapping[str, object],
        weight: float,
    ) -> None:
        """Take an event that `track` picked."""
        ...

    def next_invocation(self, binding: Any) -> None:
        """Write to this invocation's binding."""
        ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Where measurements go. A provider that the app has set up has no events, and flushes itself."""

    provider: metrics.MeterProvider
    resource: Mapping[str, object] = field(default_factory=dict)
    events: TakesEvents | None = None

    def event(self, name: str, doubles: Mapping[str, float], blobs: Mapping[str, object], weight: float) -> None:
        """An event point, where the exporter takes such."""
        if self.events is not None:
            self.events.event(self.resource, name, doubles, blobs, weight)

    def flush(self, timeout_s: float) -> bool:
        """Export what was measured so far; False if that took too long."""
        if not isinstance(self.provider, MeterProvider):
            return True
        return self.provider.force_flush(timeout_s * 1000)


_own: list[Pipeline] = []


def setting(env: object, name: str) -> str | None:
    """A setting of `env` (a mapping, or an object with attributes as in a Worker), else of the process' environment."""
    found = env.get(name) if isinstance(env, Mapping) else getattr(env, name, None)
    return found if isinstance(found, str) and found else os.environ.get(name) or None


def pipeline_in_use(env: object, service: str | None, reader: Reader | None) -> Pipeline:
    """The meter provider that is set, else the process' own, set up on the first call."""
    provider = metrics.get_meter_provider()
    # What stands in while none is set forwards to a later one, but exports nothing until then.
    if not type(provider).__name__.startswith("_Proxy"):
        return Pipeline(provider)
    binding = _binding(env)
    with _lock:
        if not _own:
            _own.append(_set_up(env, service, reader, binding))
        if binding is not None and _own[0].events is not None:
            _own[0].events.next_invocation(binding)
        return _own[0]


def _binding(env: object) -> object | None:
    found = env.get(BINDING) if isinstance(env, Mapping) else getattr(env, BINDING, None)
    return found if hasattr(found, "writeDataPoint") else None


def _set_up(env: object, service: str | None, reader: Reader | None, binding: object | None) -> Pipeline:
    exporters: list[MetricExporter] = []
    made = _made(reader or (lambda: default_reader(env, binding, exporters.append)))
    name = setting(env, "OTEL_SERVICE_NAME") or service
    own = {"service.name": name} if name else {}
    # In a Worker no thread can start, and `create` starts some to look where it runs.
    resource = Resource.create({**own}) if binding is None else Resource({**own})
    provider = MeterProvider([made] if made else [], resource, shutdown_on_exit=False)
    if binding is None:
        forget_in_children(provider)
        leave_in_time([provider])
    events = next((one for one in exporters if isinstance(one, TakesEvents)), None)
    return Pipeline(provider, dict(resource.attributes), events)


def _made(reader: Reader) -> MetricReader | None:
    try:
        made = reader()
    except Exception as error:  # noqa: BLE001 - an app without measurements is better than none
        say(f"nothing is exported: {type(error).__name__}: {error}")
        made = None
    if made is None:
        DROPPED.add("no_exporter")
    return made


def default_reader(
    env: object, binding: object | None = None, made_of: Callable[[MetricExporter], object] | None = None
) -> MetricReader | None:
    """A reader for what `OTEL_METRICS_EXPORTER` names: `mirubato` (event points, the default), `otlp`, `none`, ...

    `mirubato` and `otlp` (over HTTP) post to `MIRUBATO_ENDPOINT`; the `OTEL_EXPORTER_OTLP_...` variables win. With the
    `binding` of a Worker event points go there, when the monitor is flushed. `made_of` is told the exporter.
    """
    name = (setting(env, "OTEL_METRICS_EXPORTER") or "mirubato").strip()
    if name == "none":
        return None
    endpoint = setting(env, ENDPOINT) or DEFAULT_ENDPOINT
    if name in ("otlp", "otlp_proto_http"):
        made = _otlp(endpoint)
    else:
        made = _exporter(name, **({"binding": binding} if binding is not None and name == "mirubato" else {}))
    if made is None:
        say(f"nothing is exported: there is no metrics exporter {name!r} (pip install 'mirubato-monitoring[otlp]'?)")
    if not isinstance(made, MetricExporter):
        return made
    if made_of is not None:
        made_of(made)
    # An endless interval means no thread.
    return PeriodicExportingMetricReader(made, math.inf if binding is not None else None)


def _exporter(name: str, **arguments: Any) -> MetricExporter | MetricReader | None:
    """What an installed package offers under the name."""
    for found in entry_points(group=EXPORTERS, name=name):
        made = found.load()(**arguments)
        return made if isinstance(made, MetricExporter | MetricReader) else None
    return None


def _otlp(endpoint: str) -> MetricExporter | MetricReader | None:
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
        return _exporter("otlp_proto_http")
    return _exporter("otlp_proto_http", endpoint=f"{endpoint.rstrip('/')}/v1/metrics")
