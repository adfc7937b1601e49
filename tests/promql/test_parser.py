"""What parses and how it binds; what does not, in Prometheus' words; and that nothing is too much."""

import contextlib
import re
import threading
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mirubato.errors import BadQuery
from mirubato.limits import (
    DURATION_TERMS_MAX,
    EXPRESSION_CHARS_MAX,
    EXPRESSION_DEPTH_MAX,
    EXPRESSION_NESTING_MAX,
)
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.promql.expressions import (
    Aggregate,
    Binary,
    Call,
    Cardinality,
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
    type_of,
)
from mirubato.promql.functions import FUNCTIONS
from mirubato.promql.parser import parse, parse_matchers
from mirubato.promql.printing import pretty, to_text
from mirubato.promql.resolving import resolve
from mirubato.promql.tree_json import tree
from tests.promql.grammar import Grammar, expressions


def bound(expr: Expr) -> str:
    """An expression with brackets around everything that an operator binds."""
    match expr:
        case Binary():
            return f"[{bound(expr.lhs)} {expr.op} {bound(expr.rhs)}]"
        case Unary():
            return f"[{expr.op} {bound(expr.expr)}]"
        case Paren():
            return f"({bound(expr.expr)})"
        case Subquery():
            return f"{{{bound(expr.expr)} over {expr.range}}}"
    return to_text(expr)


BINDING = [
    ("a + b * c", "[a + [b * c]]"),
    ("a * b + c", "[[a * b] + c]"),
    ("a - b - c", "[[a - b] - c]"),
    ("a / b * c % d atan2 e", "[[[[a / b] * c] % d] atan2 e]"),
    ("a ^ b ^ c", "[a ^ [b ^ c]]"),
    ("a ^ b * c", "[[a ^ b] * c]"),
    ("a == b + c", "[a == [b + c]]"),
    ("a == b != c", "[[a == b] != c]"),
    ("a </ 1 >/ 2 > 3", "[[[a </ 1] >/ 2] > 3]"),
    ("a and b > c", "[a and [b > c]]"),
    ("a or b and c unless d", "[a or [[b and c] unless d]]"),
    ("a and b or c", "[[a and b] or c]"),
    ("-1 ^ 2", "[- [1 ^ 2]]"),
    ("-a ^ b", "[- [a ^ b]]"),
    ("-a * b", "[[- a] * b]"),
    ("-a + b", "[[- a] + b]"),
    ("a ^ -b ^ c", "[a ^ [- [b ^ c]]]"),
    ("a ^ -b * c", "[[a ^ [- b]] * c]"),
    ("a - -b", "[a - [- b]]"),
    ("+ -a", "[+ [- a]]"),
    ("-2", "-2"),
    ("- - 2", "2"),
    ("-(2)", "[- (2)]"),
    ("2 - -2", "[2 - -2]"),
    ("sum(a)[5m:1m]", "{sum(a) over 300000}"),
    ("(a + b)[1m:]", "{([a + b]) over 60000}"),
    ("a + b offset 5m", "[a + b offset 5m]"),
    ("a offset 5m + b", "[a offset 5m + b]"),
    ("a offset 5m * 2", "[a offset 5m * 2]"),
    ("a offset -(5m) * 2", "[a offset -5m * 2]"),
    ("a offset step() * 2", "[a offset step() * 2]"),
    ("a * b @ 10 offset 1m ^ 2", "[a * [b @ 10.000 offset 1m ^ 2]]"),
    ("sum by (x) (a) + 1", "[sum by (x) (a) + 1]"),
    ("a AND b Or c Unless d", "[[a and b] or [c unless d]]"),
]


@pytest.mark.parametrize(("text", "shown"), BINDING)
def test_what_binds_to_what(text: str, shown: str) -> None:
    assert bound(parse(text)) == shown


UP = Matcher("__name__", MatchOp.EQUAL, "up")


def up(start: int, end: int) -> VectorSelector:
    return VectorSelector("up", (UP,), (start, end))


