"""Many events, handed over together."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from mirubato.sdk.monitor import DONE, Done, Monitor

MAX_WAITING = 250  # a Worker may write this many event points in one invocation


class _Event(NamedTuple):
    name: str
    doubles: Mapping[str, Any] | None
    blobs: Mapping[str, Any] | None
    sample: float


class BatchMetricWriter:
    """Gathers calls of `monitor.track` until `flush`, the end of its `with` block, or 250 of them.

    For one thread. `add` only appends: what an event costs, it costs at the flush.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._waiting: list[_Event] = []

    def add(
        self,
        name: str,
        doubles: Mapping[str, Any] | None = None,
        blobs: Mapping[str, Any] | None = None,
        sample: float = 1.0,
    ) -> None:
        """The arguments of `Monitor.track`. The mappings are read at the flush."""
        self._waiting.append(_Event(name, doubles, blobs, sample))
        if len(self._waiting) >= MAX_WAITING:
            self.flush()

    def flush(self) -> Done:
        """Track what waits; may be awaited."""
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            self._monitor.track(*event)
        return DONE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self.flush()
