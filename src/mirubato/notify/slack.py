"""Slack: an incoming webhook, or chat.postMessage with a bot token, which alone can edit a message in place.

Block Kit: https://docs.slack.dev/reference/block-kit/blocks; its bounds are Slack's.
"""

from dataclasses import dataclass
from typing import Any

from mirubato.notify.http import Poster, Reply, below
from mirubato.notify.message import AlertNote, Kind, Message, Status, clock_time, duration_text, label_text, summary
from mirubato.notify.receiver import Answer, Delivered, Refusal, RetryLater

_HEADER_CHARS = 150
_SECTION_CHARS = 3000
_ALERTS_SHOWN = 10
_COLOURS = {"critical": "#d92d20", "error": "#d92d20", "high": "#d92d20", "warning": "#f79009", "info": "#2e90fa"}
_GONE = frozenset(("message_not_found", "cant_update_message", "edit_window_closed"))
_AGAIN = frozenset(
    ("ratelimited", "rate_limited", "internal_error", "fatal_error", "request_timeout", "service_unavailable")
)


def render(message: Message) -> dict[str, Any]:
    """The body of a webhook: `text` for notifications, blocks behind a coloured bar."""
    return {
        "text": _escaped(f"{message.headline}{_ids(message)}"),
        "attachments": [{"color": _colour(message), "blocks": _blocks(message)}],
    }


def _blocks(message: Message) -> list[dict[str, Any]]:
    head = f"{_mark(message)} {message.headline}"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": head[:_HEADER_CHARS], "emoji": True}}
    ]
    if message.condition:
        blocks.append(_section(f"*Rule* {_escaped(message.condition)}"))
    lines = [_alert(alert, message.at_ms) for alert in message.alerts[:_ALERTS_SHOWN]]
    left = max(0, len(message.alerts) - _ALERTS_SHOWN) + message.more
    if left:
        lines.append(f"… and {left} more")
    blocks += [_section(line) for line in lines]
    facts = [f"*{_escaped(name)}* {_escaped(text)}" for name, text in message.facts]
    if message.traces:
        facts.append("*Traces* " + ", ".join(_trace(message, trace) for trace in message.traces))
    if facts:
        blocks.append(_section("\n".join(facts)))
    if message.link:
        button = {"type": "button", "text": {"type": "plain_text", "text": "Open"}, "url": message.link}
        blocks.append({"type": "actions", "elements": [button]})
    foot = f"{clock_time(message.at_ms)} · message {message.id}"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": _escaped(foot)}]})
    return blocks


def _alert(alert: AlertNote, now: int) -> str:
    if alert.status is Status.RESOLVED:
        when = f"resolved after {duration_text(alert.ends_ms - alert.starts_ms)}"
    else:
        when = f"since {clock_time(alert.starts_ms)} ({duration_text(now - alert.starts_ms)})"
    value = f"*{_escaped(alert.value)}* " if alert.value else ""
    labels = label_text(alert.labels)
    parts = [
        f"{value}{when} · `{alert.id}`",
        _escaped(summary(alert)),
        f"_{_escaped(alert.note)}_" if alert.note else "",
        _escaped(labels) if labels != summary(alert) else "",
        _escaped(alert.annotations.get("runbook_url", "")),
    ]
    return "\n".join(part for part in parts if part)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:_SECTION_CHARS]}}


def _trace(message: Message, trace: str) -> str:
    if not message.external_url:
        return f"`{trace}`"
    return f"<{message.external_url}/#/traces/{trace}|{trace[:8]}>"


def _ids(message: Message) -> str:
    """The alert ids, in the text that a repeated message shares with its first copy."""
    return "".join(f" {alert.id}" for alert in message.alerts[:3])


def _mark(message: Message) -> str:
    if message.kind in (Kind.TEST, Kind.NOTICE, Kind.DIGEST):
        return "🔔"
    return {Status.FIRING: "🔴", Status.ACKNOWLEDGED: "👀", Status.RESOLVED: "✅"}[message.status]


def _colour(message: Message) -> str:
    if message.status is Status.RESOLVED:
        return "#12b76a"
    return _COLOURS.get(message.severity, "#f79009")


def _escaped(text: str) -> str:
    """Slack's three control characters: a label must not ping a channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass(frozen=True, slots=True)
class SlackWebhook:
    """An incoming webhook; its URL is the secret."""

    poster: Poster
    url: str

    async def send(self, message: Message, reference: str) -> Answer:  # noqa: ARG002  (a webhook cannot edit)
        """Post the message."""
        return await self.poster.post(self.url, render(message))


@dataclass(frozen=True, slots=True)
class SlackBot:
    """A bot token and a channel; the messages of one thread become one message that is edited in place."""

    poster: Poster
    token: str
    channel: str
    api: str = "https://slack.com/api"

    async def send(self, message: Message, reference: str) -> Answer:
        """Edit the thread's message if there is one, else post; `reference` is `channel:ts`."""
        channel, _, stamp = reference.rpartition(":")
        if stamp and message.kind is not Kind.REPEAT:
            answer = await self._call("chat.update", render(message) | {"channel": channel, "ts": stamp})
            if not (isinstance(answer, Refusal) and any(word in answer.problem for word in _GONE)):
                return answer
        return await self._call("chat.postMessage", render(message) | {"channel": self.channel})

    async def _call(self, method: str, body: dict[str, Any]) -> Answer:
        headers = {"authorization": f"Bearer {self.token}"}
        url = below(self.api, f"/{method}")
        return await self.poster.post(url, body, headers=headers, secrets=(self.token,), read=_read)


def _read(reply: Reply) -> Answer:
    """Slack's API says no inside a 200."""
    said = reply.json()
    if not isinstance(said, dict):
        return RetryLater("Slack's answer is no JSON")
    if said.get("ok"):
        return Delivered(f"{said.get('channel', '')}:{said.get('ts', '')}")
    error = str(said.get("error"))
    return RetryLater(f"Slack: {error}") if error in _AGAIN else Refusal(f"Slack: {error}")
