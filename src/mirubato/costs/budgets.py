"""Budgets: what of them is used, how long they last at this rate, and whether something runs away. Pure."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from mirubato.costs.datasets import DATASETS
from mirubato.costs.invoice import ZERO, DailyUsage, Invoice, invoice
from mirubato.costs.periods import DAY_MS, HOUR_MS, Period, day_of
from mirubato.costs.prices import Meter, PriceRow, PriceTable
from mirubato.costs.usage import Usage

ALL = ""
"""The product of the budget for all products together."""

STAGES = ("notify", "page", "webhook")

_BISECTIONS = 24
# Same hours of the days before that make a usual one; of fewer than so many, nothing is said.
_DAYS, _DAYS_MIN = 7, 3
# USD an hour below which nothing runs away, whatever the ratio: 7 USD a month.
_NOISE_USD = 0.01
RUNAWAY_RATIO = 3.0

# Sizes, told once a day: they have no rate.
_DAILY = {meter for dataset in DATASETS if dataset.by_day for meter in dataset.meters}


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget of a product (ALL: of all), USD a period: what is spent, hours until it is gone (inf: it lasts)."""

    product: str
    usd: Decimal
    spent: Decimal
    hours_left: float
    stage: int
    """How many of STAGES are reached."""

    @property
    def used(self) -> float:
        """Part of it that is spent."""
        return float(self.spent / self.usd) if self.usd else (math.inf if self.spent else 0.0)

    def sentence(self) -> str:
        """As a person says it."""
        if self.hours_left <= 0:
            return "gone"
        if math.isinf(self.hours_left):
            return "at this rate it lasts to the end of the period"
        return f"at this rate gone in {hours_text(self.hours_left)}"


def hours_text(hours: float) -> str:
    """`3 h 20 min`, `5 d 4 h`."""
    minutes = round(hours * 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def spent_of(bill: Invoice, product: str) -> Decimal:
    """USD of one product or of all."""
    return sum((line.usd for line in bill.lines if product in (ALL, line.row.product)), ZERO)


@dataclass(frozen=True, slots=True)
class Paying:
    """A period at a moment (ms): usage so far, and how much of each meter an hour brings at this rate."""

    usage: DailyUsage
    rates: Mapping[Meter, float]
    table: PriceTable
    plan: str
    period: Period
    now: int

    def bill_in(self, hours: float) -> Invoice:
        """The invoice after so many more hours at this rate."""
        usage = {meter: dict(days) for meter, days in self.usage.items()}
        for meter, rate in self.rates.items():
            days = usage.setdefault(meter, {})
            for day, part in _hours_by_day(self.now, min(self.now + round(hours * HOUR_MS), self.period.end_ms)):
                days[day] = days.get(day, ZERO) + Decimal(repr(rate * part))
        return invoice(usage, self.table, self.plan, self.period)


def _hours_by_day(start: int, end: int) -> Iterable[tuple[date, float]]:
    while start < end:
        until = min(end, (start // DAY_MS + 1) * DAY_MS)
        yield day_of(start), (until - start) / HOUR_MS
        start = until


def standings(paying: Paying, budgets: Mapping[str, Decimal], stages: Sequence[float]) -> list[Standing]:
    """Each budget, the one for all first; `stages` are parts of it, in the order of STAGES."""
    bill = paying.bill_in(0)
    found = []
    for product, usd in sorted(budgets.items()):
        spent = spent_of(bill, product)
        used = float(spent / usd) if usd else (1.0 if spent else 0.0)
        reached = sum(1 for stage in stages if used >= stage)
        found.append(Standing(product, usd, spent, _hours_left(paying, product, usd), reached))
    return found


def _hours_left(paying: Paying, product: str, usd: Decimal) -> float:
    """Hours until a budget is gone; infinite if it lasts for the period."""
    if spent_of(paying.bill_in(0), product) >= usd:
        return 0.0
    low, high = 0.0, max(0.0, (paying.period.end_ms - paying.now) / HOUR_MS)
    if spent_of(paying.bill_in(high), product) < usd:
        return math.inf
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if spent_of(paying.bill_in(middle), product) >= usd else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class Runaway:
    """A product's list value an hour now (USD), against the median of the same hour of the days before."""

    product: str
    usd_hour: float
    usual_usd_hour: float

    @property
    def ratio(self) -> float:
        """How many times the usual; at least a cent an hour counts as usual."""
        return self.usd_hour / max(self.usual_usd_hour, _NOISE_USD)

    @property
    def runs_away(self) -> bool:
        """Whether it is worth a word."""
        return self.ratio >= RUNAWAY_RATIO


def rates(rows: Iterable[Usage], now: int) -> dict[Meter, float]:
    """Quantity an hour at this rate: of this hour so far, and as much of the one before as makes it an hour."""
    hour = now // HOUR_MS * HOUR_MS
    before = 1.0 - (now - hour) / HOUR_MS
    sums: dict[Meter, float] = {}
    for row in rows:
        if row.meter in _DAILY:
            continue
        part = 1.0 if row.hour == hour else before if row.hour == hour - HOUR_MS else 0.0
        if part:
            sums[row.meter] = sums.get(row.meter, 0.0) + row.quantity * part
    return sums


def runaways(rows: Sequence[Usage], price_rows: Sequence[PriceRow], now: int) -> list[Runaway]:
    """Each product that has at least three days to be compared with. `rows` are reconciled hours of eight days."""
    prices: dict[Meter, list[tuple[str, float]]] = {}
    for row in price_rows:
        if not row.fixed:
            prices.setdefault(row.usage_key, []).append((row.product, float(row.unit_price * row.times)))
    values: dict[str, dict[int, float]] = {}
    for one in (row for row in rows if row.meter not in _DAILY):
        for product, price in prices.get(one.meter, ()):
            hours = values.setdefault(product, {})
            hours[one.hour] = hours.get(one.hour, 0.0) + one.quantity * price
    now_rates = rates(rows, now)
    current: dict[str, float] = {}
    for meter, rate in now_rates.items():
        for product, price in prices.get(meter, ()):
            current[product] = current.get(product, 0.0) + rate * price
    known = {one.hour for one in rows}
    return [
        Runaway(product, current.get(product, 0.0), statistics.median(usual))
        for product, hours in sorted(values.items())
        if len(usual := _usual(hours, known, now)) >= _DAYS_MIN
    ]


def _usual(hours: Mapping[int, float], known: set[int], now: int) -> list[float]:
    """The same hour of the seven days before; one with no usage of anything was not measured, and is left out."""
    hour = now // HOUR_MS * HOUR_MS
    same = (hour - number * DAY_MS for number in range(1, _DAYS + 1))
    return [hours.get(at, 0.0) for at in same if at in known]
