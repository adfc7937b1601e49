"""The relational schema as one text (`schema.sql`), and ordered migrations of a D1 database."""

import sqlite3
from collections.abc import Iterable, Iterator

from mirubato.database.d1 import D1, D1Refused, Statement
from mirubato.database.state import Migration, migrations

_DONE = """CREATE TABLE IF NOT EXISTS mirubato_migration (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL
)"""
# A migration that was cut off is begun again: what of it is there already is no error.
_ALREADY = ("already exists", "duplicate column name")

_HEAD = """\
-- The relational state of a gateway, for SQLite and for Cloudflare D1:
--   wrangler d1 execute DATABASE --file schema.sql
-- Written by `mirubato migrate --print` from src/mirubato/database/migrations; a test holds it to them.
"""


def statements(sql: str) -> Iterator[str]:
    """The statements of a text, without their semicolons."""
    part = ""
    for piece in sql.split(";"):
        part += piece
        if sqlite3.complete_statement(part + ";"):
            if any(line.strip() and not line.strip().startswith("--") for line in part.splitlines()):
                yield part.strip()
            part = ""
        else:
            part += ";"


def schema_text() -> str:
    """All migrations as one script that may be run again."""
    parts = [_HEAD, f"{_DONE};\n"]
    for migration in migrations():
        parts.append(f"-- {migration.version}: {migration.name}\n{_repeatable(migration.sql).strip()}\n")
        parts.append(f"{_record(migration)};\n")
    return "\n".join(parts)


def _repeatable(sql: str) -> str:
    for kind in ("TABLE", "INDEX", "UNIQUE INDEX"):
        sql = sql.replace(f"CREATE {kind} ", f"CREATE {kind} IF NOT EXISTS ")
    return sql


def _record(migration: Migration) -> str:
    """Names of migrations are those of files of this package: words."""
    return f"INSERT OR IGNORE INTO mirubato_migration VALUES ({migration.version}, '{migration.name}')"  # noqa: S608


def pending_on(d1: D1) -> list[Migration]:
    """What a database has not had yet."""
    _, answer = d1.run([Statement(_DONE), Statement("SELECT version FROM mirubato_migration")])
    done = {int(row["version"]) for row in answer.rows}
    return [migration for migration in migrations() if migration.version not in done]


def migrate_on(d1: D1) -> list[Migration]:
    """Apply what is pending, in order; answers that. May be cut off anywhere and called again."""
    pending = pending_on(d1)
    for migration in pending:
        steps = [*map(Statement, statements(_repeatable(migration.sql))), Statement(_record(migration))]
        try:
            d1.run(steps)
        except D1Refused as error:
            if not _is_there(error):
                raise
            _one_by_one(d1, steps)
    return pending


def _is_there(error: D1Refused) -> bool:
    return any(text in str(error) for text in _ALREADY)


def _one_by_one(d1: D1, steps: Iterable[Statement]) -> None:
    """What a batch that was cut off has done already stands in the way of the batch, not of its rest."""
    for step in steps:
        try:
            d1.run([step])
        except D1Refused as error:
            if not _is_there(error):
                raise
