"""GET /api/metrics: history as JSON, for those who do not speak PromQL."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from mirubato.errors import BadQuery
from mirubato.model.labels import NAME, metric_name
from mirubato.model.seams import Selector
from mirubato.promql.literals import quoted
from mirubato.promql.query import QueryBudget, over_steps
from mirubato.promql.values import Points, Steps
from mirubato.web.dashboard import Asked, error_rates
from mirubato.web.parameters import duration_ms, moment_ms

_HOUR_MS = 3_600_000
# Points of each series where no step is given: about one for every four pixels of a wide screen.
_POINTS_DEFAULT = 240
_SERIES_MAX = 1_000

Deploys = Callable[[int, int], list[dict[str, Any]]]
"""(start, end) in ms -> what was deployed, for charts."""


class History:
    """Values of metrics over time."""

    def __init__(self, selector: Selector, now: Callable[[], int], deploys: Deploys) -> None:
        self._selector, self._now, self._deploys = selector, now, deploys

    def answer(self, parameters: Mapping[str, str], budget: QueryBudget) -> dict[str, Any]:
        """`start` (default 1h ago), `end`, `metric`, `step`, `group_by` (label names, comma-separated: sums).

        The metric `error_rate` is that of each service, with its interval.
        """
        now = self._now()
        start, end = moment_ms(parameters, "start", now - _HOUR_MS, now), moment_ms(parameters, "end", now, now)
        if end < start:
            raise BadQuery('invalid parameter "end": before "start"')
        step = duration_ms(parameters, "step", max(1000, (end - start) // _POINTS_DEFAULT))
        steps = Steps(start, end, step)
        metric = parameters.get("metric")
        if metric == "error_rate":
            series = error_rates(Asked(self._selector, budget, steps))
        else:
            series = self._series(metric, parameters.get("group_by", ""), steps, budget)
        return {
            "start": start / 1000,
            "end": end / 1000,
            "step": step / 1000,
            "series": series[:_SERIES_MAX],
            "truncated": len(series) > _SERIES_MAX,
            "deploys": self._deploys(start, end),
        }

    def _series(self, metric: str | None, group_by: str, steps: Steps, budget: QueryBudget) -> list[dict[str, Any]]:
        selector = f"{{{NAME}={quoted(metric)}}}" if metric else f'{{{NAME}!=""}}'
        found = over_steps(self._selector, selector, steps, budget)
        floats = [one for one in found.series if one.values]
        return _grouped(floats, group_by) if group_by else _plain(floats)


def _number(value: float) -> float | str:
    """JSON has no NaN and no infinities: those are strings, as in the Prometheus API."""
    return value if math.isfinite(value) else {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")


def _plain(points: list[Points]) -> list[dict[str, Any]]:
    return [
        {
            "metric": metric_name(one.labels),
            "labels": {name: value for name, value in one.labels if name != NAME},
            "points": [[time / 1000, _number(value)] for time, value in zip(one.times, one.values, strict=True)],
        }
        for one in points
    ]


def _grouped(points: list[Points], group_by: str) -> list[dict[str, Any]]:
    names = [name.strip() for name in group_by.split(",")]
    sums: dict[tuple[str, ...], dict[int, float]] = {}
    for one in points:
        labels = dict(one.labels)
        key = (labels.get(NAME, ""), *(labels.get(name, "") for name in names))
        group = sums.setdefault(key, {})
        for time, value in zip(one.times, one.values, strict=True):
            group[time] = group.get(time, 0.0) + value
    return [
        {
            "metric": key[0],
            "labels": {name: value for name, value in zip(names, key[1:], strict=True) if value},
            "points": [[time / 1000, _number(value)] for time, value in sorted(group.items())],
        }
        for key, group in sorted(sums.items())
    ]
