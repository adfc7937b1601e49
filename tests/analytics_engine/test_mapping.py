"""OTel metrics -> event points -> the same again."""

import json
import math
from collections.abc import Mapping
from itertools import zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue
from opentelemetry.sdk.metrics.export import (
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    NumberDataPoint,
    Sum,
)

from mirubato.analytics_engine.event_points import EventPoint, clean, current_limits, problem
from mirubato.analytics_engine.layout import default_layout, parse
from mirubato.analytics_engine.mapping import DataPoint, Mapper
from mirubato.analytics_engine.reading import Reading, joined, read
from mirubato.analytics_engine.texts import attribute_text
from mirubato.errors import BadRequest
from mirubato.otlp import attributes as of_gateway
from tests.analytics_engine.points import (
    CUMULATIVE,
    DELTA,
    START_MS,
    TIME_MS,
    Data,
    Value,
    attribute_sets,
    counter,
    exponential,
    exponentials,
    histogram,
    histograms,
    metric_names,
    metrics,
    number,
    numbers,
    values,
)

LAYOUT = default_layout()
LIMITS = current_limits()


def mapped(data: Data, name: str = "orders", **more: object) -> list[EventPoint]:
    return Mapper(LAYOUT, LIMITS).points(metrics(data, name, **more))  # type: ignore[arg-type]


def back(points: list[EventPoint]) -> Reading:
    (reading,) = joined([read(point, LAYOUT) for point in points])
    return reading


def texts(attributes: Mapping[str, object] | None) -> dict[str, str]:
    return {clean(key): attribute_text(value) for key, value in (attributes or {}).items()}


def data_of(point: DataPoint, kind: str) -> Data:
    if isinstance(point, HistogramDataPoint):
        return Histogram([point], DELTA)
    if isinstance(point, ExponentialHistogramDataPoint):
        return ExponentialHistogram([point], DELTA)
    kinds: dict[str, Data] = {
        "gauge": Gauge([point]),
        "counter": counter(point),
        "updown": Sum([point], CUMULATIVE, is_monotonic=False),
    }
    return kinds[kind]


def expected_values(point: DataPoint) -> dict[str, object]:
    if isinstance(point, NumberDataPoint):
        return {"value": float(point.value)}
    if isinstance(point, HistogramDataPoint):
        pairs = zip(point.explicit_bounds, point.bucket_counts, strict=False)
        return {"count": point.count, "total": point.sum, "buckets": dict(pairs)}
    return {
        "count": point.count,
        "total": point.sum,
        "scale": point.scale,
        "zero_count": point.zero_count,
        "buckets": {
            (sign, n): count
            for sign, side in (("p", point.positive), ("n", point.negative))
            for n, count in enumerate(side.bucket_counts, start=side.offset)
            if count
        },
    }


@given(
    numbers | histograms() | exponentials(),
    st.sampled_from(["gauge", "counter", "updown"]),
    metric_names,
    attribute_sets,
    st.tuples(st.sampled_from(["", "shop"]), st.sampled_from(["", "1.0"])),
)
def test_what_goes_in_comes_back(
    point: DataPoint, kind: str, name: str, resource: dict[str, str], scope: tuple[str, str]
) -> None:
    resource = {key: value for key, value in resource.items() if key}  # the SDK refuses an empty key of a resource
    mapper = Mapper(LAYOUT, LIMITS)
    made = mapper.points(metrics(data_of(point, kind), name, "s", resource, scope))
    assert [problem(one, LIMITS) for one in made] == [None] * len(made)
    reading = back(made)
    assert (reading.metric, reading.unit, reading.start_ms, reading.time_ms) == (name, "s", START_MS, TIME_MS)
    assert reading.attributes == texts(point.attributes)
    assert reading.resource == texts(resource)
    named = [text for text in scope if text]
    assert [text for text in reading.scope if text] == named
    for what, value in expected_values(point).items():
        assert getattr(reading, what) == value
    assert set(mapper.counts) <= {"split"}


