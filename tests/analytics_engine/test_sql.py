"""The SQL of a layout: its words, and what it answers on a real ClickHouse engine (chdb) over sampled rows.

`pip install 'mirubato-monitoring[chdb]'` brings the engine (180 MB); without it the tests that run statements are
skipped.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import Gauge, Histogram

from mirubato.analytics_engine.dialect import outside_dialect
from mirubato.analytics_engine.event_points import EventPoint, current_limits
from mirubato.analytics_engine.layout import Layout, default_layout, parse
from mirubato.analytics_engine.mapping import Mapper
from mirubato.analytics_engine.sql import REQUESTS, Question, question, statement
from mirubato.errors import BadQuery
from tests.analytics_engine.points import DELTA, Data, counter, histogram, metrics, number

LAYOUT = default_layout()
BOUNDS = LAYOUT.bounds(REQUESTS)
EVERY = [
    "error rate by http.route, last 1h",
    "error rate last 90m every 5m",
    "rate of app.errors by error.type",
    "count of orders",
    "p95",
    "p99.9 by http.route, http.request.method where http.request.method=GET and url.scheme=https last 7d every 1h",
    "mean by http.route",
    "sum",
    "mean of queue.depth (gauge) last 2d",
    "p50 of queue.depth (updown) by service.name",
    "count of sizes (exponential)",
    "mean of sizes (exponential)",
]


@pytest.mark.parametrize("text", EVERY)
def test_all_statements_are_in_the_dialect_and_weighted(text: str) -> None:
    sql = statement(question(text), LAYOUT, "mirubato_metrics")
    assert outside_dialect(sql) == []
    assert "_sample_interval" in sql


def test_a_question_in_words() -> None:
    assert question("p99.5 of a.b (gauge) by x, y where m = GET and n=1, last 2d, every 15m") == Question(
        "p99.5", "a.b", "gauge", ("x", "y"), {"m": "GET", "n": "1"}, 172_800, 900
    )
    assert question("count") == Question("count", REQUESTS, last_s=3600)


def test_a_statement_in_full() -> None:
    assert statement(question("error rate by http.route, last 1h"), LAYOUT, "mirubato_metrics") == (
        "SELECT blob14 AS http_route, sumIf(_sample_interval * double3, blob9 <> '' OR blob15 LIKE '5%') / "
        "sum(_sample_interval * double3) AS value FROM mirubato_metrics WHERE timestamp >= now() - INTERVAL '1' HOUR "
        "AND blob1 = 'http.server.request.duration' AND blob2 LIKE 'mirubato/%' AND blob3 = 'histogram' "
        "GROUP BY http_route ORDER BY value DESC"
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Question("count", by=("plan",)), "plan of http.server.request.duration has no slot in the layout mirubato/1"),
        (Question("count", where={"plan": "pro"}), "has no slot"),
        (Question("count", by=("http.route", "http_route")), "two columns would be called http_route"),
        (Question("count", by=("http.route", "http.route")), "two columns would be called http_route"),
        (Question("count", "depth", "gauge"), "not to be added up"),
        (Question("mean", "orders"), "a counter has"),
        (Question("p95", "orders"), "no quantile"),
        (Question("p95", "sizes", "exponential"), "no quantile"),
        (Question("p95", "sizes", "histogram"), "no bounds of sizes"),
        (Question("count", "orders", "summary"), "no kind"),
    ],
)
def test_what_could_not_be_right_is_refused(asked: Question, message: str) -> None:
    with pytest.raises(BadQuery, match=message):
        statement(asked, LAYOUT, "mirubato_metrics")


def test_names_of_datasets_and_words_are_checked() -> None:
    with pytest.raises(BadQuery, match="dataset"):
        statement(question("count"), LAYOUT, "a; DROP TABLE b")
    for text in ("", "median", "p95 of", "count by", "count last hour"):
        with pytest.raises(BadQuery, match="a question is"):
            question(text)
    with pytest.raises(BadQuery, match="neither for error"):
        statement(question("error rate of x"), parse('name = "a"\nversion = 1'), "d")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECT sum(double1) FROM a JOIN b", ["JOIN", "b"]),
        ("SELECT file('/etc/passwd') FROM a", ["file"]),
        ("WITH x AS (SELECT 1) SELECT 1 FROM a", ["WITH", "x"]),
        ("SELECT double21 FROM a", ["double21"]),
        ("SELECT quantile(0.5)(double1) FROM a; DROP", ["quantile", ";", "DROP"]),
        ("SELECT 1 AS file FROM file ('/etc/passwd')", ["file"]),
        ("SELECT 1 AS INTO, 2 AS OUTFILE FROM a INTO OUTFILE '/x'", ["INTO", "OUTFILE", "INTO", "OUTFILE"]),
        ("select count ( ) as n from a where blob1 like 'x%' format json", []),
        ("SELECT 'JOIN it''s \\' file(' FROM a", []),
    ],
)
def test_what_is_outside_the_dialect_is_found(text: str, found: list[str]) -> None:
    assert outside_dialect(text) == found


# On a real engine. ---------------------------------------------------------------------------------------------------

COLUMNS = ", ".join(
    ["timestamp DateTime", "dataset String", "index1 String", "_sample_interval UInt32"]
    + [f"blob{n} String" for n in range(1, 21)]
    + [f"double{n} Float64" for n in range(1, 21)]
)
ENGINE = """
import json, sys
from chdb.session import Session
session = Session()
for line in sys.stdin:
    try:
        answer = [json.loads(row) for row in session.query(json.loads(line), "JSONEachRow").data().splitlines()]
    except Exception as error:
        answer = str(error)
    print(json.dumps(answer), flush=True)
