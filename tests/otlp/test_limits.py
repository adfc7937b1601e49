"""The limits at their edges, and that each names the setting to change."""

from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from mirubato.admission.labels import LabelLimits
from mirubato.errors import ConfigError
from mirubato.limits import ATTRIBUTE_DEPTH_MAX
from mirubato.otlp.streams import Streams, format_bound
from mirubato.storage.registry import Registry, SeriesLimits
from tests.otlp.gate import MANY, Gate, answer, texts
from tests.otlp.reference import Rules
from tests.otlp.requests import (
    NOW,
    NS,
    SHOP,
    counter,
    entry,
    exponential,
    gauge,
    histogram,
    labelled,
    pairs,
    point,
    request,
    summary,
)

NOBODY: dict[str, str] = {}
"""A resource without attributes: its series have only their own labels."""


def rejected(gate: Gate, body: bytes) -> tuple[int, str]:
    """Points of one request that were rejected, and what was said."""
    (outcome,) = gate.commit([body], NOW)
    return answer(outcome).rejected.total(), "; ".join(texts(outcome))


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "extra"), [(gauge, 1), (exponential, 1), (histogram, 2), (summary, 2)])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_number_of_labels(kind: Any, extra: int, more: int) -> None:
    gate = Gate(Rules(labels=8))
    attributes = {f"k{number}": "v" for number in range(8 - extra + more)}  # the name counts, and `le` or `quantile`
    one = point(attributes, as_int=1) if kind is gauge else point(attributes, count=1)
    count, why = rejected(gate, request(kind("x", one), resource=NOBODY))
    assert count == (more > 0)
    assert not count or why == "9 labels, more than MIRUBATO_MAX_LABELS=8"


