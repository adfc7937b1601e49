"""`mirubato layout check` and `mirubato sql`."""

from pathlib import Path

import pytest

from mirubato.cli import main

OLD = 'name = "shop"\nversion = 1\n[metrics.orders]\nblobs = ["plan"]\n'


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A layout, one that only grew, one in which a position moved, and one that is none."""
    texts = [
        OLD,
        OLD.replace("1", "2").replace('"plan"', '"plan", "country"'),
        OLD.replace("1", "3").replace('"plan"', '"country", "plan"'),
        "nonsense",
    ]
    paths = [tmp_path / f"{number}.toml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return [str(path) for path in paths]


def test_a_layout_that_grew_has_not_drifted(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layout", "check", files[0], files[1]]) == 0
    assert capsys.readouterr().out == "shop/2: no drift\n"


def test_what_moved_is_named_and_the_status_says_so(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layout", "check", *files[:3]]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "orders: blob13 was plan, is country",
        "orders: blob14 was country, is plan",
    ]


def test_a_file_that_is_no_layout_is_bad_usage(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layout", "check", files[3]]) == 2
    assert "mirubato: layout:" in capsys.readouterr().err


def test_sql_is_printed_for_a_layout_and_a_dataset(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "count of orders by country", "--layout", files[1], "--dataset", "mine"]) == 0
    sql = capsys.readouterr().out
    assert sql.startswith("SELECT blob14 AS country, sum(_sample_interval * double3) AS value FROM mine WHERE ")
    assert main(["sql", "p95"]) == 0
    assert "quantile" not in capsys.readouterr().out  # interpolated in the buckets


def test_a_question_without_an_answer_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "count by plan"]) == 1
    assert "plan of http.server.request.duration has no slot" in capsys.readouterr().err
