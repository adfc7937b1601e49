"""The mirror on a real D1 engine (workerd): nothing lost or doubled, whatever fails; and an empty disk comes back.

`scripts/workerd` fetches the engine; MIRUBATO_FETCH_WORKERD=0 skips these tests instead, as does a machine without npm.
"""

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mirubato.database.d1 import D1, D1Refused, D1Unavailable, Statement
from mirubato.database.mirror import Mirror, is_empty, mirrored_tables, restore
from mirubato.database.schema import migrate_on, pending_on, schema_text, statements
from mirubato.database.state import StateStore, migrations
from tests.database.d1.runtime import TOKEN, Answer, Engine, failing, running
from tests.support.gateways import running as gateway

ROOT = Path(__file__).resolve().parents[2]
_NAMES = count()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running(tmp_path_factory.mktemp("d1")) as one:
        yield one


@pytest.fixture
def name() -> str:
    """A database that no other test uses."""
    return f"database-{next(_NAMES)}"


@pytest.fixture
def d1(engine: Engine, name: str) -> Iterator[D1]:
    one = engine.database(name)
    yield one
    one.close()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore(tmp_path / "state")
    yield store
    assert store.close(5)


def remember(state: StateStore, name: str, content: str) -> None:
    state.write(
        lambda file: file.execute(
            "INSERT INTO remembered VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET content = excluded.content",
            (name, content),
        )
    )


def forget(state: StateStore, name: str) -> None:
    state.write(lambda file: file.execute("DELETE FROM remembered WHERE name = ?", (name,)))


def local(state: StateStore) -> list[tuple[Any, ...]]:
    return [
        tuple(row) for row in state.read(lambda file: file.execute("SELECT * FROM remembered ORDER BY 1").fetchall())
    ]


def on(d1: D1) -> list[tuple[Any, ...]]:
    (answer,) = d1.run([Statement("SELECT * FROM remembered ORDER BY 1")])
    return [tuple(row.values()) for row in answer.rows]


def catch_up(mirror: Mirror) -> None:
    while mirror.step():
        pass


class TestMigrations:
    def test_are_applied_once(self, d1: D1) -> None:
        assert [one.version for one in migrate_on(d1)] == [one.version for one in migrations()]
        assert migrate_on(d1) == pending_on(d1) == []

    def test_may_be_cut_off_anywhere(self, engine: Engine, name: str) -> None:
        """A crash after each call in turn: the next run ends what was begun."""
        cut_off = [self.is_cut_off(engine, name, calls) for calls in range(2, 20)]
        assert cut_off[0]
        assert not cut_off[-1]
        d1 = engine.database(name)
        try:
            assert pending_on(d1) == []
        finally:
            d1.close()

    def is_cut_off(self, engine: Engine, name: str, calls: int) -> bool:
        """A run that may make so many calls; D1 has done the one that fails after an even number."""
        left = iter(range(calls))

        def decide() -> Answer | None:
            return None if next(left, None) is not None else Answer(503, after=calls % 2 == 0)

        with failing(engine, decide) as url, closing(engine.database(name, url)) as d1:
            try:
                migrate_on(d1)
            except D1Unavailable:
                return True
        return False

    def test_schema_sql_is_what_the_migrations_say(self) -> None:
        written = (ROOT / "schema.sql").read_text(encoding="utf-8")
        assert written == schema_text(), "write it again: mirubato migrate --print > schema.sql"

    def test_schema_sql_may_be_run_again_and_is_the_same_schema(self, d1: D1) -> None:
        for _ in range(2):
            for statement in statements(schema_text()):
                d1.run([Statement(statement)])
        assert pending_on(d1) == []
        file = sqlite3.connect(":memory:")
        file.executescript(schema_text())
        file.executescript(schema_text())
        own = [table for table in mirrored_tables(file) if table.name != "mirubato_migration"]
        file.close()
        for table in own:
            (answer,) = d1.run([Statement(f"SELECT name FROM pragma_table_info('{table.name}')")])
            assert tuple(row["name"] for row in answer.rows) == table.columns


