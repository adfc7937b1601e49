"""kill -9 between the journal and the answer: a message may come again, known as the same, and never vanishes."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.alerts.shop import RULE, Shop
from tests.support.receiving import HttpReceiver, Reply, receiving
from tests.test_kill import Process, gateway

pytestmark = pytest.mark.slow

QUIET_S = 2.0
"""Two intervals in which nothing may come."""


def url(process: Process) -> str:
    return f"http://127.0.0.1:{process.ports['web_port']}"


def message_of(request: Any) -> str:
    """The id of a message, as Slack shows it."""
    return str(request.body["attachments"][0]["blocks"][-1]["elements"][0]["text"]).rpartition(" ")[2]


def nothing_more(*receivers: HttpReceiver) -> None:
    before = [len(one.requests) for one in receivers]
    time.sleep(QUIET_S)
    assert [len(one.requests) for one in receivers] == before


def test_a_message_survives_sigkill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as slack, receiving() as pagerduty:
        for name, value in {
            "SLACK_WEBHOOK_URL": slack.url("/hook"),
            "PAGERDUTY_KEY": "KEY",
            "MIRUBATO_PAGERDUTY_URL": pagerduty.url(),
            "MIRUBATO_EVALUATION_INTERVAL": "1s",
        }.items():
            monkeypatch.setenv(name, value)
        slack.answer = pagerduty.answer = lambda _: Reply(hang=True)
        with gateway(tmp_path / "data") as process:
            rule = httpx.post(f"{url(process)}/api/alerts", json=RULE).json()
            Shop(url(process)).send(10, 50)
            first, page = slack.next(), pagerduty.next()  # both have it, and have not answered
            process.kill()
        slack.answer = pagerduty.answer = lambda _: Reply()
        with gateway(tmp_path / "data") as process:
            again, repeated = slack.next(), pagerduty.next()
            assert (message_of(again), again.body["text"]) == (message_of(first), first.body["text"])
            assert repeated.body == page.body
            nothing_more(slack, pagerduty)
            process.kill()
        with gateway(tmp_path / "data") as process:  # what was answered is not sent again
            nothing_more(slack, pagerduty)
            httpx.delete(f"{url(process)}/api/alerts/{rule['id']}").raise_for_status()
            resolve = pagerduty.next().body
            assert (resolve["event_action"], resolve["dedup_key"]) == ("resolve", page.body["dedup_key"])
