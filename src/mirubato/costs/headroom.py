"""Limits of the plan: how much of each is used, and when it is full if it goes on like this. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np

from mirubato.costs.invoice import DailyUsage
from mirubato.costs.periods import DAY_MS, HOUR_MS, Period, day_of, moment_ms
from mirubato.costs.prices import LimitRow, Meter, PriceRow, PriceTable
from mirubato.costs.projection import Known, shape_of
from mirubato.costs.usage import Usage

# A date further away than this is no forecast.
_AHEAD_DAYS_MAX = 366
_GB_DAYS = 30
_GROWTH_DAYS_MIN = 3


@dataclass(frozen=True, slots=True)
class Headroom:
    """A limit, what of it is used (in its unit), and when it is full (ms; None: not in sight).

    `kind`: `included` (more costs money), `refused` (more is refused), `size`, `invocation`.
    """

    id: str
    product: str
    kind: str
    limit: Decimal
    unit: str
    used: float
    full_at: int | None = None
    of: str = ""
    source: str = ""

    @property
    def ratio(self) -> float:
        """Used part of the limit."""
        return self.used / float(self.limit) if self.limit else 0.0

    def sentence(self) -> str:
        """As a person says it."""
        word = "used up" if self.kind == "included" else "full"
        if self.ratio >= 1:
            return word
        if self.full_at is None:
            return f"{self.ratio:.0%} used, not {word} in sight"
        moment = datetime.fromtimestamp(self.full_at / 1000, UTC)
        return f"{self.ratio:.0%} used, {word} on {moment.day} {moment:%B}" + (
            f" at {moment:%H:%M} UTC" if self.id.endswith("_per_day") else ""
        )


def allowances(
    known: Known, rates: Mapping[Meter, float], table: PriceTable, plan: str, period: Period, now: int
) -> list[Headroom]:
    """What is included, of each row in force today."""
    return [
        _daily(row, known.usage, rates, now) if row.period == "day" else _monthly(row, known, period)
        for row in table.on(known.today, plan)
        if row.included and not row.fixed
    ]


def _kind(row: PriceRow) -> str:
    return "refused" if row.price is None else "included"


def _daily(row: PriceRow, usage: DailyUsage, rates: Mapping[Meter, float], now: int) -> Headroom:
    used = float(usage.get(row.usage_key, {}).get(day_of(now), 0) * row.times)
    rate = rates.get(row.usage_key, 0.0) * float(row.times)
    full_at = None
    if rate > 0 and used < row.included:
        at = now + (float(row.included) - used) / rate * HOUR_MS
        full_at = int(at) if at < (now // DAY_MS + 1) * DAY_MS else None
    return Headroom(
        f"{row.key}_per_day", row.product, _kind(row), row.included, row.unit, used, full_at, "", row.source
    )


def _monthly(row: PriceRow, known: Known, period: Period) -> Headroom:
    days = known.usage.get(row.usage_key, {})
    times = float(row.times)
    used = sum(float(quantity) for day, quantity in days.items() if period.start <= day < period.end) * times
    full_at = None
    if days and 0 < used < row.included:
        full_at = _used_up(float(row.included) - used, known, row.usage_key, times, period)
    return Headroom(
        f"{row.key}_per_month", row.product, _kind(row), row.included, row.unit, used, full_at, "", row.source
    )


def _used_up(left: float, known: Known, meter: Meter, times: float, period: Period) -> int | None:
    """When the rest is gone (ms); None if it lasts for the period."""
    shape = shape_of(known, meter)
    coming = max(0, (period.end - known.today).days)
    offsets = np.arange(coming, dtype=np.float64)
    weekdays = np.array([(known.today + timedelta(days=number)).weekday() for number in range(coming)], np.int64)
    expected = shape.expected(offsets, weekdays) * times
    passed = known.seen[meter].get(known.today, 0.0)
    if coming:
        expected[0] *= 1.0 - passed
    total = np.cumsum(expected)
    gone = np.flatnonzero(total >= left)
    if not len(gone):
        return None
    day = int(gone[0])
    part = (left - (float(total[day]) - float(expected[day]))) / max(float(expected[day]), 1e-12)
    if day == 0:
        part = passed + part * (1.0 - passed)
    return moment_ms(known.today + timedelta(days=day)) + int(part * DAY_MS)


def sizes(rows: Iterable[Usage], table: PriceTable, plan: str, today: date) -> list[Headroom]:
    """What may grow to a size: each database by itself. `rows` are GB-months of days, by label."""
    found = []
    history: dict[tuple[Meter, str], dict[date, float]] = {}
    for row in rows:
        days = history.setdefault((row.meter, row.label), {})
        days[day_of(row.hour)] = days.get(day_of(row.hour), 0.0) + row.quantity * _GB_DAYS
    for limit in (one for one in table.limits if one.of == "size" and one.plan == plan):
        for (meter, label), days in sorted(history.items()):
            if meter == Meter(limit.product, limit.meter):
                found.append(_size(limit, label, days, today))
    return found


def _size(limit: LimitRow, label: str, days: Mapping[date, float], today: date) -> Headroom:
    order = sorted(days)
    used, full_at = days[order[-1]], None
    if len(order) >= _GROWTH_DAYS_MIN:
        slopes = [
            (days[later] - days[earlier]) / (later - earlier).days
            for number, earlier in enumerate(order[-28:])
            for later in order[-28:][number + 1 :]
        ]
        growth = float(np.median(slopes))
        ahead = (float(limit.value) - used) / growth if growth > 0 else math.inf
        if 0 <= ahead <= _AHEAD_DAYS_MAX:
            full_at = moment_ms(today + timedelta(days=int(ahead + 1e-6)))
    return Headroom(limit.id, limit.product, "size", limit.value, limit.unit, used, full_at, label, limit.source)


def invocations(used: Mapping[str, Sequence[tuple[str, float]]], table: PriceTable, plan: str) -> list[Headroom]:
    """Limits of one invocation: (of what, how much it takes) by the limit's id."""
    return [
        Headroom(row.id, row.product, "invocation", row.value, row.unit, amount, None, of, row.source)
        for row in table.limits
        if row.of == "invocation" and row.plan == plan
        for of, amount in used.get(row.id, ())
    ]