"""
Ask = Callable[[str], Any]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """One statement to the engine, which runs in a process of its own; answers its rows."""
    if find_spec("chdb") is None:
        pytest.skip("no chdb here: pip install 'mirubato-monitoring[chdb]'")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE], stdin=pipe, stdout=pipe, text=True, encoding="utf-8", env=environment
    ) as process:

        def one(sql: str) -> Any:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(sql) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert not isinstance(answer, str), answer
            return answer

        one("CREATE DATABASE ae")
        yield one
        assert process.stdin
        process.stdin.close()


def rows(points: Sequence[EventPoint], interval: int) -> str:
    """The points as rows of a dataset, each standing for `interval`."""
    now = int(time.time()) - 10
    lines = []
    for point in points:
        blobs = {f"blob{n}": blob or "" for n, blob in enumerate(point.blobs, 1)}
        doubles = {f"double{n}": value for n, value in enumerate(point.doubles, 1)}
        fixed = {"timestamp": now, "index1": point.index, "_sample_interval": interval}
        lines.append(json.dumps({**fixed, **blobs, **doubles}))
    return "\n".join(lines)


def fill(ask: Ask, table: str, data: Sequence[tuple[str, Data, int]], layout: Layout = LAYOUT) -> None:
    ask(f"CREATE OR REPLACE TABLE {table} ({COLUMNS}) ENGINE = Memory")
    for metric, one, interval in data:
        points = Mapper(layout, current_limits()).points(metrics(one, metric))
        ask(f"INSERT INTO {table} FORMAT JSONEachRow {rows(points, interval)}")


def asked(ask: Ask, text: str, table: str) -> dict[str, float]:
    """Values by the texts of their groups."""
    sql = statement(question(text), LAYOUT, table)
    assert outside_dialect(sql) == []
    return {
        "|".join(str(value) for name, value in row.items() if name not in {"value", "t"}): round(row["value"], 9)
        for row in ask(sql)
    }


def requests(counts: Sequence[int], total: float, **attributes: str) -> Histogram:
    names = {"route": "http.route", "status": "http.response.status_code", "error": "error.type"}
    return Histogram([histogram(counts, BOUNDS, total, {names[key]: text for key, text in attributes.items()})], DELTA)


def test_answers_are_weighted_by_what_sampling_left_out(ask: Ask) -> None:
    filled = [0] * 15
    fast, slow = [10, *filled[1:]], [*filled[:10], 4, *filled[11:]]
    fill(
        ask,
        "requests",
        [
            (REQUESTS, requests(fast, 0.03, route="/a", status="200"), 1),
            (REQUESTS, requests(fast, 0.03, route="/a", status="200"), 3),
            (REQUESTS, requests(slow, 8.0, route="/a", status="503"), 2),
            (REQUESTS, requests(slow, 8.0, route="/b", status="200", error="Timeout"), 5),
            ("app.errors", counter(number(7, {"error.type": "E"}), number(1, {"error.type": "F"})), 10),
            ("depth", Gauge([number(10), number(20)]), 1),
            ("depth", Gauge([number(100)]), 8),
        ],
    )
    assert asked(ask, "count by http.route", "requests") == {"/a": 48, "/b": 20}
    assert asked(ask, "rate last 100s", "requests") == {"": 0.68}
    assert asked(ask, "error rate by http.route", "requests") == {"/a": round(8 / 48, 9), "/b": 1}
    assert asked(ask, "sum", "requests") == {"": round(0.12 + 56, 9)}
    assert asked(ask, "mean where http.route=/b", "requests") == {"": 2}
    assert asked(ask, "count of app.errors by error.type", "requests") == {"E": 70, "F": 10}
    assert asked(ask, "mean of depth (gauge)", "requests") == {"": 83}
    assert asked(ask, "p50 of depth (gauge)", "requests") == {"": 100}
    assert list(asked(ask, "count every 1d", "requests").values()) == [68]


@pytest.mark.parametrize(
    ("counts", "what", "expected"),
    [
        ([10, 10, *[0] * 13], "p50", 0.005),
        ([10, 10, *[0] * 13], "p75", 0.0075),
        ([10, *[0] * 14], "p50", 0.0025),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 4, *[0] * 5], "p25", 0.75 + 0.25 / 4),
        ([1, *[0] * 13, 99], "p95", 10.0),
    ],
)
def test_quantiles_of_a_histogram_are_those_of_prometheus(
    ask: Ask, counts: list[int], what: str, expected: float
) -> None:
    fill(ask, "durations", [(REQUESTS, requests(counts, 1.0, route="/a"), 4)])
    assert asked(ask, f"{what} by http.route", "durations") == pytest.approx({"/a": expected})


def test_a_text_is_no_more_than_a_text(ask: Ask) -> None:
    route = "/it's \\' OR 1=1 --"
    fill(
        ask,
        "quoted",
        [
            (REQUESTS, requests([1, *[0] * 14], 1.0, route=route), 1),
            (REQUESTS, requests([5, *[0] * 14], 1.0, route="/other"), 1),
        ],
    )
    sql = statement(replace(question("count"), where={"http.route": route}), LAYOUT, "quoted")
    assert outside_dialect(sql) == []
    assert ask(sql) == [{"value": 1}]


def test_rows_of_other_bounds_do_not_disturb_a_quantile(ask: Ask) -> None:
    fill(
        ask,
        "mixed",
        [
            (REQUESTS, requests([10, *[0] * 14], 1.0), 1),
            (REQUESTS, Histogram([histogram([100, 0], [1000.0])], DELTA), 1),
        ],
    )
    assert asked(ask, "p50", "mixed") == {"": 0.0025}
    assert asked(ask, "count", "mixed") == {"": 110}
