"""`rules` and `alerts` of the Prometheus API, so that Grafana's alert list shows what runs here.

Source: prometheus, web/api/v1/api.go.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from mirubato.alerts.rules import Group, RecordingRule, Rule
from mirubato.alerts.seams import ActiveAlert, AlertsEngine
from mirubato.errors import BadQuery
from mirubato.limits import REMEMBERED_EXPRESSIONS_MAX
from mirubato.model.labels import format_value
from mirubato.model.matchers import Matcher
from mirubato.promql.numbers import go_g
from mirubato.promql.parser import parse, parse_matchers
from mirubato.promql.printing import to_text
from mirubato.promql.query import QueryBudget
from mirubato.web.parameters import Parameters, flag
from mirubato.web.prometheus_answers import Answer
from mirubato.web.times import rfc3339

_NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time."""


class Rules:
    """What is evaluated and what became of it, in Prometheus' shape."""

    def __init__(
        self, groups: Callable[[], Sequence[Group]], engine: AlertsEngine | None, default_interval_ms: int
    ) -> None:
        self._groups, self._engine, self._default_interval_ms = groups, engine, default_interval_ms

    def alerts(self, _: Parameters, __: QueryBudget) -> Answer:
        """All alerts that are pending or firing."""
        active = self._engine.active() if self._engine else ()
        return Answer({"alerts": [_alert(alert) for alert in active]})

    def rules(self, parameters: Parameters, _: QueryBudget) -> Answer:
        """Groups with their rules; by `type`, `rule_name[]`, `rule_group[]`, `file[]`, `match[]`, and page by page."""
        wanted = _Wanted(parameters)
        alerts: dict[str, list[ActiveAlert]] = {}
        if self._engine and not wanted.no_alerts:
            for alert in self._engine.active():
                alerts.setdefault(alert.rule_id, []).append(alert)
        groups, token = wanted.page(list(self._groups()))
        told: dict[str, Any] = {"groups": [self._group(group, wanted, alerts) for group in groups]}
        return Answer(told | ({"groupNextToken": token} if token else {}))

    def _group(self, group: Group, wanted: "_Wanted", alerts: Mapping[str, Sequence[ActiveAlert]]) -> dict[str, Any]:
        rules = [self._rule(rule, alerts.get(rule.id, ()), wanted) for rule in wanted.rules(group)]
        return {
            "name": group.name,
            "file": _file(group),
            "rules": rules,
            "interval": (group.interval_ms or self._default_interval_ms) / 1000,
            "limit": group.limit,
            "evaluationTime": sum(rule["evaluationTime"] for rule in rules),
            "lastEvaluation": max(rule["lastEvaluation"] for rule in rules),
        }

    def _rule(self, rule: Rule | RecordingRule, alerts: Sequence[ActiveAlert], wanted: "_Wanted") -> dict[str, Any]:
        health = self._engine.health(rule.id) if self._engine else None
        told: dict[str, Any] = {
            "health": "unknown" if health is None else "err" if health.error else "ok",
            "evaluationTime": health.duration_s if health else 0.0,
            "lastEvaluation": rfc3339(health.last_evaluation_ms) if health else _NEVER,
        }
        if health and health.error:
            told["lastError"] = health.error
        if isinstance(rule, RecordingRule):
            return {"name": rule.name, "query": query_text(rule), "labels": rule.labels, **told, "type": "recording"}
        return {
            "state": self._state(rule, alerts, wanted),
            "name": rule.name,
            "query": query_text(rule),
            "duration": rule.for_ms / 1000,
            "keepFiringFor": rule.keep_firing_for_ms / 1000,
            "labels": rule.labels,
            "annotations": rule.annotations,
            "alerts": [_alert(alert) for alert in alerts],
            **told,
            "type": "alerting",
        }

    def _state(self, rule: Rule, alerts: Sequence[ActiveAlert], wanted: "_Wanted") -> str:
        some = self._engine.active(rule.id) if self._engine and wanted.no_alerts else alerts
        states = {_state(alert) for alert in some}
        return next((state for state in ("firing", "pending") if state in states), "inactive")


