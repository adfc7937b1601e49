"""Requests that nobody writes by accident: each gets its proper answer, on every path; good points beside it stay."""

import struct
import time
from itertools import permutations
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from mirubato.errors import BadRequest
from mirubato.limits import ATTRIBUTE_DEPTH_MAX, NATIVE_BUCKETS_MAX, NATIVE_TOTAL_BUCKETS_MAX
from tests.otlp.encoding import END_GROUP, FIXED64, GROUP, VARINT, part, tag, varint
from tests.otlp.gate import Gate, answer
from tests.otlp.reference import Rules
from tests.otlp.requests import (
    CUMULATIVE,
    DELTA,
    NOW,
    NS,
    START,
    counter,
    decoded,
    entry,
    everything,
    exponential,
    gauge,
    histogram,
    labelled,
    point,
    request,
    summary,
)
from tests.otlp.test_against_reference import check

RULES = Rules()
NOT_UTF8 = b"\xff\xfe"


def everywhere(*bodies: bytes, rules: Rules = RULES) -> Gate:
    """Requests one after the other, read in every way."""
    commits = [[body] for body in bodies]
    check(commits, rules, shapes=False)
    check(commits, rules, shapes=False, layouts=False)
    return check(commits, rules)


def refused(gate: Gate, body: bytes) -> bool:
    """Whether the gate and the official classes refuse a body."""
    (outcome,) = gate.commit([body], NOW)
    if isinstance(outcome, BadRequest):
        with pytest.raises(DecodeError):
            decoded(body)
        return True
    decoded(body)
    return False


# --- bytes by hand ---------------------------------------------------------------------------------------------------


def fixed64(field: int, value: float) -> bytes:
    """A fixed64 or double field."""
    return tag(field, FIXED64) + struct.pack("<d" if isinstance(value, float) else "<Q", value)


def text(field: int, value: str) -> bytes:
    """A string field."""
    return part(field, value.encode())


def attribute(key: str, value: str) -> bytes:
    """A KeyValue."""
    return text(1, key) + part(2, text(1, value))


CUMULATIVE_FIELD = tag(2, VARINT) + varint(CUMULATIVE)
WHEN = fixed64(2, START * NS) + fixed64(3, NOW * NS)
RESOURCE = part(1, attribute("service.name", "shop"))


def number(*attributes: bytes, value: bytes = fixed64(4, 1.5), more: bytes = b"") -> bytes:
    """A NumberDataPoint of raw parts."""
    return WHEN + value + b"".join(part(7, one) for one in attributes) + more


def metric(*points: bytes, name: bytes = b"x", more: bytes = b"") -> bytes:
    """A gauge of raw points."""
    return part(1, name) + part(5, b"".join(part(1, one) for one in points)) + more


def body_of(*metrics: bytes, resources: tuple[bytes, ...] = (RESOURCE,), scopes: tuple[bytes, ...] = ()) -> bytes:
    """A request of raw metrics."""
    scope = b"".join(part(1, one) for one in scopes) + b"".join(part(2, one) for one in metrics)
    return part(1, b"".join(part(1, one) for one in resources) + part(2, scope))


def known(body: bytes) -> tuple[bytes, bytes, bytes]:
    """A request often enough for its shape to be known."""
    return body, body, body


# --- the same bytes, taken apart otherwise ---------------------------------------------------------------------------

A_KEY, A_VALUE = text(1, "a"), part(2, text(1, "1"))
B_KEY, B_VALUE = text(1, "b"), part(2, text(1, "2"))


