"""Calls of functions: arguments are evaluated, and the function does its work on whole vectors.

Source: prometheus, promql/functions.go and engine.go.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mirubato.model.labels import NAME, Labels
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.samples import Float64s
from mirubato.promql import label_functions
from mirubato.promql.evaluation import Evaluation, Job
from mirubato.promql.expressions import (
    Aggregate,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)
from mirubato.promql.histogram_functions import HISTOGRAM_FUNCTIONS
from mirubato.promql.info import info
from mirubato.promql.instant_functions import DATES, ELEMENTWISE, clamped, rounded
from mirubato.promql.values import Bools, Value, Vector


def call(evaluation: Evaluation, expr: Call) -> Value:
    """The value of a call."""
    name = expr.function.name
    if name in ELEMENTWISE:
        return _mapped(evaluation.vector(expr.args[0]), ELEMENTWISE[name])
    if name in DATES:
        return _date(evaluation, expr)
    if name in _FUNCTIONS:
        return _FUNCTIONS[name](Job(evaluation, expr))
    if name in HISTOGRAM_FUNCTIONS:
        return HISTOGRAM_FUNCTIONS[name](evaluation, expr)
    return evaluation.over_range(expr)


def _mapped(vector: Vector, function: Callable[[Float64s], Float64s]) -> Vector:
    """A function of each float; histograms are left out, names too."""
    floats = vector.floats().compact()
    with np.errstate(all="ignore"):
        return replace(floats, values=function(floats.values)).unnamed()


def _constant(values: Float64s) -> Vector:
    """One series without labels."""
    return Vector([()], values[None, :], np.ones((1, len(values)), np.bool_))


def _date(evaluation: Evaluation, expr: Call) -> Vector:
    function = DATES[expr.function.name]
    if not expr.args:
        return _constant(function((evaluation.times // 1000).astype(np.float64)))
    return _mapped(evaluation.vector(expr.args[0]), function)


# --- values -----------------------------------------------------------------------------------------------------------


def _clamp(job: Job) -> Vector:
    vector = job.vector(0)
    endless = np.full(len(job.evaluation.times), np.inf)
    low = -endless if job.name == "clamp_max" else job.scalar(1)
    high = endless if job.name == "clamp_min" else job.scalar(len(job.call.args) - 1)
    bounded = vector.only(np.broadcast_to(~(high < low), vector.present.shape))
    return _mapped(bounded, lambda values: clamped(values, low, high))


def _round(job: Job) -> Vector:
    nearest = job.scalar(1) if len(job.call.args) > 1 else np.ones(len(job.evaluation.times))
    return _mapped(job.vector(0), lambda values: rounded(values, nearest))


def _timestamp(job: Job) -> Vector:
    selector = job.call.args[0]
    if isinstance(selector, VectorSelector):
        return job.evaluation.sample_times(selector).unnamed()
    vector = job.vector(0)
    seconds = np.broadcast_to(job.evaluation.times / 1000, vector.values.shape)
    return Vector(vector.labels, np.array(seconds), vector.filled).unnamed()


def _no_start_timestamps(job: Job) -> Vector:
    """`start_timestamp` answers only where start times are kept beside samples (a feature flag of Prometheus)."""
    return job.vector(0).take(slice(0))


def _scalar(job: Job) -> Float64s:
    """The value where there is exactly one float, else NaN."""
    vector = job.vector(0)
    if not len(vector):
        return np.full(len(job.evaluation.times), np.nan)
    first = np.argmax(vector.present, axis=0)
    values = vector.values[first, np.arange(len(first))]
    return np.where(vector.present.sum(axis=0) == 1, values, np.nan)


def _time(job: Job) -> Float64s:
    return job.evaluation.times / 1000


def _pi(job: Job) -> Float64s:
    return np.full(len(job.evaluation.times), np.pi)


# --- absence ----------------------------------------------------------------------------------------------------------


def _absent(job: Job) -> Vector:
    vector = job.evaluation.over_range(job.call) if job.name == "absent_over_time" else job.vector(0)
    missing: Bools = ~np.logical_or.reduce(vector.filled, axis=0)
    labels = exact_labels(job.call.args[0])
    return Vector([labels], np.ones((1, missing.size)), missing[None, :]).compact()


def exact_labels(expr: Expr) -> Labels:
    """The labels that a selector gives exactly and once."""
    if isinstance(expr, MatrixSelector):
        expr = expr.selector
    if not isinstance(expr, VectorSelector):
        return ()
    found: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in expr.matchers:
        if matcher.name != NAME:
            _note(matcher, found, seen)
    return tuple(sorted((name, value) for name, value in found.items() if value))


def _note(matcher: Matcher, found: dict[str, str], seen: set[str]) -> None:
    if matcher.op is MatchOp.EQUAL and matcher.name not in seen:
        found[matcher.name] = matcher.value
        seen.add(matcher.name)
    else:
        found.pop(matcher.name, None)


# --- labels and order -------------------------------------------------------------------------------------------------


def _label_replace(job: Job) -> Vector:
    target, template, source, pattern = (job.text(index) for index in range(1, 5))
    return label_functions.label_replace(job.vector(0), target, template, source, pattern)


def _label_join(job: Job) -> Vector:
    target, separator, *sources = (job.text(index) for index in range(1, len(job.call.args)))
    return label_functions.label_join(job.vector(0), target, separator, sources)


def _sort(job: Job) -> Vector:
    vector = job.vector(0)
    if job.evaluation.steps.start != job.evaluation.steps.end:
        if not fixed(job.call):
            text = "sort is ineffective for range queries since results are always ordered by labels"
            job.evaluation.notes.warn(text, job.call.span)
        return vector.floats().compact() if job.name in ("sort", "sort_desc") else vector
    descending = job.name.endswith("_desc")
    if job.name in ("sort", "sort_desc"):
        return label_functions.by_value(vector, descending=descending)
    names = [job.text(index) for index in range(1, len(job.call.args))]
    return label_functions.by_label(vector, names, descending=descending)


# Of the evaluation time, whatever their arguments are.
_MOVING = frozenset((*DATES, "predict_linear", "time", "timestamp"))


def fixed(expr: Expr) -> bool:
    """Whether an expression is the same at all steps: Prometheus evaluates such once."""
    match expr:
        case NumberLiteral() | StringLiteral():
            return True
        case VectorSelector() | Subquery():
            return expr.at is not None
        case MatrixSelector():
            return expr.selector.at is not None
        case Paren() | Unary() | Aggregate():
            return fixed(expr.expr)
        case Binary():
            return fixed(expr.lhs) and fixed(expr.rhs)
        case Call():
            return expr.function.name not in _MOVING and all(map(fixed, expr.args))


def _info(job: Job) -> Vector:
    return info(job.evaluation, job.vector(0), job.call.args[1:])


_FUNCTIONS: dict[str, Callable[[Job], Value]] = {
    "absent": _absent,
    "absent_over_time": _absent,
    "clamp": _clamp,
    "clamp_max": _clamp,
    "clamp_min": _clamp,
    "info": _info,
    "label_join": _label_join,
    "label_replace": _label_replace,
    "max_of": lambda job: np.maximum(job.scalar(0), job.scalar(1)),
    "min_of": lambda job: np.minimum(job.scalar(0), job.scalar(1)),
    "pi": _pi,
    "round": _round,
    "scalar": _scalar,
    "sort": _sort,
    "sort_by_label": _sort,
    "sort_by_label_desc": _sort,
    "sort_desc": _sort,
    "start_timestamp": _no_start_timestamps,
    "time": _time,
    "timestamp": _timestamp,
    "vector": lambda job: _constant(job.scalar(0)),
}

ORDERED = frozenset(("sort", "sort_desc", "sort_by_label", "sort_by_label_desc"))
"""Functions that put series into an order."""
