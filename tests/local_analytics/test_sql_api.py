"""The local Analytics Engine: what was posted is answered in the SQL API's shape; what the dialect has not is refused.

`pip install 'mirubato-monitoring[chdb]'` brings the engine; without it the tests that run statements are skipped.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from mirubato.analytics_engine.event_points import EventPoint
from mirubato.local_analytics.store import EventPointStore
from tests.support.gateways import Running, running
from tests.support.requests import now_ms

PATH = "/client/v4/accounts/any/analytics_engine/sql"

needs_engine = pytest.mark.skipif(
    find_spec("chdb") is None, reason="no chdb here: pip install 'mirubato-monitoring[chdb]'"
)


def points(*rows: tuple[str, float, int]) -> list[dict[str, Any]]:
    return [
        {
            "timestamp_ms": now_ms() - 5000,
            "index": route,
            "blobs": [route, None, "it's"],
            "doubles": [value],
            "sample_interval": interval,
        }
        for route, value, interval in rows
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway with two datasets."""
    with running(tmp_path_factory.mktemp("analytics")) as one:
        for dataset, rows in (
            ("shop", points(("/a", 1.5, 1), ("/a", 2.5, 3), ("/b", 10, 10))),
            ("other", points(("/c", 1, 1))),
        ):
            assert post(one, dataset, rows).json() == {"written": len(rows), "rejected": []}
        yield one


def post(gateway: Running, dataset: str, rows: list[dict[str, Any]]) -> httpx.Response:
    body = orjson.dumps({"dataset": dataset, "points": rows})
    return gateway.http.post(gateway.url("web_port", "/api/event-points"), content=body)


def ask(gateway: Running, sql: str) -> httpx.Response:
    return gateway.http.post(gateway.url("web_port", PATH), content=sql)


@needs_engine
class TestAnswers:
    def test_weighted_sums(self, written: Running) -> None:
        reply = ask(
            written,
            "SELECT blob1 AS route, SUM(_sample_interval) AS n, sum(_sample_interval * double1) AS total"
            " FROM shop WHERE timestamp > NOW() - INTERVAL '1' HOUR GROUP BY route ORDER BY route",
        )
        assert reply.status_code == 200, reply.text
        answer = reply.json()
        assert [(row["route"], int(row["n"]), row["total"]) for row in answer["data"]] == [
            ("/a", 4, 9.0),
            ("/b", 10, 100.0),
        ]
        assert answer["rows"] == 2
        assert [one["name"] for one in answer["meta"]] == ["route", "n", "total"]

    def test_formats(self, written: Running) -> None:
        sql = "select blob1 as r, blob3 as quoted from shop order by double1 limit 1 format"
        assert ask(written, f"{sql} TabSeparated").text == "/a\tit\\'s\n"
        assert orjson.loads(ask(written, f"{sql} JSONEachRow").text) == {"r": "/a", "quoted": "it's"}

    def test_the_documented_alias_of_the_quantile(self, written: Running) -> None:
        reply = ask(written, "SELECT quantileWeighted(0.5, double1, _sample_interval) AS p FROM shop")
        assert reply.json()["data"] == [{"p": 10}]

    def test_rows_that_come_later_are_seen(self, written: Running) -> None:
        sql = "SELECT count() AS n FROM later"
        for expected in (1, 2):
            post(written, "later", points(("/x", 1, 1)))
            assert int(ask(written, sql).json()["data"][0]["n"]) == expected

    def test_a_subquery(self, written: Running) -> None:
        reply = ask(written, "SELECT max(n) AS most FROM (SELECT blob1, count() AS n FROM shop GROUP BY blob1)")
        assert int(reply.json()["data"][0]["most"]) == 2

    def test_an_engine_error_is_told_and_the_next_statement_goes_on(self, written: Running) -> None:
        reply = ask(written, "SELECT abs('x') AS y FROM shop")
        assert reply.status_code == 422
        assert ask(written, "SELECT 1 AS one FROM shop LIMIT 1").status_code == 200


class TestRefusals:
    def test_show_needs_no_engine(self, written: Running) -> None:
        assert {"dataset": "shop"} in ask(written, "SHOW TABLES").json()["data"]
        assert ask(written, "show timezone;").json()["data"] == [{"timezone": "Etc/UTC"}]

    @pytest.mark.parametrize(
        "sql",
        [
            "",
            "DROP TABLE shop",
            "SELECT * FROM file('/etc/passwd')",
            "SELECT 1 AS file FROM file ('/etc/passwd', 'LineAsString')",
            "SELECT 1 AS INTO, 2 AS OUTFILE FROM shop INTO OUTFILE '/tmp/x'",
            "SELECT * FROM system.tables",
            "SELECT 1 FROM shop; DROP TABLE shop",
            "SELECT count() AS n FROM shop SETTINGS max_execution_time = 0",
            "SELECT a.blob1 FROM shop AS a JOIN other AS b ON 1 = 1",
            "SELECT 1 AS x FROM shop UNION ALL SELECT 1 FROM other",
            "SELECT blob1 FROM shop FORMAT CSV",
            "SELECT double1 FROM nowhere",
            "SELECT 1 AS x FROM (SELECT blob1 FROM shop) WHERE blob1 IN (SELECT blob1 FROM other)",
            "SELECT " + "1," * 10_000 + "1 FROM shop",
        ],
    )
    def test_what_the_dialect_has_not(self, written: Running, sql: str) -> None:
        reply = ask(written, sql)
        assert reply.status_code == 422, reply.text
        answer = reply.json()
        assert (answer["success"], answer["code"]) == (False, "bad_query")
        assert answer["errors"][0]["message"] == answer["message"]

    @pytest.mark.parametrize("dataset", ["", "a b", "x; DROP", "FROM", "x" * 65, 7])
    def test_names_of_datasets(self, written: Running, dataset: Any) -> None:
        reply = post(written, dataset, points(("/a", 1, 1)))
        assert reply.status_code == 400
        assert "dataset" in reply.json()["error"]["message"]


def test_the_oldest_rows_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirubato.local_analytics.store._SLACK", 5)
    store = EventPointStore(tmp_path, rows_max=10)
    try:
        for number in range(30):
            store.write(f"set{number // 15}", [EventPoint(0, "", (), (float(number),))], now=1_000_000)
        assert store._rows <= 15
        assert store.datasets() == ["set1"]
    finally:
        assert store.close(5)


def test_rows_are_there_after_a_restart(tmp_path: Path) -> None:
    first = EventPointStore(tmp_path, rows_max=10)
    first.write("kept", [EventPoint(0, "", (), ())], now=1)
    first.close(5)
    second = EventPointStore(tmp_path, rows_max=10)
    try:
        assert second.datasets() == ["kept"]
        assert second._rows == 1
    finally:
        second.close(5)
