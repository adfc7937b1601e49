"""Any order of appending, sealing, merging, evicting and restarting leaves what a dictionary would hold."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from mirubato.model.histogram import Buckets, Histogram
from mirubato.model.labels import NAME, STALE_NAN, Labels, labels_of
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.storage import blocks, recent, sealing
from tests.storage.world import HOUR, Model, Request, Unlimited, World

MINUTE = 60_000

floats_of = st.builds(
    lambda name, host, zone: labels_of([(NAME, name), ("host", host), ("zone", zone)]),
    st.sampled_from(["up", "load", "requests_total"]),
    st.sampled_from(["", "a", "b", "ab"]),
    st.sampled_from(["", "eu"]),
)
histograms_of = st.builds(lambda host: labels_of([(NAME, "latency"), ("host", host)]), st.sampled_from(["", "a", "b"]))

values = st.integers(-5, 5).map(float) | st.sampled_from([0.5, -0.0, float("nan"), float("inf"), STALE_NAN])
contents = st.none() | st.builds(
    lambda size, schema: Histogram(float(size), size * 0.5, 0.0, 0.0, schema, Buckets(-1, (1.0,) * size)),
    st.integers(0, 3),
    st.integers(-4, 8),
)

ages = st.integers(-10, 5).map(lambda age: age * MINUTE) | st.integers(0, 7 * 24).map(lambda age: age * HOUR)
"""How old a sample is when it comes, in ms: a little ahead of the clock, or up to a week late."""

requests = st.builds(
    lambda floats, histograms: (floats, histograms),
    st.lists(st.tuples(floats_of, ages, values), max_size=6),
    st.lists(st.tuples(histograms_of, ages, contents), max_size=2),
)

matcher = st.builds(
    Matcher,
    st.sampled_from([NAME, NAME, "host", "zone", "none"]),
    st.sampled_from([MatchOp.EQUAL, MatchOp.NOT_EQUAL]),
    st.sampled_from(["", "up", "load", "latency", "a", "ab", "eu"]),
) | st.builds(
    Matcher,
    st.sampled_from([NAME, "host", "zone", "none"]),
    st.sampled_from([MatchOp.REGEX, MatchOp.NOT_REGEX]),
    st.sampled_from(["", ".*", ".+", "up|load", "a.?", "[a-l].*", "(eu)?"]),
)


class Machine(RuleBasedStateMachine):
    """One store beside its model."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.deaths = 0
        self.world: World
        self.model = Model()
        self.ids: dict[int, Labels] = {}

    @initialize()
    def open(self) -> None:
        self.world = World(self.root / "0")

    def teardown(self) -> None:
        self.world.close()
        shutil.rmtree(self.root)

    @rule(drawn=st.lists(requests, min_size=1, max_size=3))
    def append(
        self, drawn: list[tuple[list[tuple[Labels, int, float]], list[tuple[Labels, int, Histogram | None]]]]
    ) -> None:
        now = self.world.now
        together = [
            Request(
                [(labels, now - age, value) for labels, age, value in floats],
                [(labels, now - age, histogram) for labels, age, histogram in histograms],
            )
            for floats, histograms in drawn
        ]
        assert self.world.append(*together) == [0] * len(together)
        self.model.append(together, now)

    @rule(ms=st.sampled_from([1, MINUTE, 20 * MINUTE, HOUR, HOUR + 1, 3 * HOUR]))
    def wait(self, ms: int) -> None:
        self.world.now += ms

    @rule()
    def seal(self) -> None:
        self.world.sealer.seal()

    @rule()
    def merge(self) -> None:
        while self.world.sealer.merge():
            pass

    @rule()
    def tidy(self) -> None:
        self.world.sealer.tidy()

    @rule()
    def evict(self) -> None:
        self.world.evict()

    @rule()
    def restart(self) -> None:
        self.world = self.world.reopened()

    @rule()
    def die(self) -> None:
        self.deaths += 1
        self.world = self.world.killed(self.root / str(self.deaths))

    @rule(conditions=st.lists(matcher, max_size=3), window=st.tuples(ages, ages))
    def select(self, conditions: list[Matcher], window: tuple[int, int]) -> None:
        start, end = sorted(self.world.now - age for age in window)
        assert self.world.select(*conditions, start=start, end=end) == self.model.select(conditions, start, end)

    @rule(conditions=st.lists(matcher, max_size=2), age=ages)
    def series(self, conditions: list[Matcher], age: int) -> None:
        since = self.world.now - age
        found = self.world.reader.series(tuple(conditions), since, Unlimited())
        fresh = {labels for labels in self.model.matching(conditions) if max(self.model.series[labels]) >= since}
        assert len(found) == len(set(found))
        assert fresh <= set(found) <= set(self.model.matching(conditions))

    @rule(age=st.integers(-10, 5))
    def scrape(self, age: int) -> None:
        since = self.world.now - age * MINUTE
        assert self.world.newest(since) == self.model.newest(since)

    @rule()
    def names_and_values(self) -> None:
        recently = [labels for labels, seen in self.model.seen.items() if seen > self.world.now - HOUR]
        names = self.world.reader.label_names()
        assert {name for labels in recently for name, _ in labels} <= set(names)
        assert names == sorted({name for labels in self.model.series for name, _ in labels} & set(names))
        hosts = self.world.reader.label_values("host")
        assert {dict(labels).get("host", "") for labels in recently} - {""} <= set(hosts) <= {"a", "ab", "b"}

    @invariant()
    def everything_is_there(self) -> None:
        assert self.world.select() == self.model.series

    @invariant()
    def ids_are_given_once(self) -> None:
        for series in self.world.store.registry.series:
            if series is not None:
                assert self.ids.setdefault(series.id, series.labels) == series.labels

    @invariant()
    def the_count_of_unsealed_samples_fits(self) -> None:
        chunks = self.world.store.recent.chunks()
        unsealed = self.world.store.recent
        assert unsealed.samples == sum(chunk.size + len(chunk.histograms) for chunk in chunks)
        assert unsealed.weight == sum(chunk.weight for chunk in chunks)


def test_a_store_equals_a_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_VALUES_MAX", 5)
    monkeypatch.setattr(sealing, "BLOCK_VALUES_MAX", 12)
    monkeypatch.setattr(sealing, "MERGE_RUNS", 2)
    monkeypatch.setattr(recent, "CHUNK_SAMPLES", 40)
    monkeypatch.setattr(recent, "_PARTS_MAX", 3)
    rules = settings(
        max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    run_state_machine_as_test(Machine, settings=rules)
