"""What expressions evaluate to: a value for each series and each step at once, in one set of columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirubato.errors import BadQuery, QueryError
from mirubato.limits import LOOKBACK_MS, STEPS_MAX
from mirubato.model.histogram import Histogram
from mirubato.model.labels import NAME, Labels
from mirubato.model.samples import Float64s, Int64s

Bools = NDArray[np.bool_]
Histograms = NDArray[Any]
"""An array of `Histogram` or None."""

# What `rate` and others take away: the name, and what belongs to it (prometheus, model/labels, schema.IsMetadataLabel).
METADATA_LABELS = frozenset((NAME, "__type__", "__unit__"))
_METADATA_LAST = max(METADATA_LABELS)


@dataclass(frozen=True, slots=True)
class Steps:
    """The times of a query: from `start` to `end` (ms), every `step` ms; a sample counts for `lookback` ms."""

    start: int
    end: int
    step: int
    lookback: int = LOOKBACK_MS

    def __post_init__(self) -> None:
        if self.step <= 0:
            raise BadQuery("zero or negative query resolution step widths are not accepted. Try a positive integer")
        if self.end < self.start:
            raise BadQuery("end timestamp must not be before start time")

    def __len__(self) -> int:
        return (self.end - self.start) // self.step + 1

    def times(self) -> Int64s:
        """All times, rising."""
        return np.arange(self.start, self.end + 1, self.step).astype(np.int64)

    def check_resolution(self) -> None:
        """BadQuery if a range query has more steps than a chart could show."""
        if (self.end - self.start) // self.step > STEPS_MAX:
            raise BadQuery(
                "exceeded maximum resolution of 11,000 points per timeseries."
                " Try decreasing the query resolution (?step=XX)"
            )


@dataclass(slots=True)
class Vector:
    """An instant vector at each step: one row for each series.

    `values` and `present` are [rows, steps]; a cell holds a float where `present`, a native histogram where
    `histograms` (None if no row has any) is not None, nothing elsewhere.
    """

    labels: Sequence[Labels]
    values: Float64s
    present: Bools
    histograms: Histograms | None = None
    one_name: bool = False
    """Whether all rows have the same metric name or none, so that they differ without it too."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def native(self) -> Bools:
        """Where there is a histogram."""
        if self.histograms is None:
            return np.zeros(self.present.shape, np.bool_)
        return has_histogram(self.histograms)

    @property
    def filled(self) -> Bools:
        """Where there is a float or a histogram."""
        filled: Bools = self.present if self.histograms is None else self.present | self.native
        return filled

    def take(self, rows: Any) -> "Vector":
        """Some of the rows, by index or mask."""
        indexes = np.arange(len(self))[rows].tolist()
        histograms = None if self.histograms is None else self.histograms[rows]
        labels = [self.labels[row] for row in indexes]
        return Vector(labels, self.values[rows], self.present[rows], histograms, self.one_name)

    def only(self, keep: Bools) -> "Vector":
        """The cells of a mask; rows without any are left out."""
        kept = replace(self, present=self.present & keep)
        if self.histograms is not None:
            kept.histograms = self.histograms.copy()
            kept.histograms[~keep] = None
        return kept.compact()

    def compact(self) -> "Vector":
        """Without the rows that have nothing at any step."""
        full = self.filled.any(axis=1)
        return self if full.all() else self.take(full)

    def floats(self) -> "Vector":
        """Without histograms."""
        return self if self.histograms is None else replace(self, histograms=None)

    def unnamed(self, *, strictly: bool = False) -> "Vector":
        """Without the metric name; QueryError where two series then are one at a step (strictly: at all)."""
        vector = replace(self, labels=[without_name(labels) for labels in self.labels], one_name=True)
        if self.one_name:
            return vector
        if strictly and len(set(vector.labels)) < len(vector):
            raise QueryError("vector cannot contain metrics with the same labelset")
        return merged(vector)


Value = Vector | Float64s | str
"""An instant vector, a scalar at each step, or a string."""


def has_histogram(cells: Histograms) -> Bools:
    """Which cells of an object array are not None."""
    flat = [cell is not None for cell in cells.ravel().tolist()]
    return np.array(flat, np.bool_).reshape(cells.shape)


def empty_vector(steps: int) -> Vector:
    """No series."""
    return Vector([], np.empty((0, steps)), np.empty((0, steps), np.bool_))


def no_histograms(shape: tuple[int, ...]) -> Histograms:
    """All None."""
    return np.full(shape, None, object)


def without_name(labels: Labels) -> Labels:
    """Labels without the metric name."""
    # Only names that begin with a capital or a digit sort before it, only those that begin alike right after it.
    if labels and labels[0][0] == NAME and (len(labels) == 1 or labels[1][0] > _METADATA_LAST):
        return labels[1:]
    return tuple([pair for pair in labels if pair[0] not in METADATA_LABELS])


def merged(vector: Vector) -> Vector:
    """Rows with equal labels made one; QueryError where two of them have something at one step."""
    if len(set(vector.labels)) == len(vector):
        return vector
    rows: dict[Labels, int] = {}
    owners = np.array([rows.setdefault(labels, len(rows)) for labels in vector.labels], np.int64)
    filled = vector.filled
    counts = np.zeros((len(rows), filled.shape[1]), np.int64)
    np.add.at(counts, owners, filled)
    if (counts > 1).any():
        raise QueryError("vector cannot contain metrics with the same labelset")
    return _scattered(vector, list(rows), owners)


def _scattered(vector: Vector, labels: Sequence[Labels], owners: Int64s) -> Vector:
    """The cells of each row written into the row of its owner."""
    shape = (len(labels), vector.values.shape[1])
    values, present = np.zeros(shape), np.zeros(shape, np.bool_)
    histograms = None if vector.histograms is None else no_histograms(shape)
    native = vector.native
    for row, owner in enumerate(owners.tolist()):
        at = vector.present[row]
        values[owner, at] = vector.values[row, at]
        present[owner] |= at
        if histograms is not None and vector.histograms is not None:
            histograms[owner, native[row]] = vector.histograms[row, native[row]]
    return Vector(labels, values, present, histograms)


def stacked(vectors: Iterable[Vector], steps: int) -> Vector:
    """All rows of several vectors, one after another."""
    parts = [vector for vector in vectors if len(vector)]
    if not parts:
        return empty_vector(steps)
    histograms = None
    if any(part.histograms is not None for part in parts):
        rows = [part.histograms if part.histograms is not None else no_histograms(part.present.shape) for part in parts]
        histograms = np.concatenate(rows)
    return Vector(
        [labels for part in parts for labels in part.labels],
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.present for part in parts]),
        histograms,
    )


@dataclass(frozen=True, slots=True)
class Points:
    """One series of an answer: times in ms and the value at each, and the same for native histograms."""

    labels: Labels
    times: Sequence[int] = ()
    values: Sequence[float] = ()
    histogram_times: Sequence[int] = ()
    histograms: Sequence[Histogram] = ()
