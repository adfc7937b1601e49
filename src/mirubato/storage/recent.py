"""Samples that are not sealed yet, in memory: what makes a sample readable as soon as it is committed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mirubato.model.samples import Batch, Floats, HistogramSample

# A chunk closes at the weight of this many samples, 24 bytes each. A query looks at whole chunks: one takes 200 us.
CHUNK_SAMPLES = 65_536
# A closed chunk keeps its parts as they came unless there are more than this: to join 256 takes a query 0.1 ms.
_PARTS_MAX = 256
# A native histogram takes about 400 bytes, as 16 float samples do, and about 32 bytes more for each bucket.
_HISTOGRAM_WEIGHT = 16


def _weight(batch: Batch) -> int:
    buckets = sum(
        len(sample.histogram.positive.counts) + len(sample.histogram.negative.counts) for sample in batch.histograms
    )
    return len(batch.floats) + _HISTOGRAM_WEIGHT * len(batch.histograms) + buckets


@dataclass(slots=True)
class Chunk:
    """Whole batches in order of arrival; `series` are slots. The writer appends, readers look at what is there."""

    seq_low: int
    since: int
    """When the first batch was committed, by our clock (ms)."""
    seq_high: int = 0
    size: int = 0
    """Float samples."""
    weight: int = 0
    """The memory it takes, in float samples."""
    time_low: int = 1 << 62
    time_high: int = -(1 << 62)
    parts: list[Floats] = field(default_factory=list)
    histograms: list[HistogramSample] = field(default_factory=list)

    def append(self, seq: int, batch: Batch) -> None:
        """Take a committed batch."""
        floats = batch.floats
        self.seq_high = seq
        self._widen([sample.timestamp for sample in batch.histograms])
        self.histograms += batch.histograms
        if len(floats):
            self._widen([int(floats.timestamps.min()), int(floats.timestamps.max())])
            self.parts.append(floats)
            self.size += len(floats)
        self.weight += _weight(batch)

    def _widen(self, times: Sequence[int]) -> None:
        self.time_low, self.time_high = min(self.time_low, *times, 1 << 62), max(self.time_high, *times, -(1 << 62))

    def overlaps(self, start: int, end: int) -> bool:
        """Whether it may hold samples of a window."""
        return self.time_low <= end and self.time_high >= start

    def floats(self) -> Floats:
        """Its samples as one set of columns."""
        parts = tuple(self.parts)
        return Floats(
            np.concatenate([part.series for part in parts] or [np.empty(0, np.int64)]),
            np.concatenate([part.timestamps for part in parts] or [np.empty(0, np.int64)]),
            np.concatenate([part.values for part in parts] or [np.empty(0)]),
        )

    def copy(self) -> "Chunk":
        """What it holds now. The samples are shared: parts are added, and never change."""
        return replace(self, parts=list(self.parts), histograms=list(self.histograms))

    def settle(self) -> None:
        """Make one part of many small ones, when nothing more will come."""
        if len(self.parts) > _PARTS_MAX:
            self.parts = [self.floats()]


class Recent:
    """The chunks in order of arrival. Changed on the writer thread; readers take `chunks()`."""

    def __init__(self) -> None:
        self._chunks: tuple[Chunk, ...] = ()
        self._open = False
        self.samples = 0
        self.weight = 0
        """The memory they take, in float samples."""

    def chunks(self) -> Sequence[Chunk]:
        """All chunks, oldest first."""
        return self._chunks

    def append(self, seq: int, batch: Batch, now: int) -> None:
        """Add a batch that has just been committed as `seq`."""
        if not self._open:
            self._chunks = (*self._chunks, Chunk(seq, now))
            self._open = True
        chunk = self._chunks[-1]
        before = chunk.weight
        chunk.append(seq, batch)
        self.samples += len(batch)
        self.weight += chunk.weight - before
        if chunk.weight >= CHUNK_SAMPLES:
            self._close_last()

    def close(self) -> Sequence[Chunk]:
        """Let nothing more into the chunks there are, and answer them: they are about to be sealed."""
        if self._open:
            self._close_last()
        return self._chunks

    def _close_last(self) -> None:
        self._open = False
        self._chunks[-1].settle()

    def drop(self, sealed: Sequence[Chunk]) -> None:
        """Forget chunks that are blocks now."""
        self._chunks = self._chunks[len(sealed) :]
        self.samples -= sum(chunk.size + len(chunk.histograms) for chunk in sealed)
        self.weight -= sum(chunk.weight for chunk in sealed)