class TestMirror:
    def test_rows_come_change_and_go(self, state: StateStore, d1: D1, name: str) -> None:
        migrate_on(d1)
        remember(state, "before", "it was set up")
        mirror = Mirror(state, d1, name)
        mirror.set_up()
        catch_up(mirror)
        remember(state, "a", "1")
        remember(state, "b", "it's ü")
        remember(state, "a", "2")
        assert mirror.behind().changes == 3
        catch_up(mirror)
        assert on(d1) == local(state)
        assert ("a", "2") in on(d1)
        forget(state, "a")
        catch_up(mirror)
        assert on(d1) == local(state)
        assert (mirror.behind().changes, mirror.behind().since_ms) == (0, None)

    def test_all_tables_have_a_key_and_few_enough_columns(self, state: StateStore) -> None:
        for table in state.read(mirrored_tables):
            assert table.key, table
            assert len(table.columns) <= 100

    def test_thousands_of_rows(self, state: StateStore, d1: D1, name: str) -> None:
        migrate_on(d1)
        rows = [(f"n{number}", "x" * (number % 700)) for number in range(5000)]
        state.write(lambda file: file.executemany("INSERT INTO remembered VALUES (?, ?)", rows))
        mirror = Mirror(state, d1, name)
        mirror.set_up()
        catch_up(mirror)
        assert on(d1) == local(state)

    def test_what_is_too_large_is_left_out_and_the_rest_goes_on(self, state: StateStore, d1: D1, name: str) -> None:
        migrate_on(d1)
        remember(state, "large", "x" * 2_000_001)
        remember(state, "small", "x")
        mirror = Mirror(state, d1, name)
        mirror.set_up()
        catch_up(mirror)
        assert "small" in dict(on(d1))
        assert "large" not in dict(on(d1))
        assert mirror.left_out == 1

    @pytest.mark.parametrize("seed", range(3))
    def test_nothing_is_lost_or_doubled_whatever_fails(
        self, engine: Engine, state: StateStore, d1: D1, name: str, seed: int
    ) -> None:
        migrate_on(d1)
        chance = random.Random(seed)
        faults = [
            None,
            Answer(429, b'{"success": false, "errors": [{"message": "rate limited"}]}'),
            Answer(500),
            Answer(503, after=True),
            Answer(200, b'{"success": tr', after=True, cut=True),
            Answer(400, b'{"success": false, "errors": [{"code": 7500, "message": "Network connection lost."}]}'),
        ]
        with failing(engine, lambda: chance.choice(faults)) as url:
            flaky = engine.database(name, url)
            mirror = Mirror(state, flaky, name)
            mirror.set_up()
            for number in range(60):
                remember(state, f"n{chance.randrange(20)}", str(number))
                forget(state, f"n{chance.randrange(20)}")
                with contextlib.suppress(D1Unavailable):
                    mirror.step()
            flaky.close()
        healthy = Mirror(state, d1, name)
        catch_up(healthy)
        assert on(d1) == local(state)

    def test_the_same_again_changes_nothing(self, state: StateStore, d1: D1, name: str) -> None:
        """A crash between D1's answer and our forgetting: the step is done twice."""
        migrate_on(d1)
        mirror = Mirror(state, d1, name)
        mirror.set_up()
        remember(state, "a", "1")
        notes = state.read(lambda file: [tuple(row) for row in file.execute("SELECT * FROM mirror_change")])
        catch_up(mirror)
        state.write(lambda file: file.executemany("INSERT INTO mirror_change VALUES (?, ?, ?, ?)", notes))
        catch_up(mirror)
        assert on(d1) == local(state)

    def test_a_wrong_token_is_refused(self, engine: Engine) -> None:
        d1 = engine.database("any", engine.url)
        d1._client.headers["authorization"] = "Bearer wrong"
        with pytest.raises(D1Refused, match="401") as caught:
            d1.run([Statement("SELECT 1")])
        assert TOKEN not in str(caught.value)
        d1.close()


class TestRestore:
    def test_an_empty_file_has_what_was_mirrored(self, tmp_path: Path, state: StateStore, d1: D1, name: str) -> None:
        migrate_on(d1)
        mirror = Mirror(state, d1, name)
        mirror.set_up()
        for number in range(2500):
            remember(state, f"n{number}", str(number))
        catch_up(mirror)
        fresh = StateStore(tmp_path / "fresh")
        try:
            assert is_empty(fresh)
            assert restore(fresh, d1) == len(local(state))
            assert local(fresh) == local(state)
            again = Mirror(fresh, d1, name)
            again.set_up()
            assert again.behind().changes <= 1  # what it remembers of the mirror itself
        finally:
            fresh.close(5)


class TestGateway:
    def settings(self, engine: Engine, name: str) -> dict[str, Any]:
        return {
            "cloudflare_api_url": engine.url,
            "cloudflare_account_id": "account",
            "cloudflare_api_token": TOKEN,
            "d1_database_id": name,
            "d1_mirror_interval": 50,
        }

    def test_a_throw_away_disk_loses_nothing_that_was_mirrored(
        self, engine: Engine, d1: D1, name: str, tmp_path: Path
    ) -> None:
        with gateway(tmp_path / "first", **self.settings(engine, name)) as one:
            remember(one.gateway.state, "kept", "yes")
        assert ("kept", "yes") in on(d1)
        with gateway(tmp_path / "second", **self.settings(engine, name)) as two:
            assert ("kept", "yes") in local(two.gateway.state)
            health = two.get("/api/health").json()["mirror"]
            assert health["problem"] in ("", "not set up yet")

    def test_an_empty_disk_and_no_d1_is_no_start(self, engine: Engine, tmp_path: Path) -> None:
        settings = self.settings(engine, "any") | {"cloudflare_api_url": "http://127.0.0.1:9/client/v4"}
        with pytest.raises(Exception, match="MIRUBATO_D1_DATABASE_ID"), gateway(tmp_path, **settings):
            pass
