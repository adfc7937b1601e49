"""state.db: migrations in order, once; what is written is read; a newer file is refused."""

import sqlite3
from pathlib import Path

import pytest

from mirubato.database.state import FILE, StateStore, migrations
from mirubato.errors import StorageFailed


def test_migrations_are_numbered_without_gaps() -> None:
    assert [one.version for one in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_second_opening_changes_nothing(tmp_path: Path) -> None:
    def schema() -> list[str]:
        store = StateStore(tmp_path)
        try:
            return store.read(lambda file: [row[0] for row in file.execute("SELECT sql FROM sqlite_schema")])
        finally:
            store.close(5)

    assert schema() == schema()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    try:
        store.write(lambda file: file.execute("CREATE TABLE note (text TEXT)"))
        store.write(lambda file: file.execute("INSERT INTO note VALUES ('kept')"))
        assert store.read(lambda file: file.execute("SELECT text FROM note").fetchone()["text"]) == "kept"
    finally:
        store.close(5)


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    StateStore(tmp_path).close(5)
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA user_version=9999")
    connection.close()
    with pytest.raises(StorageFailed, match="newer version"):
        StateStore(tmp_path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StorageFailed, match=r"cannot use .*state\.db"):
        StateStore(tmp_path)
