"""Expressions as the JSON that `parse_query` answers."""

import json
from typing import Any

import pytest
from hypothesis import given

from mirubato.promql.parser import parse
from mirubato.promql.tree_json import tree
from tests.promql.grammar import expressions

PLAIN = {"offset": 0, "offsetExpr": None, "timestamp": None, "startOrEnd": None}
EXTENDED = {"anchored": False, "smoothed": False}
UP = {"name": "__name__", "type": "=", "value": "up"}
SELECTED = {"type": "vectorSelector", "name": "up", "matchers": [UP], **PLAIN, **EXTENDED}
FIVE_MINUTES = {"type": "numberLiteral", "val": "300", "duration": True}

TREES: list[tuple[str, dict[str, Any]]] = [
    ("1m", {"type": "numberLiteral", "val": "60"}),
    ("-Inf", {"type": "numberLiteral", "val": "-Inf"}),
    ('"ü"', {"type": "stringLiteral", "val": "ü"}),
    ("up", SELECTED),
    (
        'up{a=~"b"} anchored',
        {**SELECTED, "matchers": [{"name": "a", "type": "=~", "value": "b"}, UP], "anchored": True},
    ),
    ("up offset 1m @ 1.5", {**SELECTED, "offset": 60_000, "timestamp": 1_500}),
    ("up @ end() smoothed", {**SELECTED, "startOrEnd": "end", "smoothed": True}),
    ("up[5m]", {**SELECTED, "type": "matrixSelector", "range": 300_000, "rangeExpr": None}),
    (
        "up[(5m + step())]",
        {
            **SELECTED,
            "type": "matrixSelector",
            "range": 0,
            "rangeExpr": {
                "type": "durationExpr",
                "op": "+",
                "lhs": FIVE_MINUTES,
                "rhs": {"type": "durationExpr", "op": "step", "lhs": None, "rhs": None, "wrapped": False},
                "wrapped": True,
            },
        },
    ),
    (
        "up[5m:] @ start()",
        {
            "type": "subquery",
            "expr": SELECTED,
            "range": 300_000,
            "rangeExpr": None,
            "step": 0,
            "stepExpr": None,
            **PLAIN,
            "startOrEnd": "start",
        },
    ),
    ("(up)", {"type": "parenExpr", "expr": SELECTED}),
    ("-up", {"type": "unaryExpr", "op": "-", "expr": SELECTED}),
    (
        "up > bool 1",
        {
            "type": "binaryExpr",
            "op": ">",
            "lhs": SELECTED,
            "rhs": {"type": "numberLiteral", "val": "1"},
            "matching": None,
            "bool": True,
        },
    ),
    (
        "up / on (a) group_left (b) fill_right (0) up",
        {
            "type": "binaryExpr",
            "op": "/",
            "lhs": SELECTED,
            "rhs": SELECTED,
            "matching": {
                "card": "many-to-one",
                "labels": ["a"],
                "on": True,
                "include": ["b"],
                "fillValues": {"lhs": None, "rhs": 0.0},
            },
            "bool": False,
        },
    ),
    (
        "topk without (a) (1, up)",
        {
            "type": "aggregation",
            "op": "topk",
            "expr": SELECTED,
            "param": {"type": "numberLiteral", "val": "1"},
            "grouping": ["a"],
            "without": True,
        },
    ),
    (
        "round(up)",
        {
            "type": "call",
            "func": {"name": "round", "argTypes": ["vector", "scalar"], "variadic": 1, "returnType": "vector"},
            "args": [SELECTED],
        },
    ),
    (
        "absent_over_time(up[5m])",
        {
            "type": "call",
            "func": {"name": "absent_over_time", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"},
            "args": [{**SELECTED, "type": "matrixSelector", "range": 300_000, "rangeExpr": None}],
        },
    ),
]


@pytest.mark.parametrize(("text", "expected"), TREES, ids=[text for text, _ in TREES])
def test_trees(text: str, expected: dict[str, Any]) -> None:
    assert tree(parse(text)) == expected


@given(expressions())
def test_every_expression_has_a_tree_in_json(text: str) -> None:
    shown = tree(parse(text))
    assert json.loads(json.dumps(shown)).keys() == shown.keys()
