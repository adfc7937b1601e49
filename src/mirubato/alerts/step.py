"""The state machine of one alert: one series of one rule. Pure: (state, what was seen, now) -> (state, transition).

|          | active               | clear                           | nothing: keep | nothing: alert       |
|----------|----------------------|---------------------------------|---------------|----------------------|
| inactive | pending (1)          | stays                           | stays         | pending (2)          |
| pending  | firing after `for`   | inactive                        | stays         | no_data after `for`  |
| firing   | stays                | inactive, after keep_firing_for | stays         | no_data              |
| no_data  | firing               | inactive, after keep_firing_for | stays         | stays                |

(1) Firing at once where there is no `for`; (2) no_data at once. `nothing: ok` is the same as clear.

*Nothing* is a series that the query no longer finds; a rule without a condition cannot tell it from *clear*. From
firing or no_data to inactive is what messages call resolved. A series that a rule with `alert` has seen stays known
while it is inactive, or nobody could miss it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple


class Phase(StrEnum):
    """What an alert is; the words are on disk and in the API."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    NO_DATA = "no_data"
    """Fires because there is no data, which the rule asks for."""

    @property
    def fires(self) -> bool:
        """Whether people are to hear of it."""
        return self in (Phase.FIRING, Phase.NO_DATA)


class Seen(StrEnum):
    """What one evaluation says of one series."""

    ACTIVE = "active"
    CLEAR = "clear"
    NOTHING_KEEP = "nothing: keep"
    NOTHING_ALERT = "nothing: alert"


class Clocks(NamedTuple):
    """What a rule says of time, ms."""

    for_ms: int = 0
    keep_firing_for_ms: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """Of one alert; times in ms, 0 where there is none."""

    phase: Phase = Phase.INACTIVE
    since_ms: int = 0
    """Since when the condition has held; stays through firing."""
    fired_ms: int = 0
    clear_ms: int = 0
    """Since when it is clear but kept firing by keep_firing_for."""


class Transition(NamedTuple):
    """One change of phase, at a time in ms."""

    before: Phase
    after: Phase
    at_ms: int


NEW = State()


def step(state: State, seen: Seen, clocks: Clocks, now: int) -> tuple[State, Transition | None]:
    """The next state, and the change of phase if there is one. Time that goes backwards moves no clock."""
    after = _TABLE[state.phase, seen](state, clocks, now)
    if after.phase is state.phase:
        return after, None
    return after, Transition(state.phase, after.phase, now)


_Move = Callable[[State, Clocks, int], State]


def _stay(state: State, _: Clocks, __: int) -> State:
    return state


def _begin(phase: Phase) -> _Move:
    """Toward a phase that fires, by way of pending where the rule has a `for`."""

    def move(state: State, clocks: Clocks, now: int) -> State:
        since = state.since_ms or now
        if now - since >= clocks.for_ms:
            return State(phase, since, now)
        return State(Phase.PENDING, since)

    return move


def _go_on(phase: Phase) -> _Move:
    """Fires already: only the reason may be another."""

    def move(state: State, _: Clocks, __: int) -> State:
        same = state.phase is phase and not state.clear_ms
        return state if same else replace(state, phase=phase, clear_ms=0)

    return move


def _calm(_: State, __: Clocks, ___: int) -> State:
    return NEW


def _calm_later(state: State, clocks: Clocks, now: int) -> State:
    clear = state.clear_ms or now
    if now - clear >= clocks.keep_firing_for_ms:
        return NEW
    return replace(state, clear_ms=clear)


_TABLE: Mapping[tuple[Phase, Seen], _Move] = {
    (Phase.INACTIVE, Seen.ACTIVE): _begin(Phase.FIRING),
    (Phase.INACTIVE, Seen.CLEAR): _calm,
    (Phase.INACTIVE, Seen.NOTHING_KEEP): _stay,
    (Phase.INACTIVE, Seen.NOTHING_ALERT): _begin(Phase.NO_DATA),
    (Phase.PENDING, Seen.ACTIVE): _begin(Phase.FIRING),
    (Phase.PENDING, Seen.CLEAR): _calm,
    (Phase.PENDING, Seen.NOTHING_KEEP): _stay,
    (Phase.PENDING, Seen.NOTHING_ALERT): _begin(Phase.NO_DATA),
    (Phase.FIRING, Seen.ACTIVE): _go_on(Phase.FIRING),
    (Phase.FIRING, Seen.CLEAR): _calm_later,
    (Phase.FIRING, Seen.NOTHING_KEEP): _stay,
    (Phase.FIRING, Seen.NOTHING_ALERT): _go_on(Phase.NO_DATA),
    (Phase.NO_DATA, Seen.ACTIVE): _go_on(Phase.FIRING),
    (Phase.NO_DATA, Seen.CLEAR): _calm_later,
    (Phase.NO_DATA, Seen.NOTHING_KEEP): _stay,
    (Phase.NO_DATA, Seen.NOTHING_ALERT): _stay,
}
"""Every phase and everything that can be seen; a test holds it to the table above."""
