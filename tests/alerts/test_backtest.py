"""What a rule would have done, counted by the machine that pages people; and the report of the loudest rules."""

from collections.abc import Sequence
from typing import Any

import pytest

from mirubato.alerts.api_rules import rule_from
from mirubato.alerts.backtest import Backtest, Past, backtest
from mirubato.alerts.noise import fired, report
from mirubato.alerts.rules import Rule
from mirubato.alerts.seams import HistoryEntry
from mirubato.errors import QueryLimit
from mirubato.limits import STEPS_MAX
from mirubato.promql.query import QueryBudget
from tests.alerts.worlds import MINUTE_MS, budget, world

WEEK = 7 * 24 * 60


def minutes(*spells: tuple[int, int], length: int = WEEK) -> str:
    """1 from one minute for so many minutes, else 0; in promtool's notation."""
    parts, at = [], 0
    for start, long in spells:
        parts += [f"0x{start - at - 1}", f"1x{long - 1}"]
        at = start + long
    return " ".join([*parts, f"0x{max(0, length - at)}"])


def tried(values: str, length: int = WEEK, **more: Any) -> Backtest:
    """A rule `m > 0` over a series, every minute."""
    body = {"name": "x", "metric": "m", "condition": "greater_than", "threshold": 0, "window_minutes": 1, **more}
    past = Past(length * MINUTE_MS, MINUTE_MS, length * MINUTE_MS)
    return backtest(rule_from(body, "x"), world({'m{a="b"}': values}), past, budget())


def test_the_sentence_of_the_example() -> None:
    """Nine short ones, two of 8 minutes, three long ones."""
    short = [(100 * (number + 1), 3) for number in range(9)]
    middle, long = [(2_000, 8), (2_500, 8)], [(3_000, 20), (4_000, 60), (5_000, 600)]
    found = tried(minutes(*short, *middle, *long))
    assert found.sentence() == (
        "would have fired 14 times in the last 7 days, 9 of them for under 5 minutes; with `for: 10m` 3 times"
    )
    answer = found.answer()
    assert (answer["fired"], answer["under_5_minutes"], answer["suggestion"]) == (14, 9, {"for": "10m"})
    assert {one["for"]: one["fired"] for one in answer["with_for"]} == {
        "1m": 14,
        "2m": 14,
        "5m": 5,
        "10m": 3,
        "15m": 3,
        "30m": 2,
        "1h": 1,
    }
    assert len(answer["episodes"]) == 14
    assert answer["episodes"][0] == {"labels": {"a": "b"}, "start": 100 * 60, "end": 103 * 60}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (minutes(), "would never have fired in the last 7 days"),
        (minutes((9_000, 2_000), length=10_080), "would have fired once in the last 7 days"),
    ],
)
def test_a_quiet_rule_needs_no_advice(values: str, says: str) -> None:
    found = tried(values)
    assert found.sentence() == says
    assert found.better() is None


def test_what_the_rule_says_of_time_counts() -> None:
    values = minutes((10, 2), (14, 2), (40, 20), length=100)
    assert tried(values, 100).tried.fired == 3
    assert tried(values, 100, **{"for": "5m"}).tried.fired == 1
    assert tried(values, 100, keep_firing_for="5m").tried.fired == 2


def test_what_no_data_means_counts() -> None:
    values = "0x9 1x4 _x20 1x4 0x20"
    assert tried(values, 60, no_data="keep").tried.fired == 1
    assert tried(values, 60, no_data="ok").tried.fired == 2
    assert tried("0x9 _x20 0x40", 60, no_data="alert").tried.fired == 1
    bare = rule_from({"name": "x", "expr": "m > 0"}, "x")
    past = Past(60 * MINUTE_MS, MINUTE_MS, 60 * MINUTE_MS)
    assert backtest(bare, world({"m": "0x9 1x4 stale _x19 1x4 0x20"}), past, budget()).tried.fired == 2


