"""An engine over a real state.db, whose rules' answers and clock a test turns; receivers are lists."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from mirubato.alerts import outbox
from mirubato.alerts.delivery import Deliverer
from mirubato.alerts.desk import Desk
from mirubato.alerts.details import Details
from mirubato.alerts.engine import Engine, Joined
from mirubato.alerts.evaluation import Answer, Evaluating, Task
from mirubato.alerts.messages import Speaker
from mirubato.alerts.rules import Condition, Group, Measured, NoData, Rule
from mirubato.alerts.seams import RuleHealth
from mirubato.alerts.telling import Habits
from mirubato.alerts.writing import Written
from mirubato.database.state import StateStore
from mirubato.model.labels import Labels
from mirubato.notify.message import Message, from_json
from mirubato.notify.receiver import Answer as Said
from mirubato.notify.receiver import Delivered

T0 = 1_800_000_000_000
"""A slot of every interval that tests use; a Friday, 08:00 UTC."""
STEP_MS = 15_000
MINUTE_MS = 60_000


def series(service: str, **more: str) -> Labels:
    return tuple(sorted({"service_name": service, **more}.items()))


def a_rule(name: str = "Errors", **fields: Any) -> Rule:
    """A rule with a threshold of 5; values above it are active."""
    whole: dict[str, Any] = {
        "id": name.lower(), "name": name, "query": "q", "condition": Condition.GREATER_THAN, "threshold": 5.0,
        "labels": {"severity": fields.get("severity", "critical")}, "channels": ("one",),
    }  # fmt: skip
    return Rule(**(whole | fields))


@dataclass
class Scripted:
    """Stands for `Evaluating`: what each rule's query answers is what the test says; None: an error."""

    values: dict[str, Mapping[Labels, float] | None] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    health: dict[str, RuleHealth] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def slices(self, tasks: Sequence[Task], until_s: float) -> Iterator[list[Answer]]:
        yield [Answer(task, self._measured(task)) for task in tasks]

    def _measured(self, task: Task) -> list[Measured] | None:
        rule = cast("Rule", task.rule)
        values = self.values.get(rule.id, {})
        if values is None:
            return None
        active = rule.condition or Condition.NOT_EQUAL
        return [Measured(labels, value, active.holds(value, rule.threshold)) for labels, value in values.items()]

    def fail(self, rule_id: str, error: str) -> None:
        self.failed.append((rule_id, error))


@dataclass
class Book:
    """Stands for the rule book."""

    rules: list[Rule]
    revision: int = 0

    def groups(self) -> Sequence[Group]:
        return [Group("g", "api", tuple(self.rules))]

    def set(self, *rules: Rule) -> None:
        self.rules, self.revision = list(rules), self.revision + 1


@dataclass
class Receiver:
    """Answers what it is told to, and remembers what it took."""

    answer: Said = field(default_factory=Delivered)
    got: list[Message] = field(default_factory=list)

    async def send(self, message: Message, reference: str) -> Said:
        self.got.append(message)
        return self.answer


class NoDetails(Details):
    """Adds nothing: there are no samples to ask."""

    def added(self, message: Message, *_: Any) -> Message:
        return message


class World:
    """One state.db, and an engine that may be restarted."""

    def __init__(self, directory: Path, *rules: Rule, habits: Habits | None = None) -> None:
        self.state, self.book, self.now = StateStore(directory), Book(list(rules)), T0
        self.scripted, self.habits = Scripted(), habits or Habits()
        self.written: list[Written] = []
        self.receivers: dict[str, Receiver] = {"one": Receiver(), "two": Receiver()}
        self.restart()

    def restart(self) -> None:
        """Another process over the same file; what it was killed in the middle of is gone."""
        joined = Joined(
            state=self.state,
            rules=self.book,
            evaluating=cast("Evaluating", self.scripted),
            details=NoDetails(cast("Any", None), cast("Any", None)),
            speaker=Speaker("http://here", self.habits.repeat_interval_ms, lambda rule, alert: {}),
            labels_of=lambda rule, labels, value: {**dict(labels), **rule.labels, "alertname": rule.name},
            write=self.written.extend,
            owed=lambda: None,
            channels=("one",),
        )
        self.engine = Engine(joined, self.habits, STEP_MS)
        self.engine.load(self.now)
        self.desk = Desk(self.engine, lambda channel, message: None, lambda: self.now)
        self.deliverer = Deliverer(self.state, self.receivers.get, lambda: self.now)

    def see(self, of_rule: str = "errors", /, **values: float) -> None:
        """What a rule's query answers from now on, by service."""
        self.scripted.values[of_rule] = {series(service): value for service, value in values.items()}

    def tick(self, ms: int = STEP_MS, **values: float) -> list[Message]:
        """Let time pass, evaluate; the messages that this made, in order."""
        if values:
            self.see(**values)
        before = self.made()
        self.now += ms
        self.engine.tick(self.now)
        return [message for key, message in self.made().items() if key not in before]

    def made(self) -> dict[tuple[str, str], Message]:
        """All messages ever made, by id and receiver."""
        rows = self.state.read(lambda file: file.execute("SELECT * FROM delivery ORDER BY rowid").fetchall())
        return {(row["id"], row["receiver"]): from_json(row["message"]) for row in rows}

    def deliver(self) -> None:
        """Send what is due, to each receiver until nothing is."""

        async def all_due() -> None:
            for name in self.receivers:
                while not await self.deliverer.send_next(name):
                    pass

        asyncio.run(all_due())

    def owed(self) -> Mapping[str, int]:
        return self.state.read(outbox.receivers_owed)


@contextmanager
def world(directory: Path, *rules: Rule, habits: Habits | None = None) -> Iterator[World]:
    one = World(directory, *(rules or (a_rule(),)), habits=habits)
    try:
        yield one
    finally:
        one.state.close(5)


def without_condition(name: str = "Errors", **fields: Any) -> Rule:
    """A rule as Prometheus has them: what the query finds is active."""
    return replace(a_rule(name, **fields), condition=None)


__all__ = ["NoData", "Receiver", "World", "a_rule", "series", "without_condition", "world"]
