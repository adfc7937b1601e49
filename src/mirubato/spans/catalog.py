"""Every series that is made of spans and logs; docs/TRACES.md says what each counts."""

import re
from collections.abc import Sequence

from mirubato.errors import ConfigError
from mirubato.model.labels import Family, MetricType
from mirubato.spans.tables import Layout

_UNSAFE = re.compile(r"[^a-zA-Z0-9]+")
_SQUARED = "Sum of squared weights, for an interval of confidence"
_WORKER = ("service_name", "script_name")
# Seconds; CPU time of a Worker is 10 ms at most on the free plan, 30 s by default on the paid one.
_CPU_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
_SPAN_LABELS = ("service_name", "span_name", "span_kind", "status_code")


def check_dimensions(keys: Sequence[str]) -> None:
    """ConfigError where two attributes would make one label, or one that series have already."""
    taken = {*_SPAN_LABELS, "script_name", "trigger", "outcome", "le"}
    for key in keys:
        label = dimension_label(key)
        if not label or label in taken:
            raise ConfigError(f"MIRUBATO_SPAN_METRICS_DIMENSIONS: {key[:60]!r} makes no label of its own")
        taken.add(label)


def dimension_label(key: str) -> str:
    """The label of an attribute: `http.route` -> `http_route`."""
    label = _UNSAFE.sub("_", key).strip("_")
    return f"key_{label}" if label[:1].isdigit() else label


def spans(dimensions: Sequence[str], bounds: tuple[float, ...]) -> Layout:
    """Calls and durations of spans: OpenTelemetry's span metrics, in seconds."""
    calls = _counter("traces_span_metrics_calls_total", "Spans, each by its weight")
    squared = _counter("traces_span_metrics_weights_squared_total", _SQUARED)
    duration = _seconds("traces_span_metrics_duration_seconds", "Duration of spans, each by its weight")
    labels = (*_SPAN_LABELS, *map(dimension_label, dimensions))
    return Layout(labels, (calls, squared), (duration,), bounds, (1, *range(4, len(labels))))


SOURCES = Layout(
    ("service_name", "weight_source"),
    (Family("traces_span_metrics_spans_total", MetricType.COUNTER, help="Spans that came, by who gave their weight"),),
)


def workers(dimensions: Sequence[str]) -> Layout:
    """Invocations of Workers."""
    labels = (*_WORKER, "trigger", "outcome", *map(dimension_label, dimensions))
    counters = (
        *_weighted("cloudflare_worker_requests", "Invocations of a Worker"),
        *_weighted("cloudflare_worker_errors", "Invocations whose outcome is an error of the Worker"),
    )
    return Layout(labels, counters, open=tuple(range(1, len(labels))))


def worker_durations(bounds: tuple[float, ...]) -> Layout:
    """Wall time of invocations."""
    duration = _seconds("cloudflare_worker_duration_seconds", "Wall time of an invocation")
    return Layout((*_WORKER, "trigger"), (), (duration,), bounds, (1, 2))


def worker_cpu() -> Layout:
    """CPU time of invocations."""
    cpu = _seconds("cloudflare_worker_cpu_time_seconds", "CPU time of an invocation")
    return Layout((*_WORKER, "trigger"), (), (cpu,), _CPU_BOUNDS, (1, 2))


def uses() -> dict[str, Layout]:
    """What Workers use of other products, by the table that `cloudflare.Use` names."""
    binding, operation = (*_WORKER, "binding"), (*_WORKER, "binding", "operation")
    return {
        "d1": Layout(binding, _rows("cloudflare_d1"), open=(1, 2)),
        "durable_object": Layout(binding, _rows("cloudflare_durable_object"), open=(1, 2)),
        "kv": Layout(operation, (_counter("cloudflare_kv_operations_total", "Keys touched"),), open=(1, 2, 3)),
        "r2": Layout(
            (*_WORKER, "bucket", "operation"),
            (_counter("cloudflare_r2_operations_total", "Operations on a bucket"),),
            open=(1, 2, 3),
        ),
        "queue": Layout(
            (*_WORKER, "queue", "operation"),
            (_counter("cloudflare_queue_messages_total", "Messages sent or consumed"),),
            open=(1, 2, 3),
        ),
    }


def calls(bounds: tuple[float, ...]) -> Layout:
    """Which service calls which: the names of Tempo's metrics generator."""
    graph = "traces_service_graph_request"
    counters = (
        *_weighted(graph, "Calls from one service to another"),
        *_weighted(f"{graph}_failed", "Calls that either side calls an error"),
    )
    histograms = (
        _seconds(f"{graph}_server_seconds", "Duration as the server saw it"),
        _seconds(f"{graph}_client_seconds", "Duration as the client saw it"),
    )
    return Layout(("client", "server"), counters, histograms, bounds, (1,))


LOGS = Layout(
    ("service_name", "severity", "exception_type"),
    (
        Family("logs_records_total", MetricType.COUNTER, help="Log records"),
        Family("logs_records_weights_squared_total", MetricType.COUNTER, help=_SQUARED),
    ),
    open=(2,),
)

LOG_FIELDS = Layout(
    ("service_name", "field"),
    histograms=(Family("logs_field", MetricType.SUMMARY, help="Numbers inside the bodies of log records"),),
)


def _counter(name: str, help_: str) -> Family:
    return Family(name, MetricType.COUNTER, help=help_)


def _weighted(name: str, help_: str) -> tuple[Family, Family]:
    """A sum of weights and the sum of their squares."""
    return _counter(f"{name}_total", help_), _counter(f"{name}_weights_squared_total", _SQUARED)


def _rows(product: str) -> tuple[Family, ...]:
    return (
        _counter(f"{product}_queries_total", "Queries"),
        _counter(f"{product}_rows_read_total", "Rows read"),
        _counter(f"{product}_rows_written_total", "Rows written"),
    )


def _seconds(name: str, help_: str) -> Family:
    return Family(name, MetricType.HISTOGRAM, "seconds", help_)
