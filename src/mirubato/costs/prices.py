"""The dated price table: what a unit of a meter costs, on which plan, from when to when, and where that stands."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from mirubato.errors import ConfigError

PLANS = ("free", "paid")

_PERIODS = ("day", "month")


class Meter(NamedTuple):
    """What is counted: of which product, and what of it."""

    product: str
    name: str

    def __str__(self) -> str:
        return f"{self.product}.{self.name}"


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A tariff: beyond `included` a `period`, `price` USD for each `per` units; no price: more is refused."""

    product: str
    meter: str
    unit: str
    plan: str
    included: Decimal
    period: str
    effective_from: date
    source: str
    checked: date
    price: Decimal | None = None
    per: Decimal = Decimal(1)
    effective_to: date | None = None
    """The last day; None: until further notice."""
    round_up: Decimal = Decimal(0)
    billed: bool = True
    fixed: bool = False
    reads: str = ""
    times: Decimal = Decimal(1)
    note: str = ""

    @property
    def key(self) -> Meter:
        """The meter that the money is for."""
        return Meter(self.product, self.meter)

    @property
    def usage_key(self) -> Meter:
        """The meter whose usage is priced."""
        product, _, name = (self.reads or str(self.key)).partition(".")
        return Meter(product, name)

    def holds_on(self, day: date) -> bool:
        """Whether it is in force."""
        return self.effective_from <= day and (self.effective_to is None or day <= self.effective_to)

    @property
    def unit_price(self) -> Decimal:
        """USD for one unit; 0 where more is refused."""
        return Decimal(0) if self.price is None else self.price / self.per


@dataclass(frozen=True, slots=True)
class LimitRow:
    """What a plan allows at most of something that is no price: `of` is `size` or `invocation`."""

    id: str
    product: str
    meter: str
    plan: str
    value: Decimal
    unit: str
    of: str
    source: str
    checked: date


@dataclass(frozen=True, slots=True)
class PriceTable:
    """All rows; `problems` are sentences about rows of the user's file that could not be used."""

    rows: Sequence[PriceRow]
    limits: Sequence[LimitRow] = ()
    problems: Sequence[str] = ()

    def on(self, day: date, plan: str | None = None) -> list[PriceRow]:
        """The rows in force on a day, of one plan or of all."""
        return [row for row in self.rows if row.holds_on(day) and plan in (None, row.plan)]

    def of_plan(self, plan: str, start: date, end: date) -> list[PriceRow]:
        """The rows of a plan that are in force on any day from `start` to before `end`."""
        last = end - timedelta(days=1)
        return [
            row
            for row in self.rows
            if row.plan == plan
            and row.effective_from <= last
            and (row.effective_to is None or row.effective_to >= start)
        ]

    def products(self) -> list[str]:
        """Each once, in the order of the table."""
        return list(dict.fromkeys(row.product for row in self.rows))

    def usage_meters(self) -> set[Meter]:
        """Every meter whose usage some row prices."""
        return {row.usage_key for row in self.rows if not row.fixed}

    @property
    def checked(self) -> date:
        """The day on which the oldest row was last compared with its source."""
        return min(row.checked for row in self.rows)


