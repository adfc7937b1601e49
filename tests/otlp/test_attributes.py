"""Attribute values as text, and attributes as labels."""

import json
import math
import sys
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from mirubato.limits import ATTRIBUTE_DEPTH_MAX
from mirubato.otlp.attributes import attribute_text, labels_from

_FIELDS = {
    str: "string_value",
    bool: "bool_value",
    int: "int_value",
    float: "double_value",
    bytes: "bytes_value",
}


def any_value(value: object) -> AnyValue:
    match value:
        case None:
            return AnyValue()
        case list():
            return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=attributes(value)))
        case _:
            fields: dict[str, Any] = {_FIELDS[type(value)]: value}
            return AnyValue(**fields)


def attributes(values: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items()]


def text(value: object) -> str:
    return attribute_text(any_value(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        ("", ""),
        ("plain", "plain"),
        ('<a href="x">&\n\u2028é', '<a href="x">&\n\u2028é'),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-1, "-1"),
        (2**63 - 1, "9223372036854775807"),
        (-(2**63), "-9223372036854775808"),
        (b"", ""),
        (b"String bytes", "U3RyaW5nIGJ5dGVz"),
        (b"\xff\xfe\xfd", "//79"),
        (b"\x00", "AA=="),
    ],
)
def test_scalars(value: object, expected: str) -> None:
    assert text(value) == expected


def test_an_index_into_a_string_table_is_nothing() -> None:
    indexed = AnyValue(string_value_strindex=7)
    assert attribute_text(indexed) == ""
    assert attribute_text(AnyValue(array_value=ArrayValue(values=[indexed]))) == "[null]"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-5.0, "-5"),
        (0.1, "0.1"),
        (18.6, "18.6"),
        (1.61803399, "1.61803399"),
        (123456.789, "123456.789"),
        (1e6, "1000000"),
        (1e15, "1000000000000000"),
        (1e16, "10000000000000000"),
        (1.5e20, "150000000000000000000"),
        (999999999999999900000.0, "999999999999999900000"),
        (1e21, "1e+21"),
        (-1.25e21, "-1.25e+21"),
        (1e100, "1e+100"),
        (sys.float_info.max, "1.7976931348623157e+308"),
        (0.0001, "0.0001"),
        (0.00001, "0.00001"),
        (-0.000097983953987814, "-0.000097983953987814"),
        (1e-6, "0.000001"),
        (1.5e-6, "0.0000015"),
        (9.99e-7, "9.99e-7"),
        (0.000000009, "9e-9"),
        (1e-10, "1e-10"),
        (1.5e-100, "1.5e-100"),
        (5e-324, "5e-324"),
        (2.0**53, "9007199254740992"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
    ],
)
def test_doubles(value: float, expected: str) -> None:
    assert text(value) == expected
    if math.isfinite(value):
        assert text([value]) == f"[{expected}]"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], "[]"),
        ({}, "{}"),
        (["strVal", 7, 18.6, False, None], '["strVal",7,18.6,false,null]'),
        ([b"ab", b""], '["YWI=",null]'),  # Go has no bytes as a nil slice
        ([[], {}, [[1.0]]], "[[],{},[[1]]]"),
        ({"b": 1, "a": [True], "": None}, '{"":null,"a":[true],"b":1}'),
        (
            {"é": 1, "z": 2, "Z": 3, "\U0001f600": 4, "\uffff": 5},
            '{"Z":3,"z":2,"é":1,"\uffff":5,"\U0001f600":4}',
        ),
        ({"m": {"y": "1", "x": {}}}, '{"m":{"x":{},"y":"1"}}'),
        (["<a>&'/"], '["<a>&\'/"]'),
        ({'"k"': "\\"}, '{"\\"k\\"":"\\\\"}'),
        (["\b\t\n\f\r\x00\x1f"], '["\\b\\t\\n\\f\\r\\u0000\\u001f"]'),
        (["\x7f\x85é\U0001f600"], '["\x7f\x85é\U0001f600"]'),
        (["\u2028\u2029"], '["\\u2028\\u2029"]'),
    ],
)
def test_arrays_and_maps(value: object, expected: str) -> None:
    assert text(value) == expected


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_empties_the_whole(number: float) -> None:
    assert text([1, number]) == ""
    assert text({"a": {"b": [number]}, "c": "kept?"}) == ""


def test_the_last_of_a_repeated_key_in_a_map_stands() -> None:
    pairs = [KeyValue(key="a", value=any_value(value)) for value in (1, 2)]
    assert attribute_text(AnyValue(kvlist_value=KeyValueList(values=pairs))) == '{"a":2}'


