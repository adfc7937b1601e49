"""Price tags and what-if, simulated on data points."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.costs.price_tags import HOURS_OF_MONTH, MetricPoints, price_tags
from mirubato.costs.what_if import Change, Prices, Spans, change_of, simulate
from mirubato.errors import BadQuery
from mirubato.model.labels import NAME, MetricType, labels_of

POINT = Decimal("0.25") / 1_000_000
PRICES = Prices(POINT, Decimal("0.60") / 1_000_000)


def points(
    name: str, series: Sequence[dict[str, str]], every_ms: int = 10_000, length_ms: int = 3_600_000
) -> MetricPoints:
    """A point of each series at each tick."""
    ticks = np.arange(0, length_ms, every_ms, dtype=np.int64)
    labels = [labels_of({NAME: name, **one}.items()) for one in series]
    owners = np.repeat(np.arange(len(series)), len(ticks))
    return MetricPoints(name, MetricType.COUNTER, labels, owners, np.tile(ticks, len(series)))


USERS = points("logins", [{"user_id": str(user), "route": "/in"} for user in range(100)])


class TestPriceTags:
    def test_the_most_expensive_first(self) -> None:
        tags = price_tags([points("small", [{}]), USERS], POINT, {"small": 5})
        assert [(tag.metric, tag.series, tag.points_month) for tag in tags] == [
            ("logins", 100, 36_000 * HOURS_OF_MONTH),
            ("small", 1, 360 * HOURS_OF_MONTH),
        ]
        assert tags[0].usd_list == 36_000 * HOURS_OF_MONTH * POINT
        assert (tags[0].last_use, tags[1].last_use) == (None, 5)

    def test_what_dropping_a_label_saves(self) -> None:
        (tag,) = price_tags([USERS], POINT, {})
        values, saved = tag.labels["user_id"]
        assert (values, saved) == (100, 99 * 360 * HOURS_OF_MONTH * POINT)
        assert "route" not in tag.labels, "it has one value"

    def test_use_of_a_part_is_use_of_the_histogram(self) -> None:
        one = MetricPoints(
            "latency",
            MetricType.HISTOGRAM,
            [labels_of([(NAME, "latency_count")])],
            np.zeros(1, np.int64),
            np.zeros(1, np.int64),
        )
        assert price_tags([one], POINT, {"latency_bucket": 7})[0].last_use == 7


class TestWhatIf:
    def test_without_user_id(self) -> None:
        found = simulate(Change(drop_labels=("user_id",)), [USERS, points("other", [{}])], Spans(), PRICES)
        assert found.points == ((36_000 + 360) * HOURS_OF_MONTH, (360 + 360) * HOURS_OF_MONTH)
        assert found.series == (101, 2)
        assert [name for name, *_ in found.by_metric] == ["logins"]
        assert found.usd[0] - found.usd[1] == 99 * 360 * HOURS_OF_MONTH * POINT

    def test_every_60_s_instead_of_10(self) -> None:
        found = simulate(Change(interval=60_000), [USERS], Spans(), PRICES)
        assert found.points == (36_000 * HOURS_OF_MONTH, 6_000 * HOURS_OF_MONTH)

    def test_what_comes_less_often_stays(self) -> None:
        slow = points("slow", [{}], every_ms=120_000)
        assert simulate(Change(interval=60_000), [slow], Spans(), PRICES).points[1] == 30 * HOURS_OF_MONTH

    def test_one_metric_only(self) -> None:
        found = simulate(Change(interval=60_000, metrics=("other",)), [USERS, points("other", [{}])], Spans(), PRICES)
        assert found.points[1] == (36_000 + 60) * HOURS_OF_MONTH

    def test_successes_at_5_percent_instead_of_10(self) -> None:
        found = simulate(Change(success_rate=0.05), [], Spans(failed=100, succeeded=10_000), PRICES)
        assert found.events == (1_100 * HOURS_OF_MONTH, 600 * HOURS_OF_MONTH)
        assert found.usd[0] - found.usd[1] == 500 * HOURS_OF_MONTH * PRICES.event

    @given(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 3_600_000)),
            min_size=1,
            max_size=60,
        ),
        st.sampled_from([(), ("one",), ("two",), ("one", "two")]),
        st.sampled_from([0, 1000, 60_000, 600_000]),
    )
    def test_a_change_never_makes_more(
        self, some: list[tuple[str, str, int]], dropped: tuple[str, ...], interval: int
    ) -> None:
        series = sorted({(one, two) for one, two, _ in some})
        labels = [labels_of([(NAME, "m"), ("one", one), ("two", two)]) for one, two in series]
        pairs = sorted((series.index((one, two)), at) for one, two, at in some)
        owners, times = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
        metric = MetricPoints("m", MetricType.GAUGE, labels, owners, times)
        left, left_series = metric.count(dropped, interval)
        assert 1 <= left <= len(times)
        assert 1 <= left_series <= len(labels)


class TestQuestions:
    def test_as_json(self) -> None:
        found = change_of({"drop_label": "user_id", "interval": "60s", "success_rate": 0.05})
        assert found == Change(("user_id",), (), 60_000, 0.05, 0.1)
        assert change_of({"drop_labels": ["a", "b"], "metric": "m"}) == Change(("a", "b"), ("m",))

    @pytest.mark.parametrize(
        "document",
        [
            None,
            [],
            {},
            {"metric": "m"},
            {"nonsense": 1},
            {"success_rate": 0},
            {"success_rate": 2},
            {"success_rate": "half"},
            {"success_rate": True},
            {"interval": "soon"},
            {"interval": -1},
            {"interval": True},
            {"interval": "2d"},
            {"interval": []},
            {"drop_label": 5},
            {"drop_label": ""},
            {"drop_labels": ["a"] * 21},
        ],
    )
    def test_what_cannot_be_asked(self, document: Any) -> None:
        with pytest.raises(BadQuery):
            change_of(document)
