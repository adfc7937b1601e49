"""What each kind of receiver is sent, and its bounds."""

import json
import struct
import zlib
from dataclasses import replace

import pytest

from mirubato.notify import alertmanager, mail, mail_api, pagerduty, slack, smtp, webhook
from mirubato.notify.chart import HEIGHT, WIDTH, png
from mirubato.notify.message import Chart, Kind, Message, Status, duration_text, from_json, to_json
from tests.notify.messages import AT, alert, many, message, resolved

EVERY = [
    message(),
    resolved(),
    many(5000),
    replace(message(), kind=Kind.TEST),
    replace(message(), kind=Kind.DIGEST),
    replace(message(), kind=Kind.NOTICE, alerts=(), firing=0),
    replace(message(), status=Status.ACKNOWLEDGED),
]


@pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one.kind}-{one.status}-{one.firing}")
def test_a_message_comes_back_from_the_outbox_as_it_was(one: Message) -> None:
    back = from_json(to_json(one))
    assert to_json(back) == to_json(one)
    assert (back.kind, back.status, back.dedup_key) == (one.kind, one.status, one.dedup_key)


@pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one.kind}-{one.status}-{one.firing}")
def test_slack_stays_within_its_bounds(one: Message) -> None:
    body = slack.render(one)
    (attachment,) = body["attachments"]
    assert len(attachment["blocks"]) <= 50
    for block in attachment["blocks"]:
        if block["type"] == "header":
            assert len(block["text"]["text"]) <= 150
        elif block["type"] == "section":
            assert 0 < len(block["text"]["text"]) <= 3000
    text = json.dumps(body, ensure_ascii=False)
    assert "<fail>" not in text
    assert all(one_.id in text for one_ in one.alerts[:3])


def test_slack_says_what_helps() -> None:
    text = json.dumps(slack.render(message()))
    for part in (
        "7.3 %",
        "error_rate &gt; 5 %",
        "Same hour last week",
        "http_route=/pay",
        "a" * 32,
        "http://here/#/al",
    ):
        assert part in text


def test_a_test_is_marked_everywhere() -> None:
    test = replace(message(), kind=Kind.TEST)
    assert slack.render(test)["text"].startswith("[TEST]")
    assert pagerduty.render(test, "k")[0]["payload"]["summary"].startswith("[TEST]")
    assert mail.render(test, "d").subject.startswith("[TEST]")
    assert webhook.render(test, "w")["kind"] == "test"
    assert alertmanager.render(test)[0]["labels"]["test"] == "true"


def test_pagerduty() -> None:
    (trigger,) = pagerduty.render(message(), "key")
    (acknowledge,) = pagerduty.render(replace(message(), status=Status.ACKNOWLEDGED), "key")
    (resolve,) = pagerduty.render(resolved(), "key")
    assert [one["event_action"] for one in (trigger, acknowledge, resolve)] == ["trigger", "acknowledge", "resolve"]
    assert len({one["dedup_key"] for one in (trigger, acknowledge, resolve)}) == 1
    assert trigger["payload"]["severity"] == "critical"
    assert trigger["payload"]["source"] == "api"
    assert trigger["payload"]["custom_details"]["alerts"][0]["value"] == "7.3 %"
    assert len(pagerduty.render(many(5000), "k")[0]["payload"]["summary"]) <= 1024
    assert len(json.dumps(pagerduty.render(many(5000), "k")[0])) < 512 * 1024
    for word, severity in (("page", "critical"), ("warn", "warning"), ("whatever", "error"), ("info", "info")):
        assert pagerduty.render(message(severity=word), "k")[0]["payload"]["severity"] == severity


def test_pagerduty_hears_of_each_group_in_a_digest() -> None:
    over = replace(alert(), status=Status.RESOLVED, group="other", ends_ms=AT)
    events = pagerduty.render(message(kind=Kind.DIGEST, alerts=(alert(), over), firing=1, resolved=1), "k")
    assert [event["dedup_key"] for event in events] == [message().dedup_key]
    assert pagerduty.render(replace(message(), kind=Kind.NOTICE), "k") == []


def test_the_webhook_is_alertmanagers() -> None:
    body = webhook.render(resolved(), "hook")
    assert (body["version"], body["status"], body["receiver"]) == ("4", "resolved", "hook")
    assert body["alerts"][0]["endsAt"] == "2027-01-15T08:01:00.000Z"
    assert webhook.render(message(), "hook")["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"
    assert body["commonLabels"]["alertname"] == "High Error Rate"
    assert webhook.render(many(5000), "hook")["truncatedAlerts"] == 4000


def test_mail_is_known_again() -> None:
    first, second = mail.render(message(), "example.com"), mail.render(resolved(), "example.com")
    assert first.message_id == "<m1@example.com>" != second.message_id
    assert first.thread_id == second.thread_id
    assert "<fail>" not in first.html
    assert mail.domain_of("Mirubato <alerts@example.com>") == "example.com"
    assert "\n" not in mail.render(message(title="a\nb"), "d").subject


def test_mail_shows_a_chart() -> None:
    mime = smtp.email(message(), "a@example.com", ("b@example.com",))
    kinds = [part.get_content_type() for part in mime.walk()]
    assert kinds == ["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"]
    body = mail_api.body(message(), "a@example.com", ("b@example.com",))
    assert body["headers"]["Message-ID"] == "<m1@example.com>"
    assert body["attachments"][0]["content_id"] in body["html"]
    assert "attachments" not in mail_api.body(resolved(), "a@example.com", ("b@example.com",))


@pytest.mark.parametrize(
    "chart",
    [
        Chart([1.0, 2.0, None, 3.0], 2.5, 0, 1), Chart([], None, 0, 1), Chart([5.0], None, 0, 1),
        Chart([-1.0, float("inf"), float("nan")], 0.0, 0, 1), Chart([None, None], 1e300, 0, 1),
        Chart([0.0] * 1000, 0, 0, 1),
    ],
)  # fmt: skip
def test_a_chart_is_a_whole_png(chart: Chart) -> None:
    data = png(chart)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, kinds, pixels = 8, [], b""
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length) == (zlib.crc32(kind + content),)
        kinds.append(kind)
        pixels += content if kind == b"IDAT" else b""
        at += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]
    assert len(zlib.decompress(pixels)) == HEIGHT * (1 + 3 * WIDTH)


def test_durations() -> None:
    texts = [duration_text(ms) for ms in (0, 999, 45_000, 720_000, 11_100_000, 187_200_000, 3_600_000)]
    assert texts == ["0s", "0s", "45s", "12m", "3h 5m", "2d 4h", "1h"]
