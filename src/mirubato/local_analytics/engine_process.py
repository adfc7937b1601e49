"""The engine's process: chdb holds one session per process, and a crash in it must not be the gateway's.

Reads a line of JSON for each statement, `{"path", "dataset", "sql"}`, and answers one: `{"text"}` or `{"error"}`.
Rows that came since the last statement are loaded first.
"""

import sqlite3
import sys
from pathlib import Path
from typing import Any

import orjson
from chdb.session import Session

from mirubato.database.files import open_reader

_COLUMNS = ", ".join(
    ["id UInt64", "timestamp DateTime", "dataset String", "index1 String", "_sample_interval UInt32"]
    + [f"blob{n} String" for n in range(1, 21)]
    + [f"double{n} Float64" for n in range(1, 21)]
)
_ROWS_AT_ONCE = 50_000
# One statement: seconds, bytes.
_BOUNDS = "max_execution_time = 10, max_memory_usage = 1000000000"


class Engine:
    """One chdb session with a table for each dataset that was asked for."""

    def __init__(self) -> None:
        self._session: Any = Session()
        self._session.query("CREATE DATABASE ae")
        self._session.query("USE ae")
        self._loaded: dict[str, int] = {}
        """Id of the newest row of each table."""

    def answer(self, path: Path, dataset: str | None, sql: str) -> str:
        """What a checked statement answers, as its FORMAT says."""
        if dataset is not None:
            self._load(path, dataset)
        return str(self._session.query(f"{sql} SETTINGS {_BOUNDS}").bytes().decode(errors="replace"))

    def _load(self, path: Path, dataset: str) -> None:
        if dataset not in self._loaded:
            self._session.query(f"CREATE TABLE {dataset} ({_COLUMNS}) ENGINE = MergeTree ORDER BY id")
            self._loaded[dataset] = 0
        connection = open_reader(path)
        try:
            (oldest,) = connection.execute("SELECT min(id) FROM event_point").fetchone()
            self._session.query(f"DELETE FROM {dataset} WHERE id < {oldest or 0}")  # noqa: S608  (a checked name)
            while rows := self._next(connection, dataset):
                lines = b"\n".join(orjson.dumps(_row(row)) for row in rows).decode()
                self._session.query(f"INSERT INTO {dataset} FORMAT JSONEachRow {lines}")
                self._loaded[dataset] = rows[-1][0]
        finally:
            connection.close()

    def _next(self, connection: sqlite3.Connection, dataset: str) -> list[Any]:
        return connection.execute(
            "SELECT id, dataset, timestamp, index1, sample_interval, blobs, doubles FROM event_point"
            " WHERE dataset = ? AND id > ? ORDER BY id LIMIT ?",
            (dataset, self._loaded[dataset], _ROWS_AT_ONCE),
        ).fetchall()


def _row(row: tuple[int, str, int, str, int, str, str]) -> dict[str, Any]:
    id_, dataset, timestamp, index, interval, blobs, doubles = row
    return {
        "id": id_,
        "dataset": dataset,
        "timestamp": timestamp,
        "index1": index,
        "_sample_interval": interval,
        **{f"blob{n}": blob for n, blob in enumerate(orjson.loads(blobs), 1)},
        **{f"double{n}": value for n, value in enumerate(orjson.loads(doubles), 1)},
    }


def main() -> None:
    """Serve until the gateway closes the pipe."""
    engine = Engine()
    for line in sys.stdin.buffer:
        asked = orjson.loads(line)
        try:
            answer = {"text": engine.answer(Path(asked["path"]), asked["dataset"], asked["sql"])}
        except Exception as error:  # noqa: BLE001  (whatever the engine says is the answer, and it goes on)
            answer = {"error": str(error)}
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
