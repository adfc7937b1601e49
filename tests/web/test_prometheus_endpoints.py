"""Each endpoint of the Prometheus API by what it answers: kinds of results, notes, exemplars, the tree, status."""

import math
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mirubato.model.labels import format_value
from mirubato.web.prometheus_json import time_text, value_texts
from tests.support.doors import HTTP
from tests.support.gateways import API, Running, running
from tests.support.requests import (
    buckets,
    counter,
    exemplar,
    exponential,
    fresh,
    gauge,
    histogram,
    metrics,
    now_ms,
    number,
    powers,
)

TRACE = "0123456789abcdef0123456789abcdef"
BOTH = ["query", "query_range", "query_exemplars", "format_query", "parse_query", "series", "labels"]
GET_ONLY = [
    "label/job/values",
    "metadata",
    "rules",
    "alerts",
    "alertmanagers",
    "targets",
    "targets/metadata",
    "scrape_pools",
    "status/buildinfo",
    "status/runtimeinfo",
    "status/config",
    "status/tsdb",
]
ENOUGH = {"query": "up", "match[]": "up", "start": "1", "end": "2", "step": "1"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway without the experimental part."""
    with running(tmp_path_factory.mktemp("plain"), promql_experimental=False) as one:
        yield one


@pytest.fixture(scope="module")
def timed(gateway: Running) -> str:
    """A histogram of seconds with two exemplars, in the buckets of 0.5 and 10."""
    name, now = fresh("timed"), now_ms()
    point = buckets([1, 2, 3], [0.5, 10], 20.5, zone="a")
    point.exemplars.extend([exemplar(0.25, TRACE, now - 2000), exemplar(7.0, TRACE, now - 1000, user="me")])
    assert HTTP.export(gateway, "metrics", metrics(histogram(name, point, unit="s"))).code == 0
    return f"{name}_seconds"


def body(gateway: Running, endpoint: str, **asked: Any) -> Any:
    """The whole envelope of a success."""
    reply = gateway.get(f"{API}/{endpoint}", **asked)
    assert reply.status_code == 200, reply.text
    return reply.json()


class TestMethods:
    @pytest.mark.parametrize("endpoint", BOTH + GET_ONLY)
    def test_get(self, gateway: Running, endpoint: str) -> None:
        reply = gateway.get(f"{API}/{endpoint}", **ENOUGH)
        assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
        assert reply.json()["status"] == "success"

    @pytest.mark.parametrize("endpoint", BOTH)
    def test_post(self, gateway: Running, endpoint: str) -> None:
        assert gateway.post(f"{API}/{endpoint}", **ENOUGH).json() == body(gateway, endpoint, **ENOUGH)

    @pytest.mark.parametrize("endpoint", GET_ONLY)
    def test_get_only(self, gateway: Running, endpoint: str) -> None:
        """Grafana asks again with GET where POST is answered by 405."""
        assert gateway.post(f"{API}/{endpoint}", **ENOUGH).status_code == 405


def test_the_page_has_every_endpoint_with_its_methods() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "API.md").read_text(encoding="utf-8")
    table = page.partition("| `/api/v1/…` |")[2].partition("\n\n")[0]
    told: dict[str, str] = {}
    for row in table.splitlines()[2:]:
        _, names, methods, *_ = row.split("|")
        told.update(dict.fromkeys(re.findall(r"`([^`]+)`", names), methods.strip()))
    served = {name.replace("job", "<name>"): "GET" for name in GET_ONLY} | dict.fromkeys(BOTH, "GET, POST")
    assert told == served | {"write": "POST"}


class TestResults:
    def test_scalar(self, gateway: Running) -> None:
        """The query of Grafana's "Save & test"."""
        assert gateway.api("query", query="1+1", time=4) == {"resultType": "scalar", "result": [4, "2"]}

    def test_string(self, gateway: Running) -> None:
        found = gateway.api("query", query='"größe \\" \\n"', time=4.25)
        assert found == {"resultType": "string", "result": [4.25, 'größe " \n']}

    def test_vector(self, gateway: Running) -> None:
        found = gateway.api("query", query="-vector(time())", time=1234.5)
        assert found == {"resultType": "vector", "result": [{"metric": {}, "value": [1234.5, "-1234.5"]}]}

    def test_matrix(self, gateway: Running) -> None:
        found = gateway.api("query_range", query="time() / 4", start=-1, end=1.5, step="0.5")
        times = [-1, -0.5, 0, 0.5, 1, 1.5]
        values = [[time, format_value(time / 4)] for time in times]
        assert found == {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}

    def test_a_subquery_is_a_matrix(self, gateway: Running) -> None:
        found = gateway.api("query", query="vector(time())[30s:10s]", time=100)
        assert found["result"] == [{"metric": {}, "values": [[80, "80"], [90, "90"], [100, "100"]]}]

    def test_nothing(self, gateway: Running) -> None:
        assert gateway.api("query", query="absent_x") == {"resultType": "vector", "result": []}
        nothing = gateway.api("query_range", query="absent_x", start=1, end=2, step=1)
        assert nothing == {"resultType": "matrix", "result": []}

    def test_floats_and_histograms_of_one_series(self, gateway: Running) -> None:
        name, now = fresh(), now_ms()
        point = powers([1])
        point.time_unix_nano = (now - 20_000) * 1_000_000
        sent = metrics(gauge(name, number(2.5, now - 40_000)), exponential(name, point))
        assert HTTP.export(gateway, "metrics", sent).code == 0
        asked = {"start": (now - 40_000) / 1000, "end": now / 1000, "step": 20}
        (found,) = gateway.api("query_range", query=f'{{"{name}"}}', **asked)["result"]
        assert found["values"] == [[(now - 40_000) / 1000, "2.5"]]
        shown = {"count": "1", "sum": "0", "buckets": [[0, "1", "2", "1"]]}
        assert found["histograms"] == [[(now - 20_000) / 1000, shown], [now / 1000, shown]]

    def test_custom_bounds(self, gateway: Running) -> None:
        """What the classic buckets of a histogram add up to, and a quantile of it."""
        name = fresh()
        sent = metrics(histogram(name, buckets([2, 2, 0], [1.0, 3.0], 6.0), unit="s"))
        assert HTTP.export(gateway, "metrics", sent).code == 0
        assert gateway.value(f"histogram_quantile(0.75, {name}_seconds_bucket)") == "2"

    def test_limits_do_not_touch_scalars(self, gateway: Running) -> None:
        answer = body(gateway, "query", query="1", time=1, limit=1)
        assert (answer["data"]["result"], "warnings" in answer) == ([1, "1"], False)


class TestNotes:
    def test_infos(self, gateway: Running) -> None:
        name, now = fresh("stock"), now_ms()
        points = [number(float(value), now - 60_000 * (2 - value)) for value in range(3)]
        assert HTTP.export(gateway, "metrics", metrics(gauge(name, *points))).code == 0
        told = (
            "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket:"
            f' "{name}" (1:6)'
        )
        assert body(gateway, "query", query=f"rate({name}[5m])")["infos"] == [told]
        asked = {"start": now / 1000, "end": now / 1000, "step": 1}
        assert body(gateway, "query_range", query=f"rate({name}[5m])", **asked)["infos"] == [told]

    def test_warnings(self, gateway: Running) -> None:
        answer = body(gateway, "query", query="quantile(7, vector(1))")
        assert answer["warnings"] == ["PromQL warning: quantile value should be between 0 and 1, got 7 (1:10)"]
        assert answer["data"]["result"][0]["value"][1] == "+Inf"

    def test_notes_and_limits_together(self, gateway: Running) -> None:
        two = 'quantile by (a) (7, label_replace(vector(1), "a", "b", "", "") or vector(2))'
        answer = body(gateway, "query", query=two, limit=1)
        assert answer["warnings"] == [
            "PromQL warning: quantile value should be between 0 and 1, got 7 (1:18)",
            "results truncated due to limit",
        ]

    @pytest.mark.parametrize("stats", ["true", "all", "x"])
    @pytest.mark.parametrize("endpoint", ["query", "query_range"])
    def test_stats(self, gateway: Running, endpoint: str, stats: str) -> None:
        answer = body(gateway, endpoint, query="vector(1)", start=1, end=2, step=1, stats=stats)
        assert answer["data"]["stats"]["timings"]["evalTotalTime"] > 0
        assert answer["data"]["stats"]["samples"]["totalQueryableSamples"] == 0
        told = answer.get("warnings", [])
        assert len(told) == (stats == "x")
        assert all(one.startswith('value "x" for parameter "stats" is deprecated') for one in told)


class TestExperimental:
    @pytest.mark.parametrize("endpoint", ["query", "query_range", "format_query", "parse_query", "query_exemplars"])
    def test_a_setting_takes_it_away(self, gateway: Running, plain: Running, endpoint: str) -> None:
        asked = ENOUGH | {"query": "limitk(1, up)"}
        assert gateway.get(f"{API}/{endpoint}", **asked).status_code == 200
        reply = plain.get(f"{API}/{endpoint}", **asked)
        assert (reply.status_code, reply.json()["errorType"]) == (400, "bad_data")
        assert "experimental" in reply.json()["error"]
        assert plain.get(f"{API}/{endpoint}", **ENOUGH).status_code == 200


class TestExemplars:
    @pytest.mark.parametrize(
        ("query", "values"),
        [
            ("{name}_bucket", {"0.25", "7"}),
            ('{name}_bucket{{le="0.5"}}', {"0.25"}),
            ("histogram_quantile(0.95, sum by (le) (rate({name}_bucket[5m])))", {"0.25", "7"}),
            ('absent_x or -{name}_bucket{{le="10"}} offset 1h', {"7"}),
            ('topk(scalar({name}_bucket{{le="10"}}), rate(absent_x[5m:1m]))', {"7"}),
            ("{name}_count", set()),
            ("1 + 1", set()),
        ],
    )
    def test_of_all_series_that_are_selected(self, gateway: Running, timed: str, query: str, values: set[str]) -> None:
        now = now_ms() / 1000
        found = gateway.api("query_exemplars", query=query.format(name=timed), start=now - 60, end=now + 60)
        assert {one["value"] for series in found for one in series["exemplars"]} == values

    def test_an_exemplar(self, gateway: Running, timed: str) -> None:
        now = now_ms() / 1000
        (found,) = gateway.api("query_exemplars", query=f'{timed}_bucket{{le="10"}}', start=now - 60, end=now + 60)
        common = {"zone": "a", "job": "shop", "service_name": "shop"}
        assert found["seriesLabels"] == {"__name__": f"{timed}_bucket", "le": "10", **common}
        (shown,) = found["exemplars"]
        assert shown["labels"] == {"trace_id": TRACE, "span_id": TRACE[:16], "user": "me"}
        assert (shown["value"], now - 60 < shown["timestamp"] < now) == ("7", True)

    def test_of_another_time(self, gateway: Running, timed: str) -> None:
        asked = {"query": f"{timed}_bucket", "start": 1, "end": 2}
        assert gateway.api("query_exemplars", **asked) == []

    def test_the_probe_of_grafana(self, gateway: Running) -> None:
        """Milliseconds where seconds are meant: the year 58,000."""
        asked = {"query": "test", "start": 1_795_000_000_000, "end": 1_795_003_600_000}
        for reply in (gateway.post(f"{API}/query_exemplars", **asked), gateway.get(f"{API}/query_exemplars", **asked)):
            assert (reply.status_code, reply.json()) == (200, {"status": "success", "data": []})


class TestExpressions:
    def test_format(self, gateway: Running) -> None:
        assert gateway.api("format_query", query="foo/bar") == "foo / bar"
        long = "sum by (a) (rate(" + "x" * 50 + "[5m])) / sum by (a) (rate(" + "y" * 50 + "[5m]))"
        assert "\n/\n  sum by" in gateway.api("format_query", query=long)

    def test_parse(self, gateway: Running) -> None:
        found = gateway.api("parse_query", query='sum by (a) (rate(x{b!="c"}[5m]))')
        assert (found["type"], found["op"], found["grouping"]) == ("aggregation", "sum", ["a"])
        (selector,) = found["expr"]["args"]
        assert (selector["type"], selector["range"], selector["name"]) == ("matrixSelector", 300_000, "x")
        assert {"name": "b", "type": "!=", "value": "c"} in selector["matchers"]

    def test_a_deep_tree(self, gateway: Running) -> None:
        """Deeper than orjson takes."""
        deep = "(" * 90 + "1" + ")" * 90
        found = gateway.api("parse_query", query=" + ".join([deep] * 100))
        assert found["type"] == "binaryExpr"


class TestStretches:
    def test_series_that_began_later_or_ended_before(self, gateway: Running) -> None:
        """As far as blocks tell: what is not sealed yet is known exactly."""
        early, late, now = fresh(), fresh(), now_ms()
        sent = metrics(gauge(early, number(1.0, now - 600_000)), gauge(late, number(1.0, now - 10_000)))
        assert HTTP.export(gateway, "metrics", sent).code == 0

        def between(start: float, end: float) -> set[str]:
            asked = {"match[]": [early, late], "start": now / 1000 - start, "end": now / 1000 - end}
            return {one["__name__"] for one in gateway.api("series", **asked)}

        assert between(700, 0) == {early, late}
        assert between(700, 300) == {early}
        assert between(500, 0) == {late}
        assert between(500, 300) == set()
        assert between(700, 650) == set()
        names = gateway.api(
            "label/__name__/values", **{"match[]": f'{{__name__=~"{early}|{late}"}}'}, end=now / 1000 - 300
        )
        assert names == [early]


class TestMetadata:
    def test_limits(self, gateway: Running) -> None:
        name = fresh()
        some = [gauge(f"{name}.total", number(1.0)), counter(name, number(1.0, zone="a"))]
        assert HTTP.export(gateway, "metrics", metrics(*some)).code == 0
        assert len(gateway.api("metadata", metric=f"{name}_total")[f"{name}_total"]) == 2
        assert len(gateway.api("metadata", metric=f"{name}_total", limit_per_metric=1)[f"{name}_total"]) == 1
        assert gateway.api("metadata", limit=0) == {}
        assert len(gateway.api("metadata", limit=-1)) >= 1


class TestStatus:
    def test_tsdb(self, tmp_path: Any) -> None:
        with running(tmp_path) as one:
            assert one.api("status/tsdb")["headStats"]["numSeries"] == 0
            now = now_ms()
            some = [
                gauge("stock", number(1.0, now - 5000, zone="a"), number(1.0, now, zone="bb")),
                gauge("price", number(2.0, now, zone="a")),
            ]
            HTTP.export(one, "metrics", metrics(*some))
            found = one.api("status/tsdb")
            head = found["headStats"]
            assert (head["numSeries"], head["minTime"], head["maxTime"]) == (3, now - 5000, now)
            assert found["seriesCountByMetricName"] == [{"name": "stock", "value": 2}, {"name": "price", "value": 1}]
            assert {"name": "zone", "value": 2} in found["labelValueCountByLabelName"]
            assert {"name": "zone", "value": 4} in found["memoryInBytesByLabelName"]
            assert {"name": "job=shop", "value": 3} in found["seriesCountByLabelValuePair"]
            assert head["numLabelPairs"] == 6
            assert len(one.api("status/tsdb", limit=1)["seriesCountByMetricName"]) == 1

    def test_what_is_empty(self, gateway: Running) -> None:
        assert gateway.api("rules", type="alert", exclude_alerts="true", group_limit=5) == {"groups": []}
        assert gateway.api("rules", **{"rule_name[]": ["a"], "rule_group[]": ["b"], "file[]": ["c"]}) == {"groups": []}
        assert gateway.api("alerts") == {"alerts": []}
        targets: Any = {"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}}
        assert gateway.api("targets", state="active", scrapePool="x") == targets

    def test_runtimeinfo(self, gateway: Running) -> None:
        found = gateway.api("status/runtimeinfo")
        assert found["startTime"] < found["serverTime"]


@given(st.lists(st.one_of(st.floats(), st.integers(-(1 << 60), 1 << 60).map(float)), max_size=30))
@settings(max_examples=300, deadline=None)
@example([10.0**power for power in range(-12, 25)] + [-1.5 * 10.0**power for power in range(-12, 25)])
@example([math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, 1.7976931348623157e308])
def test_many_values_at_once_are_written_as_each_alone(values: list[float]) -> None:
    assert value_texts(values) == [format_value(value) for value in values]


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0"), (1, "0.001"), (10, "0.01"), (1500, "1.5"), (-1, "-0.001"), (-1000, "-1"), (12_000, "12")]
)
def test_times(ms: int, text: str) -> None:
    assert time_text(ms) == text


class TestHangingUp:
    def test_a_query_ends_when_its_client_is_gone(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """At its next look at the deadline, so that the thread is free for others."""
        asked, ended = threading.Event(), threading.Event()

        def select(_: object, __: int, ___: int, budget: Any, use: object = None) -> Any:
            asked.set()
            until = time.monotonic() + 20
            try:
                while time.monotonic() < until:
                    budget.check()
                    time.sleep(0.005)
            finally:
                ended.set()

        with running(tmp_path) as one:
            monkeypatch.setattr(one.gateway.reader, "select", select)
            with pytest.raises(httpx.ReadTimeout):
                httpx.get(one.url("web_port", f"{API}/query?query=up"), timeout=0.2)
            assert asked.wait(10)
            assert ended.wait(5)
            assert one.api("query", query="1+1", time=4)["result"] == [4, "2"]
