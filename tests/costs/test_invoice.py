"""Golden invoices: usage in, dollars out; and what holds for every invoice."""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.costs.invoice import Invoice, invoice, shared
from mirubato.costs.periods import Period, days_between, period_before, period_named, period_of
from mirubato.costs.prices import Meter, packaged

D = Decimal
TABLE = packaged()
JUNE = Period(date(2026, 6, 1), date(2026, 7, 1))
M = 1_000_000


def spread(amounts: Mapping[str, float], period: Period) -> dict[Meter, dict[date, Decimal]]:
    """Totals of a period, the same on each day; the last day gets what is left."""
    usage: dict[Meter, dict[date, Decimal]] = {}
    days = list(period.days())
    for name, amount in amounts.items():
        product, _, meter = name.partition(".")
        each = (D(str(amount)) / len(days)).quantize(D("0.001"))
        of = dict.fromkeys(days, each)
        of[days[-1]] = D(str(amount)) - each * (len(days) - 1)
        usage[Meter(product, meter)] = of
    return usage


def bill(amounts: Mapping[str, float], plan: str = "paid", period: Period = JUNE) -> Invoice:
    return invoice(spread(amounts, period), TABLE, plan, period)


class TestGolden:
    def test_the_missions_example(self) -> None:
        """10 M requests a month at 2 ms of CPU, a score in KV and D1 each time: about $5."""
        found = bill(
            {"workers.requests": 10 * M, "workers.cpu_ms": 20 * M, "kv.reads": 10 * M, "d1.rows_read": 100 * M}
        )
        assert found.total == D("5.00")
        with_monitoring = bill(
            {"workers.requests": 10 * M, "workers.cpu_ms": 20 * M, "analytics_engine.points": 12 * M}
        )
        assert (with_monitoring.total, with_monitoring.total_list) == (D("5.00"), D("5.50"))

    @pytest.mark.parametrize(
        ("amounts", "usd"),
        [
            ({}, "5.00"),
            # developers.cloudflare.com/workers/platform/pricing, example 1: 15 M requests of 7 ms
            ({"workers.requests": 15 * M, "workers.cpu_ms": 105 * M}, "8.00"),
            # ... and the 100 M requests of 7 ms of its last example
            ({"workers.requests": 100 * M, "workers.cpu_ms": 700 * M}, "45.40"),
            ({"d1.rows_written": 4_800 * M}, "4755.00"),  # dev.to/nathanschram: $4,868 for 4.8 B rows and some more
            ({"d1.rows_read": 26_000 * M, "d1.storage": 6}, "6.75"),
            (
                {"kv.reads": 11 * M, "kv.writes": 2 * M, "kv.deletes": 2 * M, "kv.lists": 2 * M, "kv.storage": 3},
                "21.50",
            ),
            ({"queues.operations": 11 * M}, "9.00"),
            ({"durable_objects.requests": 2 * M, "durable_objects.duration": 500_000}, "6.40"),
            # developers.cloudflare.com/r2/pricing, its three examples; usage is rounded up to the next unit
            ({"r2.storage": 1000, "r2.class_a": 1000, "r2.class_b": M}, "19.85"),
            (
                {
                    "r2.infrequent_storage": 1000,
                    "r2.infrequent_class_a": 1000,
                    "r2.infrequent_class_b": M,
                    "r2.infrequent_retrieval": 1000,
                },
                "34.90",
            ),
            ({"r2.storage": 10, "r2.class_a": 100_000, "r2.class_b": 300 * M}, "109.40"),
            ({"r2.class_a": M + 1}, "9.50"),
            ({"workers_logs.events": 25 * M}, "8.00"),
            ({"logpush.workers_trace_events": 30 * M}, "6.00"),
            ({"analytics_engine.points": 100 * M, "analytics_engine.queries": 3 * M}, "5.00"),
        ],
    )
    def test_the_paid_plan(self, amounts: dict[str, float], usd: str) -> None:
        assert bill(amounts).total == D(usd)

    def test_the_free_plan_refuses_and_does_not_bill(self) -> None:
        found = bill({"workers.requests": 6 * M, "d1.rows_written": 30 * 150_000}, "free")
        assert found.total == 0
        refused = {str(line.row.key): line.billable for line in found.lines if line.billable}
        assert refused == {"workers.requests": 3 * M, "d1.rows_written": 30 * 50_000}

    def test_the_free_plan_pays_for_r2(self) -> None:
        assert bill({"r2.class_b": 12 * M}, "free").total == D("0.72")

    def test_analytics_engine_as_billed_and_by_list_price(self) -> None:
        (line,) = [one for one in bill({"analytics_engine.points": 14 * M}).lines if one.quantity and not one.row.fixed]
        assert (line.usd, line.usd_list, line.billable) == (D(0), D("1.00"), D(4 * M))


