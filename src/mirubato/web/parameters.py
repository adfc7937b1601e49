"""What a request asks -> times, durations, limits; each error names the parameter.

Source: prometheus, web/api/v1/api.go (`parseTime`, `parseDuration`, `parseLimitParam`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from starlette.requests import Request

from mirubato.config import parse_duration
from mirubato.errors import BadQuery

# Any time within this many ms of 1970 is taken; beyond, arithmetic in int64 could overflow.
TIME_MS_MAX = 1 << 53

# 64 kB of query, or some thousand match[].
_FORM_BYTES_MAX = 1 << 20

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Prometheus' own first and last moment, which clients send for "everything".
_EDGES = {"-292273086-05-16T16:47:06Z": -TIME_MS_MAX, "292277025-08-18T07:12:54.999999999Z": TIME_MS_MAX}


class Parameters:
    """What a request asks: its form first, then its query string, as in Go; and what stood in its path."""

    def __init__(self, pairs: Sequence[tuple[str, str]], path: Mapping[str, str]) -> None:
        self._pairs, self.path = pairs, path
        self.single: Mapping[str, str] = dict(reversed(pairs))

    def text(self, name: str) -> str:
        """The first value of a parameter, empty if there is none."""
        return self.single.get(name, "")

    def all(self, name: str) -> list[str]:
        """All values of a repeated parameter."""
        return [value for key, value in self._pairs if key == name]


async def read_parameters(request: Request) -> Parameters:
    """Of the form and the query string; BadQuery for a form that is too large."""
    form: list[tuple[str, str]] = []
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method == "POST" and kind == "application/x-www-form-urlencoded":
        form = parse_qsl((await _body(request)).decode(errors="replace"), keep_blank_values=True)
    return Parameters([*form, *request.query_params.multi_items()], request.path_params)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _FORM_BYTES_MAX:
            raise BadQuery(f"the form is larger than {_FORM_BYTES_MAX} bytes")
    return bytes(body)


@dataclass(frozen=True, slots=True)
class Stretch:
    """From one time to another, ms; both belong to it."""

    start: int
    end: int


def stretch_ms(parameters: Mapping[str, str]) -> Stretch:
    """`start` and `end`, each as far away as can be if it is missing."""
    return Stretch(time_ms(parameters, "start", -TIME_MS_MAX), time_ms(parameters, "end", TIME_MS_MAX))


def time_ms(parameters: Mapping[str, str], name: str, default: int) -> int:
    """Unix seconds (with fraction) or RFC 3339 -> ms."""
    text = parameters.get(name, "")
    if not text:
        return default
    try:
        return _moment(text)
    except ValueError as error:
        raise BadQuery(f"invalid parameter \"{name}\": invalid time value for '{name}': {error}") from error


def required_time_ms(parameters: Mapping[str, str], name: str) -> int:
    """The same of a parameter that must be there."""
    try:
        return _moment(parameters.get(name, ""))
    except ValueError as error:
        raise BadQuery(f'invalid parameter "{name}": {error}') from error


def _moment(text: str) -> int:
    if text in _EDGES:
        return _EDGES[text]
    try:
        seconds = _float(text)
    except ValueError:
        return _rfc3339(text)
    if not math.isfinite(seconds) or abs(seconds * 1000) > TIME_MS_MAX:
        raise ValueError(f'"{text[:60]}" is out of range')
    fraction, whole = math.modf(seconds)
    return int(whole) * 1000 + int(fraction * 1000 + math.copysign(0.5, fraction))


def _rfc3339(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign that was not escaped
    except ValueError as error:
        raise ValueError(f'cannot parse "{text[:60]}" to a valid timestamp') from error
    if moment.tzinfo is None:
        raise ValueError(f'cannot parse "{text[:60]}" to a valid timestamp: it has no time zone')
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _float(text: str) -> float:
    """A number as it is written everywhere: Python alone takes `1_000` and spaces."""
    if "_" in text or text != text.strip():
        raise ValueError(text[:60])
    return float(text)


def moment_ms(parameters: Mapping[str, str], name: str, default: int, now: int) -> int:
    """Like `time_ms`, and a duration (`1h`, `7d`) means that long before `now`."""
    text = parameters.get(name, "")
    try:
        return now - parse_duration(text)
    except ValueError:
        return now if text == "now" else time_ms(parameters, name, default)


def duration_ms(parameters: Mapping[str, str], name: str, default: int | None = None) -> int:
    """Seconds as a number, or a duration such as `15s` -> ms."""
    text = parameters.get(name, "")
    if not text and default is not None:
        return default
    try:
        return _duration(text)
    except ValueError as error:
        raise BadQuery(f'invalid parameter "{name}": {error}') from error


def _duration(text: str) -> int:
    try:
        seconds = _float(text)
    except ValueError:
        return _written_duration(text)
    if not math.isfinite(seconds) or abs(seconds * 1000) > TIME_MS_MAX:
        raise ValueError(f'cannot parse "{text[:60]}" to a valid duration. It overflows int64')
    return round(seconds * 1_000_000) // 1000 if seconds > 0 else int(seconds * 1000)


def _written_duration(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f'cannot parse "{text[:60]}" to a valid duration') from error


def lookback_ms(parameters: Mapping[str, str], default: int) -> int:
    """`lookback_delta`; the default where it is missing or not above 0, as in Prometheus."""
    try:
        return max(_duration(parameters.get("lookback_delta") or "0"), 0) or default
    except ValueError as error:
        raise BadQuery(f"error parsing lookback delta duration: {error}") from error


def limit(parameters: Mapping[str, str], name: str = "limit") -> int | None:
    """How many entries to answer at most; none for 0 or absent."""
    try:
        most = int(parameters.get(name) or "0")
    except ValueError as error:
        raise BadQuery(f'invalid parameter "{name}": not a whole number') from error
    if most < 0:
        raise BadQuery(f'invalid parameter "{name}": limit must be non-negative')
    return most or None


def flag(parameters: Mapping[str, str], name: str) -> bool:
    """`true`, `1` and the like (Go's `ParseBool`); false if it is missing."""
    text = parameters.get(name, "").lower()
    if text not in ("", "0", "f", "false", "1", "t", "true"):
        raise BadQuery(f'invalid parameter "{name}": neither true nor false')
    return text in ("1", "t", "true")
