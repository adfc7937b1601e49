"""What a query sees, at one time and at each step, against a plain loop over the samples that were sent."""

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint

from mirubato.model.labels import format_value
from tests.support.doors import HTTP
from tests.support.gateways import Running
from tests.support.requests import exponential, fresh, gauge, metrics, now_ms, number, powers

LOOKBACK_MS = 300_000
STALE = "stale"
Samples = dict[int, float | str]
"""ms after the start -> a value, or the end of the series."""


def point(at_ms: int, value: float | str, series: int) -> NumberDataPoint:
    if isinstance(value, str):
        ended = number(None, at_ms, series=str(series))
        ended.flags = 1
        return ended
    return number(value, at_ms, series=str(series))


def sent(gateway: Running, start: int, *series: Samples) -> str:
    """Store series that differ in the label `series`; the name of their metric."""
    name = fresh()
    points = [point(start + at, value, index) for index, samples in enumerate(series) for at, value in samples.items()]
    assert HTTP.export(gateway, "metrics", metrics(gauge(name, *points))).rejected == 0
    return name


def seen(samples: Samples, at: int, lookback: int = LOOKBACK_MS) -> float | None:
    """The newest sample of (at - lookback, at], unless it ends the series."""
    before = [time for time in samples if at - lookback < time <= at]
    value = samples[max(before)] if before else STALE
    return None if isinstance(value, str) else value


def stepped(gateway: Running, name: str, **parameters: Any) -> dict[int, dict[int, str]]:
    """A range query's answer: series -> time in ms -> value."""
    found = gateway.api("query_range", query=name, **parameters)
    assert found["resultType"] == "matrix"
    return {
        int(one["metric"]["series"]): {round(time * 1000): value for time, value in one["values"]}
        for one in found["result"]
    }


VALUES = st.one_of(st.floats(), st.just(STALE))
SAMPLES = st.dictionaries(st.integers(0, 1_200_000), VALUES, min_size=1, max_size=12)


@given(
    series=st.lists(SAMPLES, min_size=1, max_size=3),
    begin=st.integers(-700_000, 1_500_000),
    steps=st.integers(0, 40),
    step=st.sampled_from([1, 999, 15_000, 60_000, 300_000, 300_001]),
    lookback=st.sampled_from([1, 15_000, LOOKBACK_MS, 1_000_000]),
)
@settings(max_examples=80, deadline=None)
@example([{0: 1.0}], 0, 2, 300_000, LOOKBACK_MS)
@example([{0: 1.0, 100_000: STALE}, {50_000: math.nan}], 0, 10, 50_000, LOOKBACK_MS)
def test_each_step_sees_the_newest_sample_of_its_look_back(
    gateway: Running, series: list[Samples], begin: int, steps: int, step: int, lookback: int
) -> None:
    start = now_ms() - 1_300_000
    name = sent(gateway, start, *series)
    times = range(begin, begin + steps * step + 1, step)
    expected = {
        index: values
        for index, samples in enumerate(series)
        if (
            values := {
                start + at: format_value(value) for at in times if (value := seen(samples, at, lookback)) is not None
            }
        )
    }
    found = stepped(
        gateway,
        name,
        start=(start + begin) / 1000,
        end=(start + begin + steps * step) / 1000,
        step=step / 1000,
        lookback_delta=f"{lookback}ms",
    )
    assert found == expected


@given(SAMPLES, st.integers(0, 1_300_000), st.integers(1, 2_000_000))
@settings(max_examples=60, deadline=None)
@example({0: STALE}, 10, 20)
@example({0: 1.0, 100: STALE}, 120, 50)
def test_a_range_holds_its_samples_without_the_left_end(
    gateway: Running, samples: Samples, at: int, length: int
) -> None:
    start = now_ms() - 1_300_000
    name = sent(gateway, start, samples)
    found = gateway.api("query", query=f"{name}[{length}ms]", time=(start + at) / 1000)
    expected = [
        [(start + time) / 1000, format_value(value)]
        for time, value in sorted(samples.items())
        if at - length < time <= at and not isinstance(value, str)
    ]
    assert found["resultType"] == "matrix"
    assert [one["values"] for one in found["result"]] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("at", "expected"),
    [(-1, None), (0, "1"), (1, "1"), (LOOKBACK_MS - 1, "1"), (LOOKBACK_MS, None), (LOOKBACK_MS + 1, None)],
)
def test_the_look_back_is_open_on_the_left(gateway: Running, at: int, expected: str | None) -> None:
    start = now_ms() - 1_000_000
    name = sent(gateway, start, {0: 1.0})
    found = gateway.api("query", query=name, time=(start + at) / 1000)
    assert found["resultType"] == "vector"
    assert [one["value"] for one in found["result"]] == ([[(start + at) / 1000, expected]] if expected else [])


