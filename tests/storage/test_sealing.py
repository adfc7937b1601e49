"""When batches become blocks, which blocks merge, and what goes back to the disk."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.clock import monotonic_s
from mirubato.limits import BLOCK_VALUES_MAX, MERGE_RUNS
from mirubato.model.histogram import Buckets, Histogram
from mirubato.model.labels import NAME
from mirubato.model.samples import Int64s
from mirubato.storage import blocks, sealing
from mirubato.storage.recent import CHUNK_SAMPLES
from mirubato.storage.schema import open_reader
from mirubato.storage.sealing import Run, find_runs
from tests.storage.world import NOW, Request, Settings, World, bits, equal, named, one

HISTOGRAM = Histogram(1.0, 1.0, 0.0, 0.0, 3, Buckets(0, (1.0,) * 10))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path, Settings(seal_samples=100, seal_interval=300_000)) as world:
        yield world


def many(count: int, time: int = NOW) -> Request:
    return Request([(named("m"), time + number, float(number)) for number in range(count)])


# When to seal. ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "full"), [(99, False), (100, True), (101, True)])
def test_a_load_is_full(world: World, samples: int, full: bool) -> None:
    world.append(many(samples))
    assert world.sealer.full() is full
    assert world.sealer.due(world.now) is full


@pytest.mark.parametrize(("age", "due"), [(299_999, False), (300_000, True), (300_001, True)])
def test_an_old_load_is_due(world: World, age: int, due: bool) -> None:
    world.append(many(1))
    assert world.sealer.due(NOW + age) is due


def test_nothing_is_never_due(world: World) -> None:
    assert not world.sealer.due(NOW + 10**9)
    assert world.sealer.seal() == 0


def test_a_fair_load_is_due_when_nothing_comes_any_more(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.append(many(8000))  # 8 for each of a thousand series, and fewer series than that count as a thousand
        assert not world.sealer.due(NOW + 4_999)
        assert world.sealer.due(NOW + 5_000)
        world.now += 4_000
        world.append(one("m", NOW))
        assert not world.sealer.due(NOW + 5_000)
        assert world.sealer.due(NOW + 7_000)


def test_an_unfair_load_waits_for_its_age(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.append(many(7_999))
        assert not world.sealer.due(NOW + 100_000)


def test_a_native_histogram_weighs_what_it_holds(world: World) -> None:
    world.append(Request(histograms=[(named("latency"), NOW + number, HISTOGRAM) for number in range(4)]))
    assert world.store.recent.samples == 4
    assert world.store.recent.weight == 4 * (16 + 10)
    assert world.sealer.full()
    assert world.sealer.seal() == 4
    assert (world.store.recent.samples, world.store.recent.weight) == (0, 0)


@pytest.mark.parametrize(("samples", "chunks"), [(CHUNK_SAMPLES - 1, 1), (CHUNK_SAMPLES, 2), (CHUNK_SAMPLES + 1, 2)])
def test_a_chunk_has_a_bound(world: World, samples: int, chunks: int) -> None:
    world.append(many(samples))
    world.store.recent.samples = world.store.recent.weight = 0  # the sealer is not what is tested here
    world.append(one("up"))
    assert len(world.store.recent.chunks()) == chunks


def test_one_load_is_sealed_at_a_time(world: World) -> None:
    for number in range(5):
        world.append(many(50, NOW + 1000 * number))
        world.store.recent.close()
    assert world.sealer.seal() == 100
    assert world.sealer.seal() == 100
    assert world.sealer.seal() == 50
    assert world.sealer.seal() == 0
    assert world.sealer.sealed_samples == 250
    assert len(world.select()[named("m")]) == 250


def test_what_comes_while_a_load_is_sealed_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.append(one("up", NOW))
    group = blocks.group_samples

    def slow(series: Int64s, ids: Int64s, names: Int64s) -> blocks.Grouped:
        world.append(one("up", NOW + 1))
        return group(series, ids, names)

    monkeypatch.setattr(blocks, "group_samples", slow)
    assert world.sealer.seal() == 1
    assert world.rows("SELECT samples FROM batch") == [(1,)]
    assert world.store.recent.samples == 1
    assert sorted(world.select()[named("up")]) == [NOW, NOW + 1]


def test_the_thread_seals_merges_and_tidies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_TICK_S", 0.005)
    with World(tmp_path, Settings(seal_samples=10)) as world:
        world.sealer.start()
        for number in range(2 * MERGE_RUNS):
            world.append(many(10, NOW + 100 * number))
            until(lambda: world.store.recent.samples == 0)
        until(lambda: len(world.rows("SELECT DISTINCT seq_low FROM block")) == 2)
        assert world.sealer.blocks_written == 2 * MERGE_RUNS
        world.now += 10_000
        log = world.store.path.with_name("samples.db-wal")
        until(lambda: log.stat().st_size == 0)
        assert len(world.select()[named("m")]) == 20 * MERGE_RUNS


def test_sealing_goes_on_where_retention_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sealing, "_TICK_S", 0.005)
    monkeypatch.setattr(sealing, "_SKIPPED_TICKS", 3)
    asked: list[int] = []

    def fail(now: int) -> None:
        asked.append(now)
        raise OSError("no")

    with World(tmp_path, Settings(seal_samples=10)) as world:
        world.sealer.then = fail
        world.sealer.start()
        until(lambda: len(asked) > 2)
        world.append(many(10, NOW))
        until(lambda: world.store.recent.samples == 0)
        assert world.sealer.failures == 0
    assert "retention failed" in caplog.text


def until(condition: Callable[[], bool]) -> None:
    deadline = monotonic_s() + 20
    while not condition():
        assert monotonic_s() < deadline
        time.sleep(0.002)


# What to merge. -----------------------------------------------------------------------------------------------------


def runs_file(runs: list[Run]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE block (kind, name, seq_low, seq_high, samples, format DEFAULT 1)")
    rows = [(run.kind, run.name, run.seq_low, run.seq_high, run.samples) for run in runs]
    connection.executemany("INSERT INTO block VALUES (?, ?, ?, ?, ?, 1)", rows)
    return connection


def sizes(*samples: int, kind: int = 0, name: int = 1) -> list[Run]:
    return [Run(kind, name, 10 * number, 10 * number + 9, size) for number, size in enumerate(samples)]


@pytest.mark.parametrize(
    ("samples", "first"),
    [
        ([10, 10, 10], None),
        ([10, 10, 10, 10], 0),
        ([10, 10, 10, 40], 0),
        ([10, 10, 10, 41], None),
        ([41, 10, 10, 10, 10], 1),
        ([1, 3, 2, 4], 0),
        ([BLOCK_VALUES_MAX] * 4, 0),
        ([BLOCK_VALUES_MAX + 1] * 4, None),
        ([BLOCK_VALUES_MAX + 1, 20000, 20000, 20000, 20000], 1),
    ],
)
def test_neighbours_of_about_one_size_merge(samples: list[int], first: int | None) -> None:
    assert MERGE_RUNS == 4
    with closing(runs_file(sizes(*samples))) as connection:
        found = find_runs(connection)
    assert found == ([] if first is None else sizes(*samples)[first : first + 4])


def test_runs_of_other_metrics_and_kinds_are_no_neighbours() -> None:
    strangers = [*sizes(10, 10), *sizes(10, 10, kind=1), *sizes(10, 10, name=2)]
    with closing(runs_file(strangers)) as connection:
        assert find_runs(connection) == []


@given(st.lists(st.integers(1, BLOCK_VALUES_MAX + 100), max_size=30))
def test_merging_ends_and_writes_each_sample_a_few_times_only(samples: list[int]) -> None:
    left, written = list(samples), 0
    while True:
        with closing(runs_file(sizes(*left))) as connection:
            found = find_runs(connection)
        if not found:
            break
        at = sizes(*left).index(found[0])
        merged = sum(run.samples for run in found)
        left[at : at + len(found)] = [merged]
        written += merged
    assert sum(left) == sum(samples)
    assert written <= 10 * sum(samples)


def test_merging_keeps_the_last_write(world: World) -> None:
    for number in range(MERGE_RUNS):
        late = NOW + 5 - number
        world.append(
            Request(
                [(named("up", host="a"), NOW, float(number)), (named("up", host="b"), late, float(number))],
                [(named("latency"), NOW, Histogram(float(number), 0.0, 0.0, 0.0, 0)), (named("latency"), late, None)],
            )
        )
        world.sealer.seal()
    before = world.select()
    assert before[named("up", host="a")] == {NOW: bits(float(MERGE_RUNS - 1))}
    assert world.sealer.merge() == MERGE_RUNS
    assert world.sealer.merge() == MERGE_RUNS  # the other metric
    assert world.sealer.merge() == 0
    assert world.select() == before
    assert world.rows("SELECT kind, samples FROM block ORDER BY kind") == [(0, 1 + MERGE_RUNS), (1, 1 + MERGE_RUNS)]
    assert world.rows("SELECT DISTINCT seq_low, seq_high FROM block") == [(1, MERGE_RUNS)]


# What goes back to the disk. ----------------------------------------------------------------------------------------


def test_a_query_under_way_does_not_hold_up_the_writer(world: World) -> None:
    """A checkpoint that waits for readers makes all commits wait, up to the ten seconds of the busy timeout."""
    world.append(many(100))
    with closing(open_reader(world.store.path)) as reader:
        rows = reader.execute("SELECT id FROM label_pair UNION ALL SELECT id FROM series")
        rows.fetchone()
        world.append(many(10, 2 * NOW))
        began = monotonic_s()
        world.sealer.seal()
        world.sealer.tidy()
        assert monotonic_s() - began < 5
        rows.close()
    assert world.pragma("busy_timeout") == 10_000


def test_free_pages_go_back_to_the_disk(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.on_writer(lambda connection: connection.execute("CREATE TABLE ballast (content BLOB)"))
        world.on_writer(lambda connection: connection.execute("INSERT INTO ballast VALUES (randomblob(10000000))"))
        world.on_writer(lambda connection: connection.execute("DROP TABLE ballast"))
        assert world.store.path.stat().st_size > 5 << 20
        world.sealer.tidy()
        kept = world.pragma("freelist_count") * world.pragma("page_size")
        assert 0 < kept <= 1 << 20
        assert world.store.path.stat().st_size < 2 << 20


def test_a_few_free_pages_stay_for_the_batches_to_come(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.on_writer(lambda connection: connection.execute("CREATE TABLE ballast (content BLOB)"))
        world.on_writer(lambda connection: connection.execute("INSERT INTO ballast VALUES (zeroblob(3000000))"))
        world.on_writer(lambda connection: connection.execute("DROP TABLE ballast"))
        free = world.pragma("freelist_count")
        world.sealer.tidy()
        assert world.pragma("freelist_count") == free > 100


def test_sealed_samples_are_small(tmp_path: Path) -> None:
    """At most 5 bytes a point, once sealed: counters and gauges of a few hundred series at regular times."""
    with World(tmp_path, Settings(active=10_000)) as world:
        noise = np.random.default_rng(1)
        series = [named(f"metric_{number % 5}", number=str(number)) for number in range(300)]
        totals = np.zeros(300)
        for step in range(60):
            totals += noise.integers(0, 100, 300)
            values = totals.tolist()
            world.append(Request([(labels, NOW + 10_000 * step, values[at]) for at, labels in enumerate(series)]))
        world.sealer.seal()
        (stored,) = world.rows("SELECT sum(length(series) + length(timestamps) + length(content)) FROM block")[0]
        assert stored / (300 * 60) < 2
        assert len(world.select(equal(NAME, "metric_0"))) == 60