def test_promoted_labels_and_identity_count_too() -> None:
    gate = Gate(Rules(labels=8))
    most = {f"k{number}": "v" for number in range(4)}
    assert rejected(gate, request(gauge("x", point(most, as_int=1)), resource=SHOP))[0] == 0
    assert rejected(gate, request(gauge("x", point(most | {"k4": "v"}, as_int=1)), resource=SHOP))[0] == 1


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("letter", ["a", "é", "日"])
def test_length_of_values_in_bytes(letter: str, more: int) -> None:
    gate = Gate(Rules(value_bytes=60))
    fits = letter * (60 // len(letter.encode()))
    value = fits[1:] if more < 0 else fits + "b" * more
    count, why = rejected(gate, request(gauge("x", point({"k": value}, as_int=1))))
    assert count == (more > 0)
    assert not count or why == "a label value longer than MIRUBATO_MAX_LABEL_VALUE_BYTES=60"


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_length_of_names(more: int) -> None:
    gate = Gate(Rules(name_bytes=20, value_bytes=30))
    count, why = rejected(gate, request(gauge("x", point({"k" * (20 + more): "v"}, as_int=1))))
    assert count == (more > 0)
    assert not count or why == "a label name longer than MIRUBATO_MAX_LABEL_NAME_BYTES=20"
    count, why = rejected(gate, request(gauge("x" * (30 + more), point(as_int=1))))
    assert count == (more > 0)
    assert not count or why == "a label value longer than MIRUBATO_MAX_LABEL_VALUE_BYTES=30"


def test_a_long_help_text_is_cut() -> None:
    gate = Gate(Rules(value_bytes=20))
    metric = gauge("x", point(as_int=1))
    metric.description = "y" * 1000
    gate.commit([request(metric)], NOW)
    assert {len(one.family.help) for one in gate.registry.series if one} == {20, len("Target metadata")}


def test_exemplar_labels_over_the_limits_are_left_out_and_the_trace_stays() -> None:
    gate = Gate(Rules(labels=8))
    ids = {"trace_id": b"t" * 16, "span_id": b"s" * 8, "time_unix_nano": NOW * NS}
    filtered = [[*pairs({"a": "1"})], [*pairs({f"k{number}": "v" for number in range(9)})], [*pairs({"": "x"})]]
    exemplars = [{**ids, "filtered_attributes": some} for some in filtered]
    assert rejected(gate, request(gauge("x", point(as_int=1, exemplars=exemplars))))[0] == 0
    trace = (("span_id", "73" * 8), ("trace_id", "74" * 16))
    assert [labels for *_, labels in gate.held.exemplars] == [(("a", "1"), *trace), trace, trace]


# --- series ----------------------------------------------------------------------------------------------------------


def points_of(*names: int) -> bytes:
    """A request with one gauge point for each number."""
    return request(gauge("x", *(point({"n": str(name)}, as_int=name) for name in names)), resource=NOBODY)


@pytest.mark.parametrize(
    ("limits", "code", "setting"),
    [
        (SeriesLimits(active=3, new_per_minute=100), "max_series", "MIRUBATO_MAX_SERIES=3"),
        (
            SeriesLimits(active=100, new_per_minute=3),
            "max_new_series_per_minute",
            "MIRUBATO_MAX_NEW_SERIES_PER_MINUTE=3",
        ),
    ],
)
def test_number_of_series(limits: SeriesLimits, code: str, setting: str) -> None:
    gate = Gate(Rules(), limits=limits)
    assert rejected(gate, points_of(1, 2, 3))[0] == 0
    (outcome,) = gate.commit([points_of(1, 4, 2, 5, 3)], NOW)
    assert answer(outcome).accepted == 3
    assert answer(outcome).rejected == {code: 2}
    assert setting in str(outcome)
    assert {dict(labels)["n"] for labels in gate.held.samples} == {"1", "2", "3"}


def test_the_next_minute_has_new_series() -> None:
    gate = Gate(Rules(), limits=SeriesLimits(active=100, new_per_minute=2))
    (first,) = gate.commit([points_of(1, 2, 3)], NOW)
    (second,) = gate.commit([points_of(3, 4)], NOW + 59_999)
    (third,) = gate.commit([points_of(3, 4)], NOW + 60_000)
    assert [answer(one).accepted for one in (first, second, third)] == [2, 0, 2]


def test_a_failed_commit_gives_its_series_back() -> None:
    gate = Gate(Rules(), limits=SeriesLimits(active=3, new_per_minute=3))
    for _ in range(5):
        gate.attempt([points_of(1, 2, 3)], NOW)
    (outcome,) = gate.commit([points_of(1, 2, 3)], NOW)
    assert answer(outcome).accepted == 3


def test_a_histogram_that_does_not_fit() -> None:
    gate = Gate(Rules(), limits=SeriesLimits(active=4, new_per_minute=100))
    big = histogram("h", point(bucket_counts=[1, 2, 3], explicit_bounds=[1.0, 2.0], count=6, sum=1.0))
    assert rejected(gate, request(entry(gauge("x", point(as_int=1)), big, resource=NOBODY)))[0] == 1
    assert [dict(labels)["__name__"] for labels in gate.held.samples] == ["x"]


# --- target_info -----------------------------------------------------------------------------------------------------

INFO = (("__name__", "target_info"), ("host_name", "h"), ("instance", "1"), ("job", "shop"))


def info_times(gate: Gate) -> list[int]:
    """When target_info was written, in ms before NOW."""
    return [NOW - time for time in gate.held.samples.get(INFO, {})]


def test_target_info_once_a_minute() -> None:
    gate = Gate(Rules())
    for ago in (200_000, 180_000, 140_001, 140_000, 139_999, 60_000, 80_000, 300_000):
        gate.commit([request(counter("x", point(as_int=1, time=NOW - ago)))], NOW)
    assert info_times(gate) == [200_000, 140_000, 60_000, 300_000]


NOTHING_TO_TELL = [NOBODY, {"host.name": "h"}, {"service.name": "shop"}, {"service.namespace": "x", "a": "b"}]


@pytest.mark.parametrize("resource", NOTHING_TO_TELL)
def test_no_target_info_where_there_is_nothing_to_tell(resource: dict[str, str]) -> None:
    gate = Gate(Rules())
    gate.commit([request(gauge("x", point(as_int=1)), resource=resource)], NOW)
    assert gate.registry.active == 1


@pytest.mark.parametrize("kind", [gauge, exponential])
def test_target_info_beside_every_kind(kind: Any) -> None:
    gate = Gate(Rules())
    one = point(as_int=1) if kind is gauge else point(count=1)
    gate.commit([request(kind("x", one))], NOW)
    assert info_times(gate) == [0]


def test_target_info_has_the_first_time_that_is_not_0() -> None:
    gate = Gate(Rules())
    first, second = gauge("a", point(as_int=1, time=0)), gauge("b", point(as_int=1, time=NOW - 5))
    for _ in range(4):
        gate.commit([request(entry(first, second))], NOW)
    assert info_times(gate) == [5]
    assert gate.shapes.hits == 2


def test_target_info_has_the_time_of_the_first_point() -> None:
    gate = Gate(Rules())
    for turn in range(5):
        times = [NOW - 400_000 + 70_000 * turn, NOW - 300_000 + 50_000 * turn]
        points = [point({"n": str(index)}, as_int=1, time=time) for index, time in enumerate(times)]
        gate.commit([request(gauge("x", *points))], NOW)
    assert info_times(gate) == [400_000, 330_000, 260_000, 190_000, 120_000]
    assert gate.shapes.hits == 3


def test_target_info_waits_for_a_place() -> None:
    gate = Gate(Rules(), limits=SeriesLimits(active=100, new_per_minute=1))
    body = request(gauge("x", point(as_int=1)))
    left_out = "target_info left out: more than MIRUBATO_MAX_NEW_SERIES_PER_MINUTE=1 new series"
    for now, times, said in ((NOW, [], [left_out]), (NOW + 1000, [], [left_out]), (NOW + 60_000, [0], [])):
        (outcome,) = gate.commit([body], now)
        assert answer(outcome).accepted == 1
        assert texts(outcome) == said
        assert info_times(gate) == times


def test_a_refused_request_does_not_count_as_told() -> None:
    gate = Gate(Rules())
    times = [NOW - ago for ago in (300_000, 290_000, 280_000, 200_000, 190_000)]
    bodies = [request(gauge("x", point(as_int=1, time=time))) for time in times]
    for body in bodies[:3]:
        gate.commit([body], NOW)
    gate.commit([bodies[3] + b"\n\x01\xff"], NOW)  # the first resource is known, and then comes garbage
    gate.commit([bodies[4]], NOW)
    assert info_times(gate) == [300_000, 190_000]


def test_warnings_are_given_on_every_path() -> None:
    gate = Gate(Rules())
    body = request(gauge("x", point(as_int=1)), resource={"service.name": "shop", "日本": "x"})
    for _ in range(5):
        (outcome,) = gate.commit([body], NOW)
        assert texts(outcome) == ["target_info left out: attribute key '日本' has no letter or digit"]
        assert answer(outcome).accepted == 1
    assert gate.shapes.hits == 3


def test_a_resource_attribute_that_is_nested_too_deeply() -> None:
    value: Any = {"string_value": "x"}
    for _ in range(ATTRIBUTE_DEPTH_MAX + 1):
        value = {"array_value": {"values": [value]}}
    one = entry(gauge("x", point(as_int=1)), resource={"service.instance.id": "1"})
    one.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(**value)))
    gate = Gate(Rules())
    for _ in range(4):
        (outcome,) = gate.commit([request(one)], NOW)
        assert answer(outcome).accepted == 1
        (said,) = texts(outcome)
        assert said.startswith("resource attribute 'service.name' left out: ")
    assert list(gate.held.samples) == [(("__name__", "x"), ("instance", "1"))]


def test_a_promoted_attribute_that_makes_no_label() -> None:
    with pytest.raises(ConfigError, match="MIRUBATO_PROMOTE_RESOURCE_ATTRIBUTES"):
        Streams(Registry(MANY), LabelLimits(64, 512, 4096), ["service.name", "__"])


def test_own_labels_win_over_promoted_ones_and_identity_over_both() -> None:
    gate = Gate(Rules(promoted=("service.name", "host.name")))
    own = {"service.name": "mine", "job": "mine", "instance": "mine", "host_name": ""}
    gate.commit([request(gauge("x", point(own, as_int=1)))], NOW)
    assert labelled("x", {"service_name": "mine", "host_name": "h"}) in gate.held.samples


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (0.005, "0.005"),
        (-2.5, "-2.5"),
        (1e21, "1000000000000000000000"),
        (1e22, "10000000000000000000000"),
        (1e-7, "0.0000001"),
        (123456789.125, "123456789.125"),
        (2.0**60, "1152921504606847000"),
    ],
)
def test_bounds_have_no_exponent(bound: float, text: str) -> None:
    assert format_bound(bound) == text
