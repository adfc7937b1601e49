"""What was refused, cut or lost, counted by reason."""

import sys
import threading
from collections.abc import Iterator, Mapping


class Drops(Mapping[str, int]):
    """Reason -> how often; safe from any thread. Reads as a mapping."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, reason: str, count: int = 1) -> None:
        """Count what was dropped."""
        with self._lock:
            self._counts[reason] = self._counts.get(reason, 0) + count

    def forget(self) -> None:
        """Start from zero, with a lock of its own: a forked child reports only what it dropped itself."""
        self._counts, self._lock = {}, threading.Lock()

    def __getitem__(self, reason: str) -> int:
        return self._counts[reason]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._counts))

    def __len__(self) -> int:
        return len(self._counts)


# One for the process: an OTel meter keeps only the first callback of an instrument, so a second account would not show.
DROPPED = Drops()


def say(text: str) -> None:
    """One line on stderr, if there is one that takes it."""
    try:
        sys.stderr.write(f"mirubato: {text}\n")
    except (AttributeError, OSError, ValueError):
        DROPPED.add("stderr")
