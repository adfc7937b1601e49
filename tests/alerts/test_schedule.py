"""Slots: the multiples of the interval; missed ones are counted and not made up for."""

from hypothesis import given
from hypothesis import strategies as st

from mirubato.alerts.schedule import Due, due, next_slot


def test_slots() -> None:
    assert due(15, None, 100) == Due(90, 0)
    assert due(15, 90, 104) is None
    assert due(15, 90, 105) == Due(105, 0)
    assert due(15, 90, 151) == Due(150, 3)
    assert (next_slot(15, 90), next_slot(15, 89)) == (105, 90)


def test_a_clock_that_is_set_back() -> None:
    assert due(15, 90, 80) is None
    assert due(15, 90, 50) == Due(45, 0)


@given(st.integers(1, 1000), st.lists(st.integers(0, 3000), max_size=20))
def test_every_slot_is_evaluated_or_counted_once(interval: int, waits: list[int]) -> None:
    now, last, done, missed = 10_000, None, [], 0
    for wait in waits:
        now += wait
        if (found := due(interval, last, now)) is not None:
            last = found.slot_ms
            done.append(last)
            missed += found.missed
    assert done == sorted(set(done))
    assert all(slot % interval == 0 for slot in done)
    if done:
        assert len(done) + missed == (done[-1] - done[0]) // interval + 1
