"""The project's own scripts (tests/corpus/*.test) against our engine, and against Prometheus to prove them true."""

import re
from functools import cache
from pathlib import Path

import pytest

from mirubato.promql.expressions import AGGREGATIONS, COMPARISONS, EXPERIMENTAL_AGGREGATIONS, SET_OPERATORS
from mirubato.promql.functions import FUNCTIONS
from tests.promql import script
from tests.promql.answers import Engine
from tests.promql.memory import Ours
from tests.promql.oracle import Oracle

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
SCRIPTS = sorted(path.stem for path in CORPUS.glob("*.test"))
CALLED = sorted({*FUNCTIONS, *AGGREGATIONS, *EXPERIMENTAL_AGGREGATIONS})
OPERATORS = sorted({"+", "-", "*", "/", "%", "^", "atan2", "</", ">/", *COMPARISONS, *SET_OPERATORS})


@cache
def commands(name: str) -> list[script.Command]:
    """Where a script of ours says nothing of warnings and infos, there must be none."""
    found = script.parse((CORPUS / f"{name}.test").read_text(encoding="utf-8"))
    for one in found:
        if isinstance(one, script.Eval):
            one.expects += [script.Expect(f"no_{what}") for what in ("warn", "info") if not one.wants(what)]
    return found


def evaluations() -> list[script.Eval]:
    return [one for name in SCRIPTS for one in commands(name) if isinstance(one, script.Eval)]


def problems(engine: Engine, name: str) -> list[str]:
    return [
        f"line {wanted.line}: {wanted.question.text}\n    {found}"
        for wanted, found in script.run(engine, commands(name))
        if found
    ]


@pytest.mark.parametrize("name", SCRIPTS)
def test_our_answers(name: str) -> None:
    found = problems(Ours(), name)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", SCRIPTS)
def test_prometheus_answers(name: str, oracle: Oracle) -> None:
    found = problems(oracle, name)
    assert not found, "\n".join(found)


def test_there_are_hundreds_of_cases() -> None:
    assert len(evaluations()) > 500


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        *((name, rf"\b{name} *(?:(?:by|without) *\([^)]*\) *)?\(") for name in CALLED),
        *((sign, rf"[\w)}}\]] {re.escape(sign)} [\w({{-]") for sign in OPERATORS),
    ],
)
def test_everything_has_a_case(what: str, pattern: str) -> None:
    assert any(re.search(pattern, one.question.text) for one in evaluations()), what
