"""What the web asks of the alerts: `alerts.seams.AlertsEngine` over an engine and the outbox."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mirubato.alerts import journal, outbox
from mirubato.alerts.engine import Engine
from mirubato.alerts.remembered import Alert
from mirubato.alerts.rules import Rule
from mirubato.alerts.seams import ActiveAlert, HistoryEntry, RuleHealth
from mirubato.alerts.silences import Silence, from_json, to_json
from mirubato.alerts.step import Phase
from mirubato.errors import BadField
from mirubato.notify.message import Message
from mirubato.notify.receiver import Answer, Delivered, RetryLater

_SILENCE_SHOWN_MS = 7 * 86_400_000
"""How long an expired silence is still listed."""

SendTest = Callable[[str, Message], Answer | None]
"""Channel and message -> what the receiver said; None: there is no such channel. Waits for the receiver."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Asked in threads of the web's pool; it may wait for the disk, and tests wait for receivers."""

    engine: Engine
    send: SendTest
    now: Callable[[], int]

    def active(self, rule_id: str | None = None) -> Sequence[ActiveAlert]:
        """All alerts that are not inactive, or those of one rule."""
        memory, now = self.engine.memory, self.now()
        alerts = memory.all() if rule_id is None else list(memory.alerts.get(rule_id, {}).values())
        return [self._shown(alert, now) for alert in alerts if alert.state.phase is not Phase.INACTIVE]

    def _shown(self, alert: Alert, now: int) -> ActiveAlert:
        state = alert.state
        return ActiveAlert(
            id=alert.id,
            rule_id=alert.rule_id,
            state=state.phase.value,
            labels=alert.labels,
            annotations=self.engine.annotations(alert),
            value=alert.value,
            active_since_ms=state.since_ms,
            firing_since_ms=state.fired_ms or None,
            keep_firing_since_ms=state.clear_ms or None,
            silenced_by=[one.id for one in self.engine.silences if one.holds(alert.labels, now)],
            acknowledged_by=alert.acknowledged_by,
        )

    def health(self, rule_id: str) -> RuleHealth | None:
        """How the newest evaluation of a rule went."""
        return self.engine.joined.evaluating.health.get(rule_id)

    def history(self, start_ms: int, end_ms: int, rule_id: str | None = None) -> Sequence[HistoryEntry]:
        """Changes of state in a time range, newest first."""
        return self.engine.joined.state.read(lambda file: journal.read_history(file, start_ms, end_ms, rule_id))

    def messages(self, start_ms: int, end_ms: int) -> Mapping[str, int]:
        """How many messages each rule has made in a time range."""
        return self.engine.joined.state.read(lambda file: outbox.counts_by_rule(file, start_ms, end_ms))

    def silences(self) -> Sequence[Mapping[str, Any]]:
        """All that are not long expired; each says what it holds back now."""
        now = self.now()
        shown = [one for one in self.engine.silences if one.ends_ms > now - _SILENCE_SHOWN_MS]
        return [self._with_held(one, now) for one in sorted(shown, key=lambda one: one.ends_ms, reverse=True)]

    def _with_held(self, silence: Silence, now: int) -> Mapping[str, Any]:
        held = [alert.id for alert in self.engine.memory.all() if alert.fires and silence.holds(alert.labels, now)]
        return {**to_json(silence, now), "holds": held[:100], "holds_count": len(held)}

    def add_silence(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """A new one, or another content for the one whose `id` stands in the body."""
        now, id_ = self.now(), body.get("id") or secrets.token_hex(8)
        if "id" in body and body["id"] and not any(one.id == id_ for one in self.engine.silences):
            raise BadField("id", "there is no such silence; without an id a new one is made")
        silence = from_json(body, str(id_), now)
        self.engine.change_silence(silence, now)
        return self._with_held(silence, now)

    def expire_silence(self, silence_id: str) -> bool:
        """End it now; False if there is none that has not ended."""
        now = self.now()
        for silence in self.engine.silences:
            if silence.id == silence_id:
                if silence.ends_ms > now:
                    self.engine.change_silence(silence.expired(now), now)
                return True
        return False

    def acknowledge(self, some_id: str, by: str, comment: str) -> int:
        """Acknowledge one alert, or all firing ones of one rule; how many that were."""
        return self.engine.acknowledge(some_id, by or "someone", comment, self.now())

    def send_test(self, rule: Rule) -> Sequence[Mapping[str, Any]]:
        """Send a marked test to each channel of a rule and wait for the answers."""
        return [self._tested(rule, channel) for channel in self.engine.channels_of(rule)]

    def _tested(self, rule: Rule, channel: str) -> Mapping[str, Any]:
        message = self.engine.joined.speaker.test(rule, channel, self.now())
        answer = self.send(channel, message)
        if answer is None:
            return {"channel": channel, "ok": False, "error": "there is no such channel: it needs settings"}
        return {"channel": channel, **outcome(answer), "message_id": message.id}

    def troubles(self) -> Mapping[str, str]:
        """Channel -> what went wrong last, of the deliveries of the last day."""
        since = self.now() - 86_400_000
        return self.engine.joined.state.read(lambda file: outbox.troubles(file, since))


def outcome(answer: Answer) -> Mapping[str, Any]:
    """`ok`, and `error` where it is not."""
    match answer:
        case Delivered():
            return {"ok": True}
        case RetryLater(problem):
            return {"ok": False, "error": f"not now: {problem}"}
        case _:
            return {"ok": False, "error": answer.problem}
