"""What an exporter writes to."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mirubato.analytics_engine.event_points import EventPoint


class Writer(Protocol):
    """Takes event points; never raises, never waits but in `flush` and `close`."""

    @property
    def counts(self) -> Mapping[str, int]:
        """By name: `written`, and what was lost under `dropped_...`."""
        ...

    def write(self, points: Sequence[EventPoint]) -> None:
        """Take the points or count them as dropped."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was taken is written or dropped; False if that takes longer."""
        ...

    def close(self, timeout_s: float) -> bool:
        """Flush, and take no more."""
        ...
