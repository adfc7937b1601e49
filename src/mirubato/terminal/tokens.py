"""`mirubato token create|list|revoke`: in state.db, also while a gateway runs, or through the API of another one."""

import argparse
import getpass
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from mirubato import config
from mirubato.access import ledger
from mirubato.access.ledger import Change
from mirubato.access.tokens import mint, shown, wanted_of
from mirubato.clock import now_ms
from mirubato.config import Config
from mirubato.database.state import FILE, StateStore
from mirubato.errors import BadRequest, ConfigError
from mirubato.terminal.reaching import call, prepare
from mirubato.terminal.tables import aligned

_CLOSE_S = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The three commands, each with the settings."""
    commands = parser.add_subparsers(required=True, metavar="create|list|revoke")
    create = commands.add_parser("create", help="make a token and print it, once")
    create.add_argument("--scope", action="append", required=True, metavar="SCOPE", help="ingest, read or admin")
    create.add_argument("--name", default="", help="what it is for [its scopes]")
    create.add_argument("--expires", metavar="DURATION", help="such as 90d [never]")
    create.add_argument("--rate-limit", metavar="N/min", help="requests, as in 600/min or 10/s [no limit]")
    create.add_argument(
        "--budget", action="append", default=[], metavar="N/min|N/day", help="points, as in 100k/min or 5M/day"
    )
    listing = commands.add_parser("list", help="all tokens; what they are made of is not known to anybody")
    revoke = commands.add_parser("revoke", help="end a token and its sessions")
    revoke.add_argument("which", metavar="ID|NAME")
    for command, run in ((create, _create), (listing, _list), (revoke, _revoke)):
        command.add_argument("--url", help="of a gateway elsewhere, with an admin's MIRUBATO_TOKEN [state.db here]")
        command.add_argument("--json", action="store_true", help="print JSON")
        config.add_flags(command)
        command.set_defaults(run=run)


def _settings(arguments: argparse.Namespace) -> Config:
    settings = config.load(arguments)
    if arguments.url:
        prepare(settings, arguments.url)
    return settings


@contextmanager
def _state(settings: Config) -> Iterator[StateStore]:
    state = StateStore(settings.data_dir)
    try:
        yield state
    finally:
        state.close(_CLOSE_S)


def _create(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    try:
        wanted = wanted_of(arguments.scope, arguments.name, arguments.expires, arguments.rate_limit, arguments.budget)
    except BadRequest as error:
        raise ConfigError(str(error)) from error
    if arguments.url:
        asked = {
            "scopes": sorted(wanted.scopes),
            "name": wanted.name,
            "expires": arguments.expires,
            "rate_limit": arguments.rate_limit,
            "budget": arguments.budget,
        }
        made = call("POST", f"{arguments.url.rstrip('/')}/api/tokens", asked).document
    else:
        token, text = mint(wanted, now_ms())
        with _state(settings) as state:
            change = _change("token create", f"{token.id} ({token.name})")
            state.write(lambda file: ledger.add_token(file, token, change))
        made = {"token": text, **shown(token, None)}
    if arguments.json:
        print(json.dumps(made))
        return 0
    print(made["token"])
    print(
        f"token {made['id']} ({made['name']}) may {', '.join(made['scopes'])}; it is not shown again", file=sys.stderr
    )
    return 0


def _list(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    if arguments.url:
        found = call("GET", f"{arguments.url.rstrip('/')}/api/tokens").document["tokens"]
    elif (settings.data_dir / FILE).is_file():
        with _state(settings) as state:
            last = state.read(ledger.last_used)
            found = [shown(token, last.get(token.id)) for token in state.read(ledger.tokens)]
    else:
        found = []
    if arguments.json:
        print(json.dumps(found))
    elif found:
        print(_table(found))
    else:
        print("no tokens", file=sys.stderr)
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    if arguments.url:
        call("DELETE", f"{arguments.url.rstrip('/')}/api/tokens/{quote(arguments.which, safe='')}")
        print(f"revoked {arguments.which}")
        return 0
    with _state(settings) as state:
        token = state.read(lambda file: ledger.find_token(file, arguments.which))
        change = _change("token revoke", f"{token.id} ({token.name})")
        state.write(lambda file: ledger.revoke_token(file, token, change.at_ms, change))
    print(json.dumps(shown(token, None)) if arguments.json else f"revoked {token.id} ({token.name})")
    return 0


def _change(action: str, target: str) -> Change:
    return Change(now_ms(), f"terminal:{_user()}", action, target, 0)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def _table(tokens: Sequence[Mapping[str, Any]]) -> str:
    heads = ["id", "name", "scopes", "created", "last used", "expires", "limits"]
    return aligned(heads, [_row(token) for token in tokens])


def _row(token: Mapping[str, Any]) -> list[str]:
    ends = "revoked" if token["revoked_ms"] else _day(token["expires_ms"], "never")
    limits = {
        "requests_per_minute": "requests/min",
        "points_per_minute": "points/min",
        "points_per_day": "points/day",
    }
    told = ", ".join(f"{token[name]} {unit}" for name, unit in limits.items() if token[name] is not None)
    return [
        token["id"],
        token["name"],
        ",".join(token["scopes"]),
        _day(token["created_ms"], "by a setting"),
        _day(token["last_used_ms"], "never"),
        ends,
        told or "none",
    ]


def _day(moment_ms: int | None, otherwise: str) -> str:
    return otherwise if moment_ms is None else f"{datetime.fromtimestamp(moment_ms / 1000, UTC):%Y-%m-%d %H:%M}"
