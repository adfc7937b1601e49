"""Columns <-> bytes. Pure; docs/DATA.md describes every byte.

Sealed columns go through pcodec. What is a whole number is stored as differences within its series, beginning with the
series' first value: without that cut, the jump from one series to the next costs more than all else (2.3 instead of
0.7 bytes a value for counters).
"""

import json
import math
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pcodec import ChunkConfig, DeltaSpec, ModeSpec
from pcodec.standalone import simple_compress, simple_decompress

from mirubato.model.histogram import Buckets, Histogram, ResetHint
from mirubato.model.labels import STALE_NAN, Labels, is_stale
from mirubato.model.samples import Float64s, Floats, HistogramSample, Int64s

_WHOLE, _FLOAT = 0, 1

# Timestamps that are not shared are one column of whole numbers: its two parts.
_UNSHARED_PARTS = 2

# Differences are small whole numbers: the plain mode needs no search for a better one (0.010 us a value; 0.02 with).
_DIFFERENCES = ChunkConfig(compression_level=6, delta_spec=DeltaSpec.no_op(), mode_spec=ModeSpec.classic())
_ANY = ChunkConfig(compression_level=8)

# Above this, float64 no longer holds every whole number.
_WHOLE_MAX = 2.0**53


def pack(parts: Sequence[bytes]) -> bytes:
    """Several byte strings as one: their number, their lengths, then they themselves."""
    return struct.pack(f"<{len(parts) + 1}I", len(parts), *map(len, parts)) + b"".join(parts)


def unpack(data: bytes) -> list[bytes]:
    """The byte strings that `pack` was given."""
    (count,) = struct.unpack_from("<I", data)
    parts, at = [], 4 * (count + 1)
    for length in struct.unpack_from(f"<{count}I", data, 4):
        parts.append(data[at : at + length])
        at += length
    assert at == len(data), (at, len(data))
    return parts


def encode_whole(numbers: Int64s, counts: Int64s) -> bytes:
    """Whole numbers, series after series: first values, then differences."""
    if not len(numbers):
        return pack([b"", b""])
    begins = np.cumsum(counts) - counts
    differences = np.diff(numbers, prepend=np.int64(0))
    differences[begins] = 0
    return pack([simple_compress(numbers[begins], _ANY), simple_compress(differences, _DIFFERENCES)])


def decode_whole(data: bytes, counts: Int64s) -> Int64s:
    """What `encode_whole` was given."""
    firsts, differences = unpack(data)
    if not firsts:
        return np.empty(0, np.int64)
    numbers = _whole(differences)
    begins = np.cumsum(counts) - counts
    # Running sums wrap around like the differences did, so they come out exact; each series starts from its first.
    sums = np.cumsum(numbers)
    base = _whole(firsts) - sums[begins]
    result: Int64s = sums + np.repeat(base, counts)
    return result


def encode_times(times: Int64s, counts: Int64s) -> bytes:
    """Timestamps, series after series; neighbours with the very same ones keep them once.

    What one process exports together has one set of timestamps: the twelve buckets of a histogram, all its series.
    """
    alike = _alike(times, counts)
    heads = np.flatnonzero(~alike)
    rows = np.repeat(~alike, counts)
    lengths = np.diff(np.append(heads, len(counts)))
    return pack([encode_whole(lengths, np.array([len(lengths)])), encode_whole(times[rows], counts[heads]), b""])


def _alike(times: Int64s, counts: Int64s) -> NDArray[np.bool_]:
    """Which series have the timestamps of the one before."""
    begins = np.cumsum(counts) - counts
    alike = np.zeros(len(counts), np.bool_)
    same = np.flatnonzero(counts[1:] == counts[:-1]) + 1
    sizes = counts[same]
    ends = np.cumsum(sizes)
    if not len(same):
        return alike
    at = np.arange(int(ends[-1])) + np.repeat(begins[same] - (ends - sizes), sizes)
    differs = times[at] != times[at - np.repeat(sizes, sizes)]
    alike[same] = ~np.logical_or.reduceat(differs, ends - sizes)
    return alike


