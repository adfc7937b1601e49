"""What comes back after a restart, in order or by a sudden death: everything; and no number is given twice."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mirubato.errors import StorageFailed
from mirubato.limits import ACTIVE_SERIES_MS
from mirubato.model.histogram import Buckets, Histogram
from mirubato.model.labels import NAME, STALE_NAN, Labels
from mirubato.storage import sealing, snapshot
from mirubato.storage.snapshot import Snapshot
from tests.storage.world import EVER, NOW, Model, Request, Settings, Unlimited, World, bits, equal, named, one

HISTOGRAM = Histogram(3.0, math.nan, 1.0, 1e-128, 3, Buckets(-2, (1.0, 0.0, 1.0)))

FULL = Request(
    floats=[
        (named("up", host="a"), NOW - 5, 1.0),
        (named("up", host="a"), NOW, -0.0),
        (named("up", host="é\n"), NOW, math.nan),
        (named("gone", host="a"), NOW - 5, 2.0),
        (named("gone", host="a"), NOW, STALE_NAN),
    ],
    histograms=[
        (named("latency", host="a"), NOW - 1, HISTOGRAM),
        (named("latency", host="b"), NOW - 1, HISTOGRAM),
        (named("latency", host="b"), NOW, None),
    ],
    exemplars=[
        (named("up", host="a"), NOW, 1.5, (("trace_id", "abc"),)),
        (named("up", host="a"), NOW + 1, math.nan, ()),
    ],
)

Restart = Callable[[World], World]


@pytest.fixture(params=["in order", "killed"])
def restart(request: pytest.FixtureRequest, tmp_path: Path) -> Restart:
    if request.param == "in order":
        return World.reopened
    return lambda world: world.killed(tmp_path / f"after {world.directory.name}")


def picture(world: World) -> dict[str, object]:
    """Everything that can be asked."""
    state, registry = world.store.registry.state, world.store.registry
    return {
        "samples": world.select(),
        "newest": world.newest(0),
        "series": {
            series.labels: (
                series.id,
                series.kind,
                series.family,
                int(state.last_time[slot]),
                int(state.last_start[slot]),
                bits(float(state.last_value[slot])),
                bool(state.stale[slot]),
            )
            for slot, series in enumerate(registry.series)
            if series is not None
        },
        "families": world.reader.families(),
        "names": world.reader.label_names(),
        "exemplars": [
            (labels, exemplar.timestamp, str(exemplar.value), exemplar.labels)
            for labels, exemplar in world.reader.exemplars(0, NOW * 2)
        ],
    }


@pytest.mark.parametrize("sealed", ["nothing", "all", "half"])
def test_everything_is_back(tmp_path: Path, restart: Restart, sealed: str) -> None:
    world = World(tmp_path / "data")
    world.append(FULL)
    if sealed != "nothing":
        world.sealer.seal()
    if sealed == "half":
        world.append(one("up", NOW + 1, 5.0, host="a"), one("later", NOW, 6.0))
    before = picture(world)
    assert before["exemplars"] == [
        (named("up", host="a"), NOW, "1.5", (("trace_id", "abc"),)),
        (named("up", host="a"), NOW + 1, "nan", ()),
    ]
    world = restart(world)
    assert picture(world) == before
    world = restart(world)
    assert picture(world) == before
    world.close()


def test_replay_over_a_newer_snapshot_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot is written with a seal, and holds what came after the batches that were sealed, too."""
    monkeypatch.setattr(sealing, "UNSEALED_LOADS_MAX", 1000)
    world = World(tmp_path / "data", Settings(seal_samples=1))
    model = Model()
    requests = [
        Request([(named("up"), NOW + 2, 1.0), (named("down"), NOW, 1.0)]),
        Request([(named("up"), NOW + 2, 2.0), (named("down"), NOW + 3, STALE_NAN)]),
        Request([(named("up"), NOW + 1, 3.0)], [(named("latency"), NOW, HISTOGRAM)]),
        Request([(named("up"), NOW + 2, 4.0)], [(named("latency"), NOW, None)]),
    ]
    for request in requests:
        world.append(request)
        world.store.recent.close()  # so that a load is one batch
    model.append(requests, NOW)
    world.sealer.seal()
    assert len(world.store.recent.chunks()) == len(requests) - 1
    before = picture(world)
    assert before["samples"] == model.series
    world = world.killed(tmp_path / "after")
    assert picture(world) == before
    world.close()


