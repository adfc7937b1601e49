"""Usage: sources are reconciled and never added twice; what was not seen is said."""

import math
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.costs.datasets import DATASETS
from mirubato.costs.ledger import Coverage, Ledger
from mirubato.costs.own_usage import OwnUsage
from mirubato.costs.periods import DAY_MS, HOUR_MS, moment_ms
from mirubato.costs.prices import Meter
from mirubato.costs.seeing import missing, seen_of
from mirubato.costs.usage import Source, Usage, daily, reconciled, usable
from mirubato.database.state import StateStore

DAY = date(2026, 11, 20)
T0 = moment_ms(DAY)
ROWS = Meter("d1", "rows_written")
REQUESTS = Meter("workers", "requests")
M, G, O = Source.METERED, Source.GRAPHQL, Source.OWN  # noqa: E741


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    state = StateStore(tmp_path)
    yield Ledger(state)
    state.close(5)


class TestReconciled:
    def test_cloudflare_wins_for_the_same_hour(self) -> None:
        rows = [
            Usage(T0, REQUESTS, 90, M, "api"),
            Usage(T0, REQUESTS, 100, G, "api"),
            Usage(T0 + HOUR_MS, REQUESTS, 70, M, "api"),
        ]
        assert daily(reconciled(rows)) == {REQUESTS: {DAY: Decimal(170)}}

    def test_what_the_gateway_used_is_in_what_cloudflare_tells(self) -> None:
        rows = [
            Usage(T0, ROWS, 10, O, "(this gateway)"),
            Usage(T0, ROWS, 30, M, "api"),
            Usage(T0, ROWS, 80, G, "", "database=1"),
        ]
        found = {row.script: (row.quantity, row.source) for row in reconciled(rows)}
        assert found == {"(this gateway)": (20, G), "api": (60, G)}

    def test_without_cloudflare_it_is_beside_what_spans_tell(self) -> None:
        rows = [Usage(T0, ROWS, 10, O), Usage(T0, ROWS, 30, M, "api")]
        assert sum(row.quantity for row in reconciled(rows)) == 40

    @given(
        st.lists(
            st.builds(
                Usage,
                st.sampled_from([T0, T0 + HOUR_MS]),
                st.sampled_from([ROWS, REQUESTS]),
                st.floats(0, 1e9),
                st.sampled_from(Source),
                st.sampled_from(["", "api", "web"]),
                st.sampled_from(["", "database=1"]),
            ),
            max_size=30,
        )
    )
    def test_never_more_than_one_truth(self, rows: list[Usage]) -> None:
        """For each hour and meter: Cloudflare's sum if it told, else what was counted here."""
        found = reconciled(rows)
        for hour in (T0, T0 + HOUR_MS):
            for meter in (ROWS, REQUESTS):
                of = [row for row in rows if (row.hour, row.meter) == (hour, meter)]
                told = [row.quantity for row in of if row.source is G]
                expected = math.fsum(told) if told else math.fsum(row.quantity for row in of)
                got = math.fsum(row.quantity for row in found if (row.hour, row.meter) == (hour, meter))
                assert got == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("quantity", [-1.0, math.nan, math.inf, -math.inf])
    def test_what_is_no_quantity(self, quantity: float) -> None:
        good, told = usable([Usage(T0, ROWS, quantity, G), Usage(T0, ROWS, 5.0, M)])
        assert [row.quantity for row in good] == [5.0]
        assert "1 quantities of d1.rows_written from graphql are negative" in told[0]


