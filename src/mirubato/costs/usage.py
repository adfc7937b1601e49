"""Usage: how much of which meter, in which hour, by whom, and from where we know. Pure."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum

from mirubato.costs.invoice import ZERO
from mirubato.costs.periods import day_of
from mirubato.costs.prices import Meter


class Source(StrEnum):
    """Where a quantity comes from."""

    METERED = "metered"
    """Counted from telemetry that passed through the gateway."""
    GRAPHQL = "graphql"
    """Cloudflare's GraphQL analytics: sampled there, so an estimate."""
    OWN = "own"
    """What the gateway itself used: its D1 database, its reads of Analytics Engine."""


@dataclass(frozen=True, slots=True)
class Usage:
    """A quantity of a meter in the hour that begins at `hour` (ms); `script` and `label` are '' where there is none."""

    hour: int
    meter: Meter
    quantity: float
    source: Source
    script: str = ""
    label: str = ""


def usable(rows: Iterable[Usage]) -> tuple[list[Usage], list[str]]:
    """What can be counted, and sentences about what cannot: negative and infinite quantities are no usage."""
    good: list[Usage] = []
    bad: dict[tuple[Meter, Source], int] = defaultdict(int)
    for row in rows:
        if math.isfinite(row.quantity) and row.quantity >= 0:
            good.append(row)
        else:
            bad[row.meter, row.source] += 1
    return good, [
        f"{count} quantities of {meter} from {source} are negative or not finite, and were left out"
        for (meter, source), count in bad.items()
    ]


def summed(rows: Sequence[Usage]) -> list[Usage]:
    """One row for each hour, meter, source, script and label."""
    sums: dict[tuple[int, Meter, Source, str, str], float] = {}
    for row in rows:
        key = (row.hour, row.meter, row.source, row.script, row.label)
        sums[key] = sums.get(key, 0.0) + row.quantity
    return [
        Usage(hour, meter, quantity, source, script, label)
        for (hour, meter, source, script, label), quantity in sums.items()
    ]


def reconciled(rows: Iterable[Usage]) -> list[Usage]:
    """One truth for each meter and hour: Cloudflare's own number where there is one, else metered plus own.

    Cloudflare's number holds what was metered and what the gateway used, so they are never added to it. Where it does
    not say which script it was, what was metered says in which parts it is divided.
    """
    groups: dict[tuple[int, Meter], dict[Source, list[Usage]]] = {}
    for row in rows:
        groups.setdefault((row.hour, row.meter), {}).setdefault(row.source, []).append(row)
    found: list[Usage] = []
    for sources in groups.values():
        told = sources.get(Source.GRAPHQL)
        if told is None:
            found += [row for part in sources.values() for row in part]
        else:
            found += _divided(told, [*sources.get(Source.METERED, ()), *sources.get(Source.OWN, ())])
    return found


def _divided(told: Sequence[Usage], ours: Sequence[Usage]) -> list[Usage]:
    """Cloudflare's quantity, by our scripts where it names none."""
    counted = sum(row.quantity for row in ours)
    if counted <= 0 or any(row.script for row in told):
        return list(told)
    factor = sum(row.quantity for row in told) / counted
    return [replace(row, quantity=row.quantity * factor, source=Source.GRAPHQL) for row in ours]


def daily(rows: Iterable[Usage]) -> dict[Meter, dict[date, Decimal]]:
    """Sums for each meter and day."""
    sums: dict[Meter, dict[date, Decimal]] = {}
    for row in rows:
        days = sums.setdefault(row.meter, {})
        day = day_of(row.hour)
        days[day] = days.get(day, ZERO) + Decimal(repr(float(row.quantity)))
    return sums


def weights(rows: Iterable[Usage], by: str) -> dict[Meter, dict[str, Decimal]]:
    """Each meter's quantity by `script` or `label`: the parts in which its cost is divided."""
    parts: dict[Meter, dict[str, Decimal]] = {}
    for row in rows:
        of = parts.setdefault(row.meter, {})
        key = row.script if by == "script" else row.label
        of[key] = of.get(key, ZERO) + Decimal(repr(float(row.quantity)))
    return parts


def before(usage: Mapping[Meter, Mapping[date, Decimal]], day: date) -> dict[Meter, dict[date, Decimal]]:
    """The days before `day` only."""
    return {meter: {at: quantity for at, quantity in days.items() if at < day} for meter, days in usage.items()}
