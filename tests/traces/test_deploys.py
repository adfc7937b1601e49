"""What counts as a deploy: side by side it is one, coming back after a while is a rollback; over restarts too."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirubato.database.state import StateStore
from mirubato.limits import DEPLOYS_PER_HOUR_MAX
from mirubato.traces.deploys import Deploys
from tests.support.doors import HTTP
from tests.support.gateways import Running
from tests.support.requests import fresh, gauge, metrics, number
from tests.traces.some import NOW_MS

MINUTE_MS = 60_000


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore(tmp_path)
    yield store
    assert store.close(5)


def see(deploys: Deploys, version: str, at: int, service: str = "shop") -> None:
    asyncio.run(deploys.see([(service, version)], NOW_MS + at, "spans"))


def seen(deploys: Deploys) -> list[tuple[str, str, int]]:
    return [(one.previous, one.version, one.time_ms - NOW_MS) for one in deploys.between(0, 1 << 53)]


def test_the_first_version_is_none(state: StateStore) -> None:
    deploys = Deploys(state)
    see(deploys, "1", 0)
    see(deploys, "1", 3_600_000)
    assert seen(deploys) == []


def test_side_by_side_it_is_one(state: StateStore) -> None:
    deploys = Deploys(state)
    for minute in range(20):
        see(deploys, "1", minute * MINUTE_MS)
        if minute > 2:
            see(deploys, "2", minute * MINUTE_MS + 1)
    assert seen(deploys) == [("1", "2", 3 * MINUTE_MS + 1)]


def test_a_rollback(state: StateStore) -> None:
    deploys = Deploys(state)
    see(deploys, "1", 0)
    for minute in range(1, 7):
        see(deploys, "2", minute * MINUTE_MS)
    see(deploys, "1", 7 * MINUTE_MS)
    assert seen(deploys) == [("1", "2", MINUTE_MS), ("2", "1", 7 * MINUTE_MS)]


def test_a_service_that_was_idle_is_not_deployed(state: StateStore) -> None:
    deploys = Deploys(state)
    see(deploys, "1", 0)
    see(deploys, "2", MINUTE_MS)
    see(deploys, "2", 600 * MINUTE_MS)
    assert len(seen(deploys)) == 1


def test_after_a_restart_the_last_version_is_known(state: StateStore) -> None:
    before = Deploys(state)
    see(before, "1", 0)
    asyncio.run(before.save())
    after = Deploys(state)
    after.load()
    see(after, "1", 20 * MINUTE_MS)
    see(after, "2", 21 * MINUTE_MS)
    assert seen(Deploys(state)) == [("1", "2", 21 * MINUTE_MS)]


def test_a_version_that_is_another_each_time_stops_at_a_bound(state: StateStore) -> None:
    deploys = Deploys(state)
    for version in range(100):
        see(deploys, f"{version}", version)
    assert len(seen(deploys)) == DEPLOYS_PER_HOUR_MAX
    see(deploys, "new", 3_700_000)
    assert seen(deploys)[-1] == ("99", "new", 3_700_000)


def test_of_too_many_the_newest_are_told(state: StateStore) -> None:
    deploys = Deploys(state)
    for version in range(5):
        asyncio.run(deploys.add("shop", f"{version}", NOW_MS + version))
    assert [one.version for one in deploys.between(0, 1 << 53, limit=2)] == ["3", "4"]
    assert deploys.between(NOW_MS + 1, NOW_MS + 2, "other") == []
    assert [one.version for one in deploys.between(NOW_MS + 1, NOW_MS + 2, "shop")] == ["1", "2"]


def test_when_state_cannot_be_written_the_next_one_tries_again(state: StateStore) -> None:
    deploys = Deploys(state)
    see(deploys, "1", 0)
    state.writer.call(lambda file: file.execute("PRAGMA query_only=1"), transaction=False)
    see(deploys, "2", 1)
    state.writer.call(lambda file: file.execute("PRAGMA query_only=0"), transaction=False)
    see(deploys, "2", 2)
    assert seen(deploys) == [("1", "2", 2)]


def test_what_metrics_say(gateway: Running) -> None:
    """Services that send no spans: by target_info, at the next look."""
    service, tracing = fresh("service"), gateway.gateway.tracing
    for version in ("1.0", "1.1"):
        who = {"service.name": service, "service.instance.id": version, "service.version": version}
        request = metrics(gauge(fresh("some"), number(1.0)), resource=who)
        assert HTTP.export(gateway, "metrics", request).code == 0
        asyncio.run_coroutine_threadsafe(tracing.look(), gateway.loop).result(10)
    (found,) = gateway.get("/api/deploys", service=service).json()["deploys"]
    assert (found["version"], found["previous_version"], found["source"]) == ("1.1", "1.0", "metrics")
