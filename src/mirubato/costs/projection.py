"""What a period will cost when it ends: a range that holds the truth nine times out of ten. Pure.

Each meter's days are taken apart into a level, a slope (Theil and Sen: one spike does not move it) and the shape of the
week; what is left, spikes among it, is drawn again and again for the days to come and for those that nobody measured.
Each such month is priced; the range is where 90 % of the prices are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from mirubato.costs.invoice import DailyUsage
from mirubato.costs.periods import Period, days_between
from mirubato.costs.prices import Meter, PriceRow, PriceTable

RATE = 0.9
"""The part of all months whose cost is within the range."""

_PATHS = 600
# Days that the level and the shape of the week are taken from: eight weeks.
_HISTORY_DAYS = 56
# Days that the slope is taken from: a longer one answers too late to a change.
_TREND_DAYS = 28
_TREND_DAYS_MIN = 7
_WEEKDAY_DAYS_MIN = 14
# Days count as measured when this much of them was seen.
_WHOLE = 0.95
# Relative spread of a day where there are too few days to see it, and the least that is believed.
_SPREAD_UNKNOWN, _SPREAD_MIN = 0.5, 0.02
_MAD_TO_SIGMA = 1.4826
# What is taken of spikes before any was seen: one in so many days, and up to so many times a usual day.
_SPIKE_DAYS, _SPIKE_MAX = 40, 8.0
_MILLIONTH = Decimal("0.000001")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Projection:
    """USD at the end of the period. `widened` is how much wider the range is for what was not measured."""

    low: Decimal
    mid: Decimal
    high: Decimal
    widened: Decimal
    days_measured: int
    basis: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known at a moment: usage by day, how much of each day was seen (0 to 1) by meter, and what day it is."""

    usage: DailyUsage
    seen: Mapping[Meter, Mapping[date, float]]
    today: date


@dataclass(frozen=True, slots=True)
class Shape:
    """A meter's days: `level` at day 0 (today), `slope` a day, factors of Monday to Sunday, and what is left over.

    `left` are ratios to what the shape says, `spread` their robust relative deviation.
    """

    level: float
    slope: float
    week: Floats
    left: Floats
    spread: float
    level_error: float
    slope_error: float

    def expected(self, offsets: Floats, weekdays: NDArray[np.int64]) -> Floats:
        """The quantity of days, so many after today."""
        line: Floats = np.maximum(0.0, self.level + self.slope * offsets) * self.week[weekdays]
        return line


def project(known: Known, table: PriceTable, plan: str, period: Period, seed: int = 0) -> Projection:
    """The cost of a whole period."""
    rows = table.of_plan(plan, period.start, period.end)
    days = list(period.days())
    meters = sorted({row.usage_key for row in rows if not row.fixed} & known.usage.keys())
    fixed = sum(float(row.unit_price) for row in rows if row.fixed and row.billed and row.holds_on(period.start))
    if not meters:
        only = Decimal(str(round(fixed, 6)))
        return Projection(only, only, only, Decimal(0), 0, "no usage is known: only what is paid in any case")
    shapes = {meter: shape_of(known, meter) for meter in meters}
    costs = _path_costs(known, shapes, rows, days, seed, guess_past=True) + fixed
    low, mid, high = _quantiles(costs)
    widened = 0.0
    if _has_gaps(known, meters, days):
        firm = _quantiles(_path_costs(known, shapes, rows, days, seed, guess_past=False) + fixed)
        widened = max(0.0, (high - low) - (firm[2] - firm[0]))
    measured = max(len(shape.left) for shape in shapes.values())
    return Projection(_money(low), _money(mid), _money(high), _money(widened), measured, _basis(measured))


def _basis(measured: int) -> str:
    parts = ["level"]
    if measured >= _TREND_DAYS_MIN:
        parts.append("trend")
    if measured >= _WEEKDAY_DAYS_MIN:
        parts.append("shape of the week")
    return f"{' and '.join(parts)} of {measured} measured days; {RATE:.0%} of months end within the range"


def _money(usd: float) -> Decimal:
    return Decimal(repr(usd)).quantize(_MILLIONTH)


def _quantiles(costs: Floats) -> tuple[float, float, float]:
    edge = (1 - RATE) / 2
    low, mid, high = np.quantile(costs, (edge, 0.5, 1 - edge)).tolist()
    return low, mid, high


