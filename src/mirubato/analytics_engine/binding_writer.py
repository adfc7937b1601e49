"""Writes through the Analytics Engine binding of a Python Worker: inside the request, without a thread."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from mirubato.analytics_engine.event_points import EventPoint, Limits, current_limits, problem


class Binding(Protocol):
    """`env.ANALYTICS`."""

    def writeDataPoint(self, point: object, /) -> object:  # noqa: N802 - Cloudflare's name
        """Give one data point to the runtime; it answers nothing."""
        ...


def _as_it_is(point: object) -> object:
    return point


class BindingWriter:
    """For one invocation of a Worker, which may write a limited number of points: make one for each request.

    `convert` makes the dict what the binding takes; workers-runtime-sdk from 1.5.0 on takes it as it is, before that
    it is `lambda point: to_js(point, dict_converter=Object.fromEntries)`. The sample interval of a point is not
    written, Analytics Engine sets its own.
    """

    def __init__(
        self, binding: Binding, limits: Limits | None = None, *, convert: Callable[[object], object] = _as_it_is
    ) -> None:
        self._binding = binding
        self._limits = limits or current_limits()
        self._convert = convert
        self._left = self._limits.points_per_invocation
        self._closed = False
        self.counts: Counter[str] = Counter()

    def write(self, points: Sequence[EventPoint]) -> None:
        """Write at once; what is past a limit, or past the points of the invocation, is counted instead."""
        for point in points:
            self.counts[self._outcome(point)] += 1

    def _outcome(self, point: EventPoint) -> str:
        if self._closed:
            return "dropped_closed"
        if problem(point, self._limits):
            return "dropped_past_limit"
        if not self._left:
            return "dropped_invocation_full"
        try:
            self._binding.writeDataPoint(
                self._convert(
                    {
                        "blobs": list(point.blobs),
                        "doubles": list(point.doubles),
                        "indexes": [point.index],
                    }
                )
            )
        except Exception:  # noqa: BLE001 - whatever the runtime throws, the app does not see it
            return "dropped_refused"
        self._left -= 1
        return "written"

    def flush(self, timeout_s: float) -> bool:  # noqa: ARG002 - nothing waits here
        """Nothing waits: True."""
        return True

    def close(self, timeout_s: float) -> bool:
        """Take no more."""
        self._closed = True
        return self.flush(timeout_s)
