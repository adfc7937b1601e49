"""PagerDuty, Events API v2: https://developer.pagerduty.com/docs/events-api-v2-overview."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mirubato.notify.http import Poster, below
from mirubato.notify.message import AlertNote, Kind, Message, Status, dedup_key, rfc3339, summary
from mirubato.notify.receiver import Answer, Delivered

_SUMMARY_CHARS = 1024
_ALERTS_SHOWN = 20
_SEVERITIES = {
    "critical": "critical", "page": "critical", "error": "error", "high": "error", "major": "error",
    "warning": "warning", "warn": "warning", "medium": "warning", "minor": "warning",
    "info": "info", "low": "info", "notice": "info",
}  # fmt: skip
_ACTIONS = {Status.FIRING: "trigger", Status.ACKNOWLEDGED: "acknowledge", Status.RESOLVED: "resolve"}


def render(message: Message, routing_key: str) -> list[dict[str, Any]]:
    """The events of a message: one for each group in it. A notice is none of PagerDuty's business."""
    if message.kind is Kind.NOTICE:
        return []
    if message.kind is not Kind.DIGEST:
        return [_event(message, message.group, message.status, message.alerts, routing_key)]
    return [
        _event(message, group, Status.FIRING, alerts, routing_key)
        for group, alerts in _groups(message.alerts)
        if any(alert.status is Status.FIRING for alert in alerts)
    ]


def _groups(alerts: Sequence[AlertNote]) -> Iterator[tuple[str, list[AlertNote]]]:
    for group, some in groupby(sorted(alerts, key=lambda alert: alert.group), key=lambda alert: alert.group):
        yield group, list(some)


def _event(
    message: Message, group: str, status: Status, alerts: Sequence[AlertNote], routing_key: str
) -> dict[str, Any]:
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": _ACTIONS[status],
        "dedup_key": dedup_key(group),
        "client": "Mirubato Monitoring",
    }
    if status is Status.FIRING:
        event["payload"] = _payload(message, alerts)
        if message.link:
            event |= {"client_url": message.link, "links": [{"href": message.link, "text": "Open in Mirubato"}]}
    return event


def _payload(message: Message, alerts: Sequence[AlertNote]) -> dict[str, Any]:
    firing = [alert for alert in alerts if alert.status is not Status.RESOLVED]
    labels = firing[0].labels if firing else {}
    said = f": {summary(firing[0])}" if firing else ""
    details: dict[str, Any] = {
        "condition": message.condition,
        "alerts": [_details(alert) for alert in firing[:_ALERTS_SHOWN]],
        "firing": message.firing,
        **dict(message.facts),
    }
    if message.traces:
        details["traces"] = list(message.traces)
    return {
        "summary": f"{message.headline}{said}"[:_SUMMARY_CHARS],
        "source": labels.get("service_name") or labels.get("instance") or message.external_url or "mirubato",
        "severity": _SEVERITIES.get(message.severity.lower(), "error"),
        "timestamp": rfc3339(min((alert.starts_ms for alert in firing), default=message.at_ms)),
        "component": labels.get("service_name", ""),
        "group": message.title,
        "class": message.kind.value,
        "custom_details": details,
    }


def _details(alert: AlertNote) -> dict[str, Any]:
    return {
        "id": alert.id,
        "value": alert.value,
        "since": rfc3339(alert.starts_ms),
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
    }


@dataclass(frozen=True, slots=True)
class PagerDuty:
    """One service of PagerDuty, by its integration key."""

    poster: Poster
    routing_key: str
    url: str = "https://events.pagerduty.com"

    async def send(self, message: Message, reference: str) -> Answer:  # noqa: ARG002  (the key finds the incident)
        """Send the events; a repeat of one that came through already changes nothing, as the key is the same."""
        for event in render(message, self.routing_key):
            answer = await self.poster.post(below(self.url, "/v2/enqueue"), event, secrets=(self.routing_key,))
            if not isinstance(answer, Delivered):
                return answer
        return Delivered()
