"""What `OTEL_PYTHON_CONFIGURATOR=mirubato` sets up under `opentelemetry-instrument`."""

import os
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from mirubato.sdk.forks import forget_in_children
from mirubato.sdk.instruments import instruments_of
from mirubato.sdk.keeping import KeepingSpanProcessor
from mirubato.sdk.leaving import leave_in_time

SEMCONV = "OTEL_SEMCONV_STABILITY_OPT_IN"


def keeping(exporter: SpanExporter) -> KeepingSpanProcessor:
    """Around every exporter that `OTEL_TRACES_EXPORTER` names."""
    return KeepingSpanProcessor(BatchSpanProcessor(exporter))


class MirubatoConfigurator(_OTelSDKConfigurator):
    """The SDK's own set-up from `OTEL_...` variables, and: errors kept, forks counted once, the last export in time.

    Instrumentations get today's HTTP conventions (`http.server.request.duration`, seconds) unless
    `OTEL_SEMCONV_STABILITY_OPT_IN` says otherwise; their own default is the convention before that.
    """

    def _configure(self, **kwargs: Any) -> None:
        os.environ.setdefault(SEMCONV, "http")
        kwargs.setdefault("export_span_processor", keeping)
        super()._configure(**kwargs)  # type: ignore[no-untyped-call]
        meters = metrics.get_meter_provider()
        if isinstance(meters, MeterProvider):
            forget_in_children(meters)
            instruments_of(meters)  # so that the drops of the span processor show, with or without a monitor
        providers = (trace.get_tracer_provider(), meters, get_logger_provider())
        leave_in_time([one for one in providers if isinstance(one, TracerProvider | MeterProvider | LoggerProvider)])
