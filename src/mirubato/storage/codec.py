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
from pcodec import ChunkConfig, DeltaSpec, ModeSpec
from pcodec.standalone import simple_compress, simple_decompress

from mirubato.model.histogram import Buckets, Histogram
from mirubato.model.labels import STALE_NAN, Labels, is_stale
from mirubato.model.samples import Float64s, Floats, HistogramSample, Int64s

_WHOLE, _FLOAT = 0, 1

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
        columns.append(np.array([len(bucket.counts) for bucket in buckets], np.float64))
        columns.append(np.array([count for bucket in buckets for count in bucket.counts], np.float64))
    return pack([encode_values(column, np.array([len(column)])) for column in columns])


def decode_histograms(data: bytes, series: Sequence[int], timestamps: Sequence[int]) -> list[HistogramSample]:
    """What `encode_histograms` was given, with series and times from beside it."""
    columns = [_column(part, len(series)) for part in unpack(data)]
    stale = is_stale(columns[1])
    scalars = [column.tolist() for column in columns[:5]]
    positive, negative = _sides(columns[5:8]), _sides(columns[8:11])
    samples = []
    for index, (one, time) in enumerate(zip(series, timestamps, strict=True)):
        count, total, zero_count, zero_threshold, schema = (scalar[index] for scalar in scalars)
        total = math.nan if stale[index] else total
        histogram = Histogram(count, total, zero_count, zero_threshold, int(schema), positive[index], negative[index])
        samples.append(HistogramSample(one, time, histogram, bool(stale[index])))
    return samples


def _column(data: bytes, count: int) -> Float64s:
    if data[0] == _FLOAT:
        return decode_values(data, np.array([count]))
    return decode_values(data, np.array([length_of(data[1:])]))


def _sides(columns: Sequence[Float64s]) -> list[Buckets]:
    offsets, lengths, counts = columns
    ends = np.cumsum(lengths).astype(np.int64).tolist()
    flat = counts.tolist()
    sides, begin = [], 0
    for offset, end in zip(offsets.tolist(), ends, strict=True):
        sides.append(Buckets(int(offset), tuple(flat[begin:end])))
        begin = end
    return sides
