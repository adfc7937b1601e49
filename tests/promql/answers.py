"""What is asked and answered, whoever answers: our engine or Prometheus' own (`oracle`)."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mirubato.limits import LOOKBACK_MS
from mirubato.model.labels import STALE_NAN_BITS, Labels
from tests.promql.shapes import Shape, close

Value = float | Shape
Sample = tuple[int, Value]
"""Time in ms and a value; the float may be the staleness marker."""


@dataclass(frozen=True)
class Series:
    """Labels with samples, times rising; both what is stored and what is answered."""

    labels: Labels
    samples: Sequence[Sample]


@dataclass(frozen=True)
class Answer:
    """What became of a query: series in their order, or a string, or an error (`refused`: before it was evaluated)."""

    kind: str = ""
    series: Sequence[Series] = ()
    text: str = ""
    warnings: Sequence[str] = ()
    infos: Sequence[str] = ()
    error: str | None = None
    refused: bool = False


@dataclass(frozen=True)
class Question:
    """An expression at one time (`step` 0) or over steps; all in ms."""

    text: str
    start: int
    end: int = 0
    step: int = 0
    lookback: int = LOOKBACK_MS


NEAR_ZERO = 1e-12
"""What is left of numbers that are equal, taken from each other, where two engines add them up in different orders."""


class Engine(Protocol):
    """Takes samples and answers questions about them."""

    def clear(self) -> None: ...

    def load(self, series: Iterable[Series]) -> None:
        """Added to what is there; of two samples at one time the later stays."""
        ...

    def ask(self, question: Question) -> Answer: ...


@dataclass
class Store:
    """Samples by series and time, for engines to read."""

    series: dict[Labels, dict[int, Value]] = field(default_factory=dict)

    def add(self, series: Iterable[Series]) -> None:
        for one in series:
            self.series.setdefault(one.labels, {}).update(one.samples)

    def sorted(self) -> Iterator[Series]:
        for labels, samples in self.series.items():
            yield Series(labels, sorted(samples.items(), key=lambda sample: sample[0]))


def is_marker(value: Value) -> bool:
    """Whether a value is the staleness marker, one NaN among many."""
    return isinstance(value, float) and struct.pack("<d", value) == struct.pack("<Q", STALE_NAN_BITS)


def differences(ours: Answer, theirs: Answer, tolerance: float) -> list[str]:
    """How two answers differ, in words. The order of series does not count."""
    if (ours.error is None) != (theirs.error is None):
        return [f"error: {ours.error} / {theirs.error}"]
    if ours.error is not None:
        return [] if ours.refused == theirs.refused else [f"refused: {ours.error} / {theirs.error}"]
    found = []
    if (ours.kind, ours.text) != (theirs.kind, theirs.text):
        found.append(f"kind: {ours.kind} {ours.text!r} / {theirs.kind} {theirs.text!r}")
    found += _series_differences(ours.series, theirs.series, tolerance)
    for name, mine, other in (("warnings", ours.warnings, theirs.warnings), ("infos", ours.infos, theirs.infos)):
        if sorted(mine) != sorted(other):
            found.append(f"{name}: {sorted(mine)} / {sorted(other)}")
    return found


def _series_differences(ours: Sequence[Series], theirs: Sequence[Series], tolerance: float) -> list[str]:
    mine, other = ({one.labels: one.samples for one in side} for side in (ours, theirs))
    if len(mine) != len(ours):
        return [f"labels twice: {[one.labels for one in ours]}"]
    if mine.keys() != other.keys():
        return [f"only ours: {sorted(mine.keys() - other.keys())}, only theirs: {sorted(other.keys() - mine.keys())}"]
    return [
        f"{dict(labels)}: {list(samples)} / {list(other[labels])}"
        for labels, samples in mine.items()
        if not same_samples(samples, other[labels], tolerance, NEAR_ZERO)
    ]


def same_samples(ours: Sequence[Sample], theirs: Sequence[Sample], tolerance: float, near_zero: float = 0.0) -> bool:
    """The same times, and values within the tolerance, or numbers that differ by less than `near_zero`."""
    return [time for time, _ in ours] == [time for time, _ in theirs] and all(
        same_value(mine, other, tolerance, near_zero) for (_, mine), (_, other) in zip(ours, theirs, strict=True)
    )


def same_value(ours: Value, theirs: Value, tolerance: float, near_zero: float) -> bool:
    """Both numbers or both histograms, and close to each other."""
    if isinstance(ours, Shape) or isinstance(theirs, Shape):
        return isinstance(ours, Shape) and isinstance(theirs, Shape) and ours.like(theirs, tolerance)
    return close(ours, theirs, tolerance) or abs(ours - theirs) < near_zero
