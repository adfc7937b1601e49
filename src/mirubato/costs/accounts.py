"""A billing period at a moment: usage from the ledger, priced, projected, held against budgets and limits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from mirubato.costs import budgets as budgeting
from mirubato.costs import headroom as limits
from mirubato.costs.budgets import Paying, Runaway, Standing
from mirubato.costs.collecting import Running
from mirubato.costs.datasets import DATASETS
from mirubato.costs.days import Days
from mirubato.costs.headroom import Headroom
from mirubato.costs.invoice import ZERO, DailyUsage, Invoice, invoice
from mirubato.costs.ledger import Ledger
from mirubato.costs.periods import HOUR_MS, Period, day_of, moment_ms, period_of
from mirubato.costs.prices import Meter, PriceTable
from mirubato.costs.projection import Known, Projection, project
from mirubato.costs.seeing import Missing, Seen, missing, seen_of
from mirubato.costs.usage import Usage, before, daily

# Days before the period that the projection learns from.
_HISTORY_DAYS = 56
# What monitoring costs: products that are used for nothing else, and whatever the gateway itself used.
MONITORING_PRODUCTS = ("analytics_engine", "workers_logs", "observability", "otlp_export")


@dataclass(frozen=True, slots=True)
class Terms:
    """How the account is billed: `plan` is `free` or `paid`, `anchor` the day of the month that a period begins on."""

    plan: str
    anchor: int
    budgets: Mapping[str, Decimal] = field(default_factory=dict)
    """Those of the settings; the ledger's win."""
    stages: Sequence[float] = (0.8, 1.0, 1.0)
    cloudflare: bool = False
    """Whether Cloudflare's analytics are asked."""


@dataclass(frozen=True, slots=True)
class Account:
    """All that is known of a period at `now` (ms)."""

    period: Period
    now: int
    rows: Sequence[Usage]
    """Reconciled usage of the period, summed up by day."""
    usage: DailyUsage
    """By day, from before the period on."""
    seen: Seen
    bill: Invoice
    today: Decimal
    projection: Projection
    rates: Mapping[Meter, float]
    headroom: Sequence[Headroom]
    budgets: Sequence[Standing]
    runaways: Sequence[Runaway]
    missing: Sequence[Missing]
    own: Sequence[Usage]
    """What the gateway itself used, whether or not another source holds it too."""

    @property
    def current(self) -> bool:
        """Whether the period is not over."""
        return self.period.start_ms <= self.now < self.period.end_ms


