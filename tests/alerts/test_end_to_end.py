"""A real gateway: a rule comes in as JSON, data as OTLP, and messages go out."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mirubato.cli import main
from tests.alerts.shop import RULE, Shop
from tests.support.gateways import Running, running
from tests.support.receiving import HttpReceiver, Reply, receiving
from tests.support.requests import counter, exemplar, metrics, now_ms, whole

INTERVAL_S = 1.0


@contextmanager
def alerting(directory: Path, **settings: Any) -> Iterator[tuple[Running, HttpReceiver, HttpReceiver]]:
    """A gateway that ticks every second, its Slack and its PagerDuty."""
    with receiving() as slack, receiving() as pagerduty:
        channels = {
            "slack_webhook_url": slack.url("/services/T0SECRET"),
            "pagerduty_key": "KEY",
            "pagerduty_url": pagerduty.url(),
            "evaluation_interval": int(INTERVAL_S * 1000),
            "external_url": "http://here",
        }
        with running(directory, **(channels | settings)) as one:
            yield one, slack, pagerduty


def post(one: Running, path: str, body: Any) -> Any:
    reply = one.http.post(one.url("web_port", path), json=body)
    assert reply.is_success, reply.text
    return reply.json()


def test_from_a_sample_to_slack_in_an_interval_and_a_second(tmp_path: Path) -> None:
    with alerting(tmp_path) as (one, slack, pagerduty):
        rule = post(one, "/api/alerts", RULE)
        shop = Shop(one.url("web_port"))
        shop.send(100, 0)
        time.sleep(2 * INTERVAL_S)  # the rule is evaluated without a fire
        assert slack.requests == []
        began = time.monotonic()
        shop.send(10, 50)
        fired = slack.next()
        assert time.monotonic() - began <= INTERVAL_S + 1
        text = str(fired.body)
        assert "High Error Rate: shop" in text
        assert "http_route=/pay: 100% of errors, 0% of successes" in text
        trigger = pagerduty.next().body
        assert (trigger["event_action"], trigger["payload"]["severity"]) == ("trigger", "critical")
        (active,) = one.get("/api/alerts").json()["alerts"]
        assert active["state"] == "firing"
        assert one.value('ALERTS{alertname="High Error Rate", alertstate="firing"}') == "1"
        (shown,) = one.api("alerts")["alerts"]
        assert shown["labels"]["service_name"] == "shop"
        (group,) = one.api("rules")["groups"]
        assert group["rules"][0]["state"] == "firing"

        post(one, f"/api/alerts/{rule['id']}/acknowledge", {"by": "ann"})
        assert pagerduty.next().body["event_action"] == "acknowledge"
        slack.next()
        assert post(one, f"/api/alerts/{rule['id']}/test", {})["ok"]
        assert slack.next().body["text"].startswith("[TEST]")
        assert pagerduty.next().body["payload"]["summary"].startswith("[TEST]")

        one.http.delete(one.url("web_port", f"/api/alerts/{rule['id']}"))
        resolve = pagerduty.next().body
        assert (resolve["event_action"], resolve["dedup_key"]) == ("resolve", trigger["dedup_key"])
        assert slack.next().body["text"].startswith("[RESOLVED]")
        # The fire and the acknowledgement; what was answered right now is counted a moment later.
        assert re.search(
            r'mirubato_notifications_total{receiver="slack",result="delivered"} [23]', one.get("/metrics").text
        )


def test_one_receiver_that_hangs_delays_no_other_and_secrets_stay_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with alerting(tmp_path) as (one, slack, pagerduty):
        slack.answer = lambda _: Reply(500, b"hooks.slack.com/services/T0SECRET says no")
        pagerduty.answer = lambda _: Reply(hang=True)
        rule = RULE | {"notification_channels": ["slack", "pagerduty", slack.url("/mine/T0SECRET"), "nobody"]}
        made = post(one, "/api/alerts", rule)
        Shop(one.url("web_port")).send(10, 50)
        paths = {slack.next().path for _ in range(3)}  # its second attempt, or the other address: both while one hangs
        assert paths == {"/services/T0SECRET", "/mine/T0SECRET"}
        assert len(pagerduty.requests) == 1
        shown = (
            one.get(f"/api/alerts/{made['id']}").text + one.get("/metrics").text + one.get("/api/alerts/history").text
        )
        assert "T0SECRET" not in shown
        assert "T0SECRET" not in caplog.text
        pagerduty.over.set()


def test_traces_that_show_the_error(tmp_path: Path) -> None:
    trace = "0123456789abcdef0123456789abcdef"
    with alerting(tmp_path) as (one, slack, _):
        failed = {"http.response.status_code": "500"}
        point = whole(50, now_ms(), **failed)
        point.start_time_unix_nano = (now_ms() - 60_000) * 1_000_000
        point.exemplars.append(exemplar(1.0, trace, now_ms()))
        request = metrics(counter("hits", point), resource={"service.name": "shop"}).SerializeToString()
        headers = {"content-type": "application/x-protobuf"}
        one.http.post(one.url("web_port", "/v1/metrics"), content=request, headers=headers)
        post(one, "/api/alerts", RULE | {"metric": "hits_total", "threshold": 1, "notification_channels": ["slack"]})
        assert trace in str(slack.next().body)


def test_recorded_series_are_read_by_the_rules_after_them(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(
        "groups: [{name: g, rules: ["
        "{record: shop:up, expr: 'vector(3)', labels: {a: b}}, {record: shop:two, expr: 'shop:up * 2'},"
        "{alert: Two, expr: 'shop:two == 6', annotations: {summary: 'it is {{ $value }}'}}]}]\n"
    )
    with alerting(tmp_path / "data", rule_files=(str(rules),), default_channels=("slack",)) as (one, slack, pagerduty):
        assert "it is 6" in str(slack.next().body)
        assert one.value('shop:up{a="b"}') == "3"
        assert pagerduty.requests == []


def test_silences_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with alerting(tmp_path) as (one, slack, _):
        url = ["--url", one.url("web_port")]
        assert main(["silence", "list", *url]) == 0
        assert main(["silence", "add", "service_name=shop", "--comment", "work", "--author", "ann", *url]) == 0
        assert main(["silence", "list", *url]) == 0
        out = capsys.readouterr().out.splitlines()
        assert out[0] == "no silences"
        assert "active  " in out[2]
        assert out[2].endswith('service_name="shop"  ann: work')
        post(one, "/api/alerts", RULE)
        Shop(one.url("web_port"), "other").send(0, 5)
        Shop(one.url("web_port")).send(0, 5)
        assert "other" in slack.next().body["text"]
        assert main(["silence", "expire", out[2].split()[0], *url]) == 0
        held = slack.next()
        assert "was silenced until now" in str(held.body)
        assert main(["silence", "add", "nonsense", *url]) == 1
        assert main(["silence", "expire", "nobody", *url]) == 1


def test_notify_test_by_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with receiving() as slack:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", slack.url("/x"))
        assert main(["notify", "test", "slack"]) == 0
        assert slack.next().body["text"].startswith("[TEST]")
        slack.answer = lambda _: Reply(404, b"no_service")
        assert main(["notify", "test", "slack", "--json"]) == 1
        assert main(["notify", "test", "pager"]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "slack: delivered", '{"channel": "slack", "ok": false, "error": "HTTP 404: no_service"}',
    ]  # fmt: skip
    assert "there is no channel 'pager'; there are: slack" in told.err


def test_health_says_which_receiver_is_in_trouble(tmp_path: Path) -> None:
    with alerting(tmp_path) as (one, slack, pagerduty):
        slack.answer = lambda _: Reply(404, b"no_service")
        post(one, "/api/alerts", RULE)
        Shop(one.url("web_port")).send(10, 50)
        slack.next()
        pagerduty.next()
        deadline = time.monotonic() + 5
        while not (alerts := one.get("/api/health").json()["alerts"])["receivers_in_trouble"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert alerts["receivers_in_trouble"] == {"slack": "HTTP 404: no_service"}
    assert (alerts["firing"], alerts["failing_rules"]) == (1, 0)
