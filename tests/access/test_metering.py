"""Rates and budgets, with a clock of the test's own."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.access.metering import DAY_MS, Bucket, Meter, Usage
from mirubato.access.tokens import Allowance
from mirubato.errors import LimitReached

NOON = 20_000 * DAY_MS + DAY_MS // 2


def meter(points_today: int = 0, **limits: int) -> Meter:
    return Meter("shop", Allowance(**limits), Usage(NOON // DAY_MS, points=points_today), NOON)


def refused(call: Callable[[], None]) -> LimitReached:
    with pytest.raises(LimitReached) as found:
        call()
    return found.value


class TestBucket:
    @given(per_minute=st.integers(1, 10_000), steps=st.lists(st.integers(0, 5000), min_size=1, max_size=200))
    def test_never_more_than_the_rate(self, per_minute: int, steps: list[int]) -> None:
        """Within any time since the start: what was saved up, and what has come since."""
        bucket, now, taken = Bucket(per_minute, 0), 0, 0
        for step in steps:
            now += step
            if not bucket.wait_ms(now):
                bucket.take(1)
                taken += 1
            assert taken <= per_minute + per_minute * now / 60_000

    @given(per_minute=st.integers(1, 100_000), amount=st.integers(1, 10**7))
    def test_there_is_room_again_when_it_says(self, per_minute: int, amount: int) -> None:
        bucket = Bucket(per_minute, 0)
        bucket.take(amount)
        wait = bucket.wait_ms(0)
        if wait:
            assert bucket.wait_ms(wait + 1) == 0
        bucket = Bucket(per_minute, 0)
        bucket.take(amount)
        if wait > 2:
            assert bucket.wait_ms(wait - 2) > 0

    def test_a_clock_that_is_set_back(self) -> None:
        bucket = Bucket(60, 10_000)
        bucket.take(60)
        assert bucket.wait_ms(0) == 1000
        assert bucket.wait_ms(1000) == 0


class TestMeter:
    def test_a_rate_of_requests(self) -> None:
        one = meter(requests_per_minute=3)
        for _ in range(3):
            one.admit(NOON, sends=False)
        error = refused(lambda: one.admit(NOON, sends=False))
        assert str(error) == (
            "token 'shop' has used up its rate limit of 3 requests per minute; there is room again in 20 s"
        )
        assert error.retry_after_s == 20
        one.admit(NOON + 20_000, sends=False)

    def test_a_budget_per_minute_lets_one_request_over_it(self) -> None:
        one = meter(points_per_minute=600)
        one.admit(NOON, sends=True)
        one.charge(1200)
        assert refused(lambda: one.admit(NOON + 1000, sends=True)).retry_after_s == 60
        one.admit(NOON + 1000, sends=False)
        one.admit(NOON + 61_000, sends=True)

    def test_a_budget_per_day_ends_with_the_day(self) -> None:
        one = meter(points_per_day=100, points_today=99)
        one.admit(NOON, sends=True)
        one.charge(5)
        error = refused(lambda: one.admit(NOON, sends=True))
        assert (error.retry_after_s, "budget of 100 points per day" in str(error)) == (DAY_MS // 2000, True)
        one.admit(NOON + DAY_MS // 2, sends=True)
        assert one.usage == Usage(NOON // DAY_MS + 1, requests=1, last_used_ms=NOON + DAY_MS // 2)

    def test_what_is_refused_is_not_counted(self) -> None:
        one = meter(requests_per_minute=1)
        one.admit(NOON, sends=True)
        refused(lambda: one.admit(NOON, sends=True))
        assert (one.usage.requests, one.dirty) == (1, True)
