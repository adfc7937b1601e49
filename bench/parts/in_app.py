"""What a call of the in-app part costs, beside the bare OpenTelemetry call that it stands on."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import StatusCode, Tracer

from bench.plan import Plan, progress
from bench.tables import Section, Target
from mirubato.sdk.instruments import DURATION_BUCKETS, instruments_of
from mirubato.sdk.keeping import KeepingSpanProcessor
from mirubato.sdk.monitor import Monitor
from mirubato.sdk.sampler import MirubatoSampler

TRACK = Target(1.3, " x")
BOUND = Target(0.4, " x")
SPAN = Target(3.0, " us more")
CALLS = 2000  # of each kind in a turn; the kinds take turns, so that what slows the machine slows all of them
TURNS = 41
ATTRIBUTES: dict[str, str | int] = {
    "http.response.status_code": 200,
    "http.route": "/score/{id}",
    "http.request.method": "GET",
    "faas.name": "api",
}
SPAN_ATTRIBUTES = {f"attribute-{number}": "value" for number in range(5)}


@dataclass(frozen=True)
class Case:
    """One kind of call, what it is compared with, and whether as a ratio or a difference."""

    name: str
    call: Callable[[], object]
    against: str = ""
    target: Target | None = None


class Nowhere(SpanExporter):
    """Takes spans and does nothing with them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        """Success."""
        return SpanExportResult.SUCCESS


def tracer(sampler: Sampler, processor: SpanProcessor) -> Tracer:
    """Of a provider with this sampler and this one processor."""
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider.get_tracer("bench")


def spans(of: Tracer, *, failed: bool = False) -> Callable[[], None]:
    """A call that starts and ends a root span with five attributes."""

    def call() -> None:
        span = of.start_span("served", attributes=SPAN_ATTRIBUTES)
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end()

    return call


def metric_cases() -> tuple[list[Case], Callable[[], object]]:
    """The calls that measure, and what empties the instruments between the turns."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    bare = provider.get_meter("bare").create_histogram(
        "bare", "s", explicit_bucket_boundaries_advisory=list(DURATION_BUCKETS)
    )
    monitor = Monitor(instruments_of(provider))
    bound = monitor.bind("request", 200, {"path": "/score/{id}", "method": "GET", "worker": "api"})

    def track() -> None:
        monitor.track_request(200, 12.5, {"path": "/score/{id}", "method": "GET", "worker": "api"})

    cases = [
        Case("`histogram.record`", lambda: bare.record(0.0125, ATTRIBUTES)),
        Case("`track_request`", track, "`histogram.record`", TRACK),
        Case("`bind(...)`, called", lambda: bound(12.5), "`histogram.record`", BOUND),
    ]
    return cases, reader.get_metrics_data


def span_cases() -> list[Case]:
    """Spans: always on, and with our sampler and processor."""
    batch = BatchSpanProcessor(Nowhere())
    always = tracer(ALWAYS_ON, batch)
    tenth = tracer(MirubatoSampler(), KeepingSpanProcessor(batch))
    every = tracer(MirubatoSampler(1.0), KeepingSpanProcessor(batch))
    return [
        Case("span, always on", spans(always)),
        Case("span, a tenth sampled", spans(tenth), "span, always on", SPAN),
        Case("span, all of them sampled", spans(every), "span, always on"),
        Case("error span, always on", spans(always, failed=True)),
        Case("error span, kept", spans(tenth, failed=True), "error span, always on"),
    ]


def per_call_us(call: Callable[[], object], calls: int) -> float:
    """The mean of one turn."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls * 1e6


def take_turns(cases: Sequence[Case], turns: int, between: Callable[[], object]) -> dict[str, list[float]]:
    """Name -> us per call of each turn."""
    taken: dict[str, list[float]] = {case.name: [] for case in cases}
    for _ in range(turns):
        for case in cases:
            taken[case.name].append(per_call_us(case.call, CALLS))
        between()
    return taken


def run(plan: Plan) -> Section:
    """All kinds of calls, in turns."""
    progress("in_app")
    turns = 11 if plan.quick else TURNS
    measuring, between = metric_cases()
    tracing = span_cases()
    taken = take_turns(measuring, turns, between) | take_turns(tracing, turns, lambda: None)
    return report([*measuring, *tracing], taken)


def report(cases: Sequence[Case], taken: dict[str, list[float]]) -> Section:
    """Medians of each, and of what turn by turn lies between a case and what it is compared with."""
    section = Section("in_app", "what a call costs inside the app, on the calling thread")
    table = section.table("call", "us, median", "beside the bare call", "target")
    for case in cases:
        middle = statistics.median(taken[case.name])
        beside, value = "", 0.0
        if case.against:
            pairs = list(zip(taken[case.name], taken[case.against], strict=True))
            if case.target in (TRACK, BOUND):
                value = round(statistics.median(mine / bare for mine, bare in pairs), 2)
                beside = f"{value:.2f} x"
            else:
                value = round(statistics.median(mine - bare for mine, bare in pairs), 1)
                beside = f"{value:+.1f} us"
        table.add(case.name, f"{middle:.2f}", beside, section.judge(value, case.target))
    section.notes = [
        "The metrics have four attributes, the spans five; the exporters do nothing.",
        "The reader's thread moves what bound labels gather into the instrument, at `histogram.record` for each value.",
    ]
    return section
