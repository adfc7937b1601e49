"""An account as JSON: what GET /api/costs, the monthly report and the command line show."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from mirubato.costs.accounts import Account, Accounts, hours_seen, newest_hour
from mirubato.costs.budgets import STAGES, Runaway, Standing
from mirubato.costs.datasets import DATASET_OF, DATASETS
from mirubato.costs.headroom import Headroom
from mirubato.costs.invoice import ZERO, Line, shared
from mirubato.costs.price_tags import PriceTag
from mirubato.costs.prices import Meter, row_json
from mirubato.costs.projection import RATE
from mirubato.costs.seeing import iso
from mirubato.costs.usage import Source, Usage, weights

_ROWS_MAX = 500
_UNUSED_MS = 30 * 86_400_000
_POINTS = Meter("analytics_engine", "points")

_SOURCES = {
    Source.METERED: "counted from telemetry that passed through this gateway",
    Source.GRAPHQL: "Cloudflare's GraphQL analytics; adaptive, so an estimate and no invoice",
    Source.OWN: "what this gateway itself used",
}


def usd(money: Decimal) -> float:
    """For JSON: to a millionth."""
    return float(money.quantize(Decimal("0.000001")))


def costs(
    accounts: Accounts, account: Account, tags: Sequence[PriceTag] | None, errors: Mapping[str, str]
) -> dict[str, Any]:
    """The answer; `tags` (None: not asked for) adds the breakdown by script, metric and label, and price tags.

    `errors` say by dataset why Cloudflare did not tell.
    """
    billed, listed = accounts.monitoring(account)
    answer: dict[str, Any] = {
        "currency": "USD",
        "as_of": iso(account.now),
        "plan": accounts.terms.plan,
        "period": {
            "month": account.period.name,
            "start": account.period.start.isoformat(),
            "end": account.period.end.isoformat(),
            "anchor_day": accounts.terms.anchor,
            "days": account.period.length,
            "complete": not account.current,
        },
        "so_far": usd(account.bill.total),
        "so_far_list": usd(account.bill.total_list),
        "today": usd(account.today),
        "projection": _projection(account),
        "monitoring": {"usd": usd(billed), "usd_list": usd(listed), "text": monitoring_text(billed, listed)},
        "breakdown": {"product": _by_product(accounts, account)},
        "sources": _sources(accounts, account, errors),
        "missing": [
            {"what": one.what, "effect": one.effect, "from": iso(one.start), "to": iso(one.end)}
            for one in account.missing
        ],
        "headroom": [_headroom(one) for one in account.headroom],
        "budgets": [budget_json(one) for one in account.budgets],
        "runaway": [_runaway(one) for one in account.runaways],
        "prices": {
            "checked": accounts.table.checked.isoformat(),
            "problems": list(accounts.table.problems),
        },
    }
    if tags is not None:
        answer["breakdown"] |= _more_breakdown(account, tags)
        answer["metrics"] = [tag_json(tag) for tag in tags[:_ROWS_MAX]]
        answer["unused"] = [tag_json(tag) for tag in tags if unused(tag, account.now)][:_ROWS_MAX]
    return answer


def monitoring_text(billed: Decimal, listed: Decimal) -> str:
    """The line of every report."""
    more = f" (${listed:.2f} by list price)" if listed != billed else ""
    return f"What this monitoring costs you: ${billed:.2f}{more}"


def _projection(account: Account) -> dict[str, Any]:
    one = account.projection
    return {
        "low": usd(one.low),
        "mid": usd(one.mid),
        "high": usd(one.high),
        "rate": RATE,
        "basis": one.basis,
        "days_measured": one.days_measured,
        "widened_by_missing": usd(one.widened),
    }


def _by_product(accounts: Accounts, account: Account) -> list[dict[str, Any]]:
    """Every product of the table, at zero too."""
    lines: dict[str, list[Line]] = {product: [] for product in accounts.table.products()}
    for line in account.bill.lines:
        lines[line.row.product].append(line)
    sources = _sources_by_meter(account)
    return [
        {
            "product": product,
            "usd": usd(sum((line.usd for line in some), ZERO)),
            "usd_list": usd(sum((line.usd_list for line in some), ZERO)),
            "meters": [_line(line, sources) for line in some],
        }
        for product, some in lines.items()
    ]


def _sources_by_meter(account: Account) -> dict[Meter, list[str]]:
    found: dict[Meter, set[str]] = {}
    for row in account.rows:
        found.setdefault(row.meter, set()).add(row.source.value)
    return {meter: sorted(some) for meter, some in found.items()}


def _line(line: Line, sources: Mapping[Meter, list[str]]) -> dict[str, Any]:
    row = row_json(line.row)
    return {
        "meter": line.row.meter,
        "quantity": float(line.quantity),
        "billable": float(line.billable),
        "usd": usd(line.usd),
        "usd_list": usd(line.usd_list),
        "sources": ["plan"] if line.row.fixed else sources.get(line.row.usage_key, []),
        **{
            key: row[key]
            for key in (
                "unit",
                "included",
                "period",
                "price",
                "per",
                "billed",
                "effective_from",
                "effective_to",
                "note",
            )
        },
    }


def _more_breakdown(account: Account, tags: Sequence[PriceTag]) -> dict[str, Any]:
    script = _divided(account, weights(account.rows, "script"), "script", "(account)")
    label = _divided(account, weights(account.rows, "label"), "label", "(none)")
    points = {_POINTS: {tag.metric: Decimal(tag.points_month) for tag in tags}}
    metric = _divided(account, points, "metric", "(no metric)")
    return {"script": script, "metric": metric, "label": label}


def _divided(
    account: Account, parts: Mapping[Meter, Mapping[str, Decimal]], name: str, rest: str
) -> list[dict[str, Any]]:
    """All money of the bill, divided as usage is; the rows add up to the whole."""
    billed: dict[str, Decimal] = {}
    listed: dict[str, Decimal] = {}
    products: dict[str, dict[str, Decimal]] = {}
    for line in account.bill.lines:
        of = parts.get(line.row.usage_key) if not line.row.fixed else None
        keys = [key or rest for key in of] if of else [rest]
        shares = list(of.values()) if of else [Decimal(1)]
        for key, part, part_list in zip(keys, shared(line.usd, shares), shared(line.usd_list, shares), strict=True):
            billed[key] = billed.get(key, ZERO) + part
            listed[key] = listed.get(key, ZERO) + part_list
            of_key = products.setdefault(key, {})
            of_key[line.row.product] = of_key.get(line.row.product, ZERO) + part_list
    order = sorted(billed, key=lambda key: (-billed[key], -listed[key], key))
    rows = [
        {
            name: key,
            "usd": usd(billed[key]),
            "usd_list": usd(listed[key]),
            "products": {product: usd(money) for product, money in products[key].items() if money},
        }
        for key in order
    ]
    return _cut(rows, name)


def _cut(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    if len(rows) <= _ROWS_MAX:
        return rows
    others = rows[_ROWS_MAX - 1 :]
    kept = rows[: _ROWS_MAX - 1]
    sums = {key: round(sum(row[key] for row in others), 6) for key in ("usd", "usd_list")}
    return [*kept, {name: "(others)", **sums, "products": {}}]


def _sources(accounts: Accounts, account: Account, errors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each source with what it told and how it is."""
    meters: dict[Source, set[str]] = {source: set() for source in Source}
    for row in account.rows:
        meters[row.source].add(str(row.meter))
    telemetry = {hour: part for hour, part in account.seen.telemetry.items() if hour >= account.period.start_ms}
    told = [_source(Source.METERED, meters, status="ok" if telemetry else "nothing yet")]
    told[0] |= {"hours": hours_seen(telemetry), "last": iso(newest_hour(telemetry))}
    graphql = _source(Source.GRAPHQL, meters, status="not configured")
    if accounts.terms.cloudflare:
        graphql["status"] = "failing" if errors else "ok"
        graphql["datasets"] = [
            {
                "dataset": one.node,
                "status": "failing" if one.node in errors else "ok",
                "error": errors.get(one.node),
                "last": iso(newest_hour(account.seen.datasets.get(one.node, {}))),
            }
            for one in DATASETS
        ]
    else:
        graphql["only_there"] = sorted(str(meter) for meter in DATASET_OF if meter.name == "storage")
    own = _source(Source.OWN, meters, status="ok")
    own["meters"] = sorted({str(row.meter) for row in account.own})
    return [*told, graphql, own]


