"""The command line: arguments -> config -> run. Exit status 0, 1 (found a problem), 2 (bad usage)."""

import argparse
import json
import logging
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mirubato import config, gateway
from mirubato.demo import command as demo_command
from mirubato.errors import ConfigError, MirubatoError

_HEALTH_TIMEOUT_S = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; answers the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["demo"]:
        return demo_command.main(arguments[1:])
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return run(parsed)
    except ConfigError as error:
        print(f"mirubato: {error}", file=sys.stderr)
        return 2
    except (MirubatoError, OSError) as error:
        print(f"mirubato: {error}", file=sys.stderr)
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

    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    return parser


def _gateway(arguments: argparse.Namespace) -> int:
    gateway.run(config.load(arguments))
    return 0


def _health(arguments: argparse.Namespace) -> int:
    """Status 0 if the gateway of this data directory says it can store."""
    settings = config.load(arguments)
    where = config.address(settings.host, _web_port(settings))
    try:
        answer = _fetched_health(where)
        status = answer["status"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"no gateway answers at {where}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer) if arguments.json else status)
    return 0 if status == "ok" else 1


def _fetched_health(where: str) -> Any:
    """The JSON of /api/health, whatever the status."""
    try:
        with urllib.request.urlopen(f"http://{where}/api/health", timeout=_HEALTH_TIMEOUT_S) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def _web_port(settings: config.Config) -> int:
    """The port in use, which a gateway on free ports writes down."""
    if settings.web_port:
        return settings.web_port
    file = Path(settings.data_dir) / "gateway.json"
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["web_port"])
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"web_port is 0 and {file} does not tell the real one: {error}") from error


def _version(_: argparse.Namespace) -> int:
    print(gateway.VERSION)
    return 0
