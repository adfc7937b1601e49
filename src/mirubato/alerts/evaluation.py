"""Evaluating what is due: one thread, the quick rules first, each under a deadline, an answer that two ask for once."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mirubato.alerts.checking import metric_names
from mirubato.alerts.rules import Group, Measured, RecordingRule, Rule, evaluate, record
from mirubato.alerts.seams import RuleHealth
from mirubato.clock import monotonic_s
from mirubato.errors import MirubatoError
from mirubato.limits import EVALUATION_S_MAX, EVALUATION_SLICE_S
from mirubato.model.seams import Samples
from mirubato.promql.query import QueryBudget, Result, instant


class Bounds(NamedTuple):
    """What one evaluation may touch: the settings of queries."""

    timeout_s: float
    series_max: int
    samples_max: int

    def budget(self, seconds: float) -> QueryBudget:
        """A fresh one, with a deadline in so many seconds at most."""
        return QueryBudget(monotonic_s() + min(seconds, self.timeout_s), self.series_max, self.samples_max)


class Planned(NamedTuple):
    """A rule, how often it is evaluated, and its wave: it reads what the waves before it have recorded."""

    rule: Rule | RecordingRule
    interval_ms: int
    wave: int


def planned(groups: Sequence[Group], default_interval_ms: int) -> list[Planned]:
    """All rules. In a group a rule that reads what another before it records comes a wave later."""
    found = []
    for group in groups:
        recorded: dict[str, int] = {}
        for rule in group.rules:
            interval = rule.interval_ms or group.interval_ms or default_interval_ms
            wave = max((recorded[name] + 1 for name in _read(rule, recorded)), default=0)
            if isinstance(rule, RecordingRule):
                recorded[rule.name] = max(wave, recorded.get(rule.name, 0))
            found.append(Planned(rule, interval, wave))
    return found


def _read(rule: Rule | RecordingRule, recorded: Mapping[str, int]) -> Sequence[str]:
    """Which of some metrics a rule reads. Most groups record nothing, and then nothing is parsed."""
    if not recorded or not any(name in rule.query for name in recorded):
        return ()
    try:
        return [name for name in metric_names(rule.query) if name in recorded]
    except MirubatoError:  # told when it is evaluated
        return ()


class Task(NamedTuple):
    """One rule at one slot (ms)."""

    rule: Rule | RecordingRule
    at_ms: int
    wave: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a task: what an alert rule has measured, or what a recording rule yields; or neither."""

    task: Task
    measured: Sequence[Measured] | None = None
    recorded: Result | None = None

    @property
    def series(self) -> int:
        """How many were found."""
        return len(self.measured or ()) + (len(self.recorded.series) if self.recorded else 0)


@dataclass(slots=True)
class Evaluating:
    """Evaluates tasks, and knows how each rule did last."""

    selector: Samples
    bounds: Bounds
    health: dict[str, RuleHealth] = field(default_factory=dict)
    """By rule id."""
    failures: int = 0
    evaluations: int = 0
    skipped: int = 0
    """Tasks that a tick had no time left for."""

    def ordered(self, tasks: Sequence[Task]) -> list[Task]:
        """Waves in turn; within one, rules that took long last time come last, so that they delay no other."""
        took = {rule: health.duration_s for rule, health in self.health.items()}
        return sorted(tasks, key=lambda task: (task.wave, took.get(task.rule.id, 0.0)))

    def slices(self, tasks: Sequence[Task], until_s: float) -> Iterator[list[Answer]]:
        """Answers in slices, so that what is known early is told early: one ends after EVALUATION_SLICE_S or a wave.

        `until_s` (of the monotonic clock) is when the tick has no time left.
        """
        ask = _Shared(tasks)
        taken: list[Answer] = []
        began, wave = monotonic_s(), 0
        for task in self.ordered(tasks):
            if taken and (task.wave != wave or monotonic_s() - began > EVALUATION_SLICE_S):
                yield taken
                taken, began = [], monotonic_s()
            wave = task.wave
            taken.append(self._answer(task, ask, until_s))
        yield taken

    def _answer(self, task: Task, ask: "_Shared", until_s: float) -> Answer:
        began = monotonic_s()
        if began > until_s:
            self.skipped += 1
            return self._failed(task, "not evaluated: other rules took all of the interval", 0.0)
        budget = self.bounds.budget(EVALUATION_S_MAX)
        self.evaluations += 1
        try:
            answer = self._answered(task, ask, budget)
        except MirubatoError as error:
            return self._failed(task, str(error), monotonic_s() - began)
        except Exception as error:  # noqa: BLE001  (a defect that one rule finds must not end all others)
            text = f"a defect of the gateway: {type(error).__name__}: {error}"
            return self._failed(task, text, monotonic_s() - began)
        self.health[task.rule.id] = RuleHealth(task.at_ms, monotonic_s() - began, "", answer.series)
        return answer

    def _answered(self, task: Task, ask: "_Shared", budget: QueryBudget) -> Answer:
        if isinstance(task.rule, RecordingRule):
            return Answer(task, recorded=record(task.rule, self.selector, task.at_ms, budget))
        return Answer(task, evaluate(task.rule, self.selector, task.at_ms, budget, ask))

    def _failed(self, task: Task, error: str, took_s: float) -> Answer:
        self.failures += 1
        self.health[task.rule.id] = RuleHealth(task.at_ms, took_s, error)
        return Answer(task)

    def fail(self, rule_id: str, error: str) -> None:
        """What was answered turned out to be of no use."""
        self.failures += 1
        health = self.health[rule_id]
        self.health[rule_id] = RuleHealth(health.last_evaluation_ms, health.duration_s, error, health.found)


class _Shared:
    """`instant`, asked once for each query and time that more than one rule of a tick has."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        counts = Counter(task.rule.query for task in tasks)
        counts.update(task.rule.sampling for task in tasks if isinstance(task.rule, Rule) and task.rule.sampling)
        self._wanted = {query for query, number in counts.items() if number > 1}
        self._answers: dict[tuple[str, int], Result] = {}

    def __call__(self, selector: Samples, text: str, time: int, budget: QueryBudget) -> Result:
        if text not in self._wanted:
            return instant(selector, text, time, budget)
        if (text, time) not in self._answers:
            self._answers[text, time] = instant(selector, text, time, budget)
        return self._answers[text, time]
