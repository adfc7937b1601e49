"""`mirubato silence add|list|expire`: through the API of a running gateway."""

import argparse
import getpass
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from mirubato import config
from mirubato.terminal.reaching import call

UrlOf = Callable[[argparse.Namespace], str]
"""Where the gateway of some arguments is."""


def add_arguments(parser: argparse.ArgumentParser, url_of: UrlOf) -> None:
    """The three commands, each with the settings."""
    commands = parser.add_subparsers(required=True, metavar="add|list|expire")
    add = commands.add_parser("add", help="hold messages back for a while")
    add.add_argument(
        "matchers", nargs="+", metavar="MATCHER", help="such as service_name=api or 'severity=~\"warn.*\"'"
    )
    add.add_argument("--duration", default="2h", help="for how long [%(default)s]")
    add.add_argument("--start", metavar="TIME", help="RFC 3339 [now]")
    add.add_argument("--end", metavar="TIME", help="RFC 3339, instead of a duration")
    add.add_argument("--author", default=getpass.getuser(), help="[%(default)s]")
    add.add_argument("--comment", default="", help="why")
    listing = commands.add_parser("list", help="those that hold, will hold, or ended in the last week")
    expire = commands.add_parser("expire", help="end one now")
    expire.add_argument("id", metavar="ID")
    for command, run in ((add, _add), (listing, _list), (expire, _expire)):
        command.add_argument("--url", help="of the gateway [the one of data_dir]")
        command.add_argument("--json", action="store_true", help="print JSON")
        config.add_flags(command)
        command.set_defaults(run=_at(run, url_of))


def _at(run: Callable[[argparse.Namespace, str], int], url_of: UrlOf) -> Callable[[argparse.Namespace], int]:
    return lambda arguments: run(arguments, f"{url_of(arguments).rstrip('/')}/api/silences")


def _add(arguments: argparse.Namespace, url: str) -> int:
    body: dict[str, Any] = {
        "matchers": arguments.matchers,
        "createdBy": arguments.author,
        "comment": arguments.comment,
        **({"startsAt": arguments.start} if arguments.start else {}),
        **({"endsAt": arguments.end} if arguments.end else {"duration": arguments.duration}),
    }
    made = call("POST", url, body).document
    print(json.dumps(made) if arguments.json else f"{made['id']}, until {made['endsAt']}, holds {made['holds_count']}")
    return 0


def _list(arguments: argparse.Namespace, url: str) -> int:
    silences = call("GET", url).document["silences"]
    if arguments.json:
        print(json.dumps(silences))
        return 0
    for one in silences:
        print("  ".join((one["id"], one["status"]["state"], one["endsAt"], _matchers(one), _why(one))))
    if not silences:
        print("no silences")
    return 0


def _matchers(silence: Mapping[str, Any]) -> str:
    signs = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}
    return ",".join(
        f"{one['name']}{signs[one['isRegex'], one['isEqual']]}{json.dumps(one['value'])}" for one in silence["matchers"]
    )


def _why(silence: Mapping[str, Any]) -> str:
    return f"{silence['createdBy']}: {silence['comment']}" if silence["comment"] else str(silence["createdBy"])


def _expire(arguments: argparse.Namespace, url: str) -> int:
    call("DELETE", f"{url}/{quote(arguments.id, safe='')}")
    print(json.dumps({"expired": arguments.id}) if arguments.json else f"{arguments.id} has ended")
    return 0
