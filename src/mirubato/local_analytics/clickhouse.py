"""Event points on ClickHouse: a table with Analytics Engine's columns and more, so that the same SQL asks both.

event-points.db is the journal: what is committed there is shipped in order, in inserts that ClickHouse knows again by
their token, so that a repeated one changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson

from mirubato.errors import MirubatoError, QueryError
from mirubato.local_analytics.store import EventPointStore, Row

TABLE = "event_points"
NO_SETTINGS: Mapping[str, str] = {}
_TIMEOUT_S = 30.0
_ROWS_AT_ONCE = 20_000
_BOUNDS = {"max_execution_time": "10", "readonly": "2"}


class ClickHouseUnavailable(MirubatoError):
    """It cannot be reached, or it said no; what was to be shipped stays where it is."""


def table_sql(engine: str = "MergeTree") -> str:
    """The definition; docs/CLICKHOUSE.md has the one for a replicated cluster."""
    blobs = ", ".join(f"blob{n} String" for n in range(1, 21))
    doubles = ", ".join(f"double{n} Float64" for n in range(1, 21))
    return (
        f"CREATE TABLE IF NOT EXISTS {TABLE} (dataset LowCardinality(String), timestamp DateTime64(3), index1 String,"
        f" _sample_interval UInt32, {blobs}, {doubles}, labels Map(String, String), batch_id String)"
        f" ENGINE = {engine} PARTITION BY toYYYYMM(timestamp) ORDER BY (dataset, blob1, index1, timestamp)"
        " SETTINGS non_replicated_deduplication_window = 1000"
    )


class ClickHouse:
    """ClickHouse's HTTP interface, and one database in it."""

    def __init__(self, url: str, database: str, user: str, password: str) -> None:
        headers = {"x-clickhouse-user": user, "x-clickhouse-key": password} if user else {}
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT_S, headers=headers)
        self._database = database
        self._views: set[str] = set()

    def ask(self, sql: str, data: bytes = b"", settings: Mapping[str, str] = NO_SETTINGS) -> str:
        """Run one statement, with `data` for an INSERT. ClickHouseUnavailable, or QueryError for what it refuses."""
        parameters = {"database": self._database, **settings, **({"query": sql} if data else {})}
        try:
            reply = self._client.post("/", params=parameters, content=data or sql.encode())
        except httpx.HTTPError as error:
            raise ClickHouseUnavailable(f"ClickHouse cannot be reached: {type(error).__name__}") from error
        if reply.status_code in (401, 403, 408, 429, 502, 503, 504, 516):
            raise ClickHouseUnavailable(f"ClickHouse answered {reply.status_code}: {reply.text[:300]}")
        if reply.status_code != 200:
            raise QueryError(reply.text[:1000])
        return reply.text

    def set_up(self) -> None:
        """Make database and table if they are not there."""
        self.ask(f"CREATE DATABASE IF NOT EXISTS {self._database}", settings={"database": "default"})
        self.ask(table_sql())

    def insert(self, rows: Sequence[Row]) -> None:
        """Write rows of event-points.db; the same rows again change nothing (within the newest 1,000 inserts)."""
        token = f"{rows[0].id}-{rows[-1].id}"
        data = b"\n".join(orjson.dumps(_columns(row, token)) for row in rows)
        self.ask(f"INSERT INTO {TABLE} FORMAT JSONEachRow", data, {"insert_deduplication_token": token})

    def answer(self, dataset: str, sql: str) -> str:
        """A checked statement over one dataset, which it knows by its name."""
        if dataset not in self._views:
            where = f"FROM {TABLE} WHERE dataset = '{dataset}'"
            self.ask(f"CREATE OR REPLACE VIEW {dataset} AS SELECT * {where}")
            self._views.add(dataset)
        return self.ask(sql, settings=_BOUNDS)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _columns(row: Row, token: str) -> Mapping[str, Any]:
    return {
        "dataset": row.dataset,
        "timestamp": row.timestamp,
        "index1": row.index1,
        "_sample_interval": row.sample_interval,
        "batch_id": token,
        **{f"blob{n}": blob for n, blob in enumerate(row.blobs, 1)},
        **{f"double{n}": value for n, value in enumerate(row.doubles, 1)},
    }


class Shipper:
    """Brings what event-points.db holds to ClickHouse; `step` is called again and again by whoever has the time."""

    def __init__(self, store: EventPointStore, clickhouse: ClickHouse) -> None:
        self._store, self._clickhouse = store, clickhouse
        self._is_set_up = False

    def step(self) -> int:
        """Ship the oldest rows that are not there yet; answers how many. ClickHouseUnavailable, QueryError."""
        if not self._is_set_up:
            self._clickhouse.set_up()
            self._is_set_up = True
        rows = self._store.unshipped(_ROWS_AT_ONCE)
        if rows:
            self._clickhouse.insert(rows)
            self._store.shipped(rows[-1].id)
        return len(rows)
