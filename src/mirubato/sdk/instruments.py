"""The OTel instruments behind the monitor, and labels bound to them.

One observable counter, `mirubato.sdk.dropped`, has two duties: it shows the drops, and its callback, which every SDK
reader calls before it reads, moves what bound labels have gathered into their instruments.
"""

import math
import os
import re
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, MeterProvider, Observation

from mirubato.sdk.attributes import Attributes, AttributeSets
from mirubato.sdk.drops import DROPPED

# Advised by the semantic conventions for http.server.request.duration, in seconds.
DURATION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
REQUEST_DURATION = "http.server.request.duration"
PERFORMANCE_DURATION = "performance.duration"
APP_ERRORS = "app.errors"
RESOURCE_USAGE = "resource.usage"

MAX_NAMES = 500  # instruments that the app may name: business metrics, and doubles of `track`
MAX_GATHERED = 16_384  # values of one bound label set between two collections; more go straight to the instrument
INFINITY = math.inf

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}")  # as OTel has it


def usable(value: float) -> bool:
    """Whether an instrument takes the value: finite and not negative; counts it otherwise. TypeError for no number."""
    if 0 <= value < INFINITY:
        return True
    DROPPED.add("negative" if value < 0 else "not_finite")
    return False


class BadName(ValueError):
    """No instrument can be made of this name; the text is the reason that is counted."""


class Target(NamedTuple):
    """Where a call goes: an instrument's method, an attribute set, and what a value is multiplied by."""

    write: Callable[[float, Attributes], None]
    attributes: Attributes
    scale: float = 1.0
    adds_up: bool = False  # a counter: many values are as good as their sum


class Bound:
    """One instrument with one attribute set; call it with a value (ms for durations).

    The call appends to a list; the instrument gets the values when a reader collects. Exact, but without exemplars.
    """

    __slots__ = ("_gathered", "_target")

    def __init__(self, target: Target) -> None:
        self._gathered: deque[float] = deque()
        self._target = target

    def __call__(self, value: float = 1.0) -> None:
        """Count or record one value. Never raises: what is no usable number is counted."""
        gathered = self._gathered
        try:
            if 0 <= value < INFINITY and len(gathered) < MAX_GATHERED:
                gathered.append(value)
            elif usable(value):
                self._target.write(value * self._target.scale, self._target.attributes)
        except Exception:  # noqa: BLE001 - nothing may reach the app
            DROPPED.add("error")

    def drain(self) -> None:
        """Move what is gathered into the instrument."""
        if not self._gathered:
            return
        write, attributes, scale, adds_up = self._target
        if adds_up:
            write(math.fsum(_taken(self._gathered)) * scale, attributes)
            return
        for value in _taken(self._gathered):
            write(value * scale, attributes)

    def forget(self) -> None:
        """Drop what is gathered: after a fork the parent reports it."""
        self._gathered.clear()


class Unbound(Bound):
    """What `bind` gives when it cannot bind: it drops, and counts."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(Target(lambda _value, _attributes: None, {}))

    def __call__(self, _value: float = 1.0) -> None:
        """Count a drop."""
        DROPPED.add("unbound")


def _taken(gathered: deque[float]) -> Iterable[float]:
    """What is there now; popleft is atomic, so callers may append and other readers may take meanwhile."""
    for _ in range(len(gathered)):
        try:
            yield gathered.popleft()
        except IndexError:
            return


class Instruments:
    """All instruments that monitors have made at one meter provider, with their attribute sets."""

    def __init__(self, provider: MeterProvider) -> None:
        self._meter = provider.get_meter("mirubato")
        self._lock = threading.Lock()
        self._bound: dict[object, Bound] = {}
        self._counters: dict[str, tuple[Counter, AttributeSets]] = {}
        self._histograms: dict[str, tuple[Histogram, AttributeSets]] = {}
        self._meter.create_observable_counter(
            "mirubato.sdk.dropped", [self._collecting], "", "What the mirubato SDK refused, cut or lost, by reason"
        )
        self.request_duration, self.request_sets = self.duration(REQUEST_DURATION)
        self.app_errors, self.error_sets = self.counter(APP_ERRORS, "{error}")
        self.resource_usage, self.resource_sets = self.counter(RESOURCE_USAGE)
        self.performance_duration, self.performance_sets = self.duration(PERFORMANCE_DURATION)

    def counter(self, name: str, unit: str = "") -> tuple[Counter, AttributeSets]:
        """The counter of a name, made when it is new; BadName when it is unusable or one too many."""
        found = self._counters.get(name)
        if found is None:
            with self._lock:
                self._check(name)
                found = self._counters.get(name) or (self._meter.create_counter(name, unit), AttributeSets())
                self._counters[name] = found
        return found

    def duration(self, name: str) -> tuple[Histogram, AttributeSets]:
        """The histogram of a name, in seconds."""
        return self._histogram(name, "s", DURATION_BUCKETS)

    def values(self, name: str) -> tuple[Histogram, AttributeSets]:
        """A histogram without buckets: count, sum, minimum and maximum."""
        return self._histogram(name, "", ())

    def _histogram(self, name: str, unit: str, buckets: tuple[float, ...]) -> tuple[Histogram, AttributeSets]:
        found = self._histograms.get(name)
        if found is None:
            with self._lock:
                self._check(name)
                made = self._meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=list(buckets))
                found = self._histograms.setdefault(name, (made, AttributeSets()))
        return found

    def _check(self, name: str) -> None:
        if len(self._counters) + len(self._histograms) >= MAX_NAMES:
            raise BadName("names")
        if not _NAME.fullmatch(name):
            raise BadName("bad_name")

    def bound(self, target: Target) -> Bound:
        """The one bound label set of a target."""
        key = (target.write, frozenset(target.attributes.items()))
        with self._lock:
            return self._bound.setdefault(key, Bound(target))

    def _collecting(self, _options: CallbackOptions) -> Iterable[Observation]:
        for one in tuple(self._bound.values()):
            one.drain()
        return [Observation(count, {"reason": reason}) for reason, count in DROPPED.items()]

    def forget(self) -> None:
        """After a fork: a lock that nobody holds, and nothing that the parent reports."""
        self._lock = threading.Lock()
        for one in self._bound.values():
            one.forget()


_all: "weakref.WeakKeyDictionary[MeterProvider, Instruments]" = weakref.WeakKeyDictionary()


def instruments_of(provider: MeterProvider) -> Instruments:
    """The instruments at a provider: the same for every monitor, so that a monitor per request costs nothing."""
    found = _all.get(provider)
    if found is None:
        found = _all.setdefault(provider, Instruments(provider))
    return found


def _after_fork() -> None:
    DROPPED.forget()
    for one in tuple(_all.values()):
        one.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
