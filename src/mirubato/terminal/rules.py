"""`mirubato rules check|test|backtest` and `mirubato alerts`. Status 1 where something is wrong, with file and line."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mirubato import config
from mirubato.alerts.checking import cycles
from mirubato.alerts.rule_files import parse_rules
from mirubato.alerts.rule_tests import run_tests
from mirubato.alerts.rules import Group, Rule
from mirubato.alerts.yaml_nodes import Problem
from mirubato.errors import BadRequest
from mirubato.promql.literals import duration_text
from mirubato.terminal.reaching import call

UrlOf = Callable[[argparse.Namespace], str]
"""Where the gateway of some arguments is."""


def add_rules_arguments(parser: argparse.ArgumentParser, url_of: UrlOf) -> None:
    """The commands of `rules`."""
    commands = parser.add_subparsers(required=True, metavar="check|test|backtest")
    check = commands.add_parser("check", help="are Prometheus rule files right?")
    check.set_defaults(run=_check)
    test = commands.add_parser("test", help="run promtool's unit tests of rules")
    test.set_defaults(run=_test)
    for command in (check, test):
        command.add_argument("files", nargs="+", metavar="FILE")
        command.add_argument("--json", action="store_true", help="print JSON")
    back = commands.add_parser("backtest", help="how often would rules have fired?")
    back.add_argument("rule", metavar="ID|FILE", help="a rule of the gateway, its JSON, or a Prometheus rule file")
    back.add_argument("--range", default="7d", help="how far back [%(default)s]")
    _add_gateway(back)
    back.set_defaults(run=lambda arguments: _backtest(arguments, url_of(arguments)))


def add_alerts_arguments(parser: argparse.ArgumentParser, url_of: UrlOf) -> None:
    """What `alerts` may show."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--rules", action="store_true", help="all rules and how they are, not only what fires")
    what.add_argument("--history", metavar="DURATION", help="what has changed in so much time")
    what.add_argument("--noise", action="store_true", help="the loudest rules of the week, and what would quiet them")
    _add_gateway(parser)
    parser.set_defaults(run=lambda arguments: _alerts(arguments, url_of(arguments)))


