"""`mirubato query`: one expression, now or over a range."""

import argparse
import json
import os
import shutil
import sys
from datetime import datetime

from mirubato.clock import now_ms
from mirubato.config import parse_duration
from mirubato.errors import BadQuery
from mirubato.terminal.asking import Reply, ask
from mirubato.terminal.plots import SERIES_MAX, Frame, plot
from mirubato.terminal.tables import listing, table

# Two points for each column of a terminal of the usual width.
_POINTS_DEFAULT = 160


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may be said of the question; where to ask is the caller's."""
    parser.add_argument("expression", metavar="EXPR", help="PromQL")
    parser.add_argument("--time", type=_time_s, metavar="T", help="Unix seconds or RFC 3339 [now]")
    parser.add_argument("--range", type=_duration_s, metavar="DURATION", help="plot so much before --time, as in 1h")
    parser.add_argument("--step", type=_duration_s, metavar="DURATION", help=f"[range / {_POINTS_DEFAULT}]")
    parser.add_argument("--json", action="store_true", help="print the data of the answer")


def _duration_s(text: str) -> float:
    try:
        duration = parse_duration(text) / 1000
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not duration:
        raise argparse.ArgumentTypeError("must be greater than 0")
    return duration


def _time_s(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no time") from error


def run(arguments: argparse.Namespace, url: str) -> int:
    """Ask and print: 0; 2 for an expression that is none. QueryError and OSError are the caller's."""
    at = now_ms() / 1000 if arguments.time is None else arguments.time
    if arguments.step and not arguments.range:
        print("mirubato: --step needs --range", file=sys.stderr)
        return 2
    try:
        print_ = _range if arguments.range else _instant
        print_(arguments, url, at)
    except BadQuery as error:
        print(f"mirubato: {error}", file=sys.stderr)
        return 2
    return 0


def _instant(arguments: argparse.Namespace, url: str, at: float) -> None:
    reply = ask(url, "query", {"query": arguments.expression, "time": f"{at:.3f}"})
    _tell(reply)
    kind, result = reply.data["resultType"], reply.data["result"]
    if arguments.json:
        print(json.dumps(reply.data, ensure_ascii=False))
    elif kind in ("scalar", "string"):
        print(result[1])
    elif result:
        print(table(result) if kind == "vector" else listing(result))
    else:
        _nothing()


def _range(arguments: argparse.Namespace, url: str, at: float) -> None:
    step = arguments.step or max(1.0, arguments.range // _POINTS_DEFAULT)
    start = at - arguments.range // step * step  # so that the last step is the end
    times = {"start": f"{start:.3f}", "end": f"{at:.3f}", "step": f"{step:.3f}"}
    reply = ask(url, "query_range", {"query": arguments.expression, **times})
    _tell(reply)
    result = reply.data["result"]
    if arguments.json:
        print(json.dumps(reply.data, ensure_ascii=False))
        return
    if not result:
        _nothing()
        return
    columns = shutil.get_terminal_size((100, 24)).columns
    colors = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(plot(result, Frame(start, at, step, columns, colors)))
    if len(result) > SERIES_MAX:
        print(f"{len(result) - SERIES_MAX} more series are not shown: topk({SERIES_MAX}, ...)", file=sys.stderr)


def _tell(reply: Reply) -> None:
    for note in reply.notes:
        print(f"mirubato: {note}", file=sys.stderr)


def _nothing() -> None:
    print("mirubato: no series", file=sys.stderr)
