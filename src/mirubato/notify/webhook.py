"""A generic webhook with Alertmanager's payload, version 4, which many tools take.

https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
"""

from dataclasses import dataclass
from typing import Any

from mirubato.notify.http import Poster
from mirubato.notify.message import AlertNote, Message, Status, common, rfc3339
from mirubato.notify.receiver import Answer

_NOT_YET = "0001-01-01T00:00:00Z"
"""Go's zero time: how Alertmanager says that an alert has not ended."""


def render(message: Message, receiver: str) -> dict[str, Any]:
    """The payload; `id` and `kind` are ours, as a receiver may want to know a repeat or a test."""
    return {
        "version": "4",
        "groupKey": message.group,
        "truncatedAlerts": message.more,
        "status": "resolved" if message.status is Status.RESOLVED else "firing",
        "receiver": receiver,
        "groupLabels": dict(message.group_labels),
        "commonLabels": common([alert.labels for alert in message.alerts]),
        "commonAnnotations": common([alert.annotations for alert in message.alerts]),
        "externalURL": message.external_url,
        "alerts": [_alert(alert, message.link) for alert in message.alerts],
        "id": message.id,
        "kind": message.kind.value,
        "title": message.headline,
        "facts": dict(message.facts),
        "traces": list(message.traces),
    }


def _alert(alert: AlertNote, link: str) -> dict[str, Any]:
    over = alert.status is Status.RESOLVED
    return {
        "status": "resolved" if over else "firing",
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": rfc3339(alert.starts_ms),
        "endsAt": rfc3339(alert.ends_ms) if over else _NOT_YET,
        "generatorURL": link,
        "fingerprint": alert.fingerprint,
        "id": alert.id,
        "valueString": alert.value,
    }


@dataclass(frozen=True, slots=True)
class Webhook:
    """Any address that takes the payload; `X-Mirubato-Message` is the same for a repeat of the same message."""

    poster: Poster
    url: str
    name: str = "webhook"

    async def send(self, message: Message, reference: str) -> Answer:  # noqa: ARG002  (nothing to edit)
        """Post the payload."""
        headers = {"x-mirubato-message": message.id}
        return await self.poster.post(self.url, render(message, self.name), headers=headers)