class TestTheChangeOf2026:
    """Logs and traces: per event until 2026-11-30, per GB from 2026-12-01."""

    def test_november_is_all_events(self) -> None:
        period = period_named("2026-11", 1)
        assert bill({"workers_logs.events": 22 * M}, period=period).total == D("6.20")

    def test_december_is_all_bytes(self) -> None:
        """22 M events of 4.84 KB are 106.48 GB, of which 24.84 GB-months stay."""
        found = bill({"workers_logs.events": 22 * M}, period=period_named("2026-12", 1))
        by_meter = {line.row.meter: line for line in found.lines if line.row.product == "observability"}
        assert by_meter["ingest"].quantity == D("106.48")
        assert by_meter["ingest"].usd == D("14.12")
        assert by_meter["storage"].quantity == D("24.838")
        assert by_meter["storage"].usd == D("1.2838")
        assert not [line for line in found.lines if line.row.product == "workers_logs"]

    def test_a_period_across_the_change_has_both(self) -> None:
        period = period_named("2026-11", 15)
        assert (period.start, period.end) == (date(2026, 11, 15), date(2026, 12, 15))
        found = bill({"workers_logs.events": 45 * M}, period=period)
        quantity = {str(line.row.key): line.quantity for line in found.lines if line.row.reads or line.quantity > 1}
        assert quantity["workers_logs.events"] == 24 * M
        assert quantity["observability.ingest"] == D("101.64")
        assert found.total == D("5") + 4 * D("0.60") + D("51.64") * D("0.25") + (D("23.709") - 12) * D("0.10")

    def test_the_day_decides(self) -> None:
        period = period_named("2026-11", 15)
        meter = Meter("workers_logs", "events")
        last = invoice({meter: {date(2026, 11, 30): D(30 * M)}}, TABLE, "paid", period)
        first = invoice({meter: {date(2026, 12, 1): D(30 * M)}}, TABLE, "paid", period)
        assert last.usage_total == D("6.00")
        assert first.usage_total == D("95.2") * D("0.25") + (D("33.87") - 12) * D("0.10")


