"""Budgets, what runs away, and limits of the plan."""

import math
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import pytest

from mirubato.costs.budgets import Paying, Standing, hours_text, rates, runaways, standings
from mirubato.costs.headroom import Headroom, allowances, invocations, sizes
from mirubato.costs.periods import DAY_MS, HOUR_MS, moment_ms, period_named
from mirubato.costs.prices import Meter, packaged
from mirubato.costs.projection import Known
from mirubato.costs.usage import Source, Usage

TABLE = packaged()
JUNE = period_named("2026-06", 1)
DAY = date(2026, 6, 10)
T0 = moment_ms(DAY)
NOON = T0 + 12 * HOUR_MS
ROWS, REQUESTS, STORAGE = Meter("d1", "rows_written"), Meter("workers", "requests"), Meter("d1", "storage")
D = Decimal
M = 1_000_000


def standing(used: Mapping[Meter, float], an_hour: Mapping[Meter, float], budget: str, product: str = "") -> Standing:
    usage = {meter: {DAY: D(str(amount))} for meter, amount in used.items()}
    (found,) = standings(Paying(usage, an_hour, TABLE, "paid", JUNE, NOON), {product: D(budget)}, (0.8, 1.0, 1.0))
    return found


class TestBudgets:
    def test_gone_in_3_h_20_min(self) -> None:
        """60 M rows written cost 10 USD; 3 M an hour, 3 USD, use up the other 10 of 25 USD (with the plan's 5)."""
        found = standing({ROWS: 60 * M}, {ROWS: 3 * M}, "25", "")
        assert (found.spent, found.stage) == (D(15), 0)
        assert found.hours_left == pytest.approx(3 + 1 / 3, abs=0.001)
        assert found.sentence() == "at this rate gone in 3 h 20 min"

    def test_what_is_included_is_used_up_first(self) -> None:
        found = standing({ROWS: 40 * M}, {ROWS: 5 * M}, "10", "d1")
        assert found.hours_left == pytest.approx(4, abs=0.001), "2 hours for nothing, 2 at 5 USD"

    def test_it_lasts(self) -> None:
        found = standing({ROWS: 60 * M}, {ROWS: 10}, "25")
        assert math.isinf(found.hours_left)
        assert "lasts to the end of the period" in found.sentence()

    def test_without_usage_it_lasts(self) -> None:
        assert math.isinf(standing({}, {}, "25").hours_left)

    @pytest.mark.parametrize(("budget", "stage"), [("20", 0), ("18", 1), ("15", 3), ("1", 3)])
    def test_stages(self, budget: str, stage: int) -> None:
        assert standing({ROWS: 60 * M}, {}, budget).stage == stage

    def test_gone(self) -> None:
        found = standing({ROWS: 60 * M}, {ROWS: M}, "15")
        assert (found.hours_left, found.sentence()) == (0, "gone")

    @pytest.mark.parametrize(
        ("hours", "text"), [(0.5, "30 min"), (3.34, "3 h 20 min"), (47, "47 h 0 min"), (50, "2 d 2 h")]
    )
    def test_in_words(self, hours: float, text: str) -> None:
        assert hours_text(hours) == text


def hourly(meter: Meter, amounts: Mapping[int, float]) -> list[Usage]:
    """Usage of hours before NOON's."""
    return [Usage(NOON - ago * HOUR_MS, meter, amount, Source.METERED) for ago, amount in amounts.items()]


