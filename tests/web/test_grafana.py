"""Grafana on top of the gateway: the calls of its Prometheus plug-in, and the dashboards of deploy/grafana.

Source of the calls: grafana/grafana-prometheus-datasource, pkg/promlib and packages/grafana-prometheus.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from prometheus_client.parser import text_string_to_metric_families

from mirubato.demo.day import Day
from mirubato.demo.shop import Shop
from tests.support.doors import HTTP
from tests.support.gateways import API, Running, running
from tests.support.requests import buckets, fresh, gauge, histogram, metrics, now_ms, number

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
DASHBOARDS = sorted((DEPLOY / "dashboards").glob("*.json"))
SHOP_S = 60
# What Grafana puts in place of its variables, with everything chosen.
VARIABLES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"} | dict.fromkeys(
    ("$service", "$route", "$script"), ".*"
)


@pytest.fixture(scope="module")
def latency(gateway: Running) -> str:
    """A histogram of seconds, two points a minute apart, the newest 20 s old, of two routes."""
    name, now = fresh("latency"), now_ms()
    points = [
        buckets([count, 2 * count, 0], [0.1, 1.0], float(count), now - ago, route=route)
        for ago, count in ((80_000, 1), (20_000, 11))
        for route in ("/a", "/b")
    ]
    assert HTTP.export(gateway, "metrics", metrics(histogram(name, *points, unit="s"))).code == 0
    return f"{name}_seconds"


class TestCalls:
    def test_save_and_test(self, gateway: Running) -> None:
        reply = gateway.post(f"{API}/query", query="1+1", time="4")
        assert reply.json() == {"status": "success", "data": {"resultType": "scalar", "result": [4, "2"]}}
        assert "features" not in gateway.api("status/buildinfo"), "with them it is taken for Mimir"

    def test_the_start_of_a_data_source(self, gateway: Running) -> None:
        assert gateway.api("rules") == {"groups": []}
        at = now_ms()
        probe = gateway.post(f"{API}/query_exemplars", query="test", start=at - 3_600_000, end=at)
        assert (probe.status_code, probe.json()["data"]) == (200, []), "else exemplars are switched off"

    def test_explore(self, gateway: Running, latency: str) -> None:
        end = now_ms() / 1000
        stretch = {"start": end - 3600, "end": end}
        names = gateway.api("label/__name__/values", limit=40_000, **stretch)
        assert {f"{latency}_bucket", f"{latency}_sum", f"{latency}_count"} <= set(names)
        assert gateway.api("metadata", limit=40_000)[latency][0]["type"] == "histogram"
        labels = gateway.post(f"{API}/labels", **{"match[]": f"{latency}_bucket"}, limit=40_000, **stretch).json()
        assert {"__name__", "le", "route", "service_name"} <= set(labels["data"])
        routes = gateway.api("label/route/values", **{"match[]": f'{latency}_bucket{{le="+Inf"}}'}, **stretch)
        assert routes == ["/a", "/b"]

    def test_a_panel(self, gateway: Running, latency: str) -> None:
        """Range and instant query of one expression at once, and its exemplars."""
        end = now_ms() // 1000
        query = f"histogram_quantile(0.95, sum by (le, route) (rate({latency}_bucket[2m])))"
        asked = {"query": query, "start": end - 900, "end": end, "step": "15"}
        ranged = gateway.post(f"{API}/query_range", **asked).json()
        assert {one["metric"]["route"] for one in ranged["data"]["result"]} == {"/a", "/b"}
        assert all(isinstance(value, str) for one in ranged["data"]["result"] for _, value in one["values"])
        instant = gateway.post(f"{API}/query", query=query, time=end).json()
        assert len(instant["data"]["result"]) == 2
        assert gateway.post(f"{API}/query_exemplars", **asked).status_code == 200

    @pytest.mark.parametrize(
        ("endpoint", "asked"),
        [
            ("labels", {}),  # label_names()
            ("label/route/values", {}),  # label_values(route)
            ("label/route/values", {"match[]": '{name}_count{{route!=""}}'}),  # label_values(metric{...}, route)
            ("label/__name__/values", {"match[]": '{{__name__=~".*{name}.*"}}'}),  # metrics(regex)
            ("query", {"query": "sum by (route) ({name}_count)"}),  # query_result(query)
            ("series", {"match[]": '{name}_count{{route="/a"}}'}),  # a bare selector
            ("series", {"match[]": '{{__name__!=""}}', "limit": "40000"}),  # of a data source that is called old
        ],
    )
    def test_variables(self, gateway: Running, latency: str, endpoint: str, asked: dict[str, str]) -> None:
        end = now_ms() / 1000
        filled = {key: value.format(name=latency) for key, value in asked.items()}
        found = gateway.api(endpoint, start=end - 3600, end=end, time=end, **filled)
        assert found if isinstance(found, list) else found["result"]

    @pytest.mark.parametrize("endpoint", ["label/route/values", "metadata", "rules"])
    def test_after_405_it_asks_with_get(self, gateway: Running, endpoint: str) -> None:
        assert gateway.post(f"{API}/{endpoint}").status_code == 405
        assert gateway.get(f"{API}/{endpoint}").status_code == 200

    def test_alerting(self, gateway: Running) -> None:
        paging = {"exclude_alerts": "true", "group_limit": "100", "file[]": "a", "rule_group[]": "b"}
        assert gateway.api("rules", type="alert", **paging) == {"groups": []}
        assert gateway.get(f"{API}/status/flags").status_code == 404, "else its older page takes this for Thanos"


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def targets(path: Path) -> list[dict[str, Any]]:
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    return [target for panel in panels(dashboard) for target in panel.get("targets", ())]


def filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def unanswered(gateway: Running, path: Path) -> set[str]:
    """The expressions of a dashboard that have no answer now, or say something about themselves."""
    missing, end = set(), now_ms() / 1000
    for target in targets(path):
        expression = filled(target["expr"])
        if target.get("instant"):
            reply = gateway.post(f"{API}/query", query=expression, time=end)
        else:
            reply = gateway.post(f"{API}/query_range", query=expression, start=end - 900, end=end, step="5")
        assert reply.status_code == 200, (expression, reply.text)
        assert not reply.json().keys() & {"warnings", "infos"}, (expression, reply.text)
        if not reply.json()["data"]["result"]:
            missing.add(expression)
    return missing


class TestDashboards:
    def test_there_are_some(self) -> None:
        assert [path.stem for path in DASHBOARDS] == ["costs", "gateway", "services", "workers"]

    @pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
    def test_what_grafana_needs(self, path: Path) -> None:
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        assert dashboard["uid"].startswith("mirubato-")
        assert dashboard["title"]
        assert dashboard["description"]
        numbers = [panel["id"] for panel in panels(dashboard)]
        assert len(set(numbers)) == len(numbers)
        for panel in panels(dashboard):
            grid = panel["gridPos"]
            assert grid["x"] + grid["w"] <= 24
            for target in panel.get("targets", ()):
                assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        taken = [
            (x, y)
            for grid in (panel["gridPos"] for panel in panels(dashboard))
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        ]
        assert len(set(taken)) == len(taken), "panels overlap"

    @pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
    def test_every_expression_is_one(self, gateway: Running, path: Path) -> None:
        for target in targets(path):
            gateway.api("parse_query", query=filled(target["expr"]))

    def test_the_gateways_own_metrics(self, tmp_path: Path) -> None:
        """As they are at /metrics, brought back into the gateway as a Prometheus would that scrapes it."""
        with running(tmp_path) as one:
            HTTP.export(one, "metrics", metrics(gauge("up", number(1.0), number(1.0, 0))))
            HTTP.send(one, "traces", b"\xff")
            for ago in (30_000, 15_000, 0):
                HTTP.export(one, "metrics", metrics(*scraped(one, now_ms() - ago)))
            assert unanswered(one, DEPLOY / "dashboards" / "gateway.json") == set()

    @pytest.mark.slow
    def test_the_shop(self, tmp_path: Path) -> None:
        """All that the services' dashboard asks for, the demo's instrumented services send."""
        with running(tmp_path / "gateway", max_new_series_per_minute=1_000_000) as one:
            ports, day = one.gateway.ports, Day(seed=1, length_s=240.0, mean_rate=20.0)
            with Shop(ports["grpc_port"], ports["otlp_http_port"], tmp_path / "shop", day) as shop:
                until = time.monotonic() + SHOP_S
                while missing := unanswered(one, DEPLOY / "dashboards" / "services.json"):
                    shop.check()
                    assert time.monotonic() < until, missing
                    time.sleep(1)
            for variable in json.loads((DEPLOY / "dashboards" / "services.json").read_text())["templating"]["list"][1:]:
                metric = variable["definition"].removeprefix("label_values(").partition(",")[0].partition("{")[0]
                assert one.api(f"label/{LABELS[variable['name']]}/values", **{"match[]": metric})
                assert variable["definition"].endswith(f", {LABELS[variable['name']]})")


LABELS = {"service": "service_name", "route": "http_route"}


def scraped(gateway: Running, at_ms: int) -> list[Metric]:
    """The samples of /metrics, each under its own name."""
    samples = [
        sample for family in text_string_to_metric_families(gateway.get("/metrics").text) for sample in family.samples
    ]
    names = sorted({sample.name for sample in samples})
    return [
        gauge(name, *(number(sample.value, at_ms, **sample.labels) for sample in samples if sample.name == name))
        for name in names
    ]


class TestProvisioning:
    def test_the_data_source(self) -> None:
        text = (DEPLOY / "provisioning" / "datasources" / "mirubato.yaml").read_text(encoding="utf-8")
        lines = [line.strip() for line in text.splitlines()]
        for line in ("apiVersion: 1", "type: prometheus", "httpMethod: POST"):
            assert line in lines
        (url,) = [line for line in lines if line.startswith("url: ")]
        assert url.endswith("/api/prometheus")

    def test_the_dashboards_are_found(self) -> None:
        text = (DEPLOY / "provisioning" / "dashboards" / "mirubato.yaml").read_text(encoding="utf-8")
        readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
        (path,) = [line.split()[-1] for line in text.splitlines() if line.strip().startswith("path:")]
        assert path in readme
