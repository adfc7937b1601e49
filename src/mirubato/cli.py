"""The command line: arguments -> config -> run. Exit status 0, 1 (found a problem), 2 (bad usage)."""

import argparse
import json
import logging
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mirubato import config
from mirubato.access import redaction
from mirubato.analytics_engine.http_writer import DEFAULT_DATASET
from mirubato.analytics_engine.layout import default_layout, drift, load_layout
from mirubato.analytics_engine.sql import question, statement
from mirubato.demo import command as demo_command
from mirubato.errors import ConfigError, MirubatoError
from mirubato.gateway import serving
from mirubato.gateway.composer import VERSION
from mirubato.gateway.ground import lock
from mirubato.terminal import backup as backup_command
from mirubato.terminal import command as query_command
from mirubato.terminal import costs as costs_command
from mirubato.terminal import doctor as doctor_command
from mirubato.terminal import migrate as migrate_command
from mirubato.terminal import notifying as notify_command
from mirubato.terminal import rules as rules_command
from mirubato.terminal import silences as silence_command
from mirubato.terminal import tokens as token_command
from mirubato.terminal.reaching import base_url, prepare

_HEALTH_TIMEOUT_S = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; answers the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["demo"]:
        return demo_command.main(arguments[1:])
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    redactor = redaction.install(config.secrets_in(os.environ))
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return run(parsed)
    except ConfigError as error:
        print(redactor.clean(f"mirubato: {error}"), file=sys.stderr)
        return 2
    except (MirubatoError, OSError) as error:
        print(redactor.clean(f"mirubato: {error}"), file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mirubato", description="Monitoring for small teams.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("gateway", help="receive OTLP, store it, answer queries", allow_abbrev=False)
    config.add_flags(serve)
    serve.set_defaults(run=_gateway)

    commands.add_parser("demo", help="the gateway and a small shop of instrumented services", add_help=False)

    health = commands.add_parser("health", help="ask a running gateway how it is")
    config.add_flags(health)
    health.add_argument("--json", action="store_true", help="print the whole answer")
    health.set_defaults(run=_health)

    query = commands.add_parser("query", help="ask a running gateway in PromQL: a table, or a plot of a range")
    query_command.add_arguments(query)
    query.add_argument("--url", help="of the gateway [the one of data_dir]; with a path, of any Prometheus API")
    config.add_flags(query)
    query.set_defaults(run=_query)

    rules_command.add_rules_arguments(
        commands.add_parser("rules", help="check, test and try out alert rules"), _given_url
    )
    rules_command.add_alerts_arguments(commands.add_parser("alerts", help="what fires"), _given_url)

    silence_command.add_arguments(commands.add_parser("silence", help="hold messages of alerts back"), _given_url)
    notify_command.add_arguments(commands.add_parser("notify", help="try a channel of alerts"))

    token_command.add_arguments(commands.add_parser("token", help="who may send, ask or change"))

    migrate = commands.add_parser(
        "migrate", help="bring a relational schema to this version: state.db, or a D1 database"
    )
    migrate_command.add_arguments(migrate)
    config.add_flags(migrate)
    migrate.set_defaults(run=lambda arguments: migrate_command.run(arguments, config.load(arguments)))

    doctor = commands.add_parser("doctor", help="look for what keeps a gateway from working, and say the fix")
    doctor_command.add_arguments(doctor)
    doctor.set_defaults(run=lambda arguments: doctor_command.run(arguments, _given_url))

    backing_up = commands.add_parser("backup", help="copy all data to a directory or an S3 store, while it is in use")
    backup_command.add_backup_arguments(backing_up)
    backing_up.set_defaults(run=_backup)

    restoring = commands.add_parser("restore", help="bring a backup into an empty data directory")
    backup_command.add_restore_arguments(restoring)
    restoring.set_defaults(run=_restore)

    costs = commands.add_parser("costs", help="what it costs, what it will cost, what to change")
    costs_command.add_arguments(costs)
    costs.set_defaults(run=_costs)

    layout = commands.add_parser("layout", help="of Analytics Engine's blobs").add_subparsers(required=True)
    check = layout.add_parser("check", help="is a layout usable, and do its positions still mean what they did?")
    check.add_argument("files", nargs="+", type=Path, metavar="FILE", help="versions of a layout, oldest first")
    check.set_defaults(run=_layout_check)

    sql = commands.add_parser("sql", help="print Analytics Engine SQL, weighted for sampling")
    sql.add_argument("question", help="such as: error rate by http.route, last 1h")
    sql.add_argument("--layout", type=Path, metavar="FILE", help="[the one in the package]")
    sql.add_argument("--dataset", default=DEFAULT_DATASET, help="[%(default)s]")
    sql.set_defaults(run=_sql)

    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    return parser


def _gateway(arguments: argparse.Namespace) -> int:
    settings = config.load(arguments)
    redaction.install(config.secrets_of(settings))
    serving.run(settings)
    return 0


def _health(arguments: argparse.Namespace) -> int:
    """Status 0 if the gateway of this data directory says it can store."""
    settings = config.load(arguments)
    where = _url(settings, arguments)
    try:
        answer = _fetched_health(where)
        status = answer["status"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"no gateway answers at {where.partition('//')[2]}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer) if arguments.json else status)
    return 0 if status == "ok" else 1


def _fetched_health(where: str) -> Any:
    """The JSON of /api/health, whatever the status."""
    try:
        with urllib.request.urlopen(f"{where}/api/health", timeout=_HEALTH_TIMEOUT_S) as reply:  # noqa: S310
            return json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def _query(arguments: argparse.Namespace) -> int:
    settings = config.load(arguments)
    if arguments.url:
        prepare(settings, arguments.url)
    return query_command.run(arguments, arguments.url or _url(settings, arguments))


def _given_url(arguments: argparse.Namespace) -> str:
    """The --url of a command, or the gateway of its settings."""
    settings = config.load(arguments)
    if not arguments.url:
        return _url(settings, arguments)
    prepare(settings, arguments.url)
    return str(arguments.url)


def _costs(arguments: argparse.Namespace) -> int:
    settings = config.load(arguments)
    if arguments.url:
        prepare(settings, arguments.url)
    return costs_command.run(arguments, settings, lambda: (arguments.url or _url(settings, arguments)).rstrip("/"))


def _url(settings: config.Config, arguments: argparse.Namespace) -> str:
    """Of the gateway of these settings; what is asked there carries the token."""
    url = base_url(settings, _web_port(settings, arguments))
    prepare(settings, url)
    return url


def _web_port(settings: config.Config, arguments: argparse.Namespace) -> int:
    """The port in use: what the flag says, what a running gateway has written down, or the setting."""
    if settings.web_port and arguments.web_port is not None:
        return settings.web_port
    file = Path(settings.data_dir) / "gateway.json"
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["web_port"])
    except (OSError, ValueError, KeyError) as error:
        if settings.web_port:
            return settings.web_port
        raise ConfigError(f"web_port is 0 and {file} does not tell the real one: {error}") from error


def _backup(arguments: argparse.Namespace) -> int:
    return backup_command.backup(arguments, config.load(arguments), VERSION)


def _restore(arguments: argparse.Namespace) -> int:
    """The lock keeps gateways away."""
    settings = config.load(arguments)
    with lock(settings.data_dir):
        return backup_command.restore(arguments, settings)


def _layout_check(arguments: argparse.Namespace) -> int:
    """Status 1 if something drifted between two of the files."""
    layouts = [load_layout(file) for file in arguments.files]
    found = [sentence for old, new in pairwise(layouts) for sentence in drift(old, new)]
    print("\n".join(found) or f"{layouts[-1].tag}: no drift")
    return 1 if found else 0


def _sql(arguments: argparse.Namespace) -> int:
    layout = load_layout(arguments.layout) if arguments.layout else default_layout()
    print(statement(question(arguments.question), layout, arguments.dataset))
    return 0


def _version(_: argparse.Namespace) -> int:
    print(VERSION)
    return 0