class TestPeriods:
    @pytest.mark.parametrize(
        ("day", "anchor", "start", "end"),
        [
            ("2026-01-31", 31, "2026-01-31", "2026-02-28"),
            ("2026-02-27", 31, "2026-01-31", "2026-02-28"),
            ("2026-02-28", 31, "2026-02-28", "2026-03-31"),
            ("2026-04-30", 31, "2026-04-30", "2026-05-31"),
            ("2028-02-29", 30, "2028-02-29", "2028-03-30"),
            ("2026-12-31", 31, "2026-12-31", "2027-01-31"),
            ("2026-01-01", 15, "2025-12-15", "2026-01-15"),
            ("2026-03-01", 29, "2026-02-28", "2026-03-29"),
            ("2026-06-30", 1, "2026-06-01", "2026-07-01"),
        ],
    )
    def test_anchors(self, day: str, anchor: int, start: str, end: str) -> None:
        found = period_of(date.fromisoformat(day), anchor)
        assert (found.start.isoformat(), found.end.isoformat()) == (start, end)

    @given(st.dates(date(1971, 1, 1), date(2400, 1, 1)), st.integers(1, 31))
    def test_periods_follow_each_other(self, day: date, anchor: int) -> None:
        period = period_of(day, anchor)
        assert period.start <= day < period.end
        assert 28 <= period.length <= 31
        assert period_before(period, anchor).end == period.start
        assert period_of(period.end, anchor).start == period.end
        assert period_named(period.name, anchor) == period

    def test_an_invoice_of_the_31st(self) -> None:
        """What is included is for the period from the 31st of January, and begins anew on the 28th of February."""
        meter = Meter("workers", "requests")
        usage = {meter: dict.fromkeys(days_between(date(2026, 1, 31), date(2026, 3, 31)), D(400_000))}
        first, second = period_named("2026-01", 31), period_named("2026-02", 31)
        assert invoice(usage, TABLE, "paid", first).total == D("5") + D("1.2") * D("0.30")
        assert invoice(usage, TABLE, "paid", second).total == D("5") + D("2.4") * D("0.30")

    @pytest.mark.parametrize(
        "text", ["", "2026", "2026-13", "2026-00", "26-01", "2026-1", "9999-12", "2026-01-01", "x"]
    )
    def test_what_is_no_month(self, text: str) -> None:
        with pytest.raises(ValueError, match="no month"):
            period_named(text, 1)


METERS = sorted(TABLE.usage_meters())
periods = st.builds(period_of, st.dates(date(2026, 1, 1), date(2027, 3, 1)), st.integers(1, 31))
usages = st.dictionaries(
    st.sampled_from(METERS),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10**11)), max_size=8),
    max_size=5,
)


def placed(given_: dict[Meter, list[tuple[int, int]]], period: Period) -> dict[Meter, dict[date, Decimal]]:
    usage: dict[Meter, dict[date, Decimal]] = {}
    for meter, amounts in given_.items():
        for offset, amount in amounts:
            day = period.start + timedelta(days=offset)
            usage.setdefault(meter, {})[day] = D(amount)
    return usage


class TestForEveryInvoice:
    @given(
        usages,
        periods,
        st.sampled_from(METERS),
        st.integers(0, 30),
        st.integers(0, 10**11),
        st.sampled_from(["free", "paid"]),
    )
    def test_more_usage_never_costs_less(
        self,
        given_: dict[Meter, list[tuple[int, int]]],
        period: Period,
        meter: Meter,
        offset: int,
        more: int,
        plan: str,
    ) -> None:
        usage = placed(given_, period)
        before = invoice(usage, TABLE, plan, period)
        day = period.start + timedelta(days=offset)
        usage.setdefault(meter, {})[day] = usage.get(meter, {}).get(day, D(0)) + more
        after = invoice(usage, TABLE, plan, period)
        assert after.total >= before.total
        assert after.total_list >= before.total_list

    @given(usages, periods)
    def test_it_is_the_sum_of_its_products(self, given_: dict[Meter, list[tuple[int, int]]], period: Period) -> None:
        found = invoice(placed(given_, period), TABLE, "paid", period)
        assert sum(found.by_product(TABLE.products()).values()) == found.total
        assert set(found.by_product(TABLE.products())) == set(TABLE.products())

    @given(usages, periods)
    def test_meters_do_not_touch_each_other(self, given_: dict[Meter, list[tuple[int, int]]], period: Period) -> None:
        usage = placed(given_, period)
        alone = sum((invoice({meter: days}, TABLE, "paid", period).usage_total for meter, days in usage.items()), D(0))
        assert alone == invoice(usage, TABLE, "paid", period).usage_total

    @given(st.decimals(0, 10**9, places=12), st.lists(st.decimals(0, 10**9, places=3), max_size=20))
    def test_shares_add_up_to_the_last_digit(self, total: Decimal, weights: list[Decimal]) -> None:
        parts = shared(total, weights)
        assert sum(parts, D(0)) == (total if weights else 0)
