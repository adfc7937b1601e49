"""Expressions for a query's times: in ms, and with nothing left that depends on them."""

from collections.abc import Iterator
from dataclasses import fields
from types import NoneType

import pytest
from hypothesis import given

from mirubato.errors import BadQuery
from mirubato.promql.expressions import Aggregate, Call, Expr, Paren
from mirubato.promql.parser import parse
from mirubato.promql.printing import to_text
from mirubato.promql.resolving import resolve
from tests.promql.grammar import expressions

START, END, STEP = 1_000_000, 1_600_000, 15_000
"""Ten minutes, in ms."""

RESOLVED = [
    ("up", "up"),
    ("up[5m * 2]", "up[10m]"),
    ("up[step()]", "up[15s]"),
    ("up[range() / 4]", "up[2m30s]"),
    ("up[5m + 2 * step()]", "up[5m30s]"),
    ("up[(5m + 2m) * 2 ^ 3]", "up[56m]"),
    ("up[7m % 2m]", "up[1m]"),
    ("up[-(-1m)]", "up[1m]"),
    ("up[5m - -step()]", "up[5m15s]"),
    ("up[min_of(step(), 1m)]", "up[15s]"),
    ("up[max_of(step(), 1m):step() / 2]", "up[1m:7s500ms]"),
    ("up offset -step()", "up offset -15s"),
    ("up offset +range()", "up offset 10m"),
    ("up offset (1.0006 * 1)", "up offset 1s"),
    ("up offset -(1.0006 * 1)", "up offset -1s"),
    ("up offset (step() - 15s)", "up"),
    ("up[5m:] offset (1m * 2)", "up[5m:] offset 2m"),
    ("up[5m:0.0001 + 0]", "up[5m:]"),
    ("up @ start()", "up @ 1000.000"),
    ("rate(up[5m] @ end() offset step())", "rate(up[5m] @ 1600.000 offset 15s)"),
    ("up[5m:] @ start()", "up[5m:] @ 1000.000"),
    ("start() + end()", "1000 + 1600"),
    ("-(step() / range())", "-(15 / 600)"),
    ("sum(((up))) + vector((1))", "sum(up) + vector(1)"),
    ('topk((2), (up)) + label_join(up, ("a"), "b")', 'topk(2, up) + label_join(up, "a", "b")'),
    ("(up)", "(up)"),
]


@pytest.mark.parametrize(("text", "resolved"), RESOLVED)
def test_resolving(text: str, resolved: str) -> None:
    assert to_text(resolve(parse(text), START, END, STEP)) == resolved


def test_an_instant_query_has_no_step() -> None:
    assert to_text(resolve(parse("step() + range()"), START, START, 0)) == "0 + 0"
    with pytest.raises(BadQuery, match=r"^3:9: duration must be greater than 0$"):
        resolve(parse("up[step()]"), START, START, 0)


def test_what_needs_no_resolving_is_not_copied() -> None:
    expr = parse('sum by (a) (rate(up{b="c"}[5m] offset 1m)) / on (a) group_left () (x > bool 1)')
    assert resolve(expr, START, END, STEP) is expr


REFUSED = [
    ("up[5m - 5m]", "3:10: duration must be greater than 0"),
    ("up[-step()]", "3:10: duration must be greater than 0"),
    ("up[5m:step() - 1h]", "6:17: duration must be greater than 0"),
    ("sum(rate(up[1m / (step() - 15s)]))", "12:30: division by zero"),
    ("up[1m % (0 * step())]", "3:19: modulo by zero"),
    ("up[10 ^ 400]", "3:11: duration is NaN or infinite"),
    ("up[(-1s) ^ 0.5]", "4:14: duration is NaN or infinite"),
    ("up offset (10 ^ 10)", "11:18: duration is out of range"),
    ("up offset -(10 ^ 10)", "10:19: duration is out of range"),
]


@pytest.mark.parametrize(("text", "told"), REFUSED)
def test_durations_that_are_none(text: str, told: str) -> None:
    expr = parse(text)
    with pytest.raises(BadQuery) as refused:
        resolve(expr, START, END, STEP)
    assert str(refused.value) == told


def below(expr: Expr) -> Iterator[Expr]:
    """An expression and all that it stands on."""
    yield expr
    for part in fields(expr):
        value = getattr(expr, part.name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Expr):
                yield from below(one)


@given(expressions())
def test_nothing_is_left_to_be_resolved(text: str) -> None:
    expr = parse(text)
    try:
        resolved = resolve(expr, START, END, STEP)
    except BadQuery:
        return
    for one in below(resolved):
        for name in ("offset", "at", "range", "step"):
            assert type(getattr(one, name, None)) in (int, NoneType)
        if isinstance(one, Call):
            assert one.function.name not in ("start", "end", "step", "range")
            assert not any(isinstance(arg, Paren) for arg in one.args)
        if isinstance(one, Aggregate):
            assert not isinstance(one.expr, Paren)
            assert not isinstance(one.param, Paren)
