"""The disk says no: who waits is told so, nothing of it stays, and the same request succeeds when there is room."""

import logging
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mirubato.clock import monotonic_s
from mirubato.errors import StorageFailed
from mirubato.limits import MERGE_RUNS
from mirubato.model.histogram import Histogram
from mirubato.model.labels import STALE_NAN, Labels
from mirubato.model.samples import NEVER
from mirubato.storage import sealing
from tests.storage.world import NOW, Model, Request, Settings, World, bits, named, one

FILLER = "x" * 900
"""Labels of this length fill pages soon."""

HISTOGRAM = Histogram(1.0, 1.0, 1.0, 0.0, 0)

BEFORE = Request(
    [(named("up"), NOW, 1.0), (named("gone"), NOW, 1.0), (named("gone"), NOW + 1, STALE_NAN)],
    [(named("latency"), NOW, HISTOGRAM)],
    [(named("up"), NOW, 1.0, (("trace_id", "1"),))],
)


def large(name: str, time: int = NOW) -> Request:
    """A request that wants pages of its own, of series old and new."""
    new: list[tuple[Labels, int, float]] = [
        (named(name, number=f"{number}{FILLER}"), time, 1.0) for number in range(60)
    ]
    old = [(named("up"), time + 5, 2.0), (named("gone"), time + 5, 2.0)]
    histograms = [
        (named("latency"), time + 5, Histogram(2.0, 2.0, 2.0, 0.0, 0)),
        (named("latency", new=name), time, None),
    ]
    return Request(old + new, histograms, [(named("up"), time + 5, 9.0, ())])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "data") as world:
        world.append(BEFORE)
        yield world


@contextmanager
def full_disk(world: World) -> Iterator[None]:
    """SQLite itself says that the database is full."""
    world.pragma(f"max_page_count={world.pragma('page_count')}")
    try:
        yield
    finally:
        world.pragma("max_page_count=1000000")


@contextmanager
def file_limit(world: World) -> Iterator[None]:
    """The system lets no file grow past one page; Python ignores the signal that comes with it."""
    assert signal.getsignal(signal.SIGXFSZ) is signal.SIG_IGN
    world.pragma("wal_checkpoint(TRUNCATE)")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
