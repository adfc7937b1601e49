"""`mirubato costs`: what it costs, what it will cost, what to change; prices, budgets, reports."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import urlencode

from mirubato import config
from mirubato.config import Config
from mirubato.costs.prices import PLANS, PriceRow, load, row_json
from mirubato.errors import ConfigError
from mirubato.terminal.reaching import call
from mirubato.terminal.tables import aligned

_SHOWN = 10

Url = Callable[[], str]
"""The address of the gateway, found out only by what asks one."""

Ask = Callable[[argparse.Namespace, Config, Url], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The costs themselves, and the commands below them; each takes the settings."""
    _common(parser)
    parser.add_argument("--month", metavar="YYYY-MM", help="the billing period that begins in it [the current]")
    parser.set_defaults(ask=_show)
    commands = parser.add_subparsers(metavar="prices|what-if|budgets|report|reports")

    def command(name: str, ask: Ask, help_: str) -> argparse.ArgumentParser:
        # What is not said here stays as it was said before the name of the command.
        made = commands.add_parser(name, help=help_, argument_default=argparse.SUPPRESS)
        _common(made)
        made.set_defaults(ask=ask)
        return made

    prices = command("prices", _prices, "the price table, with sources and dates; needs no gateway")
    prices.add_argument("--on", metavar="DATE", type=_day, default=None, help="only what is in force on a day")
    prices.add_argument("--plan", choices=PLANS, default=None, help="only of one plan")
    what_if = command("what-if", _what_if, "a month with other settings, simulated on the last hour's data")
    what_if.add_argument("--success-rate", type=float, metavar="P", help="part of the successes that is exported")
    what_if.add_argument("--success-rate-now", type=float, metavar="P", help="the part that is exported now [0.1]")
    what_if.add_argument("--drop-label", action="append", metavar="LABEL", help="without a label; may be repeated")
    what_if.add_argument("--metric", action="append", metavar="NAME", help="of this metric only; may be repeated")
    what_if.add_argument("--interval", metavar="DURATION", help="exported so often, as in 60s")
    budgets = command("budgets", _budgets, "how budgets stand; all=20 workers=10 sets some, kv= takes one away")
    budgets.add_argument("set", nargs="*", metavar="PRODUCT=USD", default=[])
    report = command("report", _report, "make the report of a month now")
    report.add_argument("--month", metavar="YYYY-MM", help="[the current]")
    command("reports", _reports, "the reports that are kept")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="of a gateway elsewhere [the one of data_dir]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    config.add_flags(parser)


def run(arguments: argparse.Namespace, settings: Config, url: Url) -> int:
    """Ask and print; MirubatoError and OSError are the caller's."""
    ask: Ask = arguments.ask
    return ask(arguments, settings, url)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:30]!r} is no day such as 2026-12-01") from error


def _print(arguments: argparse.Namespace, document: Any, lines: Callable[[], Sequence[str]]) -> int:
    print(json.dumps(document, ensure_ascii=False) if getattr(arguments, "json", False) else "\n".join(lines()))
    return 0


def _show(arguments: argparse.Namespace, _: Config, url: Url) -> int:
    asked = {"breakdown": "true", **({"month": arguments.month} if arguments.month else {})}
    answer = call("GET", f"{url()}/api/costs?{urlencode(asked)}").document
    return _print(arguments, answer, lambda: _shown(answer))


def _shown(answer: Mapping[str, Any]) -> list[str]:
    period, one = answer["period"], answer["projection"]
    lines = [
        f"{period['start']} to before {period['end']}, Workers {answer['plan']} plan",
        f"so far      {_usd(answer['so_far'])}   today {_usd(answer['today'])}",
        f"projected   {_usd(one['mid'])}   {one['rate']:.0%} sure: {_usd(one['low'])} to {_usd(one['high'])}",
        answer["monitoring"]["text"],
        "",
        aligned(
            ("product", "by list price", "USD"),
            [(row["product"], _usd(row["usd_list"]), _usd(row["usd"])) for row in answer["breakdown"]["product"]],
        ),
    ]
    lines += [f"budget {_budget_text(one)}" for one in answer["budgets"]]
    runaways = [one for one in answer["runaway"] if one["runs_away"]]
    lines += [f"{one['product']} runs away: {one['ratio']:.1f} times the usual" for one in runaways]
    lines += [f"limit {one['limit']}: {one['text']}" for one in answer["headroom"] if one["ratio"] >= 0.5]
    lines += _most_expensive(answer)
    lines += [f"missing: {one['what']}{_stretch(one)}; {one['effect']}" for one in answer["missing"][:_SHOWN]]
    return lines


def _budget_text(one: Mapping[str, Any]) -> str:
    return f"{one['product']}: {_usd(one['spent'])} of {_usd(one['usd'])}, {one['text']}"


