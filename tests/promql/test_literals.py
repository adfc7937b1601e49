"""Numbers, durations and strings, as they come out of an expression."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.errors import BadQuery
from mirubato.promql.expressions import NumberLiteral, StringLiteral
from mirubato.promql.parser import parse
from mirubato.promql.printing import to_text

NUMBERS = [
    ("0", 0.0),
    ("42", 42.0),
    ("3.25", 3.25),
    (".5", 0.5),
    ("5.", 5.0),
    ("1e3", 1000.0),
    ("1E+3", 1000.0),
    ("25e-2", 0.25),
    ("0x1F", 31.0),
    ("0X_ff", 255.0),
    ("0x1e2", 482.0),
    ("0x1e1e", 7710.0),
    ("017", 15.0),
    ("0_17", 15.0),
    ("08", 8.0),
    ("019.5", 19.5),
    ("1_000", 1000.0),
    ("1_0.2_5", 10.25),
    ("9223372036854775807", 9223372036854775807.0),
    ("9223372036854775808", 9223372036854775808.0),
    ("0777777777777777777777777", 777777777777777777777777.0),
    ("Inf", math.inf),
    ("iNF", math.inf),
    ("-inf", -math.inf),
    ("+7", 7.0),
    ("--7", 7.0),
    ("4.9e-324", 5e-324),
    ("1e-400", 0.0),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_numbers(text: str, value: float) -> None:
    expr = parse(text)
    assert isinstance(expr, NumberLiteral)
    assert (expr.value, expr.duration, expr.span) == (value, False, (0, len(text)))


def test_nan_and_minus_zero() -> None:
    nan, zero = parse("NAN"), parse("-0")
    assert isinstance(nan, NumberLiteral)
    assert isinstance(zero, NumberLiteral)
    assert math.isnan(nan.value)
    assert math.copysign(1, zero.value) == -1


DURATIONS = [
    ("1ms", 0.001),
    ("1s", 1.0),
    ("90s", 90.0),
    ("1m30s", 90.0),
    ("1h1m1s1ms", 3661.001),
    ("2d", 172_800.0),
    ("1w", 604_800.0),
    ("1y", 31_536_000.0),
    ("1y2w3d4h5m6s7ms", 33_019_506.007),
    ("0s", 0.0),
    ("-5m", -300.0),
]


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_a_duration_is_a_number_of_seconds(text: str, seconds: float) -> None:
    expr = parse(text)
    assert isinstance(expr, NumberLiteral)
    assert (expr.value, expr.duration) == (seconds, True)


WRONG_NUMBERS = [
    ("1.2.3", '1:1: parse error: bad number or duration syntax: "1.2."'),
    ("0x1.8", '1:1: parse error: bad number or duration syntax: "0x1."'),
    ("1e", '1:1: parse error: bad number or duration syntax: "1e"'),
    ("1e5e", '1:1: parse error: bad number or duration syntax: "1e5e"'),
    ("0x1e", '1:1: parse error: bad number or duration syntax: "0x1e"'),
    ("1__0", '1:1: parse error: bad number or duration syntax: "1__"'),
    ("12foo", '1:1: parse error: bad number or duration syntax: "12"'),
    ("5mx", '1:1: parse error: bad number or duration syntax: "5mx"'),
    ("5m5", '1:1: parse error: bad number or duration syntax: "5m5"'),
    ("5m5x", '1:1: parse error: bad number or duration syntax: "5m5"'),
    ("3d5y", '1:1: parse error: bad number or duration syntax: "3d5"'),
    ("0b1", '1:1: parse error: bad number or duration syntax: "0"'),
    ("1e999", '1:1: parse error: error parsing number: strconv.ParseFloat: parsing "1e999": value out of range'),
    ("0x", '1:1: parse error: error parsing number: strconv.ParseFloat: parsing "0x": invalid syntax'),
    (".5.5", '1:1: parse error: error parsing number: strconv.ParseFloat: parsing ".5.5": invalid syntax'),
    ("1h60h", '1:1: parse error: not a valid duration string: "1h60h"'),
    ("5s1m", '1:1: parse error: not a valid duration string: "5s1m"'),
    (".5m", '1:1: parse error: not a valid duration string: ".5m"'),
    ("5hs", '1:1: parse error: unknown unit "hs" in duration "5hs"'),
    ("300y", "1:1: parse error: duration out of range"),
    ("5µs", "1:2: parse error: unexpected character: 'µ'"),
]


@pytest.mark.parametrize(("text", "told"), WRONG_NUMBERS)
def test_what_is_no_number(text: str, told: str) -> None:
    with pytest.raises(BadQuery) as refused:
        parse(text)
    assert str(refused.value) == told


STRINGS = [
    ('"double"', "double"),
    ("'single'", "single"),
    ("`raw\\n`", "raw\\n"),
    ("`two\nlines`", "two\nlines"),
    ('""', ""),
    ('"\\a\\b\\f\\n\\r\\t\\v\\\\"', "\a\b\f\n\r\t\v\\"),
    ('"\\"\'`"', "\"'`"),
    ("'\\'\"`'", "'\"`"),
    ('"\\x41\\101\\u00e9\\U0001F600"', "AAé😀"),
    ('"\\xc3\\xa9"', "é"),
    ('"\\xff!"', "\ufffd!"),
    ('"größe😀"', "größe😀"),
    ('"# no comment"', "# no comment"),
]


@pytest.mark.parametrize(("text", "value"), STRINGS)
def test_strings(text: str, value: str) -> None:
    assert parse(text) == StringLiteral(value, (0, len(text)))


WRONG_STRINGS = [
    ('"open', "unterminated quoted string"),
    ("'two\nlines'", "unterminated quoted string"),
    ("`open", "unterminated raw string"),
    ('"\\', "escape sequence not terminated"),
    ('"\\x4', "escape sequence not terminated"),
    ('"\\q"', "unknown escape sequence U+0071 'q'"),
    ('"\\\n"', "unknown escape sequence U+000A"),
    ('"\\\'"', "unknown escape sequence U+0027 '''"),
    ('"\\x4g"', "illegal character U+0067 'g' in escape sequence"),
    ('"\\08"', "illegal character U+0038 '8' in escape sequence"),
    ('"\\u12"', "illegal character U+0022 '\"' in escape sequence"),
    ('"\\400"', "escape sequence is an invalid Unicode code point"),
    ('"\\ud800"', "escape sequence is an invalid Unicode code point"),
    ('"\\U00110000"', "escape sequence is an invalid Unicode code point"),
    ('"\ufffd"', "invalid UTF-8 rune"),
    ('"\ud800"', "invalid UTF-8 rune"),
]


@pytest.mark.parametrize(("text", "told"), WRONG_STRINGS)
def test_what_is_no_string(text: str, told: str) -> None:
    with pytest.raises(BadQuery) as refused:
        parse(text)
    assert str(refused.value) == f"1:1: parse error: {told}"


@given(st.floats(allow_nan=False))
def test_a_number_survives_being_written(value: float) -> None:
    again = parse(to_text(NumberLiteral(value, (0, 0))))
    assert isinstance(again, NumberLiteral)
    assert math.copysign(1, again.value) == math.copysign(1, value)
    assert again.value == value


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
def test_a_string_survives_being_written(value: str) -> None:
    again = parse(to_text(StringLiteral(value, (0, 0))))
    assert isinstance(again, StringLiteral)
    assert again.value == value