def _has_gaps(known: Known, meters: Sequence[Meter], days: Sequence[date]) -> bool:
    return any(known.seen[meter].get(day, 0.0) < _WHOLE for meter in meters for day in days if day < known.today)


def shape_of(known: Known, meter: Meter) -> Shape:
    """The level, slope, week and spread of a meter, from its measured days."""
    first = known.today - timedelta(days=_HISTORY_DAYS)
    seen, usage = known.seen[meter], known.usage[meter]
    days = [day for day in days_between(first, known.today) if seen.get(day, 0.0) >= _WHOLE]
    if not days:
        return _from_parts(known, meter)
    amounts = np.array([float(usage.get(day, 0)) / seen[day] for day in days])
    offsets = np.array([(day - known.today).days for day in days], np.float64)
    weekdays = np.array([day.weekday() for day in days])
    # Twice: a week's shape shows only once the slope is out of it, and the slope is cleaner without the week.
    week = np.ones(7)
    for _ in range(2):
        level, slope = _line(offsets, amounts / week[weekdays])
        if len(days) >= _WEEKDAY_DAYS_MIN and level > 0:
            week = _week(amounts / np.maximum(level + slope * offsets, 1e-12), weekdays)
    fitted = np.maximum(level + slope * offsets, 0.0) * week[weekdays]
    left = np.divide(amounts, fitted, out=np.ones_like(amounts), where=fitted > 0)
    return _with_errors(level, slope, week, left, offsets)


def _from_parts(known: Known, meter: Meter) -> Shape:
    """No whole day yet: the rate of what was seen."""
    seen = sum(part for day, part in known.seen[meter].items() if day <= known.today)
    amount = float(sum(known.usage[meter].values()))
    level = amount / seen if seen > 0 else 0.0
    error = level * _SPREAD_UNKNOWN
    return Shape(level, 0.0, np.ones(7), np.empty(0), _SPREAD_UNKNOWN, error, level * 0.02)


def _line(offsets: Floats, amounts: Floats) -> tuple[float, float]:
    """Level at day 0 and slope, by medians; the slope of newer days, halved where there are few."""
    if len(amounts) < _TREND_DAYS_MIN:
        return float(np.median(amounts)), 0.0
    x, y = offsets[-_TREND_DAYS:], amounts[-_TREND_DAYS:]
    rows, columns = np.triu_indices(len(x), 1)
    slopes = (y[columns] - y[rows]) / (x[columns] - x[rows])
    slope = float(np.median(slopes))
    # A slope that noise alone could make is none: it is believed as far as it stands out from the noise.
    noise = _MAD_TO_SIGMA * float(np.median(np.abs(y - np.median(y - slope * x) - slope * x)))
    doubt = 2 * noise**2 / max(float(((x - x.mean()) ** 2).sum()), 1.0)
    slope *= slope**2 / (slope**2 + doubt) if slope else 0.0
    return max(0.0, float(np.median(y - slope * x))), slope


def _week(ratios: Floats, weekdays: NDArray[np.int64]) -> Floats:
    """Factors of Monday to Sunday with the mean 1, pulled towards 1 by as much as one more week would."""
    factors = np.ones(7)
    for weekday in range(7):
        some = ratios[weekdays == weekday]
        if len(some):
            factors[weekday] = (float(np.median(some)) * len(some) + 1.0) / (len(some) + 1)
    factors = np.maximum(factors, 0.01)
    normal: Floats = factors / factors.mean()
    return normal


def _with_errors(level: float, slope: float, week: Floats, left: Floats, offsets: Floats) -> Shape:
    count = len(left)
    spread = max(_SPREAD_MIN, _MAD_TO_SIGMA * float(np.median(np.abs(left - np.median(left)))))
    if count < _TREND_DAYS_MIN:
        spread = max(spread, _SPREAD_UNKNOWN / math.sqrt(count))
    # Days resemble the days before them, so they tell less than as many independent ones: half.
    level_error = level * spread / math.sqrt(max(1.0, count / 2))
    newest = offsets[-_TREND_DAYS:]
    width = math.sqrt(float(((newest - newest.mean()) ** 2).sum()) / 2) if count > 1 else 1.0
    slope_error = level * (spread / max(width, 1.0) if count >= _TREND_DAYS_MIN else 0.02)
    return Shape(level, slope, week, left, spread, level_error, slope_error)


