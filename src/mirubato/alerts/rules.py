"""Rules: what is asked, and what of the answer is an alert. A rule is a record; evaluating it is a function of time."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from mirubato.alerts.intervals import Interval, Sampled, interval_of, sampled_of
from mirubato.errors import QueryError, QueryLimit
from mirubato.limits import ALERTS_PER_RULE_MAX
from mirubato.model.labels import Labels
from mirubato.model.seams import Samples
from mirubato.promql.query import QueryBudget, Result, instant

FROM_API = "api"
"""The source of rules that came by the API; that of others is `file:<path>`."""


class Condition(StrEnum):
    """How a value must be to its threshold for a series to be active; in the words of the API."""

    GREATER_THAN = "greater_than"
    LESS_THAN = "less_than"
    GREATER_OR_EQUAL = "greater_or_equal"
    LESS_OR_EQUAL = "less_or_equal"
    EQUAL = "equal"
    NOT_EQUAL = "not_equal"

    def holds(self, value: float, threshold: float) -> bool:
        """Whether it does; as in PromQL, NaN is unequal to all and neither greater nor less."""
        return _COMPARES[self](value, threshold)

    @property
    def symbol(self) -> str:
        """As it is written in PromQL."""
        return _SYMBOLS[self]


_COMPARES: Mapping[Condition, Callable[[float, float], bool]] = {
    Condition.GREATER_THAN: operator.gt,
    Condition.LESS_THAN: operator.lt,
    Condition.GREATER_OR_EQUAL: operator.ge,
    Condition.LESS_OR_EQUAL: operator.le,
    Condition.EQUAL: operator.eq,
    Condition.NOT_EQUAL: operator.ne,
}
_SYMBOLS: Mapping[Condition, str] = {
    Condition.GREATER_THAN: ">",
    Condition.LESS_THAN: "<",
    Condition.GREATER_OR_EQUAL: ">=",
    Condition.LESS_OR_EQUAL: "<=",
    Condition.EQUAL: "==",
    Condition.NOT_EQUAL: "!=",
}


class NoData(StrEnum):
    """What becomes of a series that a rule with a condition no longer finds."""

    KEEP = "keep"
    OK = "ok"
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert rule. Durations are milliseconds."""

    id: str
    """Stable over restarts: random for rules of the API, a hash of where it stands for those of files."""
    name: str
    """The label `alertname` of its alerts."""
    query: str
    """PromQL: the value of each series that is watched."""
    condition: Condition | None = None
    """None: every series that the query answers is active, as in Prometheus."""
    threshold: float = 0.0
    for_ms: int = 0
    keep_firing_for_ms: int = 0
    interval_ms: int = 0
    """How often it is evaluated; 0: as the setting MIRUBATO_EVALUATION_INTERVAL says."""
    query_offset_ms: int = 0
    """How long before now its query looks."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Added to the labels of each alert, `severity` among them; Go templates."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Texts of each alert; Go templates."""
    severity: str = ""
    channels: Sequence[str] = ()
    """Where its messages go; empty: wherever messages go by default."""
    no_data: NoData = NoData.KEEP
    """Only where there is a condition: without one, a series that is gone is not active, as in Prometheus."""
    source: str = FROM_API
    group: str = ""
    enabled: bool = True
    limit: int = 0
    """Most active series; past it the evaluation fails. 0: ALERTS_PER_RULE_MAX."""
    sampling: str = ""
    """PromQL, where the value is a share of sampled events: what `intervals.sampled_of` reads. Empty: it is exact."""
    use_interval: bool = True
    """Whether a sampled share is active only where its whole confidence interval is (`sampling`)."""
    unit: str = ""
    """Of the value: `ratio`, `ms`, `USD`, `hours`, or none."""
    metric: str = ""
    """What the API's `metric` was; empty for rules that were written in PromQL."""
    window_ms: int = 0
    """What the API's `window_minutes` was, for texts and links."""
    line: int = 0
    """Where it stands in its file."""


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """A query whose answer is written as series named `name`, with `labels` over those of the answer."""

    id: str
    name: str
    query: str
    labels: Mapping[str, str] = field(default_factory=dict)
    interval_ms: int = 0
    query_offset_ms: int = 0
    source: str = FROM_API
    group: str = ""
    limit: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after another at the same times, so that one can read what another recorded."""

    name: str
    source: str
    rules: Sequence[Rule | RecordingRule]
    interval_ms: int = 0
    """0: as the setting MIRUBATO_EVALUATION_INTERVAL says."""
    limit: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """Which group it is, over restarts and changes."""
        return self.source, self.name


class Measured(NamedTuple):
    """One series at one time: its labels as the query answered them, its value, and whether that is an alert."""

    labels: Labels
    value: float
    active: bool
    interval: Interval | None = None
    """Where the value of a sampled share is known only between two bounds."""


Ask = Callable[[Samples, str, int, QueryBudget], Result]
"""`instant`, or what remembers its answers while many rules ask the same."""


def evaluate(rule: Rule, selector: Samples, now_ms: int, budget: QueryBudget, ask: Ask = instant) -> list[Measured]:
    """Each series that the rule's query finds at `now_ms`; what it does not find has no data.

    BadQuery, QueryError, QueryLimit, QueryTimeout where there is no answer: the states stay as they are.
    """
    at = now_ms - rule.query_offset_ms
    found = samples(ask(selector, rule.query, at, budget))
    measured = [Measured(labels, value, _is_active(rule, value)) for labels, value in found]
    if rule.sampling and rule.use_interval and any(one.active for one in measured):
        sampled = sampled_of(samples(ask(selector, rule.sampling, at, budget)))
        measured = [judged(rule, one, sampled.get(one.labels)) for one in measured]
    check_limit(sum(one.active for one in measured), rule.limit, "alerts")
    return measured


def record(rule: RecordingRule, selector: Samples, now_ms: int, budget: QueryBudget) -> Result:
    """The answer of a recording rule's query; errors as `evaluate`."""
    result = instant(selector, rule.query, now_ms - rule.query_offset_ms, budget)
    _check_kind(result)
    check_limit(len(result.series), rule.limit, "series")
    return result


def samples(result: Result) -> list[tuple[Labels, float]]:
    """What an instant query answers, as (labels, value); a native histogram counts as 0, as in Prometheus' rules."""
    _check_kind(result)
    return [(one.labels, one.values[0] if one.values else 0.0) for one in result.series]


def judged(rule: Rule, one: Measured, sampled: Sampled | None) -> Measured:
    """A series whose value is a share: active only if both ends of its interval are. None: it is exact."""
    if sampled is None or not one.active:
        return one
    interval = interval_of(one.value, sampled)
    return Measured(one.labels, one.value, all(_is_active(rule, bound) for bound in interval), interval)


def check_limit(count: int, limit: int, what: str) -> None:
    """QueryLimit for a rule that yields more than it may."""
    most = limit or ALERTS_PER_RULE_MAX
    if count > most:
        hint = "" if limit else ": aggregate the expression, or give the rule a `limit` of its own"
        raise QueryLimit(f"exceeded limit of {most} with {count} {what}{hint}")


def _is_active(rule: Rule, value: float) -> bool:
    return rule.condition is None or rule.condition.holds(value, rule.threshold)


def _check_kind(result: Result) -> None:
    if result.kind not in ("vector", "scalar"):
        raise QueryError("rule result is not a vector or scalar")
