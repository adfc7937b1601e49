"""Evaluating: waves, slow rules last, one answer for all who ask the same, and errors that stay at home."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from mirubato.alerts import evaluation
from mirubato.alerts.details import Difference, difference
from mirubato.alerts.evaluation import Bounds, Evaluating, Task, planned
from mirubato.alerts.inhibition import Firing, inhibited
from mirubato.alerts.rules import Group, RecordingRule, Rule
from mirubato.alerts.seams import RuleHealth
from mirubato.promql.query import Result
from mirubato.promql.values import Points

BOUNDS = Bounds(10.0, 1000, 1000)


def alert(name: str, query: str) -> Rule:
    return Rule(name, name, query)


def names(tasks: Sequence[Task]) -> list[str]:
    return [task.rule.name for task in tasks]


def test_what_reads_a_recorded_series_comes_in_a_later_wave() -> None:
    record = RecordingRule
    group = Group("g", "f", (
        record("1", "a:b", "up"), alert("plain", "up"), record("2", "a:c", "a:b * 2"), alert("reads", "sum(a:c) > 1"),
        alert("broken", "sum(a:b"), alert("contains", 'up{job="a:b"}'),
    ))  # fmt: skip
    other = Group("h", "f", (alert("elsewhere", "a:b"),), interval_ms=60_000)
    found = {one.rule.name: (one.interval_ms, one.wave) for one in planned([group, other], 15_000)}
    assert found == {
        "a:b": (15_000, 0), "plain": (15_000, 0), "a:c": (15_000, 1), "reads": (15_000, 2), "broken": (15_000, 0),
        "contains": (15_000, 0), "elsewhere": (60_000, 0),
    }  # fmt: skip


class Asked:
    """Stands for `instant`: counts, answers one series, and fails where the query says so."""

    def __init__(self) -> None:
        self.queries: list[str] = []

    def __call__(self, _: Any, text: str, *__: Any) -> Result:
        self.queries.append(text)
        if text == "bug":
            raise ZeroDivisionError
        return Result("vector", [Points((("x", "1"),), [0], [1.0])])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    one = Asked()
    monkeypatch.setattr(evaluation, "instant", one)
    return one


def test_a_defect_stays_at_home_and_equal_queries_are_asked_once(asked: Asked) -> None:
    one = Evaluating(cast("Any", None), BOUNDS)
    rules = [alert("a", "same"), alert("b", "same"), alert("c", "bug"), alert("d", "other")]
    answers = [answer for some in one.slices([Task(rule, 0, 0) for rule in rules], 1e18) for answer in some]
    assert [answer.series for answer in answers] == [1, 1, 0, 1]
    assert asked.queries == ["same", "bug", "other"]
    assert "ZeroDivisionError" in one.health["c"].error
    assert (one.failures, one.evaluations) == (1, 4)


def test_slow_rules_come_last_and_what_has_no_time_left_is_said(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Evaluating(cast("Any", None), BOUNDS)
    one.health["slow"] = RuleHealth(0, 5.0)
    tasks = [Task(alert("slow", "x"), 0, 0), Task(alert("quick", "y"), 0, 0), Task(alert("later", "z"), 0, 1)]
    assert names(one.ordered(tasks)) == ["quick", "slow", "later"]
    clock = iter(range(100))
    monkeypatch.setattr(evaluation, "monotonic_s", lambda: float(next(clock)))
    slices = [[answer.task.rule.name for answer in some] for some in one.slices(tasks, 6.5)]
    assert [name for some in slices for name in some] == ["quick", "slow", "later"]
    assert len(slices) > 1
    assert one.skipped == 1
    assert "took all of the interval" in one.health["later"].error


def test_the_attribute_that_differs_most() -> None:
    def counted(route: str, count: float, **more: str) -> tuple[Any, float]:
        return tuple(sorted({"http_route": route, "job": "j", **more}.items())), count

    errors = [counted("/pay", 9, zone="a"), counted("/ok", 1, zone="b")]
    successes = [counted("/pay", 10, zone="a"), counted("/ok", 90, zone="b"), counted("/x", float("nan"))]
    assert difference(errors, successes) == Difference("zone", "a", 0.9, 0.1)
    assert difference(errors, errors) is None
    assert difference([], successes) is None


def test_inhibition() -> None:
    firing = [
        Firing("crit", "critical", "x"), Firing("warn", "warning", "x"), Firing("odd", "purple", "x"),
        Firing("other", "warning", "y"), Firing("same", "page", "x"),
    ]  # fmt: skip
    assert inhibited(firing) == {"warn"}