@given(values)
def test_attributes_have_the_text_that_the_gateway_gives_them(value: object) -> None:
    if isinstance(value, tuple):
        any_value = AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=clean(item)) for item in value]))
    elif isinstance(value, str):
        any_value = AnyValue(string_value=clean(value))
    elif isinstance(value, bool):
        any_value = AnyValue(bool_value=value)
    elif isinstance(value, int):
        any_value = AnyValue(int_value=value)
    else:
        assert isinstance(value, float)
        any_value = AnyValue(double_value=value)
    ours, theirs = attribute_text(value), of_gateway.attribute_text(any_value)
    if isinstance(value, tuple):  # the gateway escapes two more characters, as Go does
        assert json.loads(ours) == json.loads(theirs)
    else:
        assert ours == theirs


def test_a_request_duration_in_its_slots() -> None:
    attributes: dict[str, Value] = {
        "http.request.method": "GET",
        "http.route": "/score/{id}",
        "http.response.status_code": 200,
        "q": 1,
    }
    bounds = LAYOUT.bounds("http.server.request.duration")
    point = histogram([1] * 15, bounds, 3.25, attributes)
    resource = {"service.name": "api", "service.instance.id": "i-1", "faas.name": "scores"}
    (made,) = mapped(Histogram([point], DELTA), "http.server.request.duration", unit="s", resource=resource)
    assert made.index == "api|http.server.request.duration|/score/{id}"
    assert made.timestamp_ms == TIME_MS
    assert made.blobs == (
        "http.server.request.duration",
        "mirubato/1",
        "histogram",
        "s",
        "api",
        "i-1",
        "0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0",
        '{"a":{"q":"1"},"r":{"faas.name":null},"s":["shop","1.0"]}',
        None,
        "scores",
        None,
        None,
        "GET",
        "/score/{id}",
        "200",
    )
    assert made.doubles == (float(TIME_MS), float(START_MS), 15.0, 3.25, *[1.0] * 14)


@pytest.mark.parametrize(("bounds", "points"), [(0, 1), (16, 1), (17, 2), (32, 2), (33, 3)])
def test_a_histogram_with_many_bounds_becomes_several_points_that_add_up(bounds: int, points: int) -> None:
    mapper = Mapper(LAYOUT, LIMITS)
    point = histogram(range(1, bounds + 2), range(bounds), 7.0)
    made = mapper.points(metrics(Histogram([point], DELTA)))
    assert len(made) == points
    assert sum(one.doubles[2] for one in made) == point.count
    assert sum(one.doubles[3] for one in made) == 7.0
    assert mapper.counts["split"] == points - 1


def test_parts_of_two_collections_stay_apart() -> None:
    point = exponential(Buckets(0, [1] * 20), Buckets(0, []), 3, 5)
    later = ExponentialHistogramDataPoint(
        point.attributes, TIME_MS * 10**6, (TIME_MS + 1) * 10**6, *list(vars(point).values())[3:]
    )
    made = mapped(ExponentialHistogram([point, later], DELTA))
    assert len(made) == 4
    assert [reading.count for reading in joined(read(one, LAYOUT) for one in made)] == [25.0, 25.0]


def test_parts_find_their_first_ones_in_any_order_and_in_one_millisecond() -> None:
    point = histogram([1] * 41, range(40))
    made = mapped(Histogram([point, point], DELTA))
    assert len(made) == 6
    for order in (made, made[::-1], made[::2] + made[1::2]):
        whole = joined(read(one, LAYOUT) for one in order)
        assert [(len(reading.buckets), reading.count) for reading in whole] == [(40, 41.0)] * 2
    (lonely,) = joined([read(made[1], LAYOUT)])
    assert (lonely.is_further, lonely.count, len(lonely.buckets)) == (True, 0.0, 16)


