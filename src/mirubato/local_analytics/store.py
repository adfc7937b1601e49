"""event-points.db: the rows of all datasets as they were written, bounded in number, the oldest first out."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from mirubato.analytics_engine.event_points import EventPoint
from mirubato.database.files import open_file, open_reader
from mirubato.database.writer import Writer

FILE = "event-points.db"

_TABLE = """
CREATE TABLE IF NOT EXISTS event_point (
    id INTEGER PRIMARY KEY AUTOINCREMENT, dataset TEXT NOT NULL, timestamp INTEGER NOT NULL, index1 TEXT NOT NULL,
    blobs TEXT NOT NULL, doubles TEXT NOT NULL, sample_interval INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS shipped (id INTEGER PRIMARY KEY CHECK (id = 1), event_point INTEGER NOT NULL);
INSERT OR IGNORE INTO shipped VALUES (1, 0);
"""
# Rows that go at once when there are too many: one deletion for many writes.
_SLACK = 10_000


class Row(NamedTuple):
    """One row as it is kept."""

    id: int
    dataset: str
    timestamp: int
    index1: str
    sample_interval: int
    blobs: list[str]
    doubles: list[float]


class EventPointStore:
    """Rows are committed before `write` answers. `timestamp` is in seconds, as in Analytics Engine."""

    def __init__(self, directory: Path, rows_max: int) -> None:
        """Open or make the file under `directory`; StorageFailed if that cannot be."""
        self.path = (directory / FILE).absolute()
        self._rows_max = rows_max
        connection = open_file(self.path, _TABLE)
        (self._rows,) = connection.execute("SELECT count(*) FROM event_point").fetchone()
        self._writer = Writer(connection, "event-points-writer")

    def write(self, dataset: str, points: Sequence[EventPoint], now: int) -> None:
        """Keep points; one without a time of its own gets `now` (ms). StorageFailed if the disk says no."""
        rows = [
            (
                dataset,
                (point.timestamp_ms or now) // 1000,
                point.index,
                orjson.dumps([blob or "" for blob in point.blobs]).decode(),
                orjson.dumps(point.doubles).decode(),
                point.sample_interval,
            )
            for point in points
        ]
        self._writer.call(lambda connection: self._insert(connection, rows))

    def _insert(self, connection: sqlite3.Connection, rows: Sequence[tuple[str | int, ...]]) -> None:
        connection.executemany(
            "INSERT INTO event_point (dataset, timestamp, index1, blobs, doubles, sample_interval)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )
        self._rows += len(rows)
        if self._rows > self._rows_max + _SLACK:
            (newest,) = connection.execute("SELECT max(id) FROM event_point").fetchone()
            connection.execute("DELETE FROM event_point WHERE id <= ?", (newest - self._rows_max,))
            (self._rows,) = connection.execute("SELECT count(*) FROM event_point").fetchone()

    def datasets(self) -> list[str]:
        """Names of the datasets that have rows, sorted."""
        connection = open_reader(self.path)
        try:
            return [name for (name,) in connection.execute("SELECT DISTINCT dataset FROM event_point ORDER BY 1")]
        finally:
            connection.close()

    def unshipped(self, most: int) -> list[Row]:
        """The oldest rows that have not been brought elsewhere yet."""
        connection = open_reader(self.path)
        try:
            found = connection.execute(
                "SELECT id, dataset, timestamp, index1, sample_interval, blobs, doubles FROM event_point"
                " WHERE id > (SELECT event_point FROM shipped) ORDER BY id LIMIT ?",
                (most,),
            ).fetchall()
        finally:
            connection.close()
        return [
            Row(id_, dataset, time, index, interval, orjson.loads(blobs), orjson.loads(doubles))
            for id_, dataset, time, index, interval, blobs, doubles in found
        ]

    def shipped(self, last: int) -> None:
        """Rows up to this id are elsewhere, too."""
        self._writer.call(lambda connection: connection.execute("UPDATE shipped SET event_point = ?", (last,)))

    def close(self, timeout_s: float) -> bool:
        """Commit what is queued and close the file; False if that took too long."""
        return self._writer.close(timeout_s)
