"""Readers while the writer appends, the sealer seals and series come and go: never a missing or doubled sample."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mirubato.limits import ACTIVE_SERIES_MS
from mirubato.model.labels import NAME
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.samples import SelectedFloats
from mirubato.storage import blocks, recent, sealing
from tests.storage.world import EVER, NOW, Request, Settings, Unlimited, World, equal, named

READERS = 3
ROUNDS = 150
SERIES = 20
COUNTER = equal(NAME, "requests_total")


@pytest.fixture(autouse=True)
def _quick_switches() -> Iterator[None]:
    """Threads take turns a hundred times as often as by default."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


class Readers:
    """Threads that look again and again until they are stopped."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look, self._stop = look, threading.Event()
        self.looks = 0
        self.errors: list[Exception] = []
        self._threads = [threading.Thread(target=self._serve) for _ in range(READERS)]

    def _serve(self) -> None:
        try:
            while not self._stop.is_set():
                self._look()
                self.looks += 1
        except Exception as error:  # noqa: BLE001  (raised where the readers are stopped)
            self.errors.append(error)

    @contextmanager
    def looking(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(30)
        for error in self.errors:
            raise error
        assert self.looks


def counts(round_: int) -> Request:
    """One sample of each counter; its value tells its time."""
    time = NOW + round_
    return Request([(named("requests_total", number=str(number)), time, float(time)) for number in range(SERIES)])


def check_columns(floats: SelectedFloats, acknowledged: int, sent: int) -> None:
    """Every series has all samples up to the acknowledged, each once, and none that was not sent."""
    assert len(floats.labels) == (SERIES if acknowledged else len(floats.labels))
    assert len(set(floats.labels)) == len(floats.labels)
    for low, high in zip(floats.offsets[:-1], floats.offsets[1:], strict=True):
        times = floats.timestamps[low:high].tolist()
        assert times == list(range(NOW, NOW + len(times)))
        assert acknowledged <= len(times) <= sent
        assert floats.values[low:high].tolist() == list(map(float, times))


def test_no_acknowledged_sample_is_missing_or_doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "CHUNK_SAMPLES", 60)
    monkeypatch.setattr(blocks, "BLOCK_VALUES_MAX", 100)
    monkeypatch.setattr(sealing, "_TICK_S", 0.001)
    progress = {"acknowledged": 0, "sent": 0}
    with World(tmp_path, Settings(seal_samples=200, seal_interval=1)) as world:

        def look() -> None:
            acknowledged = progress["acknowledged"]
            selected = world.reader.select((COUNTER,), *EVER, Unlimited())
            check_columns(selected.floats, acknowledged, progress["sent"])

        world.sealer.start()
        with Readers(look).looking():
            for round_ in range(ROUNDS):
                progress["sent"] += 1
                assert world.append(counts(round_)) == [0]
                progress["acknowledged"] += 1
                world.now += 1
        assert world.sealer.sealed_samples > 1000
        look()


def test_a_scrape_sees_commits_as_a_whole(tmp_path: Path) -> None:
    """Time and value of a sample belong together, and all series of a commit show it or none does."""
    with World(tmp_path) as world:

        def look() -> None:
            shown = world.reader.newest((COUNTER,), NOW)
            assert {newest.value - newest.timestamp for newest in shown} <= {0.0}
            assert len({newest.timestamp for newest in shown}) <= 1

        with Readers(look).looking():
            for round_ in range(3 * ROUNDS):
                world.append(counts(round_))


def test_new_series_while_queries_look(tmp_path: Path) -> None:
    with World(tmp_path, Settings(active=100_000)) as world:
        progress = {"acknowledged": 0}

        def look() -> None:
            acknowledged = progress["acknowledged"]
            everything = (Matcher(NAME, MatchOp.REGEX, "new_.*"), Matcher("none", MatchOp.EQUAL, ""))
            assert len(world.reader.select(everything, *EVER, Unlimited()).floats.labels) >= acknowledged
            assert len(world.reader.series(everything, NOW, Unlimited())) >= acknowledged
            assert len(world.reader.newest(None, NOW)) >= acknowledged
            assert len(world.reader.label_values("number")) >= acknowledged

        with Readers(look).looking():
            for round_ in range(60):
                world.append(Request([(named("new_one", number=f"{round_}/{n}"), NOW, 1.0) for n in range(40)]))
                progress["acknowledged"] += 40


def test_slots_change_hands_while_queries_look(tmp_path: Path) -> None:
    """Each generation of series lives for an hour and leaves its slots to the next; values tell whose they are."""
    generations, size = 40, 30
    with World(tmp_path, Settings(seal_samples=1)) as world:
        progress = {"acknowledged": 0}

        def check(generation: int) -> None:
            floats = world.reader.select((equal("generation", str(generation)),), *EVER, Unlimited()).floats
            assert len(floats.labels) == size
            assert set(floats.values.tolist()) == {float(generation)}
            assert {dict(labels)["generation"] for labels in floats.labels} == {str(generation)}

        def look() -> None:
            acknowledged = progress["acknowledged"]
            for generation in range(max(0, acknowledged - 2), acknowledged):
                check(generation)
            for newest in world.reader.newest(None, 0):
                assert newest.value == float(dict(newest.labels)["generation"])

        with Readers(look).looking():
            for generation in range(generations):
                series = [named("m", generation=str(generation), number=str(number)) for number in range(size)]
                world.append(Request([(labels, world.now, float(generation)) for labels in series]))
                progress["acknowledged"] += 1
                world.sealer.seal()
                world.now += ACTIVE_SERIES_MS + 1
                world.evict()
        assert len(world.store.registry.series) == size
        assert world.store.registry.active == 0


def test_a_failing_disk_while_queries_look(tmp_path: Path) -> None:
    """What was rolled back is never seen, whatever became of its slots."""
    with World(tmp_path) as world:
        world.append(counts(0))
        pages = world.pragma("page_count")

        def look() -> None:
            floats = world.reader.select((Matcher(NAME, MatchOp.REGEX, ".+"),), *EVER, Unlimited()).floats
            assert {dict(labels)[NAME] for labels in floats.labels} == {"requests_total"}

        with Readers(look).looking():
            world.pragma(f"max_page_count={pages}")
            for round_ in range(60):
                labels = [named("lost", number=f"{round_}/{number}" + "x" * 900) for number in range(40)]
                (outcome,) = world.outcomes(Request([(one, NOW, 1.0) for one in labels]))
                assert isinstance(outcome, Exception)


def test_many_clients_share_commits(tmp_path: Path) -> None:
    """Requests of many tasks at once: each is answered with what it sent on disk, in fewer commits than requests."""
    with World(tmp_path) as world:
        commits: list[float] = []
        world.store.writer.on_commit = commits.append

        async def client(number: int) -> None:
            for step in range(20):
                request = Request([(named("m", client=str(number)), NOW + step, float(step))])
                assert await world.appender.append(request, 100) == 0

        async def all_clients() -> None:
            await asyncio.gather(*(client(number) for number in range(50)))

        world.run(all_clients())
        assert len(commits) < 500
        found = world.select(equal(NAME, "m"))
        assert {len(samples) for samples in found.values()} == {20}
        assert len(found) == 50
