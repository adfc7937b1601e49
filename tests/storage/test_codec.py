"""Columns <-> bytes: whatever goes in comes back, bit for bit."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from mirubato.model.histogram import CUSTOM_SCHEMA, NO_BUCKETS, Buckets, Histogram, ResetHint
from mirubato.model.samples import Float64s, HistogramSample, Int64s
from mirubato.storage import codec
from tests.storage.world import STALE_HISTOGRAM, bits, key_of

LEAST, MOST = -(1 << 63), (1 << 63) - 1
BORDERS = [0, 1, -1, 1 << 53, (1 << 53) - 1, (1 << 53) + 1, -(1 << 53), -(1 << 53) + 1, LEAST, LEAST + 1, MOST]

NAN_BITS = [
    0x7FF8000000000000,  # the usual one
    0x7FF0000000000002,  # a staleness marker
    0x7FF0000000000001,
    0xFFF8000000000001,
    0x7FFFFFFFFFFFFFFF,
    0xFFFFFFFFFFFFFFFF,
]
FLOATS = [0.0, -0.0, math.inf, -math.inf, 5e-324, -5e-324, 2.2250738585072009e-308, 1.7976931348623157e308, 0.1, 1e21]

int64s = st.sampled_from(BORDERS) | st.integers(LEAST, MOST)
whole_values = st.integers(-(1 << 53) - 2, (1 << 53) + 2).map(float)
float64s = (
    st.floats(width=64)
    | whole_values
    | st.sampled_from([*FLOATS, *map(float, BORDERS)])
    | (st.sampled_from(NAN_BITS) | st.integers(0x7FF0000000000001, 0x7FFFFFFFFFFFFFFF)).map(
        lambda number: float(np.array([number], np.uint64).view(np.float64)[0])
    )
)


def same_bits(left: NDArray[np.float64], right: NDArray[np.float64]) -> bool:
    return np.array_equal(left.view(np.uint64), right.view(np.uint64))


def split(total: int, parts: Sequence[int]) -> Int64s:
    """Counts of at least 1 that make `total`, steered by `parts`."""
    counts, left = [], total
    for part in parts:
        if left <= part:
            break
        counts.append(part)
        left -= part
    return np.array(counts + [left] * (left > 0), np.int64)


parts_of = st.lists(st.integers(1, 9), max_size=8)


@given(arrays.arrays(np.int64, st.integers(0, 60), elements=int64s), parts_of)
@example(np.array([LEAST, MOST, LEAST, MOST]), [2])
@example(np.array([MOST, LEAST]), [])
def test_whole_numbers(numbers: Int64s, parts: list[int]) -> None:
    counts = split(len(numbers), parts)
    encoded = codec.encode_whole(numbers, counts)
    assert codec.decode_whole(encoded, counts).tolist() == numbers.tolist()
    assert codec.length_of(encoded) == len(numbers)


@given(st.lists(float64s, max_size=60).map(lambda values: np.array(values, np.float64)), parts_of)
@example(np.array([-0.0, 0.0]), [])
@example(np.array([float(1 << 53), 1.0]), [])
@example(np.array([float((1 << 53) - 1), -float((1 << 53) - 1)]), [1])
def test_values(values: Float64s, parts: list[int]) -> None:
    counts = split(len(values), parts)
    assert same_bits(codec.decode_values(codec.encode_values(values, counts), counts), values)


@pytest.mark.parametrize("pattern", NAN_BITS)
def test_every_nan_stays_itself(pattern: int) -> None:
    values = np.array([pattern, 0x3FF0000000000000, pattern], np.uint64).view(np.float64)
    one = np.array([3])
    assert same_bits(codec.decode_values(codec.encode_values(values, one), one), values)
    batch = codec.decode_batch(codec.encode_batch(np.arange(3), np.arange(3), values))
    assert same_bits(batch.values, values)


def test_whole_values_are_stored_as_such_only_where_nothing_is_lost() -> None:
    def is_whole(values: Sequence[float]) -> bool:
        return codec.encode_values(np.array(values, np.float64), np.array([len(values)]))[0] == 0

    assert is_whole([1.0, -5.0, float((1 << 53) - 1)])
    assert not is_whole([1.0, float(1 << 53)])
    assert not is_whole([-float(1 << 53)])
    assert not is_whole([0.5])
    assert not is_whole([-0.0, 1.0])
    assert not is_whole([math.nan])
    assert not is_whole([math.inf])


@given(
    st.integers(0, 40).flatmap(
        lambda size: st.tuples(
            arrays.arrays(np.int64, size, elements=int64s),
            arrays.arrays(np.int64, size, elements=int64s),
            st.lists(float64s, min_size=size, max_size=size),
        )
    )
)
def test_batches(columns: tuple[Int64s, Int64s, list[float]]) -> None:
    ids, times, values = columns[0], columns[1], np.array(columns[2], np.float64)
    batch = codec.decode_batch(codec.encode_batch(ids, times, values))
    assert batch.series.tolist() == ids.tolist()
    assert batch.timestamps.tolist() == times.tolist()
    assert same_bits(batch.values, values)


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(1, 30)), max_size=10))
def test_batches_of_runs(runs: list[tuple[int, int]]) -> None:
    ids = np.concatenate([np.empty(0, np.int64), *(np.arange(first, first + size) for first, size in runs)])
    times = np.repeat(np.array([first for first, _ in runs], np.int64), [size for _, size in runs])
    encoded = codec.encode_batch(ids, times, np.zeros(len(ids)))
    batch = codec.decode_batch(encoded)
    assert (batch.series.tolist(), batch.timestamps.tolist()) == (ids.tolist(), times.tolist())
    assert len(encoded) <= 28 + 2 * 12 * len(runs) + 8 * len(ids)


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_packing(parts: list[bytes]) -> None:
    assert codec.unpack(codec.pack(parts)) == parts


@given(arrays.arrays(np.int64, st.integers(0, 20), elements=int64s), st.lists(float64s, max_size=20))
def test_pairs(numbers: Int64s, values: list[float]) -> None:
    floats = np.array(values, np.float64)
    first, second = codec.decode_pairs(codec.encode_pairs(numbers, floats))
    assert first.tolist() == numbers.tolist()
    assert same_bits(second.view(np.float64), floats)


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=4).map(tuple))
def test_labels(labels: tuple[tuple[str, str], ...]) -> None:
    assert codec.decode_labels(codec.encode_labels(labels)) == labels


counts_of = st.lists(st.integers(0, 1 << 53).map(float) | st.floats(0, 1e300), max_size=6).map(tuple)
sides = st.builds(Buckets, st.integers(-(1 << 31), (1 << 31) - 1), counts_of)
histograms = st.builds(
    Histogram,
    count=st.integers(0, 1 << 53).map(float) | st.floats(0, 1e300),
    sum=st.floats(width=64) | st.sampled_from(FLOATS),
    zero_count=st.integers(0, 1 << 30).map(float),
    zero_threshold=st.floats(0, 1),
    schema=st.integers(-4, 8),
    positive=sides,
    negative=sides,
)
bounds_of = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4).map(sorted).map(tuple)
with_more = st.builds(
    Histogram,
    count=st.integers(0, 1 << 53).map(float),
    sum=st.floats(width=64),
    zero_count=st.just(0.0),
    zero_threshold=st.just(0.0),
    schema=st.just(CUSTOM_SCHEMA),
    positive=sides,
    negative=st.just(NO_BUCKETS),
    hint=st.sampled_from(ResetHint),
    custom_bounds=bounds_of,
)


@given(st.lists(st.tuples(histograms | with_more, st.booleans()), max_size=6))
def test_histograms(given_samples: list[tuple[Histogram, bool]]) -> None:
    samples = [
        HistogramSample(number, 100 + number, STALE_HISTOGRAM if stale else histogram, stale)
        for number, (histogram, stale) in enumerate(given_samples)
    ]
    series, times = [sample.series for sample in samples], [sample.timestamp for sample in samples]
    decoded = codec.decode_histograms(codec.encode_histograms(samples), series, times)
    assert [(sample.series, sample.timestamp, sample.stale) for sample in decoded] == [
        (sample.series, sample.timestamp, sample.stale) for sample in samples
    ]
    live = [(left, right) for left, right in zip(samples, decoded, strict=True) if not left.stale]
    assert [whole_key(right.histogram) for _, right in live] == [whole_key(left.histogram) for left, _ in live]


def whole_key(histogram: Histogram) -> tuple[object, ...]:
    """All of a histogram; -0 is not 0."""
    return key_of(histogram), histogram.hint, tuple(map(bits, histogram.custom_bounds))


CUSTOM = Histogram(
    3.0, 5.0, 0.0, 0.0, CUSTOM_SCHEMA, Buckets(0, [1.0, 2.0]), hint=ResetHint.NOT_RESET, custom_bounds=(1.0, 2.0)
)


def test_histograms_with_nothing_more_take_what_they_always_took() -> None:
    plain = [HistogramSample(1, 100, Histogram(1.0, 2.0, 0.0, 1e-128, 3, Buckets(-4, [1.0])))]
    assert len(codec.unpack(codec.encode_histograms(plain))) == 11
    assert len(codec.unpack(codec.encode_histograms([*plain, HistogramSample(2, 100, CUSTOM)]))) == 15


def test_equal_bounds_are_kept_once() -> None:
    samples = [HistogramSample(number, 100, CUSTOM) for number in range(3)]
    decoded = codec.decode_histograms(codec.encode_histograms(samples), [0, 1, 2], [100] * 3)
    assert {id(sample.histogram.custom_bounds) for sample in decoded} == {id(decoded[0].histogram.custom_bounds)}
    assert [sample.histogram for sample in decoded] == [CUSTOM] * 3


@pytest.mark.parametrize("parts", [10, 12, 16])
def test_histograms_of_an_unknown_version(parts: int) -> None:
    content = codec.unpack(codec.encode_histograms([HistogramSample(1, 100, CUSTOM)]))
    with pytest.raises(ValueError, match=f"a content of {parts} parts"):
        codec.decode_histograms(codec.pack((content * 2)[:parts]), [1], [100])