def test_two_gauges_of_one_series_at_one_time_are_both_there() -> None:
    made = mapped(Gauge([number(1), number(2)]))
    assert [reading.value for reading in joined(read(one, LAYOUT) for one in made)] == [1.0, 2.0]


def test_equal_attributes_of_different_types_keep_their_texts() -> None:
    made = mapped(Gauge([number(1, {"a": 1}), number(1, {"a": True}), number(1, {"a": 1.5}), number(1, {"a": ["x"]})]))
    assert [read(one, LAYOUT).attributes["a"] for one in made] == ["1", "true", "1.5", '["x"]']


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (Sum([number(1)], CUMULATIVE, is_monotonic=True), "dropped_temporality"),
        (Sum([number(1)], DELTA, is_monotonic=False), "dropped_temporality"),
        (Histogram([histogram([1], [])], CUMULATIVE), "dropped_temporality"),
        (Gauge([number(math.nan)]), "dropped_not_finite"),
        (Gauge([number(10**400)]), "dropped_not_finite"),
        (Histogram([histogram([1], [], math.inf)], DELTA), "dropped_not_finite"),
        (Gauge([number("x")]), "dropped_failed"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_mapped_is_counted(data: Data, reason: str) -> None:
    mapper = Mapper(LAYOUT, LIMITS)
    assert mapper.points(metrics(data)) == []
    assert mapper.counts == {reason: 1}


@given(st.integers(0, 40_000), st.integers(0, 40_000), st.sampled_from(["x", "é", "\U0001f600"]))
def test_what_is_too_long_is_cut_and_counted_and_stays_its_own_series(free: int, slot: int, character: str) -> None:
    mapper = Mapper(LAYOUT, LIMITS)
    sets = [{"note": character * free + end, "error.type": character * slot} for end in "ab"]
    made = mapper.points(metrics(counter(*[number(1, attributes) for attributes in sets]), scope=("", "")))
    assert [problem(one, LIMITS) for one in made] == [None, None]
    readings = [read(one, LAYOUT) for one in made]
    if mapper.counts["cut"]:
        assert readings[0].cut != readings[1].cut
    else:
        assert readings[0].attributes == sets[0]
    assert made[0].blobs != made[1].blobs


def test_many_series_do_not_grow_without_bound() -> None:
    mapper = Mapper(LAYOUT, LIMITS)
    made = mapper.points(metrics(counter(*[number(1, {"n": n}) for n in range(20_500)])))
    assert len({one.blobs for one in made}) == 20_500
    (origin,) = mapper._origins.values()
    assert len(origin.kept) < 20_000


@pytest.mark.parametrize(
    "blobs",
    [
        ("orders", "other/1", "gauge"),
        ("orders", "mirubato/1", "nothing"),
        ("orders", "mirubato/1", "gauge", "", "", "", "", "["),
        ("orders", "mirubato/1", "gauge", "", "", "", "", '{"a":3}'),
        ("orders", "mirubato/1", "gauge", "", "", "", "", '{"r":{"x":null}}'),
        ("orders",),
        (),
    ],
)
def test_a_point_that_no_exporter_wrote_is_refused(blobs: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest, match="event point"):
        read(EventPoint(0, "", blobs, (1.0, 1.0, 1.0)), LAYOUT)
    with pytest.raises(BadRequest, match="event point"):
        read(EventPoint(0, "", ("orders", "mirubato/1", "gauge", *[""] * 5), (1.0,)), LAYOUT)


def test_an_own_layout_moves_an_attribute_out_of_the_rest() -> None:
    layout = parse('name = "shop"\nversion = 3\n[metrics.orders]\nblobs = ["", "plan"]\nindex = ["plan"]')
    (made,) = Mapper(layout, LIMITS).points(metrics(counter(number(2, {"plan": "pro"})), scope=("", "")))
    assert made.index == "pro"
    assert dict(zip_longest(range(1, 15), made.blobs))[14] == "pro"
    assert made.blobs[7] is None
    assert read(made, layout).attributes == {"plan": "pro"}