def _source(source: Source, meters: Mapping[Source, set[str]], *, status: str) -> dict[str, Any]:
    return {
        "source": source.value,
        "what": _SOURCES[source],
        "status": status,
        "meters": sorted(meters[source]),
    }


def _headroom(one: Headroom) -> dict[str, Any]:
    return {
        "limit": one.id,
        "product": one.product,
        "of": one.of or None,
        "kind": one.kind,
        "value": float(one.limit),
        "unit": one.unit,
        "used": one.used,
        "ratio": one.ratio,
        "full_at": iso(one.full_at),
        "text": one.sentence(),
        "source": one.source,
    }


def budget_json(one: Standing) -> dict[str, Any]:
    """A budget and how it stands."""
    finite = one.hours_left != float("inf")
    return {
        "product": one.product or "all",
        "usd": usd(one.usd),
        "spent": usd(one.spent),
        "used": min(one.used, 1e9),
        "hours_left": one.hours_left if finite else None,
        "stage": STAGES[one.stage - 1] if one.stage else None,
        "text": one.sentence(),
    }


def _runaway(one: Runaway) -> dict[str, Any]:
    return {
        "product": one.product,
        "usd_hour": one.usd_hour,
        "usual_usd_hour": one.usual_usd_hour,
        "ratio": one.ratio,
        "runs_away": one.runs_away,
    }


def unused(tag: PriceTag, now: int) -> bool:
    """Asked for by no rule, dashboard or query in 30 days."""
    return tag.last_use is None or tag.last_use < now - _UNUSED_MS


def tag_json(tag: PriceTag) -> dict[str, Any]:
    """A metric's price tag."""
    return {
        "metric": tag.metric,
        "type": tag.type.value,
        "series": tag.series,
        "points_month": tag.points_month,
        "usd_month": usd(tag.usd_list),
        "last_use": iso(tag.last_use),
        "last_use_ms": tag.last_use,
        "labels": [
            {"label": label, "values": values, "saves_usd_month": usd(saved)}
            for label, (values, saved) in sorted(tag.labels.items(), key=lambda item: -item[1][1])
        ],
    }


def usage_json(rows: Sequence[Usage]) -> list[dict[str, Any]]:
    """Usage by day, meter, script, label and source: what the CSV and JSON of a report hold."""
    sums: dict[tuple[str, str, str, str, str, str], float] = {}
    for row in rows:
        day = (iso(row.hour) or "")[:10]
        key = (day, row.meter.product, row.meter.name, row.script, row.label, row.source.value)
        sums[key] = sums.get(key, 0.0) + row.quantity
    names = ("day", "product", "meter", "script", "label", "source")
    return [{**dict(zip(names, key, strict=True)), "quantity": quantity} for key, quantity in sorted(sums.items())]
