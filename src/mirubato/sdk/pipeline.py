"""Where measurements go when the app has set up no OpenTelemetry SDK of its own."""

import os
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points

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

_lock = threading.Lock()
_own: list[MeterProvider] = []


def setting(env: object, name: str) -> str | None:
    """A setting of `env` (a mapping, or an object with attributes as in a Worker), else of the process' environment."""
    found = env.get(name) if isinstance(env, Mapping) else getattr(env, name, None)
    return found if isinstance(found, str) and found else os.environ.get(name) or None


def provider_in_use(env: object, service: str | None, reader: Reader | None) -> metrics.MeterProvider:
    """The meter provider that is set, else the process' own, set up on the first call."""
    provider = metrics.get_meter_provider()
    # What stands in while none is set forwards to a later one, but exports nothing until then.
    if not type(provider).__name__.startswith("_Proxy"):
        return provider
    with _lock:
        if not _own:
            _own.append(_set_up(env, service, reader))
        return _own[0]


def _set_up(env: object, service: str | None, reader: Reader | None) -> MeterProvider:
    made = _made(reader or (lambda: default_reader(env)))
    name = setting(env, "OTEL_SERVICE_NAME") or service
    resource = Resource.create({"service.name": name} if name else None)
    provider = MeterProvider([made] if made else [], resource, shutdown_on_exit=False)
    forget_in_children(provider)
    leave_in_time([provider])
    return provider


def _made(reader: Reader) -> MetricReader | None:
    try:
        made = reader()
    except Exception as error:  # noqa: BLE001 - an app without measurements is better than none
        say(f"nothing is exported: {type(error).__name__}: {error}")
        made = None
    if made is None:
        DROPPED.add("no_exporter")
    return made


def default_reader(env: object) -> MetricReader | None:
    """A reader for what `OTEL_METRICS_EXPORTER` names: `mirubato` (event points, the default), `otlp`, `none`, ...

    `mirubato` and `otlp` (over HTTP) post to `MIRUBATO_ENDPOINT`; the `OTEL_EXPORTER_OTLP_...` variables win.
    """
    name = (setting(env, "OTEL_METRICS_EXPORTER") or "mirubato").strip()
    if name == "none":
        return None
    endpoint = setting(env, ENDPOINT) or DEFAULT_ENDPOINT
    made = _otlp(endpoint) if name in ("otlp", "otlp_proto_http") else _exporter(name)
    if made is None:
        say(f"nothing is exported: there is no metrics exporter {name!r} (pip install 'mirubato-monitoring[otlp]'?)")
    return PeriodicExportingMetricReader(made) if isinstance(made, MetricExporter) else made


def _exporter(name: str, **arguments: str) -> MetricExporter | MetricReader | None:
    """What an installed package offers under the name."""
    for found in entry_points(group=EXPORTERS, name=name):
        made = found.load()(**arguments)
        return made if isinstance(made, MetricExporter | MetricReader) else None
    return None


def _otlp(endpoint: str) -> MetricExporter | MetricReader | None:
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
        return _exporter("otlp_proto_http")
    return _exporter("otlp_proto_http", endpoint=f"{endpoint.rstrip('/')}/v1/metrics")
