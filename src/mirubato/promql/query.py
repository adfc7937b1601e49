"""Queries: a text and a time, or a text and steps -> an answer. One call, from any thread."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mirubato.clock import monotonic_s
from mirubato.errors import BadQuery, QueryError, QueryLimit, QueryTimeout
from mirubato.limits import (
    ANSWER_POINTS_MAX,
    LOOKBACK_MS,
    REMEMBERED_EXPRESSION_CHARS_MAX,
    REMEMBERED_EXPRESSIONS_MAX,
)
from mirubato.model.samples import Int64s
from mirubato.model.seams import Samples
from mirubato.promql import extended
from mirubato.promql.annotations import Annotations
from mirubato.promql.calls import ORDERED
from mirubato.promql.evaluate import Context, Evaluator
from mirubato.promql.expressions import (
    Aggregate,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    Paren,
    Subquery,
    Unary,
    bare,
    type_of,
)
from mirubato.promql.functions import ValueType
from mirubato.promql.parser import parse
from mirubato.promql.resolving import resolve
from mirubato.promql.rolled import refuse
from mirubato.promql.values import Points, Steps, Value, Vector, has_histogram
from mirubato.promql.windows import RangeVector, search

# Aggregations that take series in their order.
_CHOOSING = frozenset(("topk", "bottomk", "limitk", "limit_ratio"))


@dataclass(slots=True)
class QueryBudget:
    """`model.seams.Budget` with the settings' bounds; `deadline_s` is of the monotonic clock."""

    deadline_s: float
    series_max: int
    samples_max: int
    series: int = 0
    samples: int = 0

    def check(self) -> None:
        """QueryTimeout once the deadline has passed."""
        if monotonic_s() > self.deadline_s:
            raise QueryTimeout("query timed out (MIRUBATO_QUERY_TIMEOUT)")

    def take_series(self, count: int) -> None:
        """QueryLimit past the number of series."""
        self.series += count
        if self.series > self.series_max:
            raise QueryLimit(f"the query touches more than MIRUBATO_MAX_QUERY_SERIES={self.series_max} series")

    def take_samples(self, count: int) -> None:
        """QueryLimit past the number of samples."""
        self.samples += count
        if self.samples > self.samples_max:
            raise QueryLimit(f"the query reads more than MIRUBATO_MAX_QUERY_SAMPLES={self.samples_max} samples")


@dataclass(frozen=True, slots=True)
class Result:
    """An answer: `vector`, `matrix` and `scalar` have series (a scalar one, without labels), `string` has text."""

    kind: str
    series: Sequence[Points] = ()
    text: str = ""
    warnings: Sequence[str] = ()
    infos: Sequence[str] = ()


def instant(
    selector: Samples,
    text: str,
    time: int,
    budget: QueryBudget,
    *,
    lookback: int = LOOKBACK_MS,
    experimental: bool = True,
) -> Result:
    """The value of an expression at one time (ms); `lookback` in ms.

    BadQuery for what does not parse, QueryError for what has no answer, QueryLimit and QueryTimeout past the budget.
    """
    steps = Steps(time, time, 1, lookback)
    expr = resolve(_parsed(text, experimental), time, time, 0)
    evaluator = _evaluator(selector, text, expr, steps, budget)
    inner = bare(expr)
    if isinstance(inner, MatrixSelector | Subquery):
        with np.errstate(all="ignore"):
            held = _range_points(evaluator.range_vector(inner))
        return _result("matrix", _by_labels(held), evaluator)
    value = _evaluated(evaluator, expr)
    points: Sequence[Points] = list(_points(value, steps))
    if isinstance(value, Vector) and not _orders(expr):
        points = _by_labels(points)
    return _result("vector" if isinstance(value, Vector) else "scalar", points, evaluator, value)


def over_steps(selector: Samples, text: str, steps: Steps, budget: QueryBudget, *, experimental: bool = True) -> Result:
    """The value of an expression at each step, as one matrix sorted by labels; errors as `instant`."""
    steps.check_resolution()
    parsed = _parsed(text, experimental)
    kind = type_of(parsed)
    if kind not in (ValueType.SCALAR, ValueType.VECTOR):
        raise BadQuery(f'invalid expression type "{kind.value}" for range query, must be Scalar or instant Vector')
    expr = resolve(parsed, steps.start, steps.end, steps.step)
    evaluator = _evaluator(selector, text, expr, steps, budget)
    value = _evaluated(evaluator, expr)
    _check_size(value)
    return _result("matrix", _by_labels(list(_points(value, steps))), evaluator)


