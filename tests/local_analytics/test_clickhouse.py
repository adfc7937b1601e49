"""Event points on ClickHouse (chdb behind its HTTP interface): all arrive, once, and the same SQL asks them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import orjson
import pytest

from mirubato.analytics_engine.event_points import EventPoint
from mirubato.local_analytics.clickhouse import ClickHouse, ClickHouseUnavailable, Shipper
from mirubato.local_analytics.engine import LocalAnalytics
from mirubato.local_analytics.store import EventPointStore

pytestmark = pytest.mark.skipif(
    find_spec("chdb") is None, reason="no chdb here: pip install 'mirubato-monitoring[chdb]'"
)
NOW_MS = 1_800_000_000_000


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """A server over `directory`; its address."""
    command = [sys.executable, str(Path(__file__).with_name("front.py")), str(directory)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("clickhouse")) as one:
        yield one


@pytest.fixture
def clickhouse(url: str, request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """A database of its own for each test."""
    one = ClickHouse(url, "".join(letter if letter.isalnum() else "_" for letter in request.node.name), "", "")
    yield one
    one.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventPointStore]:
    one = EventPointStore(tmp_path, rows_max=100_000)
    yield one
    assert one.close(5)


def points(count: int) -> list[EventPoint]:
    return [
        EventPoint(NOW_MS + n, f"i{n % 7}", ("m", None, "it's ü"), (float(n), 0.5), 1 + n % 3) for n in range(count)
    ]


def test_all_arrive_once_and_are_asked_as_in_analytics_engine(store: EventPointStore, clickhouse: ClickHouse) -> None:
    store.write("shop", points(3000), NOW_MS)
    store.write("other", points(5), NOW_MS)
    shipper = Shipper(store, clickhouse)
    while shipper.step():
        pass
    engine = LocalAnalytics(store, clickhouse)
    body, _ = engine.answer("SELECT sum(_sample_interval) AS n, max(double1) AS most FROM shop WHERE blob3 = 'it''s ü'")
    (row,) = orjson.loads(body)["data"]
    assert (int(row["n"]), row["most"]) == (sum(point.sample_interval for point in points(3000)), 2999)
    (other,) = orjson.loads(engine.answer("SELECT count() AS n FROM other")[0])["data"]
    assert int(other["n"]) == 5


def test_a_repeated_insert_changes_nothing(store: EventPointStore, clickhouse: ClickHouse) -> None:
    """As after an answer that was lost."""
    store.write("shop", points(100), NOW_MS)
    Shipper(store, clickhouse).step()
    store.shipped(0)
    Shipper(store, clickhouse).step()
    assert clickhouse.ask("SELECT count() FROM event_points").strip() == "100"


def test_what_cannot_be_shipped_waits(store: EventPointStore, clickhouse: ClickHouse) -> None:
    away = ClickHouse("http://127.0.0.1:9", "any", "", "")
    store.write("shop", points(10), NOW_MS)
    with pytest.raises(ClickHouseUnavailable):
        Shipper(store, away).step()
    away.close()
    assert Shipper(store, clickhouse).step() == 10
    assert Shipper(store, clickhouse).step() == 0
