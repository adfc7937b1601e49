"""The Prometheus HTTP API as Grafana and promtool use it: parameters, envelopes, errors, lists."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.doors import HTTP
from tests.support.gateways import API, Running, running
from tests.support.requests import (
    buckets,
    counter,
    fresh,
    gauge,
    histogram,
    metrics,
    now_ms,
    number,
)

TRUNCATED = ["results truncated due to limit"]
QUERY = 'invalid parameter "query": '
TO_2 = {"query": "up", "start": "1", "end": "2"}


@pytest.fixture(scope="module")
def shop(gateway: Running) -> str:
    """Three series `<name>{zone="a" | "b" | ""}` whose newest value is 1, 2 and 3."""
    name = fresh("shop")
    points = [number(value, at_ms=now_ms() - 1000, zone=zone) for zone, value in (("a", 1.0), ("b", 2.0), ("", 3.0))]
    assert HTTP.export(gateway, "metrics", metrics(gauge(name, *points))).code == 0
    return name


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Queries may touch 3 series and 10 samples; it holds `few` (3 series) and `many` (4 series)."""
    with running(tmp_path_factory.mktemp("strict"), max_query_series=3, max_query_samples=10) as one:
        for name, count in (("few", 3), ("many", 4)):
            points = [number(1.0, series=str(index)) for index in range(count)]
            assert HTTP.export(one, "metrics", metrics(gauge(name, *points))).code == 0
        yield one


def values(found: Any) -> list[str]:
    return sorted(one["value"][1] for one in found["result"])


class TestQuery:
    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ("", ["1", "2", "3"]),
            ('zone="a"', ["1"]),
            ('zone=""', ["3"]),
            ('zone!="a"', ["2", "3"]),
            ('zone!=""', ["1", "2"]),
            ('zone=~"a|c"', ["1"]),
            ('zone=~".*"', ["1", "2", "3"]),
            ('zone=~".+"', ["1", "2"]),
            ('zone!~"a|c"', ["2", "3"]),
            ('zone!~".+"', ["3"]),
            ('zone=~"a",zone!="a"', []),
            ('nothing=""', ["1", "2", "3"]),
            ('nothing!=""', []),
            ('job="shop",service_name="shop"', ["1", "2", "3"]),
            ('job="sho"', []),
            ('job=~"sho"', []),
        ],
    )
    def test_all_matchers(self, gateway: Running, shop: str, condition: str, expected: list[str]) -> None:
        assert values(gateway.api("query", query=f"{shop}{{{condition}}}")) == expected

    def test_matchers_on_the_name(self, gateway: Running, shop: str) -> None:
        ask = gateway.api
        assert values(ask("query", query=f'{{__name__="{shop}"}}')) == ["1", "2", "3"]
        assert values(ask("query", query=f'{{__name__=~"{shop[:-1]}."}}')) == ["1", "2", "3"]
        assert values(ask("query", query=f'{{__name__=~"{shop[:-1]}"}}')) == []
        assert values(ask("query", query=f'{{__name__!="{shop}",__name__=~"{shop}.*"}}')) == []
        assert values(ask("query", query=f'{{__name__!~"{shop}",__name__=~"{shop}.*"}}')) == []
        assert values(ask("query", query=f'{{"{shop}",zone="b"}}')) == ["2"]

    def test_a_vector_has_all_labels_and_the_asked_time(self, gateway: Running, shop: str) -> None:
        at = now_ms() / 1000
        (found,) = gateway.api("query", query=f'{shop}{{zone="a"}}', time=at)["result"]
        labels = {"__name__": shop, "zone": "a", "job": "shop", "service_name": "shop"}
        assert found == {"metric": labels, "value": [at, "1"]}

    def test_results_are_sorted_by_labels(self, gateway: Running, shop: str) -> None:
        found = gateway.api("query", query=shop)["result"]
        assert [one["metric"].get("zone") for one in found] == [None, "a", "b"]

    def test_a_range_is_a_matrix(self, gateway: Running, shop: str) -> None:
        found = gateway.api("query", query=f'{shop}{{zone="b"}}[5m]')
        assert found["resultType"] == "matrix"
        ((_, value),) = found["result"][0]["values"]
        assert value == "2"

    def test_a_limit_cuts_and_warns(self, gateway: Running, shop: str) -> None:
        for query in (shop, f"{shop}[5m]"):
            answer = gateway.get(f"{API}/query", query=query, limit=2).json()
            assert (len(answer["data"]["result"]), answer["warnings"]) == (2, TRUNCATED)
            for limit in (0, 3, 4, ""):
                answer = gateway.get(f"{API}/query", query=query, limit=limit).json()
                assert (len(answer["data"]["result"]), "warnings" in answer) == (3, False)

    def test_forms_and_query_strings_mean_the_same(self, gateway: Running, shop: str) -> None:
        now = now_ms() / 1000
        asked: dict[str, Any] = {"query": shop, "time": now}
        assert gateway.post(f"{API}/query", **asked).json() == gateway.get(f"{API}/query", **asked).json()
        steps: dict[str, Any] = {"query": shop, "start": now - 60, "end": now, "step": "15"}
        assert gateway.post(f"{API}/query_range", **steps).json() == gateway.get(f"{API}/query_range", **steps).json()
        either = gateway.http.post(gateway.url("web_port", f"{API}/query?query=nonsense("), data={"query": shop})
        assert len(either.json()["data"]["result"]) == 3, "the form counts first, as in Go"

    def test_a_form_that_is_no_form_is_not_read(self, gateway: Running, shop: str) -> None:
        reply = gateway.http.post(gateway.url("web_port", f"{API}/query"), json={"query": shop})
        assert reply.json()["error"] == f"{QUERY}unknown position: parse error: no expression found in input"

    def test_a_form_may_be_1_mib(self, gateway: Running, shop: str) -> None:
        reply = gateway.post(f"{API}/query", query=shop, nothing="x" * (1 << 20))
        assert (reply.status_code, reply.json()["errorType"]) == (400, "bad_data")
        assert reply.json()["error"] == "the form is larger than 1048576 bytes"
        assert gateway.post(f"{API}/query", query=shop, nothing="x" * 1_000_000).status_code == 200

    def test_a_form_that_breaks_off_is_no_query(self, gateway: Running, caplog: pytest.LogCaptureFixture) -> None:
        with socket.create_connection(("127.0.0.1", gateway.gateway.ports["web_port"])) as half:
            head = f"POST {API}/query HTTP/1.1\r\nhost: x\r\ncontent-length: 100"
            half.sendall(f"{head}\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\nquery=up".encode())
        assert gateway.api("query", query="absent")["result"] == []
        assert not caplog.records

    def test_letters_beyond_ascii(self, gateway: Running) -> None:
        name = fresh()
        HTTP.export(gateway, "metrics", metrics(gauge(name, number(1.0, place='größe \U0001f600\n\\"'))))
        found = gateway.post(f"{API}/query", query=name + r'{place="größe \U0001F600\n\\\""}').json()["data"]["result"]
        assert found[0]["metric"]["place"] == 'größe \U0001f600\n\\"'