@pytest.mark.parametrize(
    "split",
    [
        [A_KEY + A_VALUE + B_KEY + B_VALUE],
        [A_KEY, A_VALUE + B_KEY + B_VALUE],
        [A_KEY + A_VALUE + B_KEY, B_VALUE],
        [b"", A_KEY + A_VALUE + B_KEY + B_VALUE],
        [A_KEY + A_VALUE, B_KEY + B_VALUE, b""],
        [A_KEY + A_VALUE, B_KEY, B_VALUE],
        [B_KEY + B_VALUE, A_KEY + A_VALUE],
        [A_VALUE + A_KEY, B_VALUE + B_KEY],
    ],
)
def test_attributes_with_the_same_bytes(split: list[bytes]) -> None:
    plain = body_of(metric(number(A_KEY + A_VALUE, B_KEY + B_VALUE)))
    other = body_of(metric(number(*split, value=fixed64(4, 2.5))))
    everywhere(*known(plain), other)
    everywhere(*known(other), plain)


@pytest.mark.parametrize("name", ["resource", "scope"])
def test_a_message_in_two_parts(name: str) -> None:
    whole = attribute("service.name", "shop") if name == "resource" else text(1, "scope") + text(2, "1.0")
    plain = body_of(metric(number()), **{f"{name}s": (part(1, whole) if name == "resource" else whole,)})
    gate = everywhere(*known(plain))
    content = part(1, whole) if name == "resource" else whole
    for at in range(len(content) + 1):
        halves = (content[:at], content[at:])
        refused(gate, body_of(metric(number(value=fixed64(4, float(at)))), **{f"{name}s": halves}))
    assert not refused(gate, body_of(metric(number()), **{f"{name}s": (content, b"")}))
    assert refused(gate, body_of(metric(number()), **{f"{name}s": (content[:3], content[3:])}))


@pytest.mark.parametrize("first", [b"", fixed64(4, 7.5), tag(6, FIXED64) + struct.pack("<q", -7)])
@pytest.mark.parametrize("second", [fixed64(4, 8.5), tag(6, FIXED64) + struct.pack("<q", -8)])
def test_a_value_set_twice(first: bytes, second: bytes) -> None:
    everywhere(*known(body_of(metric(number()))), body_of(metric(number(value=first + second))))


def test_data_set_twice() -> None:
    def points(*values: float) -> bytes:
        return b"".join(part(1, number(attribute("v", str(value)), value=fixed64(4, value))) for value in values)

    gauges, sums = part(5, points(1.0)), part(7, points(2.0) + CUMULATIVE_FIELD)
    plain = body_of(text(1, "x") + gauges)
    for both in (gauges + sums, sums + gauges, gauges + part(5, points(2.0))):
        everywhere(*known(plain), body_of(text(1, "x") + both))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_attributes_apart_from_each_other(order: tuple[int, ...]) -> None:
    def export(value: float) -> bytes:
        parts = part(7, attribute("a", "1")), WHEN + fixed64(4, value), part(7, attribute("b", "2"))
        return body_of(metric(b"".join(parts[index] for index in order)))

    everywhere(export(1.5), export(1.5), export(2.5), export(3.5), export(3.5))


@pytest.mark.parametrize("packed_counts", [True, False])
@pytest.mark.parametrize("packed_bounds", [True, False, None])
def test_lists_packed_or_not(packed_counts: bool, packed_bounds: bool | None) -> None:
    counts = [struct.pack("<Q", count) for count in (1, 2, 3)]
    bounds = [struct.pack("<d", bound) for bound in (0.5, 1.5)]
    raw = WHEN + fixed64(4, 6)
    raw += part(6, b"".join(counts)) if packed_counts else b"".join(tag(6, FIXED64) + one for one in counts)
    if packed_bounds is None:  # one of each kind
        raw += part(7, bounds[0]) + tag(7, FIXED64) + bounds[1]
    else:
        raw += part(7, b"".join(bounds)) if packed_bounds else b"".join(tag(7, FIXED64) + one for one in bounds)
    body = body_of(text(1, "h") + part(9, part(1, raw) + CUMULATIVE_FIELD))
    plain = request(histogram("h", point(bucket_counts=[1, 2, 3], explicit_bounds=[0.5, 1.5], count=6)))
    everywhere(*known(plain), body)
    everywhere(*known(body))


