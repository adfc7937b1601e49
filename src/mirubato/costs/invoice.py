"""Usage in, dollars out. Pure; money is Decimal, and quantities are priced as they are, day by day."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_CEILING, Decimal

from mirubato.costs.periods import Period
from mirubato.costs.prices import Meter, PriceRow, PriceTable

ZERO = Decimal(0)

# Parts of a sum are multiples of it, so that adding them up loses no digit.
_GRAIN = Decimal("1e-12")

DailyUsage = Mapping[Meter, Mapping[date, Decimal]]
"""How much of each meter on each day; days without usage may be missing."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one row of the table makes of a period: `usd` as billed, `usd_list` by its list price."""

    row: PriceRow
    quantity: Decimal
    billable: Decimal
    """Beyond what is included; on the Free plan, what is refused."""
    usd: Decimal
    usd_list: Decimal


@dataclass(frozen=True, slots=True)
class Invoice:
    """A period, or the part of it that has passed."""

    lines: Sequence[Line] = field(default_factory=tuple)

    @property
    def total(self) -> Decimal:
        """USD as billed."""
        return sum((line.usd for line in self.lines), ZERO)

    @property
    def total_list(self) -> Decimal:
        """USD if all were billed that has a price."""
        return sum((line.usd_list for line in self.lines), ZERO)

    @property
    def usage_total(self) -> Decimal:
        """USD as billed, without what is paid whatever was used."""
        return sum((line.usd for line in self.lines if not line.row.fixed), ZERO)

    def by_product(self, products: Iterable[str]) -> dict[str, Decimal]:
        """USD as billed of each product, at zero too."""
        sums = dict.fromkeys(products, ZERO)
        for line in self.lines:
            sums[line.row.product] = sums.get(line.row.product, ZERO) + line.usd
        return sums


def invoice(usage: DailyUsage, table: PriceTable, plan: str, period: Period) -> Invoice:
    """What a period costs with this usage; usage on other days is not looked at.

    Where a price changes within the period, what is included is used up in the order of the days, and each day is
    priced by the row of that day.
    """
    return Invoice([_line(row, usage, table, period) for row in table.of_plan(plan, period.start, period.end)])


def _line(row: PriceRow, usage: DailyUsage, table: PriceTable, period: Period) -> Line:
    if row.fixed:
        due = row.unit_price if row.holds_on(period.start) else ZERO
        return Line(row, Decimal(1), Decimal(1), due if row.billed else ZERO, due)
    days = usage.get(row.usage_key, {})
    siblings = [one for one in table.rows if one.plan == row.plan and one.key == row.key]
    quantity = billable = used = ZERO
    for day in sorted(day for day in days if period.start <= day < period.end):
        amount = days[day] * row.times
        if row.holds_on(day):
            quantity += amount
            billable += _beyond(row, used, amount)
        elif not any(one.holds_on(day) for one in siblings):
            continue
        used += amount
    billable = _rounded_up(billable, row.round_up)
    due = billable * row.unit_price
    return Line(row, quantity, billable, due if row.billed else ZERO, due)


def _beyond(row: PriceRow, used: Decimal, amount: Decimal) -> Decimal:
    """How much of a day's `amount` is more than what is included, `used` having gone before it in the period."""
    if row.period == "day":
        return max(ZERO, amount - row.included)
    return max(ZERO, used + amount - row.included) - max(ZERO, used - row.included)


def _rounded_up(quantity: Decimal, unit: Decimal) -> Decimal:
    if not unit:
        return quantity
    return (quantity / unit).to_integral_value(ROUND_CEILING) * unit


def shared(total: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """A sum of money divided by weights (not negative); the parts add up to it exactly, to the last digit."""
    whole = sum(weights, ZERO)
    if not weights:
        return []
    if not whole:
        return [total, *[ZERO] * (len(weights) - 1)]
    parts = [(total * weight / whole).quantize(_GRAIN) for weight in weights]
    largest = max(range(len(parts)), key=parts.__getitem__)
    parts[largest] = total - sum((part for number, part in enumerate(parts) if number != largest), ZERO)
    return parts
