"""Whether an expression makes sense: types, numbers of arguments, matchers. Source: prometheus, parse.go `checkAST`.

What is wrong first, in the order of Prometheus, is what is told.
"""

from typing import NoReturn

from mirubato.model.labels import NAME
from mirubato.promql.expressions import (
    COMPARISONS,
    SET_OPERATORS,
    Aggregate,
    Binary,
    Call,
    Cardinality,
    Expr,
    MatrixSelector,
    Paren,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
    type_of,
)
from mirubato.promql.functions import ValueType, short_name
from mirubato.promql.literals import quoted
from mirubato.promql.reader import parse_error

_VALUES = (ValueType.SCALAR, ValueType.VECTOR)
_PARAMS = dict.fromkeys(("topk", "bottomk", "quantile", "limitk", "limit_ratio"), ValueType.SCALAR)
_PARAMS["count_values"] = ValueType.STRING


def check(expr: Expr, text: str) -> None:
    """BadQuery if the expression, parsed from `text`, makes no sense."""
    _Check(text).type(expr)


class _Check:
    def __init__(self, text: str) -> None:
        self._text = text

    def type(self, expr: Expr) -> ValueType:
        """What the expression evaluates to; it and all that it stands on is checked."""
        match expr:
            case VectorSelector():
                self._selector(expr)
            case MatrixSelector():
                self._selector(expr.selector)
            case Paren():
                return self.type(expr.expr)
            case Call():
                self._call(expr)
            case Aggregate():
                self._aggregate(expr)
            case Binary():
                return self._binary(expr)
            case Unary():
                return self._unary(expr)
            case Subquery():
                self._subquery(expr)
        return type_of(expr)

    def _fail(self, at: int, what: str) -> NoReturn:
        raise parse_error(self._text, at, what)

    def _expect(self, expr: Expr, wanted: ValueType, context: str) -> None:
        found = self.type(expr)
        if found is not wanted:
            self._fail(expr.span[0], f"expected type {wanted} in {context}, got {found}")

    def _selector(self, selector: VectorSelector) -> None:
        if selector.name:
            for matcher in selector.matchers[:-1]:
                if matcher.name == NAME:
                    both = f"{quoted(selector.name)} or {quoted(matcher.value)}"
                    self._fail(selector.span[0], f"metric name must not be set twice: {both}")
        elif all(matcher.matches_missing() for matcher in selector.matchers):
            self._fail(selector.span[0], "vector selector must contain at least one non-empty matcher")

    def _aggregate(self, aggregate: Aggregate) -> None:
        self._expect(aggregate.expr, ValueType.VECTOR, "aggregation expression")
        if aggregate.param is not None:
            self._expect(aggregate.param, _PARAMS[aggregate.op], "aggregation parameter")

    def _unary(self, unary: Unary) -> ValueType:
        found = self.type(unary.expr)
        if found not in _VALUES:
            what = "unary expression only allowed on expressions of type scalar or instant vector"
            self._fail(unary.span[0], f"{what}, got {quoted(found)}")
        return found

    def _subquery(self, subquery: Subquery) -> None:
        found = self.type(subquery.expr)
        if found is not ValueType.VECTOR:
            what = f"subquery is only allowed on instant vector, got {short_name(found)} instead"
            self._fail(subquery.span[0], what)

    def _call(self, call: Call) -> None:
        function, args = call.function, call.args
        self._count(call)
        if function.name == "info" and len(args) > 1:
            self._info_labels(call)
        for place, arg in enumerate(args):
            if function.name == "info" and place == 1:
                continue  # may match everything: it chooses labels, not series
            wanted = function.args[min(place, len(function.args) - 1)]
            self._expect(arg, wanted, f"call to function {quoted(function.name)}")

    def _count(self, call: Call) -> None:
        function, found = call.function, len(call.args)
        where = f"argument(s) in call to {quoted(function.name)}, got {found}"
        least = len(function.args) - (function.variadic != 0)
        if function.variadic == 0 and found != least:
            self._fail(call.span[0], f"expected {least} {where}")
        if found < least:
            self._fail(call.span[0], f"expected at least {least} {where}")
        if 0 < function.variadic < found - least:
            self._fail(call.span[0], f"expected at most {least + function.variadic} {where}")

    def _info_labels(self, call: Call) -> None:
        labels = call.args[1]
        found = type_of(labels)
        if found is not ValueType.VECTOR:
            what = f"expected type {ValueType.VECTOR} in call to function {quoted(call.function.name)}, got {found}"
            self._fail(call.span[0], what)
        if not isinstance(labels, VectorSelector):
            self._fail(labels.span[0], "expected label selectors only")
        if labels.name:
            self._fail(labels.span[0], "expected label selectors only, got vector selector instead")

    def _binary(self, binary: Binary) -> ValueType:
        left, right = self.type(binary.lhs), self.type(binary.rhs)
        scalars = left is ValueType.SCALAR and right is ValueType.SCALAR
        if binary.bool and binary.op not in COMPARISONS:
            self._fail(self._operator(binary), "bool modifier can only be used on comparison operators")
        if binary.op in COMPARISONS and not binary.bool and scalars:
            self._fail(self._operator(binary), "comparisons between scalars must use BOOL modifier")
        if binary.matching:
            self._labels(binary, binary.matching)
        for side, found in ((binary.lhs, left), (binary.rhs, right)):
            if found not in _VALUES:
                self._fail(side.span[0], "binary expression must contain only scalar and instant vector types")
        start = binary.span[0]
        if binary.matching:
            vectors = left is ValueType.VECTOR and right is ValueType.VECTOR
            self._matching(binary, binary.matching, vectors=vectors)
        if binary.op in SET_OPERATORS and ValueType.SCALAR in (left, right):
            self._fail(start, f"set operator {quoted(binary.op)} not allowed in binary scalar expression")
        return ValueType.SCALAR if scalars else ValueType.VECTOR

    def _operator(self, binary: Binary) -> int:
        """Where the operator stands."""
        at = binary.lhs.span[1]
        while self._text[at] in " \t\n\r":
            at += 1
        return at

    def _labels(self, binary: Binary, matching: VectorMatching) -> None:
        if matching.on:
            for label in matching.labels:
                if label in matching.include:
                    what = f"label {quoted(label)} must not occur in ON and GROUP clause at once"
                    self._fail(self._operator(binary), what)

    def _matching(self, binary: Binary, matching: VectorMatching, *, vectors: bool) -> None:
        start = binary.span[0]
        filled = matching.fill_left is not None or matching.fill_right is not None
        if not vectors:
            if matching.labels:
                self._fail(start, "vector matching only allowed between instant vectors")
            self._fail(start, "filling in missing series only allowed between instant vectors")
        if binary.op in SET_OPERATORS:
            if matching.card is not Cardinality.MANY_TO_MANY:
                self._fail(start, f"no grouping allowed for {quoted(binary.op)} operation")
            if filled:
                self._fail(start, "filling in missing series not allowed for set operators")
