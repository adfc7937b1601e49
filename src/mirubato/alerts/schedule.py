"""When rules are evaluated: on slots, the multiples of their interval since 1970, so that a restart keeps the times."""

from typing import NamedTuple


class Due(NamedTuple):
    """The slot to evaluate now (ms), and how many before it were missed."""

    slot_ms: int
    missed: int


def due(interval_ms: int, last_slot_ms: int | None, now: int) -> Due | None:
    """The newest slot that has begun and is not done yet; older ones are not made up for, only counted.

    Without a last slot (the first tick of a process) the newest one is due. None: nothing to do before `next_slot`. A
    clock that was set back by more than an interval begins anew, or nothing would be evaluated until it has caught up.
    """
    slot = now // interval_ms * interval_ms
    if last_slot_ms is None or now < last_slot_ms - interval_ms:
        return Due(slot, 0)
    if slot <= last_slot_ms:
        return None
    return Due(slot, (slot - last_slot_ms) // interval_ms - 1 if last_slot_ms % interval_ms == 0 else 0)


def next_slot(interval_ms: int, now: int) -> int:
    """The first slot after `now`, ms."""
    return (now // interval_ms + 1) * interval_ms