def test_selectors() -> None:
    a = Matcher("a", MatchOp.EQUAL, "b")
    assert parse(" up ") == up(1, 3)
    assert parse("up{}") == VectorSelector("up", (UP,), (0, 4))
    assert parse('up{a="b",}') == VectorSelector("up", (a, UP), (0, 10))
    assert parse('{a="b"}') == VectorSelector("", (a,), (0, 7))
    assert parse('{"up","ä b"!="x"}') == VectorSelector("", (UP, Matcher("ä b", MatchOp.NOT_EQUAL, "x")), (0, 17))
    assert parse('{__name__=~"u.*",sum!~`x`}') == VectorSelector(
        "", (Matcher("__name__", MatchOp.REGEX, "u.*"), Matcher("sum", MatchOp.NOT_REGEX, "x")), (0, 26)
    )


@pytest.mark.parametrize(
    "name", ["job:up:rate5m", ":", "sum", "by", "offset", "And", "start", "fill", "Fill_Left", "step"]
)
def test_names_of_metrics_that_look_like_something_else(name: str) -> None:
    expr = parse(f"{name} + {name}{{}}")
    assert isinstance(expr, Binary)
    assert expr.lhs == VectorSelector(name, (Matcher("__name__", MatchOp.EQUAL, name),), (0, len(name)))


def test_ranges_and_subqueries() -> None:
    assert parse("up[5m]") == MatrixSelector(up(0, 2), 300_000, (0, 6))
    assert parse("up[1.5] ") == MatrixSelector(up(0, 2), 1_500, (0, 7))
    assert parse("up[ 5m : 30s ]") == Subquery(up(0, 2), 300_000, 30_000, (0, 14))
    assert parse("up[5m:]") == Subquery(up(0, 2), 300_000, None, (0, 7))


def test_offset_and_at() -> None:
    assert parse("up offset -1m @ 1.5") == VectorSelector("up", (UP,), (0, 19), -60_000, 1_500)
    assert parse("up @ end() offset 1h") == VectorSelector("up", (UP,), (0, 20), 3_600_000, Edge.END)
    inner = VectorSelector("up", (UP,), (0, 2), 1_000, Edge.START)
    assert parse("up[5m] @ start() offset 1s") == MatrixSelector(inner, 300_000, (0, 26))
    assert parse("up[5m:] offset 1s @ -5") == Subquery(up(0, 2), 300_000, None, (0, 22), 1_000, -5_000)
    assert parse("up offset 0.0015 @ 1m") == VectorSelector("up", (UP,), (0, 21), 1, 60_000)


def test_anchored_and_smoothed() -> None:
    anchored = VectorSelector("up", (UP,), (0, 2), anchored=True)
    assert parse("up anchored") == anchored
    assert parse("up[5m] ANCHORED") == MatrixSelector(anchored, 300_000, (0, 6))
    smoothed = VectorSelector("up", (UP,), (0, 20), 1_000, smoothed=True)
    assert parse("up smoothed offset 1s") == VectorSelector("up", (UP,), (0, 21), 1_000, smoothed=True)
    assert parse("up smoothed[5m]") == MatrixSelector(
        VectorSelector("up", (UP,), (0, 2), smoothed=True), 300_000, (0, 15)
    )
    assert smoothed.smoothed


AGGREGATES = [
    ("sum(up)", (), False),
    ("sum by (a) (up)", ("a",), False),
    ("sum(up) by (a, b,)", ("a", "b"), False),
    ('sum without (le, "ü ä", by, a:b) (up)', ("le", "ü ä", "by", "a:b"), True),
    ("SUM WITHOUT() (up)", (), True),
]


@pytest.mark.parametrize(("text", "grouping", "without"), AGGREGATES)
def test_aggregations(text: str, grouping: tuple[str, ...], without: bool) -> None:
    expr = parse(text)
    assert isinstance(expr, Aggregate)
    assert (expr.op, expr.grouping, expr.without, expr.param) == ("sum", grouping, without, None)
    assert expr.span == (0, len(text))


def test_aggregations_with_a_parameter() -> None:
    expr = parse("topk(3, up) by (a)")
    assert isinstance(expr, Aggregate)
    assert (expr.op, expr.param, expr.expr) == ("topk", NumberLiteral(3.0, (5, 6)), up(8, 10))
    counted = parse('count_values("v", up)')
    assert isinstance(counted, Aggregate)
    assert counted.param == StringLiteral("v", (13, 16))


