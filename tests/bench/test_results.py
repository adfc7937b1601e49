"""Verdicts, tables, the results file, and the command line's refusals."""

import pytest

from bench.cli import PARTS, main
from bench.fleet import SAMPLE_NAMES
from bench.parts.kill import selectors
from bench.tables import Section, Table, Target, merged


def test_a_target_is_shown_with_its_verdict() -> None:
    target = Target(1.8, " x")
    assert target.verdict(1.8) == "≤ 1.8 x: reached"
    assert target.verdict(1.81) == "≤ 1.8 x: not reached"


def test_a_section_counts_what_was_missed() -> None:
    section = Section("kill", "title")
    assert section.judge(7, None) == ""
    section.judge(1, Target(2))
    section.judge(3, Target(2))
    assert [section.judge_zero(0), section.judge_zero(4)] == ["0", "4"]
    assert section.missed == 2


def test_a_table_is_aligned_markdown() -> None:
    table = Table(("what", "ms"))
    table.add("a longer name", 1.5)
    assert str(table).splitlines() == [
        "| what          | ms  |",
        "| ------------- | --- |",
        "| a longer name | 1.5 |",
    ]


def test_new_sections_replace_old_ones_and_the_rest_stays() -> None:
    order = ["decode", "ingest", "kill"]
    first = merged("", [("kill", "## kill: t\n\nold"), ("decode", "## decode: t\n\nkept\n\n| a |")], order)
    second = merged(first, [("kill", "## kill: t\n\nnew"), ("ingest", "## ingest: t\n\nnew")], order)
    assert [line for line in second.splitlines() if line.startswith("## ")] == [
        "## decode: t",
        "## ingest: t",
        "## kill: t",
    ]
    assert "kept\n\n| a |" in second
    assert "old" not in second
    assert merged(second, [], order) == second


def test_selectors_cover_every_sample_name() -> None:
    asked = list(selectors())
    assert len(asked) == len(SAMPLE_NAMES) - 1 + 12
    assert {selector.split("{")[0] for selector in asked} == set(SAMPLE_NAMES)
    assert 'http_request_duration_seconds_bucket{le="1"}' in asked
    assert 'http_request_duration_seconds_bucket{le="0.005"}' in asked


BAD_USAGE = [["nonsense"], ["ingest", "--rounds", "0"], ["--rounds", "many"], ["--work", "no/such/directory"]]


@pytest.mark.parametrize("arguments", BAD_USAGE)
def test_bad_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: scripts/bench" in capsys.readouterr().err


def test_the_parts() -> None:
    gateway = ["decode", "append", "ingest", "visible", "query", "disk", "kill", "start", "alerts"]
    assert list(PARTS) == [*gateway, "in_app", "event_points", "spans", "year"]
