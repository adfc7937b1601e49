"""OTLP/JSON becomes the protobuf request that it stands for, or is refused with the field named."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirubato.errors import BadRequest
from mirubato.otlp.json_request import to_protobuf
from mirubato.otlp.signals import REQUESTS, Signal
from tests.otlp.apps import NOW, sequences
from tests.otlp.gate import Gate, answer
from tests.otlp.otlp_json import messages, to_json
from tests.otlp.reference import Reference, Rules
from tests.otlp.requests import decoded


def moderately(examples: int) -> settings:
    """Settings of a property whose examples are large."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, suppress_health_check=slow)


def read(document: Any, signal: Signal = Signal.METRICS) -> Message:
    """The request that is made of a JSON document."""
    return REQUESTS[signal].FromString(to_protobuf(signal, json.dumps(document).encode()))


def why_refused(document: Any) -> str:
    """What is said against a JSON document."""
    with pytest.raises(BadRequest) as refused:
        to_protobuf(Signal.METRICS, document if isinstance(document, bytes) else json.dumps(document).encode())
    return str(refused.value)


@moderately(150)
@given(st.sampled_from(Signal), st.booleans(), st.data())
def test_any_request(signal: Signal, wide_as_numbers: bool, data: st.DataObject) -> None:
    message = REQUESTS[signal](**data.draw(messages(REQUESTS[signal].DESCRIPTOR)))
    document = json.dumps(to_json(message, wide_as_numbers=wide_as_numbers)).encode()
    assert to_protobuf(signal, document) == message.SerializeToString()


@moderately(25)
@given(sequences())
def test_metrics_are_stored_alike(commits: list[list[bytes]]) -> None:
    gate, reference = Gate(Rules()), Reference(Rules())
    for body in commits[-1]:
        made = to_protobuf(Signal.METRICS, json.dumps(to_json(decoded(body))).encode())
        (outcome,) = gate.commit([made], NOW)
        assert answer(outcome) == reference.take(body, NOW)


def point(**fields: Any) -> dict[str, Any]:
    """A request with one number point."""
    return {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": {"dataPoints": [fields]}}]}]}]}


def span(**fields: Any) -> dict[str, Any]:
    """A request with one span."""
    return {"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]}


def point_of(document: Any) -> Any:
    """The number point of a request."""
    return read(document).resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]  # type: ignore[attr-defined]


def test_an_empty_document() -> None:
    assert to_protobuf(Signal.METRICS, b"{}") == b""
    assert to_protobuf(Signal.TRACES, b' {"resourceSpans": []} ') == b""


def test_unknown_and_snake_case_keys_are_ignored() -> None:
    odd = point(asInt="1", time_unix_nano="5", as_double=2, unknown={"a": [1, {"b": None}]}, flags=0)
    assert read(odd | {"resource_metrics": 5, "": 1}) == read(point(asInt="1"))


def test_null_is_nothing() -> None:
    assert read(point(asInt=None, timeUnixNano=None, attributes=None)) == read(point())


@pytest.mark.parametrize("number", ["5", 5, 5.0, "-0005", -5])
def test_whole_numbers(number: object) -> None:
    assert abs(point_of(point(asInt=number)).as_int) == 5


@pytest.mark.parametrize("number", [2**64 - 1, str(2**64 - 1)])
def test_the_largest_number(number: object) -> None:
    assert point_of(point(timeUnixNano=number)).time_unix_nano == 2**64 - 1


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (1, 1.0),
        (1.5, 1.5),
        ("2.5", 2.5),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
        (-0.0, -0.0),
        ("1e300", 1e300),
    ],
)
def test_doubles(number: object, value: float) -> None:
    assert repr(point_of(point(asDouble=number)).as_double) == repr(value)


def test_nan_is_a_double() -> None:
    assert math.isnan(point_of(point(asDouble="NaN")).as_double)


@pytest.mark.parametrize("text", ["0af7651916cd43dd8448eb211c80319c", "0AF7651916CD43DD8448EB211C80319C"])
def test_ids_are_hex(text: str) -> None:
    message: Any = read(span(traceId=text, spanId="00f067aa0ba902b7", parentSpanId=""), Signal.TRACES)
    made = message.resource_spans[0].scope_spans[0].spans[0]
    assert made.trace_id == bytes.fromhex(text)
    assert made.span_id == bytes.fromhex("00f067aa0ba902b7")


@pytest.mark.parametrize("text", ["aGk=", "aGk", "aGk_", "aGk-/w=="])
def test_bytes_are_base64_of_either_alphabet_padded_or_not(text: str) -> None:
    value = {"key": "k", "value": {"bytesValue": text}}
    assert point_of(point(attributes=[value])).attributes[0].value.bytes_value.startswith(b"hi")


def test_the_last_of_a_oneof_stands() -> None:
    assert point_of(point(asInt="1", asDouble=2.5)).WhichOneof("value") == "as_double"


