"""The year's simulation, made small: every query answers as the formulas of its values say."""

from pathlib import Path

import pytest

from bench.parts.year import QUESTIONS, Shape, ask, lived, stored


@pytest.mark.slow
def test_forty_days_of_forty_series(tmp_path: Path) -> None:
    with lived(tmp_path, Shape(series=40, days=40, step_ms=1_200_000, metrics=2)) as system:
        for question in QUESTIONS:
            _, points, wrong = ask(system, question)
            assert points
            assert wrong == 0, question.text
        rows = {name: count for name, count, _ in stored(system.store)}
        assert rows["samples"] <= 40 * 72 * 8
        assert 40 * 24 * 22 <= rows["hours"] <= 40 * 24 * 24
        assert 40 * 9 <= rows["days"] <= 40 * 11
