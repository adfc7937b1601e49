"""Blocks: samples of one metric over one stretch of time, sorted by series and time, compressed. Pure."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mirubato.limits import BLOCK_VALUES_MAX
from mirubato.model.samples import Float64s, HistogramSample, Int64s, Kind
from mirubato.storage import codec


class DamagedBlock(Exception):
    """The bytes of a block are not those that were written; `id` is its row."""

    def __init__(self, id_: int, text: str) -> None:
        super().__init__(text)
        self.id = id_


def checksum(*parts: bytes) -> int:
    """CRC-32 of a block's columns, one after another: 1 GB/s, where decoding them takes three times as long."""
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    return found


@dataclass(frozen=True, slots=True)
class Block:
    """One block as it is on disk, but for its place among the batches (`seq`)."""

    kind: Kind
    name: int
    """The number of the pair (`__name__`, metric)."""
    time_low: int
    time_high: int
    samples: int
    series: bytes
    """Ids, rising, and how many samples each has."""
    timestamps: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class Grouped:
    """Samples by metric and series: rows of the input in order of arrival within each, and what each series is."""

    rows: Int64s
    ids: Int64s
    names: Int64s
    counts: Int64s


def group_samples(series: Int64s, ids: Int64s, names: Int64s) -> Grouped:
    """Bring the samples of each series together; `series` are indexes into `ids` and `names`."""
    counts = np.bincount(series)
    present = np.flatnonzero(counts)
    order = present[np.lexsort((ids[present], names[present]))]
    rank = np.empty(len(counts), np.int64)
    rank[order] = np.arange(len(order))
    return Grouped(stable_order(rank[series]), ids[order], names[order], counts[order])


def stable_order(ranks: Int64s) -> Int64s:
    """A stable argsort of numbers below 2^32, by 16 bits at a time: numpy sorts those by radix, 0.016 us a number;
    a stable sort of 64-bit numbers takes 0.06."""
    order = np.argsort(ranks.astype(np.uint16), kind="stable")
    if len(ranks) and int(ranks.max()) > 0xFFFF:
        order = order[np.argsort((ranks[order] >> 16).astype(np.uint16), kind="stable")]
    return order


def build_blocks(series: Int64s, timestamps: Int64s, values: Float64s, ids: Int64s, names: Int64s) -> list[Block]:
    """Blocks of float samples in order of arrival; see `group_samples` for `series`, `ids` and `names`."""
    blocks = []
    for cut in _cuts(group_samples(series, ids, names)):
        rows, counts = _by_time(cut.rows, cut.counts, timestamps)
        content = codec.encode_values(values[rows], counts)
        blocks.append(_block(Kind.FLOAT, cut, timestamps[rows], counts, content))
    return blocks


def build_histogram_blocks(samples: Sequence[HistogramSample], ids: Int64s, names: Int64s) -> list[Block]:
    """Blocks of native histograms."""
    series = np.array([sample.series for sample in samples], np.int64)
    timestamps = np.array([sample.timestamp for sample in samples], np.int64)
    blocks = []
    for cut in _cuts(group_samples(series, ids, names)):
        rows, counts = _by_time(cut.rows, cut.counts, timestamps)
        content = codec.encode_histograms([samples[row] for row in rows.tolist()])
        blocks.append(_block(Kind.HISTOGRAM, cut, timestamps[rows], counts, content))
    return blocks


@dataclass(frozen=True, slots=True)
class _Cut:
    """What one block will hold: rows of the input, series after series."""

    name: int
    rows: Int64s
    ids: Int64s
    counts: Int64s


def _by_time(rows: Int64s, counts: Int64s, timestamps: Int64s) -> tuple[Int64s, Int64s]:
    """Rows and counts with times rising within each series; of two samples at one time the later write stays.

    Nearly all series come in order, and then nothing is sorted.
    """
    times = timestamps[rows]
    owners = np.repeat(np.arange(len(counts)), counts)
    if not ((np.diff(times) <= 0) & (np.diff(owners) == 0)).any():
        return rows, counts
    order = np.lexsort((rows, times, owners))
    times, owners = times[order], owners[order]
    last = np.append((np.diff(times) != 0) | (np.diff(owners) != 0), True)
    return rows[order][last], np.bincount(owners[last], minlength=len(counts))