class TestTimes:
    MOMENT = 1_700_000_000.123

    @pytest.mark.parametrize(
        "text",
        [
            "1700000000.123",
            "1.700000000123e9",
            "2023-11-14T22:13:20.123Z",
            "2023-11-14T22:13:20.1230001Z",
            "2023-11-14T23:13:20.123+01:00",
            "2023-11-14T17:13:20.123-05:00",
        ],
    )
    def test_a_time(self, gateway: Running, text: str) -> None:
        found = gateway.api("query_range", query="absent", start=text, end=text, step=1)
        assert found == {"resultType": "matrix", "result": []}
        reply = gateway.get(f"{API}/query_range", query="absent", start=text, end="1700000000.122", step=1)
        assert reply.json()["error"] == 'invalid parameter "end": end timestamp must not be before start time'

    @pytest.mark.parametrize("text", ["yesterday", "2023-11-14", "2023-11-14T22:13:20", "1h", "NaN", "+Inf", "1e300"])
    @pytest.mark.parametrize("name", ["start", "end", "time"])
    def test_what_is_no_time(self, gateway: Running, name: str, text: str) -> None:
        asked = {"query": "up", "start": "1", "end": "1", "step": "1", name: text}
        reply = gateway.get(f"{API}/{'query' if name == 'time' else 'query_range'}", **asked)
        assert (reply.status_code, reply.json()["errorType"]) == (400, "bad_data")
        assert reply.json()["error"].startswith(f'invalid parameter "{name}": ')

    @pytest.mark.parametrize(
        ("step", "count"), [("15", 5), ("15s", 5), ("0.25m", 0), ("1m", 2), ("20.0", 4), ("0h1m", 2), ("1e1", 7)]
    )
    def test_a_step(self, gateway: Running, shop: str, step: str, count: int) -> None:
        start = now_ms() / 1000
        asked = {"query": shop + '{zone="a"}', "start": start, "end": start + 60, "step": step}
        reply = gateway.get(f"{API}/query_range", **asked)
        if not count:
            assert (reply.status_code, reply.json()["errorType"]) == (400, "bad_data")
            return
        (found,) = reply.json()["data"]["result"]
        assert len(found["values"]) == count

    @pytest.mark.parametrize("step", ["0", "-1", "0.0001"])
    def test_a_step_that_is_not_above_0(self, gateway: Running, step: str) -> None:
        reply = gateway.get(f"{API}/query_range", query="up", start=1, end=1, step=step)
        assert (reply.status_code, reply.json()["errorType"]) == (400, "bad_data")
        assert reply.json()["error"].startswith('invalid parameter "step": zero or negative query resolution')

    @pytest.mark.parametrize("step", ["NaN", "inf", "x", "1e300", "-5m", "5m5m", "9" * 5000 + "s", "1_0", " 1"])
    @pytest.mark.parametrize("name", ["step", "lookback_delta", "timeout"])
    def test_what_is_no_step(self, gateway: Running, name: str, step: str) -> None:
        asked = {"query": "up", "start": "1", "end": "1", "step": "1", name: step}
        reply = gateway.get(f"{API}/query_range", **asked)
        assert (reply.status_code, reply.json()["errorType"]) == (400, "bad_data")
        told = "error parsing lookback delta duration" if name == "lookback_delta" else f'invalid parameter "{name}"'
        assert reply.json()["error"].startswith(f'{told}: cannot parse "{step[:60]}" to a valid duration')

    @pytest.mark.parametrize("lookback", ["", "0", "-1", "0.0001", "0s"])
    def test_a_look_back_that_is_not_above_0_is_the_default(self, gateway: Running, shop: str, lookback: str) -> None:
        assert len(gateway.api("query", query=shop, lookback_delta=lookback)["result"]) == 3

    def test_11000_points(self, gateway: Running, shop: str) -> None:
        end = now_ms() / 1000
        asked = {"query": shop + '{zone="a"}', "end": end, "step": 0.001}
        most = gateway.get(f"{API}/query_range", start=end - 11, **asked)
        assert most.status_code == 200
        reply = gateway.get(f"{API}/query_range", start=end - 11.001, **asked)
        assert reply.status_code == 400
        assert "11,000 points per timeseries" in reply.json()["error"]


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "asked", "told"),
        [
            ("query", {}, f"{QUERY}unknown position: parse error: no expression found in input"),
            ("query", {"query": ""}, f"{QUERY}unknown position: parse error: no expression found in input"),
            ("query", {"query": "up{"}, f"{QUERY}1:4: parse error: unexpected end of input inside braces"),
            ("query", {"query": "1+"}, f"{QUERY}1:3: parse error: unexpected end of input"),
            ("query", {"query": "{}"}, f"{QUERY}1:1: parse error: vector selector must contain at least one non-empty"),
            ("query", {"query": 'up{a=~"("}'}, f"{QUERY}1:4: parse error: error parsing regexp: missing closing )"),
            (
                "query",
                {"query": "up", "time": "x"},
                "invalid parameter \"time\": invalid time value for 'time': cannot",
            ),
            ("query", {"query": "up", "limit": "-1"}, 'invalid parameter "limit": limit must be non-negative'),
            ("query", {"query": "up", "limit": "--1"}, 'invalid parameter "limit": not a whole number'),
            ("query", {"query": "up", "limit": "²"}, 'invalid parameter "limit": not a whole number'),
            ("query", {"query": "up", "timeout": "x"}, 'invalid parameter "timeout": cannot parse "x" to a valid dur'),
            ("query_range", {"query": "up"}, 'invalid parameter "start": cannot parse "" to a valid timestamp'),
            ("query_range", {"query": "up", "start": "1"}, 'invalid parameter "end": cannot parse "" to a valid time'),
            ("query_range", TO_2, 'invalid parameter "step": cannot parse "" to a valid duration'),
            ("query_range", TO_2 | {"step": "1", "end": "0"}, 'invalid parameter "end": end timestamp must not be bef'),
            ("query_range", TO_2 | {"step": "1", "limit": "x"}, 'invalid parameter "limit": not a whole number'),
            ("query_range", TO_2 | {"step": "1", "query": "up["}, f"{QUERY}1:4: parse error"),
            ("query_range", TO_2 | {"step": "1", "query": "up[5m]"}, f'{QUERY}invalid expression type "range vector"'),
            ("query_range", TO_2 | {"step": "1", "query": '"x"'}, f'{QUERY}invalid expression type "string"'),
            ("query_exemplars", {"query": "up("}, "1:4: parse error"),
            ("query_exemplars", {}, "unknown position: parse error: no expression found in input"),
            (
                "query_exemplars",
                {"query": "up", "start": "2", "end": "1"},
                "end timestamp must not be before start time",
            ),
            ("query_exemplars", {"query": "up", "start": "x"}, 'invalid parameter "start": invalid time value for'),
            ("format_query", {"query": "up/"}, f"{QUERY}1:4: parse error: unexpected end of input"),
            ("parse_query", {"query": "up/"}, f"{QUERY}1:4: parse error: unexpected end of input"),
            ("series", {}, "no match[] parameter provided"),
            ("series", {"match[]": "{}"}, 'invalid parameter "match[]": match[] must contain at least one non-empty'),
            ("series", {"match[]": "up[5m]"}, 'invalid parameter "match[]": 1:3: parse error: unexpected "["'),
            ("series", {"match[]": "up", "end": "x"}, "invalid parameter \"end\": invalid time value for 'end'"),
            ("labels", {"match[]": "up{"}, "1:4: parse error"),
            ("labels", {"match[]": "{}"}, "match[] must contain at least one non-empty matcher"),
            ("labels", {"limit": "x"}, 'invalid parameter "limit"'),
            ("labels", {"start": "x"}, 'invalid parameter "start"'),
            ("label/job/values", {"match[]": "up{"}, "1:4: parse error"),
            ("label/job/values", {"match[]": "up", "start": "x"}, 'invalid parameter "start"'),
            ("label/job/values", {"end": "x"}, 'invalid parameter "end"'),
            ("metadata", {"limit": "x"}, "limit must be a number"),
            ("metadata", {"limit_per_metric": "x"}, "limit_per_metric must be a number"),
            ("status/tsdb", {"limit": "0"}, "limit must be a positive number"),
            ("status/tsdb", {"limit": "x"}, "limit must be a positive number"),
            ("status/tsdb", {"limit": "10001"}, "limit must not exceed 10000"),
            ("rules", {"type": "x"}, 'invalid parameter "type": not supported value "x"'),
            ("rules", {"match[]": "{}"}, "match[] must contain at least one non-empty matcher"),
            ("rules", {"exclude_alerts": "x"}, 'invalid parameter "exclude_alerts": '),
            ("rules", {"group_limit": "0"}, 'invalid parameter "group_limit": group_limit needs to be greater than 0'),
            ("rules", {"group_limit": "x"}, 'invalid parameter "group_limit": group_limit needs to be a valid number'),
            ("rules", {"group_next_token": "x"}, 'invalid parameter "group_next_token": group_limit needs to be pre'),
            ("rules", {"group_next_token": "x", "group_limit": "1"}, 'invalid parameter "group_next_token": invalid'),
        ],
    )
    def test_bad_data_is_400(self, gateway: Running, path: str, asked: dict[str, str], told: str) -> None:
        reply = gateway.get(f"{API}/{path}", **asked)
        answer = reply.json()
        assert (reply.status_code, reply.headers["content-type"]) == (400, "application/json")
        assert (answer["status"], answer["errorType"]) == ("error", "bad_data")
        assert answer["error"].startswith(told)
        assert "data" not in answer

    @pytest.mark.parametrize("path", ["query", "query_range"])
    def test_a_deadline_is_503(self, gateway: Running, shop: str, path: str) -> None:
        for query in (shop, f"{shop}[5m]") if path == "query" else (shop,):
            reply = gateway.get(f"{API}/{path}", query=query, timeout="0s", start=1, end=2, step=1)
            assert (reply.status_code, reply.json()["errorType"]) == (503, "timeout")
            assert "MIRUBATO_QUERY_TIMEOUT" in reply.json()["error"]

    def test_a_timeout_may_only_shorten(self, gateway: Running, shop: str) -> None:
        assert gateway.get(f"{API}/query", query=shop, timeout="10h").status_code == 200

    def test_too_many_series_are_422(self, strict: Running) -> None:
        assert len(strict.api("query", query="few")["result"]) == 3
        for path, asked in (
            ("query", {"query": "many"}),
            ("query", {"query": "many[5m]"}),
            ("query_range", {"query": "many", "start": "1", "end": "1", "step": "1"}),
            ("series", {"match[]": "many"}),
            ("labels", {"match[]": "many"}),
            ("label/job/values", {"match[]": "many"}),
        ):
            reply = strict.get(f"{API}/{path}", **asked)
            assert (reply.status_code, reply.json()["errorType"]) == (422, "execution")
            assert "MIRUBATO_MAX_QUERY_SERIES=3" in reply.json()["error"]

    def test_too_many_samples_are_422(self, strict: Running) -> None:
        now = now_ms() / 1000
        reply = strict.get(f"{API}/query_range", query="few", start=now, end=now + 4, step=1)
        assert (reply.status_code, reply.json()["errorType"]) == (422, "execution")
        assert "MIRUBATO_MAX_QUERY_SAMPLES=10" in reply.json()["error"]

    def test_our_own_mistakes_are_500(
        self, gateway: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(gateway.gateway.reader, "select", None)
        reply = gateway.get(f"{API}/query", query="up")
        assert (reply.status_code, reply.json()["errorType"]) == (500, "internal")
        assert "a query failed" in caplog.text

    @pytest.mark.parametrize(
        "path", ["nothing", "label/values", "label//values", "", "admin/tsdb/snapshot", "status/flags", "features"]
    )
    def test_unknown_paths_are_404(self, gateway: Running, path: str) -> None:
        reply = gateway.get(f"{API}/{path}")
        assert (reply.status_code, reply.json()["errorType"]) == (404, "not_found")

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("POST", "label/job/values", {"GET", "HEAD"}),
            ("POST", "metadata", {"GET", "HEAD"}),
            ("POST", "status/buildinfo", {"GET", "HEAD"}),
            ("POST", "status/tsdb", {"GET", "HEAD"}),
            ("POST", "rules", {"GET", "HEAD"}),
            ("POST", "alerts", {"GET", "HEAD"}),
            ("POST", "targets", {"GET", "HEAD"}),
            ("PUT", "format_query", {"GET", "HEAD", "POST"}),
            ("PUT", "query", {"GET", "HEAD", "POST"}),
            ("DELETE", "series", {"GET", "HEAD", "POST"}),
        ],
    )
    def test_wrong_methods_are_405(self, gateway: Running, method: str, path: str, allowed: set[str]) -> None:
        reply = gateway.http.request(method, gateway.url("web_port", f"{API}/{path}"))
        assert (reply.status_code, reply.json()["status"]) == (405, "error")
        assert set(reply.headers["allow"].split(", ")) == allowed


