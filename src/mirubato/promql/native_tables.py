"""Native histograms of one layout as rows of one array, so that many are added, compared and made at once."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mirubato.limits import NATIVE_BUCKETS_MAX
from mirubato.model.histogram import (
    CUSTOM_SCHEMA,
    NO_BUCKETS,
    Buckets,
    Histogram,
    Layout,
    ResetHint,
    exponential_bounds,
)
from mirubato.model.samples import Float64s, Int64s

COUNT, SUM, ZERO_COUNT, FIRST_BUCKET = 0, 1, 2, 3
"""Columns of a table: these three, the buckets of the negative side, those of the positive side."""


@dataclass(frozen=True, slots=True)
class Table:
    """Histograms of one layout, one in each row; [histograms, columns]."""

    layout: Layout
    negative: int
    """Index of the first bucket of the negative side."""
    positive: int
    """Index of the first bucket of the positive side, which is in column `middle`."""
    middle: int
    rows: Float64s

    @classmethod
    def of(cls, histograms: Sequence[Histogram]) -> "Table | None":
        """Some histograms; None if they are not of one layout, are too far apart, or are not well made.

        A bucket within the zero bucket counts or does not, depending on which histogram is added to which.
        """
        layout = histograms[0].layout
        if any(one.layout != layout for one in histograms):
            return None
        table = cls.over(histograms, widest=NATIVE_BUCKETS_MAX)
        return None if table is None or table.odd else table

    @classmethod
    def over(cls, histograms: Sequence[Histogram], widest: float = math.inf) -> "Table | None":
        """Some histograms of one layout; None if that takes more than `widest` buckets."""
        negative, positive = _range(one.negative for one in histograms), _range(one.positive for one in histograms)
        if len(negative) + len(positive) > widest:
            return None
        middle = FIRST_BUCKET + len(negative)
        rows = np.zeros((len(histograms), middle + len(positive)))
        table = cls(histograms[0].layout, negative.start, positive.start, middle, rows)
        for row, one in zip(rows, histograms, strict=True):
            table.write(one, row)
        return table

    @property
    def odd(self) -> bool:
        """Whether there are buckets within the zero bucket."""
        schema, threshold, _ = self.layout
        if schema == CUSTOM_SCHEMA or not threshold:
            return False
        sides = (self.negative, self.middle - FIRST_BUCKET), (self.positive, self.rows.shape[1] - self.middle)
        ends = exponential_bounds(np.array([first + 1 for first, size in sides if size], np.int64), schema)
        return bool((ends <= threshold).any())

    def write(self, histogram: Histogram, row: Float64s) -> None:
        """Make a row of zeros one of this histogram."""
        row[COUNT], row[SUM], row[ZERO_COUNT] = histogram.count, histogram.sum, histogram.zero_count
        side = histogram.negative
        begin = FIRST_BUCKET + side.offset - self.negative
        row[begin : begin + len(side)] = side.counts
        side = histogram.positive
        begin = self.middle + side.offset - self.positive
        row[begin : begin + len(side)] = side.counts

    def histogram(self, row: Float64s, hint: ResetHint) -> Histogram:
        """A row of this or an equal shape as a histogram, without empty buckets at the ends."""
        return self.histograms(row[None], [hint])[0]

    def histograms(self, rows: Float64s, hints: Iterable[ResetHint]) -> list[Histogram]:
        """Rows of an equal shape as histograms, without empty buckets at the ends; the rows are theirs from then on."""
        schema, threshold, bounds = self.layout
        negative = _sides(rows[:, FIRST_BUCKET : self.middle], self.negative)
        positive = _sides(rows[:, self.middle :], self.positive)
        scalars = rows[:, :FIRST_BUCKET].tolist()
        return [
            Histogram(count, total, zero_count, threshold, schema, right, left, hint, bounds)
            for (count, total, zero_count), left, right, hint in zip(scalars, negative, positive, hints, strict=True)
        ]


def _range(sides: Iterable[Buckets]) -> range:
    """The indexes of all buckets of some sides."""
    found = [(side.offset, side.end) for side in sides if len(side)]
    return range(min((low for low, _ in found), default=0), max((high for _, high in found), default=0))


def _sides(rows: Float64s, offset: int) -> list[Buckets]:
    """The buckets of each row, from the first to the last that is filled."""
    if not rows.shape[1]:
        return [NO_BUCKETS] * len(rows)
    filled = rows != 0
    first: Int64s = filled.argmax(axis=1)
    end: Int64s = np.where(filled.any(axis=1), rows.shape[1] - filled[:, ::-1].argmax(axis=1), 0)
    cuts = zip(rows, first.tolist(), end.tolist(), strict=True)
    return [Buckets(offset + low, row[low:high]) if high else NO_BUCKETS for row, low, high in cuts]
