"""What every decoder hands on: columns of points that still have to be admitted."""

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
