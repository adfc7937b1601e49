"""Rules as JSON: the mission's example, and every mistake with its field."""

from pathlib import Path
from typing import Any

import pytest

from mirubato.alerts.api_rules import FIELDS, masked, rule_from
from mirubato.alerts.builtins import BUILT_INS
from mirubato.alerts.rules import Condition, NoData, evaluate
from mirubato.alerts.templates import TEMPLATES
from mirubato.errors import BadField, QueryLimit
from mirubato.limits import ALERTS_PER_RULE_MAX
from tests.alerts.worlds import MINUTE_MS, budget, world

RULE: dict[str, Any] = {
    "name": "High Error Rate",
    "metric": "error_rate",
    "condition": "greater_than",
    "threshold": 0.05,
    "window_minutes": 5,
    "severity": "critical",
    "notification_channels": ["slack", "pagerduty"],
}


def test_the_example_as_it_stands() -> None:
    rule = rule_from(RULE, "r1")
    assert (rule.id, rule.name, rule.condition, rule.threshold) == (
        "r1",
        "High Error Rate",
        Condition.GREATER_THAN,
        0.05,
    )
    assert (rule.for_ms, rule.no_data, rule.enabled, rule.source) == (0, NoData.KEEP, True, "api")
    assert (rule.severity, rule.channels) == ("critical", ("slack", "pagerduty"))
    assert rule.labels == {"severity": "critical"}
    assert "[5m]" in rule.query


def test_an_expression_with_and_without_a_condition() -> None:
    bare = rule_from({"name": "x", "expr": "up == 0", "for": "1m30s", "keep_firing_for": 60}, "x")
    assert (bare.condition, bare.for_ms, bare.keep_firing_for_ms) == (None, 90_000, 60_000)
    compared = rule_from({"name": "x", "expr": "up", "condition": "less_than", "threshold": 1, "no_data": "alert"}, "x")
    assert (compared.condition, compared.no_data) == (Condition.LESS_THAN, NoData.ALERT)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": None}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"metric": 5}, "metric"),
        ({"metric": "rate(x[5m])"}, "metric"),
        ({"expr": "up"}, "metric"),
        ({"condition": "more_than"}, "condition"),
        ({"condition": ["greater_than"]}, "condition"),
        ({"threshold": "5"}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"threshold": 5}, "threshold"),
        ({"threshold": 1}, "threshold"),
        ({"condition": "less_than", "threshold": 0}, "threshold"),
        ({"window_minutes": 0}, "window_minutes"),
        ({"window_minutes": -5}, "window_minutes"),
        ({"window_minutes": "5"}, "window_minutes"),
        ({"severity": 3}, "severity"),
        ({"notification_channels": "slack"}, "notification_channels"),
        ({"notification_channels": [1]}, "notification_channels"),
        ({"notification_channels": ["x"] * 51}, "notification_channels"),
        ({"for": "soon"}, "for"),
        ({"for": -1}, "for"),
        ({"interval": []}, "interval"),
        ({"interval": "10ms"}, "interval"),
        ({"no_data": "ignore"}, "no_data"),
        ({"labels": []}, "labels"),
        ({"labels": {"a-b": "x"}}, "labels.a-b"),
        ({"labels": {"a": 1}}, "labels.a"),
        ({"labels": {"a": "{{ nope }}"}}, "labels.a"),
        ({"annotations": {"summary": "{{ $value | nope }}"}}, "annotations.summary"),
        ({"annotations": {"summary": "{{ if }}"}}, "annotations.summary"),
        ({"filter": {"__name__": "x"}}, "filter.__name__"),
        ({"enabled": "yes"}, "enabled"),
        ({"use_interval": 1}, "use_interval"),
        ({"limit": -1}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"treshold": 1}, "treshold"),
    ],
)
def test_a_mistake_names_its_field(change: dict[str, Any], field: str) -> None:
    body = {key: value for key, value in (RULE | change).items() if value is not None}
    with pytest.raises(BadField) as refused:
        rule_from(body, "x")
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("expr", "says"),
    [
        ("up[5m]", "range vector"),
        ('"text"', "string"),
        ("sum(", "unclosed left parenthesis"),
        ("up and 5", "scalar"),
        ("", "empty"),
        ("rate(up)", "expected type range vector"),
    ],
)
def test_an_impossible_expression_is_told(expr: str, says: str) -> None:
    with pytest.raises(BadField, match=says) as refused:
        rule_from({"name": "x", "expr": expr}, "x")
    assert refused.value.field == "expr"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x"}, "metric"),
        ({"name": "x", "metric": "m", "threshold": 1}, "condition"),
        ({"name": "x", "metric": "m", "condition": "equal"}, "threshold"),
        ({"name": "x", "expr": "m", "condition": "equal"}, "threshold"),
        ({"name": "x", "expr": "m", "no_data": "alert"}, "no_data"),
        ({"name": "x", "expr": "m", "filter": {"a": "b"}}, "filter"),
    ],
)
def test_what_goes_together(body: dict[str, Any], field: str) -> None:
    with pytest.raises(BadField) as refused:
        rule_from(body, "x")
    assert refused.value.field == field


@pytest.mark.parametrize("condition", Condition)
def test_conditions_are_those_of_promql(condition: Condition) -> None:
    """The same three values, compared by the rule and by PromQL."""
    scratch = world({'m{i="a"}': "1x5", 'm{i="b"}': "2x5", 'm{i="c"}': "NaNx5"})
    body = {"name": "x", "metric": "m", "condition": condition, "threshold": 2.0, "window_minutes": 1}
    ours = {one.labels for one in evaluate(rule_from(body, "x"), scratch, 5 * MINUTE_MS, budget()) if one.active}
    expr = f"avg_over_time(m[1m]) {condition.symbol} 2"
    theirs = {
        one.labels for one in evaluate(rule_from({"name": "x", "expr": expr}, "x"), scratch, 5 * MINUTE_MS, budget())
    }
    assert ours == theirs


def test_more_alerts_than_a_rule_may_have_are_one_error() -> None:
    scratch = world({f'm{{i="{number}"}}': "1x1" for number in range(50)})
    with pytest.raises(QueryLimit, match="exceeded limit of 10 with 50 alerts"):
        evaluate(rule_from({"name": "x", "expr": "m", "limit": 10}, "x"), scratch, MINUTE_MS, budget())
    assert len(evaluate(rule_from({"name": "x", "expr": "m"}, "x"), scratch, MINUTE_MS, budget())) == 50
    assert ALERTS_PER_RULE_MAX < 100_000


def test_a_channel_that_is_a_url_is_shown_without_what_it_holds() -> None:
    assert masked("slack") == "slack"
    assert masked("tgram://123456:secret/chat") == "tgram://***"
    assert masked("https://hooks.slack.com/services/T0/B0/secret") == "https://***"


def test_the_page_names_all_that_there_is() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "ALERTS.md").read_text(encoding="utf-8")
    for name in (*FIELDS, *BUILT_INS, *Condition, *NoData, *(key.removeprefix("template-") for key in TEMPLATES)):
        assert f"`{name}`" in page, name
