"""`mirubato doctor`: looks at everything that keeps a gateway from working, and says what to do about it."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from mirubato import config
from mirubato.access.redaction import Redactor
from mirubato.checkups.elsewhere import check_gateway
from mirubato.checkups.finding import OK, PROBLEM, Finding, problem
from mirubato.checkups.here import check_ports
from mirubato.checkups.rounds import check_elsewhere, check_here
from mirubato.clock import now_ms
from mirubato.config import Config
from mirubato.errors import ConfigError

_MARKS = {OK: "ok  ", PROBLEM: "FAIL"}
_GATEWAY_FILE = "gateway.json"

Url = Callable[[argparse.Namespace], str]
"""Where the gateway of these arguments is, and what is asked there carries the token."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `mirubato doctor`."""
    parser.add_argument("--url", help="of a gateway elsewhere [the one of data_dir]")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    config.add_flags(parser)


def run(arguments: argparse.Namespace, url: Url) -> int:
    """Status 1 if there is a problem; warnings are none."""
    try:
        settings = config.load(arguments)
    except ConfigError as error:
        return _told([problem("settings", str(error), "correct this setting; docs/SETTINGS.md has all")], arguments)
    redactor = Redactor(config.secrets_of(settings))
    found = [
        Finding(one.check, one.status, redactor.clean(one.message), one.fix)
        for one in _findings(settings, arguments, url)
    ]
    return _told(found, arguments)


def _findings(settings: Config, arguments: argparse.Namespace, url: Url) -> Iterator[Finding]:
    now = now_ms()
    yield from check_here(settings, now)
    if arguments.url or (settings.data_dir / _GATEWAY_FILE).is_file():
        yield from check_gateway(url(arguments).rstrip("/"))
    else:
        yield from check_ports(settings)
    yield from check_elsewhere(settings, now)


def _told(found: Sequence[Finding], arguments: argparse.Namespace) -> int:
    problems = sum(one.status == PROBLEM for one in found)
    if arguments.json:
        print(json.dumps({"ok": not problems, "findings": [asdict(one) for one in found]}))
        return 1 if problems else 0
    for one in found:
        print(f"{_MARKS.get(one.status, 'warn')}  {one.check:<10}  {one.message}")
        if one.fix:
            print(f"{'':18}-> {one.fix}")
    print(f"{problems} problem{'' if problems == 1 else 's'} found" if problems else "nothing is wrong")
    return 1 if problems else 0
