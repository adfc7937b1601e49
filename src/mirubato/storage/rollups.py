"""Rollups: what is kept of a series' samples of an hour or a day, and the bytes it takes. Pure.

A rollup tells only of its own bucket (first, last, and what a counter lost by resets in between), so rollups of one
bucket can be put together, in any order and more than once, and days can be made of hours. The change from the last
sample of the bucket before is known once the two stand side by side.

Native histograms are thinned instead: the first and the last sample of a bucket stay, and those around each reset.
Nothing of an increase is lost by that.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mirubato.limits import BLOCK_VALUES_MAX
from mirubato.model.histogram import Histogram, ResetHint
from mirubato.model.rollups import Borders, Use
from mirubato.model.samples import Float64s, HistogramSample, Int64s
from mirubato.storage import codec

Column = NDArray[Any]

_WHOLE = ("count", "first_time", "last_time")
_VALUES = ("sum", "min", "max", "first", "last", "lost")
COLUMNS: Final = (*_WHOLE, *_VALUES)
"""All that is kept, in the order in which it is on disk. Times are ms; `lost` is what resets took from a counter."""

NEEDED: Final[Mapping[Use, Collection[str]]] = {
    Use.SAMPLES: ("count",),
    Use.COUNT: ("count",),
    Use.SUM: ("sum",),
    Use.MIN: ("min",),
    Use.MAX: ("max",),
    Use.LAST: ("last_time", "last"),
    Use.INCREASE: ("first_time", "last_time", "first", "last", "lost"),
}
"""The columns that a use asks for."""


@dataclass(frozen=True, slots=True)
class Rollups:
    """Buckets of several series: whose each is (a row, an id), its end in ms, and its columns."""

    owners: Int64s
    ends: Int64s
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.owners)

    def take(self, rows: Column) -> "Rollups":
        """Some of them, by index or mask."""
        return Rollups(
            self.owners[rows], self.ends[rows], {name: column[rows] for name, column in self.columns.items()}
        )

    @property
    def increases(self) -> Float64s:
        """What each counter grew between the first and the last sample of its bucket."""
        columns = self.columns
        with np.errstate(invalid="ignore"):
            grown: Float64s = columns["last"] - columns["first"] + columns["lost"]
        return grown


def joined(parts: Sequence[Rollups], names: Collection[str] = COLUMNS) -> Rollups:
    """All of several, one after another."""
    if not parts:
        empty = np.empty(0, np.int64)
        return Rollups(empty, empty, {name: np.empty(0, np.int64 if name in _WHOLE else np.float64) for name in names})
    return Rollups(
        np.concatenate([part.owners for part in parts]),
        np.concatenate([part.ends for part in parts]),
        {name: np.concatenate([part.columns[name] for part in parts]) for name in names},
    )


def roll(owners: Int64s, times: Int64s, values: Float64s, borders: Borders) -> Rollups:
    """Rollups of samples in order of owner and time, no staleness marker among them."""
    if not len(times):
        return joined([])
    ends = borders.ends(times)
    new = np.append(True, (owners[1:] != owners[:-1]) | (ends[1:] != ends[:-1]))
    begins = np.flatnonzero(new)
    lasts = np.append(begins[1:], len(times)) - 1
    before = np.append(0.0, values[:-1])
    with np.errstate(invalid="ignore", over="ignore"):
        lost = np.where(~new & (values < before), before, 0.0)
        columns: dict[str, Column] = {
            "count": lasts - begins + 1,
            "first_time": times[begins],
            "last_time": times[lasts],
            "sum": np.add.reduceat(values, begins),
            "min": np.fmin.reduceat(values, begins),
            "max": np.fmax.reduceat(values, begins),
            "first": values[begins],
            "last": values[lasts],
            "lost": np.add.reduceat(lost, begins),
        }
    return Rollups(owners[begins], ends[begins], columns)


def fold(rollups: Rollups, borders: Borders) -> Rollups:
    """One rollup for each owner and bucket, in order; a bucket is an hour or a day as the borders say."""
    ends = borders.ends(rollups.ends)
    owners = rollups.owners
    rising = (owners[1:] > owners[:-1]) | ((owners[1:] == owners[:-1]) & (ends[1:] > ends[:-1]))
    if rising.all():
        return Rollups(owners, ends, rollups.columns)
    columns = rollups.columns
    inner = columns.get("first_time", columns.get("last_time", ends))
    order = np.lexsort((inner, ends, owners))
    whole = Rollups(owners, ends, columns).take(order)
    new = np.append(True, (whole.owners[1:] != whole.owners[:-1]) | (whole.ends[1:] != whole.ends[:-1]))
    begins = np.flatnonzero(new)
    return Rollups(whole.owners[begins], whole.ends[begins], _folded(whole.columns, new, begins))


def _folded(columns: Mapping[str, Column], new: NDArray[np.bool_], begins: Int64s) -> dict[str, Column]:
    found: dict[str, Column] = {}
    with np.errstate(invalid="ignore", over="ignore"):
        for name, column in columns.items():
            if name in ("first", "first_time"):
                found[name] = column[begins]
            elif name in ("last", "last_time"):
                found[name] = column[_latest(columns["last_time"], new)]
            elif name == "lost":
                found[name] = np.add.reduceat(column + _lost_between(columns, new), begins)
            else:
                reduction = {"min": np.fmin, "max": np.fmax}.get(name, np.add)
                found[name] = reduction.reduceat(column, begins)
    return found


def _latest(times: Int64s, new: NDArray[np.bool_]) -> Int64s:
    """The row of each group with the latest time."""
    groups = np.cumsum(new) - 1
    order = np.lexsort((times, groups))
    latest: Int64s = order[np.append(np.flatnonzero(new)[1:], len(times)) - 1]
    return latest


def _lost_between(columns: Mapping[str, Column], new: NDArray[np.bool_]) -> Float64s:
    """What a counter lost between one part of a bucket and the next; parts that overlap in time tell nothing of it."""
    before = np.append(0.0, columns["last"][:-1])
    apart = columns["first_time"] > np.append(0, columns["last_time"][:-1])
    return np.where(~new & apart & (columns["first"] < before), before, 0.0)


def points(rollups: Rollups, use: Use) -> tuple[Int64s, Int64s, Float64s]:
    """(owners, times, values) of what stands for the samples of each bucket (`model.rollups.Rolled`)."""
    columns = rollups.columns
    if use is Use.LAST:
        return rollups.owners, columns["last_time"], columns["last"]
    if use is not Use.INCREASE:
        name = "count" if use is Use.SAMPLES else use.name.lower()
        return rollups.owners, rollups.ends, columns[name].astype(np.float64)
    return _counter_points(rollups)


def _counter_points(rollups: Rollups) -> tuple[Int64s, Int64s, Float64s]:
    """The first and the last sample of each bucket, and where it lost something, one reset that loses as much."""
    columns = rollups.columns
    several = columns["last_time"] > columns["first_time"]
    reset = several & (columns["lost"] != 0)
    counts = 1 + several.astype(np.int64) + 2 * reset
    owners = np.repeat(rollups.owners, counts)
    at = np.cumsum(counts) - counts
    times, values = np.repeat(columns["first_time"], counts), np.repeat(columns["first"], counts)
    last = at + counts - 1
    times[last], values[last] = columns["last_time"], np.where(several, columns["last"], columns["first"])
    times[at[reset] + 2] = columns["last_time"][reset]
    values[at[reset] + 1], values[at[reset] + 2] = columns["lost"][reset], 0.0
    return owners, times, values


# --- bytes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RollupBlock:
    """Rollups of one metric as they are on disk."""

    time_low: int
    time_high: int
    """The first and the last end of a bucket."""
    buckets: int
    series: bytes
    timestamps: bytes
    content: bytes


def build(rollups: Rollups) -> Iterator[RollupBlock]:
    """Blocks of rollups that are in order, about BLOCK_VALUES_MAX buckets each; owners are ids."""
    ids, counts = np.unique(rollups.owners, return_counts=True)
    ends = np.cumsum(counts)
    first = 0
    while first < len(ids):
        begin = int(ends[first] - counts[first])
        last = first + max(1, int(np.searchsorted(ends[first:], begin + BLOCK_VALUES_MAX, side="right")))
        part = rollups.take(np.arange(begin, int(ends[last - 1])))
        yield _encoded(part, ids[first:last], counts[first:last])
        first = last


def _encoded(part: Rollups, ids: Int64s, counts: Int64s) -> RollupBlock:
    one = np.array([len(ids)])
    columns = dict(part.columns)
    for name in ("first_time", "last_time"):  # within a bucket they are nearly the same from one to the next
        columns[name] = part.ends - columns[name]
    content = [codec.encode_whole(columns[name].astype(np.int64), counts) for name in _WHOLE]
    content += [codec.encode_values(columns[name], counts) for name in _VALUES]
    return RollupBlock(
        time_low=int(part.ends.min()),
        time_high=int(part.ends.max()),
        buckets=len(part),
        series=codec.pack([codec.encode_whole(ids, one), codec.encode_whole(counts, one)]),
        timestamps=codec.encode_times(part.ends, counts),
        content=codec.pack(content),
    )


def decode(ids: Int64s, counts: Int64s, timestamps: bytes, content: bytes, names: Collection[str] = COLUMNS) -> Rollups:
    """What `build` was given, or some of its columns; `ids` and `counts` are of the block's series."""
    ends = codec.decode_times(timestamps, counts)
    parts = dict(zip(COLUMNS, codec.unpack(content), strict=True))
    columns: dict[str, Column] = {}
    for name in names:
        if name in _VALUES:
            columns[name] = codec.decode_values(parts[name], counts)
        else:
            numbers = codec.decode_whole(parts[name], counts)
            columns[name] = numbers if name == "count" else ends - numbers
    return Rollups(np.repeat(ids, counts), ends, columns)


