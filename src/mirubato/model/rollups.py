"""Rollups as queries see them: from when on samples are hours or days, and what a selection is for.

The hour (or day) of a sample is named by its end: it holds what is later than the one before and not later than its
end, as the windows of PromQL do. So an hour's increase is exactly `increase(x[1h])` at that end.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import numpy as np

from mirubato.model.samples import NEVER, Int64s, SelectedFloats

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

NEVER_ROLLED: Final = NEVER
"""A border before which there is nothing."""


class Use(Enum):
    """What samples are selected for: which column of the rollups stands for those that are gone."""

    SAMPLES = auto()
    """Each single sample: rollups have no answer."""
    LAST = auto()
    MIN = auto()
    MAX = auto()
    SUM = auto()
    COUNT = auto()
    INCREASE = auto()


@dataclass(frozen=True, slots=True)
class Borders:
    """Samples up to `raw` (ms, included) are rolled up by the hour, those up to `hourly` by the day."""

    raw: int = NEVER_ROLLED
    hourly: int = NEVER_ROLLED

    def __post_init__(self) -> None:
        assert self.hourly <= self.raw, self

    def steps(self, times: Int64s) -> Int64s:
        """The length of the bucket that holds each time, ms; 0 where samples are as they came."""
        steps: Int64s = np.where(times > self.raw, 0, np.where(times > self.hourly, HOUR_MS, DAY_MS))
        return steps

    def ends(self, times: Int64s) -> Int64s:
        """The end of the bucket of each time; all times are at or before `raw`."""
        steps = np.where(times > self.hourly, HOUR_MS, DAY_MS)
        ends: Int64s = -(-times // steps) * steps
        return ends

    def reach(self, start: int) -> int:
        """From where on buckets are read for windows that begin at `start` (ms).

        The end of a window goes down to a whole bucket, its start too, and an increase looks one bucket further.
        """
        step = HOUR_MS if start - 4 * HOUR_MS > self.hourly else DAY_MS
        return max(start // step * step - 3 * step, 0)


@dataclass(frozen=True, slots=True)
class Rolled:
    """What rollups tell of a selection for one use: of the same series, in the same order, as its `floats`.

    A bucket is one sample at its end (for LAST and INCREASE: few, at their own times) with the value of its column; the
    samples that are not rolled up follow, each as a bucket of its own.
    """

    borders: Borders
    floats: SelectedFloats
    no_histograms: bool = False
    """Whether native histograms were left out, because what is kept of them does not serve this use."""
