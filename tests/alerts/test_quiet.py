"""Recurring windows, in the wall time of their zone."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from mirubato.alerts.quiet import parse_quiet_hours, quiet

NIGHTS = 'Mon-Fri 22:00-07:00 Europe/Berlin {severity!="critical"}; Sat,Sun 00:00-24:00 Europe/Berlin'


def at(text: str, zone: str = "Europe/Berlin") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("time", "is_quiet"),
    [
        ("2026-11-23 21:59", False),  # a Monday
        ("2026-11-23 22:00", True),
        ("2026-11-24 06:59", True),
        ("2026-11-24 07:00", False),
        ("2026-11-28 06:59", True),  # Saturday
        ("2026-11-28 12:00", True),
        ("2026-11-29 23:59", True),
        ("2026-11-30 00:00", False),  # Monday: the night before was Sunday's, and its window has ended
        ("2026-07-06 22:30", True),  # summer time
    ],
)
def test_nights_and_weekends(time: str, is_quiet: bool) -> None:
    assert quiet(parse_quiet_hours(NIGHTS), {"alertname": "a", "severity": "warning"}, at(time)) is is_quiet


def test_matchers_days_and_zone_have_defaults() -> None:
    windows = parse_quiet_hours("22:00-06:00")
    assert quiet(windows, {"severity": "critical"}, at("2026-11-25 23:00", "UTC"))
    nights = parse_quiet_hours(NIGHTS)
    assert not quiet(nights, {"alertname": "a", "severity": "critical"}, at("2026-11-24 23:00"))
    assert parse_quiet_hours("") == parse_quiet_hours(" ; ") == ()


BAD = ["always", "Mon 25:00-26:00", "Mon 10:61-11:00", "Xyz 10:00-11:00", "Mon 10:00-11:00 Nowhere/City",
       'Mon 10:00-11:00 UTC {a=~"("}']  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_quiet_hours(text)