class TestLedger:
    def test_an_hour_again(self, ledger: Ledger) -> None:
        meters = {"telemetry": [REQUESTS]}
        for quantity in (5.0, 7.0, 7.0):
            ledger.replace([Coverage(T0, M, "telemetry", 1.0)], meters, [Usage(T0, REQUESTS, quantity, M, "api")])
        assert ledger.usage(T0, T0 + 1) == [Usage(T0, REQUESTS, 7.0, M, "api")]

    def test_a_source_replaces_only_itself(self, ledger: Ledger) -> None:
        ledger.replace(
            [Coverage(T0, M, "telemetry", 1.0)], {"telemetry": [REQUESTS]}, [Usage(T0, REQUESTS, 5.0, M, "api")]
        )
        node = DATASETS[0].node
        ledger.replace([Coverage(T0, G, node, 1.0)], {node: DATASETS[0].meters}, [])
        assert ledger.usage(T0, T0 + 1) == [Usage(T0, REQUESTS, 5.0, M, "api")]

    def test_own_usage_is_added(self, ledger: Ledger) -> None:
        own = OwnUsage()
        for _ in range(3):
            own.add("d1", "rows_written", 4, T0 + 5)
            ledger.add(own.taken())
        assert [row.quantity for row in ledger.usage(T0, T0 + 1)] == [12]
        assert own.taken() == []

    def test_nothing_is_written_where_nothing_changes(self, ledger: Ledger) -> None:
        """Each row that is written costs where state.db is mirrored on D1."""
        one = [Coverage(T0, M, "telemetry", 1.0)], {"telemetry": [REQUESTS]}, [Usage(T0, REQUESTS, 5.0, M, "api")]
        ledger.replace(*one)
        before = ledger._state.write(lambda connection: connection.total_changes)
        ledger.replace(*one)
        assert ledger._state.write(lambda connection: connection.total_changes) == before

    def test_budgets(self, ledger: Ledger) -> None:
        ledger.set_budgets({"": Decimal("20.10"), "kv": Decimal(5)}, T0)
        ledger.set_budgets({"kv": None}, T0)
        assert ledger.budgets() == {"": Decimal("20.10")}

    def test_what_is_too_old_goes(self, ledger: Ledger) -> None:
        ledger.add([Usage(T0, ROWS, 1.0, O), Usage(T0 - 500 * DAY_MS, ROWS, 1.0, O)])
        ledger.forget(T0)
        assert len(ledger.usage(0, T0 + 1)) == 1


class TestWhatIsMissing:
    def hours(self, source: Source, dataset: str, hours: range, seen: float = 1.0, note: str = "") -> list[Coverage]:
        return [Coverage(T0 + hour * HOUR_MS, source, dataset, seen, note) for hour in hours]

    def test_all_seen(self) -> None:
        seen = seen_of(self.hours(M, "telemetry", range(24)))
        assert missing(seen, T0, T0 + DAY_MS, T0 + DAY_MS, (), ()) == []
        assert seen.days(REQUESTS, T0, T0 + DAY_MS) == {DAY: 1.0}

    def test_a_night_without_the_gateway(self) -> None:
        seen = seen_of([*self.hours(M, "telemetry", range(6)), *self.hours(M, "telemetry", range(14, 24))])
        (one,) = missing(seen, T0, T0 + DAY_MS, T0 + DAY_MS, (), ())
        assert (one.start, one.end) == (T0 + 6 * HOUR_MS, T0 + 14 * HOUR_MS)
        assert "the projection estimates it" in one.effect
        assert seen.days(REQUESTS, T0, T0 + DAY_MS) == {DAY: pytest.approx(16 / 24)}

    def test_the_api_down_while_telemetry_came(self) -> None:
        workers = DATASETS[0]
        seen = seen_of(
            [
                *self.hours(M, "telemetry", range(24)),
                *self.hours(G, workers.node, range(10)),
                *self.hours(G, workers.node, range(10, 20), 0.0, "Cloudflare's API answers HTTP 503"),
            ]
        )
        (one,) = missing(seen, T0, T0 + DAY_MS, T0 + 22 * HOUR_MS, [workers], workers.meters)
        assert one.what == f"{workers.node}: Cloudflare's API answers HTTP 503"
        assert (one.start, one.end) == (T0 + 10 * HOUR_MS, T0 + 20 * HOUR_MS)
        assert "metered stands in" in one.effect

    def test_clocks_that_step_back(self) -> None:
        """Hours of the future, from before the clock was put right, are not looked at."""
        seen = seen_of(self.hours(M, "telemetry", range(-24, 48)))
        assert missing(seen, T0 - DAY_MS, T0 + DAY_MS, T0, (), ()) == []
        assert seen.days(REQUESTS, T0, T0 + DAY_MS) == {DAY: 1.0}