# --- what is not known -----------------------------------------------------------------------------------------------

UNKNOWN = {
    "number": tag(100, VARINT) + varint(7),
    "low number": tag(15, VARINT) + varint(7),
    "text": part(15, b"unknown"),
    "group": tag(15, GROUP) + text(1, "inside") + tag(15, END_GROUP),
    "wrong wire type": tag(1, VARINT) + varint(3),
    "wrong wire type of the data": tag(2, VARINT) + varint(40),
    "open group": tag(15, GROUP) + text(1, "inside"),
    "closed group": tag(15, END_GROUP),
    "wire type 6": tag(15, 6),
    "field 0": b"\x00",
    "long tag": bytes([0x80 | 15 << 3, 0x80, 0x00]) + varint(1),
}


@pytest.mark.parametrize("unknown", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("level", ["request", "resource entry", "scope", "metric", "data", "point", "attribute"])
def test_unknown_fields(unknown: bytes, level: str) -> None:
    def at(here: str) -> bytes:
        return unknown if level == here else b""

    raw = number(attribute("a", "1") + at("attribute"), value=fixed64(4, 9.5), more=at("point"))
    one = text(1, "x") + part(5, part(1, raw) + at("data")) + at("metric")
    body = part(1, part(1, RESOURCE) + part(2, part(2, one) + at("scope")) + at("resource entry")) + at("request")
    plain = body_of(metric(number(attribute("a", "1"))))
    everywhere(*known(plain), body)
    everywhere(*known(body), plain)


@pytest.mark.parametrize("depth", [98, 99, 100, 101])
def test_unknown_groups_as_deep_as_protobuf_goes(depth: int) -> None:
    nested = tag(15, GROUP) * depth + tag(15, END_GROUP) * depth
    plain = part(1, RESOURCE) + part(2, part(2, metric(number())))
    everywhere(*known(part(1, plain)), part(1, plain + nested))


def nested_value(levels: int, *, maps: bool) -> bytes:
    """An AnyValue: an array in an array, or a map in a map, so many levels deep."""
    value = text(1, "x")
    for _ in range(levels):
        value = part(6, part(1, text(1, "k") + part(2, value))) if maps else part(5, part(1, value))
    return value


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize("levels", [1, 30, 31, 32, 33, 45, 46, 47, 60, 2000])
def test_deep_attributes(levels: int, maps: bool) -> None:
    deep = text(1, "deep") + part(2, nested_value(levels, maps=maps))
    body = body_of(metric(number(attribute("k", "good")), number(deep)))
    if refused(Gate(RULES), body):
        assert levels > (31 if maps else 46)  # 100 messages in each other are all that protobuf reads
        return
    gate = everywhere(*known(body))
    assert len(gate.held.samples) == (2 if levels <= ATTRIBUTE_DEPTH_MAX else 1)


@pytest.mark.parametrize(
    "place",
    [
        "name",
        "description",
        "unit",
        "schema_url",
        "scope schema_url",
        "scope",
        "metadata",
        "resource",
        "key",
        "value",
        "exemplar",
    ],
)
def test_text_that_is_not_utf8(place: str) -> None:
    def at(here: str, content: bytes) -> bytes:
        return content if place == here else b""

    one = attribute("a", "1") + at("key", part(1, NOT_UTF8)) + at("value", part(2, part(1, NOT_UTF8)))
    exemplar = at("exemplar", part(5, part(7, part(1, NOT_UTF8))))
    texts = at("name", part(1, NOT_UTF8)) + at("description", part(2, NOT_UTF8)) + at("unit", part(3, NOT_UTF8))
    named = metric(number(one, more=exemplar), more=texts + at("metadata", part(12, part(1, NOT_UTF8))))
    resource = part(1, RESOURCE + at("resource", part(1, part(1, NOT_UTF8))))
    scope = at("scope", part(1, part(1, NOT_UTF8))) + part(2, named) + at("scope schema_url", part(3, NOT_UTF8))
    body = part(1, resource + part(2, scope) + at("schema_url", part(3, NOT_UTF8)))
    for layouts in (True, False):
        gate = Gate(RULES, layouts=layouts)
        for plain in known(body_of(metric(number(attribute("a", "1"))))):
            assert not refused(gate, plain)
        assert refused(gate, body)


def test_metadata_is_ignored() -> None:
    everywhere(*known(body_of(metric(number(), more=part(12, attribute("k", "v"))))))


@pytest.mark.parametrize("attributes", [(), (attribute("a", "1"),)])
@pytest.mark.parametrize("backwards", [False, True])
def test_points_that_are_parts_of_a_point(attributes: tuple[bytes, ...], backwards: bool) -> None:
    framed = b"".join(part(7, one) for one in attributes)
    whole = framed + number() if backwards else number() + framed
    for at in range(len(whole) + 1):
        halves = whole[:at], whole[at:]
        everywhere(*known(body_of(metric(whole))), body_of(metric(*halves)), body_of(metric(*halves, whole)))


@pytest.mark.parametrize(
    "number_",
    [varint(2**64 - 1), b"\x81" * 9 + b"\x01", b"\x82\x80\x80\x80\x00", b"\xff" * 9 + b"\x7f", b"\xff" * 10 + b"\x01"],
    ids=["64 bits", "63 bits", "overlong", "70 bits", "11 bytes"],
)
@pytest.mark.parametrize("field", [2, 3])
def test_long_numbers(number_: bytes, field: int) -> None:
    data = part(1, number()) + CUMULATIVE_FIELD
    plain, long = (body_of(text(1, "x") + part(7, one)) for one in (data, data + tag(field, VARINT) + number_))
    everywhere(*known(plain), long)


@pytest.mark.parametrize(
    "body", [b"\x00", b"\n", b"\n\xff\xff\xff\xff\x0f", b"\xff" * 20, b"hello", b"{}", b"\x1f\x8b\x08"]
)
def test_no_request_at_all(body: bytes) -> None:
    gate = Gate(RULES)
    assert refused(gate, body)
    assert everywhere(body).registry.active == 0


def test_points_of_a_refused_metric_are_judged_too() -> None:
    gate = Gate(RULES)
    assert not refused(gate, body_of(metric(number())))
    assert refused(gate, body_of(part(5, part(1, number(NOT_UTF8)))))  # a metric without a name
    assert refused(gate, body_of(text(1, "x") + part(7, part(1, b"\xff"))))  # ... and one without a temporality


def test_a_bad_request_leaves_the_others_of_its_commit_alone() -> None:
    gate = Gate(RULES)
    good, bad = request(gauge("good", point(as_int=1))), request(gauge("bad", point(as_int=1)))[:-1]
    outcomes = gate.commit([bad, good, b"\xff", good], NOW)
    assert [isinstance(outcome, BadRequest) for outcome in outcomes] == [True, False, True, False]
    assert labelled("good") in gate.held.samples
    assert labelled("bad") not in gate.held.samples


# --- points that cannot be taken, beside one that can ----------------------------------------------------------------

BAD_COUNTS: dict[str, Any] = {"bucket_counts": [1, 2], "explicit_bounds": [1.0, 2.0], "count": 3}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (gauge("", point(as_int=1)), "letter, digit or colon"),
        (gauge("日本", point(as_int=1)), "letter, digit or colon"),
        (counter("x", point(as_int=1), temporality=0), "neither delta (1) nor cumulative (2)"),
        (counter("x", point(as_int=1), temporality=3), "neither delta (1) nor cumulative (2)"),
        (gauge("x", point()), "without a value"),
        (gauge("x", point({"": "v"}, as_int=1)), "no letter or digit"),
        (gauge("x", point(as_int=1, time=0)), "MIRUBATO_RETENTION_RAW"),
        (gauge("x", point(as_int=1, time=4_102_444_800_000)), "MIRUBATO_FUTURE_MAX"),
        (counter("x", point(as_int=-1), temporality=DELTA), "negative delta"),
        (counter("x", point(as_double=float("nan")), temporality=DELTA), "NaN or infinite"),
        (counter("x", point(as_double=float("inf")), temporality=DELTA, monotonic=False), "NaN or infinite"),
        (histogram("x", point(**BAD_COUNTS)), "one bucket count more"),
        (histogram("x", point(explicit_bounds=[1.0])), "one bucket count more"),
        (histogram("x", point(bucket_counts=[1, 2])), "one bucket count more"),
        (histogram("x", point(bucket_counts=[1] * 3, explicit_bounds=[2.0, 1.0])), "finite and rising"),
        (histogram("x", point(bucket_counts=[1] * 3, explicit_bounds=[1.0, 1.0])), "finite and rising"),
        (histogram("x", point(bucket_counts=[1] * 3, explicit_bounds=[-0.0, 0.0])), "finite and rising"),
        (histogram("x", point(bucket_counts=[1] * 2, explicit_bounds=[float("inf")])), "finite and rising"),
        (histogram("x", point(bucket_counts=[1] * 2, explicit_bounds=[float("nan")])), "finite and rising"),
        (summary("x", point(quantile_values=[{"quantile": float("nan"), "value": 1.0}])), "finite"),
        (exponential("x", point(scale=-5)), "coarser than scale -4"),
        (exponential("x", point(scale=-(2**31))), "coarser than scale -4"),
        (exponential("x", point(positive={"offset": 2**31 - 1, "bucket_counts": [1]})), "range of float64"),
        (exponential("x", point(negative={"offset": -(2**31), "bucket_counts": [1]})), "range of float64"),
        (exponential("x", point(positive={"offset": 1024, "bucket_counts": [1]})), "range of float64"),
        (exponential("x", point(scale=20, positive={"bucket_counts": [1] * (NATIVE_BUCKETS_MAX + 1)})), "buckets"),
    ],
)
def test_a_bad_point_is_counted_and_makes_no_series(bad: Metric, reason: str) -> None:
    body = request(entry(gauge("good", point(as_int=7)), bad))
    gate = everywhere(body)
    (outcome,) = Gate(RULES).commit([body], NOW)
    assert answer(outcome).accepted == 1
    assert answer(outcome).rejected.total() == 1
    assert reason in str(outcome)
    assert labelled("good") in gate.held.samples
    timely = "MIRUBATO" not in reason and "delta" not in str(reason) and "infinite" not in reason
    assert (gate.registry.active == 2) or not timely  # `good` and target_info


