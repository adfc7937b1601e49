"""The last export: at exit and at SIGTERM, in bounded time.

The SDK exports at exit but not at SIGTERM, whose default action ends a process without `atexit`; and it may wait half a
minute for a gateway that is down.
"""

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

from mirubato.sdk.drops import say

TIMEOUT = "MIRUBATO_EXIT_TIMEOUT"  # seconds
DEFAULT_TIMEOUT_S = 5.0
ON_SIGTERM = "MIRUBATO_SIGTERM"  # `off` leaves the signal alone


class Leaving(Protocol):
    """An SDK provider; what `force_flush` and `shutdown` answer is of no interest here."""

    @property
    def force_flush(self) -> Callable[[], object]: ...

    @property
    def shutdown(self) -> Callable[[], object]: ...


def exit_timeout_s() -> float:
    """The most that the last export may take."""
    try:
        return max(0.0, float(os.environ.get(TIMEOUT, DEFAULT_TIMEOUT_S)))
    except ValueError:
        return DEFAULT_TIMEOUT_S


class _Parked:
    """A thread that waits to shut a provider down: at exit, Python 3.12 and later start no threads any more."""

    def __init__(self, provider: Leaving) -> None:
        self._provider = provider
        self.park()

    def park(self) -> None:
        """Start the thread; again in a forked child, where it is gone."""
        self._go, self._done = threading.Event(), threading.Event()
        threading.Thread(target=self._wait, args=(self._go, self._done), name="mirubato-leaving", daemon=True).start()

    def _wait(self, go: threading.Event, done: threading.Event) -> None:
        go.wait()
        try:
            self._provider.shutdown()
        except Exception as error:  # noqa: BLE001 - the process is ending
            say(f"the last export failed: {type(error).__name__}: {error}")
        finally:
            done.set()

    def go(self) -> None:
        """Begin the shutdown."""
        self._go.set()

    def wait(self, timeout_s: float) -> None:
        """Until it is done, at most so long."""
        self._done.wait(timeout_s)


_parked: list[_Parked] = []
_providers: list[Leaving] = []


def leave_in_time(providers: Sequence[Leaving]) -> None:
    """Shut the providers down at exit and at SIGTERM, all at once, within `MIRUBATO_EXIT_TIMEOUT` seconds (5)."""
    first = not _parked
    _providers.extend(providers)
    try:
        _parked.extend(_Parked(one) for one in providers)
    except RuntimeError:  # no threads here, as in a Worker: there is no exit to wait for either
        return
    if first:
        atexit.register(leave)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_park_again)
        _chain_sigterm()


def leave() -> None:
    """Shut all providers down, and wait until they are or the time is over."""
    deadline = time.monotonic() + exit_timeout_s()
    for one in _parked:
        one.go()
    for one in _parked:
        one.wait(max(0.0, deadline - time.monotonic()))


def _park_again() -> None:
    for one in _parked:
        one.park()


def _chain_sigterm() -> None:
    if os.environ.get(ON_SIGTERM, "").lower() == "off" or threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGTERM)
    if before not in (signal.SIG_IGN, None):
        signal.signal(signal.SIGTERM, lambda number, frame: _terminated(before, number, frame))


def _terminated(before: object, number: int, frame: FrameType | None) -> None:
    if callable(before):
        # The app ends in its own way, and at its end `leave` comes; if it just stops, this is what was exported.
        for one in _providers:
            threading.Thread(target=one.force_flush, daemon=True).start()
        before(number, frame)
        return
    leave()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
