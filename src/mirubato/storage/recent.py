"""Samples that are not sealed yet, in memory: what makes a sample readable as soon as it is committed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mirubato.model.samples import Batch, Float64s, Floats, HistogramSample, Int64s

# Samples of a chunk: 20 bytes each, so 1.3 MB. A query looks at whole chunks; one takes about 150 us.
CHUNK_SAMPLES = 65_536


@dataclass(slots=True)
class Chunk:
    """Whole batches, one after the other, up to a size. Only `size` of the columns is filled.

    The writer fills rows beyond `size` and then raises it, so a reader that takes `size` first sees whole samples.
    """

    seq_low: int
    slots: NDArray[np.int32]
    timestamps: Int64s
    values: Float64s
    seq_high: int = 0
    size: int = 0
    time_low: int = 1 << 62
    time_high: int = -(1 << 62)
    histograms: list[HistogramSample] = field(default_factory=list)
    since: int = 0
    """When the first batch was committed, by our clock (ms)."""

    def room(self) -> int:
        """Samples that still fit."""
        return len(self.slots) - self.size

    def append(self, seq: int, batch: Batch) -> None:
        """Take a committed batch that fits."""
        floats, begin = batch.floats, self.size
        end = begin + len(floats)
        self.slots[begin:end], self.timestamps[begin:end] = floats.series, floats.timestamps
        self.values[begin:end] = floats.values
        self.histograms += batch.histograms
        times = [sample.timestamp for sample in batch.histograms]
        if len(floats):
            times += [int(floats.timestamps.min()), int(floats.timestamps.max())]
        if times:
            self.time_low, self.time_high = min(self.time_low, *times), max(self.time_high, *times)
        self.seq_high, self.size = seq, end

    def overlaps(self, start: int, end: int) -> bool:
        """Whether it may hold samples of a window."""
        return self.time_low <= end and self.time_high >= start

    def floats(self) -> Floats:
        """Its samples, in order of arrival; `series` are slots."""
        size = self.size
        return Floats(self.slots[:size].astype(np.int64), self.timestamps[:size], self.values[:size])


class Recent:
    """The chunks in order of arrival. Changed on the writer thread; readers take `chunks()`."""

    def __init__(self) -> None:
        self._chunks: tuple[Chunk, ...] = ()
        self._open = False
        self.samples = 0

    def chunks(self) -> Sequence[Chunk]:
        """All chunks, oldest first."""
        return self._chunks

    def append(self, seq: int, batch: Batch, now: int) -> None:
        """Add a batch that has just been committed as `seq`."""
        need = len(batch.floats)
        if not self._open or self._chunks[-1].room() < need:
            size = max(need, CHUNK_SAMPLES)
            chunk = Chunk(seq, np.empty(size, np.int32), np.empty(size, np.int64), np.empty(size), since=now)
            self._chunks = (*self._chunks, chunk)
            self._open = True
        self._chunks[-1].append(seq, batch)
        self.samples += len(batch)

    def close(self) -> Sequence[Chunk]:
        """Let nothing more into the chunks there are, and answer them: they are about to be sealed."""
        self._open = False
        return self._chunks

    def drop(self, sealed: Sequence[Chunk]) -> None:
        """Forget chunks that are blocks now."""
        self._chunks = self._chunks[len(sealed) :]
        self.samples -= sum(chunk.size + len(chunk.histograms) for chunk in sealed)
        self._open = self._open and bool(self._chunks)