def _path_costs(
    known: Known,
    shapes: Mapping[Meter, Shape],
    rows: Sequence[PriceRow],
    days: Sequence[date],
    seed: int,
    *,
    guess_past: bool,
) -> Floats:
    """What each of many possible months costs; without `guess_past`, days gone by are taken as the shape has them."""
    random = np.random.default_rng(seed)
    offsets = np.array([(day - known.today).days for day in days], np.float64)
    weekdays = np.array([day.weekday() for day in days])
    # One draw for all meters: more visitors make more of everything.
    drawn = random.random((_PATHS, len(days)))
    jitter = random.standard_normal((_PATHS, len(days)))
    tilt = random.standard_normal((_PATHS, 2))
    costs = np.zeros(_PATHS)
    paths: dict[Meter, Floats] = {}
    for meter, shape in shapes.items():
        expected = shape.expected(offsets, weekdays)
        line = tilt[:, :1] * shape.level_error + tilt[:, 1:] * shape.slope_error * _away(offsets, shape)
        moved = np.maximum(0.0, expected + line * shape.week[weekdays]) * _rest(shape, drawn, jitter)
        if not guess_past:
            moved = np.where(offsets < 0, expected, moved)
        paths[meter] = _known_part(known, meter, days) + _unknown_part(known, meter, days) * moved
    for row in rows:
        if not row.fixed and row.billed and row.price is not None and row.usage_key in paths:
            costs += _cost(row, rows, days, paths[row.usage_key] * float(row.times))
    return costs


def _away(offsets: Floats, shape: Shape) -> Floats:
    """Days from the middle of what the line was fitted to: there it is known best."""
    middle = -min(len(shape.left), _TREND_DAYS) / 2
    return offsets - middle


def _rest(shape: Shape, drawn: Floats, jitter: Floats) -> Floats:
    """What is left over on each day: one of the measured days' rests, with as much noise as fills the steps."""
    if len(shape.left) < _TREND_DAYS_MIN:
        rest = 1.0 + shape.spread * jitter
    else:
        rest = shape.left[(drawn * len(shape.left)).astype(np.int64)] + 0.3 * shape.spread * jitter
    # A spike that has not come yet: the fewer days were seen without one, the likelier.
    fraction = drawn * _PATHS % 1.0
    spike = 1.0 + (_SPIKE_MAX - 1.0) * fraction
    return np.where(drawn < 1 / (len(shape.left) + _SPIKE_DAYS), spike, np.maximum(0.0, rest))


def _known_part(known: Known, meter: Meter, days: Sequence[date]) -> Floats:
    usage = known.usage[meter]
    return np.array([float(usage.get(day, 0)) for day in days])


def _unknown_part(known: Known, meter: Meter, days: Sequence[date]) -> Floats:
    """Of each day, the part that is still to come or that nobody saw."""
    seen = known.seen[meter]

    def part(day: date) -> float:
        if day > known.today:
            return 1.0
        left = 1.0 - seen.get(day, 0.0)
        return left if left > 1 - _WHOLE else 0.0

    return np.array([part(day) for day in days])


def _cost(row: PriceRow, rows: Sequence[PriceRow], days: Sequence[date], amounts: Floats) -> Floats:
    """USD of each path, by the rule of `invoice`."""
    siblings = [one for one in rows if one.key == row.key]
    counted = np.array([any(one.holds_on(day) for one in siblings) for day in days])
    held = np.array([row.holds_on(day) for day in days])
    amounts = np.where(counted, amounts, 0.0)
    included = float(row.included)
    if row.period == "day":
        beyond = np.maximum(0.0, amounts - included)
    else:
        over = np.maximum(0.0, np.cumsum(amounts, axis=1) - included)
        beyond = np.diff(over, axis=1, prepend=0.0)
    billable = np.where(held, beyond, 0.0).sum(axis=1)
    if row.round_up:
        unit = float(row.round_up)
        billable = np.ceil(billable / unit - 1e-9) * unit
    cost: Floats = billable * float(row.unit_price)
    return cost