def test_a_snapshot_comes_back_as_it_was(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.append(FULL)
        registry = world.store.registry
        registry.state.last_start[0] = NOW - 77
        read = Snapshot(snapshot.encode(registry))
        live = [slot for slot, series in enumerate(registry.series) if series is not None]
        assert read.ids.tolist() == registry.ids[live].tolist()
        assert read.seen.tolist() == registry.seen[live].tolist()
        assert read.last_time.tolist() == registry.state.last_time[live].tolist()
        assert read.last_start.tolist() == registry.state.last_start[live].tolist()
        assert read.stale.tolist() == registry.state.stale[live].tolist()
        assert read.last_value.tobytes() == registry.state.last_value[live].tobytes()
        assert {id_: repr(value) for id_, value in read.histograms.items()} == {
            int(registry.ids[slot]): repr(value) for slot, value in registry.state.histograms.items()
        }


def test_series_ids_are_never_given_again(tmp_path: Path, restart: Restart) -> None:
    world = World(tmp_path / "data")
    world.append(one("first"), one("second"))
    world.sealer.seal()
    world.now += ACTIVE_SERIES_MS + 1
    assert world.evict() == 2
    world = restart(world)
    assert world.store.registry.active == 0
    assert world.store.archived
    world.append(one("third", world.now))
    ids = [id_ for (id_,) in world.rows("SELECT id FROM series ORDER BY id")]
    assert len(ids) == 3
    assert world.store.registry.ids[0] == ids[-1]
    world.close()


def test_sequence_numbers_are_never_given_again(tmp_path: Path, restart: Restart) -> None:
    world, given = World(tmp_path / "data"), list[int]()

    def next_number() -> int:
        world.append(one("up", NOW + len(given)))
        return world.store.recent.chunks()[-1].seq_high

    given.append(next_number())
    world = restart(world)  # an unsealed batch knows
    given.append(next_number())
    world.sealer.seal()
    world = restart(world)  # only a block knows
    assert world.rows("SELECT count(*) FROM batch") == [(0,)]
    given.append(next_number())
    assert given == sorted(set(given))
    world.close()


def test_numbers_of_failed_commits_leave_gaps_that_nobody_sees(tmp_path: Path, restart: Restart) -> None:
    world = World(tmp_path / "data")
    world.append(one("up", NOW))
    assert isinstance(world.outcomes(Request(one("lost").floats, bug=True))[0], ZeroDivisionError)
    world.pragma(f"max_page_count={world.pragma('page_count')}")
    big = Request([(named("big", number=str(number) + "x" * 900), NOW, 1.0) for number in range(100)])
    assert isinstance(world.outcomes(big)[0], StorageFailed)
    world.pragma("max_page_count=100000")
    world.append(one("up", NOW + 1), one("new"))
    world.sealer.seal()
    world = restart(world)
    world.append(one("up", NOW + 2))
    assert {labels: sorted(times) for labels, times in world.select().items()} == {
        named("up"): [NOW, NOW + 1, NOW + 2],
        named("new"): [NOW],
    }
    world.close()


def test_idle_series_stay_on_disk_over_a_restart(tmp_path: Path, restart: Restart) -> None:
    world = World(tmp_path / "data")
    world.append(one("idle", NOW, 1.0, host="a"))
    world.now += ACTIVE_SERIES_MS - 1
    world.append(one("busy", world.now, 2.0, host="b"))
    world.sealer.seal()
    world.now += 2
    before = world.select()
    world = restart(world)
    assert [labels for series in world.store.registry.series if (labels := series and series.labels)] == [
        named("busy", host="b")
    ]
    assert world.select() == before
    assert list(world.select(equal("host", "a"))) == [named("idle", host="a")]
    assert world.reader.label_values("host") == ["b"]
    world.close()


def test_a_restart_long_after_loses_no_unsealed_sample(tmp_path: Path, restart: Restart) -> None:
    """Their series look idle, by the snapshot, while what they hold is in memory only by slot."""
    world = World(tmp_path / "data")
    world.append(one("up", NOW))
    world.sealer.seal()
    world.append(one("up", NOW + 1))
    world.now += 3 * ACTIVE_SERIES_MS
    before = world.select()
    world = restart(world)
    assert world.evict() == 0
    world.append(one("other", world.now))
    world.sealer.seal()
    after = world.select()
    assert after[named("up")] == before[named("up")]
    assert set(after) == {named("up"), named("other")}
    world.close()


def test_an_hour_without_sealing_evicts_nothing_that_is_unsealed(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.append(one("up", NOW))
        world.now += ACTIVE_SERIES_MS + 1
        world.append(one("down", world.now))
        assert world.evict() == 0
        world.sealer.seal()
        assert world.evict() == 1
        assert set(world.select()) == {named("up"), named("down")}


@pytest.mark.parametrize(
    ("idle_ms", "gone"), [(ACTIVE_SERIES_MS - 1, 0), (ACTIVE_SERIES_MS, 0), (ACTIVE_SERIES_MS + 1, 1)]
)
def test_when_a_series_is_idle(tmp_path: Path, idle_ms: int, gone: int) -> None:
    with World(tmp_path) as world:
        world.append(one("up", NOW))
        world.sealer.seal()
        world.now += idle_ms
        assert world.evict() == gone
        assert world.store.registry.active == 1 - gone


def test_a_series_that_returns_is_one_with_its_archived_self(tmp_path: Path, restart: Restart) -> None:
    world = World(tmp_path / "data")
    labels: Labels = named("up", host="a")
    for life in range(3):
        world.append(Request([(labels, world.now, float(life)), (labels, NOW, float(life))]))
        world.sealer.seal()
        world.now += ACTIVE_SERIES_MS + 1
        if life < 2:
            assert world.evict() == 1
    assert len(world.rows("SELECT id FROM series")) == 3
    for _ in range(2):
        selected = world.reader.select((equal("host", "a"),), *EVER, Unlimited())
        assert selected.floats.labels == [labels]
        assert selected.floats.values.tolist() == [2.0, 1.0, 2.0]  # the last write at NOW, then one of each life
        assert world.reader.series((equal(NAME, "up"),), NOW, Unlimited()) == [labels]
        world = restart(world)
    world.close()
