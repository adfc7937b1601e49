"""What the page asks: the dashboard of two services, the inbox, and ticks; time moves only in the samples."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.doors import HTTP
from tests.support.gateways import Running, running
from tests.support.requests import buckets, histogram, metrics, now_ms

BOUNDS = [0.1, 0.5]
MINUTE_MS = 60_000


def requests(at_ms: int, ok: int, failed: int, service: str) -> Any:
    """Cumulative counts: `ok` requests under 0.1 s, `failed` ones under 0.5 s."""
    points = [
        buckets([ok, 0, 0], BOUNDS, ok * 0.05, at_ms, **{"http.response.status_code": "200"}),
        buckets(
            [0, failed, 0], BOUNDS, failed * 0.3, at_ms, **{"http.response.status_code": "503", "error.type": "503"}
        ),
    ]
    return metrics(
        histogram("http.server.request.duration", *points, unit="s"),
        resource={"service.name": service, "service.version": "1.2"},
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A quarter of an hour of `shop` (one in ten fails) and `cart` (none does)."""
    with running(tmp_path_factory.mktemp("shop")) as one:
        now = now_ms()
        for minute in range(16):
            at = now - (15 - minute) * MINUTE_MS
            assert HTTP.export(one, "metrics", requests(at, 90 * minute, 10 * minute, "shop")).code == 0
            assert HTTP.export(one, "metrics", requests(at, 60 * minute, 0, "cart")).code == 0
        yield one


class TestDashboard:
    def test_services(self, shop: Running) -> None:
        answer = shop.get("/api/dashboard", start="15m").json()
        services = {one["service_name"]: one for one in answer["services"]}
        assert set(services) == {"shop", "cart"}
        assert not answer["waiting"]
        assert services["shop"]["error_rate"] == pytest.approx(0.1, rel=0.02)
        assert services["cart"]["error_rate"] == 0
        assert services["shop"]["rate_per_s"] == pytest.approx(100 / 60, rel=0.1)
        assert services["shop"]["p50_ms"] < 100 < services["shop"]["p95_ms"] <= 500
        assert services["shop"]["version"] == "1.2"
        assert services["shop"]["source"] == "http"

    def test_error_rates_over_time(self, shop: Running) -> None:
        series = shop.get("/api/metrics", start="15m", metric="error_rate", step="60s").json()["series"]
        rates = {one["labels"]["service_name"]: one for one in series}
        assert set(rates) == {"shop", "cart"}
        assert [value for _, value in rates["shop"]["points"]] == pytest.approx([0.1] * len(rates["shop"]["points"]))
        # Nothing is sampled here, so nothing is unknown.
        assert all(low == high for _, low, high in rates["shop"]["interval"])
        assert len(rates["cart"]["points"]) > 10

    def test_sparklines(self, shop: Running) -> None:
        (cart, _) = shop.get("/api/dashboard", start="15m").json()["services"]
        spark = cart["sparkline"]
        assert len(spark["times_ms"]) == len(spark["rate_per_s"]) == len(spark["error_rate"])
        assert spark["rate_per_s"][-1] == pytest.approx(1, rel=0.3)

    @pytest.mark.parametrize("asked", [{"start": "yesterday"}, {"start": "1h", "end": "2h"}])
    def test_what_is_no_range(self, shop: Running, asked: dict[str, str]) -> None:
        reply = shop.get("/api/dashboard", **asked)
        assert reply.status_code == 400
        assert 'invalid parameter "' in reply.json()["message"]

    def test_a_fresh_gateway_waits(self, tmp_path: Path) -> None:
        with running(tmp_path) as one:
            answer = one.get("/api/dashboard").json()
        assert answer["waiting"]
        assert answer["services"] == []


class TestInbox:
    def test_verdicts(self, shop: Running) -> None:
        assert HTTP.export(shop, "metrics", requests(now_ms() - 8 * 24 * 60 * MINUTE_MS, 1, 1, "old")).rejected
        refused = shop.http.post(
            shop.url("otlp_http_port", "/v1/traces"), content=b"not protobuf", headers={"content-type": "text/plain"}
        )
        assert refused.status_code == 415
        last = shop.get("/api/inbox").json()["requests"]
        assert {one["verdict"] for one in last} == {"ok", "partial", "refused"}
        (old,) = [one for one in last if one["verdict"] == "partial"]
        assert old["reasons"][0]["text"] == "older than MIRUBATO_RETENTION_RAW"
        assert "MIRUBATO_RETENTION_RAW" in old["reasons"][0]["fix"]
        assert [one["time_ms"] for one in last] == sorted((one["time_ms"] for one in last), reverse=True)


def test_events_tick(shop: Running) -> None:
    with httpx.stream("GET", shop.url("web_port", "/api/events"), timeout=10) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = reply.iter_lines()
        assert next(lines) == "event: tick"
        tick = orjson.loads(next(lines).removeprefix("data: "))
    assert tick["accepted"]["metrics"] > 0
    assert tick["last_sample_ms"] <= tick["now_ms"]