@pytest.mark.parametrize(
    ("scale", "offset"),
    [
        (0, 1023),
        (0, -1075),
        (8, 1024 * 256 - 1),
        (8, -1074 * 256 - 1),
        (-4, 63),
        (-4, -68),
        (20, 2**30 - 1),
        (20, -(2**30)),
    ],
)
def test_buckets_at_the_edge_of_float64(scale: int, offset: int) -> None:
    native: dict[str, Any] = {"scale": scale, "positive": {"offset": offset, "bucket_counts": [3]}, "count": 3}
    gate = everywhere(request(exponential("x", point(**native))))
    assert len(gate.held.natives) == 1


@pytest.mark.parametrize(("width", "schema"), [(NATIVE_TOTAL_BUCKETS_MAX, 8), (NATIVE_TOTAL_BUCKETS_MAX + 1, 7)])
def test_totals_are_as_wide_as_they_may_be(width: int, schema: int) -> None:
    exports = []
    for time_, offset in ((NOW - 10, 0), (NOW, width - 1)):
        one = point(time=time_, start=time_ - 10, scale=8, count=1, positive={"offset": offset, "bucket_counts": [1]})
        exports.append(request(exponential("x", one, temporality=DELTA)))
    (samples,) = everywhere(*exports).held.natives.values()
    last = samples[NOW]
    assert last is not None
    assert last.schema == schema


