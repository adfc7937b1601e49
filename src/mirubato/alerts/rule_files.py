"""Prometheus' rule files, unchanged: YAML -> groups, each mistake with file, line and column.

A rule with a mistake is left out and the others stay. Source: prometheus, model/rulefmt/rulefmt.go.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import yaml

from mirubato.alerts.checking import check_expression, cycles, template_problem, without
from mirubato.alerts.rules import Group, RecordingRule, Rule
from mirubato.alerts.yaml_nodes import Problem, Reading, line_of
from mirubato.errors import BadQuery
from mirubato.limits import RULE_INTERVAL_MS_MIN

_GROUP_FIELDS = frozenset(("name", "interval", "query_offset", "limit", "rules", "labels"))
_RULE_FIELDS = frozenset(("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"))
_OF_ALERTS = ("for", "keep_firing_for", "annotations")
_KUBERNETES_FIELDS = frozenset(("apiVersion", "kind", "metadata", "spec"))


@dataclass(frozen=True, slots=True)
class RuleFile:
    """What a file holds that can run, and what is wrong with the rest."""

    groups: Sequence[Group]
    problems: Sequence[Problem]
    readable: bool = True
    """Whether it is YAML at all."""


def parse_rules(text: str, file: str) -> RuleFile:
    """The groups of a rule file, or of a PrometheusRule as Kubernetes has them."""
    reading = Reading(file)
    root = reading.root(text)
    if root is None and reading.problems:
        return RuleFile([], reading.problems, readable=False)
    groups: dict[str, Group] = {}
    for node in _group_nodes(reading, root):
        group = _group(reading, node)
        if group.name in groups:
            reading.wrong(node, f'groupname: "{group.name}" is repeated in the same file')
        elif group.name:
            groups[group.name] = group
    return _without_cycles(list(groups.values()), reading.problems)


def _group_nodes(reading: Reading, root: yaml.Node | None) -> list[yaml.Node]:
    top = reading.entries(root, "the file", None)
    if top.keys() <= _KUBERNETES_FIELDS and "spec" in top:
        top = reading.entries(top["spec"], "spec", {"groups"})
    elif root is not None:
        top = reading.entries(root, "the file", {"groups"})
    return reading.items(top.get("groups"), "groups")


def _without_cycles(groups: list[Group], problems: list[Problem]) -> RuleFile:
    found = cycles(groups)
    for group in groups:
        file = group.source.removeprefix("file:")
        problems += [
            Problem(file, rule.line, 1, f'group "{group.name}", "{rule.name}": {found[rule.id]}')
            for rule in group.rules
            if rule.id in found
        ]
    return RuleFile(without(groups, set(found)), sorted(problems))


@dataclass(frozen=True, slots=True)
class _Around:
    """What a rule has from its group."""

    name: str
    source: str
    labels: Mapping[str, str]
    interval_ms: int
    query_offset_ms: int
    limit: int


def _group(reading: Reading, node: yaml.Node) -> Group:
    entries = reading.entries(node, "a group", _GROUP_FIELDS)
    name = reading.text(entries.get("name"), "name")
    if not name:
        reading.wrong(node, "Groupname must not be empty")
    labels = reading.texts(entries.get("labels"), "labels")
    _check_label_names(reading, entries.get("labels"), labels, f'group "{name}"')
    around = _Around(
        name,
        f"file:{reading.file}",
        labels,
        _interval(reading, entries.get("interval")),
        reading.duration(entries.get("query_offset"), "query_offset"),
        reading.whole(entries.get("limit"), "limit"),
    )
    rules: list[Rule | RecordingRule] = []
    seen: dict[str, int] = {}
    for index, rule_node in enumerate(reading.items(entries.get("rules"), "rules")):
        rule = _rule(reading, rule_node, around, index + 1, seen)
        rules += [rule] if rule else []
    return Group(name, around.source, rules, around.interval_ms, around.limit)


def _interval(reading: Reading, node: yaml.Node | None) -> int:
    """Shorter ones than the shortest there is are taken for that."""
    interval = reading.duration(node, "interval")
    return max(interval, RULE_INTERVAL_MS_MIN) if interval else 0


def _rule(
    reading: Reading, node: yaml.Node, around: _Around, number: int, seen: dict[str, int]
) -> Rule | RecordingRule | None:
    """A rule without a mistake."""
    before = len(reading.problems)
    entries = reading.entries(node, "a rule", _RULE_FIELDS)
    kind = "alert" if "alert" in entries else "record"
    name, query = reading.text(entries.get(kind), kind), reading.text(entries.get("expr"), "expr")
    where = f'group "{around.name}", rule {number}, "{name}"'
    _check_kind(reading, node, entries, where)
    _check_query(reading, entries.get("expr") or node, query, where)
    labels = {**around.labels, **_own_labels(reading, entries, where, templates=kind == "alert")}
    id_, line = _id(around, kind, name, labels, seen), line_of(entries.get(kind) or node)
    rule: Rule | RecordingRule
    if kind == "alert":
        rule = _alert(reading, entries, Rule(id_, name, query, labels=labels, line=line), where)
    else:
        rule = RecordingRule(id_, name, query, labels, line=line)
    return None if len(reading.problems) > before else _within(rule, around)


def _own_labels(
    reading: Reading, entries: Mapping[str, yaml.Node], where: str, *, templates: bool
) -> Mapping[str, str]:
    labels = reading.texts(entries.get("labels"), "labels")
    _check_label_names(reading, entries.get("labels"), labels, where)
    if templates:
        _check_templates(reading, entries.get("labels"), labels, f"{where}: label")
    return labels


def _alert(reading: Reading, entries: Mapping[str, yaml.Node], rule: Rule, where: str) -> Rule:
    """With what only alert rules have."""
    annotations = reading.texts(entries.get("annotations"), "annotations")
    _check_label_names(reading, entries.get("annotations"), annotations, where)
    _check_templates(reading, entries.get("annotations"), annotations, f"{where}: annotation")
    severity = rule.labels.get("severity", "")
    return replace(
        rule,
        for_ms=reading.duration(entries.get("for"), f"{where}: for"),
        keep_firing_for_ms=reading.duration(entries.get("keep_firing_for"), f"{where}: keep_firing_for"),
        annotations=annotations,
        severity="" if "{{" in severity else severity,
    )


def _within(rule: Rule | RecordingRule, around: _Around) -> Rule | RecordingRule:
    """With what its group says."""
    return replace(
        rule,
        interval_ms=around.interval_ms,
        query_offset_ms=around.query_offset_ms,
        source=around.source,
        group=around.name,
        limit=around.limit,
    )


def _check_kind(reading: Reading, node: yaml.Node, entries: Mapping[str, yaml.Node], where: str) -> None:
    alert, record = entries.get("alert"), entries.get("record")
    if (alert is None) == (record is None):
        which = (
            "one of 'record' or 'alert' must be set"
            if alert is None
            else "only one of 'record' and 'alert' must be set"
        )
        reading.wrong(alert or node, f"{where}: {which}")
    elif record is not None:
        name = reading.text(record, "record")
        if not name:
            reading.wrong(record, f"{where}: one of 'record' or 'alert' must be set")
        if "{" in name or "}" in name:
            reading.wrong(
                record, f"{where}: braces present in the recording rule name; should it be in expr?: {name[:200]}"
            )
        for field in _OF_ALERTS:
            if field in entries:
                reading.wrong(entries[field], f"{where}: invalid field '{field}' in recording rule")
    elif alert is not None and not reading.text(alert, "alert"):
        reading.wrong(alert, f"{where}: one of 'record' or 'alert' must be set")


def _check_query(reading: Reading, node: yaml.Node, query: str, where: str) -> None:
    if not query.strip():
        reading.wrong(node, f"{where}: field 'expr' must be set in rule")
        return
    try:
        check_expression(query)
    except BadQuery as error:
        reading.wrong(node, f"{where}: could not parse expression: {error}")


def _check_label_names(reading: Reading, node: yaml.Node | None, labels: Mapping[str, str], where: str) -> None:
    for name in labels:
        if node is not None and name in ("", "__name__"):
            reading.wrong(node, f"{where}: invalid label name: {name[:200]}")


def _check_templates(reading: Reading, node: yaml.Node | None, texts: Mapping[str, str], where: str) -> None:
    values = reading.entries(node, where)
    for name, text in texts.items():
        if problem := template_problem(text):
            reading.wrong(values[name], f'{where} "{name}": {problem}')


def _id(around: _Around, kind: str, name: str, labels: Mapping[str, str], seen: dict[str, int]) -> str:
    """The same over restarts and changes of the query; of equal ones the n-th."""
    key = "\0".join((around.source, around.name, kind, name, *(f"{one}={labels[one]}" for one in sorted(labels))))
    seen[key] = seen.get(key, 0) + 1
    return hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest()[:16]