def _most_expensive(answer: Mapping[str, Any]) -> list[str]:
    rows = [
        (one["metric"], str(one["series"]), (one["last_use"] or "never")[:10], _usd(one["usd_month"]))
        for one in answer.get("metrics", ())[:_SHOWN]
    ]
    return ["", aligned(("metric", "series", "last asked for", "list USD/month"), rows), ""] if rows else []


def _stretch(one: Mapping[str, Any]) -> str:
    return f" from {one['from']} to {one['to']}" if one["from"] else ""


def _usd(value: float) -> str:
    return f"${value:,.2f}" if value >= 0.1 or not value else f"${value:.4f}"


def _prices(arguments: argparse.Namespace, settings: Config, _: Url) -> int:
    table = load(settings.cost_prices)
    rows = [row for row in table.rows if arguments.plan in (None, row.plan)]
    if arguments.on is not None:
        rows = [row for row in rows if row.holds_on(arguments.on)]
    document = {
        "checked": table.checked.isoformat(),
        "prices": [row_json(row) for row in rows],
        "problems": list(table.problems),
    }
    return _print(arguments, document, lambda: [*_price_lines(rows), *table.problems])


def _price_lines(rows: Sequence[PriceRow]) -> list[str]:
    heads = ("meter", "plan", "included", "from", "to", "checked", "price")
    return [aligned(heads, [_price_cells(row) for row in rows])]


def _price_cells(row: PriceRow) -> tuple[str, ...]:
    price = "more is refused" if row.price is None else f"${row.price} / {row.per:,} {row.unit}"
    return (
        str(row.key),
        row.plan,
        f"{row.included:,} / {row.period}",
        row.effective_from.isoformat(),
        row.effective_to.isoformat() if row.effective_to else "-",
        row.checked.isoformat(),
        price if row.billed else f"{price}, list: not billed",
    )


def _what_if(arguments: argparse.Namespace, _: Config, url: Url) -> int:
    names = {
        "success_rate": "success_rate",
        "success_rate_now": "success_rate_now",
        "drop_label": "drop_labels",
        "metric": "metrics",
        "interval": "interval",
    }
    given = {field: getattr(arguments, name, None) for name, field in names.items()}
    asked = {field: value for field, value in given.items() if value is not None}
    answer = call("POST", f"{url()}/api/costs/what-if", asked).document
    return _print(arguments, answer, lambda: _what_if_lines(answer))


def _what_if_lines(answer: Mapping[str, Any]) -> list[str]:
    rows = [
        (name.replace("_", " "), f"{answer['before'][name]:,}", f"{answer['after'][name]:,}")
        for name in ("event_points_month", "series", "spans_month", "usd_month")
    ]
    saved = [f"{one['metric']}: {_usd(one['saves_usd_month'])}" for one in answer["metrics"][:_SHOWN]]
    return [
        aligned(("", "now", "then"), rows),
        f"saves {_usd(answer['saves_usd_month'])} a month ({answer['saves_part']:.0%}); {answer['basis']}",
        *saved,
    ]


def _budgets(arguments: argparse.Namespace, _: Config, url: Url) -> int:
    address = f"{url()}/api/costs/budgets"
    if arguments.set:
        answer = call("PUT", address, {"budgets": dict(map(_budget, arguments.set))}).document
    else:
        answer = call("GET", address).document
    return _print(arguments, answer, lambda: _budget_lines(answer))


def _budget(text: str) -> tuple[str, str | None]:
    product, equals, usd = text.partition("=")
    if not product or not equals:
        raise ConfigError(f"{text[:60]!r} is no PRODUCT=USD")
    return product, usd or None


def _budget_lines(answer: Mapping[str, Any]) -> list[str]:
    rows = [
        (one["product"], _usd(one["usd"]), _usd(one["spent"]), one["stage"] or "-", one["text"])
        for one in answer["budgets"]
    ]
    crossed = [f"{one['at']} {one['product']}: {one['stage']}, {one['outcome']}" for one in answer["crossed"]]
    return [aligned(("product", "budget", "spent", "stage", "lasts"), rows) if rows else "no budgets", *crossed]


def _report(arguments: argparse.Namespace, _: Config, url: Url) -> int:
    month = getattr(arguments, "month", None)
    answer = call("POST", f"{url()}/api/costs/reports", {"month": month} if month else {}).document
    return _print(arguments, answer, lambda: answer["written"])


def _reports(arguments: argparse.Namespace, _: Config, url: Url) -> int:
    answer = call("GET", f"{url()}/api/costs/reports").document
    return _print(arguments, answer, lambda: [one["name"] for one in answer["reports"]] or ["no reports yet"])
