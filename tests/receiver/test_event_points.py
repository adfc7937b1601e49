"""Event points of the exporter, posted to the gateway: the samples that the instruments had."""

from typing import Any

import httpx
import orjson
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from mirubato.analytics_engine.event_points import EventPoint, current_limits
from mirubato.analytics_engine.exporter import AnalyticsEngineMetricExporter
from mirubato.analytics_engine.layout import default_layout
from mirubato.analytics_engine.mapping import Mapper
from tests.support.gateways import Running
from tests.support.requests import fresh

PATH = "/api/event-points"


def body(points: list[EventPoint], **more: Any) -> bytes:
    written = [
        {"timestamp_ms": one.timestamp_ms, "index": one.index, "blobs": one.blobs, "doubles": one.doubles} | more
        for one in points
    ]
    return orjson.dumps({"dataset": "mirubato", "points": written})


class App:
    """Instruments, and what they have exported since the last time."""

    def __init__(self, name: str) -> None:
        exporter = AnalyticsEngineMetricExporter()
        self._reader = InMemoryMetricReader(exporter._preferred_temporality, exporter._preferred_aggregation)
        exporter.shutdown()
        self._mapper = Mapper(default_layout(), current_limits())
        resource = Resource({"service.name": name, "service.instance.id": "1"})
        self.meter = MeterProvider([self._reader], resource).get_meter("test")

    def points(self) -> list[EventPoint]:
        data = self._reader.get_metrics_data()
        assert isinstance(data, MetricsData)
        return self._mapper.points(data)


def post(gateway: Running, **request: Any) -> httpx.Response:
    return gateway.http.post(gateway.url("web_port", PATH), **request)


def value(gateway: Running, query: str) -> float:
    (one,) = gateway.api("query", query=query)["result"]
    return float(one["value"][1])


def test_what_instruments_had(gateway: Running) -> None:
    name = fresh()
    app = App(name)
    counter, gauge = app.meter.create_counter(f"{name}.hits"), app.meter.create_gauge(f"{name}.depth")
    histogram = app.meter.create_histogram(f"{name}.took", "s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
    for round_ in (1, 2):
        counter.add(3, {"route": "/a"})
        gauge.set(7 * round_)
        for one in (0.05, 0.5, 5.0):
            histogram.record(one)
        points = app.points()
        answer = post(gateway, content=body(points))
        assert (answer.status_code, answer.json()) == (200, {"written": len(points), "rejected": []})
    assert value(gateway, f'{name}_hits_total{{route="/a", job="{name}"}}') == 6
    assert value(gateway, f"{name}_depth") == 14
    assert value(gateway, f"{name}_took_seconds_count") == 6
    assert value(gateway, f'{name}_took_seconds_bucket{{le="1.0"}} or {name}_took_seconds_bucket{{le="1"}}') == 4
    assert value(gateway, f"{name}_took_seconds_sum") == pytest.approx(11.1)


def test_the_same_again_counts_once(gateway: Running) -> None:
    name = fresh()
    app = App(name)
    app.meter.create_counter(f"{name}.hits").add(5)
    points = app.points()
    for _ in range(2):
        assert post(gateway, content=body(points)).status_code == 200
    assert value(gateway, f"{name}_hits_total") == 5


def test_a_point_stands_for_many(gateway: Running) -> None:
    name = fresh()
    app = App(name)
    app.meter.create_counter(f"{name}.hits").add(5)
    app.meter.create_gauge(f"{name}.depth").set(2)
    assert post(gateway, content=body(app.points(), sample_interval=10)).status_code == 200
    assert (value(gateway, f"{name}_hits_total"), value(gateway, f"{name}_depth")) == (50, 2)


def test_good_points_beside_bad_ones(gateway: Running) -> None:
    name = fresh()
    app = App(name)
    app.meter.create_counter(f"{name}.hits").add(5)
    sent = orjson.loads(body(app.points()))
    sent["points"] += [
        {"blobs": ["x"] * 21},
        {"blobs": ["x", "mirubato/0", "counter"]},
        7,
        {"colour": 1},
        {"doubles": ["1"]},
    ]
    answer = post(gateway, content=orjson.dumps(sent)).json()
    assert answer["written"] == 1
    assert [one["position"] for one in answer["rejected"]] == [1, 2, 3, 4, 5]
    assert answer["rejected"][0]["message"] == "blobs: 21 are more than 20"
    assert value(gateway, f"{name}_hits_total") == 5


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (b"{", 400, "the body is no JSON"),
        (b"[]", 400, "an object with"),
        (b'{"points": 1}', 400, "a list of"),
        (orjson.dumps({"points": [{}] * 251}), 413, "251 points; one request has at most 250"),
    ],
)
def test_requests_that_are_none(gateway: Running, content: bytes, status: int, told: str) -> None:
    answer = post(gateway, content=content)
    assert answer.status_code == status
    assert told in answer.json()["error"]["message"]


def test_methods_and_encodings(gateway: Running) -> None:
    assert gateway.http.get(gateway.url("web_port", PATH)).status_code == 405
    assert post(gateway, content=b"{}", headers={"content-encoding": "gzip"}).status_code == 415
    assert post(gateway, content=b'{"points": []}').json() == {"written": 0, "rejected": []}