@lru_cache(maxsize=1)
def packaged() -> PriceTable:
    """The table that comes with the package."""
    text = files("mirubato.costs").joinpath("prices.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text, parse_float=Decimal)
    rows, problems = _rows(document.get("price", ()), "prices.toml")
    limits = tuple(LimitRow(**{**one, "value": Decimal(one["value"])}) for one in document["limit"])
    assert not problems, problems
    return PriceTable(tuple(rows), limits)


def load(path: str = "") -> PriceTable:
    """The packaged table, with the user's file laid over it; ConfigError if that cannot be read at all.

    Rows that cannot be understood are left out and become `problems`: a slip in a tariff must not stop the gateway.
    """
    if not path:
        return packaged()
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cost_prices (MIRUBATO_COST_PRICES): {path}: {error}") from error
    given = document.pop("price", [])
    rows, problems = _rows(given if isinstance(given, list) else [given], path)
    problems += [f"{path}: no such table: {name}" for name in document]
    return replace(packaged(), rows=tuple(_laid_over(packaged().rows, rows)), problems=tuple(problems))


def _rows(tables: Iterable[Any], where: str) -> tuple[list[PriceRow], list[str]]:
    rows, problems = [], []
    for number, table in enumerate(tables, 1):
        try:
            rows.append(_row(table))
        except (ValueError, TypeError, ArithmeticError) as error:
            problems.append(f"{where}: price row {number} is left out: {error}")
    return rows, problems


_NUMBERS = {"included", "price", "per", "round_up", "times"}
_DATES = {"effective_from", "effective_to", "checked"}
_SWITCHES = {"billed", "fixed"}
_KNOWN = {field.name for field in fields(PriceRow)}
_NEEDED = ("product", "meter", "effective_from")
_DEFAULTS: Mapping[str, Any] = {
    "unit": "unit",
    "plan": "paid",
    "included": 0,
    "period": "month",
    "source": "your own price file",
}


def _row(table: Any) -> PriceRow:
    """ValueError that says what is wrong."""
    if not isinstance(table, dict):
        raise ValueError("it is no table")
    if unknown := sorted(table.keys() - _KNOWN):
        raise ValueError(f"no such key: {', '.join(unknown)}")
    if absent := [name for name in _NEEDED if name not in table]:
        raise ValueError(f"{', '.join(absent)} is missing")
    given = {**_DEFAULTS, "checked": table["effective_from"], **table}
    row = PriceRow(**{name: _value(name, value) for name, value in given.items()})
    if row.plan not in PLANS or row.period not in _PERIODS:
        raise ValueError(f"plan is one of {', '.join(PLANS)}, period one of {', '.join(_PERIODS)}")
    if row.effective_to is not None and row.effective_to < row.effective_from:
        raise ValueError("effective_to is before effective_from")
    if not row.per:
        raise ValueError("per is 0")
    return row


def _value(name: str, value: Any) -> Any:
    if name in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise ValueError(f"{name} is no number: {value!r:.60}")
        number = Decimal(value)
        if not number.is_finite() or number < 0:
            raise ValueError(f"{name} is negative or not finite")
        return number
    if name in _DATES:
        if type(value) is not date:
            raise ValueError(f"{name} is no date such as 2026-12-01")
        return value
    if not isinstance(value, bool if name in _SWITCHES else str):
        raise ValueError(f"{name} is of the wrong type")
    return value


def _laid_over(rows: Sequence[PriceRow], own: Sequence[PriceRow]) -> list[PriceRow]:
    """The user's rows win: what they cover of a packaged row is taken from it."""
    kept = list(rows)
    for mine in own:
        kept = [left for row in kept for left in _outside(row, mine)]
        kept.append(mine)
    return sorted(kept, key=lambda row: _order(rows, row))


def _outside(row: PriceRow, mine: PriceRow) -> list[PriceRow]:
    """What is left of a row beside the stretch of another one of the same meter and plan."""
    if (row.key, row.plan) != (mine.key, mine.plan):
        return [row]
    left, day = [], timedelta(days=1)
    if row.effective_from < mine.effective_from:
        before = mine.effective_from - day
        left.append(replace(row, effective_to=min(row.effective_to or before, before)))
    if mine.effective_to is not None and (row.effective_to is None or row.effective_to > mine.effective_to):
        left.append(replace(row, effective_from=max(row.effective_from, mine.effective_to + day)))
    return left


def _order(rows: Sequence[PriceRow], row: PriceRow) -> tuple[int, str, date]:
    known = [one.key for one in rows]
    return (known.index(row.key) if row.key in known else len(known), row.plan, row.effective_from)


def row_json(row: PriceRow) -> dict[str, Any]:
    """For machines: numbers as text, so that none of their digits is lost; dates as ISO 8601."""
    return {
        "product": row.product,
        "meter": row.meter,
        "unit": row.unit,
        "plan": row.plan,
        "included": str(row.included),
        "period": row.period,
        "price": None if row.price is None else str(row.price),
        "per": str(row.per),
        "currency": "USD",
        "billed": row.billed,
        "round_up": str(row.round_up) if row.round_up else None,
        "reads": row.reads or None,
        "times": str(row.times) if row.reads else None,
        "effective_from": row.effective_from.isoformat(),
        "effective_to": row.effective_to.isoformat() if row.effective_to else None,
        "source": row.source,
        "checked": row.checked.isoformat(),
        "note": row.note or None,
    }
