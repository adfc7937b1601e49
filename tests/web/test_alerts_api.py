"""/api/alerts, and rules and alerts of the Prometheus API, at a whole gateway; and the commands that ask it."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from mirubato import cli
from tests.support.doors import HTTP
from tests.support.gateways import Running, running
from tests.support.requests import buckets, fresh, gauge, histogram, metrics, now_ms, number

RULE: dict[str, Any] = {
    "name": "High Error Rate",
    "metric": "error_rate",
    "condition": "greater_than",
    "threshold": 0.05,
    "window_minutes": 5,
    "severity": "critical",
    "notification_channels": ["slack", "tgram://123:secret/1"],
}
FILE = """
groups:
  - name: g
    interval: 1s
    limit: 100
    rules:
      - record: job:m:sum
        expr: sum by (job) (file_metric)
      - alert: FromFile
        expr: job:m:sum > 1
        for: 1h
        annotations: {summary: 'at {{ $value }}'}
  - name: broken
    rules:
      - alert: Broken
        expr: sum(
"""


@dataclass
class Api:
    """The web of a gateway that evaluates every second."""

    gateway: Running

    def ask(self, method: str, path: str, body: Any = None, **parameters: Any) -> httpx.Response:
        url = self.gateway.url("web_port", path)
        return self.gateway.http.request(method, url, json=body, params=parameters or None)

    def document(self, method: str, path: str, body: Any = None, *, status: int = 200, **parameters: Any) -> Any:
        reply = self.ask(method, path, body, **parameters)
        assert reply.status_code == status, reply.text
        return reply.json()

    def until(self, path: str, wanted: Any) -> Any:
        """Ask until the answer is as wanted: at most until rules have been evaluated some times."""
        for _ in range(200):
            answer = self.document("GET", path)
            if wanted(answer):
                return answer
            time.sleep(0.05)
        raise AssertionError(answer)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    directory = tmp_path_factory.mktemp("alerts")
    (directory / "rules.yml").write_text(FILE, encoding="utf-8")
    rules = (str(directory / "*.yml"),)
    with running(directory / "data", rule_files=rules, evaluation_interval=1000) as gateway:
        yield Api(gateway)


def send_requests(api: Api, service: str, good: int, bad: int) -> None:
    """Two minutes of requests, of which some failed."""
    now, points = now_ms(), []
    for at, scale in ((now - 60_000, 1), (now, 2)):
        ok = {"http.response.status_code": "200"}
        failed = {"http.response.status_code": "500", "error.type": "500"}
        points += [
            buckets([good * scale, 0], [0.1], 1.0, at, **ok),
            buckets([bad * scale, 0], [0.1], 1.0, at, **failed),
        ]
    request = metrics(histogram("http.server.request.duration", *points, unit="s"), resource={"service.name": service})
    assert HTTP.export(api.gateway, "metrics", request).code == 0


def test_the_example_from_its_post_to_its_alert_and_away(api: Api) -> None:
    service = fresh("service")
    send_requests(api, service, 80, 20)
    send_requests(api, service + "_good", 100, 1)
    made = api.document("POST", "/api/alerts", RULE, status=201)
    assert {**made, **RULE, "notification_channels": made["notification_channels"]} == made
    assert made["notification_channels"] == ["slack", "tgram://***"]
    assert (made["source"], made["enabled"], made["warnings"]) == ("api", True, [])
    path = f"/api/alerts/{made['id']}"
    fires = api.until(path, lambda answer: answer["state"] == "firing")
    (alert,) = [one for one in fires["alerts"] if one["labels"]["service_name"] == service]
    assert alert["labels"] == {"alertname": RULE["name"], "service_name": service, "severity": "critical"}
    assert alert["value"] == pytest.approx(0.2)
    assert (fires["health"], fires["last_error"]) == ("ok", "")
    assert all(one["labels"]["service_name"] != service + "_good" for one in fires["alerts"])
    listed = api.document("GET", "/api/alerts")
    assert made["id"] in {one["id"] for one in listed["rules"]}
    assert alert["id"] in {one["id"] for one in listed["alerts"]}
    assert "secret" not in json.dumps(listed)
    history = api.document("GET", "/api/alerts/history", start="1h", rule=made["id"])["history"]
    assert {"from": "inactive", "to": "firing"}.items() <= history[-1].items()
    assert api.document("POST", f"{path}/acknowledge", {"by": "me", "comment": "on it"})["acknowledged"] >= 1
    again = api.until(path, lambda answer: answer["alerts"][0]["acknowledged_by"])
    assert again["alerts"][0]["acknowledged_by"] == "me"
    noise = api.document("GET", "/api/alerts/noise")
    assert made["id"] in {one["id"] for one in noise["rules"]}
    assert api.ask("DELETE", path).status_code == 204
    assert api.ask("GET", path).status_code == 404
    api.until("/api/alerts", lambda answer: not [one for one in answer["alerts"] if one["rule_id"] == made["id"]])


def test_a_rule_is_changed_as_a_whole_or_in_part(api: Api) -> None:
    made = api.document("POST", "/api/alerts", RULE, status=201)
    path = f"/api/alerts/{made['id']}"
    changed = api.document("PUT", path, {**made, "threshold": 0.5, "for": "5m"})
    assert (changed["threshold"], changed["for"], changed["id"]) == (0.5, "5m", made["id"])
    book = api.gateway.gateway.ruling.book
    assert book.rule(made["id"]).channels == ("slack", "tgram://123:secret/1")  # type: ignore[union-attr]
    patched = api.document("PATCH", path, {"enabled": False, "for": None})
    assert (patched["enabled"], patched["state"], patched["for"], patched["threshold"]) == (
        False,
        "disabled",
        "0s",
        0.5,
    )
    assert api.document("GET", path)["enabled"] is False
    assert api.ask("DELETE", path).status_code == 204


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**RULE, "threshold": 5}, "threshold"),
        ({**RULE, "condition": "above"}, "condition"),
        ({"name": "x", "expr": "sum("}, "expr"),
        ({"name": "x", "expr": "up[5m]"}, "expr"),
        ({**RULE, "annotations": {"a": "{{ nope }}"}}, "annotations.a"),
        ({}, "metric"),
    ],
)
def test_a_mistake_is_answered_with_its_field(api: Api, body: Any, field: str) -> None:
    for method, path in (
        ("POST", "/api/alerts"),
        ("POST", "/api/alerts/backtest"),
        ("PUT", "/api/alerts/template-budget"),
    ):
        reply = api.document(method, path, body, status=400)
        assert (reply["code"], reply["field"]) == ("bad_field", field)
        assert field in reply["message"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "bad_request"),
        (b"[]", 400, "bad_request"),
        (b"\xff", 400, "bad_request"),
        (b" " * (1 << 21), 413, "too_large"),
    ],
)
def test_what_is_no_json_object_is_refused(api: Api, body: bytes, status: int, code: str) -> None:
    reply = api.gateway.http.post(api.gateway.url("web_port", "/api/alerts"), content=body)
    assert (reply.status_code, reply.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/alerts/nope", 404),
        ("PUT", "/api/alerts/nope", 404),
        ("PATCH", "/api/alerts/nope", 404),
        ("DELETE", "/api/alerts/nope", 404),
        ("POST", "/api/alerts/nope/test", 404),
        ("POST", "/api/alerts/nope/acknowledge", 404),
        ("DELETE", "/api/silences/nope", 404),
        ("DELETE", "/api/alerts", 405),
        ("PUT", "/api/silences", 405),
    ],
)
def test_what_is_not_there(api: Api, method: str, path: str, status: int) -> None:
    assert api.ask(method, path, RULE if method in ("PUT", "PATCH", "POST") else None).status_code == status


def test_what_looks_like_a_mistake_is_a_warning(api: Api) -> None:
    body = {**RULE, "metric": "no_such_metric", "threshold": 5}
    made = api.document("POST", "/api/alerts", {**body, "enabled": False}, status=201)
    assert made["warnings"] == ["no series of no_such_metric has been seen yet"]
    made = api.document("PUT", f"/api/alerts/{made['id']}", {**RULE, "metric": "response_time_p95", "threshold": 0.5})
    assert "milliseconds" in made["warnings"][0]
    assert api.ask("DELETE", f"/api/alerts/{made['id']}").status_code == 204


def test_rules_of_files_stand_beside_the_others(api: Api) -> None:
    listed = api.document("GET", "/api/alerts")
    rules = {one["name"]: one for one in listed["rules"] if one["source"].startswith("file:")}
    assert set(rules) == {"job:m:sum", "FromFile"}
    assert (rules["FromFile"]["line"], rules["FromFile"]["for"], rules["job:m:sum"]["type"]) == (9, "1h", "recording")
    (problem,) = listed["problems"]
    assert (problem["line"], "could not parse expression" in problem["message"]) == (16, True)
    path = f"/api/alerts/{rules['FromFile']['id']}"
    assert api.document("GET", path)["annotations"] == {"summary": "at {{ $value }}"}
    for method, body in (("PUT", RULE), ("PATCH", {"enabled": False}), ("DELETE", None)):
        assert api.document(method, path, body, status=409)["code"] == "conflict"
    assert api.document("POST", f"/api/alerts/{rules['job:m:sum']['id']}/test", status=409)["code"] == "conflict"


def test_a_template_is_switched_on_and_goes_back(api: Api) -> None:
    listed = api.document("GET", "/api/alerts")
    (template,) = [one for one in listed["templates"] if one["id"] == "template-high-queue-depth"]
    assert (template["enabled"], template["source"], template["state"]) == (False, "template", "disabled")
    path = "/api/alerts/template-high-queue-depth"
    assert api.document("PATCH", path, {"enabled": True, "threshold": 7})["enabled"] is True
    assert api.document("GET", path)["source"] == "api"
    assert api.ask("DELETE", path).status_code == 204
    assert api.document("GET", path)["threshold"] == 1000


def test_a_backtest_of_a_new_rule_and_of_one_that_is_there(api: Api) -> None:
    metric, now = fresh(), now_ms()
    points = [number(float(minute % 10 < 2), now - 60_000 * minute, a="b") for minute in range(60)]
    assert HTTP.export(api.gateway, "metrics", metrics(gauge(metric, *points))).code == 0
    body = {"name": "x", "metric": metric, "condition": "greater_than", "threshold": 0, "window_minutes": 1}
    found = api.document("POST", "/api/alerts/backtest", {**body, "range": "1h", "step": "30s"})
    assert 5 <= found["fired"] <= 7
    assert found["under_5_minutes"] >= 5
    assert "in the last 1h" in found["sentence"]
    made = api.document("POST", "/api/alerts", {**body, "enabled": False}, status=201)
    for asked in ({"id": made["id"]}, {"rule": body}, {"rule": {"id": made["id"]}}):
        again = api.document("POST", "/api/alerts/backtest", {**asked, "range": "1h", "step": "30s"})
        assert again["fired"] == found["fired"]
    longer = api.document(
        "POST", "/api/alerts/backtest", {"id": made["id"], "for": "10m", "range": "1h", "step": "30s"}
    )
    assert longer["fired"] == 0
    assert api.document("POST", "/api/alerts/backtest", {**body, "range": "soon"}, status=400)["field"] == "range"
    assert api.ask("DELETE", f"/api/alerts/{made['id']}").status_code == 204


def test_the_health_of_the_gateway_is_a_series_while_a_rule_reads_it(api: Api) -> None:
    assert api.gateway.api("query", query="mirubato_healthy")["result"] == []
    path = "/api/alerts/template-gateway-health"
    api.document("PATCH", path, {"enabled": True})
    for _ in range(100):
        if api.gateway.api("query", query="mirubato_healthy")["result"]:
            break
        time.sleep(0.05)
    assert api.gateway.value("mirubato_healthy") == "1"
    assert float(api.gateway.value("mirubato_rule_evaluations_total")) > 0
    assert api.ask("DELETE", path).status_code == 204


# --- the Prometheus API -----------------------------------------------------------------------------------------------


def test_rules_and_alerts_in_prometheus_shape(api: Api) -> None:
    request = metrics(gauge("file_metric", number(5.0, instance="1")), resource={"service.name": "shop"})
    assert HTTP.export(api.gateway, "metrics", request).code == 0
    api.until("/api/prometheus/api/v1/alerts", lambda answer: answer["data"]["alerts"])
    (group,) = api.gateway.api("rules", **{"file[]": [file_of(api)]})["groups"]
    assert (group["name"], group["interval"], group["limit"]) == ("g", 1.0, 100)
    recording, alerting = group["rules"]
    assert {"name": "job:m:sum", "type": "recording", "health": "ok", "labels": {}}.items() <= recording.items()
    wanted = {"name": "FromFile", "type": "alerting", "state": "pending", "duration": 3600.0, "query": "job:m:sum > 1"}
    assert wanted.items() <= alerting.items()
    (alert,) = alerting["alerts"]
    assert (alert["state"], alert["value"], alert["annotations"]) == ("pending", "5e+00", {"summary": "at 5"})
    assert alert["labels"]["alertname"] == "FromFile"
    assert alert in api.gateway.api("alerts")["alerts"]
    assert api.gateway.value('ALERTS{alertname="FromFile",alertstate="pending"}') == "1"


def file_of(api: Api) -> str:
    (name,) = {one["source"] for one in api.document("GET", "/api/alerts")["rules"] if one["name"] == "FromFile"}
    return str(name).removeprefix("file:")


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({"type": "record"}, {"job:m:sum"}),
        ({"type": "alert"}, {"FromFile"}),
        ({"rule_name[]": ["FromFile", "x"]}, {"FromFile"}),
        ({"rule_group[]": "nope"}, set()),
        ({"match[]": '{severity="x"}'}, set()),
    ],
)
def test_filters_of_rules(api: Api, parameters: dict[str, Any], names: set[str]) -> None:
    groups = api.gateway.api("rules", **{"file[]": file_of(api), **parameters})["groups"]
    assert {rule["name"] for group in groups for rule in group["rules"]} == names


def test_alerts_can_be_left_out_and_groups_come_page_by_page(api: Api) -> None:
    (group,) = api.gateway.api("rules", **{"file[]": file_of(api), "exclude_alerts": "true"})["groups"]
    assert group["rules"][1]["alerts"] == []
    made = api.document("POST", "/api/alerts", {"name": "y", "expr": "vector(0) > 1", "group": fresh()}, status=201)
    first = api.gateway.api("rules", group_limit=1)
    assert len(first["groups"]) == 1
    second = api.gateway.api("rules", group_limit=1, group_next_token=first["groupNextToken"])
    assert second["groups"][0]["name"] != first["groups"][0]["name"]
    assert api.ask("DELETE", f"/api/alerts/{made['id']}").status_code == 204


def test_a_condition_is_part_of_the_query_that_prometheus_shows(api: Api) -> None:
    body = {"name": fresh(), "metric": "some_gauge", "condition": "less_or_equal", "threshold": 2.5}
    made = api.document("POST", "/api/alerts", body, status=201)
    (group,) = api.gateway.api("rules", **{"rule_name[]": made["name"]})["groups"]
    assert (group["file"], group["rules"][0]["query"]) == ("api", "(avg_over_time(some_gauge[5m])) <= 2.5")
    assert api.ask("DELETE", f"/api/alerts/{made['id']}").status_code == 204


def test_silences_come_and_go(api: Api) -> None:
    body = {"matchers": ["service_name=nobody"], "duration": "1h", "createdBy": "me", "comment": "test"}
    made = api.document("POST", "/api/silences", body, status=201)
    assert made["id"] in {one["id"] for one in api.document("GET", "/api/silences")["silences"]}
    assert api.ask("DELETE", f"/api/silences/{made['id']}").status_code == 204
    reply = api.document("POST", "/api/silences", {"matchers": ["a="]}, status=400)
    assert reply["code"] == "bad_field"


# --- the commands -----------------------------------------------------------------------------------------------------


def test_commands_ask_the_gateway(api: Api, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    url = api.gateway.url("web_port")
    assert cli.main(["alerts", "--url", url, "--rules"]) == 0
    assert "FromFile" in capsys.readouterr().out
    for arguments in (["alerts"], ["alerts", "--history", "1h"], ["alerts", "--noise"]):
        assert cli.main([*arguments, "--url", url]) == 0
        assert capsys.readouterr().out
        assert cli.main([*arguments, "--url", url, "--json"]) == 0
        assert isinstance(json.loads(capsys.readouterr().out), dict)
    rule = tmp_path / "rule.json"
    rule.write_text(json.dumps({"name": "x", "expr": "vector(1)"}), encoding="utf-8")
    assert cli.main(["rules", "backtest", str(rule), "--range", "1h", "--url", url]) == 0
    assert capsys.readouterr().out == "x: would have fired once in the last 1h\n"
    file = tmp_path / "rules.yml"
    file.write_text("groups: [{name: g, rules: [{alert: A, expr: vector(1) > 2}]}]", encoding="utf-8")
    assert cli.main(["rules", "backtest", str(file), "--url", url]) == 0
    assert capsys.readouterr().out == "A: would never have fired in the last 7 days\n"


def test_check_and_test_say_where_the_mistake_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good, bad, tests = tmp_path / "good.yml", tmp_path / "bad.yml", tmp_path / "test.yml"
    good.write_text("groups: [{name: g, rules: [{alert: A, expr: m > 1}]}]", encoding="utf-8")
    bad.write_text(FILE, encoding="utf-8")
    tests.write_text(
        "rule_files: [good.yml]\ntests:\n"
        "  - input_series: [{series: m, values: '0 2'}]\n"
        "    alert_rule_test: [{eval_time: 1m, alertname: A, exp_alerts: [{}]}]\n",
        encoding="utf-8",
    )
    assert cli.main(["rules", "check", str(good)]) == 0
    assert capsys.readouterr().out == "1 rules found, all are right\n"
    assert cli.main(["rules", "check", str(good), str(bad), str(tmp_path / "nope.yml")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f'{bad}:16:15: group "broken", rule 1, "Broken": could not parse expression')
    assert said[1].startswith(f"{tmp_path / 'nope.yml'}:1:1: ")
    assert cli.main(["rules", "check", "--json", str(bad)]) == 1
    assert json.loads(capsys.readouterr().out)["problems"][0]["line"] == 16
    assert cli.main(["rules", "test", str(tests)]) == 0
    assert capsys.readouterr().out == "1 tests passed\n"
    tests.write_text(tests.read_text(encoding="utf-8").replace("'0 2'", "'0 1'"), encoding="utf-8")
    assert cli.main(["rules", "test", str(tests)]) == 1
    assert f"{tests}:4:23: alertname: A" in capsys.readouterr().err
