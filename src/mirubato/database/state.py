"""state.db: relational state of the gateway (rules, journal, silences, usage, tokens), and its migrations.

The files of `migrations` are applied in order, each in one transaction; their SQL is what SQLite and Cloudflare D1 both
take, so that `schema.sql` at the top of the project is the same text for both.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from mirubato.database.files import Readers
from mirubato.database.writer import Writer
from mirubato.errors import StorageFailed

FILE = "state.db"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from a version of the schema to the next."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """All that there are, in order; their files are named `0001_what.sql`."""
    found = []
    for file in files("mirubato.database").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            version, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(version), name, file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.version)


class StateStore:
    """One state.db: a thread that writes, and connections that read."""

    def __init__(self, directory: Path) -> None:
        """Open or make the file under `directory` and bring it to the newest schema; StorageFailed if that fails."""
        self.path = (directory / FILE).absolute()
        self.writer = Writer(_opened(self.path), "state-writer")
        self._readers = Readers(self.path, sqlite3.Row)

    def write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call `function` inside a transaction on the writer thread; answers once that is on disk."""
        return self.writer.call(function)

    def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call `function` with a connection that only reads, from any thread; it never waits for the writer."""
        with self._readers.use() as connection:
            return function(connection)

    def close(self, timeout_s: float) -> bool:
        """Commit what is queued and close the file; False if that took too long."""
        read = self._readers.close(timeout_s)
        return self.writer.close(timeout_s) and read


def _opened(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    except (OSError, sqlite3.Error) as error:
        raise StorageFailed(f"cannot open {path}: {error}") from error
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        migrate(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise StorageFailed(f"cannot use {path}: {error}") from error
    except StorageFailed:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection


def migrate(connection: sqlite3.Connection, path: Path) -> list[Migration]:
    """Apply what has not been applied yet; answers that. StorageFailed if the file is of a newer version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    known = migrations()
    if known and version > known[-1].version:
        raise StorageFailed(
            f"{path} was written by a newer version (schema {version}, this one knows {known[-1].version})"
        )
    pending = [migration for migration in known if migration.version > version]
    for migration in pending:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{migration.sql}\nPRAGMA user_version={migration.version};\nCOMMIT;"
        )
    return pending


def pending_in(directory: Path) -> list[Migration]:
    """What the file under `directory` has not had yet; all that there are if there is no file."""
    path = directory / FILE
    if not path.exists():
        return migrations()
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    finally:
        connection.close()
    return [migration for migration in migrations() if migration.version > version]


def migrate_file(directory: Path) -> list[Migration]:
    """Bring the file to the newest schema, made if need be; answers what was applied. StorageFailed if that fails."""
    pending = pending_in(directory)
    _opened((directory / FILE).absolute()).close()
    return pending
