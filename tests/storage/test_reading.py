"""What a query gets: windows, budgets, wide times, exemplars, families."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirubato.errors import QueryLimit, QueryTimeout
from mirubato.limits import ACTIVE_SERIES_MS
from mirubato.model.histogram import Buckets, Histogram
from mirubato.model.labels import NAME, MetricType
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.storage import store as store_module
from mirubato.storage.reading import Reader
from tests.storage.world import EVER, NOW, Model, Request, Unlimited, World, equal, named, one

HISTOGRAM = Histogram(2.0, 3.0, 0.0, 0.0, 3, Buckets(0, (1.0, 1.0)))
UP = equal(NAME, "up")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as world:
        yield world


class Limited(Unlimited):
    """A budget that ends."""

    def __init__(self, series: int = 1000, samples: int = 1000, checks: int = 1000) -> None:
        super().__init__()
        self._bounds = series, samples, checks

    def check(self) -> None:
        super().check()
        if self.checks > self._bounds[2]:
            raise QueryTimeout("too late")

    def take_series(self, count: int) -> None:
        super().take_series(count)
        if self.series > self._bounds[0]:
            raise QueryLimit("too many series")

    def take_samples(self, count: int) -> None:
        super().take_samples(count)
        if self.samples > self._bounds[1]:
            raise QueryLimit("too many samples")


def spread(world: World) -> Model:
    """Samples of a few series in a block, in another, and unsealed; some of the series are on disk only."""
    requests = []
    for part in range(3):
        floats = [(named("up", host=host, part=str(part)), NOW + 10 * part + n, 1.0) for host in "ab" for n in range(3)]
        floats += [(named("up", host=host), NOW + 10 * part + n, float(part)) for host in "ab" for n in range(3)]
        requests.append(Request(floats, [(named("latency"), NOW + 10 * part, HISTOGRAM)]))
        world.append(requests[-1])
        if part < 2:
            world.sealer.seal()
            world.now += ACTIVE_SERIES_MS + 1
            assert world.evict()
    model = Model()
    model.append(requests, NOW)
    return model


@pytest.mark.parametrize("start", [NOW - 1, NOW, NOW + 2, NOW + 3, NOW + 10, NOW + 11, NOW + 21, NOW + 23])
@pytest.mark.parametrize("length", [0, 1, 9, 10, 1000])
def test_both_ends_of_a_window_belong_to_it(world: World, start: int, length: int) -> None:
    model = spread(world)
    for matchers in ((UP,), (equal(NAME, "latency"),), (Matcher("host", MatchOp.REGEX, "a|"),), (equal("part", "1"),)):
        found = world.select(*matchers, start=start, end=start + length)
        assert found == model.select(matchers, start, start + length)


def test_a_budget_is_charged_for_what_is_read(world: World) -> None:
    spread(world)
    budget = Unlimited()
    world.reader.select((UP, equal("part", "")), *EVER, budget)
    assert (budget.series, budget.samples) == (6, 18)  # each of two series lived three times
    assert budget.checks > 3


@pytest.mark.parametrize(("series", "fits"), [(6, True), (5, False)])
def test_series_of_a_query_are_bounded(world: World, series: int, fits: bool) -> None:
    spread(world)
    check(world.reader, Limited(series=series), "too many series" if not fits else "")


@pytest.mark.parametrize(("samples", "fits"), [(18, True), (17, False), (5, False)])
def test_samples_of_a_query_are_bounded(world: World, samples: int, fits: bool) -> None:
    spread(world)
    check(world.reader, Limited(samples=samples), "too many samples" if not fits else "")


def test_a_deadline_ends_a_query_wherever_it_is(world: World) -> None:
    spread(world)
    free = Limited()
    check(world.reader, free, "")
    for checks in range(free.checks):
        check(world.reader, Limited(checks=checks), "too late")
    check(world.reader, Limited(checks=free.checks), "")


def check(reader: Reader, budget: Limited, words: str) -> None:
    if not words:
        assert reader.select((UP, equal("part", "")), *EVER, budget).floats.labels
        return
    with pytest.raises((QueryLimit, QueryTimeout), match=words):
        reader.select((UP, equal("part", "")), *EVER, budget)


def test_nothing_matches(world: World) -> None:
    spread(world)
    for matchers in ((equal(NAME, "down"),), (UP, equal("host", "z")), (UP, equal("none", "x"))):
        selected = world.reader.select(matchers, *EVER, Unlimited())
        assert (list(selected.floats.labels), selected.floats.offsets.tolist(), selected.histograms) == ([], [0], [])
        assert world.reader.series(matchers, 0, Unlimited()) == []
        assert world.reader.newest(matchers, 0) == []


def test_a_scrape_of_what_matches(world: World) -> None:
    spread(world)
    found = world.reader.newest((UP, equal("host", "a")), NOW)
    assert sorted((newest.labels, newest.timestamp, newest.value) for newest in found) == [
        (named("up", host="a"), NOW + 22, 2.0),
        (named("up", host="a", part="2"), NOW + 22, 1.0),
    ]
    assert world.reader.newest((UP,), NOW + 23) == []
    (latency,) = world.reader.newest((equal(NAME, "latency"),), NOW)
    assert (latency.histogram, latency.family.type) == (HISTOGRAM, MetricType.HISTOGRAM)


def test_series_since(world: World) -> None:
    world.append(one("up", NOW, host="a"), one("up", NOW + 5, host="b"))
    assert world.reader.series((UP,), NOW + 1, Unlimited()) == [named("up", host="b")]
    assert world.reader.series((UP,), NOW + 6, Unlimited()) == []


def test_times_far_apart(world: World) -> None:
    """A window may be as wide as times go; what matters is how samples are sorted."""
    times = [-(1 << 61), -1, 0, 1, NOW, 1 << 61]
    requests = [one("up", time, float(number), host=host) for number, time in enumerate(times) for host in "ba"]
    world.append(*requests)
    world.append(*requests[::-1])
    model = Model()
    model.append(requests, NOW)
    assert world.select() == model.series
    world.sealer.seal()
    assert world.select() == model.series
    assert world.select(start=-(1 << 63), end=(1 << 63) - 1) == model.series


def test_exemplars(world: World) -> None:
    world.append(
        Request(
            exemplars=[
                (named("up", host="a"), NOW, 1.5, (("trace_id", "ü"), ("span_id", "2"))),
                (named("up", host="b"), NOW + 1, math.nan, ()),
                (named("up", host="a"), NOW + 2, -math.inf, ()),
            ]
        )
    )
    found = world.reader.exemplars(NOW, NOW + 1)
    assert [(labels, one.timestamp, repr(one.value), one.labels) for labels, one in found] == [
        (named("up", host="a"), NOW, "1.5", (("trace_id", "ü"), ("span_id", "2"))),
        (named("up", host="b"), NOW + 1, "nan", ()),
    ]
    assert world.reader.exemplars(NOW + 3, NOW + 9) == []


@pytest.mark.parametrize(("sent", "kept"), [(4, 4), (5, 5), (6, 5), (20, 5)])
def test_exemplars_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch, sent: int, kept: int) -> None:
    monkeypatch.setattr(store_module, "EXEMPLARS_MAX", 5)
    for number in range(sent):
        world.append(Request(exemplars=[(named("up"), NOW + number, 1.0, ())]))
    times = [exemplar.timestamp for _, exemplar in world.reader.exemplars(0, 2 * NOW)]
    assert times == [NOW + number for number in range(sent - kept, sent)]


def test_families_are_there_once(world: World) -> None:
    world.append(one("up", host="a"), one("up", host="b"), one("down"))
    world.append(Request(histograms=[(named("up"), NOW, HISTOGRAM)]))
    assert [(family.name, family.type) for family in world.reader.families()] == [
        ("down", MetricType.GAUGE),
        ("up", MetricType.GAUGE),
        ("up", MetricType.HISTOGRAM),
    ]


def test_a_name_may_have_both_kinds(world: World) -> None:
    world.append(Request([(named("m"), NOW, 1.0)], [(named("m"), NOW, HISTOGRAM)]))
    for _ in range(2):
        selected = world.reader.select((equal(NAME, "m"),), *EVER, Unlimited())
        assert list(selected.floats.labels) == [one.labels for one in selected.histograms] == [named("m")]
        world.sealer.seal()


def test_closing_twice(world: World) -> None:
    world.select()
    world.reader.close()
    world.reader.close()
