"""promtool's unit tests of rules: series as given, rules as they run, alerts and values as expected.

Source: prometheus, docs/configuration/unit_testing_rules.md and cmd/promtool/unittest.go.
"""

import glob
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import yaml

from mirubato.alerts.expansion import expand
from mirubato.alerts.observing import observe
from mirubato.alerts.remembered import Alert, Memory
from mirubato.alerts.rule_files import parse_rules
from mirubato.alerts.rules import Group, RecordingRule, Rule, evaluate, record, samples
from mirubato.alerts.scratch import Scratch
from mirubato.alerts.series_notation import Value, parse_labels, parse_values, series_text
from mirubato.alerts.writing import Writing, Written
from mirubato.alerts.yaml_nodes import Problem, Reading
from mirubato.clock import monotonic_s
from mirubato.errors import MirubatoError
from mirubato.model.histogram import Histogram, ResetHint
from mirubato.model.labels import Labels, format_value, labels_of
from mirubato.promql.query import QueryBudget, instant

_FILE_FIELDS = frozenset(("rule_files", "evaluation_interval", "group_eval_order", "tests", "fuzzy_compare"))
_TEST_FIELDS = frozenset(
    (
        "name",
        "interval",
        "input_series",
        "alert_rule_test",
        "promql_expr_test",
        "external_labels",
        "external_url",
        "start_timestamp",
    )
)
_MINUTE_MS = 60_000
_STEPS_MAX = 100_000
_QUERY_S_MAX = 60.0
_MANY = 50_000_000


class Told(NamedTuple):
    """What an alert tells: its labels with `alertname`, and its annotations, each sorted by name."""

    labels: Labels
    annotations: Labels

    def __str__(self) -> str:
        return f"Labels:{series_text(self.labels)} Annotations:{series_text(self.annotations)}"


@dataclass
class _File:
    """A test file as it is read."""

    reading: Reading
    groups: Sequence[Group] = ()
    interval_ms: int = _MINUTE_MS
    fuzzy: bool = False
    tests: Sequence[yaml.Node] = ()


@dataclass
class _Test:
    """One group of tests, and the world that it runs in."""

    file: _File
    start_ms: int
    external_labels: Mapping[str, str]
    external_url: str
    scratch: Scratch = field(default_factory=Scratch)
    memory: Memory = field(default_factory=Memory)
    writing: Writing = field(default_factory=Writing)
    pending: list[Written] = field(default_factory=list)
    """Samples of the input that are yet to come, the next one last."""

    def budget(self) -> QueryBudget:
        return QueryBudget(monotonic_s() + _QUERY_S_MAX, _MANY, _MANY)

    def told(self, rule: Rule, alert: Alert, now: int) -> Told:
        """What the alert says now."""
        expanded = expand(
            rule,
            alert.series,
            alert.value,
            lambda text: samples(instant(self.scratch, text, now, self.budget())),
            now_ms=now,
            external_url=self.external_url,
            external_labels=self.external_labels,
        )
        return Told(expanded.labels, labels_of(expanded.annotations.items()))


