"""docs/PROMQL.md names every operator, aggregation and function that there is, and no other."""

import re
from pathlib import Path

from mirubato.promql.expressions import (
    AGGREGATIONS,
    COMPARISONS,
    EXPERIMENTAL_AGGREGATIONS,
    SET_OPERATORS,
)
from mirubato.promql.functions import FUNCTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "PROMQL.md"


def named(section: str, row: str) -> list[str]:
    """What stands between backticks in a row of the table of a section."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {row}")]
    return re.findall(r"`([^`]+)`", line.split("|")[2])


def test_functions() -> None:
    assert named("Functions", "stable") == [name for name, one in FUNCTIONS.items() if not one.experimental]
    assert named("Functions", "experimental") == [name for name, one in FUNCTIONS.items() if one.experimental]


def test_aggregations() -> None:
    assert named("Aggregations", "stable") == sorted(AGGREGATIONS)
    assert named("Aggregations", "experimental") == sorted(EXPERIMENTAL_AGGREGATIONS)


def test_operators() -> None:
    assert set(named("Operators", "comparison")) == COMPARISONS
    assert set(named("Operators", "sets")) == SET_OPERATORS