class TestLists:
    def test_series(self, gateway: Running, shop: str) -> None:
        other = fresh()
        HTTP.export(gateway, "metrics", metrics(gauge(other, number(1.0))))
        found = gateway.api("series", **{"match[]": [f'{shop}{{zone!=""}}', other, f'{shop}{{zone="a"}}']})
        common = {"job": "shop", "service_name": "shop"}
        assert found == [
            common | {"__name__": other},
            common | {"__name__": shop, "zone": "a"},
            common | {"__name__": shop, "zone": "b"},
        ]
        assert gateway.post(f"{API}/series", **{"match[]": [other]}).json()["data"] == found[:1]

    def test_series_of_a_stretch_of_time(self, gateway: Running, shop: str) -> None:
        now = now_ms() / 1000
        assert len(gateway.api("series", **{"match[]": shop}, start=now - 60, end=now)) == 3
        assert gateway.api("series", **{"match[]": shop}, start=now + 60, end=now + 120) == []

    def test_labels(self, gateway: Running, shop: str) -> None:
        everything = gateway.api("labels")
        assert {"__name__", "job", "service_name", "zone"} <= set(everything)
        assert everything == sorted(everything)
        of_one = ["__name__", "job", "service_name"]
        assert gateway.api("labels", **{"match[]": f'{shop}{{zone=""}}'}) == of_one
        assert gateway.post(f"{API}/labels", **{"match[]": shop}).json()["data"] == [*of_one, "zone"]

    def test_label_values(self, gateway: Running, shop: str) -> None:
        assert shop in gateway.api("label/__name__/values")
        assert "shop" in gateway.api("label/job/values")
        assert gateway.api("label/zone/values", **{"match[]": shop}) == ["a", "b"]
        assert gateway.api("label/zone/values", **{"match[]": [f'{shop}{{zone="b"}}', f'{shop}{{zone=""}}']}) == ["b"]
        assert gateway.api("label/nothing/values") == []
        assert gateway.api("label/nothing/values", **{"match[]": shop}) == []

    @pytest.mark.parametrize(
        ("path", "label"),
        [
            ("U__zone", "zone"),
            ("U___7a_one", "zone"),
            ("U______name____", "__name__"),
            ("U__service__name", "service_name"),
            ("U__service_5f_name", "service_name"),
            ("U_zone", None),
            ("U__zone_zz_", None),
            ("U__zone_110000_", None),
            ("U__zone_", None),
        ],
    )
    def test_label_names_that_are_escaped(self, gateway: Running, shop: str, path: str, label: str | None) -> None:
        expected = {"zone": ["a", "b"], "__name__": [shop], "service_name": ["shop"], None: []}[label]
        assert gateway.api(f"label/{path}/values", **{"match[]": shop}) == expected

    def test_limits_cut_and_warn(self, gateway: Running, shop: str) -> None:
        for path, asked in (
            ("series", {"match[]": shop}),
            ("labels", {}),
            ("labels", {"match[]": shop}),
            ("label/__name__/values", {"match[]": f'{{__name__=~"{shop}|target_info"}}'}),
            ("label/zone/values", {}),
            ("label/zone/values", {"match[]": shop}),
        ):
            everything = gateway.get(f"{API}/{path}", **asked).json()
            assert "warnings" not in everything
            count = len(everything["data"])
            if count > 1:
                cut = gateway.get(f"{API}/{path}", limit=count - 1, **asked).json()
                assert (cut["data"], cut["warnings"]) == (everything["data"][: count - 1], TRUNCATED)
            whole = gateway.get(f"{API}/{path}", limit=count, **asked).json()
            assert "warnings" not in whole

    def test_metadata(self, gateway: Running) -> None:
        name = fresh()
        some = [
            counter(name, number(1.0), unit="By", help_="What came in"),
            histogram(name, buckets([1, 0], [1.0], 0.5), unit="s"),
            gauge(f"{name}.bytes", number(1.0), help_="Of another kind"),
            gauge(f"{name}.bytes.total", number(1.0, zone="a"), help_="The same name, another type"),
        ]
        HTTP.export(gateway, "metrics", metrics(*some))
        found = {key: value for key, value in gateway.api("metadata").items() if key.startswith(name)}
        assert found == {
            f"{name}_bytes_total": [
                {"type": "counter", "help": "What came in", "unit": "bytes"},
                {"type": "gauge", "help": "The same name, another type", "unit": ""},
            ],
            f"{name}_seconds": [{"type": "histogram", "help": "", "unit": "seconds"}],
            f"{name}_bytes": [{"type": "gauge", "help": "Of another kind", "unit": ""}],
        }
        assert gateway.api("metadata", metric=f"{name}_seconds") == {f"{name}_seconds": found[f"{name}_seconds"]}
        assert gateway.api("metadata", metric="nothing") == {}
        assert len(gateway.api("metadata", limit=2)) == 2
        assert len(gateway.api("metadata", limit=40_000)) >= 3

    def test_buildinfo_has_no_features(self, gateway: Running) -> None:
        """With `features` Grafana would take this for Mimir."""
        found = gateway.api("status/buildinfo")
        assert {"version", "revision", "branch", "buildUser", "buildDate", "goVersion"} <= set(found)
        assert "features" not in found
        assert found["application"].startswith("mirubato ")


def test_long_answers_are_compressed_for_those_who_ask(gateway: Running) -> None:
    name = fresh()
    HTTP.export(gateway, "metrics", metrics(gauge(name, *(number(1.0, at=str(index)) for index in range(50)))))
    plain = gateway.get(f"{API}/query", {"accept-encoding": "identity"}, query=name)
    packed = gateway.get(f"{API}/query", {"accept-encoding": "gzip"}, query=name)
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 4
    assert json.loads(packed.content)["status"] == "success"