def decode_times(data: bytes, counts: Int64s) -> Int64s:
    """What `encode_times` was given."""
    parts = unpack(data)
    if len(parts) == _UNSHARED_PARTS:
        return decode_whole(data, counts)
    lengths = decode_whole(parts[0], np.array([length_of(parts[0])]))
    heads = np.cumsum(lengths) - lengths
    sizes = counts[heads]
    once = decode_whole(parts[1], sizes)
    times = np.empty(int(counts.sum()), np.int64)
    begins, sources = (np.cumsum(counts) - counts)[heads].tolist(), (np.cumsum(sizes) - sizes).tolist()
    for begin, source, size, length in zip(begins, sources, sizes.tolist(), lengths.tolist(), strict=True):
        times[begin : begin + size * length].reshape(length, size)[:] = once[source : source + size]
    return times


def length_of(data: bytes) -> int:
    """How many numbers `encode_whole` was given."""
    differences = unpack(data)[1]
    return len(_whole(differences)) if differences else 0


def _whole(data: bytes) -> Int64s:
    numbers = simple_decompress(data)
    assert numbers.dtype == np.int64
    return np.asarray(numbers, np.int64)


def encode_values(values: Float64s, counts: Int64s) -> bytes:
    """float64 values, bit for bit: as whole numbers where all are, else as they are."""
    whole = _as_whole(values)
    if whole is not None:
        return bytes((_WHOLE,)) + encode_whole(whole, counts)
    return bytes((_FLOAT,)) + bytes(simple_compress(values, _ANY))


def decode_values(data: bytes, counts: Int64s) -> Float64s:
    """What `encode_values` was given."""
    if data[0] == _WHOLE:
        return decode_whole(data[1:], counts).astype(np.float64)
    values = simple_decompress(data[1:])
    assert values.dtype == np.float64
    return np.asarray(values, np.float64)


def _as_whole(values: Float64s) -> Int64s | None:
    """The same as int64, if nothing is lost: no fraction, no NaN, no minus zero."""
    if not len(values):
        return np.empty(0, np.int64)
    low, high = values.min(), values.max()
    if not (low > -_WHOLE_MAX and high < _WHOLE_MAX):
        return None
    whole = values.astype(np.int64)
    same = np.array_equal(whole.astype(np.float64).view(np.int64), values.view(np.int64))
    return whole if same else None


def encode_batch(ids: Int64s, timestamps: Int64s, values: Float64s) -> bytes:
    """The columns of a batch. It lives for minutes, and commits are what must be quick: values are as they are.

    Ids and times are mostly runs (the series of a shape were made one after the other, an export has one time), and
    to write half the bytes is half the cost of a commit.
    """
    return pack([_encode_runs(ids, 1), _encode_runs(timestamps, 0), values.tobytes()])


def decode_batch(data: bytes) -> Floats:
    """What `encode_batch` was given; `series` are ids."""
    ids, timestamps, values = unpack(data)
    size = len(values) // 8
    return Floats(
        _decode_runs(ids, 1, size), _decode_runs(timestamps, 0, size), np.frombuffer(values, np.float64).copy()
    )


def _encode_runs(numbers: Int64s, step: int) -> bytes:
    """Runs of numbers that differ by `step`: where each begins, then how long each is."""
    breaks = np.flatnonzero(np.diff(numbers) != step) + 1
    begins = np.concatenate([[0], breaks]) if len(numbers) else breaks
    lengths = np.diff(begins, append=len(numbers))
    return bytes(numbers[begins].tobytes() + lengths.astype(np.uint32).tobytes())


def _decode_runs(data: bytes, step: int, size: int) -> Int64s:
    count = len(data) // 12
    firsts = np.frombuffer(data, np.int64, count)
    lengths = np.frombuffer(data, np.uint32, count, 8 * count).astype(np.int64)
    if lengths.sum() != size:  # before a damaged length is taken at its word, which may be 32 GiB
        raise ValueError(f"runs of {lengths.sum()} numbers for {size} samples")
    numbers = np.repeat(firsts, lengths)
    if step:
        numbers += step * (np.arange(len(numbers)) - np.repeat(np.cumsum(lengths) - lengths, lengths))
    return numbers


def encode_pairs(*columns: Int64s | Float64s) -> bytes:
    """Columns of 8-byte numbers of one length, uncompressed."""
    return pack([column.tobytes() for column in columns])


def decode_pairs(data: bytes) -> list[Int64s]:
    """The columns as int64; view them as float64 where they were."""
    return [np.frombuffer(part, np.int64).copy() for part in unpack(data)]


def encode_labels(labels: Labels) -> str:
    """An exemplar's labels as JSON."""
    return json.dumps(labels)


def decode_labels(text: str) -> Labels:
    """What `encode_labels` was given."""
    return tuple((name, value) for name, value in json.loads(text))