def test_a_series_that_ended_is_gone_until_it_is_back(gateway: Running) -> None:
    start = now_ms() - 100_000
    name = sent(gateway, start, {0: 1.0, 10_000: STALE, 30_000: 2.0})
    found = stepped(gateway, name, start=start / 1000, end=start / 1000 + 40, step=10)
    assert found == {0: {start: "1", start + 30_000: "2", start + 40_000: "2"}}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-07"),
        (1e15, "1000000000000000"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (2.0**53 + 2, "9007199254740994"),
    ],
)
def test_values_as_prometheus_writes_them(gateway: Running, value: float, shown: str) -> None:
    assert gateway.value(sent(gateway, now_ms(), {0: value})) == shown


FAR = [-1e13, -1e10, -1e9, 0, 1e11, 1e12]


@pytest.mark.parametrize("start", FAR)
@pytest.mark.parametrize("end", FAR)
def test_times_far_away_find_nothing_that_is_not_there(gateway: Running, start: float, end: float) -> None:
    """Series by series, so that a time beyond the bounds of one does not fall among the samples of the next."""
    now = now_ms()
    name = sent(gateway, now, {0: 1.0}, {0: 2.0}, {0: 3.0})
    if start > end:
        return
    step = max((end - start) / 1000, 1.0)
    found = stepped(gateway, name, start=start / 1000, end=end / 1000, step=step / 1000)
    times = [start + index * step for index in range(1001)]
    if not any(0 <= time - now < LOOKBACK_MS for time in times):
        assert found == {}


def test_a_range_of_250_years_finds_everything(gateway: Running) -> None:
    now = now_ms()
    name = sent(gateway, now, {0: 1.0}, {0: 2.0})
    found = gateway.api("query", query=f"{name}[250y]")["result"]
    assert [one["values"] for one in found] == [[[now / 1000, "1"]], [[now / 1000, "2"]]]
    wide = stepped(gateway, name, start=now / 1000, end=now / 1000, step=1, lookback_delta="290y")
    assert wide == {0: {now: "1"}, 1: {now: "2"}}


class TestNativeHistograms:
    def test_an_instant(self, gateway: Running) -> None:
        name = self.stored(gateway, exponential(fresh(), powers([1, 0, 2], zero=3, negative=[4], total=-1.5)))
        (found,) = gateway.api("query", query=name)["result"]
        assert found["histogram"][1] == {
            "count": "10",
            "sum": "-1.5",
            "buckets": [
                [1, "-2", "-1", "4"],
                [3, "-1e-128", "1e-128", "3"],
                [0, "1", "2", "1"],
                [0, "4", "8", "2"],
            ],
        }

    def test_steps_and_ranges(self, gateway: Running) -> None:
        start = now_ms() - 100_000
        first, last, ended = powers([1]), powers([3]), powers([])
        for at, sample in ((0, first), (20_000, last), (40_000, ended)):
            sample.time_unix_nano = (start + at) * 1_000_000
        ended.flags = 1
        name = self.stored(gateway, exponential(fresh(), first, last, ended))
        one = {"count": "1", "sum": "0", "buckets": [[0, "1", "2", "1"]]}
        three = {"count": "3", "sum": "0", "buckets": [[0, "1", "2", "3"]]}
        seconds = start / 1000
        (stepped,) = gateway.api("query_range", query=name, start=seconds - 10, end=seconds + 50, step=10)["result"]
        assert [shown for _, shown in stepped["histograms"]] == [one, one, three, three]
        (ranged,) = gateway.api("query", query=f"{name}[1h]")["result"]
        assert ranged["histograms"] == [[seconds, one], [seconds + 20, three]]
        assert not gateway.api("query", query=name)["result"]
        assert not gateway.api("query", query=f"{name}[10ms]")["result"]

    def test_without_observations_there_are_no_buckets(self, gateway: Running) -> None:
        name = self.stored(gateway, exponential(fresh(), powers([0, 0], total=None)))
        (found,) = gateway.api("query", query=name)["result"]
        assert found["histogram"][1] == {"count": "0", "sum": "NaN"}

    def stored(self, gateway: Running, metric: Metric) -> str:
        assert HTTP.export(gateway, "metrics", metrics(metric)).code == 0
        return metric.name
