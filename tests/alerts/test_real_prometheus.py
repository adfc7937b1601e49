"""One rule file, run by a real Prometheus that scrapes the gateway and by the gateway itself: the same alerts."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.alerts.promtool import binary
from tests.support.doors import HTTP
from tests.support.gateways import Running, running
from tests.support.requests import counter, gauge, metrics, number
from tests.web.test_real_prometheus import free_port

pytestmark = pytest.mark.slow

WAIT_S = 30
RULES = """
groups:
  - name: shop
    interval: 1s
    labels: {team: core}
    rules:
      - record: job:stock:min
        expr: min by (job) (stock)
      - alert: StockLow
        expr: job:stock:min < 10
        for: 2s
        labels: {severity: '{{ if lt $value 5.0 }}critical{{ else }}warning{{ end }}'}
        annotations:
          summary: '{{ $labels.job | title }} has {{ $value | humanize }} of {{ query "max(stock)" | first | value }}'
      - alert: StockGone
        expr: stock == 0
      - alert: NeverPending
        expr: stock > 1e9
        for: 1h
      - alert: Waiting
        expr: sum by (job) (orders_total) > 0
        for: 1h
        annotations: {text: '{{ range query "sort_desc(stock)" }}{{ .Labels.item }}={{ .Value }};{{ end }}'}
      - alert: NothingOfIt
        expr: absent(absent_metric{kind="x"})
        keep_firing_for: 1m
"""


@contextmanager
def prometheus(directory: Path, gateway: Running) -> Iterator[str]:
    """Scrapes what the test sends, and nothing that rules have made of it; yields its address."""
    port = free_port()
    job = {
        "job_name": "gateway",
        "metrics_path": "/api/prometheus/federate",
        "honor_labels": True,
        "params": {"match[]": ["stock", "orders_total"]},
        "static_configs": [{"targets": [f"127.0.0.1:{gateway.gateway.ports['web_port']}"]}],
    }
    timing = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    settings = {"global": timing, "scrape_configs": [job], "rule_files": [str(directory / "rules.yml")]}
    (directory / "prometheus.yml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    command = [
        str(binary("prometheus")),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            process.send_signal(signal.SIGTERM)


def send(gateway: Running) -> None:
    some = [
        gauge("stock", number(4.0, item="cup"), number(0.0, item="pot"), number(250.0, item="tea")),
        counter("orders", number(3.0)),
    ]
    who = {"service.name": "shop", "service.instance.id": "one"}
    assert HTTP.export(gateway, "metrics", metrics(*some, resource=who)).code == 0


def asked(url: str, what: str) -> Any:
    try:
        reply = httpx.get(f"{url}/{what}")
    except httpx.ConnectError:
        return None
    return reply.json()["data"][what.partition("?")[0].replace("rules", "groups")] if reply.status_code == 200 else None


def alerts(url: str) -> list[tuple[str, str, str, str]]:
    """Of each: state, labels, annotations, value."""
    found = asked(url, "alerts") or []
    return sorted(
        (one["state"], json.dumps(one["labels"], sort_keys=True), json.dumps(one["annotations"]), one["value"])
        for one in found
    )


def until(seen: Callable[[], Any], send_more: Callable[[], None]) -> Any:
    end = time.monotonic() + WAIT_S
    while not (found := seen()):
        assert time.monotonic() < end, "it never came"
        send_more()
        time.sleep(0.3)
    return found


def test_one_rule_file_makes_the_same_alerts(tmp_path: Path) -> None:
    binary("prometheus")
    (tmp_path / "rules.yml").write_text(RULES, encoding="utf-8")
    settings = {"rule_files": (str(tmp_path / "rules.yml"),), "evaluation_interval": 1000}
    with running(tmp_path / "gateway", **settings) as gateway, prometheus(tmp_path, gateway) as theirs:
        ours = gateway.url("web_port", "/api/prometheus/api/v1")

        def same() -> Any:
            found = alerts(theirs)
            states = {state for state, *_ in found}
            return found if states == {"pending", "firing"} and len(found) == 4 and found == alerts(ours) else None

        until(same, lambda: send(gateway))
        (one,), (other,) = asked(ours, "rules"), asked(theirs, "rules")
        for key in ("name", "file", "interval", "limit"):
            assert one[key] == other[key]
        assert [shape(rule) for rule in one["rules"]] == [shape(rule) for rule in other["rules"]]


def shape(rule: dict[str, Any]) -> dict[str, Any]:
    """All but times."""
    moving = ("evaluationTime", "lastEvaluation", "alerts")
    return {key: value for key, value in rule.items() if key not in moving} | {"alerts": len(rule.get("alerts", ()))}