"""


@contextmanager
def locked(world: World) -> Iterator[None]:
    """Another process holds the lock for writing for longer than the writer waits."""
    world.pragma("busy_timeout=20")
    arguments = [sys.executable, "-c", LOCKER, str(world.store.path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            process.stdin.write("\n")
            process.stdin.close()
    world.pragma("busy_timeout=10000")


FAULTS = {"full": full_disk, "file limit": file_limit, "locked": locked}

anyhow = pytest.mark.parametrize("fault", FAULTS)


def picture(world: World) -> dict[str, object]:
    """All that a failed commit could leave behind."""
    registry, state = world.store.registry, world.store.registry.state
    size = len(registry.series)
    dead = [slot for slot, series in enumerate(registry.series) if series is None]
    assert (state.last_time[dead] == NEVER).all()
    assert not set(dead) & state.histograms.keys()
    live = [slot for slot, series in enumerate(registry.series) if series is not None]
    return {
        "samples": world.select(),
        "newest": world.newest(0),
        "series": [series.labels for series in registry.series if series is not None],
        "names": {name: world.reader.label_values(name) for name in world.reader.label_names()},
        "state": [
            column[live].tobytes()
            for column in (registry.ids, state.last_time, state.last_start, state.last_value, state.stale)
        ],
        "histograms": dict(state.histograms),
        "exemplars": world.reader.exemplars(0, 2 * NOW),
        "active": registry.active,
        "unsealed": world.store.recent.samples,
        "rows": world.rows("SELECT seq, samples FROM batch") + world.rows("SELECT id FROM series"),
        "slots": size - len(dead),
    }


def is_healthy(world: World) -> bool:
    return world.store.healthy


@anyhow
def test_everyone_who_waits_is_told_and_nothing_stays(world: World, fault: str) -> None:
    before = picture(world)
    together = [large("a"), one("b", NOW, 1.0), one("up", NOW + 9, 3.0)]
    with FAULTS[fault](world):
        for _ in range(2):
            outcomes = world.outcomes(*together)
            assert [type(outcome) for outcome in outcomes] == [StorageFailed] * 3
            assert str(outcomes[0]).startswith("could not commit: ")
        assert not is_healthy(world)
        if fault != "locked":
            assert picture(world) == before
    assert picture(world) == before
    assert world.append(*together) == [0, 0, 0]
    assert is_healthy(world)
    model = Model()
    model.append([BEFORE, *together], NOW)
    assert world.select() == model.series
    assert world.newest(0) == model.newest(0)


@anyhow
def test_after_it_nothing_is_left_for_a_restart_either(world: World, fault: str, tmp_path: Path) -> None:
    with FAULTS[fault](world):
        world.outcomes(large("a"))
    world.append(one("up", NOW + 1, 5.0))
    model = Model()
    model.append([BEFORE, one("up", NOW + 1, 5.0)], NOW)
    with world.copied(tmp_path / "after") as after:
        assert after.select() == model.series
        assert after.newest(0) == model.newest(0)


@pytest.mark.parametrize("fault", ["file limit", "locked"])
def test_sealing_that_fails_loses_nothing_and_works_later(world: World, fault: str) -> None:
    for number in range(3):
        world.append(large(f"metric {number}", NOW + number))
    before = picture(world)
    with FAULTS[fault](world):
        with pytest.raises(StorageFailed, match="could not commit"):
            world.sealer.seal()
        assert world.store.recent.samples == before["unsealed"]
    assert picture(world) == before
    world.sealer.seal()
    assert world.store.recent.samples == 0
    assert (world.select(), world.newest(0)) == (before["samples"], before["newest"])


def test_a_full_disk_can_still_be_sealed(world: World) -> None:
    """Blocks take the pages that the batches leave: sealing is what makes room."""
    for number in range(20):
        world.append(Request([(named("up"), NOW + 1000 * number + n, float(n)) for n in range(1000)]))
    before = world.select()
    with full_disk(world):
        world.sealer.seal()
        assert world.append(one("up", 2 * NOW)) == [0]
    before[named("up")][2 * NOW] = bits(1.0)
    assert world.select() == before


@pytest.mark.parametrize("fault", ["file limit", "locked"])
def test_a_merge_that_fails_loses_nothing(world: World, fault: str) -> None:
    for number in range(MERGE_RUNS):
        world.append(large("a", NOW + number))
        world.sealer.seal()
    before, blocks = world.select(), world.rows("SELECT id FROM block")
    with FAULTS[fault](world), pytest.raises(StorageFailed, match="could not commit"):
        world.sealer.merge()
    assert world.rows("SELECT id FROM block") == blocks
    assert world.select() == before
    assert world.sealer.merge() == MERGE_RUNS
    assert world.select() == before


def test_the_sealing_thread_tries_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "_TICK_S", 0.01)
    with World(tmp_path, Settings(seal_samples=10)) as world:
        world.append(BEFORE)
        before = world.select()
        with locked(world):
            world.sealer.start()
            until(lambda: "sealing failed" in caplog.text)
        until(lambda: world.store.recent.samples == 0)
        assert world.select() == before


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other threads do."""
    deadline = monotonic_s() + 20
    while not condition():
        assert monotonic_s() < deadline
        time.sleep(0.005)


def test_a_bug_hurts_only_the_request_that_has_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    before = world.select()
    good = [one("a"), one("up", NOW + 1), one("b")]
    with caplog.at_level(logging.ERROR):
        outcomes = world.outcomes(good[0], Request(one("bad").floats, bug=True), *good[1:])
    assert [type(outcome) for outcome in outcomes] == [int, ZeroDivisionError, int, int]
    assert "ZeroDivisionError: a bug" in caplog.text
    model = Model(before)
    model.append(good, NOW)
    assert world.select() == model.series
    assert world.append(one("c")) == [0]
    assert named("bad") not in {series.labels for series in world.store.registry.series if series}


@pytest.mark.parametrize("errand_first", [True, False])
def test_a_failed_errand_does_not_hurt_requests_of_its_commit(world: World, errand_first: bool) -> None:
    """Both wait while the writer is busy, and so share a commit."""
    with world.busy_writer():
        errand = world.errand(lambda _: 1 // 0) if errand_first else None
        waiting = world.start(one("a"))
        errand = errand or world.errand(lambda _: 1 // 0)
    assert world.run(waiting) == 0
    with pytest.raises(ZeroDivisionError):
        errand.result()
    assert named("a") in world.select()


def test_errands_that_need_the_disk_fail_with_the_requests_of_their_commit(world: World) -> None:
    with full_disk(world):
        with world.busy_writer():
            waiting = world.start(large("a"))
            errand = world.errand(lambda connection: connection.execute("DELETE FROM exemplar").rowcount)
        with pytest.raises(StorageFailed):
            world.run(waiting)
        with pytest.raises(StorageFailed):
            errand.result()
    assert world.reader.exemplars(0, 2 * NOW)
