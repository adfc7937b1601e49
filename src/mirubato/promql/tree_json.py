"""An expression as the JSON of `parse_query`. Source: prometheus, web/api/v1/translate_ast.go."""

from typing import Any

from mirubato.model.matchers import Matcher
from mirubato.promql.expressions import (
    Aggregate,
    Binary,
    Call,
    Duration,
    DurationNode,
    Edge,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
)
from mirubato.promql.functions import Function, short_name
from mirubato.promql.literals import number_text


def tree(expr: Expr) -> dict[str, Any]:  # noqa: PLR0911  (one for each kind)
    """The expression with all its parts; durations and times in ms.

    Lists and objects nest up to twice as deep as expressions: orjson takes 254 levels, `json` takes these.
    """
    match expr:
        case NumberLiteral():
            return {"type": "numberLiteral", "val": number_text(expr.value)}
        case StringLiteral():
            return {"type": "stringLiteral", "val": expr.value}
        case VectorSelector():
            return {"type": "vectorSelector", **_selector(expr)}
        case MatrixSelector():
            return {"type": "matrixSelector", **_selector(expr.selector), **_duration("range", expr.range)}
        case Subquery():
            return {"type": "subquery", "expr": tree(expr.expr), **_subquery(expr)}
        case Paren():
            return {"type": "parenExpr", "expr": tree(expr.expr)}
        case Unary():
            return {"type": "unaryExpr", "op": expr.op, "expr": tree(expr.expr)}
        case Binary():
            return {"type": "binaryExpr", "lhs": tree(expr.lhs), "rhs": tree(expr.rhs), **_operator(expr)}
        case Aggregate():
            param = None if expr.param is None else tree(expr.param)
            return {"type": "aggregation", "expr": tree(expr.expr), "param": param, **_aggregation(expr)}
        case Call():
            return {"type": "call", "func": _function(expr.function), "args": [tree(arg) for arg in expr.args]}


def _selector(selector: VectorSelector) -> dict[str, Any]:
    return {
        "name": selector.name,
        "matchers": [_matcher(matcher) for matcher in selector.matchers],
        "anchored": selector.anchored,
        "smoothed": selector.smoothed,
        **_duration("offset", selector.offset),
        **_at(selector.at),
    }


def _matcher(matcher: Matcher) -> dict[str, str]:
    return {"name": matcher.name, "value": matcher.value, "type": matcher.op.value}


def _subquery(subquery: Subquery) -> dict[str, Any]:
    return {
        **_duration("range", subquery.range),
        **_duration("step", subquery.step or 0),
        **_duration("offset", subquery.offset),
        **_at(subquery.at),
    }


def _operator(binary: Binary) -> dict[str, Any]:
    matching = None if binary.matching is None else _matching(binary.matching)
    return {"op": binary.op, "bool": binary.bool, "matching": matching}


def _matching(matching: VectorMatching) -> dict[str, Any]:
    return {
        "card": matching.card.value,
        "labels": list(matching.labels),
        "on": matching.on,
        "include": list(matching.include),
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    }


def _aggregation(aggregate: Aggregate) -> dict[str, Any]:
    return {"op": aggregate.op, "grouping": list(aggregate.grouping), "without": aggregate.without}


def _function(function: Function) -> dict[str, Any]:
    return {
        "name": function.name,
        "argTypes": [short_name(arg) for arg in function.args],
        "variadic": function.variadic,
        "returnType": short_name(function.returns),
    }


def _at(at: int | Edge | None) -> dict[str, Any]:
    edge = at.value if isinstance(at, Edge) else None
    return {"timestamp": None if edge else at, "startOrEnd": edge}


def _duration(name: str, duration: Duration) -> dict[str, Any]:
    """A duration as two fields: ms, and an expression."""
    if isinstance(duration, int):
        return {name: duration, f"{name}Expr": None}
    return {name: 0, f"{name}Expr": _duration_tree(duration)}


def _duration_tree(node: DurationNode) -> dict[str, Any]:
    if isinstance(node, NumberLiteral):
        return {"type": "numberLiteral", "val": number_text(node.value), "duration": node.duration}
    return {
        "type": "durationExpr",
        "op": node.op,
        "lhs": None if node.lhs is None else _duration_tree(node.lhs),
        "rhs": None if node.rhs is None else _duration_tree(node.rhs),
        "wrapped": node.wrapped,
    }
