"""Queries over what is only kept as rollups: which buckets a window takes, and what functions make of them.

A window that reaches back to rollups ends at the end of a bucket and begins at the end of another. A range shorter than
a bucket becomes as long as one. Of a longer range that begins within a bucket, that bucket counts in proportion.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import numpy as np

from mirubato.errors import QueryError
from mirubato.model.rollups import DAY_MS, HOUR_MS, Borders, Use
from mirubato.model.samples import Float64s, Int64s
from mirubato.promql.annotations import Annotations
from mirubato.promql.expressions import Span
from mirubato.promql.values import Bools, Histograms, Vector, has_histogram, no_histograms
from mirubato.promql.windows import RangeVector, RolledColumns

USES: Final[Mapping[str, Use]] = {
    "absent_over_time": Use.LAST,
    "avg_over_time": Use.SUM,
    "count_over_time": Use.COUNT,
    "increase": Use.INCREASE,
    "last_over_time": Use.LAST,
    "max_over_time": Use.MAX,
    "min_over_time": Use.MIN,
    "present_over_time": Use.LAST,
    "rate": Use.INCREASE,
    "sum_over_time": Use.SUM,
}
"""What functions of a range ask of rollups; all others have no answer there."""

Evaluate = Callable[[str, RangeVector, Bools], Vector]
"""A function (by name) of a range vector that has the windows of some steps (a mask over all steps)."""

_UNITS = ((DAY_MS, "d"), (HOUR_MS, "h"), (60_000, "m"), (1000, "s"), (1, "ms"))


@dataclass(frozen=True, slots=True)
class Edges:
    """The windows of all steps, ms: where they begin and end, left-open, and how they differ from what was asked."""

    touched: Bools
    """Whether a window reaches back to rollups; the others are as they were asked for."""
    starts: Int64s
    ends: Int64s
    ranges: Int64s
    """How long the range is that is answered for: the one asked for, or one bucket."""
    steps: Int64s
    """The length of the first bucket."""
    shares: Float64s
    """The part of the first bucket that lies before the range."""


def edges(borders: Borders, ends: Int64s, range_ms: int) -> Edges:
    """The windows that stand for those of a range."""
    touched = ends - range_ms < borders.raw
    unit = np.where(touched, borders.steps(ends), 0)
    ranges = np.maximum(unit, range_ms)
    ends = np.where(unit > 0, ends // np.maximum(unit, 1) * unit, ends)
    begins = ends - ranges
    steps = np.where(touched, borders.steps(begins + 1), 0)
    starts = np.where(steps > 0, begins // np.maximum(steps, 1) * steps, begins)
    shares = (begins - starts) / np.maximum(steps, 1)
    return Edges(touched, starts, ends, ranges, steps, shares)


def tell(notes: Annotations, edges_: Edges, borders: Borders, range_ms: int, span: Span) -> None:
    """Say that rollups were read, and what became of the range."""
    touched = edges_.touched
    units = sorted({*borders.steps(edges_.ends[touched]).tolist(), *edges_.steps[touched].tolist()} - {0})
    names = " and ".join({HOUR_MS: "hourly", DAY_MS: "daily"}[unit] for unit in units)
    text = f"samples up to {_moment(borders.raw)} are {names} rollups (MIRUBATO_RETENTION_RAW)"
    wider = [unit for unit in units if unit > range_ms]
    if wider:
        text += f": there {_duration(range_ms)} is widened to {' or '.join(map(_duration, wider))}"
    notes.warn(text, span)


def refuse(what: str, borders: Borders) -> QueryError:
    """The error of what needs each single sample."""
    return QueryError(
        f"{what} needs each sample, and those up to {_moment(borders.raw)} are only kept as rollups: take a later"
        " start, or one of rate, increase and avg, min, max, sum, count, last_over_time (MIRUBATO_RETENTION_RAW)"
    )


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _duration(ms: int) -> str:
    unit, name = next((unit, name) for unit, name in _UNITS if ms % unit == 0)
    return f"{ms // unit}{name}"


@dataclass(frozen=True, slots=True)
class Rollup:
    """A function of a range of which some windows reach back to rollups."""

    name: str
    vector: RangeVector
    """As it was asked for, with the samples that there are; its `rolled` are for the function's use."""
    counts: RolledColumns | None
    """For an average: how many samples each bucket stands for."""
    edges: Edges
    evaluate: Evaluate

    def value(self) -> Vector:
        """The function at all steps: of the samples themselves where it can be, of rollups elsewhere."""
        shape = (len(self.vector.labels), len(self.edges.ends))
        result = Vector(self.vector.labels, np.zeros(shape), np.zeros(shape, np.bool_), one_name=self.vector.one_name)
        if self.vector.native:
            result.histograms = no_histograms(shape)
        fresh = ~self.edges.touched
        if fresh.any():
            plain = replace(self.vector, starts=self.vector.starts[fresh], ends=self.vector.ends[fresh], rolled=None)
            _put(result, fresh, self.evaluate(self.name, plain, fresh))
        for step in (HOUR_MS, DAY_MS):
            some = self.edges.touched & (self.edges.steps == step)
            if some.any():
                _put(result, some, self._of_buckets(some, step))
        return result

    def _of_buckets(self, some: Bools, step: int) -> Vector:
        """At steps whose first bucket is of one length."""
        rolled = self.vector.rolled
        assert rolled is not None
        if self.name in ("rate", "increase"):
            return self._increase(rolled, some, step)
        if self.name == "avg_over_time":
            assert self.counts is not None
            totals = self._sum(rolled, some, step)
            counts = self._sum(self.counts, some, step)
            return replace(totals, values=totals.values / np.where(counts.values == 0, 1.0, counts.values))
        if self.name in ("sum_over_time", "count_over_time"):
            return self._sum(rolled, some, step)
        return self.evaluate(self.name, self._windows(rolled, some), some)

    def _windows(self, rolled: RolledColumns, some: Bools) -> RangeVector:
        starts, ends = self.edges.starts[some], self.edges.ends[some]
        return replace(self.vector, columns=rolled.columns, starts=starts, ends=ends, rolled=None)

    def _sum(self, rolled: RolledColumns, some: Bools, step: int) -> Vector:
        floats = replace(self._windows(rolled, some), native={})
        return self._in_proportion("sum_over_time", floats, some, step)

    def _increase(self, rolled: RolledColumns, some: Bools, step: int) -> Vector:
        """From the last sample before the window, if it is of the bucket before, to the last one within."""
        windows = self._windows(rolled, some)
        floats = replace(windows, native={}, anchored=True, before_ms=step)
        result = self._in_proportion("increase", floats, some, step)
        seconds = self.edges.ranges[some] / 1000
        if self.name == "rate":
            result = replace(result, values=result.values / seconds)
        if windows.native:
            found = self.evaluate("increase", windows, some)
            covered = (windows.ends - windows.starts) / 1000
            result.histograms = _scaled(found, (1.0 if self.name == "rate" else seconds) / covered)
        return result

    def _in_proportion(self, name: str, windows: RangeVector, some: Bools, step: int) -> Vector:
        """The function of whole buckets, without the part of the first one that lies before the range."""
        whole = self.evaluate(name, windows, some)
        shares = self.edges.shares[some]
        if shares.any():
            first = self.evaluate(name, replace(windows, ends=windows.starts + step), some)
            whole = replace(whole, values=whole.values - shares * np.where(first.present, first.values, 0.0))
        return whole


def _scaled(found: Vector, factors: Float64s) -> Histograms:
    histograms = no_histograms(found.present.shape)
    if found.histograms is not None:
        for row, at in np.argwhere(has_histogram(found.histograms)).tolist():
            histograms[row, at] = found.histograms[row, at].times(float(factors[at]))
    return histograms


def _put(result: Vector, some: Bools, part: Vector) -> None:
    result.values[:, some], result.present[:, some] = part.values, part.present
    if result.histograms is not None and part.histograms is not None:
        result.histograms[:, some] = part.histograms
