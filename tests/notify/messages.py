"""Messages to send in tests."""

from dataclasses import replace
from typing import Any

from mirubato.notify.message import AlertNote, Chart, Kind, Message, Status

AT = 1_800_000_000_000


def alert(**fields: Any) -> AlertNote:
    whole: dict[str, Any] = {
        "id": "0123456789abcdef",
        "fingerprint": "0123456789abcdef",
        "group": "rule/service_name=api",
        "status": Status.FIRING,
        "labels": {"alertname": "High Error Rate", "severity": "critical", "service_name": "api"},
        "annotations": {"summary": "api: 7.3 % <fail> & more"},
        "value": "7.3 %",
        "starts_ms": AT - 60_000,
    }
    return AlertNote(**(whole | fields))


def message(**fields: Any) -> Message:
    """One alert that fires, with everything that a message may have."""
    whole: dict[str, Any] = {
        "id": "m1",
        "kind": Kind.ALERT,
        "status": Status.FIRING,
        "group": "rule/service_name=api",
        "thread": "t1",
        "title": "High Error Rate: api",
        "severity": "critical",
        "at_ms": AT,
        "condition": "error_rate > 5 %",
        "alerts": (alert(),),
        "firing": 1,
        "group_labels": {"service_name": "api"},
        "facts": (("Same hour last week", "0.4 %"), ("What differs", "http_route=/pay: 90% of errors")),
        "traces": ("a" * 32, "b" * 32),
        "link": "http://here/#/alerts?rule=rule",
        "external_url": "http://here",
        "expires_ms": AT + 12 * 3_600_000,
        "chart": Chart([0.0, 0.01, None, 0.05, 0.073], 0.05, AT - 3_600_000, AT),
    }
    return Message(**(whole | fields))


def resolved() -> Message:
    """The same alert, over."""
    over = replace(alert(), status=Status.RESOLVED, ends_ms=AT + 60_000)
    return message(id="m2", status=Status.RESOLVED, alerts=(over,), firing=0, resolved=1, at_ms=AT + 60_000, chart=None)


def many(count: int) -> Message:
    """A group of more alerts than anybody wants to read."""
    return message(alerts=tuple(alert(id=f"{number:016x}") for number in range(min(count, 1000))), firing=count)
