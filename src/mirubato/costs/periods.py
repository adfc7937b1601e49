"""Billing periods: from the account's anchor day to the day before the next one. Days and hours are UTC."""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

HOUR_MS = 3_600_000
DAY_MS = 86_400_000

_DAY = timedelta(days=1)
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")


@dataclass(frozen=True, slots=True)
class Period:
    """Days from `start` to before `end`."""

    start: date
    end: date

    @property
    def name(self) -> str:
        """The month that it begins in, as `2026-11`."""
        return f"{self.start:%Y-%m}"

    @property
    def length(self) -> int:
        """In days."""
        return (self.end - self.start).days

    @property
    def start_ms(self) -> int:
        """The first moment, ms since 1970."""
        return moment_ms(self.start)

    @property
    def end_ms(self) -> int:
        """The first moment after it, ms since 1970."""
        return moment_ms(self.end)

    def days(self) -> Iterator[date]:
        """All of them, in order."""
        return days_between(self.start, self.end)


def days_between(start: date, end: date) -> Iterator[date]:
    """Each day from `start` to before `end`."""
    for number in range((end - start).days):
        yield start + number * _DAY


def moment_ms(day: date) -> int:
    """Midnight UTC, at which a day begins, in ms since 1970."""
    return calendar.timegm(day.timetuple()) * 1000


def day_of(time_ms: int) -> date:
    """The UTC day of a time in ms since 1970."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).date()


def period_of(day: date, anchor: int) -> Period:
    """The period that a day is in; an anchor of 31 is the last day of a shorter month."""
    start = _anchored(day.year, day.month, anchor)
    if day < start:
        start = _anchored(*_before(day.year, day.month), anchor)
    return Period(start, _anchored(*_after(start.year, start.month), anchor))


def period_named(month: str, anchor: int) -> Period:
    """The period that begins in a month such as `2026-11`; ValueError for what is none."""
    match = _MONTH.fullmatch(month)
    if not match or not 1 <= int(match[2]) <= 12 or not 1970 <= int(match[1]) <= 9998:
        raise ValueError(f"{month[:20]!r} is no month such as 2026-11")
    return period_of(_anchored(int(match[1]), int(match[2]), anchor), anchor)


def period_before(period: Period, anchor: int) -> Period:
    """The one that ends where this begins."""
    return period_of(period.start - _DAY, anchor)


def _anchored(year: int, month: int, anchor: int) -> date:
    return date(year, month, min(anchor, calendar.monthrange(year, month)[1]))


def _before(year: int, month: int) -> tuple[int, int]:
    return (year, month - 1) if month > 1 else (year - 1, 12)


def _after(year: int, month: int) -> tuple[int, int]:
    return (year, month + 1) if month < 12 else (year + 1, 1)
