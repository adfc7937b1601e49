"""Prometheus' own rule files and unit tests, read where Go keeps its modules: ours says what promtool says."""

from pathlib import Path

import pytest

from mirubato.alerts.rule_files import parse_rules
from mirubato.alerts.rule_tests import run_tests
from tests.promql.oracle import prometheus

BAD_RULES = {
    "bad-rules-syntax.yml",
    "rules-bad.yml",
    "rules_extrafields.yml",  # promtool takes it with --ignore-unknown-fields
    "invalid_rules.yaml",
    "bad_expr.bad.yaml",
    "bad_field.bad.yaml",
    "duplicate_grp.bad.yaml",
    "invalid_label_name.bad.yaml",
    "invalid_record_name.bad.yaml",
    "no_rec_alert.bad.yaml",
    "noexpr.bad.yaml",
    "record_and_alert.bad.yaml",
    "record_and_for.bad.yaml",
    "record_and_keep_firing_for.bad.yaml",
}
FAILING_TESTS = {
    "bad-input-series.yml",
    "bad-promql.yml",
    "bad-rules-error-test.yml",
    "bad-rules-syntax-test.yml",
    "failing.yml",
    "rules_run.yml",
    "rules_run_extrafields.yml",
    "rules_run_fuzzy.yml",
    "rules_run_no_fuzzy.yml",
}
LEFT_OUT = {
    "features.yml",  # what promtool has behind a flag is on here
    "long-period.yml",  # the year 2262: samples so far ahead are refused
    "unittest.yml",  # 3 seconds; below
}


@pytest.fixture(scope="module")
def upstream() -> Path:
    return Path(prometheus("upstream"))


def files(upstream: Path, word: str) -> list[Path]:
    """The YAML files with a word at the beginning of a line."""
    found = []
    for place in ("cmd/promtool/testdata", "rules/fixtures", "model/rulefmt/testdata"):
        for path in sorted((upstream / place).iterdir()):
            if path.suffix in (".yml", ".yaml") and path.name not in LEFT_OUT:
                found += [path] if f"\n{word}" in "\n" + path.read_text(encoding="utf-8") else []
    return found


def test_rule_files(upstream: Path) -> None:
    paths = files(upstream, "groups:")
    refused = {path.name for path in paths if parse_rules(path.read_text(encoding="utf-8"), str(path)).problems}
    assert refused == BAD_RULES
    assert len(paths) > 35


def test_unit_tests(upstream: Path) -> None:
    paths = files(upstream, "tests:")
    failed = {path.name for path in paths if run_tests(str(path))[1]}
    assert failed == FAILING_TESTS
    assert len(paths) > 10


@pytest.mark.slow
def test_the_large_unit_test(upstream: Path) -> None:
    assert run_tests(str(upstream / "cmd/promtool/testdata/unittest.yml")) == (5, [])
