"""The projection: its range covers the truth as often as it says, on months that are made as real ones are."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirubato.costs.invoice import invoice
from mirubato.costs.periods import Period, days_between, period_named, period_of
from mirubato.costs.prices import Meter, packaged
from mirubato.costs.projection import RATE, Known, Projection, project

TABLE = packaged()
REQUESTS = Meter("workers", "requests")
START = date(2026, 3, 2)  # a Monday
JUNE = period_named("2026-06", 1)


def money(amount: float) -> Decimal:
    return Decimal(repr(float(amount)))


@dataclass(frozen=True)
class World:
    """Requests of 150 days from START: a level, growth a month, weekends, noise, and now and then a spike."""

    level: float = 1e6
    growth: float = 0.0
    weekend: float = 1.0
    noise: float = 0.1
    spikes: float = 0.0
    seed: int = 1

    def days(self) -> dict[date, Decimal]:
        random = np.random.default_rng(self.seed)
        found = {}
        for number, day in enumerate(days_between(START, START + timedelta(days=150))):
            amount = self.level * (1 + self.growth) ** (number / 30) * (self.weekend if day.weekday() >= 5 else 1.0)
            amount *= random.lognormal(0, self.noise)
            if random.random() < self.spikes:
                amount *= random.uniform(3, 10)
            found[day] = money(amount)
        return found


def known_at(days: Mapping[date, Decimal], today: date, elapsed: float, missing: set[date] = frozenset()) -> Known:  # type: ignore[assignment]
    """What is known at a moment of `today`; nothing of the days that are missing."""
    usage = {day: amount for day, amount in days.items() if day < today and day not in missing}
    usage[today] = days[today] * money(elapsed)
    seen = dict.fromkeys(usage, 1.0) | {today: elapsed}
    return Known({REQUESTS: usage}, {REQUESTS: seen}, today)


def projected(
    days: Mapping[date, Decimal], today: date, period: Period, missing: set[date] | None = None
) -> Projection:
    return project(known_at(days, today, 0.5, missing or set()), TABLE, "paid", period)


def truth(days: Mapping[date, Decimal], period: Period) -> Decimal:
    return invoice({REQUESTS: days}, TABLE, "paid", period).total


class TestItsRange:
    def test_it_covers_the_truth_as_often_as_it_says(self) -> None:
        """Months with weekends, growth, decline and spikes; 8 to 70 days of history, any day of any period."""
        random = np.random.default_rng(20)
        hits = []
        for number in range(250):
            world = World(
                random.uniform(0.3e6, 5e6),
                random.choice([-0.2, 0.0, 0.1, 0.3, 0.5]),
                random.choice([0.4, 0.6, 1.0, 1.5]),
                random.uniform(0.03, 0.25),
                random.choice([0.0, 1 / 40]),
                number,
            )
            days = world.days()
            today = START + timedelta(days=int(random.integers(60, 110)))
            history = int(random.choice([8, 20, 35, 70]))
            first = min(today - timedelta(days=history), period_of(today, 1).start)
            seen = {day: amount for day, amount in days.items() if day >= first}
            period = period_of(today, int(random.integers(1, 32)))
            if first > period.start:
                continue
            found = projected(seen, today, period)
            hits.append(found.low <= truth(days, period) <= found.high)
        assert len(hits) > 150
        covered = sum(hits) / len(hits)
        assert covered >= RATE - 0.05, covered
        assert covered <= 0.99, "a range that is never wrong says nothing"

    @pytest.mark.parametrize("weekend", [0.3, 1.0, 2.0])
    def test_weekends_to_come_are_seen(self, weekend: float) -> None:
        days = World(2e6, weekend=weekend, noise=0.02).days()
        found = projected(days, date(2026, 6, 12), JUNE)
        assert float(found.mid) == pytest.approx(float(truth(days, JUNE)), rel=0.03)

    def test_growth_goes_on(self) -> None:
        days = World(2e6, growth=0.5, noise=0.02).days()
        found = projected(days, date(2026, 6, 10), JUNE)
        assert float(found.mid) == pytest.approx(float(truth(days, JUNE)), rel=0.07)
        flat = sum((days[day] for day in days_between(date(2026, 5, 27), date(2026, 6, 10))), Decimal(0)) / 14 * 30
        assert found.mid > Decimal(5) + (flat - 10_000_000) * Decimal("0.30") / 1_000_000

    def test_one_spike_moves_only_what_it_cost(self) -> None:
        days = World(2e6, noise=0.02).days()
        calm = projected(days, date(2026, 6, 15), JUNE)
        spiked = dict(days)
        spiked[date(2026, 6, 13)] *= 20
        found = projected(spiked, date(2026, 6, 15), JUNE)
        cost = (spiked[date(2026, 6, 13)] - days[date(2026, 6, 13)]) * Decimal("0.30") / 1_000_000
        assert float(found.mid - calm.mid) == pytest.approx(float(cost), rel=0.1)

    def test_it_narrows_to_nothing(self) -> None:
        days = World(2e6, noise=0.1).days()
        widths = []
        for day in (3, 15, 28):
            found = projected(days, date(2026, 6, day), JUNE)
            widths.append(found.high - found.low)
        assert widths[0] > widths[1] > widths[2] > 0
        after = project(known_at(days, date(2026, 7, 1), 0.5), TABLE, "paid", JUNE)
        assert after.low == after.mid == after.high == truth(days, JUNE).quantize(Decimal("0.000001"))

    def test_below_what_is_included_it_is_the_plan(self) -> None:
        found = projected(World(1e4).days(), date(2026, 6, 10), JUNE)
        assert (found.low, found.mid, found.high) == (Decimal(5),) * 3


class TestWhatIsMissing:
    def test_half_a_month(self) -> None:
        days = World(2e6, weekend=0.6, noise=0.1).days()
        gone = set(days_between(date(2026, 6, 2), date(2026, 6, 16)))
        whole = projected(days, date(2026, 6, 20), JUNE)
        found = projected(days, date(2026, 6, 20), JUNE, gone)
        assert found.low <= truth(days, JUNE) <= found.high
        assert found.high - found.low > whole.high - whole.low
        assert found.widened > 0
        assert whole.widened == 0

    def test_the_first_hour_of_all(self) -> None:
        known = Known(
            {REQUESTS: {date(2026, 6, 10): Decimal(100_000)}},
            {REQUESTS: {date(2026, 6, 10): 1 / 24}},
            date(2026, 6, 10),
        )
        found = project(known, TABLE, "paid", JUNE)
        rate = Decimal(100_000 * 24 * 30 - 10_000_000) * Decimal("0.30") / 1_000_000 + 5
        assert found.low < rate < found.high
        assert found.widened > 0
        assert found.days_measured == 0

    def test_nothing_known_is_nothing_invented(self) -> None:
        found = project(Known({}, {}, date(2026, 6, 10)), TABLE, "paid", JUNE)
        assert (found.low, found.mid, found.high) == (Decimal(5),) * 3
        assert "no usage is known" in found.basis
        assert project(Known({}, {}, date(2026, 6, 10)), TABLE, "free", JUNE).mid == 0


amounts = st.lists(st.integers(0, 10**9), min_size=1, max_size=60)


@given(
    amounts,
    st.sampled_from(sorted(TABLE.usage_meters())),
    st.integers(1, 31),
    st.floats(0, 1),
    st.sampled_from(["free", "paid"]),
)
@settings(max_examples=40, deadline=None)
def test_whatever_was_used(some: list[int], meter: Meter, anchor: int, elapsed: float, plan: str) -> None:
    """In order, not below what is spent, the same each time."""
    today = START + timedelta(days=len(some))
    usage = {START + timedelta(days=number): Decimal(amount) for number, amount in enumerate(some)}
    known = Known({meter: usage}, {meter: dict.fromkeys(usage, 1.0) | {today: elapsed}}, today)
    period = period_of(today, anchor)
    found = project(known, TABLE, plan, period)
    spent = invoice({meter: usage}, TABLE, plan, period).total
    assert spent - Decimal("0.01") <= found.low <= found.mid <= found.high
    assert project(known, TABLE, plan, period) == found
