"""What a decoder hands on: columns of points that still have to be admitted."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mirubato.model.histogram import Histogram
from mirubato.model.samples import Exemplar, Float64s, Int64s
from mirubato.model.seams import Reason

# Bits of the `flags` column.
LEAD = 1
"""First sample of its data point: rejections are counted in points."""
COUNTER = 2
"""Counts up from its start time: the start-time rule applies."""
DELTA = 4
"""Holds a difference, to be added to the total of its series."""
STALE = 8
"""A staleness marker (OTLP: the flag NoRecordedValue)."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Float samples before admission: slot, time and start in ns since 1970 (start 0: not given), value, flags."""

    slots: Int64s
    times: NDArray[np.uint64]
    starts: NDArray[np.uint64]
    values: Float64s
    flags: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class HistogramPoint:
    """A native histogram before admission; times in ns."""

    slot: int
    time: int
    start: int
    histogram: Histogram
    flags: int


@dataclass(slots=True)
class Decoded:
    """One request: its columns, and how many points were rejected for which reason."""

    points: int = 0
    columns: list[Columns] = field(default_factory=list)
    histograms: list[HistogramPoint] = field(default_factory=list)
    exemplars: list[Exemplar] = field(default_factory=list)
    rejected: Counter[Reason] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Rows:
    """The columns of one resource while they grow, point by point."""

    slots: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    flags: bytearray = field(default_factory=bytearray)

    def add(self, slot: int, time: int, start: int, value: float, flags: int) -> None:
        """One sample that is a point of its own."""
        self.slots.append(slot)
        self.times.append(time)
        self.starts.append(start)
        self.values.append(value)
        self.flags.append(flags | LEAD)

    def add_group(self, slots: tuple[int, ...], time: int, start: int, values: list[float], flags: bytes) -> None:
        """The samples of one point that has several (a histogram's buckets, a summary's quantiles)."""
        count = len(slots)
        self.slots += slots
        self.times += [time] * count
        self.starts += [start] * count
        self.values += values
        self.flags += flags

    def columns(self) -> Columns:
        """The lists as arrays."""
        return Columns(
            np.array(self.slots, np.int64),
            np.array(self.times, np.uint64),
            np.array(self.starts, np.uint64),
            np.array(self.values, np.float64),
            np.frombuffer(bytes(self.flags), np.uint8),
        )