def _block(kind: Kind, cut: _Cut, timestamps: Int64s, counts: Int64s, content: bytes) -> Block:
    one = np.array([len(cut.ids)])
    return Block(
        kind=kind,
        name=cut.name,
        time_low=int(timestamps.min()),
        time_high=int(timestamps.max()),
        samples=len(timestamps),
        series=codec.pack([codec.encode_whole(cut.ids, one), codec.encode_whole(counts, one)]),
        timestamps=codec.encode_times(timestamps, counts),
        content=content,
    )


def _cuts(grouped: Grouped) -> Iterator[_Cut]:
    """One metric, about BLOCK_VALUES_MAX values each: cut between series, or inside one that alone is larger."""
    ends = np.cumsum(grouped.counts)
    metric_ends = np.flatnonzero(np.append(np.diff(grouped.names) != 0, len(ends) > 0)) + 1
    first = 0
    for metric_end in metric_ends.tolist():
        while first < metric_end:
            begin = int(ends[first] - grouped.counts[first])
            end = first + max(1, int(np.searchsorted(ends[first:metric_end], begin + BLOCK_VALUES_MAX, side="right")))
            rows = grouped.rows[begin : int(ends[end - 1])]
            cut = _Cut(int(grouped.names[first]), rows, grouped.ids[first:end], grouped.counts[first:end])
            yield from [cut] if len(rows) <= BLOCK_VALUES_MAX else _slices(cut)
            first = end


def _slices(cut: _Cut) -> Iterator[_Cut]:
    """A single series that is larger than a block, in pieces in order of arrival: blocks may overlap in time."""
    for low in range(0, len(cut.rows), BLOCK_VALUES_MAX):
        rows = cut.rows[low : low + BLOCK_VALUES_MAX]
        yield _Cut(cut.name, rows, cut.ids, np.array([len(rows)]))


def decode_series(data: bytes) -> tuple[Int64s, Int64s]:
    """(ids, counts) of a block."""
    ids, counts = codec.unpack(data)
    size = _size_of(ids)
    return codec.decode_whole(ids, size), codec.decode_whole(counts, size)


def _size_of(encoded: bytes) -> Int64s:
    return np.array([codec.length_of(encoded)])


def check(id_: int, known: int | None, *parts: bytes) -> None:
    """DamagedBlock if the checksum is another; blocks of format 1 have none."""
    if known is not None and checksum(*parts) != known:
        raise DamagedBlock(id_, "its checksum is wrong")


@dataclass(frozen=True, slots=True)
class Decoded:
    """The samples of a block, series after series; `values` of floats, or `histograms`, whose series are ids too."""

    owners: Int64s
    """The id of each sample's series."""
    timestamps: Int64s
    values: Float64s
    histograms: Sequence[HistogramSample] = ()


def read_block(kind: Kind, id_: int, series: bytes, timestamps: bytes, content: bytes, known: int | None) -> Decoded:
    """All of a block; DamagedBlock if it cannot be read or its checksum is another than `known`."""
    check(id_, known, series, timestamps, content)
    try:
        ids, counts = decode_series(series)
        owners, times = np.repeat(ids, counts), codec.decode_times(timestamps, counts)
        if kind is Kind.HISTOGRAM:
            histograms = codec.decode_histograms(content, owners.tolist(), times.tolist())
            return Decoded(owners, times, np.empty(0), histograms)
        return Decoded(owners, times, codec.decode_values(content, counts))
    except Exception as error:  # a block without a checksum: what its bytes break is not for us to say
        raise DamagedBlock(id_, f"it cannot be decoded: {error!r}") from error
