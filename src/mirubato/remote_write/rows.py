"""What a request holds, while it is read, and at last as columns."""

from dataclasses import dataclass, field

import numpy as np

from mirubato.admission.columns import COUNTER, LEAD, Columns, Decoded, HistogramPoint
from mirubato.model.histogram import Histogram
from mirubato.model.labels import is_stale
from mirubato.model.seams import Reason

_NS_PER_MS = 1_000_000
_LAST_MS = (1 << 64) // _NS_PER_MS - 1
"""In the year 2554, further ahead than any setting allows: what is later counts as this."""
BEFORE_1970 = Reason("too_old", "before 1970")


def nanoseconds(time: int) -> int:
    """A time in ms as the columns have it; one that cannot be is 0."""
    return min(max(time, 0), _LAST_MS) * _NS_PER_MS


@dataclass(slots=True)
class Rows:
    """Float samples in order of arrival, and all else of the request."""

    samples: list[tuple[int, int, float, int]] = field(default_factory=list)
    """Slot, time (ms), value and start (ms; 0: none to go by) of each."""
    decoded: Decoded = field(default_factory=Decoded)

    def refuse(self, reason: Reason, count: int) -> None:
        """Count points that cannot be taken."""
        self.decoded.points += count
        self.decoded.rejected[reason] += count

    def add_histogram(self, slot: int, time: int, start: int, histogram: Histogram, flags: int) -> None:
        """One native histogram; times in ms."""
        if time < 0:
            self.refuse(BEFORE_1970, 1)
            return
        counter = COUNTER if 0 < start < time else 0
        began = nanoseconds(start) if counter else 0
        self.decoded.points += 1
        point = HistogramPoint(slot, nanoseconds(time), began, histogram, flags | counter | LEAD)
        self.decoded.histograms.append(point)

    def finished(self) -> Decoded:
        """Everything, the samples as columns."""
        if not self.samples:
            return self.decoded
        slots_, times_, values_, starts_ = zip(*self.samples, strict=True)
        slots, times = np.array(slots_, np.int64), np.array(times_, np.int64)
        values, starts = np.array(values_, np.float64), np.array(starts_, np.int64)
        early = times < 0
        if early.any():
            self.refuse(BEFORE_1970, int(early.sum()))
            slots, times, values, starts = slots[~early], times[~early], values[~early], starts[~early]
        starts[(starts < 0) | (starts >= times) | is_stale(values)] = 0
        flags = np.where(starts > 0, LEAD | COUNTER, LEAD).astype(np.uint8)
        self.decoded.columns.append(Columns(slots, _nanoseconds(times), _nanoseconds(starts), values, flags))
        self.decoded.points += len(slots)
        return self.decoded


def _nanoseconds(times: np.typing.NDArray[np.int64]) -> np.typing.NDArray[np.uint64]:
    return np.minimum(times, _LAST_MS).astype(np.uint64) * np.uint64(_NS_PER_MS)
