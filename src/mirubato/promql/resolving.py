"""An expression for certain steps: durations become ms, and what depends on the query's times becomes a number.

Sources: prometheus, promql/durations.go, and `PreprocessExpr` in promql/engine.go.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import add, is_, mul, sub, truediv
from typing import Any, NoReturn, TypeVar

import numpy as np

from mirubato.errors import BadQuery
from mirubato.promql.expressions import (
    Aggregate,
    Binary,
    Call,
    Duration,
    DurationExpr,
    DurationNode,
    Edge,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
    bare,
)
from mirubato.promql.literals import SECONDS_MAX

_Node = TypeVar("_Node", VectorSelector, MatrixSelector, Subquery, Paren, Unary, Binary, Aggregate, Call)


def resolve(expr: Expr, start: int, end: int, step: int) -> Expr:
    """The expression over steps from `start` to `end` every `step`, all in ms; an instant query has a step of 0.

    In the result every duration is an int and every `@` a time; calls of `start()`, `end()`, `range()` and `step()`
    are numbers, and arguments have no parentheses around them. BadQuery for a duration that is none.
    """
    return _Resolver(start, end, step).expr(expr)


class _Resolver:
    def __init__(self, start: int, end: int, step: int) -> None:
        self._start = start
        self._end = end
        self._step = step

    def expr(self, expr: Expr) -> Expr:  # noqa: PLR0911  (one for each kind)
        match expr:
            case NumberLiteral() | StringLiteral():
                return expr
            case VectorSelector():
                return self._selecting(expr)
            case MatrixSelector():
                range_ = self._duration(expr.range, negative=False)
                return _with(expr, selector=self._selecting(expr.selector), range=range_)
            case Subquery():
                return self._subquery(expr)
            case Paren():
                return _with(expr, expr=self.expr(expr.expr))
            case Unary():
                return _with(expr, expr=self.expr(expr.expr))
            case Binary():
                return _with(expr, lhs=self.expr(expr.lhs), rhs=self.expr(expr.rhs))
            case Aggregate():
                param = None if expr.param is None else bare(self.expr(expr.param))
                return _with(expr, param=param, expr=bare(self.expr(expr.expr)))
            case Call():
                return self._call(expr)

    def _selecting(self, expr: VectorSelector) -> VectorSelector:
        return _with(expr, offset=self._duration(expr.offset, negative=True), at=self._time(expr.at))

    def _subquery(self, expr: Subquery) -> Subquery:
        offset = self._duration(expr.offset, negative=True)
        step = None if expr.step is None else self._duration(expr.step, negative=False) or None
        range_ = self._duration(expr.range, negative=False)
        return _with(expr, expr=self.expr(expr.expr), range=range_, step=step, offset=offset, at=self._time(expr.at))

    def _call(self, call: Call) -> Expr:
        value = self._known(call.function.name)
        if value is not None:
            return NumberLiteral(value, call.span)
        args = tuple([bare(self.expr(arg)) for arg in call.args])
        return call if all(map(is_, args, call.args)) else _with(call, args=args)

    def _known(self, function: str) -> float | None:
        """What a function without arguments is for this query, if it depends on nothing else."""
        match function:
            case "start":
                return self._start / 1000
            case "end":
                return self._end / 1000
            case "range":
                return (self._end - self._start) / 1000
            case "step":
                return self._step / 1000 if self._start != self._end else 0.0
        return None

    def _time(self, at: int | Edge | None) -> int | None:
        if isinstance(at, Edge):
            return self._start if at is Edge.START else self._end
        return at

    def _duration(self, duration: Duration, *, negative: bool) -> int:
        if isinstance(duration, int):
            return duration
        seconds = self._seconds(duration)
        if not math.isfinite(seconds):
            _fail(duration, "duration is NaN or infinite")
        if seconds <= 0 and not negative:
            _fail(duration, "duration must be greater than 0")
        if abs(seconds) > SECONDS_MAX:
            _fail(duration, "duration is out of range")
        return int(seconds * 1000)

    def _seconds(self, node: DurationNode) -> float:
        if isinstance(node, NumberLiteral):
            return node.value
        if node.op in ("step", "range"):
            return (self._step if node.op == "step" else self._end - self._start) / 1000
        assert node.rhs
        right = self._seconds(node.rhs)
        if node.lhs is None:
            return -right if node.op == "-" else right
        if right == 0 and node.op in ("/", "%"):
            _fail(node, "division by zero" if node.op == "/" else "modulo by zero")
        return _ARITHMETIC[node.op](self._seconds(node.lhs), right)


def _power(base: float, exponent: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.float64(base) ** np.float64(exponent))


def _remainder(left: float, right: float) -> float:
    """As Go's `math.Mod`: with the sign of `left`; NaN for an infinite one."""
    return math.nan if math.isinf(left) or math.isnan(left) else math.fmod(left, right)


_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": add,
    "-": sub,
    "*": mul,
    "/": truediv,
    "%": _remainder,
    "^": _power,
    "min_of": np.minimum,
    "max_of": np.maximum,
}


def _fail(node: DurationExpr, what: str) -> NoReturn:
    raise BadQuery(f"{node.span[0]}:{node.span[1]}: {what}")


def _with(expr: _Node, /, **changes: Any) -> _Node:
    """A copy with these changes; the expression itself if there are none, as is usual."""
    return expr if all(getattr(expr, name) is value for name, value in changes.items()) else replace(expr, **changes)