ONE, MANY = Cardinality.ONE_TO_ONE, Cardinality.MANY_TO_MANY
MATCHINGS = [
    ("a + b", VectorMatching()),
    ("a + on() b", VectorMatching(on=True)),
    ("a + ignoring(x, y) b", VectorMatching(labels=("x", "y"))),
    ("a and b", VectorMatching(MANY)),
    ("a or on(x) b", VectorMatching(MANY, ("x",), True)),
    ("a + on(x) group_left b", VectorMatching(Cardinality.MANY_TO_ONE, ("x",), True)),
    ("a + on(x) group_left (y) (b)", VectorMatching(Cardinality.MANY_TO_ONE, ("x",), True, ("y",))),
    ("a + ignoring(x) group_right() b", VectorMatching(Cardinality.ONE_TO_MANY, ("x",))),
    ("a + fill(1) b", VectorMatching(fill_left=1.0, fill_right=1.0)),
    ("a + on(x) fill_left(-2) b", VectorMatching(ONE, ("x",), True, fill_left=-2.0)),
    ("a + fill_right(1m) fill_left(2) b", VectorMatching(fill_left=2.0, fill_right=60.0)),
    ("a + 1", None),
    ("1 + on() a", None),
]


@pytest.mark.parametrize(("text", "matching"), MATCHINGS)
def test_matching(text: str, matching: VectorMatching | None) -> None:
    expr = parse(text)
    assert isinstance(expr, Binary)
    assert expr.matching == matching
    assert not expr.bool


def test_bool() -> None:
    expr = parse("1 <= bool 2")
    assert isinstance(expr, Binary)
    assert (expr.op, expr.bool, expr.matching) == ("<=", True, None)


def test_calls() -> None:
    expr = parse("rate(up[5m])")
    assert expr == Call(FUNCTIONS["rate"], (MatrixSelector(up(5, 7), 300_000, (5, 11)),), (0, 12))
    assert parse("time ( )") == Call(FUNCTIONS["time"], (), (0, 8))
    for text in ("pi()", "start()", "end()", "step()", "range()", "min_of(1, 2)", "max_of(1, 1m)"):
        assert isinstance(parse(text), Call)


def test_blanks_and_comments() -> None:
    assert parse("# first\n\r\tup # last\n{ # in braces\n } ") == VectorSelector("up", (UP,), (10, 36))
    assert parse("sum\n(up)#") == Aggregate("sum", up(5, 7), (0, 8))


NEEDS_DURATION = "number, duration, step(), or range()"
NEEDS_SELECTOR = "must be preceded by an instant vector selector or range vector selector or a subquery"
NEEDS_VALUE = "unary expression only allowed on expressions of type scalar or instant vector"

