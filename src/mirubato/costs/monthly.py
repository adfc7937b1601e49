"""The monthly report: a page with charts, the same as JSON, and the usage as CSV. Pure."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from html import escape
from typing import Any

from mirubato.costs.accounts import Account, Accounts
from mirubato.costs.answer import usage_json
from mirubato.costs.charts import color, dollars, range_bar, stacked_bars
from mirubato.costs.invoice import ZERO, invoice
from mirubato.costs.periods import day_of
from mirubato.costs.usage import before

_ROWS_MAX = 30

_STYLE = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
td,th{padding:.2rem .6rem;border-bottom:1px solid #8884;text-align:left}
.n{text-align:right;font-variant-numeric:tabular-nums}svg{width:100%;height:auto}.big{font-size:1.8rem}
.note{opacity:.75}.key{display:inline-block;width:.8em;height:.8em;margin-right:.4em}
"""


def names(month: str) -> dict[str, str]:
    """The file of each kind."""
    return {kind: f"costs-{month}.{kind}" for kind in ("html", "json", "csv")}


def files(accounts: Accounts, account: Account, answer: Mapping[str, Any]) -> dict[str, bytes]:
    """All files of a period's report by name; `answer` is what GET /api/costs says of it."""
    daily = daily_costs(accounts, account)
    document = {**answer, "daily": daily, "usage": usage_json(account.rows)}
    bodies = {
        "html": page(answer, daily).encode(),
        "json": json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode(),
        "csv": _csv(document["usage"]).encode(),
    }
    return {name: bodies[kind] for kind, name in names(account.period.name).items()}


def daily_costs(accounts: Accounts, account: Account) -> list[dict[str, Any]]:
    """What each day added to the bill, by product; what is paid in any case is left out."""
    found = []
    last = min(account.period.end, day_of(account.now) + timedelta(days=1))
    spent = dict.fromkeys(accounts.table.products(), ZERO)
    for day in (one for one in account.period.days() if one < last):
        bill = invoice(
            before(account.usage, day + timedelta(days=1)), accounts.table, accounts.terms.plan, account.period
        )
        now = dict.fromkeys(spent, ZERO)
        for line in bill.lines:
            if not line.row.fixed:
                now[line.row.product] += line.usd
        added = {product: _rounded(usd - spent[product]) for product, usd in now.items() if usd != spent[product]}
        found.append({"day": day.isoformat(), "usd": round(sum(added.values()), 6), "products": added})
        spent = now
    return found


def _rounded(usd: Decimal) -> float:
    return float(usd.quantize(Decimal("0.000001")))


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("day", "product", "meter", "script", "label", "source", "quantity"))
    for row in rows:
        texts = [_harmless(str(row[key])) for key in ("day", "product", "meter", "script", "label", "source")]
        writer.writerow([*texts, row["quantity"]])
    return out.getvalue()


def _harmless(text: str) -> str:
    """A spreadsheet takes a cell that begins like this for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def page(answer: Mapping[str, Any], daily: Sequence[Mapping[str, Any]]) -> str:
    """The HTML: nothing in it comes from another place."""
    period, projection = answer["period"], answer["projection"]
    title = f"Costs {period['start']} to {_last(period['end'])}"
    done = period["complete"]
    end = f"{dollars(projection['low'])} to {dollars(projection['high'])} at the end"
    spent = dollars(answer["so_far"])
    headline = f"{spent} in all" if done else f"{spent} so far, {end}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="big">{escape(headline)}</p>',
        f"<p><strong>{escape(answer['monitoring']['text'])}</strong></p>",
        f'<p class="note">{escape(_footing(answer))}</p>',
        _range(answer),
        "<h2>Day by day</h2>",
        _days(daily),
        "<h2>Products</h2>",
        _products(answer["breakdown"]["product"]),
        *_breakdowns(answer["breakdown"]),
        *_table("Unused metrics", answer.get("unused", ()), ("metric", "series", "usd_month", "last_use")),
        *_table("Limits", answer["headroom"], ("limit", "of", "text")),
        *_table("What is missing", answer["missing"], ("what", "from", "to", "effect")),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _last(end: str) -> str:
    return (date.fromisoformat(end) - timedelta(days=1)).isoformat()


def _footing(answer: Mapping[str, Any]) -> str:
    told = [f"{one['source']}: {one['status']}" for one in answer["sources"]]
    widened = answer["projection"]["widened_by_missing"]
    wider = f" What is missing makes the range {dollars(widened)} wider." if widened else ""
    return (
        f"Workers {answer['plan'].capitalize()} plan; prices checked on {answer['prices']['checked']};"
        f" sources: {', '.join(told)}. {answer['projection']['basis']}.{wider}"
    )


def _range(answer: Mapping[str, Any]) -> str:
    budget = next((one["usd"] for one in answer["budgets"] if one["product"] == "all"), None)
    one = answer["projection"]
    return range_bar("Spent, and projected to the end", answer["so_far"], one["low"], one["mid"], one["high"], budget)


def _days(daily: Sequence[Mapping[str, Any]]) -> str:
    products = sorted({product for day in daily for product in day["products"]})
    if not products:
        return '<p class="note">No day has used more than the plan includes.</p>'
    series = [(product, [max(0.0, day["products"].get(product, 0.0)) for day in daily]) for product in products]
    legend = " ".join(
        f'<span><span class="key" style="background:{color(number)}"></span>{escape(product)}</span>'
        for number, product in enumerate(products)
    )
    return stacked_bars("USD a day by product", [day["day"] for day in daily], series) + f"<p>{legend}</p>"


def _products(products: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            product["product"],
            line["meter"],
            f"{_amount(line['quantity'])} {line['unit']}",
            _amount(line["billable"]),
            dollars(line["usd"]),
            dollars(line["usd_list"]),
            ", ".join(line["sources"]) or "-",
        )
        for product in products
        for line in product["meters"]
        if line["quantity"]
    ]
    idle = [product["product"] for product in products if not any(line["quantity"] for line in product["meters"])]
    heads = ("product", "meter", "used", "beyond what is included", "USD", "by list price", "source")
    note = f'<p class="note">Not used, $0.00 each: {escape(", ".join(idle))}</p>' if idle else ""
    return _rows(heads, rows) + note


def _amount(quantity: float) -> str:
    """Whole numbers whole, small ones with as many digits as say something."""
    return f"{quantity:,.0f}" if quantity >= 1000 or quantity == round(quantity) else f"{quantity:.4g}"


def _breakdowns(breakdown: Mapping[str, Any]) -> list[str]:
    parts: list[str] = []
    for name in ("script", "metric", "label"):
        parts += _table(f"By {name}", breakdown.get(name, ()), (name, "usd", "usd_list"))
    return parts


def _table(title: str, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    if not rows:
        return []
    cells = [[_cell(key, row.get(key)) for key in keys] for row in rows[:_ROWS_MAX]]
    more = f'<p class="note">and {len(rows) - _ROWS_MAX} more</p>' if len(rows) > _ROWS_MAX else ""
    return [f"<h2>{escape(title)}</h2>", _rows(keys, cells), more]


def _cell(key: str, value: Any) -> str:
    if key.startswith("usd") and isinstance(value, float):
        return dollars(value)
    return "-" if value is None else str(value)


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(one.replace('_', ' '))}</th>" for one in heads)
    body = "".join(
        "<tr>" + "".join(f"<td{_number(cell)}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(cell: str) -> str:
    return ' class="n"' if cell[:1] in "$0123456789" and cell else ""
