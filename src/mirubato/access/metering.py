"""What one token has used, and whether it may go on; time is an argument (ms), all calls come from one thread."""

import math
from dataclasses import dataclass

from mirubato.access.tokens import Allowance
from mirubato.errors import LimitReached

DAY_MS = 86_400_000
_MINUTE_MS = 60_000


class Bucket:
    """So much per minute, all of it at once if it was saved up; it may go into debt once and then waits that off."""

    def __init__(self, per_minute: int, now: int) -> None:
        self._per_minute, self._level, self._at = per_minute, float(per_minute), now

    def wait_ms(self, now: int) -> int:
        """How long until there is something in it; 0: there is. A clock that was set back stands still here."""
        gained = max(now - self._at, 0) * self._per_minute / _MINUTE_MS
        self._level, self._at = min(self._level + gained, self._per_minute), now
        return 0 if self._level >= 1 else math.ceil((1 - self._level) * _MINUTE_MS / self._per_minute)

    def take(self, amount: int) -> None:
        """Take what was used."""
        self._level -= amount


@dataclass(slots=True)
class Usage:
    """Of one token on one day."""

    day: int
    requests: int = 0
    points: int = 0
    last_used_ms: int = 0


class Meter:
    """The limits of one token, and what it has used today."""

    def __init__(self, name: str, allowance: Allowance, usage: Usage, now: int) -> None:
        self._name, self._allowance = name, allowance
        self._requests = Bucket(allowance.requests_per_minute, now) if allowance.requests_per_minute else None
        self._points = Bucket(allowance.points_per_minute, now) if allowance.points_per_minute else None
        self.usage = usage
        self.dirty = False

    def admit(self, now: int, *, sends: bool) -> None:
        """Count one request; LimitReached names the limit and says when there is room again.

        Budgets of points hold for what `sends` telemetry only: who may read goes on reading.
        """
        usage = self._today(now)
        if self._requests is not None:
            self._check(self._requests, now, "rate limit", f"{self._allowance.requests_per_minute} requests per minute")
        if sends:
            self._check_points(now, usage)
        if self._requests is not None:
            self._requests.take(1)
        usage.requests += 1
        usage.last_used_ms = now
        self.dirty = True

    def charge(self, points: int) -> None:
        """Count points that were stored."""
        self.usage.points += points
        self.dirty = True
        if self._points is not None:
            self._points.take(points)

    def _today(self, now: int) -> Usage:
        if self.usage.day < now // DAY_MS:
            self.usage = Usage(now // DAY_MS)
        return self.usage

    def _check_points(self, now: int, usage: Usage) -> None:
        if self._points is not None:
            self._check(self._points, now, "budget", f"{self._allowance.points_per_minute} points per minute")
        most = self._allowance.points_per_day
        if most is not None and usage.points >= most:
            self._refuse("budget", f"{most} points per day", (usage.day + 1) * DAY_MS - now)

    def _check(self, bucket: Bucket, now: int, what: str, how_much: str) -> None:
        wait = bucket.wait_ms(now)
        if wait:
            self._refuse(what, how_much, wait)

    def _refuse(self, what: str, how_much: str, wait_ms: int) -> None:
        wait_s = max(1, math.ceil(wait_ms / 1000))
        raise LimitReached(
            f"token {self._name!r} has used up its {what} of {how_much}; there is room again in {wait_s} s", wait_s
        )