REFUSED = [
    ("", "unknown position: parse error: no expression found in input"),
    (" # nothing\n", "1:1: parse error: no expression found in input"),
    ("a +", "1:4: parse error: unexpected end of input"),
    ("a b", '1:3: parse error: unexpected identifier "b"'),
    ("a 5", '1:3: parse error: unexpected number "5"'),
    ("a 5m", '1:3: parse error: unexpected duration "5m"'),
    ('a "b"', '1:3: parse error: unexpected string "\\"b\\""'),
    ('a "a long string"', '1:3: parse error: unexpected string "\\"a long st"...'),
    ("a a:b", '1:3: parse error: unexpected metric identifier "a:b"'),
    ("a sum", "1:3: parse error: unexpected <aggr:sum>"),
    ("a By", "1:3: parse error: unexpected <By>"),
    ("* a", "1:1: parse error: unexpected <op:*>"),
    ("a = b", '1:3: parse error: unexpected "="'),
    ("a +\n\n + * b", "3:4: parse error: unexpected <op:*>"),
    ("ä", "1:1: parse error: unexpected character: 'ä'"),
    ('{"ä"="x"} b', '1:12: parse error: unexpected identifier "b"'),
    ("a; b", "1:2: parse error: unexpected character: ';'"),
    ("a =~ b", "1:3: parse error: unexpected character after '=': '~'"),
    ("a ! b", "1:3: parse error: unexpected character after '!': ' '"),
    ("a !", "1:3: parse error: unexpected character after '!': '\ufffd'"),
    ("(a", "1:3: parse error: unclosed left parenthesis"),
    ("(", "1:2: parse error: unclosed left parenthesis"),
    ("()", '1:2: parse error: unexpected ")"'),
    ("a)", "1:3: parse error: unexpected right parenthesis ')'"),
    ("a]", "1:2: parse error: unexpected right bracket ']'"),
    ("a}", "1:2: parse error: unexpected character: '}'"),
    # Selectors
    ("{", "1:2: parse error: unexpected end of input inside braces"),
    ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    ('{a=~".*",b!="x"}', "1:1: parse error: vector selector must contain at least one non-empty matcher"),
    ("up{a}", '1:5: parse error: unexpected "}" in label matching, expected label matching operator'),
    ("up{a=}", '1:6: parse error: unexpected "}" in label matching, expected string'),
    ("up{a=b}", '1:6: parse error: unexpected identifier "b" in label matching, expected string'),
    ("up{=}", '1:4: parse error: unexpected "=" in label matching, expected identifier or "}"'),
    ('up{a="b" c="d"}', '1:10: parse error: unexpected identifier "c" in label matching, expected "," or "}"'),
    ('up{,a="b"}', '1:4: parse error: unexpected "," in label matching, expected identifier or "}"'),
    ('up{a="b",,}', '1:10: parse error: unexpected "," in label matching, expected identifier or "}"'),
    ('up{a:b="c"}', "1:5: parse error: unexpected character inside braces: ':'"),
    ("up{a!b}", "1:5: parse error: unexpected character after '!' inside braces: 'b'"),
    ("up{{}", "1:4: parse error: unexpected left brace '{'"),
    ('up{a=~"("}', "1:4: parse error: error parsing regexp: missing closing ): `(`"),
    ('up{a=~"(?=x)"}', "1:4: parse error: error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
    ('up{__name__="x"}', '1:1: parse error: metric name must not be set twice: "up" or "x"'),
    ('1 + up{"down"}', '1:5: parse error: metric name must not be set twice: "up" or "down"'),
    ("atan2", "1:1: parse error: unexpected <op:atan2>"),
    ("bool", "1:1: parse error: unexpected <bool>"),
    # Ranges
    ("a[5m", "1:5: parse error: unclosed left bracket"),
    ("a[", "1:3: parse error: unexpected end of input in duration expression"),
    (
        "a[]",
        f'1:3: parse error: unexpected "]" in subquery or range selector, expected {NEEDS_DURATION}',
    ),
    ("a[x]", "1:3: parse error: unexpected character in duration expression: 'x'"),
    ("a[5m x]", "1:6: parse error: unexpected character: 'x', expected ':'"),
    ("a[5m 5m]", '1:6: parse error: unexpected duration "5m" in subquery or range, expected ":" or "]"'),
    ("a[5m:5m:]", "1:8: parse error: unexpected colon ':'"),
    (
        "a[5m:+]",
        '1:7: parse error: unexpected "]" in subquery selector, expected number, duration, step(), range(), or "]"',
    ),
    ("a[5m:1m 1m]", '1:9: parse error: unexpected duration "1m" in subquery selector, expected "]"'),
    ("a[:5m]", "1:4: parse error: unexpected colon before duration in duration expression"),
    ("a[1m] or a[step()::]", "1:20: parse error: unexpected repeated colon in duration expression"),
    ("a[[5m]]", "1:3: parse error: unexpected character in duration expression: '['"),
    ("a[5m[", "1:5: parse error: unexpected left bracket '['"),
    ("a[0]", "1:3: parse error: duration must be greater than 0"),
    ("a[-5m]", "1:3: parse error: duration must be greater than 0"),
    ("a[5m:0s]", "1:6: parse error: duration must be greater than 0"),
    ("a[1e10]", "1:3: parse error: duration out of range"),
    ("a[NaN]", "1:3: parse error: unexpected character in duration expression: 'N'"),
    ("a[5m/0]", "1:5: parse error: division by zero"),
    ("a[5m%0s]", "1:5: parse error: modulo by zero"),
    (
        "a[max_of(5m)]",
        f'1:12: parse error: unexpected ")" in subquery or range selector, expected {NEEDS_DURATION}',
    ),
    (
        "a[step]",
        f'1:7: parse error: unexpected "]" in subquery or range selector, expected {NEEDS_DURATION}',
    ),
    ("5[5m]", "1:2: parse error: ranges only allowed for vector selectors"),
    ("a[5m][5m]", "1:6: parse error: ranges only allowed for vector selectors"),
    ("a offset 1m [5m]", "1:13: parse error: no offset modifiers allowed before range"),
    ("a @ 1 [5m]", "1:7: parse error: no @ modifiers allowed before range"),
    ("a[5m:][5m:]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"),
    ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
    # Offsets and @
    ("a offset", f"1:9: parse error: unexpected end of input in offset, expected {NEEDS_DURATION}"),
    (
        "a offset b",
        f'1:10: parse error: unexpected identifier "b" in offset, expected {NEEDS_DURATION}',
    ),
    (
        "a offset (5m) + b",
        f'1:17: parse error: unexpected identifier "b" in offset, expected {NEEDS_DURATION}',
    ),
    ("a offset NaN", "1:10: parse error: duration out of range"),
    ("a offset 1m offset 1m", "1:1: parse error: offset may not be set multiple times"),
    (
        "1 offset 1m",
        f"1:1: parse error: offset modifier {NEEDS_SELECTOR}",
    ),
    (
        "(a) offset 1m",
        f"1:1: parse error: offset modifier {NEEDS_SELECTOR}",
    ),
    ("a @ b", '1:5: parse error: unexpected identifier "b" in @, expected timestamp'),
    ("a @ start", "1:10: parse error: unexpected end of input in @, expected timestamp"),
    ("a @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
    ("a @ 1e19", "1:1: parse error: timestamp out of bounds for @ modifier: 10000000000000000000.000000"),
    ("a @ 1 @ end()", "1:1: parse error: @ <timestamp> may not be set multiple times"),
    (
        "sum(a) @ 1",
        f"1:1: parse error: @ modifier {NEEDS_SELECTOR}",
    ),
    ("a[5m] anchored smoothed", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
    ("a[5m:] smoothed", "1:1: parse error: smoothed modifier is not supported for subqueries"),
    ("sum(a) anchored", "1:1: parse error: anchored modifier not implemented"),
    # Aggregations
    ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
    ("sum(a, b)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2"),
    ("topk(a)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1"),
    ("sum(a,)", "1:6: parse error: trailing commas not allowed in function call args"),
    ("sum(,)", '1:5: parse error: unexpected "," in aggregation'),
    ("sum(a b)", '1:7: parse error: unexpected identifier "b" in aggregation'),
    ("sum(rate(a[5m]) * )", '1:19: parse error: unexpected ")" in aggregation'),
    ("sum a", '1:5: parse error: unexpected identifier "a"'),
    ("sum by (a) b", '1:12: parse error: unexpected identifier "b" in aggregation'),
    ("sum by a (b)", '1:8: parse error: unexpected identifier "a" in grouping opts, expected "("'),
    ("sum by (1) (b)", '1:9: parse error: unexpected number "1" in grouping opts, expected label'),
    ("sum by (a b) (c)", '1:11: parse error: unexpected identifier "b" in grouping opts, expected "," or ")"'),
    ("sum by (a,,) (c)", '1:11: parse error: unexpected "," in grouping opts, expected label'),
    ("sum by (without) (c)", "1:9: parse error: unexpected <without> in grouping opts, expected label"),
    ('sum by ("") (c)', '1:9: parse error: invalid label name for grouping: ""'),
    ('sum by ("\\xff") (c)', '1:9: parse error: invalid label name for grouping: "\ufffd"'),
    ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
    ("sum(a[5m])", "1:5: parse error: expected type instant vector in aggregation expression, got range vector"),
    ("topk(a, b)", "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"),
    ("count_values(1, b)", "1:14: parse error: expected type string in aggregation parameter, got scalar"),
    # Functions
    ("nope(a)", '1:1: parse error: unknown function with name "nope"'),
    ("Rate(a[5m])", '1:1: parse error: unknown function with name "Rate"'),
    ("a:b(c)", '1:4: parse error: unexpected "("'),
    ("rate()", '1:1: parse error: expected 1 argument(s) in call to "rate", got 0'),
    ("rate(a[5m], 1)", '1:1: parse error: expected 1 argument(s) in call to "rate", got 2'),
    ("rate(a)", '1:6: parse error: expected type range vector in call to function "rate", got instant vector'),
    ("rate(a[5m],)", "1:11: parse error: trailing commas not allowed in function call args"),
    ("rate(a[5m]", "1:11: parse error: unclosed left parenthesis"),
    ("round(a, 1, 2)", '1:1: parse error: expected at most 2 argument(s) in call to "round", got 3'),
    ("round()", '1:1: parse error: expected at least 1 argument(s) in call to "round", got 0'),
    ('label_join(a, "b")', '1:1: parse error: expected at least 3 argument(s) in call to "label_join", got 2'),
    (
        'label_replace(a, "b", c, "d", "e")',
        '1:23: parse error: expected type string in call to function "label_replace", got instant vector',
    ),
    (
        "histogram_quantile(a, b)",
        '1:20: parse error: expected type scalar in call to function "histogram_quantile", got instant vector',
    ),
    ("info(a, b)", "1:9: parse error: expected label selectors only, got vector selector instead"),
    ("info(a, sum(b))", "1:9: parse error: expected label selectors only"),
    ("info(a, 1)", '1:1: parse error: expected type instant vector in call to function "info", got scalar'),
    # Operators
    ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
    ("a  + bool b", "1:4: parse error: bool modifier can only be used on comparison operators"),
    ("1 and 2", '1:1: parse error: set operator "and" not allowed in binary scalar expression'),
    ("a or 2", '1:1: parse error: set operator "or" not allowed in binary scalar expression'),
    ("a[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
    ('1 + "a"', "1:5: parse error: binary expression must contain only scalar and instant vector types"),
    (
        '-"a"',
        f'1:1: parse error: {NEEDS_VALUE}, got "string"',
    ),
    (
        "-a[5m:]",
        f'1:1: parse error: {NEEDS_VALUE}, got "range vector"',
    ),
    ("a + on(x) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
    ("a + fill(0) 1", "1:1: parse error: filling in missing series only allowed between instant vectors"),
    ("a and on(x) group_left b", '1:1: parse error: no grouping allowed for "and" operation'),
    ("a or fill(0) b", "1:1: parse error: filling in missing series not allowed for set operators"),
    ("a + on(x) group_left(x) b", '1:3: parse error: label "x" must not occur in ON and GROUP clause at once'),
    ("a + on b", '1:8: parse error: unexpected identifier "b" in grouping opts, expected "("'),
    ("a + group_left b", "1:5: parse error: unexpected <group_left>"),
    ("a + on(x) group_left * b", '1:22: parse error: unexpected <op:*> in grouping opts, expected "("'),
    ("a + fill(b) c", '1:10: parse error: unexpected identifier "b"'),
    ("a + fill(1) fill_left(2) c", '1:22: parse error: unexpected "("'),
]


@pytest.mark.parametrize(("text", "told"), REFUSED)
def test_what_is_refused_where_and_why(text: str, told: str) -> None:
    with pytest.raises(BadQuery) as refused:
        parse(text)
    assert str(refused.value) == told


FLAGGED = [
    (
        "limitk(1, a)",
        "limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
    ),
    ("mad_over_time(a[5m])", 'function "mad_over_time" is not enabled'),
    ("step()", 'function "step" is not enabled'),
    ("a anchored", "anchored modifier is experimental and not enabled"),
    ("a[5m] smoothed", "smoothed modifier is experimental and not enabled"),
    ("a + fill(0) b", "binop fill modifiers are experimental and not enabled"),
]


@pytest.mark.parametrize(("text", "told"), FLAGGED)
def test_what_prometheus_has_behind_a_flag(text: str, told: str) -> None:
    parse(text)
    with pytest.raises(BadQuery) as refused:
        parse(text, experimental=False)
    assert str(refused.value) == f"1:1: parse error: {told}"


def test_duration_expressions_need_no_flag() -> None:
    parse("a[step() + 5m] offset -range()", experimental=False)


def test_matchers() -> None:
    assert parse_matchers("up") == (UP,)
    assert parse_matchers('{a=~".+", "up"}') == (Matcher("a", MatchOp.REGEX, ".+"), UP)
    for text, told in (
        ("up[5m]", '1:3: parse error: unexpected "["'),
        ("up + up", "1:4: parse error: unexpected <op:+>"),
        ("1", '1:1: parse error: unexpected number "1"'),
        ("", "unknown position: parse error: unexpected end of input"),
        ("up{", "1:4: parse error: unexpected end of input inside braces"),
        ("{}", "match[] must contain at least one non-empty matcher"),
        ('{a!="b"}', "match[] must contain at least one non-empty matcher"),
    ):
        with pytest.raises(BadQuery) as refused:
            parse_matchers(text)
        assert str(refused.value) == told


# --- bounds -----------------------------------------------------------------------------------------------------------

DEEP = EXPRESSION_NESTING_MAX - 1
LONG = EXPRESSION_DEPTH_MAX - 1
FITS = [
    "(" * DEEP + "a" + ")" * DEEP,
    "abs(" * DEEP + "a" + ")" * DEEP,
    "sum(" * DEEP + "a" + ")" * DEEP,
    "-" * DEEP + "a",
    "a" + " or a" * LONG,
    "1" + "+1" * LONG,
    "1" + "^1" * DEEP,
    "(" * 90 + "a" + ")" * 90 + " + a" * 150,
    "max_over_time(" * DEEP + "a" + "[5m:1m])" * DEEP,
    f"a[{'(' * 40}1m{')' * 40}]",
    f"a[1m{'+1m' * (DURATION_TERMS_MAX - 1)}]",
]
OVER = [
    ("(" * 10_000 + "a" + ")" * 10_000, f"an expression nests at most {EXPRESSION_NESTING_MAX} levels deep"),
    ("abs(" * 10_000, f"an expression nests at most {EXPRESSION_NESTING_MAX} levels deep"),
    ("-" * 10_000 + "1", f"an expression nests at most {EXPRESSION_NESTING_MAX} levels deep"),
    ("1" + "^1" * 10_000, f"an expression nests at most {EXPRESSION_NESTING_MAX} levels deep"),
    ("1" + "+1" * 5_000, f"an expression is at most {EXPRESSION_DEPTH_MAX} levels deep"),
    ("a" + " or a" * 5_000, f"an expression is at most {EXPRESSION_DEPTH_MAX} levels deep"),
    ("(" * 90 + "1" + ("+1" * 90 + ")") * 90, f"an expression is at most {EXPRESSION_DEPTH_MAX} levels deep"),
    ("a" + "[5m:]" * 10_000, f"an expression is at most {EXPRESSION_DEPTH_MAX} levels deep"),
    ("a[" + "(" * 10_000, f"a duration has at most {DURATION_TERMS_MAX} terms"),
    ("a[1m" + "+1m" * 5_000 + "]", f"a duration has at most {DURATION_TERMS_MAX} terms"),
    ("a offset " + "-" * 10_000 + "1", f"a duration has at most {DURATION_TERMS_MAX} terms"),
    ("a" * 1_000_000, f"an expression has at most {EXPRESSION_CHARS_MAX} characters"),
]


def use(text: str) -> None:
    """Everything that visits a tree."""
    expr = parse(text)
    type_of(expr)
    to_text(expr)
    pretty(expr)
    tree(expr)
    with contextlib.suppress(BadQuery):  # such as a range of 5m - 5m
        resolve(expr, 0, 60_000, 1_000)


@pytest.mark.parametrize("text", FITS, ids=[text[:12] for text in FITS])
def test_the_deepest_that_fits_can_be_used(text: str) -> None:
    """In a thread, whose stack is as high as that of a query's."""
    failed: list[Exception] = []

    def tried() -> None:
        try:
            use(text)
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    thread = threading.Thread(target=tried)
    thread.start()
    thread.join()
    assert not failed


@pytest.mark.parametrize(("text", "told"), OVER, ids=[text[:12] for text, _ in OVER])
def test_what_is_too_much_is_refused_at_once(text: str, told: str) -> None:
    began = time.process_time()
    with pytest.raises(BadQuery, match=re.escape(told)):
        parse(text)
    assert time.process_time() - began < 0.5


LINEAR = [
    " " * 65_000 + "!",
    "#" * 65_000,
    "#\n" * 32_000,
    '"' + "\\" * 65_000,
    '"' + "\\x41" * 16_000,
    '{a="' + "b" * 65_000,
    "{" + 'a="b",' * 10_000 + "}",
    "{" + "'a'='b'," * 8_000,
    "label_join(" + "a," * 30_000,
    "sum by (" + "a," * 30_000 + ") (a)",
    "9" * 65_000 + "m",
    "1_" * 32_000,
    "0x" + "e" * 65_000,
    "up[" + "9" * 65_000 + "m]",
    "fill" + " " * 65_000,
    "fill " * 13_000,
    '{a=~"' + "(a*)*" * 10_000 + '"}',
    "a" + " \n" * 30_000 + "+ bool 1",
]


@pytest.mark.parametrize("text", LINEAR, ids=[text[:8].strip() or "blank" for text in LINEAR])
def test_64_kb_take_no_time(text: str) -> None:
    """Anything that is not linear takes minutes for this; a slow machine takes a second."""
    began = time.process_time()
    with contextlib.suppress(BadQuery):
        use(text)
    assert time.process_time() - began < 2.0


# --- any text ---------------------------------------------------------------------------------------------------------

MARKS = [*"()[]{},+-*/%^=!@:\"'`\\#<>.$ \n", "==", "=~", "</", "[5m]", "[5m:]", "@ end()", "\ufffd", "\ud800", "é"]
WORDS = [
    "a",
    "sum",
    "by",
    "on",
    "offset",
    "rate",
    "5m",
    "1",
    "0x1e",
    "group_left",
    "bool",
    "fill(1)",
    "step()",
    "max_of(",
]
PARTS = st.sampled_from([*MARKS, *WORDS])


def refusal(text: str) -> str:
    """Why it does not parse; nothing if it does."""
    try:
        parse(text)
    except BadQuery as refused:
        return str(refused)
    return ""


@st.composite
def spoiled(draw: st.DrawFn) -> str:
    """An expression with something put in or cut out somewhere."""
    text = draw(expressions(Grammar(depth=3)))
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(st.just("") | PARTS) + text[at + draw(st.integers(0, 3)) :]


@given(st.text(max_size=60) | st.lists(PARTS, max_size=20).map("".join) | st.lists(PARTS).map(" ".join) | spoiled())
@example("a[5m:")
def test_any_text_parses_or_is_refused_with_line_and_column(text: str) -> None:
    told = refusal(text)
    where = re.match(r"(?:(\d+):(\d+)|unknown position): parse error: ", told)
    assert where or not told
    if where and where[1]:
        line, column = int(where[1]), int(where[2])
        assert 1 <= line <= text.count("\n") + 1
        assert 1 <= column <= len(text.split("\n")[line - 1].encode(errors="surrogatepass")) + 1


@given(expressions())
def test_what_the_grammar_writes_parses(text: str) -> None:
    use(text)


@given(st.dictionaries(st.text(min_size=1), st.tuples(st.sampled_from(["=", "!="]), st.text()), min_size=1))
def test_any_name_and_value_can_be_asked_for(conditions: dict[str, tuple[str, str]]) -> None:
    matchers = tuple(Matcher(name, MatchOp(op), value) for name, (op, value) in conditions.items())
    matchers = tuple(one for one in matchers if "\ufffd" not in one.name + one.value)
    matchers += (Matcher("the end", MatchOp.EQUAL, "x"),)
    again = parse(to_text(VectorSelector("", matchers, (0, 0))))
    assert isinstance(again, VectorSelector)
    assert sorted(again.matchers, key=str) == sorted(matchers, key=str)
