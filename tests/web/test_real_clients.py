"""Clients of Prometheus that others wrote, at work on the gateway: promtool, and a Python library.

promtool's part is skipped where it is not on the path (Debian: apt-get install prometheus).
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_api_client.exceptions import PrometheusApiClientException
from prometheus_api_client.prometheus_connect import PrometheusConnect

from tests.support.doors import HTTP
from tests.support.gateways import Running
from tests.support.requests import buckets, counter, fresh, gauge, histogram, metrics, now_ms, number

PROMTOOL = shutil.which("promtool")
WAIT_S = 30


@pytest.fixture(scope="module")
def stock(gateway: Running) -> str:
    """A gauge of two zones and a counter `<name>_sold_total`, each minute for 5 minutes."""
    name, now = fresh("stock"), now_ms()
    times = [(step, now - 60_000 * (5 - step) - 1000) for step in range(6)]
    some = [
        gauge(name, *(number(step * 1.5, at, zone=zone) for step, at in times for zone in ("a", "b")), help_="Units"),
        counter(f"{name}_sold", *(number(60.0 * step, at) for step, at in times)),
        histogram(f"{name}_age", *(buckets([step, step], [1.0], step * 2.0, at) for step, at in times)),
    ]
    assert HTTP.export(gateway, "metrics", metrics(*some)).code == 0
    return name


def asked(gateway: Running, kind: str, *arguments: str) -> str:
    """What promtool prints; it must succeed."""
    url = gateway.url("web_port", "/api/prometheus")
    command = [str(PROMTOOL), "query", kind, *(one for one in arguments if one.startswith("--")), url]
    command += [one for one in arguments if not one.startswith("--")]
    done = subprocess.run(command, capture_output=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.slow
@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on the path")
class TestPromtool:
    def test_instant(self, gateway: Running, stock: str) -> None:
        told = asked(gateway, "instant", f"sum by (zone) ({stock})")
        assert sorted(line.split(" @")[0] for line in told.splitlines()) == ['{zone="a"} => 7.5', '{zone="b"} => 7.5']

    def test_scalar(self, gateway: Running) -> None:
        assert asked(gateway, "instant", "1 + 1").startswith("scalar: 2 @[")

    def test_range(self, gateway: Running, stock: str) -> None:
        end = now_ms() / 1000
        stretch = (f"--start={end - 240}", f"--end={end}", "--step=60s", "--format=json")
        found = json.loads(asked(gateway, "range", *stretch, f'{stock}{{zone="a"}}'))
        assert [value for _, value in found[0]["values"]] == ["1.5", "3", "4.5", "6", "7.5"]

    def test_range_of_a_quantile(self, gateway: Running, stock: str) -> None:
        query = f"histogram_quantile(0.5, sum by (le) (rate({stock}_age_bucket[5m])))"
        found = json.loads(asked(gateway, "range", "--format=json", query))
        assert found[0]["values"][-1][1] == "1"

    def test_series(self, gateway: Running, stock: str) -> None:
        """Its times are a year before now and after."""
        told = asked(gateway, "series", f"--match={stock}", f'--match={{__name__="{stock}_sold_total"}}')
        assert len(told.splitlines()) == 3
        assert 'zone="a"' in told

    def test_labels(self, gateway: Running, stock: str) -> None:
        assert asked(gateway, "labels", f"--match={stock}", "zone").split() == ["a", "b"]
        assert f"{stock}_sold_total" in asked(gateway, "labels", "__name__").split()

    def test_an_error_is_understood(self, gateway: Running) -> None:
        url = gateway.url("web_port", "/api/prometheus")
        command = [str(PROMTOOL), "query", "instant", url, "up{"]
        done = subprocess.run(command, capture_output=True, timeout=WAIT_S, check=False)
        assert done.returncode == 1
        assert b'bad_data: invalid parameter "query": 1:4: parse error' in done.stderr


@pytest.fixture
def client(gateway: Running) -> Iterator[PrometheusConnect]:
    with PrometheusConnect(gateway.url("web_port", "/api/prometheus")) as one:
        yield one


class TestPrometheusApiClient:
    def test_connection(self, client: PrometheusConnect) -> None:
        assert client.check_prometheus_connection()

    def test_lists(self, client: PrometheusConnect, stock: str) -> None:
        assert {stock, f"{stock}_sold_total", f"{stock}_age_bucket"} <= set(client.all_metrics())
        assert {"__name__", "zone"} <= set(client.get_label_names())
        assert client.get_label_values("zone", {"match[]": stock}) == ["a", "b"]
        begin, end = datetime.fromtimestamp(now_ms() / 1000 - 600, UTC), datetime.fromtimestamp(now_ms() / 1000, UTC)
        found = client.get_series(begin, end, {"match[]": stock})
        assert sorted(one["zone"] for one in found) == ["a", "b"]
        (described,) = [one for one in client.get_metric_metadata(stock) if one["metric_name"] == stock]
        assert (described["type"], described["help"]) == ("gauge", "Units")

    def test_what_is_empty(self, client: PrometheusConnect) -> None:
        assert client.get_targets() == {"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}}
        assert client.get_scrape_pools() == []

    def test_values(self, client: PrometheusConnect, stock: str) -> None:
        found = client.get_current_metric_value(stock, {"zone": "a"})
        assert [one["value"][1] for one in found] == ["7.5"]
        assert client.custom_query(f"sum({stock})")[0]["value"][1] == "15"

    def test_ranges(self, client: PrometheusConnect, stock: str) -> None:
        begin, end = datetime.fromtimestamp(now_ms() / 1000 - 240, UTC), datetime.fromtimestamp(now_ms() / 1000, UTC)
        (found,) = client.custom_query_range(f"rate({stock}_sold_total[2m])", begin + timedelta(minutes=1), end, "60")
        assert {value for _, value in found["values"]} == {"1"}
        raw = client.get_metric_range_data(stock, {"zone": "b"}, start_time=begin, end_time=end)
        assert [float(value) for one in raw for _, value in one["values"]] == [3, 4.5, 6, 7.5]

    def test_aggregation(self, client: PrometheusConnect, stock: str) -> None:
        found: Any = client.get_metric_aggregation(f'{stock}{{zone="a"}}', ["max", "min"])
        assert found["max"] == 7.5

    def test_an_error_is_understood(self, client: PrometheusConnect) -> None:
        with pytest.raises(PrometheusApiClientException, match="parse error"):
            client.custom_query("up{")