def test_a_total_of_far_apart_deltas_stays_small() -> None:
    bodies = []
    for turn, sign in enumerate((-1, 1, -1, 1, -1)):
        at = NOW - 5000 + 1000 * turn
        sides: Any = {
            "positive": {"offset": sign * 50_000, "bucket_counts": [1]},
            "negative": {"offset": sign * 40_000, "bucket_counts": [1]},
        }
        bodies.append(
            request(exponential("x", point(time=at, start=at - 1000, scale=8, count=2, **sides), temporality=DELTA))
        )
    gate = everywhere(*bodies)
    (samples,) = gate.held.natives.values()
    last = samples[NOW - 1000]
    assert last is not None
    assert last.count == 10
    assert max(last.positive) - min(last.positive) < NATIVE_TOTAL_BUCKETS_MAX
    assert sum(last.positive.values()) == sum(last.negative.values()) == 5


@pytest.mark.parametrize("same", [True, False])
def test_ten_thousand_attributes(same: bool) -> None:
    many = point(as_int=1)
    value = AnyValue(string_value="v")
    many["attributes"] = [KeyValue(key="k" if same else f"k{number_}", value=value) for number_ in range(10_000)]
    body = request(entry(gauge("x", point(as_int=1), many, point({"a": "b"}, as_int=2))))
    gate = everywhere(body, body, body)
    assert [dict(labels)["__name__"] for labels in gate.held.samples] == ["x", "x", "target_info"]
    (outcome,) = gate.commit([body], NOW)
    assert "MIRUBATO_MAX_LABELS=64" in str(outcome)


