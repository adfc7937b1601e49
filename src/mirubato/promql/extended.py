"""`anchored` and `smoothed` selectors: ranges with a value at their very edges.

Anchored takes the last sample before a range as its beginning; smoothed draws a line between the samples around each
edge. Source: prometheus, promql/engine.go (extendFloats, smoothSeries) and functions.go (extendedRate).
"""

from dataclasses import dataclass

import numpy as np

from mirubato.errors import QueryError
from mirubato.model.samples import Float64s, Int64s
from mirubato.promql.range_functions import Answer, FloatFunction, Range, counted, drop_sums
from mirubato.promql.values import Bools
from mirubato.promql.windows import Chunk, Columns, RangeVector, search

_ANCHORED = ("changes", "delta", "increase", "rate", "resets")
_SMOOTHED = ("delta", "increase", "rate")


def check(name: str, vector: RangeVector) -> None:
    """QueryError for a function that does not take an anchored or smoothed range."""
    kind, allowed = ("smoothed", _SMOOTHED) if vector.smoothed else ("anchored", _ANCHORED)
    if name not in allowed:
        raise QueryError(f"{kind} modifier can only be used with: {', '.join(allowed)} - not with {name}")


def function_of(name: str, range_: Range) -> FloatFunction:
    """The function of an anchored or smoothed range."""
    if name in ("changes", "resets"):
        return _counted_from_anchor(range_, resets=name == "resets")
    unit_s = range_.vector.range_ms / 1000 if name == "rate" else 1.0
    return _change(range_, counter=name != "delta", unit_s=unit_s)


@dataclass(frozen=True, slots=True)
class _Edges:
    """For each run and step how many samples of a row are at or before the range's start, and before its end."""

    before_start: Int64s
    before_end: Int64s


def _edges(range_: Range) -> _Edges:
    vector = range_.vector
    far = np.full_like(vector.starts, -1)
    at_start = search(vector.columns, far, vector.starts).high
    return _Edges(at_start, search(vector.columns, far, vector.ends - 1).high)


def _change(range_: Range, *, counter: bool, unit_s: float) -> FloatFunction:
    """The change between the edges of a range, what counters lost added."""
    edges, vector = _edges(range_), range_.vector
    drops = drop_sums(range_.windows) if counter else None
    values, times = vector.columns.values, vector.columns.timestamps

    def answer(chunk: Chunk, _: Range) -> Answer:
        begins = vector.columns.offsets[:-1][chunk.rows, None]
        some = chunk.high > chunk.low
        last = np.where(some, chunk.high - 1, 0)
        first = np.minimum(begins + edges.before_start[chunk.runs], last) - 1
        first = np.where(some, np.maximum(first, chunk.low), 0)
        if vector.smoothed:
            last = np.where(some, np.minimum(begins + edges.before_end[chunk.runs], last), 0)
        some &= times[last] > vector.starts
        if vector.smoothed:
            some &= times[first] <= vector.ends
        first, last = np.where(some, first, 0), np.where(some, last, 0)
        left, right = values[first], values[last]
        if vector.smoothed:
            lefts = some & (times[first] < vector.starts)
            left = _between(vector.columns, first, vector.starts, lefts, left, counter=counter)
            rights = some & (times[last] > vector.ends) & (last > chunk.low)
            right = _between(vector.columns, last - 1, vector.ends, rights, right, counter=counter)
        result = right - left
        if drops is not None:
            inner = (first + (times[first] <= vector.starts), last - (times[last] >= vector.ends))
            result += _lost(values, drops(inner[0], inner[1] + 1), left, right, inner)
        return result / unit_s, some

    return answer


def _between(
    columns: Columns, before: Int64s, at: Int64s, where: Bools, otherwise: Float64s, *, counter: bool
) -> Float64s:
    """The value at a time between a sample and the next; a counter that fell began at 0."""
    safe = np.where(where, before, 0)
    after = np.minimum(safe + 1, len(columns.values) - 1)
    old, new = columns.values[safe], columns.values[after]
    if counter:
        old = np.where(new < old, 0.0, old)
    passed, apart = at - columns.timestamps[safe], columns.timestamps[after] - columns.timestamps[safe]
    value = old + (new - old) * passed / np.where(apart == 0, 1, apart)
    return np.where(where, value, otherwise)


