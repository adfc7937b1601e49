"""Unit tests of rules: our verdict is promtool's, for what is expected rightly and for what is not."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mirubato.alerts.rule_tests import run_tests
from tests.alerts.promtool import promtool

RULES = Path(__file__).parent / "rules"
MINUTES = 25
ALERTS = ("NodeFilesystemAlmostOutOfSpace", "NodeCPUHighUsage", "TargetDown", "Watchdog", "JobAbsent")
EXPRESSIONS = (
    "instance:node_cpu_utilisation:rate2m",
    "ALERTS",
    "ALERTS_FOR_STATE",
    'count(ALERTS{alertstate="firing"})',
    "nothing_at_all",
)


def mixin(directory: Path, alerts: list[dict[str, Any]], values: list[dict[str, Any]]) -> Path:
    """The test file of the mixin, with expectations."""
    (directory / "mixin.yml").write_bytes((RULES / "mixin.yml").read_bytes())
    text = (RULES / "mixin_test.yml").read_text(encoding="utf-8").partition("EXPECTED")[0]
    document = yaml.safe_load(text)
    document["tests"][0] |= {"alert_rule_test": alerts, "promql_expr_test": values}
    path = directory / "test.yml"
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def pairs(text: str) -> dict[str, str]:
    """`{a="x", b="y"}`."""
    found = re.findall(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"', text)
    return {name: value.replace("\\n", "\n").replace('\\"', '"') for name, value in found}


def what_fires(said: str) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """What promtool got where nothing was expected: by alert and minute."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for block in said.split("alertname: ")[1:]:
        name, minutes = re.match(r"(\w+), time: (\d+)m?", block).groups()  # type: ignore[union-attr]
        got = block.partition("got:")[2]
        for labels, annotations in re.findall(r"Labels:(\{.*\})\n\s*Annotations:(\{.*\})", got):
            known = {name: value for name, value in pairs(labels).items() if name != "alertname"}
            alert = {"exp_labels": known, "exp_annotations": pairs(annotations)}
            found.setdefault((name, int(minutes)), []).append(alert)
    return found


def test_a_mixin_fires_as_in_prometheus_at_every_minute(tmp_path: Path) -> None:
    """What promtool says of the mixin, minute by minute, is expected of ours, and nothing else."""
    nothing = [{"eval_time": f"{at}m", "alertname": name} for at in range(MINUTES) for name in ALERTS]
    _, said = promtool("test", "rules", str(mixin(tmp_path, nothing, [])))
    fires = what_fires(said)
    assert {name for name, _ in fires} == set(ALERTS)
    expected = [one | {"exp_alerts": fires.get((one["alertname"], int(one["eval_time"][:-1])), [])} for one in nothing]
    path = mixin(tmp_path, expected, [])
    assert promtool("test", "rules", str(path))[0] == 0
    assert run_tests(str(path)) == (1, [])


def test_recorded_series_and_alerts_series_are_those_of_prometheus(tmp_path: Path) -> None:
    nothing = [{"eval_time": f"{at}m", "expr": expr} for at in range(MINUTES) for expr in EXPRESSIONS]
    _, said = promtool("test", "rules", str(mixin(tmp_path, [], nothing)))
    found = re.findall(r'expr: "(.*)", time: (\d+m|0s),\s*exp: nil\s*got: (.*)', said)
    theirs = {(expr.replace("\\", ""), at.replace("s", "m")): some for expr, at, some in found}
    assert {expr for expr, _ in theirs} == set(EXPRESSIONS) - {"nothing_at_all"}
    expected = [one | {"exp_samples": samples_of(theirs.get((one["expr"], one["eval_time"]), ""))} for one in nothing]
    path = mixin(tmp_path, [], expected)
    assert promtool("test", "rules", str(path))[0] == 0
    assert run_tests(str(path)) == (1, [])


def samples_of(text: str) -> list[dict[str, Any]]:
    """`{__name__="m", a="b"} 1E+00, {} 2E+00`."""
    return [{"labels": labels, "value": float(value)} for labels, value in re.findall(r"(\{.*?\}) ([^\s,]+)", text)]


