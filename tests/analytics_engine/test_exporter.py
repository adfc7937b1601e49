"""The exporter behind the SDK, the writer of a Python Worker, and what importing them loads."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import Aggregation, ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource

from mirubato.analytics_engine.binding_writer import BindingWriter
from mirubato.analytics_engine.event_points import EventPoint
from mirubato.analytics_engine.exporter import AnalyticsEngineMetricExporter
from mirubato.analytics_engine.layout import default_layout
from mirubato.analytics_engine.reading import Reading, joined, read
from tests.analytics_engine.doors import door
from tests.analytics_engine.points import Kept, counter, metrics, number

NEVER = float("inf")  # the reader starts no thread; `force_flush` collects


def measured(exporter: AnalyticsEngineMetricExporter) -> MeterProvider:
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=NEVER)
    return MeterProvider([reader], resource=Resource({"service.name": "api"}))


def of(kept: Kept, metric: str) -> list[Reading]:
    return [r for r in joined(read(point, default_layout()) for point in kept.points) if r.metric == metric]


def test_each_collection_adds_rows_that_sum_to_what_was_counted() -> None:
    kept = Kept()
    provider = measured(AnalyticsEngineMetricExporter(kept))
    meter = provider.get_meter("shop")
    orders, active, sizes = meter.create_counter("orders"), meter.create_up_down_counter("active"), None
    sizes = meter.create_histogram("sizes", explicit_bucket_boundaries_advisory=[1.0, 2.0])
    for _ in range(3):
        orders.add(2, {"plan": "pro"})
        active.add(1)
        sizes.record(1.5)
        sizes.record(5)
        provider.force_flush()
    assert [(r.kind, r.value) for r in of(kept, "orders")] == [("counter", 2.0)] * 3
    assert [(r.kind, r.value) for r in of(kept, "active")] == [("updown", n) for n in (1.0, 2.0, 3.0)]
    assert [(r.count, r.total, r.buckets) for r in of(kept, "sizes")] == [(2.0, 6.5, {1.0: 0.0, 2.0: 1.0})] * 3
    provider.shutdown()
    assert kept.closed_within_s == pytest.approx(30, abs=1)


def test_exponential_histograms_on_request() -> None:
    kept = Kept()
    aggregation: dict[type, Aggregation] = {Histogram: ExponentialBucketHistogramAggregation()}
    provider = measured(AnalyticsEngineMetricExporter(kept, preferred_aggregation=aggregation))
    sizes = provider.get_meter("shop").create_histogram("sizes")
    for number_ in range(100):
        sizes.record(number_)
    provider.force_flush()
    (reading,) = of(kept, "sizes")
    assert (reading.kind, reading.count, reading.total, reading.zero_count) == ("exponential", 100.0, 4950.0, 1.0)
    assert sum(reading.buckets.values()) == 99.0


def test_nothing_is_raised_out_of_export(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Kept):
        def write(self, points: object) -> None:
            raise OSError("no")

    exporter = AnalyticsEngineMetricExporter(Broken())
    assert exporter.export(metrics(counter(number(1)))) is MetricExportResult.FAILURE
    assert exporter.export(None) is MetricExportResult.FAILURE  # type: ignore[arg-type]
    assert exporter.export(MetricsData([])) is MetricExportResult.FAILURE
    assert exporter.counts == {"failed_exports": 3}
    assert "could not be exported" in caplog.text


def test_the_name_mirubato_posts_to_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = entry_points(group="opentelemetry_metrics_exporter", name="mirubato")
    with door() as there:
        monkeypatch.setenv("MIRUBATO_ENDPOINT", there.url)
        exporter = entry.load()()
        assert isinstance(exporter, AnalyticsEngineMetricExporter)
        assert exporter.export(metrics(counter(number(4)))) is MetricExportResult.SUCCESS
        assert exporter.force_flush()
        exporter.shutdown(timeout=1000)
        assert [point["doubles"][2] for point in there.points] == [4.0]
        assert exporter.counts == {"written": 1}


def test_a_layout_file_that_cannot_be_used_gives_way_to_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "layout.toml"
    for text, tag in (('name = "mine"\nversion = 4', "mine/4"), ("nonsense", "mirubato/1")):
        file.write_text(text, encoding="utf-8")
        monkeypatch.setenv("MIRUBATO_LAYOUT", str(file))
        kept = Kept()
        AnalyticsEngineMetricExporter(kept).export(metrics(counter(number(1))))
        assert kept.points[0].blobs[1] == tag
    assert "MIRUBATO_LAYOUT" in caplog.text


class Double:
    """The binding: keeps points, refuses from some number on."""

    def __init__(self, takes: int = 1000) -> None:
        self.points: list[object] = []
        self.takes = takes

    def writeDataPoint(self, point: object, /) -> None:
        if len(self.points) >= self.takes:
            raise TypeError("no more")
        self.points.append(point)


def test_the_binding_gets_what_it_takes_in_the_request_itself() -> None:
    binding = Double()
    writer = BindingWriter(binding)
    exporter = AnalyticsEngineMetricExporter(writer)
    exporter.export(metrics(counter(number(2)), scope=("", "")))
    (point,) = binding.points
    blobs = ["orders", "mirubato/1", "counter", "1", "api", None, None, None]
    assert point == {
        "blobs": blobs,
        "doubles": [1_795_000_060_000.0, 1_795_000_000_000.0, 2.0],
        "indexes": ["api|orders"],
    }
    assert exporter.force_flush()
    exporter.shutdown()
    exporter.export(metrics(counter(number(2))))
    assert exporter.counts == {"written": 1, "dropped_closed": 1}


def test_an_invocation_has_250_points_and_no_more() -> None:
    binding = Double()
    writer = BindingWriter(binding)
    good = EventPoint(0, "i", ("a",), (1.0,))
    writer.write([EventPoint(0, "x" * 97, (), ())] + [good] * 251)
    assert len(binding.points) == 250
    assert writer.counts == {"written": 250, "dropped_past_limit": 1, "dropped_invocation_full": 1}


def test_what_the_runtime_throws_is_counted_and_its_form_can_be_another() -> None:
    binding = Double(takes=1)
    writer = BindingWriter(binding, convert=repr)
    writer.write([EventPoint(0, "i", ("a",), (1.0,))] * 2)
    assert binding.points == ["{'blobs': ['a'], 'doubles': [1.0], 'indexes': ['i']}"]
    assert writer.counts == {"written": 1, "dropped_refused": 1}


def test_it_loads_nothing_of_the_server() -> None:
    program = """
import sys
import mirubato.analytics_engine.exporter, mirubato.analytics_engine.binding_writer, mirubato.analytics_engine.reading
ours = {name for name in sys.modules if name.startswith("mirubato.")}
room = {name for name in ours if not name.startswith(("mirubato.analytics_engine", "mirubato.sdk"))}
heavy = {"numpy", "grpc", "google.protobuf", "orjson", "starlette", "uvicorn", "sqlite3"} & set(sys.modules)
print(sorted(room), sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['mirubato.clock', 'mirubato.errors'] []", done.stderr
