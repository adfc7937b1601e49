"""What an email says: subject, text and HTML, whichever way it goes out."""

from dataclasses import dataclass
from html import escape

from mirubato.notify.message import AlertNote, Message, Status, clock_time, duration_text, label_text, summary

_ALERTS_SHOWN = 50
CHART_ID = "chart@mirubato"


@dataclass(frozen=True, slots=True)
class Mail:
    """One email. The ids stand in angle brackets, as in the header."""

    subject: str
    text: str
    html: str
    message_id: str
    thread_id: str
    """What mail programs sort the messages of one alert together by."""


def render(message: Message, domain: str) -> Mail:
    """Subject and both bodies; the ids are under the sender's domain."""
    return Mail(
        subject=_one_line(message.headline)[:200],
        text="\n".join(_text_lines(message)),
        html=_html(message),
        message_id=f"<{message.id}@{domain}>",
        thread_id=f"<{message.thread}@{domain}>",
    )


def domain_of(sender: str) -> str:
    """`Mirubato <alerts@example.com>` -> `example.com`."""
    return sender.rpartition("@")[2].strip("> ") or "mirubato.local"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _text_lines(message: Message) -> list[str]:
    lines = [message.headline, ""]
    if message.condition:
        lines += [f"Rule: {message.condition}", ""]
    for alert in message.alerts[:_ALERTS_SHOWN]:
        lines += [f"- {summary(alert)}", *(f"  {line}" for line in _about(alert, message.at_ms)), ""]
    left = max(0, len(message.alerts) - _ALERTS_SHOWN) + message.more
    if left:
        lines += [f"... and {left} more", ""]
    lines += [f"{name}: {text}" for name, text in message.facts]
    if message.traces:
        lines.append(f"Traces: {', '.join(message.traces)}")
    return [*lines, *([f"Open: {message.link}"] if message.link else []), "", f"Message {message.id}"]


def _about(alert: AlertNote, now: int) -> list[str]:
    if alert.status is Status.RESOLVED:
        when = f"resolved {clock_time(alert.ends_ms)}, after {duration_text(alert.ends_ms - alert.starts_ms)}"
    else:
        when = f"since {clock_time(alert.starts_ms)} ({duration_text(now - alert.starts_ms)})"
    value = [f"value {alert.value}"] if alert.value else []
    lines = [", ".join([alert.status.value, *value, when]), label_text(alert.labels), alert.note, f"alert {alert.id}"]
    return [line for line in lines if line]


def _html(message: Message) -> str:
    colour = "#027a48" if message.status is Status.RESOLVED else "#b42318"
    parts = [f'<h2 style="color:{colour}">{escape(message.headline)}</h2>']
    if message.condition:
        parts.append(f"<p><b>Rule</b> {escape(message.condition)}</p>")
    if message.chart is not None:
        parts.append(f'<p><img src="cid:{CHART_ID}" width="480" height="120" alt="the value and its threshold"></p>')
    items = "".join(_html_alert(alert, message.at_ms) for alert in message.alerts[:_ALERTS_SHOWN])
    left = max(0, len(message.alerts) - _ALERTS_SHOWN) + message.more
    parts.append(f"<ul>{items}{f'<li>… and {left} more</li>' if left else ''}</ul>")
    parts += [f"<p><b>{escape(name)}</b> {escape(text)}</p>" for name, text in message.facts]
    if message.traces:
        parts.append(f"<p><b>Traces</b> <code>{escape(', '.join(message.traces))}</code></p>")
    if message.link:
        parts.append(f'<p><a href="{escape(message.link)}">Open</a></p>')
    parts.append(f'<p style="color:#667085">Message {escape(message.id)}</p>')
    return f'<html><body style="font-family:sans-serif">{"".join(parts)}</body></html>'


def _html_alert(alert: AlertNote, now: int) -> str:
    about = "<br>".join(escape(line) for line in _about(alert, now))
    return f"<li><b>{escape(summary(alert))}</b><br>{about}</li>"
