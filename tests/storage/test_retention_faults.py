"""Death and a full disk at every step of retention: nothing is lost, nothing is doubled, and the next run goes on."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirubato.database.state import StateStore
from mirubato.errors import StorageFailed
from mirubato.model.histogram import Buckets, Histogram
from mirubato.model.labels import Labels
from mirubato.model.rollups import DAY_MS, HOUR_MS
from mirubato.storage.retention import RetentionSettings
from tests.storage.keeping import DAYS, MINUTE, T0, Kept, buckets
from tests.storage.test_faults import full_disk, locked
from tests.storage.world import Request, named

RULES = RetentionSettings(6 * HOUR_MS, 2 * DAY_MS, 30 * DAY_MS)
SERIES = [named("c_total", host="a"), named("c_total", host="b"), named("g")]


def value(time: int) -> float:
    return float((time - T0) % (9 * HOUR_MS) // MINUTE)


def filled(world: Kept, hours: int) -> None:
    """Samples of hours, retention not run."""
    for _ in range(hours):
        times = range(world.now + MINUTE, world.now + HOUR_MS, 10 * MINUTE)
        world.now += HOUR_MS
        floats = [(labels, time, value(time)) for labels in SERIES for time in times]
        native = [
            (named("h"), time, Histogram(value(time), 1.0, 0.0, 0.0, 0, Buckets(0, [value(time)]))) for time in times
        ]
        world.append(Request(floats, native))
        world.sealer.seal()


def wanted(hours: int) -> dict[Labels, dict[int, Any]]:
    times = [T0 + hour * HOUR_MS + MINUTE + part * 10 * MINUTE for hour in range(hours) for part in range(6)]
    samples = {time: value(time) for time in times if time % HOUR_MS}
    days = {end: bucket.columns() for end, bucket in buckets(samples, DAY_MS).items()}
    return dict.fromkeys(SERIES, days)


def whole(world: Kept) -> dict[Labels, dict[int, Any]]:
    return {labels: days for labels, days in world.rollups(DAYS).items() if labels in SERIES}


class Killed(BaseException):
    """The process is gone."""


def count_commits(world: Kept) -> list[int]:
    """Counts from here on; index 0."""
    counted = [0]
    call = world.store.writer.call

    def counting(function: Callable[..., Any], *arguments: Any, transaction: bool = True) -> Any:
        counted[0] += transaction
        return call(function, *arguments, transaction=transaction)

    world.store.writer.call = counting  # type: ignore[assignment]
    return counted


def die_before(world: Kept, commit: int) -> None:
    counted = count_commits(world)
    call = world.store.writer.call

    def dying(function: Callable[..., Any], *arguments: Any, transaction: bool = True) -> Any:
        if transaction and counted[0] == commit:
            raise Killed
        return call(function, *arguments, transaction=transaction)

    world.store.writer.call = dying  # type: ignore[assignment]


def test_a_death_at_each_step(tmp_path: Path) -> None:
    hours = 110
    with Kept(tmp_path / "data", RULES) as world:
        filled(world, 40)
        world.keep()
        filled(world, hours - 40)
        world.evict()
        world.copied(tmp_path / "whole").close()
        with world.again(tmp_path / "whole") as one:
            counted = count_commits(one)
            one.keep()
            steps = counted[0]
            assert whole(one) == wanted(hours)
            assert one.values("histogram_count(increase(h[1d]))", T0 + DAY_MS).keys() == {()}
        assert steps >= 8
        for step in range(steps):
            directory = tmp_path / f"at{step}"
            world.copied(directory).close()
            dying = world.again(directory)
            die_before(dying, step)
            with pytest.raises(Killed):
                dying.keep()
            survivor = dying.killed(tmp_path / f"after{step}")
            survivor.close()
            with world.again(tmp_path / f"after{step}") as again:
                assert whole(again) == wanted(hours), step
                again.keep()
                assert whole(again) == wanted(hours), step
                assert again.count("block") > 0
                assert again.store.kept.borders.raw == (again.now - RULES.raw) // HOUR_MS * HOUR_MS


def test_a_file_that_another_holds(tmp_path: Path) -> None:
    """Every commit fails, nothing changes, and the next run does it all."""
    hours = 60
    with Kept(tmp_path / "data", RULES) as world:
        filled(world, hours)
        with locked(world), pytest.raises(StorageFailed, match="could not commit"):
            world.keep()
        assert whole(world) == wanted(hours)
        assert world.count("rollup") == 0
        world.keep()
        assert whole(world) == wanted(hours)


def test_it_needs_little_room(tmp_path: Path) -> None:
    """What goes makes room for what stands for it: a disk that is full is no reason to stay full."""
    hours = 60
    with Kept(tmp_path / "data", RULES) as world:
        filled(world, hours)
        with full_disk(world):
            world.keep()
        assert world.count("rollup") > 0
        assert whole(world) == wanted(hours)


PROGRAM = """
import sys
from pathlib import Path
from mirubato.database.state import StateStore
from tests.storage.test_retention_faults import RULES, Kept, filled
state = StateStore(Path(sys.argv[1]) / "state")
world = Kept(Path(sys.argv[1]) / "data", RULES, state=state, metrics=("c_total",), now=int(sys.argv[2]))
filled(world, 30)
print(world.now, flush=True)
for _ in range(1000):
    world.keep()
    filled(world, 2)
    print(world.now, flush=True)
"""


@pytest.mark.parametrize("delay", [0.02, 0.15])
def test_kill_9_while_it_runs(tmp_path: Path, delay: float) -> None:
    """A real process; what it said that it had committed is there, once."""
    now = T0
    for _ in range(2):
        arguments = [sys.executable, "-c", PROGRAM, str(tmp_path), str(now)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
            assert process.stdout
            now = int(process.stdout.readline())
            timer = threading.Timer(delay, lambda pid=process.pid: os.kill(pid, signal.SIGKILL))
            timer.start()
            for line in process.stdout:
                now = int(line)
            timer.join()
        with Kept(tmp_path / "data", RULES, now=now) as world:
            committed = (now - T0) // HOUR_MS
            found, expected = whole(world), wanted(committed)
            # Hours may be there that it had no time to tell of; they are of the newest day or the one after.
            for labels, days in expected.items():
                for end in sorted(days)[:-1]:
                    assert found[labels][end] == days[end]
            newest = max(int(columns[2]) for columns in found[SERIES[0]].values())
            now = -(-newest // HOUR_MS) * HOUR_MS
            assert whole(world) == wanted((now - T0) // HOUR_MS)
            assert now >= T0 + committed * HOUR_MS
        state = StateStore(tmp_path / "state")
        state.close(10)
