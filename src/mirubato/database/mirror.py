"""The mirror of state.db on D1: rows that changed, as idempotent upserts; and the way back onto an empty disk.

Triggers note the key of each row that changes, in the transaction that changes it. A step reads the noted rows as they
are now, upserts them (or deletes those that are gone), and only then forgets the notes: whatever is cut off is done
again, and doing it again changes nothing.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from mirubato.database.d1 import D1, PARAMETERS_MAX, VALUE_BYTES_MAX, Statement
from mirubato.database.state import StateStore

# Sessions are secrets of one gateway and end soon; the rest is bookkeeping of the mirror itself.
_NOT_MIRRORED = frozenset(("session", "mirror_change"))
_CHANGES_AT_ONCE = 2_000
_BATCH_BYTES_MAX = 1 << 20
_BATCH_STATEMENTS_MAX = 50
_RESTORE_ROWS = 1_000
_REMEMBERED = "mirrored_to"


class Table(NamedTuple):
    """Columns and primary key, in order."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]


class Change(NamedTuple):
    """A row that was written or deleted."""

    seq: int
    table: str
    key: tuple[Any, ...]


@dataclass(slots=True)
class Behind:
    """How far the mirror is behind: changes, and since when (ms; None: it is not)."""

    changes: int
    since_ms: int | None


