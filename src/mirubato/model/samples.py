"""Columns of samples: what travels from a decoder to the disk, and from the disk to a query."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mirubato.model.histogram import Histogram
from mirubato.model.labels import Labels

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]

NEVER: Final = int(np.iinfo(np.int64).min)
"""Time of the newest sample of a series that has none."""


class Kind(IntEnum):
    """What a series holds; part of its identity. The numbers are on disk."""

    FLOAT = 0
    HISTOGRAM = 1


@dataclass(frozen=True, slots=True)
class Floats:
    """Float samples in arrival order: series (slot or id), time in ms, value; three columns of one length."""

    series: Int64s
    timestamps: Int64s
    values: Float64s

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True)
class HistogramSample:
    """One native histogram of one series (slot or id) at one time (ms); `stale` marks the end of the series."""

    series: int
    timestamp: int
    histogram: Histogram
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One example measurement of a series: when (ms), what, and labels such as `trace_id`."""

    series: int
    timestamp: int
    value: float
    labels: Labels


@dataclass(frozen=True, slots=True)
class Starts:
    """Series whose start time became another, and that time in ms; two columns of one length."""

    series: Int64s
    start_ms: Int64s


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one or more requests: the unit of commit. Series are slots of the registry."""

    floats: Floats
    starts: Starts
    histograms: Sequence[HistogramSample] = ()
    exemplars: Sequence[Exemplar] = ()

    def __len__(self) -> int:
        return len(self.floats) + len(self.histograms)


@dataclass(frozen=True, slots=True)
class SelectedFloats:
    """Float samples of several series in one set of columns, series by series, times rising and unique.

    The samples of series `i` are those from `offsets[i]` to `offsets[i + 1]`.
    """

    labels: Sequence[Labels]
    offsets: Int64s
    timestamps: Int64s
    values: Float64s


@dataclass(frozen=True, slots=True)
class SelectedHistograms:
    """One series and its native histograms in a window, times (ms) rising and unique; None where it went stale."""

    labels: Labels
    timestamps: Sequence[int]
    histograms: Sequence[Histogram | None]


def no_starts() -> Starts:
    """Two empty columns."""
    return Starts(np.empty(0, np.int64), np.empty(0, np.int64))
