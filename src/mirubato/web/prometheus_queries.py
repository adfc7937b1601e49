"""Endpoints that take an expression: query, query_range, query_exemplars, format_query, parse_query."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from mirubato.clock import monotonic_s
from mirubato.errors import BadQuery
from mirubato.limits import LOOKBACK_MS
from mirubato.model.labels import Labels
from mirubato.model.matchers import Matcher
from mirubato.model.samples import Exemplar
from mirubato.model.seams import Selector
from mirubato.promql.expressions import (
    Aggregate,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    Paren,
    Subquery,
    Unary,
    VectorSelector,
)
from mirubato.promql.parser import parse
from mirubato.promql.printing import pretty
from mirubato.promql.query import QueryBudget, Result, instant, over_steps
from mirubato.promql.tree_json import tree
from mirubato.promql.values import Steps
from mirubato.web.parameters import Parameters, duration_ms, limit, lookback_ms, required_time_ms, stretch_ms, time_ms
from mirubato.web.prometheus_answers import Answer, cut
from mirubato.web.prometheus_json import exemplar_json, matrix, scalar, string, vector

_QUERY = 'invalid parameter "query": '


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """Settings of a query: timeout in ms, series and samples in number, and whether all of PromQL is taken."""

    timeout: int
    series: int
    samples: int
    experimental: bool = True

    def budget(self, timeout: int) -> QueryBudget:
        """What a query that begins now may take; `timeout` (ms) may only shorten."""
        return QueryBudget(monotonic_s() + min(timeout, self.timeout) / 1000, self.series, self.samples)


class Queries:
    """Expressions over a selector, evaluated in the thread that calls."""

    def __init__(self, selector: Selector, settings: QuerySettings, now: Callable[[], int]) -> None:
        self._selector, self._settings, self._now = selector, settings, now

    def query(self, parameters: Parameters, budget: QueryBudget) -> Answer:
        """`query` at `time`, by default now."""
        single = parameters.single
        most, time = limit(single), time_ms(single, "time", self._now())
        lookback, began = lookback_ms(single, LOOKBACK_MS), monotonic_s()
        with _query_named():
            result = instant(
                self._selector,
                parameters.text("query"),
                time,
                budget,
                lookback=lookback,
                experimental=self._settings.experimental,
            )
        return _answer(result, most, time, _stats(parameters, budget, began))

    def query_range(self, parameters: Parameters, budget: QueryBudget) -> Answer:
        """`query` from `start` to `end`, every `step`."""
        most, steps, began = limit(parameters.single), _steps(parameters), monotonic_s()
        with _query_named():
            result = over_steps(
                self._selector, parameters.text("query"), steps, budget, experimental=self._settings.experimental
            )
        return _answer(result, most, steps.start, _stats(parameters, budget, began))

    def query_exemplars(self, parameters: Parameters, budget: QueryBudget) -> Answer:
        """The exemplars of all series that a `query` selects anywhere in it.

        Grafana probes for this endpoint with times in ms where seconds are meant.
        """
        stretch = stretch_ms(parameters.single)
        if stretch.end < stretch.start:
            raise BadQuery("end timestamp must not be before start timestamp")
        selectors = list(_selectors(self._parsed(parameters)))
        found: dict[Labels, list[Exemplar]] = {}
        if selectors:
            for labels, exemplar in self._selector.exemplars(stretch.start, stretch.end, selectors):
                found.setdefault(labels, []).append(exemplar)
        budget.check()
        return Answer([_exemplars(labels, found[labels]) for labels in sorted(found)])

    def format_query(self, parameters: Parameters, _: QueryBudget) -> Answer:
        """A `query` laid out for reading."""
        with _query_named():
            return Answer(pretty(self._parsed(parameters)))

    def parse_query(self, parameters: Parameters, _: QueryBudget) -> Answer:
        """The tree of a `query`."""
        with _query_named():
            expr = self._parsed(parameters)
        # orjson takes 254 levels, and a tree may have more.
        return Answer(orjson.Fragment(json.dumps(tree(expr), ensure_ascii=False)))

    def _parsed(self, parameters: Parameters) -> Expr:
        return parse(parameters.text("query"), experimental=self._settings.experimental)


@contextmanager
def _query_named() -> Iterator[None]:
    """An expression that is none is a bad parameter, and is called so."""
    try:
        yield
    except BadQuery as error:
        raise BadQuery(_QUERY + str(error).removeprefix(_QUERY)) from error


def _steps(parameters: Parameters) -> Steps:
    single = parameters.single
    start, end = required_time_ms(single, "start"), required_time_ms(single, "end")
    if end < start:
        raise BadQuery('invalid parameter "end": end timestamp must not be before start time')
    step = duration_ms(single, "step")
    if step <= 0:
        raise BadQuery(
            'invalid parameter "step": zero or negative query resolution step widths are not accepted.'
            " Try a positive integer"
        )
    steps = Steps(start, end, step, lookback_ms(single, LOOKBACK_MS))
    steps.check_resolution()
    return steps


@dataclass(frozen=True, slots=True)
class _Stats:
    """What `stats` asks for, and what there is to say about a parameter that should not be."""

    shown: dict[str, Any] | None
    warnings: Sequence[str] = ()


def _stats(parameters: Parameters, budget: QueryBudget, began: float) -> _Stats:
    """How long evaluation took, and how many samples were read."""
    asked = parameters.text("stats")
    if not asked:
        return _Stats(None)
    took, samples = monotonic_s() - began, budget.samples
    timings = {
        "evalTotalTime": took,
        "resultSortTime": 0,
        "queryPreparationTime": 0,
        "innerEvalTime": took,
        "execQueueTime": 0,
        "execTotalTime": took,
    }
    counts = {"totalQueryableSamples": samples, "samplesRead": samples, "peakSamples": samples}
    warning = (
        f'value "{asked[:60]}" for parameter "stats" is deprecated and will be rejected in the next major release,'
        ' use "true" or "all"'
    )
    return _Stats({"timings": timings, "samples": counts}, [] if asked in ("true", "all") else [warning])


def _answer(result: Result, most: int | None, time: int, stats: _Stats) -> Answer:
    shown = cut(result.series, most if result.kind in ("vector", "matrix") else None)
    data: dict[str, Any] = {"resultType": result.kind, "result": _written(result, shown.data, time)}
    if stats.shown is not None:
        data["stats"] = stats.shown
    return Answer(data, [*result.warnings, *shown.warnings, *stats.warnings], result.infos)


def _written(result: Result, series: Sequence[Any], time: int) -> orjson.Fragment:
    match result.kind:
        case "vector":
            return vector(series)
        case "matrix":
            return matrix(series)
        case "scalar":
            return scalar(series[0])
        case _:
            return string(result.text, time)


def _selectors(expr: Expr) -> Iterator[tuple[Matcher, ...]]:
    """The matchers of every selector in an expression."""
    match expr:
        case VectorSelector():
            yield expr.matchers
        case MatrixSelector():
            yield expr.selector.matchers
        case Paren() | Unary() | Subquery():
            yield from _selectors(expr.expr)
        case Binary():
            yield from _selectors(expr.lhs)
            yield from _selectors(expr.rhs)
        case Aggregate():
            yield from _selectors(expr.expr)
            if expr.param is not None:
                yield from _selectors(expr.param)
        case Call():
            for arg in expr.args:
                yield from _selectors(arg)


def _exemplars(labels: Labels, exemplars: Sequence[Exemplar]) -> dict[str, Any]:
    rising = sorted(exemplars, key=lambda one: one.timestamp)
    return {"seriesLabels": dict(labels), "exemplars": [exemplar_json(one) for one in rising]}
