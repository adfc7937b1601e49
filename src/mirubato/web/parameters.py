"""Query parameters -> times, durations, limits; each error names the parameter."""

import math
from collections.abc import Mapping
from datetime import datetime

from mirubato.config import parse_duration
from mirubato.errors import BadQuery

# Any time within this many ms of 1970 is taken; beyond, arithmetic in int64 could overflow.
_TIME_MS_MAX = 1 << 53


def time_ms(parameters: Mapping[str, str], name: str, default: int) -> int:
    """Unix seconds (with fraction) or RFC 3339 -> ms."""
    text = parameters.get(name, "")
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = _rfc3339(name, text)
    if not math.isfinite(seconds) or abs(seconds * 1000) > _TIME_MS_MAX:
        raise BadQuery(f'invalid parameter "{name}": {text!r} is out of range')
    return round(seconds * 1000)


def _rfc3339(name: str, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise BadQuery(f'invalid parameter "{name}": cannot parse {text[:60]!r} to a valid timestamp') from error
    if moment.tzinfo is None:
        raise BadQuery(f'invalid parameter "{name}": {text[:60]!r} has no time zone')
    return moment.timestamp()


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
        return parse_duration(text)
    except ValueError:
        pass
    try:
        seconds = float(text)
    except ValueError as error:
        raise BadQuery(f'invalid parameter "{name}": cannot parse {text[:60]!r} to a valid duration') from error
    if not math.isfinite(seconds) or abs(seconds * 1000) > _TIME_MS_MAX:
        raise BadQuery(f'invalid parameter "{name}": {text[:60]!r} is out of range')
    return round(seconds * 1000)


def limit(parameters: Mapping[str, str]) -> int | None:
    """`limit`: how many entries to answer at most; none for 0 or absent."""
    try:
        most = int(parameters.get("limit") or "0")
    except ValueError as error:
        raise BadQuery('invalid parameter "limit": not a whole number') from error
    if most < 0:
        raise BadQuery('invalid parameter "limit": limit must be non-negative')
    return most or None