_SCALARS = ("count", "sum", "zero_count", "zero_threshold", "schema")

# Parts of a content of histograms: of all, and those that are there if any has a hint or bounds of its own.
_PLAIN_PARTS, _MORE_PARTS = 11, 4


def encode_histograms(samples: Sequence[HistogramSample]) -> bytes:
    """The contents of native histograms, column by column; a staleness marker is one in `sum`."""
    histograms = [sample.histogram for sample in samples]
    columns: list[Float64s] = [
        np.array([getattr(histogram, name) for histogram in histograms], np.float64) for name in _SCALARS
    ]
    columns[1] = np.array([STALE_NAN if sample.stale else sample.histogram.sum for sample in samples], np.float64)
    for side in ("positive", "negative"):
        buckets: list[Buckets] = [getattr(histogram, side) for histogram in histograms]
        columns.append(np.array([bucket.offset for bucket in buckets], np.float64))
        columns.append(np.array([len(bucket) for bucket in buckets], np.float64))
        columns.append(np.concatenate([np.empty(0), *(bucket.counts for bucket in buckets)]))
    if any(histogram.hint or histogram.custom_bounds for histogram in histograms):
        columns += _hints_and_bounds(histograms)
    return pack([encode_values(column, np.array([len(column)])) for column in columns])


def _hints_and_bounds(histograms: Sequence[Histogram]) -> list[Float64s]:
    """Hints; which of the distinct bounds each histogram has; how many bounds each of those has, and they all."""
    hints = np.array([histogram.hint for histogram in histograms], np.float64)
    distinct: dict[tuple[float, ...], int] = {}
    numbers = [distinct.setdefault(histogram.custom_bounds, len(distinct)) for histogram in histograms]
    lengths = [len(bounds) for bounds in distinct]
    flat = [bound for bounds in distinct for bound in bounds]
    return [hints, *(np.array(column, np.float64) for column in (numbers, lengths, flat))]


def decode_histograms(data: bytes, series: Sequence[int], timestamps: Sequence[int]) -> list[HistogramSample]:
    """What `encode_histograms` was given, with series and times from beside it; ValueError if it is damaged."""
    parts = unpack(data)
    if len(parts) not in (_PLAIN_PARTS, _PLAIN_PARTS + _MORE_PARTS):
        raise ValueError(f"a content of {len(parts)} parts, which no version of native histograms has")
    columns = [_column(part, len(series)) for part in parts]
    stale = is_stale(columns[1])
    scalars = [column.tolist() for column in columns[:5]]
    positive, negative = _sides(columns[5:8]), _sides(columns[8:11])
    hints, bounds = _read_hints_and_bounds(columns[11:], len(series))
    samples = []
    for index, (one, time) in enumerate(zip(series, timestamps, strict=True)):
        count, total, zero_count, zero_threshold, schema = (scalar[index] for scalar in scalars)
        total = math.nan if stale[index] else total
        more = positive[index], negative[index], hints[index], bounds[index]
        histogram = Histogram(count, total, zero_count, zero_threshold, int(schema), *more)
        samples.append(HistogramSample(one, time, histogram, bool(stale[index])))
    return samples


def _read_hints_and_bounds(
    columns: Sequence[Float64s], size: int
) -> tuple[Sequence[ResetHint], Sequence[tuple[float, ...]]]:
    """The hint and the bounds of each histogram: equal bounds are one tuple; unknown, and none, without columns."""
    if not columns:
        return [ResetHint.UNKNOWN] * size, [()] * size
    hints, numbers, lengths, flat = columns
    ends = np.cumsum(lengths).astype(np.int64)
    distinct: list[tuple[float, ...]] = [tuple(cut.tolist()) for cut in np.split(flat, ends[:-1])]
    return [ResetHint(int(hint)) for hint in hints.tolist()], [distinct[int(number)] for number in numbers.tolist()]


def _column(data: bytes, count: int) -> Float64s:
    if data[0] == _FLOAT:
        return decode_values(data, np.array([count]))
    return decode_values(data, np.array([length_of(data[1:])]))


def _sides(columns: Sequence[Float64s]) -> list[Buckets]:
    offsets, lengths, counts = columns
    ends = np.cumsum(lengths).astype(np.int64).tolist()
    sides, begin = [], 0
    for offset, end in zip(offsets.tolist(), ends, strict=True):
        sides.append(Buckets(int(offset), counts[begin:end]))
        begin = end
    return sides