def nested(depth: int, *, maps: bool) -> AnyValue:
    value = AnyValue()
    for level in range(depth):
        if level == 0:
            value = any_value({} if maps else [])
        elif maps:
            value = AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=value)]))
        else:
            value = AnyValue(array_value=ArrayValue(values=[value]))
    return value


@pytest.mark.parametrize("maps", [False, True])
def test_depth_is_bounded(maps: bool) -> None:
    assert attribute_text(nested(ATTRIBUTE_DEPTH_MAX, maps=maps)).count("{" if maps else "[") == ATTRIBUTE_DEPTH_MAX
    with pytest.raises(ValueError, match=f"more than {ATTRIBUTE_DEPTH_MAX}"):
        attribute_text(nested(ATTRIBUTE_DEPTH_MAX + 1, maps=maps))


def test_labels_are_sorted_by_their_own_names() -> None:
    given_ = attributes({"z": "1", "http.route": "/a", "http.status": 200, "A": True, "9": 0.5})
    expected = [("A", "true"), ("http_route", "/a"), ("http_status", "200"), ("key_9", "0.5"), ("z", "1")]
    assert labels_from(given_) == expected


def test_no_attributes_no_labels() -> None:
    assert labels_from([]) == []


@pytest.mark.parametrize("empty", [None, "", b"", [math.nan]])
def test_empty_values_are_no_labels(empty: object) -> None:
    assert labels_from(attributes({"a": "1", "b": empty})) == [("a", "1")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"a_b": "3", "a.b": "2", "a-b": "1"}, "1;2;3"),  # in order of the keys as they came: "-" < "." < "_"
        ({"a.b": "x", "a_b": "x"}, "x;x"),
        ({"a-b": "", "a.b": "2"}, "2"),
        ({"a-b": "1", "a.b": ""}, "1;"),
        ({"a-b": "1", "a.b": "", "a_b": "3"}, "1;;3"),
        ({"a.b": 1, "a_b": [True]}, "1;[true]"),
    ],
)
def test_keys_that_become_one_label(values: Mapping[str, object], expected: str) -> None:
    assert labels_from(attributes(values)) == [("a_b", expected)]
    assert labels_from(reversed(attributes(values))) == [("a_b", expected)]


def test_a_key_that_comes_twice_is_joined_as_it_came() -> None:
    twice = [KeyValue(key="k", value=any_value(value)) for value in ("b", "a")]
    assert labels_from(twice) == [("k", "b;a")]


def test_reserved_names() -> None:
    given_ = attributes({"__name__": "x", "..name..": "y", "__type__": "gauge", "_a": "1", "__b": "2"})
    assert labels_from(given_) == [("__b", "2"), ("__type__", "gauge"), ("key_a", "1")]


@pytest.mark.parametrize("key", ["", "__", "..", "日本"])
def test_keys_that_make_no_label(key: str) -> None:
    for value in ("1", ""):
        with pytest.raises(ValueError, match="no letter or digit"):
            labels_from(attributes({"fine": "1", key: value}))


_SCALARS = st.one_of(
    st.none(), st.text(max_size=8), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=8)
)
_FINITE = st.floats(allow_nan=False, allow_infinity=False)


def _containers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)


_VALUES = st.recursive(_SCALARS | _FINITE, _containers, max_leaves=12)


def in_json(value: object) -> object:
    match value:
        case bytes():
            return b64encode(value).decode() or None
        case int() if not isinstance(value, bool):
            return float(value)  # JSON has one kind of number; the table above has the digits
        case list():
            return [in_json(item) for item in value]
        case dict():
            return {key: in_json(item) for key, item in value.items()}
        case _:
            return value


@given(_containers(_VALUES))
def test_arrays_and_maps_are_json(value: object) -> None:
    made = text(value)
    assert json.loads(made, parse_int=float) == in_json(value)
    assert "\n" not in made


@given(st.floats())
def test_doubles_are_read_back(value: float) -> None:
    made = text(value)
    assert float(made) == value or math.isnan(value)
    assert "." not in made or not made.endswith(".0")


_KEYS = st.one_of(st.text(min_size=1, max_size=6), st.text("ab._-", max_size=4)).map("k{}".format)


@given(st.lists(st.tuples(_KEYS, _VALUES), max_size=12))
def test_labels_are_sorted_unique_and_not_empty(pairs: list[tuple[str, object]]) -> None:
    made = labels_from(KeyValue(key=key, value=any_value(value)) for key, value in pairs)
    names = [name for name, _ in made]
    assert names == sorted(set(names))
    assert all(value for _, value in made)


@given(st.dictionaries(_KEYS, st.text(min_size=1, max_size=4), max_size=8))
def test_labels_do_not_depend_on_the_order_of_attributes(values: dict[str, str]) -> None:
    given_ = attributes(values)
    assert labels_from(given_) == labels_from(reversed(given_))
