"""The tree of a PromQL expression, as the parser makes it. Durations and times are ms; spans are character positions.

Sources: prometheus, docs/querying/basics.md and operators.md.
"""

from dataclasses import dataclass
from enum import StrEnum

from mirubato.model.matchers import Matcher
from mirubato.promql.functions import Function, ValueType

Span = tuple[int, int]
"""Where an expression stands in the text: first character, and the one after the last."""


@dataclass(frozen=True, slots=True)
class NumberLiteral:
    """A number; `duration` says that it was written as one (`1m30s`), in seconds."""

    value: float
    span: Span
    duration: bool = False


@dataclass(frozen=True, slots=True)
class StringLiteral:
    """A string, unquoted."""

    value: str
    span: Span


@dataclass(frozen=True, slots=True)
class DurationExpr:
    """Arithmetic over durations in seconds: `5m * 2`, `-(1h)`, `step()`, `min_of(step(), 1m)`.

    `op` is `+ - * / % ^ step range min_of max_of`; unary ones have no `lhs`, `step` and `range` neither.
    """

    op: str
    lhs: "DurationNode | None"
    rhs: "DurationNode | None"
    span: Span
    wrapped: bool = False
    """Whether it stood in parentheses."""


DurationNode = NumberLiteral | DurationExpr
Duration = int | DurationExpr
"""Ms; an expression until the query's step and range are known."""


class Edge(StrEnum):
    """`@ start()` and `@ end()`."""

    START = "start"
    END = "end"


@dataclass(frozen=True, slots=True)
class VectorSelector:
    """Series by matchers; `name` is what stood before the braces, if anything (it is a matcher too, the last)."""

    name: str
    matchers: tuple[Matcher, ...]
    span: Span
    offset: Duration = 0
    at: int | Edge | None = None
    anchored: bool = False
    smoothed: bool = False


@dataclass(frozen=True, slots=True)
class MatrixSelector:
    """The samples of `selector` in a range; offset and `@` are the selector's."""

    selector: VectorSelector
    range: Duration
    span: Span


@dataclass(frozen=True, slots=True)
class Subquery:
    """An instant expression evaluated every `step` (None: the default resolution) over a range."""

    expr: "Expr"
    range: Duration
    step: Duration | None
    span: Span
    offset: Duration = 0
    at: int | Edge | None = None


@dataclass(frozen=True, slots=True)
class Paren:
    """`( ... )`."""

    expr: "Expr"
    span: Span


@dataclass(frozen=True, slots=True)
class Unary:
    """`-` or `+` before an expression."""

    op: str
    expr: "Expr"
    span: Span


class Cardinality(StrEnum):
    """How elements of two vectors pair up."""

    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"


@dataclass(frozen=True, slots=True)
class VectorMatching:
    """`on`/`ignoring` (`labels`), `group_left`/`group_right` (`include`), and what fills a missing side."""

    card: Cardinality = Cardinality.ONE_TO_ONE
    labels: tuple[str, ...] = ()
    on: bool = False
    include: tuple[str, ...] = ()
    fill_left: float | None = None
    fill_right: float | None = None


@dataclass(frozen=True, slots=True)
class Binary:
    """`lhs op rhs`; `matching` only where both are vectors; `bool` makes a comparison answer 0 or 1."""

    op: str
    lhs: "Expr"
    rhs: "Expr"
    matching: VectorMatching | None
    span: Span
    bool: bool = False


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`op by (grouping) (param, expr)`."""

    op: str
    expr: "Expr"
    span: Span
    param: "Expr | None" = None
    grouping: tuple[str, ...] = ()
    without: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments."""

    function: Function
    args: "tuple[Expr, ...]"
    span: Span


Expr = (
    NumberLiteral
    | StringLiteral
    | VectorSelector
    | MatrixSelector
    | Subquery
    | Paren
    | Unary
    | Binary
    | Aggregate
    | Call
)

COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
SET_OPERATORS = frozenset(("and", "or", "unless"))
AGGREGATIONS = frozenset(
    ("sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk", "quantile", "count_values")
)
EXPERIMENTAL_AGGREGATIONS = frozenset(("limitk", "limit_ratio"))
PARAM_AGGREGATIONS = frozenset(("topk", "bottomk", "quantile", "count_values", "limitk", "limit_ratio"))


def bare(expr: Expr) -> Expr:
    """What stands inside any number of parentheses."""
    while isinstance(expr, Paren):
        expr = expr.expr
    return expr


def type_of(expr: Expr) -> ValueType:  # noqa: PLR0911  (one for each kind)
    """What an expression evaluates to."""
    match expr:
        case NumberLiteral():
            return ValueType.SCALAR
        case StringLiteral():
            return ValueType.STRING
        case MatrixSelector() | Subquery():
            return ValueType.MATRIX
        case Paren() | Unary():
            return type_of(expr.expr)
        case Call():
            return expr.function.returns
        case Binary():
            both = type_of(expr.lhs) is ValueType.SCALAR and type_of(expr.rhs) is ValueType.SCALAR
            return ValueType.SCALAR if both else ValueType.VECTOR
        case VectorSelector() | Aggregate():
            return ValueType.VECTOR
