"""The whole chain: an app's instruments -> the exporter -> the relay in workerd -> rows -> generated SQL on chdb."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import orjson
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from mirubato.analytics_engine.event_points import EventPoint
from mirubato.analytics_engine.exporter import AnalyticsEngineMetricExporter
from mirubato.analytics_engine.http_writer import HttpWriter
from mirubato.analytics_engine.layout import default_layout
from mirubato.analytics_engine.sql import question, statement
from mirubato.clock import now_ms
from mirubato.local_analytics.engine import LocalAnalytics
from mirubato.local_analytics.store import EventPointStore
from mirubato.sdk.instruments import instruments_of
from mirubato.sdk.monitor import Monitor
from tests.analytics_engine.runtime import DATASET, TOKEN, Runtime, blobs, doubles, running, text

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("chdb") is None, reason="no chdb here: pip install 'mirubato-monitoring[chdb]'"),
]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with running(tmp_path) as one:
        yield one


def test_what_an_app_measured_is_what_sql_answers(runtime: Runtime, tmp_path: Path) -> None:
    exporter = AnalyticsEngineMetricExporter(HttpWriter(runtime.relay, token=TOKEN))
    resource = Resource({"service.name": "shop"})
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], resource, shutdown_on_exit=False)
    monitor = Monitor(instruments_of(provider), event_points=lambda *event: exporter.event(resource.attributes, *event))
    for number in range(100):
        status = 503 if number % 4 == 0 else 200
        monitor.track_request(status, 20, {"path": "/a", "method": "GET"})
        monitor.track("render", {"ms": 2.0}, {"kind": "pdf"}, sample=0.999)
    provider.shutdown()
    rows = runtime.arrived.take(exporter.counts["written"])

    store = EventPointStore(tmp_path / "kept", rows_max=1000)
    engine = LocalAnalytics(store)
    try:
        points = [
            EventPoint(now_ms() - 2000, text(row["index1"]), tuple(blobs(row)), tuple(doubles(row))) for row in rows
        ]
        store.write(DATASET, points, now_ms())

        def value(sql: str) -> float:
            body, _ = engine.answer(sql)
            return float(orjson.loads(body)["data"][0]["value"])

        layout = default_layout()
        assert value(statement(question("error rate by http.route"), layout, DATASET)) == 0.25
        assert value(statement(question("count"), layout, DATASET)) == 100
        assert value(statement(question("mean"), layout, DATASET)) == pytest.approx(0.02)
        events = f"FROM {DATASET} WHERE blob1 = 'render' AND blob3 = 'event'"
        picked = value(f"SELECT sum(_sample_interval * double2) AS value {events}")
        assert picked == pytest.approx(100, abs=6)
        assert value(f"SELECT avg(double3) AS value {events}") == 2.0
    finally:
        engine.close()
        store.close(5)
