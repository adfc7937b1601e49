"""Queries that are too much: a clear error in Prometheus' envelope, in time, with bounded memory; others go on."""

import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.doors import HTTP
from tests.support.gateways import API, Running, running
from tests.support.requests import fresh, gauge, metrics, now_ms, number

TIMEOUT_S = 4
SLACK_S = 2
MEMORY_KIB_MAX = 700 * 1024
"""What the process may grow by: a query's cells are bounded by its samples, 2 million here."""

YEAR_S = 31_536_000


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Queries end after 4 s, 5,000 series or 2 million samples; it holds 6,000 series of `many` and 4,000 of `some`.

    Their samples are 10 s old: a subquery stands on whole seconds, and between the sample and the query must be one.
    """
    bounds = {"query_timeout": TIMEOUT_S * 1000, "max_query_series": 5000, "max_query_samples": 2_000_000}
    with running(tmp_path_factory.mktemp("bounded"), **bounds) as one:
        stamped = now_ms() - 10_000
        for name, count in (("many", 6000), ("some", 4000)):
            points = [number(float(index), stamped, number=str(index), kind="x" * 30) for index in range(count)]
            assert HTTP.export(one, "metrics", metrics(gauge(name, *points))).code == 0
        yield one


def refused(gateway: Running, endpoint: str, **asked: Any) -> tuple[int, str, str]:
    """Status, type and text of an error, which came in time and without much memory."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    reply = gateway.post(f"{API}/{endpoint}", **asked)
    assert time.monotonic() - began < TIMEOUT_S + SLACK_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_KIB_MAX
    answer = reply.json()
    assert (answer["status"], set(answer)) == ("error", {"status", "errorType", "error"})
    assert len(answer["error"]) < 2000
    assert gateway.api("query", query="1+1", time=4)["result"] == [4, "2"]
    return reply.status_code, answer["errorType"], answer["error"]


LONG = {
    "half a MB of spaces": " " * 500_000 + "up",
    "half a MB of digits": "1" * 500_000,
    "a long name": "x" * 500_000,
    "a long string": 'up{a="' + "x" * 500_000 + '"}',
    "many matchers": "up{" + 'a="b",' * 30_000 + "}",
    "a chain of 100,000": "1" + "+1" * 100_000,
    "braces": "{" * 300_000,
    "quotes": '"' * 300_001,
    "escapes": '"' + "\\" * 300_001 + '"',
}
DEEP = {
    "parentheses": "(" * 10_000 + "1" + ")" * 10_000,
    "open parentheses": "(" * 10_000,
    "signs": "-" * 10_000 + "1",
    "calls": "abs(" * 10_000 + "up" + ")" * 10_000,
    "aggregations": "sum(" * 10_000 + "up" + ")" * 10_000,
    "subqueries": "up" + "[1m:1s]" * 9000,
    "a chain of +": "up" + " + up" * 5000,
    "a chain of or": "up" + " or up" * 5000,
    "a chain of ^": "2" + " ^ 2" * 5000,
    "a chain of comparisons": "up" + " > bool 1" * 5000,
}


class TestExpressions:
    @pytest.mark.parametrize("text", LONG.values(), ids=LONG)
    def test_long_ones(self, bounded: Running, text: str) -> None:
        status, kind, told = refused(bounded, "query", query=text)
        assert (status, kind) == (400, "bad_data")
        assert "65536" in told or "parse error" in told

    def test_a_mib(self, bounded: Running) -> None:
        """More than a form may be."""
        status, kind, told = refused(bounded, "query", query="x" * (1 << 20))
        assert (status, kind) == (400, "bad_data")
        assert told == "the form is larger than 1048576 bytes"

    @pytest.mark.parametrize("endpoint", ["query", "query_range", "query_exemplars", "format_query", "parse_query"])
    @pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
    def test_deep_ones(self, bounded: Running, endpoint: str, text: str) -> None:
        status, kind, told = refused(bounded, endpoint, query=text, start=1, end=2, step=1)
        assert (status, kind) == (400, "bad_data")
        assert "parse error" in told

    @pytest.mark.parametrize("endpoint", ["series", "labels"])
    @pytest.mark.parametrize("text", [*LONG.values(), *DEEP.values()], ids=[*LONG, *DEEP])
    def test_matches(self, bounded: Running, endpoint: str, text: str) -> None:
        assert refused(bounded, endpoint, **{"match[]": text})[:2] == (400, "bad_data")


class TestRegularExpressions:
    @pytest.mark.parametrize(
        "pattern",
        [
            "(a+)+b",
            "(x*)*y",
            "(x|x)*y",
            "(.*)(.*)(.*)(.*)(.*)(.*)y",
            "(x?){60}x{60}",
            "x{0,200}{0,5}y",
            "(?:" * 2000 + ")" * 2000,
        ],
    )
    def test_those_that_explode_elsewhere(self, bounded: Running, pattern: str) -> None:
        """Matching takes time in the length of the text alone."""
        began = time.monotonic()
        reply = bounded.get(f"{API}/query", query=f'some{{kind=~"{pattern}"}}')
        assert reply.status_code in (200, 400)
        assert time.monotonic() - began < 1
        reply = bounded.get(f"{API}/query", query=f'label_replace(some, "a", "$1", "kind", "{pattern}")')
        assert reply.status_code in (200, 400, 422)
        assert time.monotonic() - began < TIMEOUT_S

    @pytest.mark.parametrize("pattern", ["((a{1,100}){1,100}){1,100}", "a{1000}{1000}"])
    def test_those_that_are_too_large(self, bounded: Running, pattern: str) -> None:
        status, kind, told = refused(bounded, "query", query=f'some{{kind=~"{pattern}"}}')
        assert (status, kind) == (400, "bad_data")
        assert "error parsing regexp" in told


