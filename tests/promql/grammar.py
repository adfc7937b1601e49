"""Expressions that parse, at random: of a given type, over given metrics and labels.

`write` takes a `random.Random`; `expressions` is the same as a hypothesis strategy, which shrinks.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from mirubato.promql.expressions import AGGREGATIONS, EXPERIMENTAL_AGGREGATIONS
from mirubato.promql.functions import FUNCTIONS, Function, ValueType

METRICS = ("up", "http_requests_total", "job:latency:rate5m", "temperature", "b_bucket", "sum", "start")
LABELS: Mapping[str, Sequence[str]] = {
    "job": ("api", "db"),
    "instance": ("a:1", "b:2", ""),
    "le": ("0.5", "1", "+Inf"),
    "http.method": ("GET", "PÖST"),
    "by": ('say "hi"', "back\\slash"),
}
DURATIONS = ("5m", "1m", "30s", "1h30m", "90s", "300", "2.5", "1d", "0x3c", "1500ms", "1y2w")
OFFSETS = ("5m", "-1m", "30", "-1.5", "step()", "-range()", "(1m + 30s)", "-(2m)", "min_of(5m, step())", "+10s")
NUMBERS = ("0", "1", "2.5", "0.95", "1e3", "-3", "0x1F", "1_000", ".5", "Inf", "NaN", "5m", "017", "1e-7", "-0", "1e22")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
TRIMS = ("</", ">/")
SETS = ("and", "or", "unless")


@dataclass(frozen=True, slots=True)
class Grammar:
    """What expressions are made of."""

    metrics: Sequence[str] = METRICS
    labels: Mapping[str, Sequence[str]] = field(default_factory=lambda: LABELS)
    functions: Sequence[str] = tuple(FUNCTIONS)
    aggregations: Sequence[str] = (*sorted(AGGREGATIONS), *sorted(EXPERIMENTAL_AGGREGATIONS))
    durations: Sequence[str] = DURATIONS
    offsets: Sequence[str] = OFFSETS
    times: Sequence[str] = ("0", "1600000000.5", "-5", "start()", "end()", "1h")
    numbers: Sequence[str] = NUMBERS
    experimental: bool = True
    """Whether functions, aggregations and modifiers may be used that Prometheus has behind a flag."""
    depth: int = 4

    def allowed(self) -> "Grammar":
        """Less what is experimental, if that is not wanted."""
        if self.experimental:
            return self
        return replace(
            self,
            functions=[name for name in self.functions if not FUNCTIONS[name].experimental],
            aggregations=[op for op in self.aggregations if op not in EXPERIMENTAL_AGGREGATIONS],
        )


def expressions(grammar: Grammar | None = None, kind: ValueType | None = None) -> st.SearchStrategy[str]:
    """Texts of valid expressions, of any type or of one."""
    return st.randoms(use_true_random=False).map(lambda source: write(source, grammar, kind))


def write(source: random.Random, grammar: Grammar | None = None, kind: ValueType | None = None) -> str:
    """One valid expression."""
    grammar = (grammar or Grammar()).allowed()
    return _Writer(source, grammar).expression(kind or source.choice(list(ValueType)), grammar.depth)


def quoted(text: str) -> str:
    """A string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class _Writer:
    def __init__(self, source: random.Random, grammar: Grammar) -> None:
        self._source = source
        self._grammar = grammar
        self._by_type: dict[ValueType, list[Function]] = {}
        for name in grammar.functions:
            self._by_type.setdefault(FUNCTIONS[name].returns, []).append(FUNCTIONS[name])

    def expression(self, kind: ValueType, depth: int) -> str:
        match kind:
            case ValueType.VECTOR:
                return self._vector(depth)
            case ValueType.SCALAR:
                return self._scalar(depth)
            case ValueType.MATRIX:
                return self._matrix(depth)
            case ValueType.STRING:
                return self._string()

    def _chance(self, percent: int) -> bool:
        return self._source.randrange(100) < percent

    def _one(self, choices: Sequence[str]) -> str:
        return self._source.choice(choices)

    def _vector(self, depth: int) -> str:
        if depth <= 0:
            return self._selector() + self._modifiers()
        return self._binary(depth) if self._chance(25) else self._operand(depth)

    def _operand(self, depth: int) -> str:
        """A vector that any operator may stand beside."""
        if depth <= 0:
            return self._vector(depth)
        ways = (self._selected, self._call, self._aggregate, self._signed, self._in_parentheses)
        (way,) = self._source.choices(ways, weights=(3, 4, 3, 1, 1))
        return way(depth)

    def _selected(self, _: int) -> str:
        return self._selector() + self._extended() + self._modifiers()

    def _call(self, depth: int) -> str:
        return self._function(self._source.choice(self._by_type[ValueType.VECTOR]), depth)

    def _signed(self, depth: int) -> str:
        return f"{self._one('+-')}{self._operand(depth - 1)}"

    def _in_parentheses(self, depth: int) -> str:
        return f"({self._vector(depth - 1)})"

    def _scalar(self, depth: int) -> str:
        functions = self._by_type.get(ValueType.SCALAR)
        way = self._source.randrange(6) if depth > 0 else 0
        if way == 3 and functions:
            return self._function(self._source.choice(functions), depth)
        if way == 4:
            return f"{self._scalar(depth - 1)} {self._scalar_operator()} {self._scalar(depth - 1)}"
        if way == 5:
            return f"-({self._scalar(depth - 1)})"
        return self._one(self._grammar.numbers)

    def _scalar_operator(self) -> str:
        return f"{self._one(COMPARISONS)} bool" if self._chance(25) else self._one(ARITHMETIC)

    def _matrix(self, depth: int) -> str:
        if depth > 0 and self._chance(25):
            step = self._one(self._grammar.durations) if self._chance(60) else ""
            return f"({self._vector(depth - 1)})[{self._range()}:{step}]{self._modifiers()}"
        return f"{self._selector()}[{self._range()}]{self._extended()}{self._modifiers()}"

    def _range(self) -> str:
        durations = self._grammar.durations
        if self._chance(90):
            return self._one(durations)
        return self._one(
            (
                f"{self._one(durations)} {self._one('+-*/%^')} {self._one(durations)}",
                f"max_of({self._one(durations)}, 2 * step())",
                f"({self._one(durations)} + step()) * 2",
                f"{self._one(durations)} - -(range() + {self._one(durations)})",
            )
        )

    def _string(self) -> str:
        return self._one((quoted(self._one([*self._grammar.labels])), "'x'", "`a\\b`", '"\\u00e9\\x41\\t"', '""'))

    def _selector(self) -> str:
        matchers = [self._matcher() for _ in range(self._source.choice((0, 0, 1, 2)))]
        name = self._one(self._grammar.metrics)
        if self._chance(10):
            return "{" + ", ".join([quoted(name), *matchers]) + "}"
        if self._chance(10):
            return "{" + ", ".join([f"__name__=~{quoted(name[:2] + '.*|x')}", *matchers]) + "}"
        return f"{name}{{{','.join(matchers)}}}" if matchers or self._chance(5) else name

    def _matcher(self) -> str:
        label = self._one([*self._grammar.labels])
        value = self._one(self._grammar.labels[label])
        shown = quoted(label) if not label.isidentifier() or self._chance(5) else label
        op = self._one(("=", "=", "!=", "=~", "!~"))
        if "~" in op:
            value = self._one((".*", ".+", "a.*|d.*", "[^ab]?", "(?i)API"))
        return f"{shown}{op}{quoted(value)}"

    def _extended(self) -> str:
        if self._grammar.experimental and self._chance(4):
            return self._one((" anchored", " smoothed"))
        return ""

    def _modifiers(self) -> str:
        offset = self._one(self._grammar.offsets) if self._chance(15) else ""
        # After parentheses an operator would go on with the duration.
        open_ended = offset.startswith("(")
        at = f" @ {self._one(self._grammar.times)}" if open_ended or self._chance(10) else ""
        if not offset:
            return at
        return f" offset {offset}{at}" if open_ended or self._chance(50) else f"{at} offset {offset}"

    def _function(self, function: Function, depth: int) -> str:
        args = self._odd_arguments(function.name)
        if args is not None:
            return f"{function.name}({', '.join([self._vector(depth - 1), *args])})"
        kinds = [*function.args]
        if function.variadic:
            optional = self._source.randrange(min(3, function.variadic) + 1 if function.variadic > 0 else 3)
            kinds = kinds[:-1] + kinds[-1:] * optional
        return f"{function.name}({', '.join([self.expression(kind, depth - 1) for kind in kinds])})"

    def _odd_arguments(self, function: str) -> list[str] | None:
        """Arguments after a vector, of functions that do not take any expression of the right type."""
        match function:
            case "info":
                return self._source.choice(([], ['{job=~".+"}'], ["{}"]))
            case "label_replace":
                regex = self._one(('"(.*)"', '"a(.).*"'))
                return [self._label_string(), '"$1-x"', self._label_string(), regex]
            case "label_join":
                sources = [self._label_string() for _ in range(self._source.randrange(3))]
                return [self._label_string(), '"-"', *sources]
            case "sort_by_label" | "sort_by_label_desc":
                return [self._label_string() for _ in range(self._source.randrange(1, 3))]
        return None

    def _label_string(self) -> str:
        return quoted(self._one([*self._grammar.labels]))

    def _aggregate(self, depth: int) -> str:
        op = self._one(self._grammar.aggregations)
        args = self._vector(depth - 1)
        if op in ("topk", "bottomk", "quantile", "limitk", "limit_ratio"):
            args = f"{self._scalar(min(1, depth - 1))}, {args}"
        elif op == "count_values":
            args = f"{self._label_string()}, {args}"
        if self._chance(40):
            return f"{op}({args})"
        grouping = f"{self._one(('by', 'without'))} {self._grouping()}"
        return f"{op} {grouping} ({args})" if self._chance(60) else f"{op}({args}) {grouping}"

    def _grouping(self, labels: Sequence[str] | None = None) -> str:
        if labels is None:
            labels = self._source.sample([*self._grammar.labels], self._source.randrange(3))
        shown = [label if label.isidentifier() else quoted(label) for label in labels]
        return f"({', '.join(shown)})"

    def _binary(self, depth: int) -> str:
        left, right = self._operand(depth - 1), self._operand(depth - 1)
        way = self._source.randrange(9)
        if way < 2:
            return f"{left} {self._one(SETS)} {self._matching()}{right}"
        if way == 2:
            return f"{self._scalar(1)} {self._operator()} {right}"
        if way == 3:
            return f"{left} {self._operator()} {self._scalar(1)}"
        if way == 4:
            return f"{left} {self._one(TRIMS)} {self._scalar(1)}"
        if way == 5:
            return f"{left} {self._operator()} {right} {self._operator()} {self._operand(depth - 1)}"
        return f"{left} {self._operator()} {self._matching(grouped=True)}{right}"

    def _operator(self) -> str:
        if self._chance(60):
            return self._one(ARITHMETIC)
        return self._one(COMPARISONS) + self._one(("", " bool"))

    def _matching(self, *, grouped: bool = False) -> str:
        fill = ""
        if grouped and self._grammar.experimental and self._chance(10):
            fill = self._one(("fill (0) ", "fill_left (-1.5) ", "fill_right (5) fill_left (1e30) ", "fill (NaN) "))
        if self._chance(50):
            return fill
        labels = self._source.sample([*self._grammar.labels], self._source.randrange(3))
        text = f"{self._one(('on', 'ignoring'))} {self._grouping(labels)} "
        if grouped and self._chance(40):
            others = [label for label in self._grammar.labels if label not in labels]
            include = self._source.sample(others, self._source.randrange(min(2, len(others)) + 1))
            text += f"{self._one(('group_left', 'group_right'))} {self._grouping(include)} "
        return text + fill
