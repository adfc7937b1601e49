"""Rule files: what Prometheus takes is taken, what it refuses is refused with file and line, and the others go on."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirubato.alerts.book import RuleBook
from mirubato.alerts.checking import metric_names
from mirubato.alerts.rule_files import parse_rules
from mirubato.alerts.rules import RecordingRule, Rule
from mirubato.alerts.templates import TEMPLATES
from mirubato.database.state import StateStore
from mirubato.errors import BadField, Conflict, NotFound
from tests.alerts.promtool import promtool

MIXIN = Path(__file__).parent / "rules" / "mixin.yml"


def test_everything_that_a_file_may_say() -> None:
    text = """
groups:
  - name: g
    interval: 30s
    query_offset: 1m
    limit: 7
    labels: {team: core, severity: page}
    rules:
      - record: job:x:sum
        expr: sum by (job) (x)
        labels: {level: job}
      - alert: A
        expr: job:x:sum > 1
        for: 1h30m
        keep_firing_for: 5m
        labels: &shared
          severity: info
          on: yes
          count: 5
        annotations:
          summary: '{{ $value }}'
      - alert: B
        expr: job:x:sum > 2
        labels:
          <<: *shared
          more: x
"""
    parsed = parse_rules(text, "a.yml")
    assert parsed.problems == []
    (group,) = parsed.groups
    assert (group.name, group.source, group.interval_ms, group.limit) == ("g", "file:a.yml", 30_000, 7)
    recorded, first, second = group.rules
    assert isinstance(recorded, RecordingRule)
    assert recorded.labels == {"team": "core", "severity": "page", "level": "job"}
    assert isinstance(first, Rule)
    assert (first.for_ms, first.keep_firing_for_ms, first.limit, first.line) == (5_400_000, 300_000, 7, 12)
    assert (first.interval_ms, first.query_offset_ms, first.severity) == (30_000, 60_000, "info")
    # What YAML would take for a switch or a number is a text, as Go has it.
    assert first.labels == {"team": "core", "severity": "info", "on": "yes", "count": "5"}
    assert second.labels == {"team": "core", "severity": "info", "on": "yes", "count": "5", "more": "x"}


def test_ids_stay_while_the_query_changes() -> None:
    def ids(expr: str) -> list[str]:
        rule = f"{{alert: A, expr: '{expr}'}}"
        (group,) = parse_rules(f"groups: [{{name: g, rules: [{rule}, {rule}]}}]", "a.yml").groups
        return [one.id for one in group.rules]

    assert ids("up == 0") == ids("up == 1")
    assert len(set(ids("up"))) == 2


G = "groups:\n- name: g\n  rules:\n"
BAD = [
    ("groups: [{name: g, rules: [{alert: A}]}]", 1, "field 'expr' must be set"),
    (G + "  - alert: A\n    expr: sum(", 5, "could not parse expression"),
    (G + "  - alert: A\n    expr: up[5m]", 5, "range vector"),
    (G + "  - alert: A\n    record: b\n    expr: up", 4, "only one of 'record' and 'alert'"),
    (G + "  - expr: up", 4, "one of 'record' or 'alert' must be set"),
    (G + "  - record: 'a{b=\"c\"}'\n    expr: up", 4, "braces present"),
    (G + "  - record: a\n    expr: up\n    for: 5m", 6, "invalid field 'for' in recording rule"),
    (G + "  - record: a\n    expr: up\n    annotations: {a: b}", 6, "invalid field 'annotations'"),
    (G + "  - alert: A\n    expr: up\n    for: soon", 6, "no duration"),
    (G + "  - alert: A\n    expr: up\n    fro: 5m", 6, "no field 'fro'"),
    (G + "  - alert: A\n    expr: up\n    labels: {__name__: x}", 6, "invalid label name"),
    (G + "  - alert: A\n    expr: up\n    labels:\n      a: '{{ nope }}'", 7, 'function "nope" not defined'),
    (G + "  - alert: A\n    expr: up\n    annotations:\n      a: '{{ $x }}'", 7, 'undefined variable "$x"'),
    ("groups:\n- name: g\n  rules: []\n- name: g\n  rules: []", 4, "is repeated in the same file"),
    ("groups:\n- rules: []", 2, "Groupname must not be empty"),
    ("groups:\n- name: g\n  interval: 5\n  rules: []", 3, "no duration"),
    ("groups:\n- name: g\n  limit: many\n  rules: []", 3, "limit"),
    ("groups:\n- name: g\n  name: h\n  rules: []", 3, "stands twice"),
    ("group:\n- name: g", 1, "no field 'group'"),
    ("groups: 5", 1, "must be a list"),
    ("groups:\n  - name: [a\n", 3, "no YAML"),
    ("\tgroups: []", 1, "no YAML"),
]


@pytest.mark.parametrize(("text", "line", "says"), BAD)
def test_a_mistake_has_its_line(text: str, line: int, says: str) -> None:
    parsed = parse_rules(text, "dir/a.yml")
    assert [problem.line for problem in parsed.problems] == [line]
    assert says in str(parsed.problems[0])
    assert str(parsed.problems[0]).startswith(f"dir/a.yml:{line}:")
    assert sum(len(group.rules) for group in parsed.groups) == 0


@pytest.mark.parametrize("text", [text for text, _, says in BAD if "range vector" not in says])
def test_promtool_refuses_the_same(tmp_path: Path, text: str) -> None:
    """But for range vectors, which it finds only when it evaluates."""
    path = tmp_path / "a.yml"
    path.write_text(text, encoding="utf-8")
    assert promtool("check", "rules", "--lint=none", str(path))[0] == 1


def test_promtool_takes_the_mixin_and_so_do_we() -> None:
    assert promtool("check", "rules", "--lint=none", str(MIXIN))[0] == 0
    parsed = parse_rules(MIXIN.read_text(encoding="utf-8"), str(MIXIN))
    assert (parsed.problems, sum(len(group.rules) for group in parsed.groups)) == ([], 7)


def test_a_prometheus_rule_of_kubernetes_is_read_too() -> None:
    text = "apiVersion: v1\nkind: PrometheusRule\nspec: {groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]}"
    assert [rule.name for group in parse_rules(text, "k.yml").groups for rule in group.rules] == ["A"]


def test_the_others_go_on() -> None:
    text = "groups: [{name: g, rules: [{alert: Bad, expr: 'sum('}, {alert: Good, expr: up == 0}]}]"
    parsed = parse_rules(text, "a.yml")
    assert len(parsed.problems) == 1
    assert [rule.name for rule in parsed.groups[0].rules] == ["Good"]


def recording(*rules: tuple[str, str]) -> str:
    """A file of recording rules."""
    lines = [f"      - {{record: '{name}', expr: '{expr}'}}" for name, expr in rules]
    return "\n".join(["groups:", "  - name: g", "    rules:", *lines])


@pytest.mark.parametrize(
    ("rules", "cyclic"),
    [
        ([("a", "b + 1"), ("b", "a * 2"), ("c", "b"), ("d", "up")], {"a", "b"}),
        ([("a", "sum(a)")], {"a"}),
        ([("a", 'sum({__name__=~"a|b"})'), ("b", "up")], {"a"}),
        ([("a", "rate(b[5m])"), ("b", "max_over_time(c[1h:1m])"), ("c", "a")], {"a", "b", "c"}),
        ([("a", "a offset 1m + 1"), ("b", "a")], set()),
        ([("a", "b"), ("b", "up")], set()),
    ],
)
def test_recording_rules_that_feed_themselves_do_not_run(rules: list[tuple[str, str]], cyclic: set[str]) -> None:
    parsed = parse_rules(recording(*rules), "a.yml")
    kept = {rule.name for group in parsed.groups for rule in group.rules}
    assert kept == {name for name, _ in rules} - cyclic
    assert len(parsed.problems) == len(cyclic)
    assert all("feed themselves" in str(problem) for problem in parsed.problems)
    assert {problem.line - 4 for problem in parsed.problems} == {
        at for at, (name, _) in enumerate(rules) if name in cyclic
    }


def test_a_selector_that_cannot_find_what_is_recorded_makes_no_cycle() -> None:
    text = "groups: [{name: g, rules: [{record: a, expr: 'sum(a{level=\"x\"})', labels: {level: y}}]}]"
    assert parse_rules(text, "a.yml").problems == []


def test_the_metrics_of_an_expression() -> None:
    text = 'sum(a) / on(x) rate(b[5m]) > topk(scalar(c), {__name__="d"}) or {x="y"} or -a'
    assert sorted(metric_names(text)) == ["a", "b", "c", "d"]


@settings(deadline=None)
@given(st.integers(0, 3000), st.integers(0, 200), st.text(max_size=20))
def test_a_file_with_a_hole_in_it_is_told_and_never_raises(at: int, gone: int, instead: str) -> None:
    text = MIXIN.read_text(encoding="utf-8")
    parsed = parse_rules(text[:at] + instead + text[at + gone :], "a.yml")
    assert all(problem.line > 0 for problem in parsed.problems)


# --- the book ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> object:
    store = StateStore(tmp_path / "data")
    yield store
    store.close(5)


RULE = {"name": "R", "metric": "error_rate", "condition": "greater_than", "threshold": 0.1}


def test_rules_of_the_api_outlive_a_restart(state: StateStore) -> None:
    book = RuleBook(state, [])
    entry = book.add(RULE | {"notification_channels": ["slack", "tgram://secret/1"]}, 1_000)
    before = book.revision
    shown = {**entry.body, "threshold": 0.2, "notification_channels": ["slack", "tgram://***"]}
    book.replace(entry.rule.id, shown, 2_000)
    assert book.revision > before
    (again,) = RuleBook(state, []).entries()
    assert (again.rule.threshold, again.rule.channels) == (0.2, ("slack", "tgram://secret/1"))
    assert (again.created_ms, again.updated_ms) == (1_000, 2_000)
    book.remove(entry.rule.id)
    assert RuleBook(state, []).entries() == []
    with pytest.raises(NotFound):
        book.rule(entry.rule.id)
    with pytest.raises(NotFound):
        book.remove(entry.rule.id)


def test_a_rule_that_is_refused_changes_nothing(state: StateStore) -> None:
    book = RuleBook(state, [])
    entry = book.add(RULE, 1_000)
    with pytest.raises(BadField):
        book.replace(entry.rule.id, RULE | {"threshold": 7}, 2_000)
    assert book.entry(entry.rule.id).rule.threshold == 0.1


def test_a_row_that_is_no_rule_any_more_hurts_no_other(state: StateStore, caplog: pytest.LogCaptureFixture) -> None:
    RuleBook(state, []).add(RULE, 1_000)
    state.write(lambda db: db.execute("INSERT INTO rule VALUES ('x', '{\"name\": 5}', 0, 0), ('y', 'no JSON', 0, 0)"))
    assert len(RuleBook(state, []).entries()) == 1
    assert "rule x does not run" in caplog.text


def test_files_are_read_again_when_they_change(state: StateStore, tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    write(file, "groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]", 1)
    book = RuleBook(state, [str(tmp_path / "*.yml")])
    assert names(book) == ["A"]
    assert not book.refresh()
    write(file, "groups: [{name: g, rules: [{alert: B, expr: up == 0}]}]", 2)
    assert book.refresh()
    assert names(book) == ["B"]
    write(file, "groups: [{name: g, ru", 3)
    assert book.refresh()
    assert names(book) == ["B"], "a file in the middle of being written stays what it was"
    assert [problem.line for problem in book.problems()] == [1]
    write(tmp_path / "b.yml", "groups: [{name: g, rules: [{alert: C, expr: 'sum('}, {alert: D, expr: up}]}]", 4)
    assert book.refresh()
    assert names(book) == ["B", "D"]
    file.unlink()
    assert book.refresh()
    assert names(book) == ["D"]


def test_rules_that_come_at_once_are_all_kept(state: StateStore) -> None:
    book = RuleBook(state, [])
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: book.add(RULE | {"name": f"r{number}"}, number), range(40)))
        list(pool.map(lambda entry: book.change(entry.rule.id, {"threshold": 0.3}, 99), made))
        list(pool.map(lambda entry: book.remove(entry.rule.id), made[:10]))
    again = RuleBook(state, []).entries()
    assert again == book.entries()
    assert [(entry.rule.name, entry.rule.threshold) for entry in again] == [
        (f"r{number}", 0.3) for number in range(10, 40)
    ]


def write(path: Path, text: str, second: int) -> None:
    """With a time of its own, as files have that people write."""
    path.write_text(text, encoding="utf-8")
    os.utime(path, (second, second))


def names(book: RuleBook) -> list[str]:
    return [rule.name for group in book.groups() for rule in group.rules]


def test_a_cycle_through_two_files_is_found(state: StateStore, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(recording(("a", "b")), encoding="utf-8")
    (tmp_path / "b.yml").write_text(recording(("b", "a"), ("c", "up")), encoding="utf-8")
    book = RuleBook(state, [str(tmp_path / "*.yml")])
    assert names(book) == ["c"]
    assert sorted(Path(problem.file).name for problem in book.problems()) == ["a.yml", "b.yml"]


def test_rules_of_files_are_changed_in_their_files(state: StateStore, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]", encoding="utf-8")
    book = RuleBook(state, [str(tmp_path / "a.yml")])
    (rule,) = (rule for group in book.groups() for rule in group.rules)
    with pytest.raises(Conflict, match=r"a\.yml: change it there"):
        book.replace(rule.id, RULE, 0)
    with pytest.raises(Conflict):
        book.remove(rule.id)


def test_templates_wait_until_somebody_wants_them(state: StateStore) -> None:
    book = RuleBook(state, [])
    assert book.groups() == []
    assert {entry.rule.id for entry in book.templates()} == set(TEMPLATES)
    assert not any(entry.rule.enabled for entry in book.templates())
    book.replace("template-high-p95", {**TEMPLATES["template-high-p95"], "enabled": True}, 1_000)
    assert names(book) == ["HighResponseTime"]
    assert "template-high-p95" not in {entry.rule.id for entry in book.templates()}
    book.remove("template-high-p95")
    assert (names(book), len(book.templates())) == ([], len(TEMPLATES))


def test_rules_of_one_interval_are_one_group(state: StateStore) -> None:
    book = RuleBook(state, [])
    for change in ({}, {"interval": "1m"}, {"group": "other"}, {"enabled": False}):
        book.add(RULE | change, 1_000)
    assert {(group.name, group.interval_ms, len(group.rules)) for group in book.groups()} == {
        ("api", 0, 1),
        ("api (1m)", 60_000, 1),
        ("other", 0, 1),
    }
