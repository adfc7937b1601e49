"""Numbers, durations and strings of PromQL, read and written as Prometheus does.

Sources: Go's strconv (`ParseInt` with base 0, `ParseFloat`, `Quote`), prometheus/common model/time.go, and
prometheus util/strutil/quote.go.
"""

import math
import re
from decimal import Decimal

from mirubato.config import parse_duration

SECONDS_MAX = (1 << 63) / 1e9
"""What an int64 of nanoseconds holds, which a duration is in Prometheus."""

_INT64_MAX = (1 << 63) - 1
_HEX = re.compile(r"0[xX](?:_?[0-9a-fA-F]+)+")
_OCTAL = re.compile(r"0(?:_?[0-7]+)+")
_UNIT = re.compile(r"[0-9]+([^0-9]+)")
_UNITS_MS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_LETTER_OF = {ord(character): f"\\{letter}" for letter, character in _LETTERS.items()}
_PLAIN = re.compile(r"[ !#-\[\]-~]*")
"""ASCII that stands for itself between double quotes."""

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""A label name that needs no quotes."""


def number(text: str) -> float:
    """A number as the lexer lets it through: decimal, hexadecimal, octal (`017` is 15), `Inf`, `NaN`, underscores.

    ValueError in the words of Go's strconv.
    """
    if _HEX.fullmatch(text) and (value := int(text, 16)) <= _INT64_MAX:
        return float(value)
    if _OCTAL.fullmatch(text) and (value := int(text.replace("_", ""), 8)) <= _INT64_MAX:
        return float(value)
    try:
        result = float(text)
    except ValueError:
        raise ValueError(f"strconv.ParseFloat: parsing {quoted(text)}: invalid syntax") from None
    if math.isinf(result) and text.lower() != "inf":
        raise ValueError(f"strconv.ParseFloat: parsing {quoted(text)}: value out of range")
    return result


def duration_seconds(text: str) -> float:
    """`1h30m` -> seconds; ValueError in Prometheus' words."""
    try:
        ms = parse_duration(text)
    except ValueError:
        raise ValueError(_why_no_duration(text)) from None
    return ms // 1000 + ms % 1000 / 1000


def _why_no_duration(text: str) -> str:
    known = list(_UNITS_MS)
    places: list[int] = []
    if not text[0].isdigit():
        return f"not a valid duration string: {quoted(text)}"
    for unit in _UNIT.findall(text):
        if unit not in known:
            return f"unknown unit {quoted(unit)} in duration {quoted(text)}"
        places.append(known.index(unit))
        if places != sorted(set(places)):
            return f"not a valid duration string: {quoted(text)}"
    return "duration out of range"


def to_ms(seconds: float) -> int:
    """Seconds -> ms as Prometheus does it: to the nearest nanosecond, then cut off."""
    nanoseconds = math.floor(abs(seconds) * 1e9 + 0.5)
    return int(math.copysign(1, seconds)) * (nanoseconds // 1_000_000)


def duration_text(ms: int) -> str:
    """90000 -> `1m30s`; years and weeks only where nothing is left over."""
    if ms < 0:
        return "-" + duration_text(-ms)
    parts = []
    for unit, size in _UNITS_MS.items():
        if ms >= size and not (unit in "yw" and ms % size):
            parts.append(f"{ms // size}{unit}")
            ms %= size
    return "".join(parts) or "0s"


def number_text(value: float) -> str:
    """A number without an exponent, in as few digits as it takes: `+Inf`, `NaN`, `0.1`, `1000000`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return format(Decimal(repr(value).removesuffix(".0")), "f")


def unquote(text: str, errors: str = "replace") -> str:
    r"""A string literal with its quotes -> its value; the lexer has seen to it that its escapes are right.

    `\xff` is a byte: `errors` says what becomes of bytes that are no UTF-8 (as in `bytes.decode`).
    """
    inner = text[1:-1]
    if text[0] == "`" or "\\" not in inner:
        return inner
    parts, at = [], 0
    for match in _ESCAPE.finditer(inner):
        parts.append(inner[at : match.start()].encode())
        parts.append(_escaped(match[1]))
        at = match.end()
    parts.append(inner[at:].encode())
    return b"".join(parts).decode(errors=errors)


def _escaped(code: str) -> bytes:
    if code[0] in "uU":
        return chr(int(code[1:], 16)).encode()
    if code[0] == "x":
        return bytes((int(code[1:], 16),))
    if len(code) == 3:
        return bytes((int(code, 8),))
    return _LETTERS.get(code, code).encode()


def quoted(text: str) -> str:
    """A string literal in double quotes (Go's `strconv.Quote`)."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return '"' + "".join(_shown(character, '"') for character in text) + '"'


def quoted_character(character: str) -> str:
    """A character in single quotes; none at all, as at the end of the text, is shown as U+FFFD (Go's `%q`)."""
    return "'" + _shown(character or "\ufffd", "'") + "'"


def _shown(character: str, quote: str) -> str:
    code = ord(character)
    if character in (quote, "\\"):
        return "\\" + character
    if code in _LETTER_OF:
        return _LETTER_OF[code]
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xD800 <= code < 0xE000:
        return "\ufffd"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def label_text(name: str) -> str:
    """A label name, in quotes if it needs them."""
    return name if LABEL_NAME.fullmatch(name) else quoted(name)