FAILING = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'm{a="1"}'
        values: '0 1 2 _ 4 stale 6x3'
    alert_rule_test:
      - eval_time: 1m
        alertname: A
        exp_alerts:
          - exp_labels: {a: "2"}
    promql_expr_test:
      - expr: m
        eval_time: 4m
        exp_samples: [{labels: 'm{a="1"}', value: 4}]
      - expr: m
        eval_time: 5m
        exp_samples: []
      - expr: m
        eval_time: 2m
        exp_samples: [{labels: 'm{a="1"}', value: 3}]
      - expr: sum(
        eval_time: 2m
"""


def test_what_is_not_as_expected_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: m > 0}]}]", encoding="utf-8")
    path = tmp_path / "test.yml"
    path.write_text(FAILING, encoding="utf-8")
    count, problems = run_tests(str(path))
    assert count == 1
    assert [(problem.line, problem.message.partition(",")[0]) for problem in problems] == [
        (10, "alertname: A"),
        (21, "expr: 'm'"),
        (24, "expr: 'sum('"),
    ]
    assert problems[0].message.endswith('got: [\n        Labels:{a="1", alertname="A"} Annotations:{}]')
    assert promtool("test", "rules", str(path))[0] == 1


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("rule_files: [nope.yml]\ntests: []", 1, "no file matches"),
        ("tests:\n  - input_series:\n      - series: m\n        values: 1 x", 3, "no value: 'x'"),
        ("tests:\n  - input_series:\n      - series: m > 1\n        values: 1", 3, "does not name a series"),
        ("tests:\n  - intervall: 1m", 2, "no field 'intervall'"),
        ("tests:\n  - alert_rule_test:\n      - eval_time: 1m", 3, "misses required attribute alertname"),
        ("tests:\n  - alert_rule_test:\n      - eval_time: soon\n        alertname: A", 3, "no duration"),
        ("tests:\n  - start_timestamp: never", 2, "no time"),
        ("tests: [", 1, "no YAML"),
        ("- a", 1, "must be a mapping"),
        ("tests:\n  - interval: 1m\n    input_series: 5", 3, "must be a list"),
    ],
)
def test_a_file_that_is_not_right_is_told(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "test.yml"
    path.write_text(text, encoding="utf-8")
    _, problems = run_tests(str(path))
    assert [problem.line for problem in problems] == [line]
    assert says in problems[0].message


def test_a_rule_that_fails_ends_the_test(tmp_path: Path) -> None:
    rules = "groups: [{name: g, rules: [{alert: A, expr: 'm * on(x) m'}]}]"
    (tmp_path / "rules.yml").write_text(rules, encoding="utf-8")
    path = tmp_path / "test.yml"
    path.write_text(
        "rule_files: [rules.yml]\ntests:\n  - interval: 1m\n    input_series:\n"
        "      - {series: 'm{a=\"1\"}', values: '1x5'}\n      - {series: 'm{a=\"2\"}', values: '1x5'}\n"
        "    promql_expr_test: [{expr: m, eval_time: 3m, exp_samples: []}]",
        encoding="utf-8",
    )
    _, problems = run_tests(str(path))
    assert len(problems) == 1
    assert "rule: A, time: 0s, err:" in problems[0].message
    assert promtool("test", "rules", str(path))[0] == 1


HISTOGRAMS = """
tests:
  - interval: 1m
    input_series:
      - series: h
        values: '{{schema:0 sum:1 count:2 buckets:[1 1]}}+{{schema:0 sum:1 count:2 buckets:[1 1]}}x5'
    promql_expr_test:
      - expr: histogram_count(h)
        eval_time: 3m
        exp_samples: [{labels: '{}', value: 8}]
      - expr: h
        eval_time: 1m
        exp_samples: [{labels: h, histogram: '{{schema:0 sum:2 count:4 buckets:[2 2]}}'}]
"""


def test_histograms_and_their_expectations(tmp_path: Path) -> None:
    path = tmp_path / "test.yml"
    path.write_text(HISTOGRAMS, encoding="utf-8")
    assert run_tests(str(path)) == (1, [])
