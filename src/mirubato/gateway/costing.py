"""Costs: joins metering, Cloudflare's analytics, budgets and reports to the gateway, and works on them each minute."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar, TypeVarTuple

import httpx
from starlette.routing import Route

from mirubato.analytics_engine.event_points import EventPoint
from mirubato.clock import monotonic_s, now_ms
from mirubato.config import Config
from mirubato.costs import monthly
from mirubato.costs.accounts import Account, Accounts, Terms
from mirubato.costs.answer import budget_json, costs, usd
from mirubato.costs.collecting import Metered, Told
from mirubato.costs.fuse import Fuse
from mirubato.costs.graphql import Account as CloudflareAccount
from mirubato.costs.graphql import Analytics, Pace, sleep
from mirubato.costs.invocations import Invocations
from mirubato.costs.last_use import NotingSelector
from mirubato.costs.ledger import Ledger
from mirubato.costs.metering import Metering
from mirubato.costs.own_usage import OwnUsage
from mirubato.costs.periods import DAY_MS, HOUR_MS, Period, day_of, period_before, period_named
from mirubato.costs.price_tags import PriceTag, points_of, price_tags
from mirubato.costs.prices import PLANS, Meter, load, row_json
from mirubato.costs.seeing import iso
from mirubato.costs.series import points_request, request
from mirubato.costs.shelf import Kept, shelf_of
from mirubato.costs.what_if import Prices, change_of, simulate
from mirubato.database.state import StateStore
from mirubato.errors import BadField, MirubatoError
from mirubato.model.labels import NAME
from mirubato.model.seams import Outcome, Selector
from mirubato.promql.query import QueryBudget
from mirubato.web.costs_api import CostsApi

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)

Append = Callable[[bytes, int], Awaitable[Outcome]]
Keep = Callable[[str, Sequence[EventPoint]], Awaitable[None]]

_TICK_S = 60.0
# Before the first look at what was there: the doors open first.
_FIRST_S = 5.0
_STOP_S = 2.0
# Price tags look at all samples of the last hour: an answer is good for a while.
_TAGS_MS = 600_000
# A metric's last use is written down again when it is a day newer: enough for "in 30 days".
_USE_MS = DAY_MS
# Reports are made once the last hours of a period have come.
_REPORT_AFTER_MS = 6 * HOUR_MS
_HISTORY_MS = 60 * DAY_MS
_DATASETS_MAX = 100
_LATEST_MS = 120_000


class Costing:
    """A part of the gateway, and what answers GET /api/costs (`web.costs_api.CostsRoom`)."""

    def __init__(self, config: Config, state: StateStore, selector: Selector, query: Callable[[], QueryBudget]) -> None:
        """ConfigError for a price file or a report store that cannot be used."""
        self.selector = NotingSelector(selector)
        """What rules, dashboards and queries are asked through, so that it is known which metrics are used."""
        self.own = OwnUsage()
        """Where the gateway counts what it uses of the cloud itself."""
        self._plain, self._query = selector, query
        self.ledger = Ledger(state)
        table = load(config.cost_prices)
        self._metered = Metered(self.ledger, Metering(selector, query, table), table, self.own, config.retention_raw)
        terms = Terms(
            config.cloudflare_plan,
            config.billing_anchor_day,
            {"" if product == "all" else product: money for product, money in config.cost_budgets.items()},
            config.cost_budget_stages,
            bool(config.cloudflare_api_token and config.cloudflare_account_id),
        )
        self._invocations = Invocations(selector, query, now_ms)
        self._largest: dict[str, tuple[int, int]] = {}
        self.accounts = Accounts(self.ledger, table, terms, lambda: self._metered.running, self._used_at_once)
        self.shelf = shelf_of(config.report_store, config.data_dir / "reports", _access(config))
        self._config = config
        self._points: dict[str, int] = {}
        self._started = now_ms()
        self._report_at = 0
        self._tags: tuple[int, list[PriceTag]] = (0, [])
        self._uses: dict[str, int] = {}
        self._uses_since: int | None = None
        self._told: Told | None = None
        self._latest: Account | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._pool = ThreadPoolExecutor(1, "costs")
        self._client: httpx.AsyncClient | None = None

    def join(self, append: Append) -> None:
        """Where the series of the costs are written to; before `start`."""
        self._append = append

    def routes(self, pool: Executor) -> list[Route]:
        """For the web port."""
        return CostsApi(self, pool).routes()

    def counting(self, keep: Keep) -> Keep:
        """`keep`, with the event points counted: each is one that Analytics Engine would bill."""

        async def counted(dataset: str, points: Sequence[EventPoint]) -> None:
            await keep(dataset, points)
            name = dataset if dataset in self._points or len(self._points) < _DATASETS_MAX else "(other)"
            self._points[name] = self._points.get(name, 0) + len(points)
            self._note_request(name, len(points), now_ms())

        return counted

    def _note_request(self, dataset: str, points: int, now: int) -> None:
        """The largest request of the last hour: at the relay Worker, one invocation writes all of it."""
        at, most = self._largest.get(dataset, (0, 0))
        if points >= most or at < now - HOUR_MS:
            self._largest[dataset] = (now, points)

    def _used_at_once(self) -> Mapping[str, Sequence[tuple[str, float]]]:
        """What one invocation takes, by the id of the limit."""
        since = now_ms() - HOUR_MS
        largest = [(f"dataset={name}", float(points)) for name, (at, points) in self._largest.items() if at > since]
        return {**self._invocations.used(), "event_points_per_invocation": largest}

    def count_d1(self, meter: str, rows: int) -> None:
        """What the mirror of state.db used of D1: `rows_read` or `rows_written`; from any thread."""
        self.own.add("d1", meter, rows, now_ms(), "database=(mirror of state.db)")

    def summary(self, _start_ms: int, _end_ms: int) -> dict[str, Any]:
        """For the first screen."""
        account, now = self._latest, now_ms()
        if account is None or not account.now <= now < account.now + _LATEST_MS:
            account = self.accounts.at(now)
        one = account.projection
        return {
            "today": usd(account.today),
            "so_far": usd(account.bill.total),
            "projection": {"low": usd(one.low), "mid": usd(one.mid), "high": usd(one.high)},
            "budgets": [budget_json(budget) for budget in account.budgets],
        }

    async def start(self) -> None:
        """Begin to count."""
        self._client = httpx.AsyncClient(follow_redirects=False, trust_env=True)
        config = self._config
        self._uses = await asyncio.to_thread(self.ledger.metric_uses)
        self._uses_since = await asyncio.to_thread(self.ledger.uses_known_since, now_ms())
        self._fuse = Fuse(self.ledger, self._client, config.cost_fuse_url, dry_run=config.cost_fuse_dry_run)
        self._tasks.append(asyncio.create_task(self._every(_TICK_S, self.tick)))
        if self.accounts.terms.cloudflare:
            account = CloudflareAccount(
                config.cloudflare_api_url, config.cloudflare_account_id, config.cloudflare_api_token
            )
            self._told = Told(self.ledger, Analytics(account, self._client, Pace(monotonic_s, sleep)), _HISTORY_MS)
            self._tasks.append(asyncio.create_task(self._every(config.cost_poll_interval / 1000, self.ask)))

    async def stop(self) -> None:
        """Write down what is counted nowhere else."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=_STOP_S) if self._tasks else None
        self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._metered.keep)
        if self._client is not None:
            await self._client.aclose()

    async def _apart(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """In a thread of its own: the loop's threads are waited for at the end, and a query may take long."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(_FIRST_S)
        while True:
            try:
                await work()
            except Exception:  # noqa: BLE001  (the next turn tries again)
                _log.exception("working on the costs failed")
            await asyncio.sleep(seconds)

    async def tick(self) -> None:
        """Count what came, write the series, look at budgets and reports."""
        now = now_ms()
        if self._points:
            points = points_request(self._points, now, self._started)
            await self._append(points, len(points))
        self.accounts.notes = await self._apart(self._metered.collect, now)
        account = self._latest = await self._apart(self.accounts.at, now)
        body = request(self.accounts, account)
        await self._append(body, len(body))
        await self._apart(self._note_uses)
        for crossing in await self._apart(self._fuse.crossed, account.budgets, account.period.name, now):
            await self._apart(self.ledger.journal, await self._fuse.call(crossing, now))
        await self._apart(self._report_when_due, account.period, now)

    async def ask(self) -> None:
        """Ask Cloudflare."""
        assert self._told is not None
        await self._told.collect(now_ms())

    def _note_uses(self) -> None:
        """Keep which metrics were asked for; those of which it was known today already stay as they are."""
        fresh = self.selector.uses(set(self._plain.label_values(NAME)))
        written = {name: at for name, at in fresh.items() if at - self._uses.get(name, 0) > _USE_MS}
        self._uses |= written
        if written:
            self.ledger.note_metric_uses(written)

    def _report_when_due(self, period: Period, now: int) -> None:
        """The report of the last period, once; and at the same occasion, what is too old goes."""
        if now < max(self._report_at, period.start_ms + _REPORT_AFTER_MS):
            return
        # Also where that fails: an S3 store that is away is not asked each minute.
        self._report_at = now + HOUR_MS
        last = period_before(period, self.accounts.terms.anchor)
        if not self.ledger.usage(last.start_ms, last.end_ms):
            return
        if monthly.names(last.name)["html"] not in {kept.name for kept in self.shelf.names()}:
            self._write(last, now)
            self.ledger.forget(now)

    def answer(self, month: str, *, breakdown: bool) -> dict[str, Any]:
        """The costs of the period that begins in a month; of the current one without."""
        now = now_ms()
        period = self._period(month, now)
        self._metered.refresh(now)
        return self._costs(self.accounts.at(now, period), breakdown=breakdown)

    def _costs(self, account: Account, *, breakdown: bool) -> dict[str, Any]:
        tags = self.tags(account.now) if breakdown else None
        answer = costs(self.accounts, account, tags, self._told.errors if self._told else {})
        answer["uses_known_since"] = iso(self._uses_since)
        return answer

    def _period(self, month: str, now: int) -> Period:
        if not month:
            return self.accounts.period_at(now)
        try:
            period = period_named(month, self.accounts.terms.anchor)
        except ValueError as error:
            raise BadField("month", str(error)) from error
        if period.start_ms > now:
            raise BadField("month", f"the period of {month} has not begun")
        return period

    def tags(self, now: int) -> list[PriceTag]:
        """The price tags of all metrics, at most ten minutes old."""
        at, tags = self._tags
        if not at <= now < at + _TAGS_MS:
            metrics = list(points_of(self._plain, now, self._query))
            tags = price_tags(metrics, self._list_price(Meter("analytics_engine", "points"), now), dict(self._uses))
            self._tags = (now, tags)
        return tags

    def _list_price(self, meter: Meter, now: int) -> Decimal:
        """USD for one unit of usage by the paid plan's list price today; of all rows that the unit counts for."""
        rows = self.accounts.table.on(day_of(now), "paid")
        return sum((row.unit_price * row.times for row in rows if row.usage_key == meter), Decimal(0))

    def what_if(self, document: Any) -> dict[str, Any]:
        """A month with other settings, simulated on the last hour."""
        change, now = change_of(document), now_ms()
        metrics = list(points_of(self._plain, now, self._query))
        spans = self._invocations.spans()
        events = (Meter("workers_logs", "events"), Meter("otlp_export", "events"))
        event = sum((self._list_price(meter, now) for meter in events), Decimal(0))
        prices = Prices(self._list_price(Meter("analytics_engine", "points"), now), event)
        found = simulate(change, metrics, spans, prices)
        sides = [
            {
                "event_points_month": found.points[when],
                "series": found.series[when],
                "spans_month": found.events[when],
                "usd_month": usd(found.usd[when]),
            }
            for when in (0, 1)
        ]
        saved = found.usd[0] - found.usd[1]
        return {
            "before": sides[0],
            "after": sides[1],
            "saves_usd_month": usd(saved),
            "saves_part": float(saved / found.usd[0]) if found.usd[0] else 0.0,
            "metrics": [
                {"metric": name, "points_month": before, "points_month_after": after, "saves_usd_month": usd(money)}
                for name, before, after, money in found.by_metric
            ],
            "basis": "the last hour's data, by list price and without what is included;"
            f" successes are taken to be exported at {change.success_rate_now:g} now",
        }

    def budgets(self) -> dict[str, Any]:
        """Budgets, how they stand, and which stages were crossed."""
        account = self.accounts.at(now_ms())
        return {
            "period": account.period.name,
            "budgets": [budget_json(one) for one in account.budgets],
            "stages": dict(zip(("notify", "page", "webhook"), self.accounts.terms.stages, strict=True)),
            "fuse": {"webhook": bool(self._config.cost_fuse_url), "dry_run": self._config.cost_fuse_dry_run},
            "crossed": [
                {
                    "period": one.period,
                    "product": one.product or "all",
                    "stage": one.stage,
                    "at": iso(one.at),
                    "outcome": one.outcome,
                }
                for one in self.ledger.crossings()
            ],
        }

    def set_budgets(self, budgets: Mapping[str, Decimal | None]) -> None:
        """Set some; None takes one away. BadField for a product that is none."""
        known = {"", *self.accounts.table.products()}
        if unknown := sorted(budgets.keys() - known):
            raise BadField(
                "budgets", f"no such product: {unknown[0][:40]}; there are all, {', '.join(sorted(known)[1:])}"
            )
        self.ledger.set_budgets(budgets, now_ms())

    def prices(self, day: str, plan: str) -> dict[str, Any]:
        """The price table, or what is in force on a day."""
        if plan and plan not in PLANS:
            raise BadField("plan", f"must be one of {', '.join(PLANS)}")
        table = self.accounts.table
        try:
            rows = table.on(date.fromisoformat(day)) if day else table.rows
        except ValueError as error:
            raise BadField("on", "must be a day such as 2026-12-01") from error
        shown = [row_json(row) for row in rows if plan in ("", row.plan)]
        return {"checked": table.checked.isoformat(), "prices": shown, "problems": list(table.problems)}

    def reports(self) -> Sequence[Kept]:
        """All reports that are kept."""
        return self.shelf.names()

    def report(self, name: str) -> bytes:
        """One of them; NotFound."""
        return self.shelf.get(name)

    def write_report(self, month: str) -> Sequence[str]:
        """Make the report of a month; of the current one without."""
        now = now_ms()
        return self._write(self._period(month, now), now)

    def _write(self, period: Period, now: int) -> Sequence[str]:
        account = self.accounts.at(now, period)
        try:
            answer = self._costs(account, breakdown=True)
        except MirubatoError:
            _log.exception("the report has no price tags")
            answer = self._costs(account, breakdown=False)
        files = monthly.files(self.accounts, account, answer)
        for name, body in files.items():
            self.shelf.put(name, body)
        return list(files)


def _access(config: Config) -> Mapping[str, str]:
    """As S3Store takes it."""
    return {
        "endpoint": config.s3_endpoint,
        "region": config.s3_region,
        "access_key_id": config.s3_access_key_id,
        "secret_access_key": config.s3_secret_access_key,
    }