def run_tests(path: str) -> tuple[int, list[Problem]]:
    """Run the tests of a file: how many groups of them there were, and what was wrong, in the order of lines."""
    reading = Reading(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return 0, [Problem(path, 1, 1, str(error))]
    file = _read(reading, text)
    if not reading.problems:
        for node in file.tests:
            _run(file, node)
    return len(file.tests), sorted(reading.problems)


def _read(reading: Reading, text: str) -> _File:
    top = reading.entries(reading.root(text), "the file", _FILE_FIELDS)
    order = [reading.text(node, "a group") for node in reading.items(top.get("group_eval_order"), "group_eval_order")]
    groups: list[Group] = []
    for node in reading.items(top.get("rule_files"), "rule_files"):
        groups += _rule_groups(reading, node)
    place = {name: at for at, name in enumerate(order)}
    return _File(
        reading,
        sorted(groups, key=lambda group: place.get(group.name, 0)),
        reading.duration(top.get("evaluation_interval"), "evaluation_interval", _MINUTE_MS) or _MINUTE_MS,
        reading.text(top.get("fuzzy_compare"), "fuzzy_compare") == "true",
        reading.items(top.get("tests"), "tests"),
    )


def _rule_groups(reading: Reading, node: yaml.Node) -> list[Group]:
    """The groups of the files that a pattern finds, seen from the test file."""
    pattern = Path(reading.file).parent / reading.text(node, "a rule file")
    names = sorted(glob.glob(str(pattern)))  # noqa: PTH207  (an absolute pattern is one too)
    if not names:
        reading.wrong(node, f"no file matches {pattern}")
    groups: list[Group] = []
    for name in names:
        try:
            parsed = parse_rules(Path(name).read_text(encoding="utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            reading.wrong(node, f"{name}: {error}")
            continue
        reading.problems += parsed.problems
        groups += parsed.groups
    return groups


def _run(file: _File, node: yaml.Node) -> None:
    reading = file.reading
    entries = reading.entries(node, "a test", _TEST_FIELDS)
    test = _Test(
        file,
        _start_ms(reading, entries.get("start_timestamp")),
        reading.texts(entries.get("external_labels"), "external_labels"),
        reading.text(entries.get("external_url"), "external_url"),
    )
    interval = reading.duration(entries.get("interval"), "interval", file.interval_ms) or file.interval_ms
    test.pending = _input(reading, entries.get("input_series"), test.start_ms, interval)
    alerts = [_alert_test(reading, one) for one in reading.items(entries.get("alert_rule_test"), "alert_rule_test")]
    values = [_expr_test(reading, one) for one in reading.items(entries.get("promql_expr_test"), "promql_expr_test")]
    last = max([one.at_ms for one in alerts] + [one.at_ms for one in values], default=0)
    if last // file.interval_ms > _STEPS_MAX:
        reading.wrong(node, f"more than {_STEPS_MAX} evaluations until the last eval_time")
    if not reading.problems:
        _walk(test, node, alerts, values, last)


def _start_ms(reading: Reading, node: yaml.Node | None) -> int:
    text = reading.text(node, "start_timestamp")
    try:
        return round(float(text) * 1000) if text else 0
    except ValueError:
        pass
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        assert node is not None
        reading.wrong(node, f"start_timestamp: {text[:60]!r} is no time")
        return 0


def _input(reading: Reading, node: yaml.Node | None, start_ms: int, interval_ms: int) -> list[Written]:
    """All samples, the last one first."""
    found: list[Written] = []
    for one in reading.items(node, "input_series"):
        entries = reading.entries(one, "an input series", {"series", "values"})
        try:
            labels = parse_labels(reading.text(entries.get("series"), "series"))
            values = parse_values(reading.text(entries.get("values"), "values"))
        except (MirubatoError, ValueError) as error:
            reading.wrong(one, str(error))
            continue
        for number, value in enumerate(values):
            at = start_ms + number * interval_ms
            if isinstance(value, float):
                found.append(Written(labels, at, value))
            elif value is not None:
                found.append(Written(labels, at, 0.0, value))
    return sorted(found, key=lambda sample: -sample.time)


class _AlertTest(NamedTuple):
    node: yaml.Node
    at_ms: int
    alertname: str
    expected: list[Told]


class _ExprTest(NamedTuple):
    node: yaml.Node
    at_ms: int
    expr: str
    expected: list[tuple[Labels, float | str]]


def _alert_test(reading: Reading, node: yaml.Node) -> _AlertTest:
    entries = reading.entries(node, "an alert_rule_test", {"eval_time", "alertname", "exp_alerts"})
    name = reading.text(entries.get("alertname"), "alertname")
    if not name:
        reading.wrong(node, "an item under alert_rule_test misses required attribute alertname")
    expected = []
    for one in reading.items(entries.get("exp_alerts"), "exp_alerts"):
        alert = reading.entries(one, "an expected alert", {"exp_labels", "exp_annotations"})
        labels = {**reading.texts(alert.get("exp_labels"), "exp_labels"), "alertname": name}
        annotations = reading.texts(alert.get("exp_annotations"), "exp_annotations")
        expected.append(Told(labels_of(labels.items()), labels_of(annotations.items())))
    return _AlertTest(node, reading.duration(entries.get("eval_time"), "eval_time"), name, sorted(expected))


def _expr_test(reading: Reading, node: yaml.Node) -> _ExprTest:
    entries = reading.entries(node, "a promql_expr_test", {"eval_time", "expr", "exp_samples"})
    expected: list[tuple[Labels, float | str]] = []
    for one in reading.items(entries.get("exp_samples"), "exp_samples"):
        sample = reading.entries(one, "an expected sample", {"labels", "value", "histogram"})
        try:
            labels = parse_labels(reading.text(sample.get("labels"), "labels"))
            text = reading.text(sample.get("histogram"), "histogram")
            expected.append((labels, _told(parse_values(text)[0]) if text else _float(reading, sample.get("value"))))
        except (MirubatoError, ValueError) as error:
            reading.wrong(one, str(error))
    at = reading.duration(entries.get("eval_time"), "eval_time")
    return _ExprTest(node, at, reading.text(entries.get("expr"), "expr"), sorted(expected, key=_labels_of))


def _float(reading: Reading, node: yaml.Node | None) -> float:
    """YAML writes infinities and NaN with a dot before them."""
    return float(reading.text(node, "value").replace(".inf", "inf").replace(".nan", "nan") or 0)


def _labels_of(sample: tuple[Labels, object]) -> Labels:
    return sample[0]


# --- running ----------------------------------------------------------------------------------------------------------


def _walk(
    test: _Test, node: yaml.Node, alerts: Sequence[_AlertTest], values: Sequence[_ExprTest], last_ms: int
) -> None:
    reading, interval = test.file.reading, test.file.interval_ms
    for offset in range(0, last_ms + 1, interval):
        now = test.start_ms + offset
        _let_come(test, now)
        errors = [error for group in test.file.groups for error in _evaluate(test, group, now)]
        if errors:
            for error in errors:
                reading.wrong(node, error)
            return
        for one in alerts:
            if offset <= one.at_ms < offset + interval:
                _check_alerts(test, one, now)
    _let_come(test, test.start_ms + last_ms)
    for expected in values:
        _check_values(test, expected)


def _let_come(test: _Test, now: int) -> None:
    """The input up to a time."""
    while test.pending and test.pending[-1].time <= now:
        _add(test, [test.pending.pop()])


def _add(test: _Test, some: Sequence[Written]) -> None:
    for sample in some:
        test.scratch.add(sample.labels, sample.time, sample.value if sample.histogram is None else sample.histogram)


def _evaluate(test: _Test, group: Group, now: int) -> list[str]:
    """Evaluate the rules of a group in their order; what failed."""
    failed = []
    for rule in group.rules:
        try:
            if isinstance(rule, RecordingRule):
                result = record(rule, test.scratch, now, test.budget())
                _add(test, test.writing.of_recording(rule, result, now - rule.query_offset_ms))
            else:
                _step(test, rule, now)
        except MirubatoError as error:
            failed.append(f"rule: {rule.name}, time: {(now - test.start_ms) / 1000:g}s, err: {error}")
    return failed


def _step(test: _Test, rule: Rule, now: int) -> None:
    measured = evaluate(rule, test.scratch, now, test.budget())

    def labels(_: Rule, series: Labels, value: float) -> Mapping[str, str]:
        return dict(test.told(rule, Alert(rule.id, series, {}, value=value), now).labels)

    # The machine's clocks take 0 for "never", and tests begin at 0.
    observe(test.memory, rule, measured, now + 1, labels, grace=False)
    _add(test, test.writing.of_alerts(rule.id, test.memory.alerts.get(rule.id, {}).values(), now))


def _check_alerts(test: _Test, expected: _AlertTest, now: int) -> None:
    got = sorted(
        test.told(rule, alert, now)
        for group in test.file.groups
        for rule in group.rules
        if isinstance(rule, Rule) and rule.name == expected.alertname
        for alert in test.memory.alerts.get(rule.id, {}).values()
        if alert.fires
    )
    if got != expected.expected:
        test.file.reading.wrong(
            expected.node,
            f"alertname: {expected.alertname}, time: {expected.at_ms / 1000:g}s"
            f"\n    exp: {_lines(expected.expected)}\n    got: {_lines(got)}",
        )


def _lines(told: Sequence[Told]) -> str:
    return "[" + "".join(f"\n        {one}" for one in told) + "]"


def _check_values(test: _Test, expected: _ExprTest) -> None:
    reading = test.file.reading
    now = test.start_ms + expected.at_ms
    try:
        result = instant(test.scratch, expected.expr, now, test.budget())
    except MirubatoError as error:
        reading.wrong(expected.node, f"expr: {expected.expr!r}, time: {expected.at_ms / 1000:g}s, err: {error}")
        return
    got: list[tuple[Labels, float | str]] = sorted(
        ((one.labels, one.values[0] if one.values else _told(one.histograms[0])) for one in result.series),
        key=_labels_of,
    )
    same = len(got) == len(expected.expected) and all(
        left[0] == right[0] and _same(left[1], right[1], fuzzy=test.file.fuzzy)
        for left, right in zip(got, expected.expected, strict=True)
    )
    if not same:
        reading.wrong(
            expected.node,
            f"expr: {expected.expr!r}, time: {expected.at_ms / 1000:g}s"
            f"\n    exp: {_samples_text(expected.expected)}\n    got: {_samples_text(got)}",
        )


def _told(value: Value) -> str:
    """A histogram as a text that is equal for equal ones; what it hints at of resets depends on where it was kept."""
    return str(value.hinted(ResetHint.UNKNOWN).compacted() if isinstance(value, Histogram) else value)


def _same(left: float | str, right: float | str, *, fuzzy: bool) -> bool:
    if isinstance(left, str) or isinstance(right, str):
        return left == right
    if left == right:
        return True
    return fuzzy and right in (math.nextafter(left, -math.inf), math.nextafter(left, math.inf))


def _samples_text(some: Sequence[tuple[Labels, float | str]]) -> str:
    return (
        ", ".join(
            f"{series_text(labels)} {value if isinstance(value, str) else format_value(value)}"
            for labels, value in some
        )
        or "nil"
    )
