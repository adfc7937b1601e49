"""What the Prometheus API asks beside samples: series of a window, exemplars of selectors, and what is in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mirubato.limits import ACTIVE_SERIES_MS
from mirubato.model.labels import NAME
from tests.storage.world import HOUR, NOW, Request, Unlimited, World, equal, named, one

UP = equal(NAME, "up")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as one_:
        yield one_


def hosts(world: World, start: int, end: int | None) -> set[str]:
    return {dict(labels)["host"] for labels in world.reader.series((UP,), start, Unlimited(), end)}


def test_series_of_a_window_that_is_not_sealed(world: World) -> None:
    world.append(one("up", NOW - HOUR, host="a"), one("up", NOW, host="b"), one("down", NOW - HOUR))
    assert hosts(world, NOW - HOUR, NOW) == {"a", "b"}
    assert hosts(world, NOW - HOUR, NOW - 1) == {"a"}
    assert hosts(world, NOW - HOUR + 1, NOW) == {"b"}
    assert hosts(world, NOW - HOUR + 1, NOW - 1) == set()
    assert hosts(world, NOW - HOUR, None) == {"a", "b"}


def test_series_of_a_window_in_blocks(world: World) -> None:
    """To the block: a series whose block lies in the window is there."""
    for time, host in ((NOW - 2 * HOUR, "a"), (NOW - HOUR, "b"), (NOW, "c")):
        world.append(one("up", time, host=host))
        world.sealer.seal()
    assert hosts(world, 0, NOW - HOUR - 1) == {"a"}
    assert hosts(world, 0, NOW - 1) == {"a", "b"}
    assert hosts(world, NOW - HOUR, NOW - 1) == {"b"}


def test_series_on_disk_only(world: World) -> None:
    world.append(one("up", NOW, host="a"))
    world.sealer.seal()
    world.now += ACTIVE_SERIES_MS + 1
    world.evict()
    world.append(one("up", world.now, host="b"))
    assert hosts(world, NOW, NOW) == {"a"}
    assert hosts(world, NOW + 1, NOW + 2) == set()


def test_histograms_count_too(world: World) -> None:
    world.append(Request(histograms=[(named("up", host="a"), NOW, None)]))
    assert hosts(world, 0, NOW) == {"a"}
    assert hosts(world, 0, NOW - 1) == set()


def test_exemplars_of_selectors(world: World) -> None:
    about = (("trace_id", "1"),)
    world.append(Request(exemplars=[(named("up", host=host), NOW, 1.0, about) for host in "ab"]))
    find = world.reader.exemplars
    assert len(find(NOW, NOW)) == 2
    assert [labels for labels, _ in find(NOW, NOW, [(UP, equal("host", "a"))])] == [named("up", host="a")]
    assert len(find(NOW, NOW, [(UP, equal("host", "a")), (UP,)])) == 2, "each once"
    assert find(NOW, NOW, [(equal(NAME, "down"),)]) == []


def test_the_head(world: World) -> None:
    assert (world.reader.head(10).series, world.reader.head(10).time_high) == (0, 0)
    world.append(one("up", NOW - 5, host="a"), one("up", NOW, host="bb"), one("down", NOW))
    head = world.reader.head(2)
    assert (head.series, head.chunks, head.time_low, head.time_high, head.label_pairs) == (3, 1, NOW - 5, NOW, 4)
    assert list(head.by_metric) == [("up", 2), ("down", 1)]
    assert list(head.by_label) == [("__name__", 2), ("host", 2)]
    assert list(head.sizes) == [("__name__", 8), ("host", 3)]
    assert head.by_pair[0] == ("__name__=up", 2)
    assert len(world.reader.head(1).by_label) == 1
    world.sealer.seal()
    assert (world.reader.head(10).series, world.reader.head(10).chunks) == (3, 0)