# --- native histograms ------------------------------------------------------------------------------------------------


def thin(samples: Sequence[HistogramSample], borders: Borders) -> list[HistogramSample]:
    """Of samples in order of series and time those that a bucket keeps."""
    live = [sample for sample in samples if not sample.stale]
    ends = borders.ends(np.array([sample.timestamp for sample in live], np.int64)).tolist()
    kept: list[HistogramSample] = []
    for _, group in groupby(zip(live, ends, strict=True), key=lambda item: (item[0].series, item[1])):
        kept += _thinned([sample for sample, _ in group])
    return kept


def _thinned(samples: Sequence[HistogramSample]) -> Iterator[HistogramSample]:
    wanted = {0, len(samples) - 1}
    for index, (before, after) in enumerate(pairwise(samples), 1):
        if _may_be_reset(before.histogram, after.histogram):
            wanted |= {index - 1, index}
    return (samples[index] for index in sorted(wanted))


def _may_be_reset(before: Histogram, after: Histogram) -> bool:
    """Whether a counter may have been reset in between: never no where it was."""
    if after.hint is ResetHint.GAUGE:
        return False
    if after.hint is ResetHint.RESET or before.layout != after.layout:
        return True
    if after.count < before.count or after.zero_count < before.zero_count:
        return True
    for old, new in ((before.positive, after.positive), (before.negative, after.negative)):
        low, high = min(old.offset, new.offset), max(old.end, new.end)
        if (new.spread(low, high) < old.spread(low, high)).any():
            return True
    return False
