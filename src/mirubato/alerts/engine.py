"""The engine: what is due is evaluated, stepped, journalled with what is owed, and only then told. Off the event loop.

A tick works on a copy of the memory, which takes the place of the old one once state.db has it: what is on disk and
what is in memory never differ by more than a commit that failed, and then the next tick does the same work again.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mirubato.alerts import journal
from mirubato.alerts.details import Details
from mirubato.alerts.evaluation import Answer, Evaluating, Planned, Task, planned
from mirubato.alerts.journal import Entry
from mirubato.alerts.messages import Speaker
from mirubato.alerts.observing import Change, LabelsOf, observe, retire
from mirubato.alerts.outbox import Delivery
from mirubato.alerts.remembered import Alert, Group, Memory
from mirubato.alerts.rules import RecordingRule, Rule
from mirubato.alerts.schedule import due, next_slot
from mirubato.alerts.seams import HistoryEntry, RuleSource
from mirubato.alerts.silences import Silence
from mirubato.alerts.telling import Habits, Owed, acknowledged, tell
from mirubato.alerts.writing import Writing, Written
from mirubato.clock import monotonic_s
from mirubato.database.state import StateStore
from mirubato.errors import MirubatoError
from mirubato.limits import DETAILED_MESSAGES_MAX, GRACE_MS_MAX, JOURNAL_MS_MAX
from mirubato.notify.message import Kind, Message, Status

_log = logging.getLogger(__name__)

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Joined:
    """What the engine is joined to. `write` puts samples on disk and answers once they are there."""

    state: StateStore
    rules: RuleSource
    evaluating: Evaluating
    details: Details
    speaker: Speaker
    labels_of: LabelsOf
    write: Callable[[Sequence[Written]], None]
    owed: Callable[[], None]
    """Told that the outbox has something new."""
    channels: Sequence[str]
    """Where the messages of rules without channels go."""


@dataclass(slots=True)
class Engine:
    """All alerts of one gateway. Its methods may be called from any thread; they wait for each other and the disk."""

    joined: Joined
    habits: Habits
    interval_ms: int
    memory: Memory = field(default_factory=Memory)
    silences: list[Silence] = field(default_factory=list)
    missed: int = 0
    """Slots that passed while an earlier tick was at work."""
    _rules: Mapping[str, Rule] = field(default_factory=dict)
    _planned: Sequence[Planned] = ()
    _revision: int | None = None
    _slots: dict[int, int] = field(default_factory=dict)
    _grace_until: int = 0
    _pruned_ms: int = 0
    _writing: Writing = field(default_factory=Writing)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """Whoever changes the memory."""

    def load(self, now: int) -> None:
        """Take up what the last process knew."""
        read = self.joined.state.read
        self.memory = read(journal.read_memory)
        self.silences = read(lambda file: journal.read_silences(file, now - JOURNAL_MS_MAX))
        last = read(journal.read_last_tick)
        self._grace_until = now + min(max(0, now - last), GRACE_MS_MAX) if last else 0

    def next_ms(self, now: int) -> int:
        """When the next slot begins."""
        self._look_at_rules()
        return min((next_slot(interval, now) for interval in self._intervals()), default=now + self.interval_ms)

    def tick(self, now: int) -> None:
        """Evaluate what is due, and tell what is to be told."""
        self._look_at_rules()
        slots = self._due(now)
        tasks = [Task(one.rule, slots[one.interval_ms], one.wave) for one in self._planned if one.interval_ms in slots]
        until = monotonic_s() + min(self._intervals()) / 1000
        for answers in self.joined.evaluating.slices(tasks, until):
            self._record(answers)
            self._commit(answers, now)
        self._write_alerts(tasks)
        self._prune(now)

    def _look_at_rules(self) -> None:
        source = self.joined.rules
        if (revision := source.revision) == self._revision:
            return
        self._planned = planned(source.groups(), self.interval_ms)
        self._rules = {one.rule.id: one.rule for one in self._planned if isinstance(one.rule, Rule)}
        self._revision = revision

    def _intervals(self) -> set[int]:
        """The default among them, so that what waits for a time is looked at without rules, too."""
        return {self.interval_ms, *(one.interval_ms for one in self._planned)}

    def _due(self, now: int) -> dict[int, int]:
        """Interval -> the slot to evaluate now."""
        slots = {}
        for interval in self._intervals():
            if (found := due(interval, self._slots.get(interval), now)) is not None:
                slots[interval] = self._slots[interval] = found.slot_ms
                self.missed += found.missed
        return slots

    def _record(self, answers: Sequence[Answer]) -> None:
        """Write what recording rules yield, before the next wave reads it."""
        samples: list[Written] = []
        for answer in answers:
            if isinstance(answer.task.rule, RecordingRule) and answer.recorded is not None:
                at = answer.task.at_ms - answer.task.rule.query_offset_ms
                samples += self._writing.of_recording(answer.task.rule, answer.recorded, at)
        self._write(samples)

    def _write(self, samples: Sequence[Written]) -> None:
        if not samples:
            return
        try:
            self.joined.write(samples)
        except (MirubatoError, TimeoutError) as error:
            _log.error("%d samples of rules could not be written: %s", len(samples), error)

    def _commit(self, answers: Sequence[Answer], now: int) -> None:
        with self._turn:
            memory, entry = self.memory.copy(), Entry(now)
            changes = self._observed(memory, answers, now)
            owed = tell(memory, self._rules, self.silences, self.habits, self.channels_of, now)
            entry.changes = [self._history(change) for change in changes]
            entry.deliveries = self._deliveries(owed, now)
            self._announce(memory, entry, now)
            self._keep(entry, memory)

    def _observed(self, memory: Memory, answers: Sequence[Answer], now: int) -> list[Change]:
        grace = now < self._grace_until
        changes: list[Change] = []
        for answer in answers:
            rule = answer.task.rule
            if not isinstance(rule, Rule) or answer.measured is None:
                continue
            try:
                changes += observe(memory, rule, answer.measured, answer.task.at_ms, self.joined.labels_of, grace=grace)
            except Exception as error:  # noqa: BLE001  (its alerts stay as they are, and the other rules go on)
                memory.alerts[rule.id] = dict(self.memory.alerts.get(rule.id, {}))
                self.joined.evaluating.fail(rule.id, str(error) or type(error).__name__)
        for gone in memory.alerts.keys() - self._rules.keys():
            changes += retire(memory, gone, now)
        return changes

    def annotations(self, alert: Alert) -> Mapping[str, str]:
        """Of an alert, its templates run now."""
        return self.joined.speaker.annotate(self._rules.get(alert.rule_id), alert)

    def channels_of(self, rule: Rule | None) -> Sequence[str]:
        """Where the messages of a rule go."""
        return (rule.channels if rule else ()) or self.joined.channels

    def _history(self, change: Change) -> HistoryEntry:
        alert, rule = change.alert, self._rules.get(change.alert.rule_id)
        name = rule.name if rule else alert.labels.get("alertname", "")
        annotations = self.joined.speaker.annotate(rule, alert) if alert.fires else {}
        return HistoryEntry(
            change.transition.at_ms, alert.id, alert.rule_id, name, alert.labels,
            change.transition.before.value, change.transition.after.value, alert.value, annotations,
        )  # fmt: skip

    def _deliveries(self, owed: Iterable[Owed], now: int) -> list[Delivery]:
        """A row of the outbox for each message and channel. Details are queries: the first few messages get them."""
        deliveries: list[Delivery] = []
        deadline, detailed = self.joined.details.deadline(), 0
        for one in owed:
            rule = self._rules.get(one.group.rule_id)
            message = self.joined.speaker.message(one, rule, now)
            first = one.alerts[0]
            if one.kind is Kind.ALERT and one.status is Status.FIRING and rule and detailed < DETAILED_MESSAGES_MAX:
                detailed += 1
                message = self.joined.details.added(message, rule, first, now, deadline)
            deliveries += self._to_channels(message, one.group, now)
        return deliveries

    @staticmethod
    def _to_channels(message: Message, group: Group, now: int) -> list[Delivery]:
        return [Delivery(channel, group.rule_id, message, now, now) for channel in dict.fromkeys(group.channels)]

    def _announce(self, memory: Memory, entry: Entry, now: int) -> None:
        """Say that a silence is about to end, where the messages that it holds back would go."""
        for silence in [one for one in self.silences if one.to_announce(now)]:
            held = [alert for alert in memory.all() if alert.fires and silence.holds(alert.labels, now)]
            channels = [name for alert in held for name in self.channels_of(self._rules.get(alert.rule_id))]
            group = Group(f"silence/{silence.id}", tuple(channels) or tuple(self.joined.channels), {}, "", now)
            message = self.joined.speaker.notice(silence, group, held, now)
            entry.deliveries += self._to_channels(message, group, now)
            entry.silences.append(replace(silence, announced=True))

    def _keep(self, entry: Entry, memory: Memory) -> None:
        """On disk first; then the new memory is the memory, and what is owed is sent. The turn is held."""
        before = self.memory
        self.joined.state.write(lambda file: journal.write(file, entry, before, memory))
        self.memory = memory
        changed = {silence.id: silence for silence in entry.silences}
        known = {silence.id for silence in self.silences}
        self.silences = [changed.get(one.id, one) for one in self.silences]
        self.silences += [silence for id_, silence in changed.items() if id_ not in known]
        if entry.deliveries:
            self.joined.owed()

    def _write_alerts(self, tasks: Sequence[Task]) -> None:
        samples: list[Written] = []
        for task in tasks:
            if isinstance(task.rule, Rule):
                alerts = self.memory.alerts.get(task.rule.id, {}).values()
                samples += self._writing.of_alerts(task.rule.id, alerts, task.at_ms)
        self._write(samples)

    def _prune(self, now: int) -> None:
        """Once a day."""
        if now - self._pruned_ms < _DAY_MS:
            return
        self._pruned_ms = now
        self.joined.state.write(lambda file: journal.prune(file, now - JOURNAL_MS_MAX))
        with self._turn:
            self.silences = [one for one in self.silences if one.ends_ms > now - JOURNAL_MS_MAX]

    def change_silence(self, silence: Silence, now: int) -> None:
        """A new one, or what became of one."""
        with self._turn:
            self._keep(Entry(now, silences=[silence]), self.memory)

    def acknowledge(self, some_id: str, by: str, comment: str, now: int) -> int:
        """Acknowledge one alert, or all that fire of one rule; how many that were."""
        with self._turn:
            memory = self.memory.copy()
            count, owed = acknowledged(memory, some_id, by, comment, now)
            if count:
                self._keep(Entry(now, deliveries=self._deliveries(owed, now)), memory)
            return count
