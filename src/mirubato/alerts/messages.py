"""From what is owed to what is said: values with units, titles, links. Pure."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from mirubato.alerts.remembered import Alert, Group, Held
from mirubato.alerts.rules import Rule
from mirubato.alerts.silences import Silence
from mirubato.alerts.step import Phase
from mirubato.alerts.telling import Owed, changes_of_late, damped
from mirubato.limits import FLAP_CHANGES_MAX, FLAP_STABLE_MS, MESSAGE_ALERTS_MAX
from mirubato.model.labels import format_value
from mirubato.notify.message import AlertNote, Kind, Message, Status, clock_time, duration_text

Annotate = Callable[[Rule | None, Alert], Mapping[str, str]]
"""The annotations of an alert, its templates run."""

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Speaker:
    """What all messages share."""

    external_url: str
    repeat_interval_ms: int
    annotate: Annotate

    def message(self, owed: Owed, rule: Rule | None, now: int) -> Message:
        """What is said of what is owed; the details that need queries come later."""
        firing = sum(alert.fires for alert in owed.alerts)
        listed = owed.alerts[:MESSAGE_ALERTS_MAX]
        first = owed.alerts[0]
        return Message(
            id=_id(owed.group.key, owed.kind, owed.status, now),
            kind=owed.kind,
            status=owed.status,
            group=owed.group.key,
            thread=owed.group.thread,
            title=_title(owed, rule, first),
            severity=first.labels.get("severity", ""),
            at_ms=now,
            condition=condition(rule) if rule and owed.kind is not Kind.DIGEST else "",
            alerts=tuple(self._note(alert, owed, rule, now) for alert in listed),
            firing=firing,
            resolved=len(owed.alerts) - firing,
            group_labels=owed.group.labels,
            link=self._link(first, now),
            external_url=self.external_url,
            expires_ms=now + 3 * self.repeat_interval_ms,
        )

    def _note(self, alert: Alert, owed: Owed, rule: Rule | None, now: int) -> AlertNote:
        status = Status.FIRING if alert.fires else Status.RESOLVED
        if alert.fires and alert.acknowledged_by:
            status = Status.ACKNOWLEDGED
        return AlertNote(
            id=alert.id,
            fingerprint=alert.id,
            group=alert.group or owed.group.key,
            status=status,
            labels=dict(alert.labels),
            annotations=dict(self.annotate(rule, alert)),
            value=_said_value(alert, rule),
            starts_ms=alert.state.fired_ms if alert.fires else _began(alert),
            ends_ms=0 if alert.fires else alert.ended_ms or now,
            note=_note_of(alert, now),
        )

    def _link(self, alert: Alert, now: int) -> str:
        """The page of the rule, from an hour before it fired until now."""
        if not self.external_url:
            return ""
        start = (_began(alert) or now) - _HOUR_MS
        asked = {"rule": alert.rule_id, "start": start // 1000, "end": now // 1000}
        return f"{self.external_url}/#/alerts?{urlencode(asked)}"

    def notice(self, silence: Silence, group: Group, held: Sequence[Alert], now: int) -> Message:
        """That a silence is about to end."""
        left = duration_text(silence.ends_ms - now)
        made = f"made by {silence.author or 'someone'}: {silence.comment or 'no comment'}"
        owed = Owed(Kind.NOTICE, Status.FIRING, group, held)
        return Message(
            id=_id(group.key, Kind.NOTICE, Status.FIRING, silence.ends_ms),
            kind=Kind.NOTICE,
            status=Status.FIRING,
            group=group.key,
            thread=group.thread,
            title=f"a silence ends in {left}; it holds back {len(held)} alerts",
            severity="info",
            at_ms=now,
            alerts=tuple(self._note(alert, owed, None, now) for alert in held[:MESSAGE_ALERTS_MAX]),
            firing=len(held),
            facts=(("Silence", f"{silence.id}, {made}"), ("Ends", clock_time(silence.ends_ms))),
            link=f"{self.external_url}/#/alerts" if self.external_url else "",
            external_url=self.external_url,
        )

    def test(self, rule: Rule | None, channel: str, now: int) -> Message:
        """A marked test, as the rule would say it."""
        labels = {"alertname": rule.name if rule else "Test", **({"severity": rule.severity} if rule else {})}
        alert = AlertNote(
            id=f"test-{hashlib.sha256(f'{channel} {now}'.encode()).hexdigest()[:12]}",
            fingerprint="0" * 16,
            group=f"test/{channel}/{now}",
            status=Status.FIRING,
            labels=labels,
            annotations={"summary": "This is a test: nothing is wrong, and somebody wanted to see whether it arrives."},
            value=value_text(rule.threshold, rule.unit) if rule and rule.condition else "",
            starts_ms=now,
        )
        return Message(
            id=alert.id,
            kind=Kind.TEST,
            status=Status.FIRING,
            group=alert.group,
            thread=alert.id,
            title=labels["alertname"],
            severity="info",
            at_ms=now,
            condition=condition(rule) if rule else "",
            alerts=(alert,),
            firing=1,
            link=f"{self.external_url}/#/alerts" if self.external_url else "",
            external_url=self.external_url,
            expires_ms=now + 60_000,
        )


def _id(key: str, kind: Kind, status: Status, at: int) -> str:
    """One group makes one message of a kind at a time."""
    return hashlib.sha256(f"{key} {kind} {status} {at}".encode()).hexdigest()[:20]


def _title(owed: Owed, rule: Rule | None, first: Alert) -> str:
    if owed.kind is Kind.DIGEST:
        firing = sum(alert.fires for alert in owed.alerts)
        return f"{len(owed.alerts)} alerts fired, {firing} of them still do"
    name = rule.name if rule else first.labels.get("alertname", "")
    about = [value for label, value in sorted(owed.group.labels.items()) if label != "alertname"]
    acknowledged = f", acknowledged by {first.acknowledged_by}" if owed.status is Status.ACKNOWLEDGED else ""
    return f"{name}{': ' if about else ''}{', '.join(about)}{acknowledged}"


def _began(alert: Alert) -> int:
    """When it began to fire; of one that has ceased to, the change before the last, or when people were told."""
    if alert.fires:
        return alert.state.fired_ms
    return alert.changes[-2] if len(alert.changes) > 1 else alert.told_ms or alert.ended_ms


def _said_value(alert: Alert, rule: Rule | None) -> str:
    if alert.state.phase is Phase.NO_DATA:
        return "no data"
    return value_text(alert.value, rule.unit if rule else "")


def _note_of(alert: Alert, now: int) -> str:
    notes = []
    if alert.released and alert.released != Held.FLAPPING:
        notes.append(f"was {alert.released} until now" if alert.released != Held.QUIET else "fired in quiet hours")
    changes = changes_of_late(alert, now)
    if len(changes) >= FLAP_CHANGES_MAX:
        span = duration_text(now - changes[0])
        more = f"; from now on told only after {duration_text(FLAP_STABLE_MS)} without a change"
        notes.append(f"flaps: {len(changes)} changes in {span}{'' if damped(alert, now) else more}")
    if alert.comment:
        notes.append(alert.comment)
    return "; ".join(notes)


def condition(rule: Rule) -> str:
    """`error_rate > 5 %` for a rule with a threshold, else its expression."""
    if rule.condition is None:
        return rule.query
    return f"{rule.metric or rule.query} {rule.condition.symbol} {value_text(rule.threshold, rule.unit)}"


def value_text(value: float, unit: str) -> str:
    """A value for people: `7.3 %` of a ratio, `812 ms`, `12.30 USD`, `3.5 hours`."""
    if not math.isfinite(value):
        return format_value(value)
    if unit == "ratio":
        return f"{value * 100:.3g} %"
    if unit == "USD":
        return f"{value:,.2f} USD"
    text = f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return f"{text} {unit}".strip()
