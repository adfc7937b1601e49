"""Go templates in labels and annotations: what they yield, held to promtool, and what ends a bad one."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mirubato.alerts.checking import template_problem
from mirubato.alerts.expansion import expand
from mirubato.alerts.rules import Rule, samples
from mirubato.alerts.scratch import Scratch
from mirubato.errors import QueryError
from mirubato.limits import TEMPLATE_CHARS_MAX
from mirubato.model.labels import Labels, format_value
from mirubato.promql.query import instant
from tests.alerts.promtool import promtool
from tests.alerts.worlds import budget, world

LABELS: Labels = (("__name__", "m"), ("host", "db1.example.org:9100"), ("job", "api"), ("path", "/a b/ü"))

TEMPLATES = [
    *(Path(__file__).parent / "templates.txt").read_text(encoding="utf-8").splitlines(),
    '{{- " trimmed " -}}  \n  {{- /* a comment */ -}}  next {{/* another */}} end',
    "a\n  {{- if true }}\n  b\n  {{- end }}\nc",
]

VALUES = [
    *(0.0, 1.0, -1.0, 0.05, 0.12345678, 12.5, 59.9, 60.0, 3661.5, 90061.0, -3725.25, 999.95, 1000.0, 1024.0),
    *(123456.0, 1234567.0, 1e9, 1435065584.128, 1.5e-7, 2.5e14, -0.000123, math.inf, -math.inf, math.nan),
]


OTHERS = {'other{x="a"}': "1", 'other{x="b"}': "2.5", 'other{x="c"}': "1e7"}


def scratch() -> Scratch:
    return world({'other{x="a"}': "1x5", 'other{x="b"}': "2.5x5", 'other{x="c"}': "1e7x5"})


def expanded(template: str, value: float, labels: Labels = LABELS) -> str:
    """One annotation at 1 minute after the epoch."""
    some = scratch()
    found = expand(
        Rule("r", "A", "m", annotations={"a": template}),
        labels,
        value,
        lambda text: samples(instant(some, text, 60_000, budget())),
        now_ms=60_000,
        external_url="http://x.example/base",
        external_labels={"region": "eu", "zone": "1"},
    )
    return found.annotations["a"]


def test_no_template_of_the_list_fails() -> None:
    failed = {text: one for text in TEMPLATES for value in VALUES if "<error" in (one := expanded(text, value))}
    # A time of 1e14 seconds is beyond what Go can print, too.
    assert {text for text in failed if "humanizeTimestamp" not in text} == set()
    # promtool has no external URL to call these with.
    assert expanded("{{ externalURL }} {{ pathPrefix }}", 1.0) == "http://x.example/base /base"


def test_promtool_yields_the_same(tmp_path: Path) -> None:
    """Its unit tests, one for each value, expect what we yield."""
    ours = {value: [expanded(text, value) for text in TEMPLATES] for value in VALUES}
    fails = {number for texts in ours.values() for number, text in enumerate(texts) if "<error" in text}
    shown = {f"a{number}": text for number, text in enumerate(TEMPLATES) if number not in fails}
    rules = {"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "m", "annotations": shown}]}]}
    tests = [_unit_test(value, {name: texts[int(name[1:])] for name in shown}) for value, texts in ours.items()]
    written = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules, allow_unicode=True), encoding="utf-8")
    (tmp_path / "test.yml").write_text(yaml.safe_dump(written, allow_unicode=True), encoding="utf-8")
    status, said = promtool("test", "rules", str(tmp_path / "test.yml"))
    assert (status, said.count("exp:")) == (0, 0), said
    assert len(shown) >= len(TEMPLATES) - 2


def _unit_test(value: float, annotations: dict[str, str]) -> dict[str, Any]:
    labels = dict(LABELS[1:])
    series = {"m" + json.dumps(labels, ensure_ascii=False).replace('": ', '"='): format_value(value)} | OTHERS
    return {
        "interval": "1m",
        "external_labels": {"region": "eu", "zone": "1"},
        "external_url": "http://x.example/base",
        "input_series": [{"series": name, "values": f"{number} {number}"} for name, number in series.items()],
        "alert_rule_test": [
            {
                "eval_time": "1m",
                "alertname": "A",
                "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}],
            }
        ],
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{", "unclosed action"),
        ("{{ $value", "unclosed action"),
        ("{{ if true }}", "EOF"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ else }}", "unexpected {{else}}"),
        ("{{ if }}x{{ end }}", "missing value for if"),
        ("{{ nope 1 }}", 'function "nope" not defined'),
        ("{{ $nope }}", 'undefined variable "$nope"'),
        ("{{ $labels.x | }}", "missing value"),
        ("{{ | humanize }}", "missing value"),
        ("{{ \"a }}", "unterminated quoted string"),
        ("{{ `a }}", "unterminated raw quoted string"),
        ("{{ 1 | 2 }}", "non executable command"),
        ("{{ (1 }}", "unclosed left paren"),
        ("{{ 1 ) }}", "unexpected"),
        ("{{/* x }}", "unclosed comment"),
        ("{{ break }}", "outside {{range}}"),
        ("{{ if true }}{{ else }}{{ else }}{{ end }}", "expected end"),
        ("{{ $x, $y := 1 }}", "too many declarations"),
        ("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "undefined variable"),
        ("{{ define \"a\" }}{{ $labels }}{{ end }}", "undefined variable"),
        ("{{ template x }}", "name in quotes"),
        ("{{ 1\n.x }}", "unexpected"),
        ("{{ 1.x }}", "unexpected"),
        ("{{ ? }}", "unexpected"),
        ("{{ '' }}", "unexpected"),
        ("(" * 10 + "{{" + "(" * 100 + "1" + ")" * 100 + "}}", "deep"),
        ("{{if true}}" * 100 + "{{end}}" * 100, "deep"),
        ("x" * (TEMPLATE_CHARS_MAX + 1), "longer"),
    ],
)  # fmt: skip
def test_what_does_not_parse_is_told(text: str, says: str) -> None:
    if "\n" in text:  # two operands, of which the first is no function: found when it runs
        assert "<error" in expanded(text, 1.0)
        return
    assert says in template_problem(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{{ first (query "nothing") }}', "first() called on vector with no elements"),
        ('{{ query "sum(" }}', "unclosed left parenthesis"),
        ('{{ template "nope" }}', 'template "nope" not defined'),
        ("{{ gt $value 1 }}", "incompatible types for comparison"),
        ("{{ humanize $labels }}", "convert"),
        ('{{ humanize "abc" }}', "ParseFloat"),
        ("{{ toUpper 1 }}", "expected string"),
        ("{{ first 1 }}", "first does not take"),
        ("{{ toUpper }}", "toUpper does not take"),
        ('{{ match "(" "x" }}', "error parsing regexp"),
        ('{{ reReplaceAll "(" "x" "y" }}', "error parsing regexp"),
        ("{{ .Nope }}", "can't evaluate field Nope"),
        ("{{ $value.x }}", "can't evaluate field x"),
        ("{{ 1 2 }}", "can't give argument to non-function"),
        ("{{ range $value }}{{ end }}", "range can't iterate over"),
        ("{{ index $labels.job 100 }}", "out of range"),
        ("{{ slice \"abc\" 5 }}", "slice"),
        ('{{ define "r" }}{{ template "r" }}{{ end }}{{ template "r" }}', "deep"),
        ("{{ range 1000000000 }}{{ end }}", "steps"),
        ("{{ range 1000000 }}0123456789{{ end }}", "yields more than"),
        ('{{ printf "%1000000d" 1 }}', "a width"),
        ("{{ $x := \"0123456789\" }}{{ range 100 }}{{ $x = print $x $x }}{{ end }}", "yields more than"),
        ('{{ reReplaceAll "" "' + "y" * 9_000 + '" "' + "x" * 9_000 + '" }}', "too much text"),
        ("{{ humanizeTimestamp 1e30 }}", "overflows int64"),
        ("{{ parseDuration \"soon\" }}", "no duration"),
    ],
)  # fmt: skip
def test_what_fails_when_it_runs_becomes_a_text(text: str, says: str) -> None:
    found = expanded(text, 2.0)
    assert found.startswith("<error expanding template: ")
    assert says in found


def test_labels_are_templates_too_and_the_rule_wins() -> None:
    rule = Rule("r", "Name", "m", labels={"job": "{{ $labels.job | toUpper }}", "path": "", "v": "{{ $value }}"})
    found = expand(rule, LABELS, 0.5, lambda _: [], now_ms=0)
    assert found.labels == (("alertname", "Name"), ("host", "db1.example.org:9100"), ("job", "API"), ("v", "0.5"))


def test_an_expression_that_has_no_answer_is_told_in_the_text() -> None:
    def ask(_: str) -> Sequence[tuple[Labels, float]]:
        raise QueryError("many-to-many matching not allowed")

    found = expand(Rule("r", "A", "m", annotations={"a": '{{ query "x" }}'}), LABELS, 0.5, ask, now_ms=0)
    assert "many-to-many" in found.annotations["a"]


PIECES = [*TEMPLATES, "{{ if true }}", "{{ end }}", "{{ range 3 }}", "{{ . }}", "{{", "}}", "|", "("]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), st.integers(0, 60))
def test_whatever_is_written_ends_in_a_text(text: str, cut: int) -> None:
    """Templates put together, with a piece cut out of the middle."""
    middle = len(text) // 2
    for written in (text, text[:middle] + text[middle + cut :]):
        template_problem(written)
        assert isinstance(expanded(written, 1.5), str)