class TestRanges:
    def test_ten_years_at_a_second(self, bounded: Running) -> None:
        end = now_ms() / 1000
        status, kind, told = refused(
            bounded, "query_range", query="some", start=end - 10 * YEAR_S, end=end, step=1, timeout="1h"
        )
        assert (status, kind) == (400, "bad_data")
        assert "exceeded maximum resolution of 11,000 points" in told

    def test_ten_years_at_a_second_in_a_subquery(self, bounded: Running) -> None:
        query = "sum_over_time(vector(1)[10y:1s])"
        status, kind, told = refused(bounded, "query", query=query)
        assert (status, kind) in ((422, "execution"), (503, "timeout"))
        assert "MIRUBATO_" in told

    @pytest.mark.parametrize(
        "query",
        [
            "sum_over_time(some[1y:1s])",
            "max_over_time(max_over_time(some[1d:1s])[1d:1s])",
            "quantile_over_time(0.5, some[1d:1s])",
        ],
    )
    def test_subqueries(self, bounded: Running, query: str) -> None:
        status, kind, told = refused(bounded, "query", query=query)
        assert (status, kind) in ((422, "execution"), (503, "timeout"))
        assert "MIRUBATO_" in told

    @pytest.mark.parametrize("query", ["some", "rate(some[5m])", "topk(10, some)", "count_values('x', some)"])
    def test_many_cells(self, bounded: Running, query: str) -> None:
        """4,000 series at 11,000 steps."""
        end = now_ms() / 1000
        status, kind, told = refused(bounded, "query_range", query=query, start=end - 11_000, end=end, step=1)
        assert (status, kind) == (422, "execution")
        assert "MIRUBATO_MAX_QUERY_SAMPLES=2000000" in told

    def test_an_answer_that_is_too_large(self, bounded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mirubato.promql.query.ANSWER_POINTS_MAX", 39_999)
        now = now_ms() / 1000
        asked = {"query": "some", "start": now, "end": now + 9, "step": 1}
        status, kind, told = refused(bounded, "query_range", **asked)
        assert (status, kind) == (422, "execution")
        assert told.startswith("the answer has more than 39999 points")
        monkeypatch.setattr("mirubato.promql.query.ANSWER_POINTS_MAX", 40_000)
        assert len(bounded.api("query_range", **asked)["result"]) == 4000


class TestManySeries:
    @pytest.mark.parametrize("query", ["many", "rate(many[5m])", "sum(many)", "many + some", 'count({__name__!=""})'])
    def test_queries(self, bounded: Running, query: str) -> None:
        status, kind, told = refused(bounded, "query", query=query)
        assert (status, kind) == (422, "execution")
        assert "MIRUBATO_MAX_QUERY_SERIES=5000" in told

    @pytest.mark.parametrize("endpoint", ["series", "labels"])
    def test_lists(self, bounded: Running, endpoint: str) -> None:
        status, kind, told = refused(bounded, endpoint, **{"match[]": '{__name__!=""}'})
        assert (status, kind) == (422, "execution")
        assert "MIRUBATO_MAX_QUERY_SERIES=5000" in told

    @pytest.mark.parametrize(
        "query", ["some * on () group_left () some", "some * on (kind) some", "some and on (kind) some"]
    )
    def test_products(self, bounded: Running, query: str) -> None:
        """16 million pairs: an error, or an answer, but in time."""
        began = time.monotonic()
        reply = bounded.get(f"{API}/query", query=query)
        assert time.monotonic() - began < TIMEOUT_S + SLACK_S
        assert reply.status_code in (200, 422, 503)


def test_ingest_goes_on_beside_them(bounded: Running) -> None:
    """Four clients ask what takes until the deadline; no reply to a sender waits 2 s."""
    queries = ["quantile_over_time(0.5, some[3h:1s])", "sort(some)", "some * on (number) some", "stddev(some)"]
    name, slowest = fresh(), 0.0

    def ask(query: str) -> set[int]:
        until = time.monotonic() + 3
        codes = set()
        while time.monotonic() < until:
            codes.add(bounded.post(f"{API}/query", query=query).status_code)
        return codes

    with ThreadPoolExecutor(len(queries)) as clients:
        asking = [clients.submit(ask, query) for query in queries]
        while not all(one.done() for one in asking):
            began = time.monotonic()
            assert HTTP.export(bounded, "metrics", metrics(gauge(name, number(1.0)))).code == 0
            slowest = max(slowest, time.monotonic() - began)
    assert set().union(*(one.result() for one in asking)) <= {200, 422, 503}
    assert slowest < 2
    assert bounded.value(name) == "1"