class _Wanted:
    """What the parameters ask for; what is wrong with them is told as Prometheus does."""

    def __init__(self, parameters: Parameters) -> None:
        self._matchers: list[tuple[Matcher, ...]] = [parse_matchers(text) for text in parameters.all("match[]")]
        self._kind = parameters.text("type").lower()
        if self._kind not in ("", "alert", "record"):
            raise BadQuery(f'invalid parameter "type": not supported value "{self._kind[:60]}"')
        self.no_alerts = flag(parameters.single, "exclude_alerts")
        self._names, self._group_names, self._files = (
            set(parameters.all(name)) for name in ("rule_name[]", "rule_group[]", "file[]")
        )
        self._most, self._token = _paging(parameters.single)

    def rules(self, group: Group) -> list[Rule | RecordingRule]:
        """Those of a group that are asked for."""
        return [rule for rule in group.rules if self._wants(rule)]

    def page(self, groups: Sequence[Group]) -> tuple[Sequence[Group], str]:
        """The groups with something that is asked for, from the token on, and the token of the next page."""
        if self._token:
            at = next((at for at, group in enumerate(groups) if _token(group) == self._token), None)
            if at is None:
                raise BadQuery(
                    f"invalid parameter \"group_next_token\": invalid group_next_token '{self._token[:60]}'."
                    " were rule groups changed?"
                )
            groups = groups[at:]
        wanted = [group for group in groups if self._wants_group(group) and self.rules(group)]
        if self._most and len(wanted) > self._most:
            return wanted[: self._most], _token(wanted[self._most])
        return wanted, ""

    def _wants_group(self, group: Group) -> bool:
        named = not self._group_names or group.name in self._group_names
        return named and (not self._files or _file(group) in self._files)

    def _wants(self, rule: Rule | RecordingRule) -> bool:
        kind = "record" if isinstance(rule, RecordingRule) else "alert"
        if self._kind not in ("", kind) or (self._names and rule.name not in self._names):
            return False
        return not self._matchers or any(
            all(matcher.matches(rule.labels.get(matcher.name, "")) for matcher in matchers)
            for matchers in self._matchers
        )


def _paging(parameters: Mapping[str, str]) -> tuple[int, str]:
    token, most = parameters.get("group_next_token", ""), parameters.get("group_limit", "")
    if token and not most:
        raise BadQuery(
            'invalid parameter "group_next_token": group_limit needs to be present in order to paginate over the groups'
        )
    if not most:
        return 0, ""
    if not most.removeprefix("-").isdecimal():
        raise BadQuery('invalid parameter "group_limit": group_limit needs to be a valid number')
    if int(most[:10]) <= 0:
        raise BadQuery('invalid parameter "group_limit": group_limit needs to be greater than 0')
    return int(most[:10]), token


def _token(group: Group) -> str:
    return hashlib.sha1(f"{_file(group)};{group.name}".encode(), usedforsecurity=False).hexdigest()


def _file(group: Group) -> str:
    return group.source.removeprefix("file:")


def query_text(rule: Rule | RecordingRule) -> str:
    """A rule as one expression, its condition included, as Prometheus prints expressions."""
    if isinstance(rule, RecordingRule) or rule.condition is None:
        return _printed(rule.query)
    return _printed(f"({rule.query}) {rule.condition.symbol} {format_value(rule.threshold)}")


@lru_cache(maxsize=REMEMBERED_EXPRESSIONS_MAX)
def _printed(text: str) -> str:
    return to_text(parse(text))


def _state(alert: ActiveAlert) -> str:
    """Prometheus knows two; what fires for want of data fires."""
    return "pending" if alert.state == "pending" else "firing"


def _alert(alert: ActiveAlert) -> dict[str, Any]:
    told: dict[str, Any] = {
        "labels": alert.labels,
        "annotations": alert.annotations,
        "state": _state(alert),
        "activeAt": rfc3339(alert.active_since_ms),
    }
    if alert.keep_firing_since_ms is not None:
        told["keepFiringSince"] = rfc3339(alert.keep_firing_since_ms)
    return told | {"value": exponent(alert.value)}


def exponent(value: float) -> str:
    """A number as Go's `%e` with as many digits as it has: `5e-02`."""
    if not math.isfinite(value):
        return go_g(value)
    number = Decimal(repr(value)).normalize()
    power = number.adjusted()
    return f"{number.scaleb(-power):f}e{power:+03d}"
