"""The only place that reads the wall clock; everywhere else time is an argument."""

import time


def now_ms() -> int:
    """Wall-clock time in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """Seconds of a clock that never steps; only differences mean anything."""
    return time.monotonic()