def _lost(
    values: Float64s, within: Float64s, left: Float64s, right: Float64s, inner: tuple[Int64s, Int64s]
) -> Float64s:
    """What a counter lost: between the left edge, the samples within, and the right edge."""
    first, last = inner
    some = first <= last
    top = len(values) - 1
    head, tail = values[np.clip(first, 0, top)], values[np.clip(last, 0, top)]
    at_left = np.where(some & (head < left), left, 0.0)
    previous = np.where(some, tail, left)
    return np.where(some, within, 0.0) + at_left + np.where(right < previous, previous, 0.0)


def _counted_from_anchor(range_: Range, *, resets: bool) -> FloatFunction:
    edges, vector = _edges(range_), range_.vector
    hits = counted(range_.windows, resets=resets)

    def answer(chunk: Chunk, _: Range) -> Answer:
        begins = vector.columns.offsets[:-1][chunk.rows, None]
        after = begins + edges.before_start[chunk.runs]
        some = chunk.high > np.maximum(after, chunk.low)
        first = np.maximum(after - 1, chunk.low)
        return hits(np.where(some, first, 0), np.where(some, chunk.high, 0)), some

    return answer


def points(vector: RangeVector, row: int) -> tuple[Int64s, Float64s]:
    """The samples of one row at the first step, with values at both edges (ms): none if nothing is known there."""
    start, end = int(vector.starts[0]), int(vector.ends[0])
    own = slice(vector.columns.offsets[row], vector.columns.offsets[row + 1])
    times, values = vector.columns.timestamps[own], vector.columns.values[own]
    reach = (times > start - vector.before_ms) & (times <= end + vector.after_ms)
    times, values = times[reach], values[reach]
    if not len(times) or times[-1] <= start:
        return times[:0], values[:0]
    before, after = times <= start, times >= end
    inside = ~before & ~after
    first, last = _edge_values(times, values, (start, end), smoothed=vector.smoothed)
    return np.concatenate([[start], times[inside], [end]]), np.concatenate([[first], values[inside], [last]])


def _edge_values(times: Int64s, values: Float64s, edges: tuple[int, int], *, smoothed: bool) -> tuple[float, float]:
    """The values at both edges of a range; `times` begin before its end and end after its start."""
    start, end = edges
    if smoothed:
        first, last = np.interp([start, end], times, values).tolist()
        return first, last
    at = max(int(np.searchsorted(times, start, side="right")) - 1, 0)
    return float(values[at]), float(values[-1])


def smoothed(columns: Columns, times: Int64s, lookback: int) -> tuple[Float64s, Bools]:
    """The value of each series at each time (ms), on the line between the samples around it within the look-back.

    After the last sample its value counts on; before the first there is none.
    """
    windows = search(columns, times - lookback, times + lookback)
    before = search(columns, np.full_like(times, -1), times - 1).high
    shape = (len(columns.offsets) - 1, len(times))
    values, present = np.zeros(shape), np.zeros(shape, np.bool_)
    if not len(columns.values):
        return values, present
    for chunk in windows.chunks():
        at = columns.offsets[:-1][chunk.rows, None] + before[chunk.runs]
        at = np.clip(at, chunk.low, chunk.high)
        follows, precedes = at < chunk.high, at > chunk.low
        here = np.minimum(at, len(columns.values) - 1)
        exact = follows & (columns.timestamps[here] == times)
        both = ~exact & follows & precedes
        carried = np.where(exact, columns.values[here], columns.values[np.maximum(at - 1, 0)])
        values[chunk.rows] = _between(columns, at - 1, times, both, carried, counter=False)
        present[chunk.rows] = exact | precedes
    return values, present
