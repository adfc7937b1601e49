"""Text -> tree: a Pratt parser of PromQL that refuses what Prometheus refuses, in its words.

Source: prometheus, promql/parser/generated_parser.y and parse.go.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from mirubato.errors import BadQuery
from mirubato.limits import AT_MS_MAX, EXPRESSION_CHARS_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_NESTING_MAX
from mirubato.model.labels import NAME
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.promql.braces import label_names, matchers
from mirubato.promql.checking import check
from mirubato.promql.durations import literal, offset_duration, positive_duration
from mirubato.promql.expressions import (
    EXPERIMENTAL_AGGREGATIONS,
    PARAM_AGGREGATIONS,
    SET_OPERATORS,
    Aggregate,
    Binary,
    Call,
    Cardinality,
    Duration,
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
from mirubato.promql.functions import FUNCTIONS, ValueType
from mirubato.promql.lexer import (
    AGGREGATION_WORDS,
    DURATION,
    EOF,
    ERROR,
    IDENTIFIER,
    KEYWORDS,
    METRIC_IDENTIFIER,
    NUMBER,
    QUERY_WORDS,
    STRING,
    Token,
)
from mirubato.promql.literals import number_text, quoted, unquote
from mirubato.promql.reader import Part, Reader, parse_error

_POWERS = {"or": 1, "and": 2, "unless": 2}
_POWERS |= dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "</", ">/"), 3)
_POWERS |= {"+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "atan2": 5, "^": 6}
# A sign binds as `*` does: -1^2 is -(1^2).
_UNARY_POWER = 6

_NO_METRIC_NAMES = frozenset(("atan2", "bool", "on", "ignoring", "group_left", "group_right"))
_NAME_KINDS = (KEYWORDS - _NO_METRIC_NAMES) | {IDENTIFIER, METRIC_IDENTIFIER}
"""What may be the name of a metric."""

_IN_AGGREGATION: Final[Part] = ("aggregation", "")
_IN_AT: Final[Part] = ("@", "timestamp")
_IN_BRACKETS: Final[Part] = ("subquery or range selector", "number, duration, step(), or range()")
_AFTER_RANGE: Final[Part] = ("subquery or range", '":" or "]"')
_AFTER_COLON: Final[Part] = ("subquery selector", 'number, duration, step(), range(), or "]"')
_AFTER_STEP: Final[Part] = ("subquery selector", '"]"')


def parse(text: str, *, experimental: bool = True) -> Expr:
    """An expression, checked; BadQuery (`line:column: parse error: ...`) if it is none.

    Without `experimental`: none of the functions, aggregations and modifiers that Prometheus has behind a flag.
    """
    _check_length(text)
    expr = _Parser(text, experimental=experimental).whole()
    check(expr, text)
    return expr


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """The matchers of an instant selector, as `match[]` takes it; BadQuery if it is none or all match nothing."""
    _check_length(text)
    found = _Parser(text, experimental=True).whole_selector().matchers
    if all(matcher.matches_missing() for matcher in found):
        raise BadQuery("match[] must contain at least one non-empty matcher")
    return found


def _check_length(text: str) -> None:
    if len(text) > EXPRESSION_CHARS_MAX:
        raise parse_error(text, EXPRESSION_CHARS_MAX, f"an expression has at most {EXPRESSION_CHARS_MAX} characters")


class _Parser:
    def __init__(self, text: str, *, experimental: bool) -> None:
        self._reader = Reader(text)
        self._experimental = experimental
        self._nesting = 0
        # Of the expression that was read last:
        self._depth = 0
        self._type = ValueType.SCALAR

    def whole(self) -> Expr:
        if self._reader.look() == EOF:
            self._reader.fail(0, "no expression found in input")
        expr = self._expression()
        self._reader.expect(EOF)
        return expr

    def whole_selector(self) -> VectorSelector:
        reader = self._reader
        if reader.token.kind not in _NAME_KINDS and reader.token.kind != "{":
            reader.unexpected()
        selector = self.braced() if reader.token.kind == "{" else self._selector(reader.take())
        reader.expect(EOF)
        return selector

    def _expression(self, least: int = 1) -> Expr:
        """Operands joined by operators that bind at least so strongly."""
        reader = self._reader
        self._nesting += 1
        if self._nesting > EXPRESSION_NESTING_MAX:
            reader.fail(reader.token.at, f"an expression nests at most {EXPRESSION_NESTING_MAX} levels deep")
        left = self._operand()
        while (power := _POWERS.get(reader.token.kind, 0)) >= least:
            left = self._binary(left, power)
        self._nesting -= 1
        return left

    def _operand(self) -> Expr:
        reader = self._reader
        kind = reader.token.kind
        read = _OPERANDS.get(kind)
        if read is None:
            reader.unexpected()
        expr = read(self)
        while modify := _MODIFIERS.get(reader.token.kind):
            expr = modify(self, expr)
        return expr

    def _note(self, type_: ValueType, below: int = 0) -> None:
        """Note the type of an expression, and its depth, one more than that of those below it."""
        self._type = type_
        self._depth = below + 1
        if self._depth > EXPRESSION_DEPTH_MAX:
            self._reader.fail(
                self._reader.token.at,
                f"an expression is at most {EXPRESSION_DEPTH_MAX} levels deep; each operator in a row makes it deeper",
            )

    # Operands

    def number(self) -> NumberLiteral:
        self._note(ValueType.SCALAR)
        return literal(self._reader)

    def string(self) -> StringLiteral:
        token = self._reader.take()
        self._note(ValueType.STRING)
        return StringLiteral(unquote(token.text), (token.at, token.end))

    def parenthesised(self) -> Paren:
        opened = self._reader.take()
        expr = self._expression()
        closed = self._reader.expect(")")
        self._note(self._type, self._depth)
        return Paren(expr, (opened.at, closed.end))

    def signed(self) -> Expr:
        sign = self._reader.take()
        expr = self._expression(_UNARY_POWER)
        span = (sign.at, expr.span[1])
        if isinstance(expr, NumberLiteral):
            return NumberLiteral(-expr.value if sign.kind == "-" else expr.value, span, expr.duration)
        self._note(self._type, self._depth)
        return Unary(sign.kind, expr, span)

    def named(self) -> Expr:
        """A metric, or a function."""
        name = self._reader.take()
        return self._call(name) if self._reader.token.kind == "(" else self._selector(name)

    def metric(self) -> VectorSelector:
        return self._selector(self._reader.take())

    def _call(self, name: Token) -> Call:
        args, below = self._arguments()
        function = FUNCTIONS.get(name.text)
        if function is None:
            self._reader.fail(name.at, f"unknown function with name {quoted(name.text)}")
        if function.experimental and not self._experimental:
            self._reader.fail(name.at, f"function {quoted(name.text)} is not enabled")
        self._note(function.returns, below)
        return Call(function, args, (name.at, self._reader.taken.end))

    def _arguments(self) -> tuple[tuple[Expr, ...], int]:
        """What stands in parentheses, and how deep the deepest is."""
        reader = self._reader
        reader.expect("(")
        args: list[Expr] = []
        depth = 0
        while reader.token.kind != ")":
            args.append(self._expression())
            depth = max(depth, self._depth)
            if reader.token.kind != ",":
                break
            comma = reader.take()
            if reader.token.kind not in _OPERANDS and reader.token.kind != ERROR:
                reader.fail(comma.at, "trailing commas not allowed in function call args")
        reader.expect(")")
        return tuple(args), depth

    def aggregation(self) -> Expr:
        reader = self._reader
        op = reader.take()
        if reader.token.kind not in ("(", "by", "without"):
            return self._selector(op)
        outer, reader.part = reader.part, _IN_AGGREGATION
        grouping: tuple[str, ...] = ()
        modifier = "" if reader.token.kind == "(" else reader.take().kind
        if modifier:
            grouping = label_names(reader)
        args, below = self._arguments()
        if not modifier and reader.look() in ("by", "without"):
            modifier = reader.take().kind
            grouping = label_names(reader)
        reader.part = outer
        param, expr = self._of_aggregation(op, args)
        self._note(ValueType.VECTOR, below)
        return Aggregate(op.kind, expr, (op.at, reader.taken.end), param, grouping, modifier == "without")

    def _of_aggregation(self, op: Token, args: tuple[Expr, ...]) -> tuple[Expr | None, Expr]:
        """The parameter, if it takes one, and what is aggregated."""
        if not args:
            self._reader.fail(op.at, "no arguments for aggregate expression provided")
        if op.kind in EXPERIMENTAL_AGGREGATIONS and not self._experimental:
            flag = "must be enabled with --enable-feature=promql-experimental-functions"
            self._reader.fail(op.at, f"{op.kind}() is experimental and {flag}")
        wanted = 2 if op.kind in PARAM_AGGREGATIONS else 1
        if len(args) != wanted:
            what = "wrong number of arguments for aggregate expression provided"
            self._reader.fail(op.at, f"{what}, expected {wanted}, got {len(args)}")
        return (args[0] if wanted == 2 else None), args[-1]

    # Selectors

    def _selector(self, name: Token) -> VectorSelector:
        self._note(ValueType.VECTOR)
        found = matchers(self._reader) if self._reader.token.kind == "{" else []
        found.append(Matcher(NAME, MatchOp.EQUAL, name.text))
        return VectorSelector(name.text, tuple(found), (name.at, self._reader.taken.end))

    def braced(self) -> VectorSelector:
        self._note(ValueType.VECTOR)
        start = self._reader.token.at
        found = matchers(self._reader)
        return VectorSelector("", tuple(found), (start, self._reader.taken.end))

    # Modifiers of what is before them

    def range(self, expr: Expr) -> Expr:
        reader = self._reader
        opened = reader.take()
        outer, reader.part = reader.part, _IN_BRACKETS
        range_ = positive_duration(reader)
        if reader.token.kind == "]":
            reader.part = outer
            return self._matrix(expr, range_, opened)
        reader.expect(":", _AFTER_RANGE)
        reader.part = _AFTER_COLON
        step = None if reader.token.kind == "]" else positive_duration(reader) or None
        end = reader.expect("]", _AFTER_STEP).end
        reader.part = outer
        self._note(ValueType.MATRIX, self._depth)
        return Subquery(expr, range_, step, (expr.span[0], end))

    def _matrix(self, expr: Expr, range_: Duration, opened: Token) -> MatrixSelector:
        end = self._reader.take().end
        if not isinstance(expr, VectorSelector):
            self._reader.fail(opened.at, "ranges only allowed for vector selectors")
        if isinstance(expr.offset, int) and expr.offset:
            self._reader.fail(opened.at, "no offset modifiers allowed before range")
        if isinstance(expr.at, int):
            self._reader.fail(opened.at, "no @ modifiers allowed before range")
        self._note(ValueType.MATRIX, self._depth)
        return MatrixSelector(expr, range_, (expr.span[0], end))

    def offset(self, expr: Expr) -> Expr:
        self._reader.take()
        offset = offset_duration(self._reader)
        changed = self._selecting(expr, "offset modifier")
        if changed.offset:
            self._reader.fail(expr.span[0], "offset may not be set multiple times")
        return self._with(expr, offset=offset)

    def at(self, expr: Expr) -> Expr:
        reader = self._reader
        reader.take()
        outer, reader.part = reader.part, _IN_AT
        if reader.token.kind in ("start", "end"):
            at: int | Edge = Edge(reader.take().kind)
            reader.expect("(")
            reader.expect(")")
        else:
            at = self._timestamp(expr, self._signed_number())
        reader.part = outer
        if self._selecting(expr, "@ modifier").at is not None:
            reader.fail(expr.span[0], "@ <timestamp> may not be set multiple times")
        return self._with(expr, at=at)

    def _timestamp(self, expr: Expr, seconds: float) -> int:
        if math.isnan(seconds) or abs(seconds) > AT_MS_MAX / 1000:
            shown = f"{seconds:f}" if math.isfinite(seconds) else number_text(seconds)
            self._reader.fail(expr.span[0], f"timestamp out of bounds for @ modifier: {shown}")
        return int(math.copysign(math.floor(abs(seconds) * 1000 + 0.5), seconds))

    def _signed_number(self) -> float:
        sign = self._reader.take().kind if self._reader.token.kind in ("+", "-") else "+"
        if self._reader.token.kind not in (NUMBER, DURATION):
            self._reader.unexpected()
        value = literal(self._reader).value
        return -value if sign == "-" else value

    def extended(self, expr: Expr) -> Expr:
        """`anchored` or `smoothed`."""
        word = self._reader.take().kind
        start = expr.span[0]
        if not self._experimental:
            self._reader.fail(start, f"{word} modifier is experimental and not enabled")
        if isinstance(expr, Subquery):
            self._reader.fail(start, f"{word} modifier is not supported for subqueries")
        selector = expr.selector if isinstance(expr, MatrixSelector) else expr
        if not isinstance(selector, VectorSelector):
            self._reader.fail(start, f"{word} modifier not implemented")
        if selector.smoothed if word == "anchored" else selector.anchored:
            self._reader.fail(start, "anchored and smoothed modifiers cannot be used together")
        selector = replace(selector, anchored=word == "anchored", smoothed=word == "smoothed")
        return replace(expr, selector=selector) if isinstance(expr, MatrixSelector) else selector

    def _selecting(self, expr: Expr, modifier: str) -> VectorSelector | Subquery:
        """What has the offset and `@` of an expression."""
        selecting = expr.selector if isinstance(expr, MatrixSelector) else expr
        if not isinstance(selecting, VectorSelector | Subquery):
            what = "must be preceded by an instant vector selector or range vector selector or a subquery"
            self._reader.fail(expr.span[0], f"{modifier} {what}")
        return selecting

    def _with(self, expr: Expr, **changes: Any) -> Expr:
        """The expression with its offset or `@` set, as far as the text is read."""
        span = (expr.span[0], self._reader.taken.end)
        if isinstance(expr, MatrixSelector):
            return replace(expr, selector=replace(expr.selector, **changes), span=span)
        assert isinstance(expr, VectorSelector | Subquery)
        return replace(expr, span=span, **changes)

    # Binary operators

    def _binary(self, left: Expr, power: int) -> Binary:
        reader = self._reader
        op = reader.take().kind
        left_type, left_depth = self._type, self._depth
        returns_bool = reader.token.kind == "bool"
        if returns_bool:
            reader.take()
        matching = self._matching()
        right = self._expression(power if op == "^" else power + 1)
        types = (left_type, self._type)
        scalars = types == (ValueType.SCALAR, ValueType.SCALAR)
        self._note(ValueType.SCALAR if scalars else ValueType.VECTOR, max(left_depth, self._depth))
        kept = self._kept(matching, op, left, vectors=types == (ValueType.VECTOR, ValueType.VECTOR))
        return Binary(op, left, right, kept, (left.span[0], right.span[1]), returns_bool)

    def _kept(self, matching: VectorMatching, op: str, left: Expr, *, vectors: bool) -> VectorMatching | None:
        """How vectors match. Scalars do not: with labels or fills it is an error, which `check` tells."""
        filled = matching.fill_left is not None or matching.fill_right is not None
        if filled and not self._experimental:
            self._reader.look()
            self._reader.fail(left.span[0], "binop fill modifiers are experimental and not enabled")
        if not (vectors or matching.labels or filled):
            return None
        if op in SET_OPERATORS and matching.card is Cardinality.ONE_TO_ONE:
            return _MANY_TO_MANY if matching is _ONE_TO_ONE else replace(matching, card=Cardinality.MANY_TO_MANY)
        return matching

    def _matching(self) -> VectorMatching:
        reader = self._reader
        if reader.token.kind not in _MATCHING_WORDS:
            return _ONE_TO_ONE
        matching = _ONE_TO_ONE
        if reader.token.kind in ("on", "ignoring"):
            on = reader.take().kind == "on"
            labels = label_names(reader)
            matching = VectorMatching(labels=labels, on=on)
            if reader.token.kind in _CARDINALITIES:
                card = _CARDINALITIES[reader.take().kind]
                bare = reader.token.kind != "(" and reader.token.kind in _OPERANDS
                include = () if bare else label_names(reader)
                matching = VectorMatching(card, labels, on, include)
        return self._filled(matching)

    def _filled(self, matching: VectorMatching) -> VectorMatching:
        reader = self._reader
        fills: dict[str, float] = {}
        if reader.token.kind == "fill":
            reader.take()
            both = self._fill()
            fills = {"fill_left": both, "fill_right": both}
        while reader.token.kind in ("fill_left", "fill_right") and reader.token.kind not in fills:
            kind = reader.take().kind
            fills[kind] = self._fill()
        if not fills:
            return matching
        return replace(matching, fill_left=fills.get("fill_left"), fill_right=fills.get("fill_right"))

    def _fill(self) -> float:
        self._reader.expect("(")
        value = self._signed_number()
        self._reader.expect(")")
        return value


_ONE_TO_ONE = VectorMatching()
_MANY_TO_MANY = VectorMatching(Cardinality.MANY_TO_MANY)
_CARDINALITIES = {"group_left": Cardinality.MANY_TO_ONE, "group_right": Cardinality.ONE_TO_MANY}
_MATCHING_WORDS = frozenset(("on", "ignoring", "fill", "fill_left", "fill_right"))

_OPERANDS: Mapping[str, Callable[[_Parser], Expr]] = (
    dict.fromkeys(_NAME_KINDS, _Parser.metric)
    | dict.fromkeys(AGGREGATION_WORDS, _Parser.aggregation)
    | dict.fromkeys(QUERY_WORDS | {IDENTIFIER}, _Parser.named)
    | dict.fromkeys((NUMBER, DURATION), _Parser.number)
    | dict.fromkeys(("+", "-"), _Parser.signed)
    | {STRING: _Parser.string, "(": _Parser.parenthesised, "{": _Parser.braced}
)
"""What reads an expression that begins with this kind of token."""

_MODIFIERS: Mapping[str, Callable[[_Parser, Expr], Expr]] = {
    "[": _Parser.range,
    "offset": _Parser.offset,
    "@": _Parser.at,
    "anchored": _Parser.extended,
    "smoothed": _Parser.extended,
}
"""What reads on after an expression with this kind of token."""
