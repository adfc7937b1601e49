"""The rest of the web port: history, health, probes, the gateway's own metrics, errors."""

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from tests.support.doors import GRPC, HTTP
from tests.support.gateways import Running, running
from tests.support.requests import counter, exponential, fresh, gauge, metrics, now_ms, number, powers, records


def history(running: Running, **parameters: Any) -> Any:
    reply = running.get("/api/metrics", **parameters)
    assert reply.status_code == 200, reply.text
    return reply.json()


def stored(gateway: Running, *values: tuple[int, float], **labels: str) -> str:
    """A gauge with values so many seconds ago."""
    name, now = fresh(), now_ms()
    points = [number(value, now - 1000 * ago, **labels) for ago, value in values]
    assert HTTP.export(gateway, "metrics", metrics(gauge(name, *points))).code == 0
    return name


class TestHistory:
    def test_the_last_hour_by_default(self, gateway: Running) -> None:
        name = stored(gateway, (3000, 1.0), (10, 2.0), zone="a")
        before = now_ms() / 1000
        found = history(gateway, metric=name)
        assert before <= found["end"] <= now_ms() / 1000
        assert (found["end"] - found["start"], found["step"], found["truncated"]) == (3600, 15, False)
        (series,) = found["series"]
        assert series["metric"] == name
        assert series["labels"] == {"zone": "a", "job": "shop", "service_name": "shop"}
        values = [value for _, value in series["points"]]
        assert (set(values), values.count(1.0)) == ({1.0, 2.0}, 20), "5 minutes of look-back at a point each 15 s"

    @pytest.mark.parametrize("end", ["now", "", "30m", "{now}", "{iso}"])
    @pytest.mark.parametrize("start", ["1h", "1d", "90m", "7d", "{hour_ago}"])
    def test_times(self, gateway: Running, start: str, end: str) -> None:
        name, now = stored(gateway, (2300, 1.0)), now_ms() / 1000
        words = {"now": now, "hour_ago": now - 3600, "iso": datetime.fromtimestamp(now, UTC).isoformat()}
        found = history(gateway, metric=name, start=start.format(**words), end=end.format(**words), step="1m")
        length = {"1h": 3600, "1d": 86_400, "90m": 5400, "7d": 604_800, "{hour_ago}": 3600}[start]
        length -= 1800 if end == "30m" else 0
        assert found["end"] - found["start"] == pytest.approx(length, abs=2)
        assert found["step"] == 60
        assert [value for _, value in found["series"][0]["points"]] == [1.0] * 5

    def test_sums_by_labels(self, gateway: Running) -> None:
        name, now = fresh(), now_ms()
        points = [
            number(value, now, zone=zone, route=route)
            for value, zone, route in ((1.0, "a", "/x"), (2.0, "a", "/y"), (4.0, "b", "/x"), (8.0, "", "/x"))
        ]
        HTTP.export(gateway, "metrics", metrics(gauge(name, *points)))

        def grouped(by: str) -> dict[tuple[tuple[str, str], ...], float]:
            found = history(gateway, metric=name, start=now / 1000, end=now / 1000, group_by=by)
            return {tuple(one["labels"].items()): one["points"][0][1] for one in found["series"]}

        assert grouped("zone") == {(): 8.0, (("zone", "a"),): 3.0, (("zone", "b"),): 4.0}
        assert grouped("route") == {(("route", "/x"),): 13.0, (("route", "/y"),): 2.0}
        assert grouped("zone, route")[("zone", "a"), ("route", "/y")] == 2.0
        assert grouped("nothing") == {(): 15.0}

    def test_what_json_has_no_number_for(self, gateway: Running) -> None:
        for value, shown in ((math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf")):
            found = history(gateway, metric=stored(gateway, (0, value)))
            assert found["series"][0]["points"][-1][1] == shown

    def test_all_metrics_where_none_is_named(self, tmp_path: Path) -> None:
        with running(tmp_path) as one:
            names = {stored(one, (0, 1.0)), stored(one, (0, 1.0))}
            assert {series["metric"] for series in history(one, start="1m")["series"]} == names

    def test_native_histograms_are_left_out(self, gateway: Running) -> None:
        name = fresh()
        HTTP.export(gateway, "metrics", metrics(exponential(name, powers([1]))))
        assert history(gateway, metric=name)["series"] == []

    def test_a_thousand_series_are_the_most(self, gateway: Running) -> None:
        name, now = fresh(), now_ms()
        points = [number(1.0, now, number=str(index)) for index in range(1001)]
        HTTP.export(gateway, "metrics", metrics(gauge(name, *points)))
        found = history(gateway, metric=name, start="1m", step="1m")
        assert (len(found["series"]), found["truncated"]) == (1000, True)

    @pytest.mark.parametrize(
        ("parameters", "told"),
        [
            ({"start": "yesterday"}, 'invalid parameter "start"'),
            ({"start": "-1h"}, 'invalid parameter "start"'),
            ({"end": "x"}, 'invalid parameter "end"'),
            ({"start": "1h", "end": "2h"}, 'invalid parameter "end": before "start"'),
            ({"start": "9" * 4000 + "h"}, 'invalid parameter "start"'),
            ({"start": "2023-11-14T22:13:20"}, 'invalid parameter "start"'),
            ({"step": "x"}, 'invalid parameter "step"'),
            ({"step": "0"}, "zero or negative query resolution"),
            ({"start": "1h", "step": "100ms"}, "11,000 points"),
            ({"timeout": "x"}, 'invalid parameter "timeout"'),
        ],
    )
    def test_bad_parameters_are_400(self, gateway: Running, parameters: dict[str, str], told: str) -> None:
        reply = gateway.get("/api/metrics", **parameters)
        assert (reply.status_code, reply.headers["content-type"]) == (400, "application/json")
        assert reply.json()["code"] == "bad_query"
        assert reply.json()["message"].startswith(told) or told in reply.json()["message"]

    def test_a_deadline_is_503(self, gateway: Running) -> None:
        reply = gateway.get("/api/metrics", timeout="0s")
        assert (reply.status_code, reply.json()["code"]) == (503, "query_timeout")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("narrow"), max_query_series=1) as one:
        yield one


def test_a_limit_is_422_and_names_the_setting(narrow: Running) -> None:
    name = stored(narrow, (0, 1.0))
    assert history(narrow, metric=name)["series"]
    stored(narrow, (0, 1.0))
    reply = narrow.get("/api/metrics")
    assert (reply.status_code, reply.json()["code"]) == (422, "query_limit")
    assert "MIRUBATO_MAX_QUERY_SERIES=1" in reply.json()["message"]


class TestHealth:
    def test_healthy(self, gateway: Running) -> None:
        at = now_ms()
        HTTP.export(gateway, "metrics", metrics(gauge(fresh(), number(1.0, at))))
        reply = gateway.get("/api/health")
        health = reply.json()
        assert (reply.status_code, health["status"]) == (200, "ok")
        assert {"version", "uptime_s", "storage", "last_sample_ms", "queues"} <= set(health)
        assert health["last_sample_ms"] >= at
        assert health["uptime_s"] >= 0
        assert {"series", "unsealed_samples", "bytes", "last_commit_ms"} <= set(health["storage"])
        assert health["storage"]["series"] >= 1
        assert health["storage"]["bytes"] > 0
        assert health["queues"]["waiting_bytes"] == 0
        assert health["queues"]["writer"] >= 0

    def test_of_a_gateway_without_samples(self, tmp_path: Path) -> None:
        with running(tmp_path) as empty:
            health = empty.get("/api/health").json()
            assert (health["status"], health["last_sample_ms"], health["storage"]["series"]) == ("ok", None, 0)
            assert empty.get("/api/prometheus").text == ""
            assert empty.api("labels") == []
            assert history(empty)["series"] == []

    def test_the_store_fails_and_recovers(self, tmp_path: Path) -> None:
        with running(tmp_path) as one:
            call = one.gateway.store.writer.call
            some = metrics(gauge("up", number(1.0)))
            assert (HTTP.export(one, "metrics", some).code, one.get("/-/ready").status_code) == (0, 200)
            call(lambda file: file.execute("PRAGMA query_only=1"), transaction=False)
            assert HTTP.export(one, "metrics", some).status == 503
            reply = one.get("/api/health")
            assert (reply.status_code, reply.json()["status"]) == (503, "cannot store")
            assert (one.get("/-/ready").status_code, one.get("/-/healthy").status_code) == (503, 200)
            call(lambda file: file.execute("PRAGMA query_only=0"), transaction=False)
            assert HTTP.export(one, "metrics", some).code == 0
            assert (one.get("/api/health").status_code, one.get("/-/ready").status_code) == (200, 200)

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize(("path", "text"), [("/-/healthy", "alive\n"), ("/-/ready", "ready\n")])
    def test_probes(self, gateway: Running, method: str, path: str, text: str) -> None:
        reply = gateway.http.request(method, gateway.url("web_port", path))
        assert (reply.status_code, reply.text) == (200, text if method == "GET" else "")


class TestOwnMetrics:
    def families(self, gateway: Running) -> dict[str, Family]:
        reply = gateway.get("/metrics")
        assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return {family.name: family for family in text_string_to_metric_families(reply.text)}

    def value(self, gateway: Running, name: str, **labels: str) -> float:
        samples = [sample for family in self.families(gateway).values() for sample in family.samples]
        return sum(
            sample.value for sample in samples if sample.name == name and sample.labels.items() >= labels.items()
        )

    def test_all_that_was_promised(self, gateway: Running) -> None:
        HTTP.export(gateway, "metrics", metrics(gauge(fresh(), number(1.0), number(1.0, 0))))
        found = self.families(gateway)
        types = {
            "mirubato_received_items": "counter",
            "mirubato_rejected_items": "counter",
            "mirubato_requests": "counter",
            "mirubato_received_bytes": "counter",
            "mirubato_sealed_samples": "counter",
            "mirubato_commit_duration_seconds": "histogram",
            "mirubato_queue_bytes": "gauge",
            "mirubato_storage_bytes": "gauge",
            "mirubato_series": "gauge",
            "mirubato_unsealed_samples": "gauge",
            "mirubato_build_info": "gauge",
            "target_info": "gauge",
        }
        assert {name: family.type for name, family in found.items() if name in types} == types
        assert all(name == "target_info" or name.startswith("mirubato_") for name in found)
        assert all(family.documentation for family in found.values())

    def test_they_count(self, gateway: Running) -> None:
        def numbers() -> list[float]:
            return [
                self.value(gateway, "mirubato_received_items_total", signal="metrics"),
                self.value(gateway, "mirubato_received_items_total", signal="logs"),
                self.value(gateway, "mirubato_rejected_items_total", signal="metrics", reason="too_old"),
                self.value(gateway, "mirubato_requests_total", door="grpc", signal="metrics", result="ok"),
                self.value(gateway, "mirubato_requests_total", door="http", signal="metrics", result="partial"),
                self.value(gateway, "mirubato_requests_total", door="http", signal="logs", result="ok"),
                self.value(gateway, "mirubato_requests_total", door="http", signal="traces", result="BadRequest"),
                self.value(gateway, "mirubato_requests_total", door="http", signal="logs", result="Unsupported"),
                self.value(gateway, "mirubato_received_bytes_total", signal="metrics"),
                self.value(gateway, "mirubato_commit_duration_seconds_count"),
            ]

        before = numbers()
        first = metrics(gauge(fresh(), number(1.0), number(1.0, 0), number(2.0, 0)))
        second = metrics(counter(fresh(), number(1.0, zone="a"), number(1.0, zone="b")))
        HTTP.export(gateway, "metrics", first)
        GRPC.export(gateway, "metrics", second)
        HTTP.export(gateway, "logs", records(5))
        HTTP.send(gateway, "traces", b"\xff")
        gateway.http.post(gateway.url("otlp_http_port", "/v1/logs"), content=b"text")
        sizes = len(first.SerializeToString()) + len(second.SerializeToString())
        *risen, commits = [after - earlier for earlier, after in zip(before, numbers(), strict=True)]
        assert risen == [3, 5, 2, 1, 1, 1, 1, 1, sizes]
        assert commits >= 2

    def test_gauges(self, gateway: Running) -> None:
        HTTP.export(gateway, "metrics", metrics(gauge(fresh(), number(1.0))))
        assert self.value(gateway, "mirubato_build_info") == 1
        assert self.value(gateway, "mirubato_storage_bytes") > 0
        assert self.value(gateway, "mirubato_queue_bytes") == 0
        assert self.value(gateway, "mirubato_unsealed_samples") > 0


class TestErrors:
    @pytest.mark.parametrize("path", ["/nothing", "/api/nothing", "/api", "/v2/metrics", "/api/metrics/x"])
    def test_404(self, gateway: Running, path: str) -> None:
        reply = gateway.get(path)
        assert (reply.status_code, reply.headers["content-type"]) == (404, "application/json")
        assert reply.json() == {"code": "not_found", "message": f"there is nothing at {path}"}

    @pytest.mark.parametrize("path", ["/api/metrics", "/api/health", "/-/ready", "/metrics", "/", "/api/prometheus"])
    def test_405(self, gateway: Running, path: str) -> None:
        reply = gateway.post(path)
        assert (reply.status_code, set(reply.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
        assert reply.json() == {"code": "method_not_allowed", "message": f"{path} does not take POST"}

    def test_500(self, gateway: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        monkeypatch.setattr(gateway.gateway.reader, "newest", None)
        reply = gateway.get("/api/prometheus")
        assert (reply.status_code, reply.json()["code"]) == (500, "internal")
        until = time.monotonic() + 5  # the server logs it after it has answered
        while "Traceback" not in caplog.text and time.monotonic() < until:
            time.sleep(0.01)
        assert "'NoneType' object is not callable" in caplog.text


def test_long_answers_are_compressed_for_those_who_ask(gateway: Running) -> None:
    some = (gauge(fresh(), number(1.0, now_ms(), why="long enough to be worth it")) for _ in range(30))
    HTTP.export(gateway, "metrics", metrics(*some))
    for path in ("/metrics", "/api/prometheus", "/api/metrics"):
        packed = gateway.get(path, {"accept-encoding": "gzip"})
        plain = gateway.get(path, {"accept-encoding": "identity"})
        assert (packed.headers.get("content-encoding"), plain.headers.get("content-encoding")) == ("gzip", None)
