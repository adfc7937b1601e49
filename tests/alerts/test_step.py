"""The state machine: the table of its docstring, and what holds whatever is seen."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.alerts import step as machine
from mirubato.alerts.step import NEW, Clocks, Phase, Seen, State, step

T0 = 1_000_000

INACTIVE, PENDING, FIRING, NO_DATA = (
    NEW,
    State(Phase.PENDING, T0),
    State(Phase.FIRING, T0, T0),
    State(Phase.NO_DATA, T0, T0),
)
EVERY = {Phase.INACTIVE: INACTIVE, Phase.PENDING: PENDING, Phase.FIRING: FIRING, Phase.NO_DATA: NO_DATA}

# (from, seen) -> the phase after, where `for` has passed and there is no keep_firing_for.
TABLE = """
inactive  active          firing
inactive  clear           inactive
inactive  nothing:_keep   inactive
inactive  nothing:_alert  no_data
pending   active          firing
pending   clear           inactive
pending   nothing:_keep   pending
pending   nothing:_alert  no_data
firing    active          firing
firing    clear           inactive
firing    nothing:_keep   firing
firing    nothing:_alert  no_data
no_data   active          firing
no_data   clear           inactive
no_data   nothing:_keep   no_data
no_data   nothing:_alert  no_data
"""
ROWS = [line.replace("_keep", " keep").replace("_alert", " alert").split("  ") for line in TABLE.split("\n") if line]


@pytest.mark.parametrize("row", [tuple(word.strip() for word in row if word.strip()) for row in ROWS], ids="-".join)
def test_the_table(row: tuple[str, str, str]) -> None:
    before, seen, after = Phase(row[0]), Seen(row[1]), Phase(row[2])
    state, transition = step(EVERY[before], seen, Clocks(), T0 + 1)
    assert state.phase is after
    assert (transition is None) == (before is after)
    if transition is not None:
        assert transition == (before, after, T0 + 1)


def test_nothing_is_left_out() -> None:
    assert set(machine._TABLE) == set(itertools.product(Phase, Seen))
    assert len(ROWS) == len(machine._TABLE)


def test_for_is_waited_out() -> None:
    clocks = Clocks(for_ms=60)
    state, transition = step(NEW, Seen.ACTIVE, clocks, T0)
    assert (state, transition) == (State(Phase.PENDING, T0), (Phase.INACTIVE, Phase.PENDING, T0))
    state, transition = step(state, Seen.ACTIVE, clocks, T0 + 59)
    assert (state.phase, transition) == (Phase.PENDING, None)
    state, transition = step(state, Seen.ACTIVE, clocks, T0 + 60)
    assert (state, transition) == (State(Phase.FIRING, T0, T0 + 60), (Phase.PENDING, Phase.FIRING, T0 + 60))


def test_keep_firing_for_begins_anew_with_each_breach() -> None:
    clocks, state = Clocks(keep_firing_for_ms=60), FIRING
    for at, seen, fires in [
        (10, Seen.CLEAR, True), (69, Seen.CLEAR, True), (69, Seen.ACTIVE, True),
        (70, Seen.CLEAR, True), (129, Seen.CLEAR, True), (130, Seen.CLEAR, False),
    ]:  # fmt: skip
        state, _ = step(state, seen, clocks, T0 + at)
        assert state.phase.fires is fires


@given(
    st.lists(st.tuples(st.sampled_from(Seen), st.integers(0, 100)), max_size=30),
    st.builds(Clocks, st.integers(0, 150), st.integers(0, 150)),
)
def test_what_always_holds(seen: list[tuple[Seen, int]], clocks: Clocks) -> None:
    state, now, active_since = NEW, T0, None
    for what, passed in seen:
        now += passed
        before = state
        state, transition = step(before, what, clocks, now)
        active = what in (Seen.ACTIVE, Seen.NOTHING_ALERT)
        active_since = (active_since if active_since is not None else now) if active else None
        assert (transition is not None) == (before.phase is not state.phase)
        if state.phase.fires and not before.phase.fires:
            assert now - state.since_ms >= clocks.for_ms
            assert state.fired_ms == now
        if active_since is not None and now - active_since >= clocks.for_ms:
            assert state.phase.fires
        if what is Seen.CLEAR:
            assert state.phase is not Phase.PENDING
        if what is Seen.NOTHING_KEEP:
            assert state == before
        assert (state.phase is Phase.INACTIVE) == (state == NEW)
