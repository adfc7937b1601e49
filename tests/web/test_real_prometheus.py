"""A real Prometheus scrapes the gateway.

Skipped where no `prometheus` and no `promtool` are on the path (Debian: apt-get install prometheus).
"""

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.doors import HTTP
from tests.support.gateways import Running, running
from tests.support.requests import buckets, counter, exemplar, exponential, gauge, histogram, metrics, number, powers

pytestmark = pytest.mark.slow
PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
WAIT_S = 30
TRACE = "0123456789abcdef0123456789abcdef"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def prometheus(directory: Path, gateway: Running) -> Iterator[Callable[..., Any]]:
    """A server that scrapes all pages of a gateway each second; yields its HTTP API."""
    address, port = f"127.0.0.1:{gateway.gateway.ports['web_port']}", free_port()
    jobs = [
        {
            "job_name": path.replace("/", "-"),
            "metrics_path": path,
            "honor_labels": True,
            "params": {"match[]": ['{__name__=~".+"}']} if path.endswith("federate") else {},
            "static_configs": [{"targets": [address]}],
        }
        for path in ("/api/prometheus", "/api/prometheus/federate", "/metrics")
    ]
    settings = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
    (directory / "prometheus.yml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    command = [
        str(PROMETHEUS),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield lambda endpoint, **asked: ask(f"http://127.0.0.1:{port}/api/v1/{endpoint}", asked)
        finally:
            process.send_signal(signal.SIGTERM)


def ask(url: str, asked: dict[str, Any]) -> Any:
    """The data of an answer; None while it is not ready."""
    try:
        reply = httpx.get(url, params=asked)
    except httpx.ConnectError:
        return None
    return reply.json()["data"] if reply.status_code == 200 else None


def wait_for(found: Callable[[], Any]) -> Any:
    until = time.monotonic() + WAIT_S
    while not (seen := found()):
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.2)
    return seen


def newest(api: Callable[..., Any], query: str) -> list[str]:
    return [one["value"][1] for one in api("query", query=query)["result"]]


def send(gateway: Running) -> None:
    counted, measured = number(3.0, route='/a "b"'), buckets([1, 2, 3], [0.5, 10], 20.5)
    measured.exemplars.append(exemplar(0.25, TRACE))
    some = [
        counter("orders", counted, help_='What was "ordered"\n'),
        gauge("stock", number(-1.5), unit="By"),
        histogram("latency", measured, unit="s"),
        exponential("sizes", powers([1, 2], zero=1, total=5.0)),
        # Where two types want one name, one of them stands untyped: the scrape must not fail.
        gauge("orders", number(9.0)),
        counter("broken", number(-1.0)),
    ]
    assert HTTP.export(gateway, "metrics", metrics(*some)).code == 0


@pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus on the path")
def test_a_real_prometheus_takes_what_we_expose(tmp_path: Path) -> None:
    with running(tmp_path / "gateway") as gateway, prometheus(tmp_path, gateway) as api:

        def all_up() -> bool:
            send(gateway)
            targets = (api("targets") or {}).get("activeTargets", [])
            return [one["health"] for one in targets] == ["up"] * 3

        wait_for(all_up)
        assert [one["value"][1] for one in api("query", query="up")["result"]] == ["1"] * 3
        expected = {
            "orders_total": "3",
            "orders": "9",
            "stock_bytes": "-1.5",
            'latency_seconds_bucket{le=~"0.5"}': "1",
            'latency_seconds_bucket{le=~"10|10.0"}': "3",
            "latency_seconds_sum": "20.5",
            "latency_seconds_count": "6",
            "sizes_count": "4",
            'sizes_bucket{le="+Inf"}': "4",
            "broken_total": "-1",
            'mirubato_received_items_total{signal="metrics"} > bool 0': "1",
        }
        for query, value in expected.items():
            found = wait_for(partial(newest, api, query))
            assert set(found) == {value}, query
        (labels,) = api("series", **{"match[]": "orders_total"})
        assert labels == {
            "__name__": "orders_total",
            "job": "shop",
            "service_name": "shop",
            "route": '/a "b"',
            **instance(gateway),
        }
        asked = {"query": 'latency_seconds_bucket{le="0.5"}', "start": 0, "end": time.time() + 60}
        (found,) = wait_for(partial(api, "query_exemplars", **asked))
        assert {(one["labels"]["trace_id"], one["value"]) for one in found["exemplars"]} == {(TRACE, "0.25")}


def instance(gateway: Running) -> dict[str, str]:
    """Our samples name no instance, so Prometheus puts in the address that it scraped."""
    return {"instance": f"127.0.0.1:{gateway.gateway.ports['web_port']}"}


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on the path")
@pytest.mark.parametrize("path", ["/api/prometheus", "/metrics"])
def test_promtool_can_read_it(tmp_path: Path, path: str) -> None:
    with running(tmp_path) as gateway:
        send(gateway)
        text = gateway.get(path).content
    command = [str(PROMTOOL), "check", "metrics"]
    checked = subprocess.run(command, input=text, capture_output=True, timeout=WAIT_S, check=False)
    assert b"error while linting" not in checked.stderr, checked.stderr
    assert checked.returncode in (0, 3), checked.stderr
    if path == "/metrics":
        assert checked.stderr == b""
