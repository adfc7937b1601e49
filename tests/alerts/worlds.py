"""Series in memory, and rules asked of them at a time."""

from collections.abc import Mapping
from typing import Any

from mirubato.alerts.api_rules import rule_from
from mirubato.alerts.rules import Measured, evaluate
from mirubato.alerts.scratch import Scratch
from mirubato.alerts.series_notation import parse_labels, parse_values
from mirubato.clock import monotonic_s
from mirubato.promql.query import QueryBudget

MINUTE_MS = 60_000


def world(series: Mapping[str, str], interval_ms: int = MINUTE_MS) -> Scratch:
    """Series by their names, with values in promtool's notation from 0 on."""
    scratch = Scratch()
    for name, values in series.items():
        for number, value in enumerate(parse_values(values)):
            if value is not None:
                scratch.add(parse_labels(name), number * interval_ms, value)
    return scratch


def budget() -> QueryBudget:
    """More than any test needs."""
    return QueryBudget(monotonic_s() + 60, 1_000_000, 50_000_000)


def asked(scratch: Scratch, at_ms: int, body: Mapping[str, Any]) -> dict[str, Measured]:
    """What a rule of the API finds, by service."""
    rule = rule_from({"name": "x", "condition": "greater_than", "threshold": 0.05, **body}, "x")
    return {dict(one.labels).get("service_name", ""): one for one in evaluate(rule, scratch, at_ms, budget())}


def values(scratch: Scratch, at_ms: int, metric: str, **more: Any) -> dict[str, float]:
    """The value of a metric by service, to six digits."""
    found = asked(scratch, at_ms, {"metric": metric, **more})
    return {service: round(one.value, 6) for service, one in found.items()}
