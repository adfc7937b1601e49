"""CPU of OTel metrics -> event points: mapped and checked on the reader's thread, encoded on the writer's."""

import statistics
import time

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from bench.plan import Plan, progress
from bench.tables import Section, Target
from mirubato.analytics_engine.binding_writer import BindingWriter
from mirubato.analytics_engine.event_points import EventPoint, current_limits, problem
from mirubato.analytics_engine.exporter import AnalyticsEngineMetricExporter
from mirubato.analytics_engine.http_writer import encode
from mirubato.analytics_engine.layout import default_layout
from mirubato.analytics_engine.mapping import Mapper
from mirubato.analytics_engine.sql import REQUESTS

COST = Target(15, " us")
SERIES = 1000  # of each instrument
COLLECTIONS = 5  # in each round


class Nowhere:
    """A binding for an exporter of which only the temporality is wanted."""

    def writeDataPoint(self, point: object, /) -> None:  # noqa: N802
        """Nothing is written."""


def collections(count: int) -> list[MetricsData]:
    """Deltas of a histogram of requests with 5 attributes and 15 buckets, and of a counter with 2."""
    exporter = AnalyticsEngineMetricExporter(BindingWriter(Nowhere()))
    reader = InMemoryMetricReader(preferred_temporality=exporter._preferred_temporality)
    provider = MeterProvider([reader], resource=Resource({"service.name": "api", "service.instance.id": "1"}))
    meter = provider.get_meter("bench", "1")
    bounds = list(default_layout().bounds(REQUESTS))
    requests = meter.create_histogram(REQUESTS, "s", explicit_bucket_boundaries_advisory=bounds)
    orders = meter.create_counter("orders")
    fixed: dict[str, str | int] = {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.scheme": "https",
    }
    made = []
    for _ in range(count):
        for number in range(SERIES):
            requests.record(number / 100, {**fixed, "http.route": f"/r/{number}", "network.protocol.version": "1.1"})
            orders.add(1, {"plan": f"p{number}", "country": "de"})
        data = reader.get_metrics_data()
        assert data
        made.append(data)
    provider.shutdown()
    return made


class Steps:
    """What an exporter does with a collection, step by step; `us` has a reading of each for each collection."""

    def __init__(self) -> None:
        self.us: dict[str, list[float]] = {}
        self._limits = current_limits()
        self._mapper = Mapper(default_layout(), self._limits)
        self._points: list[EventPoint] = []

    def take(self, data: MetricsData) -> None:
        """All steps of one collection."""
        for step in (self.mapped, self.checked, self.encoded):
            began = time.process_time_ns()
            step(data)
            cpu_us = (time.process_time_ns() - began) / 1e3
            self.us.setdefault(step.__name__, []).append(cpu_us / len(self._points))

    def mapped(self, data: MetricsData) -> None:
        """On the reader's thread."""
        self._points = self._mapper.points(data)

    def checked(self, _: MetricsData) -> None:
        """On the reader's thread."""
        assert not any(problem(point, self._limits) for point in self._points)

    def encoded(self, _: MetricsData) -> None:
        """On the writer's thread."""
        size = self._limits.points_per_invocation
        for start in range(0, len(self._points), size):
            encode("bench", self._points[start : start + size])


def readings(data: list[MetricsData]) -> dict[str, list[float]]:
    """By step: one reading for each collection; the first is of series that are new."""
    steps = Steps()
    for one in data:
        steps.take(one)
    return steps.us


def run(plan: Plan) -> Section:
    """All collections several times; medians."""
    progress("event_points")
    data = collections(COLLECTIONS)
    rounds = [readings(data) for _ in range(plan.rounds)]
    section = Section("event_points", "CPU from OTel metrics to event points, in process")
    table = section.table("step", "series", "us an event point", "target")
    table.add("mapped", "new", f"{statistics.median(one['mapped'][0] for one in rounds):.1f}", "")
    known = {step: statistics.median(value for one in rounds for value in one[step][1:]) for step in rounds[0]}
    for step, value in known.items():
        table.add(step, "known", f"{value:.1f}", "")
    total = round(sum(known.values()), 1)
    table.add("all", "known", f"{total:.1f}", section.judge(total, COST))
    return section