def test_an_alert_that_still_fires_has_no_end() -> None:
    found = tried(minutes((90, 11), length=100), 100)
    assert [one.end_ms for one in found.episodes] == [None]
    assert found.tried.short == 0


@pytest.mark.parametrize(("range_ms", "interval_ms"), [(WEEK * MINUTE_MS, 15_000), (3_600_000, 15_000), (1000, 15_000)])
def test_a_long_past_is_looked_at_in_larger_steps(range_ms: int, interval_ms: int) -> None:
    steps = Past(range_ms, interval_ms, 1_700_000_000_000).steps()
    assert len(steps) <= STEPS_MAX + 1
    assert steps.step % interval_ms == 0
    assert steps.end - steps.start <= range_ms
    steps.check_resolution()


def test_a_past_that_is_too_large_is_refused() -> None:
    few = QueryBudget(budget().deadline_s, 10, 10)
    with pytest.raises(QueryLimit):
        backtest(
            rule_from({"name": "x", "expr": "m"}, "x"), world({"m": "1x100"}), Past(6_000_000, 60_000, 6_000_000), few
        )


# --- noise ------------------------------------------------------------------------------------------------------------


def changes(rule: str, *spells: tuple[int, int], alert: str = "1") -> list[HistoryEntry]:
    """Fires at a minute for so many minutes."""
    found = []
    for start, long in spells:
        for at, before, after in ((start, "inactive", "firing"), (start + long, "firing", "inactive")):
            found.append(HistoryEntry(at * MINUTE_MS, alert, rule, f"Rule {rule}", {}, before, after, 1.0))
    return found


LOUD = Rule("loud", "Rule loud", "m", for_ms=60_000)
CALM = Rule("calm", "Rule calm", "m")
RULES = {"loud": LOUD, "calm": CALM}


def test_how_often_a_rule_fired_and_how_often_shortly() -> None:
    history = [
        *changes("loud", (0, 2), (10, 3), (20, 30)),
        *changes("loud", (1, 4), alert="2"),
        *changes("calm", (5, 60)),
    ]
    assert fired(history[::-1]) == {"loud": (4, 3), "calm": (1, 0)}


def told(history: Sequence[HistoryEntry], messages: dict[str, int]) -> dict[str, Any]:
    return report(history, messages, RULES.get, lambda _: None)


def test_the_report_names_the_loudest_rules_and_what_would_quiet_them() -> None:
    history = [*changes("loud", *((10 * number, 2) for number in range(9))), *changes("calm", (5, 60))]
    found = told(history, {"loud": 18, "calm": 2})
    assert found["sentence"] == "1 rule made 90 % of 20 messages"
    assert [(one["id"], one["messages"], one["fired"]) for one in found["rules"]] == [("loud", 18, 9), ("calm", 2, 1)]
    assert found["rules"][0]["edit"] == {"for": "5m", "why": "9 of 9 alerts were over in under 5 minutes"}
    assert found["rules"][1]["edit"] is None


def test_a_backtest_makes_the_advice_better() -> None:
    history = changes("loud", *((10 * number, 2) for number in range(9)))
    found = report(history, {}, RULES.get, lambda _: tried(minutes((100, 3), (200, 3), (300, 3), (400, 20))))
    assert found["rules"][0]["edit"] == {"for": "5m", "why": "it would have fired 1 instead of 4 times"}


def test_what_comes_back_again_and_again_is_kept_together() -> None:
    history = changes("calm", (0, 10), (20, 10), (40, 10))
    (rule,) = told(history, {"calm": 6})["rules"]
    assert rule["edit"]["keep_firing_for"] == "10m"


def test_a_quiet_week_and_rules_that_are_gone() -> None:
    assert told([], {}) == {"messages": 0, "sentence": "no messages", "rules": []}
    (rule,) = told(changes("gone", (0, 1), (2, 1)), {"gone": 4})["rules"]
    assert (rule["name"], rule["edit"]) == ("Rule gone", None)
