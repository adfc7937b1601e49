"""An expression as text: in one line, or laid out in several.

Sources: prometheus, promql/parser/printer.go and prettier.go.
"""

from mirubato.model.labels import NAME
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.promql.expressions import (
    Aggregate,
    Binary,
    Call,
    Cardinality,
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
    VectorMatching,
    VectorSelector,
)
from mirubato.promql.literals import duration_text, label_text, number_text, quoted
from mirubato.promql.numbers import go_g

# Prometheus' own (prettier.go), in bytes.
_LINE_BYTES_MAX = 100


def to_text(expr: Expr) -> str:
    """The expression in one line, with Prometheus' spaces and quotes."""
    return _Printer().line(expr)


def pretty(expr: Expr) -> str:
    """The expression with what is longer than 100 bytes split into indented lines."""
    return _Printer().lines(expr, 0)


class _Printer:
    def __init__(self) -> None:
        self._lines: dict[int, str] = {}
        """By identity of the expression: lines of a deep one are made of those below it."""

    def line(self, expr: Expr) -> str:
        """In one line."""
        known = self._lines.get(id(expr))
        if known is None:
            known = self._lines[id(expr)] = self._line(expr)
        return known

    def _line(self, expr: Expr) -> str:  # noqa: PLR0911  (one for each kind)
        match expr:
            case NumberLiteral():
                return _literal(expr)
            case StringLiteral():
                return quoted(expr.value)
            case VectorSelector():
                extended = _extended(expr)
                return f"{_selector(expr)}{_at(expr.at)}{extended}{_offset(expr.offset)}"
            case MatrixSelector():
                selector = expr.selector
                shown = f"{_selector(selector)}[{_duration(expr.range)}]{_extended(selector)}"
                return f"{shown}{_at(selector.at)}{_offset(selector.offset)}"
            case Subquery():
                return self.line(expr.expr) + _subquery(expr)
            case Paren():
                return f"({self.line(expr.expr)})"
            case Unary():
                return expr.op + self.line(expr.expr)
            case Binary():
                return f"{self.line(expr.lhs)} {_operator(expr)} {self.line(expr.rhs)}"
            case Aggregate():
                param = "" if expr.param is None else f"{self.line(expr.param)}, "
                return f"{_aggregation(expr)}({param}{self.line(expr.expr)})"
            case Call():
                return f"{expr.function.name}({', '.join([self.line(arg) for arg in expr.args])})"

    def lines(self, expr: Expr, level: int) -> str:
        """In several lines if one is not enough, all indented."""
        indent = "  " * level
        if isinstance(expr, Unary):
            return indent + expr.op + self.lines(expr.expr, level).strip()
        line = self.line(expr)
        if len(line.encode(errors="replace")) <= _LINE_BYTES_MAX:
            return line if isinstance(expr, Subquery) else indent + line
        return self._split(expr, level, indent) or indent + line

    def _split(self, expr: Expr, level: int, indent: str) -> str:
        """In several lines; nothing for what is never split."""
        match expr:
            case Subquery():
                return self.lines(expr.expr, level) + _subquery(expr)
            case Paren():
                return f"{indent}(\n{self.lines(expr.expr, level + 1)}\n{indent})"
            case Binary():
                left, right = self.lines(expr.lhs, level + 1), self.lines(expr.rhs, level + 1)
                return f"{left}\n{indent}{_operator(expr)}\n{right}"
            case Aggregate():
                param = "" if expr.param is None else f"{self.lines(expr.param, level + 1)},\n"
                return f"{indent}{_aggregation(expr)}(\n{param}{self.lines(expr.expr, level + 1)}\n{indent})"
            case Call():
                args = ",\n".join([self.lines(arg, level + 1) for arg in expr.args])
                return f"{indent}{expr.function.name}(\n{args}\n{indent})"
        return ""


def _literal(literal: NumberLiteral) -> str:
    if not literal.duration:
        return number_text(literal.value)
    # Go cuts off what is less than a nanosecond, and then less than a millisecond: 1.001 s is 1s.
    text = duration_text(int(abs(literal.value) * 1e9) // 1_000_000)
    return f"-{text}" if literal.value < 0 else text


def _selector(selector: VectorSelector) -> str:
    """The name and the matchers."""
    shown = sorted(_matcher(matcher) for matcher in selector.matchers if not _is_name(matcher, selector.name))
    # `info(up, {})`: printer.go writes nothing for these braces, which does not parse.
    return f"{selector.name}{{{','.join(shown)}}}" if shown or not selector.name else selector.name


def _is_name(matcher: Matcher, name: str) -> bool:
    return bool(name) and (matcher.name, matcher.op, matcher.value) == (NAME, MatchOp.EQUAL, name)


def _matcher(matcher: Matcher) -> str:
    return f"{label_text(matcher.name)}{matcher.op}{quoted(matcher.value)}"


def _labels(names: tuple[str, ...]) -> str:
    return ", ".join(label_text(name) for name in names)


def _aggregation(aggregate: Aggregate) -> str:
    if aggregate.without:
        return f"{aggregate.op} without ({_labels(aggregate.grouping)}) "
    return f"{aggregate.op} by ({_labels(aggregate.grouping)}) " if aggregate.grouping else aggregate.op


def _operator(binary: Binary) -> str:
    matching = "" if binary.matching is None else _matching(binary.matching)
    return f"{binary.op}{' bool' if binary.bool else ''}{matching}"


def _matching(matching: VectorMatching) -> str:
    side = {Cardinality.MANY_TO_ONE: "left", Cardinality.ONE_TO_MANY: "right"}.get(matching.card)
    text = ""
    if matching.labels or matching.on or side:
        text = f" {'on' if matching.on else 'ignoring'} ({_labels(matching.labels)})"
    if side:
        text += f" group_{side} ({_labels(matching.include)})"
    left, right = matching.fill_left, matching.fill_right
    if left is not None and left == right:
        return f"{text} fill ({go_g(left)})"
    for word, value in (("fill_left", left), ("fill_right", right)):
        if value is not None:
            text += f" {word} ({go_g(value)})"
    return text


def _subquery(subquery: Subquery) -> str:
    """What follows the expression of a subquery."""
    step = "" if subquery.step is None else _duration(subquery.step)
    return f"[{_duration(subquery.range)}:{step}]{_at(subquery.at)}{_offset(subquery.offset)}"


def _at(at: int | Edge | None) -> str:
    if at is None:
        return ""
    return f" @ {at}()" if isinstance(at, Edge) else f" @ {at / 1000:.3f}"


def _extended(selector: VectorSelector) -> str:
    if selector.anchored:
        return " anchored"
    return " smoothed" if selector.smoothed else ""


def _offset(offset: Duration) -> str:
    return f" offset {_duration(offset)}" if offset else ""


def _duration(duration: Duration | DurationNode) -> str:
    if isinstance(duration, int):
        return duration_text(duration)
    return _literal(duration) if isinstance(duration, NumberLiteral) else _arithmetic(duration)


def _arithmetic(node: DurationExpr) -> str:
    text = _unwrapped(node)
    return f"({text})" if node.wrapped else text


def _unwrapped(node: DurationExpr) -> str:
    if node.op in ("step", "range"):
        return f"{node.op}()"
    assert node.rhs
    right = _duration(node.rhs)
    if node.lhs is None:
        return f"-{right}" if node.op == "-" else right
    left = _duration(node.lhs)
    return f"{node.op}({left}, {right})" if node.op in ("min_of", "max_of") else f"{left} {node.op} {right}"
