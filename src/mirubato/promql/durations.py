"""Durations in brackets and after `offset`: literals, and arithmetic over them.

Source: prometheus, promql/parser/generated_parser.y (`duration_expr`, `offset_duration_expr`).
"""

from dataclasses import replace
from typing import Final

from mirubato.limits import DURATION_TERMS_MAX
from mirubato.promql.expressions import Duration, DurationExpr, DurationNode, NumberLiteral
from mirubato.promql.lexer import DURATION, NUMBER, Token
from mirubato.promql.literals import SECONDS_MAX, duration_seconds, number, to_ms
from mirubato.promql.reader import Part, Reader

_POWERS = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "^": 3}
_UNARY = 3

IN_OFFSET: Final[Part] = ("offset", "number, duration, step(), or range()")


def literal(reader: Reader) -> NumberLiteral:
    """A number, or a duration as one in seconds."""
    token = reader.take()
    try:
        value = number(token.text) if token.kind == NUMBER else duration_seconds(token.text)
    except ValueError as error:
        reader.fail(token.at, f"error parsing number: {error}" if token.kind == NUMBER else str(error))
    return NumberLiteral(value, (token.at, token.end), token.kind == DURATION)


def positive_duration(reader: Reader) -> Duration:
    """What stands in brackets on either side of the colon."""
    node = _Durations(reader).expression()
    if isinstance(node, NumberLiteral):
        if node.value <= 0:
            reader.fail(node.span[0], "duration must be greater than 0")
        return to_ms(node.value)
    return node


def offset_duration(reader: Reader) -> Duration:
    """What follows `offset`: without parentheses only one term (`x offset 5m * 2` is twice x)."""
    outer, reader.part = reader.part, IN_OFFSET
    node = _Durations(reader).offset()
    reader.part = outer
    return to_ms(node.value) if isinstance(node, NumberLiteral) else node


class _Durations:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._terms = 0

    def offset(self) -> DurationNode:
        reader = self._reader
        kind = reader.token.kind
        if kind in ("+", "-"):
            return self._signed_offset(reader.take())
        return self.expression() if kind == "(" else self._term()

    def _signed_offset(self, sign: Token) -> DurationNode:
        kind = self._reader.token.kind
        if kind in (NUMBER, DURATION):
            return self._signed(sign, literal(self._reader))
        if kind == "(":
            node = self._parenthesised()
            return self._signed(sign, node)
        if kind in ("+", "-"):
            return self._continued(self._signed(sign, self.expression(_UNARY)), 1)
        node = self._term()
        return DurationExpr(sign.kind, None, node, (sign.at, node.span[1]))

    def expression(self, least: int = 1) -> DurationNode:
        return self._continued(self._term(), least)

    def _continued(self, left: DurationNode, least: int) -> DurationNode:
        reader = self._reader
        while (power := _POWERS.get(reader.look(), 0)) >= least:
            op = reader.take()
            right = self.expression(power if op.kind == "^" else power + 1)
            if op.kind in ("/", "%") and isinstance(right, NumberLiteral) and right.value == 0:
                reader.fail(op.at, "division by zero" if op.kind == "/" else "modulo by zero")
            left = DurationExpr(op.kind, left, right, (left.span[0], right.span[1]))
        return left

    def _term(self) -> DurationNode:
        reader = self._reader
        kind = reader.token.kind
        self._terms += 1
        if self._terms > DURATION_TERMS_MAX:
            reader.fail(reader.token.at, f"a duration has at most {DURATION_TERMS_MAX} terms")
        if kind in (NUMBER, DURATION):
            node = literal(reader)
            self._check_range(node, node.span[0])
            return node
        if kind == "(":
            return self._parenthesised()
        if kind in ("+", "-"):
            sign = reader.take()
            return self._signed(sign, self.expression(_UNARY))
        return self._function()

    def _function(self) -> DurationExpr:
        reader = self._reader
        word = reader.token
        if word.kind in ("step", "range"):
            reader.take()
            reader.expect("(")
            return DurationExpr(word.kind, None, None, (word.at, reader.expect(")").end))
        if word.kind not in ("min_of", "max_of"):
            reader.unexpected()
        reader.take()
        reader.expect("(")
        left = self.expression()
        reader.expect(",")
        right = self.expression()
        reader.expect(")")
        # Its position is that of its arguments in ast.go, too.
        return DurationExpr(word.kind, left, right, (left.span[0], right.span[1]))

    def _parenthesised(self) -> DurationNode:
        self._reader.expect("(")
        node = self.expression()
        self._reader.expect(")")
        return replace(node, wrapped=True) if isinstance(node, DurationExpr) else node

    def _signed(self, sign: Token, node: DurationNode) -> DurationNode:
        if isinstance(node, NumberLiteral):
            value = -node.value if sign.kind == "-" else node.value
            node = NumberLiteral(value, (sign.at, node.span[1]), node.duration)
            self._check_range(node, sign.at)
            return node
        return DurationExpr("-", None, node, (sign.at, node.span[1])) if sign.kind == "-" else node

    def _check_range(self, node: NumberLiteral, at: int) -> None:
        if not abs(node.value) <= SECONDS_MAX:  # NaN neither
            self._reader.fail(at, "duration out of range")
