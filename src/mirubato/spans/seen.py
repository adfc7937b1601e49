"""Which spans have been counted already: exporters send a batch again when its reply got lost."""

from collections.abc import Sequence

from mirubato.limits import SEEN_SPANS_MAX


class Seen:
    """The ids of the newest spans, SEEN_SPANS_MAX of them at least; the last commit can be taken back."""

    def __init__(self) -> None:
        self._newer: set[bytes] = set()
        self._older: set[bytes] = set()
        self._pending: list[Sequence[bytes]] = []

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def fresh(self, identities: Sequence[bytes]) -> Sequence[int]:
        """The places of those that come for the first time; from now on they are known."""
        if len(self._newer) >= SEEN_SPANS_MAX:
            self._newer, self._older = set(), self._newer
        newer, older, own = self._newer, self._older, set(identities)
        if len(own) == len(identities) and newer.isdisjoint(own) and older.isdisjoint(own):
            newer |= own  # all are new, as nearly always: no loop in Python
            self._pending.append(identities)
            return range(len(identities))
        places = []
        for place, identity in enumerate(identities):
            if identity not in newer and identity not in older:
                newer.add(identity)
                places.append(place)
        self._pending.append([identities[place] for place in places])
        return places

    def committed(self) -> None:
        """What came since the last time is on disk."""
        self._pending.clear()

    def undo(self) -> None:
        """It is not: it may come again, for the first time."""
        for identities in self._pending:
            self._newer.difference_update(identities)
            self._older.difference_update(identities)
        self._pending.clear()