def test_a_million_attributes_are_not_looked_at() -> None:
    many = part(7, attribute("k", "v")) * 300_000
    body = body_of(metric(number(), number(attribute("a", "b"), more=many)))
    gate = Gate(RULES)
    began = time.process_time()
    (outcome,) = gate.commit([body], NOW)
    assert answer(outcome).rejected == {"label_limit": 1}
    assert time.process_time() - began < 5  # joining the texts of one key takes minutes


def test_a_resource_with_too_much_to_tell() -> None:
    attributes = b"".join(part(1, attribute("k", "v")) for _ in range(20_000))
    body = body_of(metric(number()), resources=(RESOURCE + attributes,))
    gate = everywhere(body, body)
    (outcome,) = gate.commit([body], NOW)
    assert answer(outcome).accepted == 1
    assert "target_info left out: 20000 labels" in str(outcome)


def test_everything_beside_garbage() -> None:
    good = request(*everything(1))
    bad = request(gauge("", point(as_int=1)), histogram("h", point(**BAD_COUNTS)))
    gate = everywhere(good, request(*everything(2)) + bad, request(*everything(3)) + bad, request(*everything(4)) + bad)
    assert gate.shapes.hits == 4


def _wrapped(*tags: int, inside: bytes) -> bytes:
    for one in reversed(tags):
        inside = bytes([one]) + varint(len(inside)) + inside
    return inside


@pytest.mark.parametrize(
    ("tags", "empty"),
    [
        ((), b"\x0a\x00"),
        ((0x0A,), b"\x12\x00"),
        ((0x0A, 0x12), b"\x12\x00"),
        ((0x0A, 0x12, 0x12, 0x2A), b"\x0a\x00"),
        ((0x0A, 0x0A), b"\x0a\x00"),
    ],
    ids=["resources", "scopes", "metrics", "points", "attributes"],
)
def test_nothing_but_empty_messages(tags: tuple[int, ...], empty: bytes) -> None:
    gate = Gate(RULES)
    few, many = (_wrapped(*tags, inside=empty * count) for count in (1_000, 20_000))
    (taken,) = gate.commit([few], NOW)
    assert not isinstance(taken, Exception)
    (refused,) = gate.commit([many], NOW)
    assert isinstance(refused, BadRequest)
    assert "messages in" in str(refused)
