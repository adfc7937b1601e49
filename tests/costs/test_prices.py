"""The price table: dated, sourced, overridable; and `mirubato costs prices`."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.cli import main
from mirubato.costs.prices import Meter, PriceTable, _rows, load, packaged
from mirubato.errors import ConfigError

NEW = """
[[price]]
product = "workers"
meter = "requests"
plan = "paid"
included = 20_000_000
price = 0.25
per = 1_000_000
effective_from = 2027-01-01
"""


def own(tmp_path: Path, text: str) -> PriceTable:
    file = tmp_path / "prices.toml"
    file.write_text(text, encoding="utf-8")
    return load(str(file))


class TestPackaged:
    def test_every_row_says_where_it_stands_and_when_that_was_read(self) -> None:
        for row in packaged().rows:
            assert row.source.startswith("https://developers.cloudflare.com/")
            assert row.effective_from <= row.checked or row.effective_from >= date(2026, 12, 1)
        assert packaged().checked == date(2026, 11, 23)

    def test_the_products(self) -> None:
        wanted = {
            "workers",
            "analytics_engine",
            "d1",
            "kv",
            "r2",
            "queues",
            "durable_objects",
            "workers_logs",
            "observability",
        }
        assert wanted <= set(packaged().products())

    def test_no_day_has_two_prices(self) -> None:
        for day in (date(2026, 11, 30), date(2026, 12, 1), date(2027, 6, 1)):
            keys = [(row.key, row.plan) for row in packaged().on(day)]
            assert len(keys) == len(set(keys))

    def test_the_change_of_december_2026(self) -> None:
        before = {row.key for row in packaged().on(date(2026, 11, 30), "paid")}
        after = {row.key for row in packaged().on(date(2026, 12, 1), "paid")}
        assert before - after == {Meter("workers_logs", "events")}
        assert after - before == {Meter("observability", "ingest"), Meter("observability", "storage")}


class TestOwnRows:
    def test_a_later_price_ends_the_one_before(self, tmp_path: Path) -> None:
        table = own(tmp_path, NEW)
        rows = [row for row in table.rows if row.key == Meter("workers", "requests") and row.plan == "paid"]
        assert [(row.effective_from, row.effective_to, row.unit_price) for row in rows] == [
            (date(2024, 3, 1), date(2026, 12, 31), Decimal("0.30") / 1_000_000),
            (date(2027, 1, 1), None, Decimal("0.25") / 1_000_000),
        ]

    def test_an_offer_of_a_month_leaves_what_is_around_it(self, tmp_path: Path) -> None:
        table = own(tmp_path, NEW + "effective_to = 2027-01-31\n")
        rows = [row for row in table.rows if row.key == Meter("workers", "requests") and row.plan == "paid"]
        assert [row.unit_price * 1_000_000 for row in rows] == [Decimal("0.30"), Decimal("0.25"), Decimal("0.30")]
        assert rows[2].effective_from == date(2027, 2, 1)

    def test_a_product_that_is_not_cloudflares(self, tmp_path: Path) -> None:
        table = own(
            tmp_path, '[[price]]\nproduct="ai"\nmeter="tokens"\nprice=2\nper=1000000\neffective_from=2026-01-01\n'
        )
        assert table.products()[-1] == "ai"
        assert Meter("ai", "tokens") in table.usage_meters()

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ('colour = "red"', "no such key: colour"),
            ("price = -1", "negative"),
            ('price = "dear"', "price is no number"),
            ("price = nan", "not finite"),
            ('plan = "gold"', "plan is one of"),
            ('effective_to = "soon"', "effective_to is no date"),
            ("effective_to = 2020-01-01", "effective_to is before"),
            ("per = 0", "per is 0"),
            ("unit = 5", "unit is of the wrong type"),
        ],
    )
    def test_a_row_that_cannot_be_understood_is_told_and_left_out(
        self, tmp_path: Path, line: str, problem: str
    ) -> None:
        text = '[[price]]\nproduct="ai"\nmeter="tokens"\neffective_from=2026-01-01\n' + line + "\n" + NEW
        table = own(tmp_path, text)
        assert len(table.problems) == 1
        assert "price row 1 is left out" in table.problems[0]
        assert problem in table.problems[0]
        assert "ai" not in table.products()
        assert any(row.effective_from == date(2027, 1, 1) for row in table.rows)

    def test_what_lacks_something(self, tmp_path: Path) -> None:
        table = own(tmp_path, 'other = 1\n[[price]]\nproduct = "ai"\n')
        assert [
            "meter, effective_from is missing" in table.problems[0],
            "no such table: other" in table.problems[1],
        ] == [
            True,
            True,
        ]

    @pytest.mark.parametrize("text", ["[[price]", "price = 5 5", "\x00"])
    def test_no_toml(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ConfigError, match="MIRUBATO_COST_PRICES"):
            own(tmp_path, text)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cost_prices"):
            load(str(tmp_path / "none.toml"))

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5) | st.booleans(), lambda one: st.lists(one, max_size=3)
        )
    )
    def test_rows_of_any_kind_only_become_problems(self, value: object) -> None:
        rows, problems = _rows([value, {"product": value}], "file")
        assert (len(rows), len(problems)) == (0, 2)


class TestCommand:
    def printed(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
        assert main(["costs", "prices", *arguments]) == 0
        return capsys.readouterr().out

    def test_all_rows_as_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        rows = json.loads(self.printed(capsys, "--json"))["prices"]
        assert len(rows) == len(packaged().rows)
        assert all(row["effective_from"] and "effective_to" in row and row["source"] and row["checked"] for row in rows)
        ended = [row for row in rows if row["effective_to"]]
        assert {(row["product"], row["effective_to"]) for row in ended} == {("workers_logs", "2026-11-30")}

    def test_those_of_a_day(self, capsys: pytest.CaptureFixture[str]) -> None:
        rows = json.loads(self.printed(capsys, "--on", "2026-12-01", "--plan", "paid", "--json"))["prices"]
        products = {row["product"] for row in rows}
        assert "observability" in products
        assert "workers_logs" not in products

    def test_as_a_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = self.printed(capsys)
        assert "not billed" in text
        assert "more is refused" in text
        assert "2026-11-30" in text

    def test_with_own_prices(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        (tmp_path / "own.toml").write_text(NEW, encoding="utf-8")
        text = self.printed(capsys, "--cost-prices", str(tmp_path / "own.toml"), "--on", "2027-01-01", "--json")
        (row,) = [
            one
            for one in json.loads(text)["prices"]
            if (one["product"], one["meter"], one["plan"]) == ("workers", "requests", "paid")
        ]
        assert (row["price"], row["included"], row["source"]) == ("0.25", "20000000", "your own price file")

    def test_a_day_that_is_none(self) -> None:
        with pytest.raises(SystemExit) as left:
            main(["costs", "prices", "--on", "yesterday"])
        assert left.value.code == 2

    def test_a_file_that_is_none(self) -> None:
        assert main(["costs", "prices", "--cost-prices", "/nowhere.toml"]) == 2
