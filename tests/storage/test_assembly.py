"""Pieces come together as if each sample had been written by itself, in order."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mirubato.storage.assembly import Piece, assemble

ROWS = 12
Run = tuple[int, list[int]]

RUNS = st.lists(
    st.tuples(st.integers(0, ROWS - 1), st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True).map(sorted)),
    max_size=ROWS,
    unique_by=lambda run: run[0],
)


def piece(runs: list[Run], number: int) -> Piece:
    times = [time for _, times in runs for time in times]
    return Piece(
        np.array([row for row, _ in runs], np.int64),
        np.array([len(times) for _, times in runs], np.int64),
        np.array(times, np.int64),
        np.array([number * 1000.0 + at for at in range(len(times))]),
    )


def written(pieces: list[Piece]) -> dict[int, dict[int, float]]:
    """What a dictionary of each row would hold."""
    rows: dict[int, dict[int, float]] = {}
    for one in pieces:
        owners = np.repeat(one.owners, one.counts).tolist()
        for row, time, value in zip(owners, one.timestamps.tolist(), one.values.tolist(), strict=True):
            rows.setdefault(row, {})[time] = value
    return rows


def held(pieces: list[Piece]) -> dict[int, dict[int, float]]:
    one = assemble(pieces, ROWS)
    bounds = one.offsets.tolist()
    assert len(bounds) == ROWS + 1
    rows = {}
    for row, (low, high) in enumerate(pairwise(bounds)):
        times = one.timestamps[low:high].tolist()
        assert times == sorted(set(times))
        if times:
            rows[row] = dict(zip(times, one.values[low:high].tolist(), strict=True))
    return rows


@given(st.lists(RUNS, max_size=4))
def test_the_later_write_stays(runs: list[list[Run]]) -> None:
    pieces = [piece(some, number) for number, some in enumerate(runs)]
    assert held(pieces) == written(pieces)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 4))
def test_regular_pieces_are_copied_as_tables(shifts: list[int], length: int, missing: int) -> None:
    pieces = []
    for number, shift in enumerate(shifts):
        times = [number * 10 + shift + at for at in range(length)]
        runs = [(row, times) for row in range(ROWS) if row >= missing or number % 2]
        pieces.append(piece(runs, number))
    assert held(pieces) == written(pieces)


@given(RUNS, st.integers(-1, 41), st.integers(-1, 41))
def test_windows(runs: list[Run], start: int, end: int) -> None:
    whole = piece(runs, 0)
    cut = whole.within(start, end)
    expected = {
        row: inside
        for row, samples in written([whole]).items()
        if (inside := {time: value for time, value in samples.items() if start <= time <= end})
    }
    assert written([cut]) == expected
    assert (cut.counts > 0).all()