def _parsed(text: str, experimental: bool) -> Expr:  # noqa: FBT001  (a switch of `parse`)
    """The tree of a text; those of rules and dashboards come again and again."""
    if len(text) > REMEMBERED_EXPRESSION_CHARS_MAX:
        return parse(text, experimental=experimental)
    return _remembered(text, experimental)


@lru_cache(maxsize=REMEMBERED_EXPRESSIONS_MAX)
def _remembered(text: str, experimental: bool) -> Expr:  # noqa: FBT001  (as above)
    return parse(text, experimental=experimental)


def _check_size(value: Value) -> None:
    """QueryLimit for an answer that would take GBs as Python's numbers and as text."""
    if isinstance(value, Vector) and value.present.size > ANSWER_POINTS_MAX < value.present.sum():
        raise QueryLimit(
            f"the answer has more than {ANSWER_POINTS_MAX} points: select fewer series, or take a longer step"
        )


def _evaluator(selector: Samples, text: str, expr: Expr, steps: Steps, budget: QueryBudget) -> Evaluator:
    return Evaluator(Context(selector, budget, Annotations(text), _orders(expr)), steps)


def _evaluated(evaluator: Evaluator, expr: Expr) -> Value:
    """The value; infinities, NaN and division by zero are answers, and nothing to warn of."""
    with np.errstate(all="ignore"):
        return evaluator.value(expr)


def _result(kind: str, points: Sequence[Points], evaluator: Evaluator, value: Value | None = None) -> Result:
    notes = evaluator.notes
    if isinstance(value, str):
        return Result("string", points, value, notes.warnings(), notes.infos())
    return Result(kind, points, "", notes.warnings(), notes.infos())


def _by_labels(points: Sequence[Points]) -> Sequence[Points]:
    return sorted(points, key=lambda one: one.labels)


def _orders(expr: Expr) -> bool:
    """Whether anything in an expression puts series in order, or takes some of them by it."""
    match expr:
        case Call():
            return expr.function.name in ORDERED or any(map(_orders, expr.args))
        case Aggregate():
            return expr.op in _CHOOSING or _orders(expr.expr)
        case Binary():
            return _orders(expr.lhs) or _orders(expr.rhs)
        case Paren() | Unary() | Subquery():
            return _orders(expr.expr)
    return False


def _points(value: Value, steps: Steps) -> Iterator[Points]:
    """The rows that have something, with their times."""
    times = steps.times()
    if isinstance(value, str):
        return
    if not isinstance(value, Vector):
        yield Points((), times.tolist(), value.tolist())
        return
    every = times.tolist()
    whole: list[bool] = np.logical_and.reduce(value.present, axis=1).tolist()
    for row, labels in enumerate(value.labels):
        if whole[row]:
            yield Points(labels, every, value.values[row].tolist())
        else:
            yield _mixed_points(value, row, times)


def _mixed_points(value: Vector, row: int, times: Int64s) -> Points:
    at = value.present[row]
    floats = times[at].tolist(), value.values[row][at].tolist()
    if value.histograms is None:
        return Points(value.labels[row], *floats)
    native = has_histogram(value.histograms[row])
    return Points(value.labels[row], *floats, times[native].tolist(), value.histograms[row][native].tolist())


def _range_points(vector: RangeVector) -> list[Points]:
    """The samples of a range vector at one step."""
    columns = vector.columns
    if vector.rolled is not None:
        raise refuse("a range by itself", vector.rolled.borders)
    windows = search(columns, vector.starts[:1], vector.ends[:1])
    points = []
    for row, labels in enumerate(vector.labels):
        chunk = windows.chunk(slice(row, row + 1))
        held = slice(int(chunk.low[0, 0]), int(chunk.high[0, 0]))
        times, values = columns.timestamps[held].tolist(), columns.values[held].tolist()
        native = vector.native.get(row)
        if vector.extended:
            if native is not None:
                kind = "anchored" if vector.anchored else "smoothed"
                raise QueryError(f"{kind} modifier is not supported with histograms")
            times, values = (column.tolist() for column in extended.points(vector, row))
        if native is None:
            found = Points(labels, times, values)
        else:
            inside = np.flatnonzero((native.timestamps > vector.starts[0]) & (native.timestamps <= vector.ends[0]))
            kept = [one for index in inside.tolist() if (one := native.histograms[index]) is not None]
            found = Points(labels, times, values, native.timestamps[inside].tolist(), kept)
        if found.times or found.histogram_times:
            points.append(found)
    return points