class Accounts:
    """Periods of one account, from the ledger; all methods block."""

    def __init__(
        self,
        ledger: Ledger,
        table: PriceTable,
        terms: Terms,
        running: Callable[[], Running],
        invocations: Callable[[], Mapping[str, Sequence[tuple[str, float]]]],
    ) -> None:
        """`running` is the hour that the ledger does not have yet; `invocations` tells what one invocation takes:
        (of what, amount) by the id of the limit."""
        self.ledger, self.table, self.terms = ledger, table, terms
        self._days, self._invocations = Days(ledger, running), invocations
        self.notes: list[str] = []
        """What metering could not count when it last looked."""

    def budgets(self) -> dict[str, Decimal]:
        """USD a period by product: the settings', and over them what was set since."""
        return {**self.terms.budgets, **self.ledger.budgets()}

    def period_at(self, now: int) -> Period:
        """The period that a moment is in."""
        return period_of(day_of(now), self.terms.anchor)

    def at(self, now: int, period: Period | None = None) -> Account:
        """A period as it looks at `now` (ms); without one, the current."""
        period = period or self.period_at(now)
        start = moment_ms(min(period.start, day_of(now)) - timedelta(days=_HISTORY_DAYS))
        days = self._days.between(start, min(period.end_ms, now))
        rows = [row for day in days for row in day.rows]
        seen = seen_of(one for day in days for one in day.coverage)
        metered = {row.meter for day in days for row in day.metered}
        problems = list(dict.fromkeys(text for day in days for text in day.problems))
        hours, first = self._days.hours(now), period.start_ms
        usage = daily(rows)
        today = day_of(min(now, period.end_ms))
        known = Known(usage, {meter: seen.days(meter, start, period.end_ms) for meter in usage}, today)
        bill = invoice(usage, self.table, self.terms.plan, period)
        rates = budgeting.rates(hours, now)
        paying = Paying(usage, rates, self.table, self.terms.plan, period, now)
        datasets = DATASETS if self.terms.cloudflare else ()
        absent = missing(seen, period.start_ms, period.end_ms, now, datasets, metered)
        prices = self.table.on(today, self.terms.plan)
        return Account(
            period=period,
            now=now,
            rows=[row for row in rows if row.hour >= first],
            usage=usage,
            seen=seen,
            bill=bill,
            today=self._today(usage, bill, period, now),
            projection=project(known, self.table, self.terms.plan, period),
            rates=rates,
            headroom=self._headroom(known, rows, rates, period, now),
            budgets=budgeting.standings(paying, self.budgets(), self.terms.stages),
            runaways=budgeting.runaways(hours, prices, now),
            missing=[
                *absent,
                *self._unpriced(rows),
                *(Missing(text, "not counted") for text in (*problems, *self.notes)),
            ],
            own=[row for day in days for row in day.own if row.hour >= first],
        )

    def _today(self, usage: DailyUsage, bill: Invoice, period: Period, now: int) -> Decimal:
        """What usage has cost since midnight UTC."""
        today = day_of(now)
        if not period.start <= today < period.end:
            return ZERO
        yesterday = invoice(before(usage, today), self.table, self.terms.plan, period)
        return max(ZERO, bill.usage_total - yesterday.usage_total)

    def _headroom(
        self, known: Known, rows: Sequence[Usage], rates: Mapping[Meter, float], period: Period, now: int
    ) -> Sequence[Headroom]:
        if not period.start_ms <= now < period.end_ms:
            return ()
        plan = self.terms.plan
        return [
            *limits.allowances(known, rates, self.table, plan, period, now),
            *limits.sizes(rows, self.table, plan, known.today),
            *limits.invocations(self._invocations(), self.table, plan),
        ]

    def _unpriced(self, rows: Sequence[Usage]) -> list[Missing]:
        """Usage that no row of the table prices."""
        known = self.table.usage_meters()
        unknown = sorted({row.meter for row in rows} - known)
        found = [Missing(f"{meter} has no price row", "used, but not in any sum") for meter in unknown]
        return [*found, *(Missing(problem, "the row is not used") for problem in self.table.problems)]

    def monitoring(self, account: Account) -> tuple[Decimal, Decimal]:
        """What monitoring costs of a period's bill: (USD as billed, USD by list price).

        Analytics Engine, logs and traces as a whole; of other products the gateway's share.
        """
        billed = listed = ZERO
        totals: dict[Meter, Decimal] = {}
        for row in account.rows:
            totals[row.meter] = totals.get(row.meter, ZERO) + Decimal(repr(float(row.quantity)))
        own: dict[Meter, Decimal] = {}
        for row in account.own:
            own[row.meter] = own.get(row.meter, ZERO) + Decimal(repr(float(row.quantity)))
        for line in account.bill.lines:
            part = Decimal(1) if line.row.product in MONITORING_PRODUCTS else ZERO
            whole = totals.get(line.row.usage_key, ZERO)
            if not part and whole and not line.row.fixed:
                part = min(Decimal(1), own.get(line.row.usage_key, ZERO) / whole)
            billed, listed = billed + line.usd * part, listed + line.usd_list * part
        return billed, listed


def hours_seen(seen: Mapping[int, float]) -> int:
    """How many hours were seen whole."""
    return sum(1 for part in seen.values() if part >= 0.9)


def newest_hour(hours: Mapping[int, float]) -> int | None:
    """The end (ms) of the newest hour of which something was seen."""
    known = [hour for hour, part in hours.items() if part > 0]
    return max(known) + HOUR_MS if known else None
