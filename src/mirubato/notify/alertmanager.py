"""A real Alertmanager: POST /api/v2/alerts, as Prometheus does; it groups, silences and routes by itself."""

from dataclasses import dataclass
from typing import Any

from mirubato.notify.http import Poster, below
from mirubato.notify.message import AlertNote, Kind, Message, Status, rfc3339
from mirubato.notify.receiver import Answer, Delivered


def render(message: Message) -> list[dict[str, Any]]:
    """Alerts with start and end. One that fires ends, for Alertmanager, when nothing more is heard of it."""
    return [_alert(alert, message) for alert in message.alerts]


def _alert(alert: AlertNote, message: Message) -> dict[str, Any]:
    over = alert.status is Status.RESOLVED
    labels = dict(alert.labels) | ({"test": "true"} if message.kind is Kind.TEST else {})
    shown = {
        "labels": labels,
        "annotations": {**alert.annotations, "mirubato_id": alert.id},
        "startsAt": rfc3339(alert.starts_ms),
        "generatorURL": message.link,
    }
    if over or message.expires_ms:
        shown["endsAt"] = rfc3339(alert.ends_ms if over else message.expires_ms)
    return shown


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """One Alertmanager, by its base address."""

    poster: Poster
    url: str

    async def send(self, message: Message, reference: str) -> Answer:  # noqa: ARG002  (labels find the alert)
        """Post the alerts."""
        alerts = render(message)
        if not alerts:
            return Delivered()
        return await self.poster.post(below(self.url, "/api/v2/alerts"), alerts)
