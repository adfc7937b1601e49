"""The way in: bounds, waiting together, requests whose client has gone, a sealer that cannot follow."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirubato.errors import Overloaded, StorageFailed
from mirubato.limits import COMMIT_BYTES_MAX, UNSEALED_LOADS_MAX, WAITING_BYTES_MAX
from mirubato.model.labels import NAME
from mirubato.storage import appending
from tests.storage.world import NOW, Request, Settings, World, equal, named, one


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as world:
        yield world


def commits_of(world: World) -> list[float]:
    """Grows by one with each commit."""
    commits: list[float] = []
    world.store.writer.on_commit = commits.append
    return commits


@pytest.mark.parametrize(
    ("waiting", "size", "fits"),
    [
        (WAITING_BYTES_MAX - 1, 1, True),
        (WAITING_BYTES_MAX, 0, True),
        (WAITING_BYTES_MAX, 1, False),
        (0, WAITING_BYTES_MAX, True),
        (0, WAITING_BYTES_MAX + 1, False),
    ],
)
def test_bytes_that_wait_have_a_bound(world: World, waiting: int, size: int, fits: bool) -> None:
    with world.busy_writer():
        first = world.start(one("a"), size=waiting)
        second = world.start(one("b"), size=size)
        assert second.done() is not fits
    assert world.run(first) == 0
    if fits:
        assert world.run(second) == 0
    else:
        with pytest.raises(Overloaded, match="MiB of requests are waiting to be committed"):
            world.run(second)
    assert world.appender.waiting_bytes == 0
    assert world.append(one("b")) == [0]


@pytest.mark.parametrize(
    ("size", "commits"),
    [
        (COMMIT_BYTES_MAX - 1, 2),  # the second still begins below the bound
        (COMMIT_BYTES_MAX, 3),
        (COMMIT_BYTES_MAX + 1, 3),
    ],
)
def test_bytes_of_a_commit_have_a_bound(world: World, size: int, commits: int) -> None:
    done = commits_of(world)
    with world.busy_writer():
        tasks = [world.start(one("m", NOW + number), size=size) for number in range(3)]
    for task in tasks:
        assert world.run(task) == 0
    world.on_writer(lambda _: None)  # the last commit is told of after its answers
    assert len(done) == commits
    assert len(world.select(equal(NAME, "m"))[named("m")]) == 3


def test_requests_that_come_while_others_are_taken_are_committed_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer may look while it is being asked to look: nobody may be taken twice or left behind."""
    monkeypatch.setattr(appending, "COMMIT_BYTES_MAX", 3)
    switch_interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        world.run(crowd(world))
    finally:
        sys.setswitchinterval(switch_interval)
    assert [len(samples) for samples in world.select().values()] == [30] * 16
    assert world.rows("SELECT sum(samples) FROM batch") == [(30 * 16,)]
    assert world.store.recent.samples == 30 * 16


async def crowd(world: World) -> None:
    """Sixteen clients with thirty requests each."""

    async def client(number: int) -> None:
        for step in range(30):
            request = Request([(named("m", client=str(number)), NOW + step, float(step))])
            assert await world.appender.append(request, 1) == 0

    await asyncio.gather(*(client(number) for number in range(16)))


def test_a_client_that_hangs_up_does_not_disturb_the_others(world: World) -> None:
    with world.busy_writer():
        gone, stays = world.start(one("gone")), world.start(one("stays"))
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            world.run(gone)
    assert world.run(stays) == 0
    assert set(world.select()) >= {named("stays")}
    assert world.appender.waiting_bytes == 0
    assert world.append(one("gone", NOW + 1)) == [0]


def test_a_failed_request_of_a_client_that_hung_up(world: World) -> None:
    with world.busy_writer():
        gone = world.start(Request(one("gone").floats, bug=True))
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            world.run(gone)
    assert world.append(one("up")) == [0]
    assert set(world.select()) == {named("up")}


def test_the_answer_to_a_loop_that_is_gone(tmp_path: Path) -> None:
    """The gateway leaves while requests are being committed: they are kept, and nobody is told."""
    world = World(tmp_path)
    with world.busy_writer():
        task = world.start(one("up"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            world.run(task)
        world.loop.close()
    world.close()
    with World(tmp_path) as again:
        assert set(again.select()) == {named("up")}


def test_after_closing(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.store.close(10)
    for _ in range(2):
        (outcome,) = world.outcomes(one("up"))
        assert isinstance(outcome, StorageFailed)
    world.close()


def test_an_empty_request_is_answered(world: World) -> None:
    assert world.append(Request()) == [0]
    assert world.rows("SELECT count(*) FROM batch") == [(0,)]
    assert world.store.recent.chunks() == ()
    assert world.store.last_commit == NOW


def test_a_request_of_exemplars_only(world: World) -> None:
    world.append(one("up"), Request(exemplars=[(named("up"), NOW, 2.0, ())]))
    assert [(labels, exemplar.value) for labels, exemplar in world.reader.exemplars(NOW, NOW)] == [(named("up"), 2.0)]


# A sealer that is behind. -------------------------------------------------------------------------------------------


def behind_world(directory: Path) -> World:
    """One in which nothing more should come."""
    world = World(directory, Settings(seal_samples=10))
    world.append(Request([(named("m"), NOW + number, 1.0) for number in range(10 * UNSEALED_LOADS_MAX)]))
    return world


@pytest.mark.parametrize(("samples", "behind"), [(29, False), (30, True), (31, True)])
def test_when_the_sealer_is_behind(tmp_path: Path, samples: int, behind: bool) -> None:
    assert UNSEALED_LOADS_MAX == 3
    with World(tmp_path, Settings(seal_samples=10)) as world:
        world.append(Request([(named("m"), NOW + number, 1.0) for number in range(samples)]))
        assert world.sealer.behind() is behind


def test_requests_wait_for_the_sealer(tmp_path: Path) -> None:
    with behind_world(tmp_path) as world:
        waiting = world.start(one("late"))
        world.loop.run_until_complete(asyncio.sleep(0.05))
        assert not waiting.done()
        world.sealer.start()
        assert world.run(waiting) == 0
        assert named("late") in world.select()


def test_requests_are_sent_away_when_the_sealer_does_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "_SEAL_WAITS_MAX", 2)
    with behind_world(tmp_path) as world:
        with pytest.raises(Overloaded, match="30 samples are waiting to be sealed"):
            world.append(one("late"))
        assert world.appender.waiting_bytes == 0
        world.sealer.seal()
        assert world.append(one("late")) == [0]
