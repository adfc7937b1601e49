"""Quiet windows: recurring times, in a time zone, in which alerts are evaluated and nobody is told until they end."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mirubato.alerts.silences import matchers_from_text
from mirubato.errors import BadQuery
from mirubato.model.matchers import Matcher, match_all

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(
    r"(?:(?P<days>[A-Za-z,\s-]+?)\s+)?(?P<start>\d{1,2}:\d\d)\s*-\s*(?P<end>\d{1,2}:\d\d)"
    r"(?:\s+(?P<zone>[A-Za-z][\w+/-]*))?(?:\s*\{(?P<matchers>.*)\})?"
)
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class QuietWindow:
    """Days (0: Monday) and minutes of the day, wall time of a zone; an end not after the start is on the next day."""

    days: frozenset[int]
    start: int
    end: int
    zone: ZoneInfo
    matchers: tuple[Matcher, ...] = ()
    """Of the alerts that it holds; empty: of all."""

    def covers(self, now: int) -> bool:
        """Whether it is quiet at a time in ms."""
        here = datetime.fromtimestamp(now / 1000, self.zone)
        minute = here.hour * 60 + here.minute
        today, yesterday = here.weekday(), (here - timedelta(days=1)).weekday()
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        return (today in self.days and minute >= self.start) or (yesterday in self.days and minute < self.end)

    def holds(self, labels: Mapping[str, str], now: int) -> bool:
        """Whether messages about an alert with these labels wait."""
        return match_all(self.matchers, labels) and self.covers(now)


def parse_quiet_hours(text: str) -> tuple[QuietWindow, ...]:
    """`Mon-Fri 22:00-07:00 Europe/Berlin {severity!="critical"}; Sat,Sun 00:00-24:00`; ValueError says what is wrong.

    Days default to all, the zone to UTC, the matchers to all alerts.
    """
    return tuple(_window(part.strip()) for part in text.split(";") if part.strip())


def _window(text: str) -> QuietWindow:
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:80]!r} is no window such as Mon-Fri 22:00-07:00 Europe/Berlin")
    try:
        zone = ZoneInfo(match["zone"] or "UTC")
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{match['zone']!r} is no time zone such as Europe/Berlin") from error
    try:
        matchers = matchers_from_text(match["matchers"]) if match["matchers"] else ()
    except BadQuery as error:
        raise ValueError(f"{text[:80]!r}: {error}") from error
    return QuietWindow(_days(match["days"]), _minute(match["start"]), _minute(match["end"]), zone, matchers)


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    minute = int(hours) * 60 + int(minutes)
    if minute > _DAY_MINUTES or int(minutes) > 59:
        raise ValueError(f"{text} is no time of day")
    return minute


def _days(text: str | None) -> frozenset[int]:
    if not text:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        start = _day(first)
        end = _day(last) if dash else start
        days |= {(start + offset) % 7 for offset in range((end - start) % 7 + 1)}
    return frozenset(days)


def _day(text: str) -> int:
    word = text.strip().lower()
    for number, day in enumerate(_DAYS):
        if len(word) >= 3 and word.startswith(day):
            return number
    raise ValueError(f"{text.strip()!r} is no day of the week")


def quiet(windows: Sequence[QuietWindow], labels: Mapping[str, str], now: int) -> bool:
    """Whether any of some windows holds an alert back."""
    return any(window.holds(labels, now) for window in windows)
