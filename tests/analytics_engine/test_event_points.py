"""The limits of an event point, at each and one past it, and indexes that fit."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.analytics_engine.event_points import EventPoint, clean, compound_index, current_limits, cut, problem
from mirubato.analytics_engine.event_points import limits_table as table

LIMITS = current_limits()
POINT = EventPoint(0, "index", ("a", None), (1.0,))
texts = st.text(st.characters(exclude_categories=["Cs"]))


def test_the_table_is_dated_and_in_order() -> None:
    dates = [row.since for row in table()]
    assert dates == sorted(dates)
    assert all(row.source for row in table())
    assert (LIMITS.blobs, LIMITS.doubles, LIMITS.indexes) == (20, 20, 1)
    assert (LIMITS.index_bytes, LIMITS.blob_bytes, LIMITS.points_per_invocation) == (96, 16_000, 250)


@pytest.mark.parametrize(
    ("at", "past", "name"),
    [
        ({"blobs": ("x",) * 20}, {"blobs": ("x",) * 21}, "blobs"),
        ({"doubles": (1.0,) * 20}, {"doubles": (1.0,) * 21}, "doubles"),
        ({"index": "x" * 96}, {"index": "x" * 97}, "index_bytes"),
        ({"index": "é" * 48}, {"index": "é" * 49}, "index_bytes"),
        ({"blobs": ("x" * 16_000,)}, {"blobs": ("x" * 16_001,)}, "blob_bytes"),
        ({"blobs": ("é" * 4000, None, "x" * 8000)}, {"blobs": ("é" * 4000, None, "x" * 8001)}, "blob_bytes"),
        ({"doubles": (1e308,)}, {"doubles": (float("inf"),)}, "doubles"),
        ({"doubles": (-0.0,)}, {"doubles": (float("nan"),)}, "doubles"),
        ({"blobs": ("\U0001f600",)}, {"blobs": ("\ud83d",)}, "text"),
    ],
)
def test_each_limit(at: dict[str, object], past: dict[str, object], name: str) -> None:
    assert problem(replace(POINT, **at), LIMITS) is None  # type: ignore[arg-type]
    assert (problem(replace(POINT, **past), LIMITS) or "").startswith(name)  # type: ignore[arg-type]


@given(st.lists(texts, max_size=5), st.lists(texts, max_size=5))
def test_an_index_fits_and_tells_parts_apart(one: list[str], other: list[str]) -> None:
    first, second = compound_index(one, LIMITS), compound_index(other, LIMITS)
    assert len(first.encode()) <= 96
    if len(one) == len(other):
        assert (first == second) == (one == other)


def test_a_long_index_is_cut_between_characters_and_hashed() -> None:
    one, other = (compound_index(["api", "é" * 100 + end], LIMITS) for end in "ab")
    assert one.startswith("api|ééé")
    assert one.partition("~")[0] == other.partition("~")[0]
    assert one != other
    assert 95 <= len(one.encode()) <= 96
    assert compound_index(["a|b", "c\\"], LIMITS) == "a\\|b|c\\\\"


@given(texts, st.integers(0, 40))
def test_what_is_cut_is_the_longest_beginning_that_fits(text: str, size: int) -> None:
    short = cut(text, size)
    assert text.startswith(short)
    assert len(short.encode()) <= size
    assert short == text or len(text[: len(short) + 1].encode()) > size


@given(st.text(st.characters()))
def test_clean_text_has_utf_8(text: str) -> None:
    assert len(clean(text).encode()) >= len(text)