def _add_gateway(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="of the gateway [the one of data_dir]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    config.add_flags(parser)


# --- files ------------------------------------------------------------------------------------------------------------


def _check(arguments: argparse.Namespace) -> int:
    problems: list[Problem] = []
    groups: list[Group] = []
    for name in arguments.files:
        found, wrong = _parsed(name)
        groups += found
        problems += wrong
    problems += _across_files(groups, problems)
    rules = sum(len(group.rules) for group in groups)
    return _told(arguments, problems, {"rules": rules}, f"{rules} rules found, all are right")


def _parsed(name: str) -> tuple[Sequence[Group], Sequence[Problem]]:
    try:
        parsed = parse_rules(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        return [], [Problem(name, 1, 1, str(error))]
    return parsed.groups, parsed.problems


def _across_files(groups: Sequence[Group], known: Sequence[Problem]) -> list[Problem]:
    """Recording rules that feed themselves by way of other files."""
    found = cycles(groups)
    wrong = [
        Problem(rule.source.removeprefix("file:"), rule.line, 1, found[rule.id])
        for group in groups
        for rule in group.rules
        if rule.id in found
    ]
    return [problem for problem in wrong if problem not in known]


def _test(arguments: argparse.Namespace) -> int:
    problems: list[Problem] = []
    count = 0
    for name in arguments.files:
        tests, wrong = run_tests(name)
        count += tests
        problems += wrong
    return _told(arguments, problems, {"tests": count}, f"{count} tests passed")


def _told(arguments: argparse.Namespace, problems: Sequence[Problem], counts: Mapping[str, int], good: str) -> int:
    if arguments.json:
        print(json.dumps({**counts, "problems": [problem._asdict() for problem in problems]}))
    elif problems:
        print("\n".join(map(str, problems)), file=sys.stderr)
    else:
        print(good)
    return 1 if problems else 0


# --- a running gateway ------------------------------------------------------------------------------------------------


def _backtest(arguments: argparse.Namespace, url: str) -> int:
    found = []
    for body in _bodies(arguments.rule):
        answer = call("POST", f"{url.rstrip('/')}/api/alerts/backtest", {**body, "range": arguments.range}).document
        found.append(answer)
        if not arguments.json:
            print(f"{answer['name']}: {answer['sentence']}")
    if arguments.json:
        print(json.dumps(found))
    return 0


def _bodies(text: str) -> list[dict[str, Any]]:
    """What to try: the id of a rule, JSON of one, or every alert rule of a rule file."""
    path = Path(text)
    if not path.is_file():
        return [{"id": text}]
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        try:
            return [{"rule": json.loads(content)}]
        except ValueError as error:
            raise BadRequest(f"{text}: {error}") from error
    parsed = parse_rules(content, text)
    if parsed.problems:
        raise BadRequest("\n".join(map(str, parsed.problems)))
    rules = [rule for group in parsed.groups for rule in group.rules if isinstance(rule, Rule)]
    return [{"rule": _as_json(rule)} for rule in rules]


def _as_json(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "expr": rule.query,
        "for": duration_text(rule.for_ms),
        "keep_firing_for": duration_text(rule.keep_firing_for_ms),
    }


def _alerts(arguments: argparse.Namespace, url: str) -> int:
    base = f"{url.rstrip('/')}/api/alerts"
    if arguments.history:
        return _shown(
            arguments, call("GET", f"{base}/history?{urlencode({'start': arguments.history})}").document, _history
        )
    if arguments.noise:
        return _shown(arguments, call("GET", f"{base}/noise").document, _noise)
    return _shown(arguments, call("GET", base).document, _rules if arguments.rules else _active)


def _shown(arguments: argparse.Namespace, answer: Any, lines: Callable[[Any], Sequence[str]]) -> int:
    print(json.dumps(answer) if arguments.json else "\n".join(lines(answer)))
    return 0


def _active(answer: Any) -> Sequence[str]:
    alerts = sorted(answer["alerts"], key=lambda alert: (alert["state"], alert["active_since"]))
    wrong = [f"{one['file']}:{one['line']}:{one['column']}: {one['message']}" for one in answer["problems"]]
    return [*wrong, *(_alert(one) for one in alerts)] or ["nothing fires"]


def _alert(alert: Mapping[str, Any]) -> str:
    labels = dict(alert["labels"])
    name = labels.pop("alertname", "")
    quiet = "  (silenced)" if alert["silenced_by"] else "  (acknowledged)" if alert["acknowledged_by"] else ""
    return f"{alert['state']:<8} {name}{_labels(labels)}  {alert['value']}  since {alert['active_since']}{quiet}"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


def _rules(answer: Any) -> Sequence[str]:
    rules = [
        f"{one.get('state', 'recorded'):<8} {one['health']:<7} {one['id']}  {one['name']}  ({one['source']})"
        + (f"  {one['last_error']}" if one.get("last_error") else "")
        for one in answer["rules"]
    ]
    return rules or ["no rules: POST /api/alerts makes one, MIRUBATO_RULE_FILES names files of them"]


def _history(answer: Any) -> Sequence[str]:
    lines = []
    for one in answer["history"]:
        labels = {name: value for name, value in one["labels"].items() if name != "alertname"}
        lines.append(f"{one['time']}  {one['from']} -> {one['to']}  {one['rule']}{_labels(labels)}  {one['value']}")
    return lines or ["nothing has changed"]


def _noise(answer: Any) -> Sequence[str]:
    lines = [answer["sentence"]]
    for one in answer["rules"]:
        short = f", {one['under_5_minutes']} of them for under 5 minutes" if one["under_5_minutes"] else ""
        lines.append(f"{one['messages']:>6} messages  {one['name']}: fired {one['fired']} times{short}")
        if one["edit"]:
            change = ", ".join(f"{key}: {value}" for key, value in one["edit"].items() if key != "why")
            lines.append(f"{'':>6} try {change}: {one['edit']['why']}")
    return lines
