"""Blocks: sorted, compressed samples of one metric; together they are what a dictionary would hold."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.limits import BLOCK_VALUES_MAX
from mirubato.model.histogram import Buckets, Histogram
from mirubato.model.samples import HistogramSample, Kind
from mirubato.storage import blocks, codec
from mirubato.storage.blocks import Block, build_blocks, build_histogram_blocks, decode_series
from tests.storage.test_codec import float64s, same_bits
from tests.storage.world import bits

SMALL = 7

# Slots with ids and metrics in no order, as they are after slots were used again.
IDS = np.array([40, 7, 12, 1 << 40, 3, 99], np.int64)
NAMES = np.array([2, 5, 2, 2, 5, 9], np.int64)

samples_of = st.lists(st.tuples(st.integers(0, 5), st.integers(-8, 8), float64s), min_size=1, max_size=80)


@pytest.fixture(autouse=True, scope="module")
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_VALUES_MAX", SMALL)
        yield


def build(samples: Sequence[tuple[int, int, float]]) -> list[Block]:
    return build_blocks(
        np.array([slot for slot, _, _ in samples], np.int64),
        np.array([time for _, time, _ in samples], np.int64),
        np.array([value for _, _, value in samples], np.float64),
        IDS,
        NAMES,
    )


def read(block: Block) -> list[tuple[int, int, bytes]]:
    """(id, time, bits) in the order of the block."""
    ids, counts = decode_series(block.series)
    times = codec.decode_times(block.timestamps, counts)
    values = codec.decode_values(block.content, counts)
    rows = zip(np.repeat(ids, counts).tolist(), times.tolist(), map(bits, values.tolist()), strict=True)
    return list(rows)


@given(samples_of)
def test_blocks_equal_a_dictionary(samples: list[tuple[int, int, float]]) -> None:
    found: dict[tuple[int, int], bytes] = {}
    for block in build(samples):
        found |= {(id_, time): value for id_, time, value in read(block)}
    assert found == {(int(IDS[slot]), time): bits(value) for slot, time, value in samples}


@given(samples_of)
def test_each_block_is_sorted_bounded_and_of_one_metric(samples: list[tuple[int, int, float]]) -> None:
    name_of = dict(zip(IDS.tolist(), NAMES.tolist(), strict=True))
    made = build(samples)
    for block in made:
        rows = read(block)
        assert [row[:2] for row in rows] == sorted({row[:2] for row in rows})
        assert len(rows) == block.samples <= SMALL
        assert {name_of[id_] for id_, _, _ in rows} == {block.name}
        assert (block.time_low, block.time_high) == (min(row[1] for row in rows), max(row[1] for row in rows))
        assert block.kind is Kind.FLOAT
    assert [block.name for block in made] == sorted(block.name for block in made)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-8, 8), st.integers(0, 3)), min_size=1, max_size=50))
def test_blocks_of_native_histograms(given_samples: list[tuple[int, int, int]]) -> None:
    samples = [
        HistogramSample(slot, time, Histogram(float(number), size * 0.5, 0.0, 0.0, 3, Buckets(number, (1.0,) * size)))
        for number, (slot, time, size) in enumerate(given_samples)
    ]
    found: dict[tuple[int, int], Histogram] = {}
    for block in build_histogram_blocks(samples, IDS, NAMES):
        ids, counts = decode_series(block.series)
        times = codec.decode_times(block.timestamps, counts)
        decoded = codec.decode_histograms(block.content, np.repeat(ids, counts).tolist(), times.tolist())
        assert block.kind is Kind.HISTOGRAM
        assert block.samples == len(decoded) <= SMALL
        found |= {(sample.series, sample.timestamp): sample.histogram for sample in decoded}
    assert found == {(int(IDS[sample.series]), sample.timestamp): sample.histogram for sample in samples}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (BLOCK_VALUES_MAX - 1, [BLOCK_VALUES_MAX - 1]),
        (BLOCK_VALUES_MAX, [BLOCK_VALUES_MAX]),
        (BLOCK_VALUES_MAX + 1, [BLOCK_VALUES_MAX, 1]),
    ],
)
@pytest.mark.parametrize("one_series", [True, False])
def test_the_bound_of_a_block(
    size: int, expected: list[int], one_series: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_VALUES_MAX", BLOCK_VALUES_MAX)
    series = np.zeros(size, np.int64) if one_series else np.arange(size)
    ids, names = np.arange(1, size + 1), np.ones(size, np.int64)
    made = build_blocks(series, np.arange(size), np.zeros(size), ids, names)
    assert [block.samples for block in made] == expected


def test_more_series_than_sixteen_bits_hold() -> None:
    """Grouping sorts ranks by 16 bits at a time."""
    size = (1 << 16) + 3
    series = np.concatenate([np.arange(size)[::-1], np.arange(size)])
    grouped = blocks.group_samples(series, np.arange(1, size + 1), np.ones(size, np.int64))
    assert grouped.ids.tolist() == list(range(1, size + 1))
    assert grouped.counts.tolist() == [2] * size
    expected = np.stack([np.arange(size)[::-1], np.arange(size, 2 * size)], axis=1).ravel()
    assert np.array_equal(grouped.rows, expected)


def test_of_two_samples_at_one_time_the_later_write_stays() -> None:
    (block,) = build([(0, 5, 1.0), (0, 4, 2.0), (0, 5, 3.0), (0, 4, -0.0)])
    assert read(block) == [(40, 4, bits(-0.0)), (40, 5, bits(3.0))]
    ids, counts = decode_series(block.series)
    assert same_bits(codec.decode_values(block.content, counts), np.array([-0.0, 3.0]))
    assert ids.tolist() == [40]