class Mirror:
    """Brings the changes of one state.db to one database; one thread at a time."""

    def __init__(self, state: StateStore, d1: D1, database: str) -> None:
        self._state, self._d1, self._database = state, d1, database
        self._tables = {table.name: table for table in state.read(mirrored_tables)}
        self.left_out = 0
        """Rows with a value that D1 cannot hold."""

    def set_up(self) -> None:
        """Note changes from now on; and of a database that is new to this file, all rows that there are."""
        self._state.write(lambda connection: _set_up(connection, list(self._tables.values()), self._database))

    def behind(self) -> Behind:
        """What is noted and not mirrored yet."""
        count, since = self._state.read(
            lambda connection: connection.execute("SELECT count(*), min(at_ms) FROM mirror_change").fetchone()
        )
        return Behind(count, since)

    def step(self) -> int:
        """Mirror the oldest changes; answers how many. Raises what D1 says; nothing is forgotten then."""
        changes = self._state.read(_changes)
        if not changes:
            return 0
        for batch in _batches(self._statements(changes)):
            self._d1.run(batch)
        last = changes[-1].seq
        self._state.write(lambda connection: connection.execute("DELETE FROM mirror_change WHERE seq <= ?", (last,)))
        return len(changes)

    def _statements(self, changes: Sequence[Change]) -> Iterator[Statement]:
        keys: dict[str, dict[tuple[Any, ...], None]] = {}
        for change in changes:
            if change.table in self._tables:
                keys.setdefault(change.table, {})[change.key] = None
        for name, changed in keys.items():
            table = self._tables[name]
            rows, gone = self._rows(table, list(changed))
            yield from upserts(table, rows)
            yield from deletions(table, gone)

    def _rows(
        self, table: Table, keys: Sequence[tuple[Any, ...]]
    ) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """The rows that are there, and the keys of those that are not."""
        where = " AND ".join(f"{column} IS ?" for column in table.key)
        query = f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {where}"  # noqa: S608  (names of our schema)

        def read(connection: sqlite3.Connection) -> list[Any]:
            return [connection.execute(query, key).fetchone() for key in keys]

        rows, gone = [], []
        for key, found in zip(keys, self._state.read(read), strict=True):
            if found is None:
                gone.append(key)
            elif any(isinstance(value, str | bytes) and len(value) > VALUE_BYTES_MAX // 4 for value in found):
                self.left_out += 1
            else:
                rows.append(tuple(found))
        return rows, gone


def mirrored_tables(connection: sqlite3.Connection) -> list[Table]:
    """The tables of the schema that go to the mirror, by name."""
    names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    return [
        _table(connection, name)
        for (name,) in names
        if not name.startswith(("sqlite_", "_cf_")) and name not in _NOT_MIRRORED
    ]


def _table(connection: sqlite3.Connection, name: str) -> Table:
    columns = connection.execute("SELECT name, pk FROM pragma_table_info(?)", (name,)).fetchall()
    key = sorted((place, column) for column, place in columns if place)
    return Table(name, tuple(column for column, _ in columns), tuple(column for _, column in key))


def _set_up(connection: sqlite3.Connection, tables: Iterable[Table], database: str) -> None:
    known = connection.execute("SELECT content FROM remembered WHERE name = ?", (_REMEMBERED,)).fetchone()
    for table in tables:
        _note_changes(connection, table)
        if known is None or known[0] != database:
            key = _key_of(table, "")
            connection.execute(
                f"INSERT INTO mirror_change (of_table, row_key, at_ms) SELECT '{table.name}', {key}, {_NOW}"  # noqa: S608
                f" FROM {table.name}"
            )
    connection.execute(
        "INSERT INTO remembered VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET content = excluded.content",
        (_REMEMBERED, database),
    )


# SQLite before 3.42 has no fractions of `unixepoch`.
_NOW = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def _key_of(table: Table, row: str) -> str:
    return f"json_array({', '.join(f'{row}{column}' for column in table.key)})"


def _note_changes(connection: sqlite3.Connection, table: Table) -> None:
    old, new = _key_of(table, "OLD."), _key_of(table, "NEW.")
    note = f"INSERT INTO mirror_change (of_table, row_key, at_ms) SELECT '{table.name}', "
    moved = f"{note}{old}, {_NOW} WHERE {old} <> {new};"
    written, gone = f"{note}{new}, {_NOW};", f"{note}{old}, {_NOW};"
    for event, notes in (("INSERT", written), ("UPDATE", moved + written), ("DELETE", gone)):
        connection.execute(
            f"CREATE TRIGGER IF NOT EXISTS mirror_{table.name}_{event.lower()} AFTER {event} ON {table.name}"
            f" BEGIN {notes} END"
        )


def _changes(connection: sqlite3.Connection) -> list[Change]:
    rows = connection.execute(
        "SELECT seq, of_table, row_key FROM mirror_change ORDER BY seq LIMIT ?", (_CHANGES_AT_ONCE,)
    )
    return [Change(seq, table, tuple(json.loads(key))) for seq, table, key in rows]


def upserts(table: Table, rows: Sequence[tuple[Any, ...]]) -> Iterator[Statement]:
    """As many rows in each statement as its parameters allow."""
    others = [column for column in table.columns if column not in table.key]
    then = f"UPDATE SET {', '.join(f'{column} = excluded.{column}' for column in others)}" if others else "NOTHING"
    head = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES "  # noqa: S608  (names of our schema)
    conflict = f" ON CONFLICT ({', '.join(table.key)}) DO {then}"
    at_once = PARAMETERS_MAX // len(table.columns)
    one = f"({', '.join('?' * len(table.columns))})"
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        yield Statement(head + ", ".join([one] * len(part)) + conflict, [value for row in part for value in row])


def deletions(table: Table, keys: Sequence[tuple[Any, ...]]) -> Iterator[Statement]:
    """One statement for each row."""
    where = " AND ".join(f"{column} IS ?" for column in table.key)
    for key in keys:
        yield Statement(f"DELETE FROM {table.name} WHERE {where}", key)  # noqa: S608  (names of our schema)


def _batches(statements: Iterable[Statement]) -> Iterator[list[Statement]]:
    batch: list[Statement] = []
    size = 0
    for statement in statements:
        bytes_ = len(statement.sql) + sum(len(str(value)) for value in statement.parameters)
        if batch and (len(batch) >= _BATCH_STATEMENTS_MAX or size + bytes_ > _BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(statement)
        size += bytes_
    if batch:
        yield batch


def restore(state: StateStore, d1: D1) -> int:
    """Fill an empty state.db from the mirror; answers how many rows came. Before `set_up`: nothing is sent back."""
    last = dict.fromkeys(state.read(mirrored_tables), -1)
    count = 0
    while last:  # a page of every table in one call: calls are what D1 counts
        answers = d1.run([_page(table, after) for table, after in last.items()])
        for table, answer in zip(list(last), answers, strict=True):
            rows = [tuple(row[column] for column in table.columns) for row in answer.rows]
            state.write(partial(_insert, table, rows))
            count += len(rows)
            if len(rows) < _RESTORE_ROWS:
                del last[table]
            else:
                last[table] = int(answer.rows[-1]["row_number_"])
    return count


def _page(table: Table, after: int) -> Statement:
    columns = ", ".join(table.columns)
    query = f"SELECT rowid AS row_number_, {columns} FROM {table.name} WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608
    return Statement(query, (after, _RESTORE_ROWS))


def _insert(table: Table, rows: Sequence[tuple[Any, ...]], connection: sqlite3.Connection) -> None:
    marks = ", ".join("?" * len(table.columns))
    connection.executemany(
        f"INSERT OR REPLACE INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})",  # noqa: S608
        rows,
    )


def is_empty(state: StateStore) -> bool:
    """Whether no mirrored table has a row: a new file."""

    def counted(connection: sqlite3.Connection) -> bool:
        tables = mirrored_tables(connection)
        return not any(connection.execute(f"SELECT 1 FROM {table.name} LIMIT 1").fetchone() for table in tables)  # noqa: S608

    return state.read(counted)