class TestRunaways:
    def test_rates_are_of_the_last_hour(self) -> None:
        rows = hourly(ROWS, {0: 500, 1: 1000, 2: 9999})
        assert rates(rows, NOON + HOUR_MS // 2) == {ROWS: 1000}

    def test_against_the_same_hour_of_seven_days(self) -> None:
        usual = {24 * day: 1 * M for day in range(1, 8)} | {24 * 3: 50 * M}
        (found,) = runaways(hourly(ROWS, usual | {0: 12 * M}), TABLE.on(DAY, "paid"), NOON + HOUR_MS - 1)
        assert found.product == "d1"
        assert found.ratio == pytest.approx(12, rel=0.01), "one spike of last week is not the usual"
        assert found.runs_away

    def test_as_usual(self) -> None:
        usual = {24 * day: 1 * M for day in range(8)}
        (found,) = runaways(hourly(ROWS, usual), TABLE.on(DAY, "paid"), NOON + HOUR_MS - 1)
        assert not found.runs_away

    def test_cents_do_not_run_away(self) -> None:
        usual = {24 * day: 1 for day in range(1, 8)}
        (found,) = runaways(hourly(ROWS, usual | {0: 1000}), TABLE.on(DAY, "paid"), NOON + HOUR_MS - 1)
        assert not found.runs_away

    def test_two_days_are_too_few_to_say(self) -> None:
        assert runaways(hourly(ROWS, {0: 12 * M, 24: 1 * M, 48: 1 * M}), TABLE.on(DAY, "paid"), NOON) == []


def known(meter: Meter, amounts: Mapping[int, float], today: float, elapsed: float = 0.5) -> Known:
    """Days before DAY, and what there is of DAY."""
    days = {date.fromordinal(DAY.toordinal() - ago): D(str(amount)) for ago, amount in amounts.items()}
    return Known({meter: days | {DAY: D(str(today))}}, {meter: dict.fromkeys(days, 1.0) | {DAY: elapsed}}, DAY)


def limit(found: list[Headroom], id_: str) -> Headroom:
    (one,) = [one for one in found if one.id == id_]
    return one


class TestHeadroom:
    def test_free_requests_of_a_day_full_this_evening(self) -> None:
        found = allowances(known(REQUESTS, {}, 60_000), {REQUESTS: 10_000}, TABLE, "free", JUNE, NOON)
        one = limit(found, "workers.requests_per_day")
        assert (one.ratio, one.kind, one.full_at) == (0.6, "refused", NOON + 4 * HOUR_MS)
        assert one.sentence() == "60% used, full on 10 June at 16:00 UTC"

    def test_not_before_midnight(self) -> None:
        found = allowances(known(REQUESTS, {}, 60_000), {REQUESTS: 1_000}, TABLE, "free", JUNE, NOON)
        assert limit(found, "workers.requests_per_day").full_at is None

    def test_included_requests_used_up_on_a_day(self) -> None:
        days = dict.fromkeys(range(1, 30), 0.5 * M)
        found = allowances(known(REQUESTS, days, 0.25 * M), {}, TABLE, "paid", JUNE, NOON)
        one = limit(found, "workers.requests_per_month")
        assert one.used == 9 * 0.5 * M + 0.25 * M
        assert one.full_at == pytest.approx(T0 + 11 * DAY_MS, abs=DAY_MS // 4)
        assert one.sentence() in ("48% used, used up on 20 June", "48% used, used up on 21 June")

    def test_a_database_full_in_autumn(self) -> None:
        rows = [
            Usage(T0 - ago * DAY_MS, STORAGE, (8 - ago * 0.02) / 30, Source.GRAPHQL, "", "database=big")
            for ago in range(20)
        ] + [Usage(T0, STORAGE, 1 / 30, Source.GRAPHQL, "", "database=small")]
        found = {one.of: one for one in sizes(rows, TABLE, "paid", DAY)}
        assert found["database=big"].ratio == pytest.approx(0.8)
        assert found["database=big"].sentence() == "80% used, full on 18 September"
        assert found["database=small"].full_at is None

    def test_an_invocation(self) -> None:
        (one,) = invocations({"worker_cpu_ms": [("script=api", 9.0)]}, TABLE, "free")
        assert (one.ratio, one.of) == (0.9, "script=api")

    def test_over(self) -> None:
        found = allowances(known(REQUESTS, {}, 200_000), {REQUESTS: 10_000}, TABLE, "free", JUNE, NOON)
        assert limit(found, "workers.requests_per_day").sentence() == "full"