def test_a_message_that_is_there_and_empty() -> None:
    message: Any = read({"resourceMetrics": [{"resource": {}, "scopeMetrics": [{"metrics": [{"gauge": {}}]}]}]})
    assert message.resource_metrics[0].HasField("resource")
    assert message.resource_metrics[0].scope_metrics[0].metrics[0].WhichOneof("data") == "gauge"


PLACE = "resourceMetrics.scopeMetrics.metrics.gauge.dataPoints"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"nonsense", "not JSON"),
        (b'{"resourceMetrics": [NaN]}', "not JSON"),
        (b'{"a": "\xff"}', "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        ([], "the request must be an object"),
        ("text", "the request must be an object"),
        (5, "the request must be an object"),
        (None, "the request must be an object"),
        ({"resourceMetrics": {}}, "resourceMetrics must be an array"),
        ({"resourceMetrics": "x"}, "resourceMetrics must be an array"),
        ({"resourceMetrics": [5]}, "resourceMetrics must be an object"),
        ({"resourceMetrics": [None]}, "resourceMetrics must be an object"),
        ({"resourceMetrics": [{"resource": []}]}, "resourceMetrics.resource must be an object"),
        ({"resourceMetrics": [{"schemaUrl": 5}]}, "resourceMetrics.schemaUrl: 5 is no string"),
        (point(asInt="x"), f"{PLACE}.asInt: "),
        (point(asInt=1.5), f"{PLACE}.asInt: 1.5 is no whole number"),
        (point(asInt=True), f"{PLACE}.asInt: True is no whole number"),
        (point(asInt=[]), f"{PLACE}.asInt: "),
        (point(asInt=2**63), f"{PLACE}.asInt: {2**63} is out of range"),
        (point(asInt=str(-(2**63) - 1)), f"{PLACE}.asInt: {-(2**63) - 1} is out of range"),
        (point(timeUnixNano=-1), f"{PLACE}.timeUnixNano: -1 is out of range"),
        (point(timeUnixNano=2**64), f"{PLACE}.timeUnixNano: {2**64} is out of range"),
        (point(timeUnixNano="9" * 5000), f"{PLACE}.timeUnixNano: "),
        (point(flags=2**32), f"{PLACE}.flags: {2**32} is out of range"),
        (point(asDouble="x"), f"{PLACE}.asDouble: "),
        (point(asDouble=True), f"{PLACE}.asDouble: True is no number"),
        (point(asDouble={}), f"{PLACE}.asDouble: "),
        (point(attributes=[{"key": 5}]), f"{PLACE}.attributes.key: 5 is no string"),
        (
            point(attributes=[{"value": {"boolValue": "true"}}]),
            f"{PLACE}.attributes.value.boolValue: 'true' is neither",
        ),
        (point(attributes=[{"value": {"boolValue": 1}}]), f"{PLACE}.attributes.value.boolValue: 1 is neither"),
        (point(attributes=[{"value": {"bytesValue": "?"}}]), f"{PLACE}.attributes.value.bytesValue: no base64"),
        (point(attributes=[{"value": {"bytesValue": 5}}]), f"{PLACE}.attributes.value.bytesValue: 5 is no string"),
        (point(exemplars=[{"traceId": "xyz"}]), f"{PLACE}.exemplars.traceId: "),
        (point(exemplars=[{"spanId": 5}]), f"{PLACE}.exemplars.spanId: 5 is no string"),
    ],
)
def test_what_is_refused(document: Any, message: str) -> None:
    assert message in why_refused(document)


@pytest.mark.parametrize("temporality", ["AGGREGATION_TEMPORALITY_DELTA", "2", True, 1.0, 2**31])
def test_enums_are_numbers(temporality: object) -> None:
    data = {"aggregationTemporality": temporality}
    said = why_refused({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"sum": data}]}]}]})
    assert "resourceMetrics.scopeMetrics.metrics.sum.aggregationTemporality: " in said


def test_lists_of_numbers() -> None:
    data = {"dataPoints": [{"bucketCounts": ["1", 2], "explicitBounds": [0.5, "1.5"]}]}
    message: Any = read({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"histogram": data}]}]}]})
    made = message.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[0]
    assert list(made.bucket_counts) == [1, 2]
    assert list(made.explicit_bounds) == [0.5, 1.5]


def in_array(value: dict[str, Any]) -> dict[str, Any]:
    return {"arrayValue": {"values": [value]}}


def in_map(value: dict[str, Any]) -> dict[str, Any]:
    return {"kvlistValue": {"values": [{"key": "k", "value": value}]}}


@pytest.mark.parametrize(("wrap", "most"), [(in_array, 46), (in_map, 31)])
def test_nesting_as_deep_as_protobuf_reads(wrap: Callable[[dict[str, Any]], dict[str, Any]], most: int) -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: dict[str, Any] = {"stringValue": "x"}
        for _ in range(levels):
            value = wrap(value)
        return point(attributes=[{"key": "k", "value": value}])

    assert point_of(nested(most)).attributes[0].key == "k"
    said = why_refused(nested(most + 1))
    assert "nested more than 100 messages deep" in said
    assert len(said) < 200
