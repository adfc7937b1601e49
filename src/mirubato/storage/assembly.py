"""Pieces of an answer -> one set of columns, series by series. Pure.

Each piece (a block, a chunk) is already in order of its series, so every run of samples has one place to be copied
to, and nothing is sorted unless samples came late. Sorting 4.7 M samples took 0.5 s of a query that now takes 0.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mirubato.model.samples import Float64s, Int64s

# Runs that can be copied together on average, from which on that is cheaper than to compute the place of each sample.
_STRETCH_MIN = 8

Column = TypeVar("Column", Int64s, Float64s)


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples in order of series: for each run whose it is (row of the answer, once in a piece) and how long."""

    owners: Int64s
    counts: Int64s
    timestamps: Int64s
    values: Float64s

    def within(self, start: int, end: int) -> "Piece":
        """What lies in a window (ms, both ends included)."""
        inside = (self.timestamps >= start) & (self.timestamps <= end)
        if inside.all():
            return self
        totals = np.append([0], np.cumsum(inside))
        ends = np.cumsum(self.counts)
        counts = totals[ends] - totals[ends - self.counts]
        some = counts > 0
        return Piece(self.owners[some], counts[some], self.timestamps[inside], self.values[inside])


@dataclass(frozen=True, slots=True)
class Assembled:
    """Samples of all rows: those of row `i` from `offsets[i]` to `offsets[i + 1]`, times rising and unique."""

    offsets: Int64s
    timestamps: Int64s
    values: Float64s


def assemble(pieces: Sequence[Piece], rows: int) -> Assembled:
    """Put pieces together, in the order in which they were written: of two samples at one time the later one stays."""
    totals = np.zeros(rows, np.int64)
    for piece in pieces:
        totals[piece.owners] += piece.counts
    offsets = np.append([0], np.cumsum(totals))
    timestamps, values = np.empty(offsets[-1], np.int64), np.empty(offsets[-1])
    filled = offsets[:-1].copy()
    for piece in pieces:
        begins = filled[piece.owners]
        _copy(piece, begins, timestamps, values)
        filled[piece.owners] += piece.counts
    rising = timestamps[1:] > timestamps[:-1]
    borders = offsets[1:-1]
    rising[borders[(borders > 0) & (borders < len(timestamps))] - 1] = True
    assembled = Assembled(offsets, timestamps, values)
    return assembled if rising.all() else _sorted(assembled, rows)


def _copy(piece: Piece, begins: Int64s, timestamps: Int64s, values: Float64s) -> None:
    """Copy each run to its place: equal runs at equal distances together, else sample by sample."""
    if not len(piece.counts):
        return
    stretches = _stretches(piece.counts, begins)
    if len(piece.counts) < _STRETCH_MIN * len(stretches):
        sources = np.cumsum(piece.counts) - piece.counts
        at = np.repeat(begins - sources, piece.counts) + np.arange(len(piece.timestamps))
        timestamps[at], values[at] = piece.timestamps, piece.values
        return
    source = 0
    for first, end in stretches:
        runs, length = end - first, int(piece.counts[first])
        stride = int(begins[first + 1] - begins[first]) if runs > 1 else length
        taken = slice(source, source + runs * length)
        begin = int(begins[first])
        _spread(timestamps, begin, runs, stride, length)[:] = piece.timestamps[taken].reshape(runs, length)
        _spread(values, begin, runs, stride, length)[:] = piece.values[taken].reshape(runs, length)
        source = taken.stop


def _stretches(counts: Int64s, begins: Int64s) -> list[tuple[int, int]]:
    """Runs (first, end) of one length whose places are at one distance."""
    distances = np.diff(begins)
    cut = (counts[1:] != counts[:-1]) | (distances <= 0)
    cut[1:] |= distances[1:] != distances[:-1]
    ends = [*(np.flatnonzero(cut) + 1).tolist(), len(counts)]
    return list(zip([0, *ends], ends, strict=False))


def _spread(column: Column, begin: int, runs: int, stride: int, length: int) -> Column:
    """A view of equal runs at equal distances: [runs, length]."""
    size = column.itemsize
    assert begin + (runs - 1) * stride + length <= len(column)
    return np.lib.stride_tricks.as_strided(column[begin:], (runs, length), (stride * size, size))


def _sorted(assembled: Assembled, rows: int) -> Assembled:
    """By row and time; of equal times the last."""
    owners = np.repeat(np.arange(rows), np.diff(assembled.offsets))
    order = np.lexsort((assembled.timestamps, owners))
    owners, times = owners[order], assembled.timestamps[order]
    last = np.append((owners[1:] != owners[:-1]) | (times[1:] != times[:-1]), True)
    counts = np.bincount(owners[last], minlength=rows)
    return Assembled(np.append([0], np.cumsum(counts)), times[last], assembled.values[order[last]])
