"""Front door: POST /api/prometheus/api/v1/write of a gateway that runs, both versions; the table of answers."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cramjam
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from mirubato.errors import Overloaded
from mirubato.model.labels import STALE_NAN
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.samples import SelectedHistograms
from tests.conftest import SMALL_BODY_BYTES
from tests.remote_write.encoding import (
    COUNTER,
    HISTOGRAM,
    V1,
    V2,
    Native,
    Sent,
    series,
    snappy,
    told,
    v1,
    varint,
)
from tests.remote_write.gate import ENCODERS
from tests.support.doors import HTTP
from tests.support.gateways import API, Running, running
from tests.support.requests import fresh, gauge, metrics, now_ms, number

PATH = f"{API}/write"
WRITTEN = "x-prometheus-remote-write-{}-written"
both = pytest.mark.parametrize("version", [V1, V2])


def post(gateway: Running, body: bytes, kind: str | None = V1, encoding: str | None = "snappy") -> httpx.Response:
    headers = {"x-prometheus-remote-write-version": "2.0.0" if kind == V2 else "0.1.0"}
    headers |= {"content-type": kind} if kind is not None else {}
    headers |= {"content-encoding": encoding} if encoding is not None else {}
    return gateway.http.post(gateway.url("web_port", PATH), content=body, headers=headers)


def push(gateway: Running, version: str, *sent: Sent) -> httpx.Response:
    return post(gateway, snappy(ENCODERS[version](*sent)), version)


def written(reply: httpx.Response) -> tuple[str | None, str | None, str | None]:
    samples, histograms, exemplars = (
        reply.headers.get(WRITTEN.format(what)) for what in ("samples", "histograms", "exemplars")
    )
    return samples, histograms, exemplars


def natives(gateway: Running, name: str) -> SelectedHistograms:
    """The native histograms of the one series of a metric, from disk or memory."""

    class Unbound:
        def check(self) -> None: ...
        def take_series(self, count: int) -> None: ...
        def take_samples(self, count: int) -> None: ...

    matcher = Matcher("__name__", MatchOp.EQUAL, name)
    (found,) = gateway.gateway.reader.select((matcher,), 0, now_ms() + 600_000, Unbound()).histograms
    return found


class TestAnswers:
    @both
    def test_all_taken(self, gateway: Running, version: str) -> None:
        name, now = fresh(), now_ms()
        one = series(name, (now - 1000, 1.0), (now, 2.5), job="j").but(exemplars=[(now, 1.0, [("trace_id", "abc")])])
        native = Sent([("__name__", fresh())], natives=[(now, Native(1.0))])
        reply = push(gateway, version, one, native)
        assert (reply.status_code, reply.content) == (204, b"")
        assert written(reply) == (("2", "1", "1") if version == V2 else (None, None, None))
        assert gateway.samples(name) == {
            (("__name__", name), ("job", "j")): {now - 1000: "1", now: "2.5"},
        }

    @both
    def test_some_rejected(self, gateway: Running, version: str) -> None:
        name, now = fresh(), now_ms()
        wrong = Sent([("job", "j")], [(now, 1.0)] * 3)
        old = series(name, (now - 8 * 86_400_000, 1.0), (now, 2.0), (now + 3_600_000, 3.0))
        reply = push(gateway, version, wrong, old, Sent([("__name__", fresh())], natives=[(now, Native(schema=77))]))
        assert reply.status_code == 400
        assert reply.headers["content-type"].startswith("text/plain")
        assert reply.text.count("\n") == 1
        for part in (
            "3 rejected: a series without a metric name",
            "1 rejected: older than MIRUBATO_RETENTION_RAW",
            "1 rejected: further ahead of the clock than MIRUBATO_FUTURE_MAX",
            "1 rejected: histogram has an invalid schema",
        ):
            assert part in reply.text
        assert written(reply) == (("1", "0", "0") if version == V2 else (None, None, None))
        assert gateway.value(name) == "2"

    @pytest.mark.parametrize(
        "kind",
        [
            None,
            "application/x-protobuf",
            V1,
            V1.replace(";", " ; "),
            V1.replace("application", "Application"),
            'application/x-protobuf; charset=utf-8; proto="prometheus.WriteRequest"',
        ],
    )
    @pytest.mark.parametrize("encoding", [None, "snappy", "Snappy"])
    def test_version_1_is_what_has_no_other_name(
        self, gateway: Running, kind: str | None, encoding: str | None
    ) -> None:
        name = fresh()
        reply = post(gateway, snappy(v1(series(name, (now_ms(), 7.0)))), kind, encoding)
        assert (reply.status_code, written(reply)) == (204, (None, None, None))
        assert gateway.value(name) == "7"

    @pytest.mark.parametrize(
        "kind",
        [
            "application/json",
            "text/plain",
            "application/x-protobufs",
            "application/x-protobuf;proto=prometheus.ReadRequest",
            "application/x-protobuf;proto=io.prometheus.write.v3.Request",
            "application/x-protobuf;proto=",
        ],
    )
    def test_other_content_types_are_415(self, gateway: Running, kind: str) -> None:
        reply = post(gateway, snappy(v1(series(fresh(), (now_ms(), 1.0)))), kind)
        assert reply.status_code == 415
        assert reply.text.count("\n") == 1

    @both
    @pytest.mark.parametrize("encoding", ["gzip", "zstd", "br", "x-snappy-framed"])
    def test_other_encodings_are_415(self, gateway: Running, version: str, encoding: str) -> None:
        reply = post(gateway, snappy(v1(series(fresh(), (now_ms(), 1.0)))), version, encoding)
        assert (reply.status_code, "is not snappy" in reply.text) == (415, True)
        assert written(reply) == (("0", "0", "0") if version == V2 else (None, None, None))

    @both
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\xff" * 12,
            b"\x05abc",
            v1(series("up", (1, 1.0))),
            cramjam.snappy.compress(b"framed"),
            snappy(b"\xff"),
            snappy(b"\x0a\x7fxx"),
            snappy(v1(series("up", (now_ms(), 1.0))))[:-3],
        ],
    )
    def test_what_cannot_be_read_is_400(self, gateway: Running, version: str, body: bytes) -> None:
        reply = post(gateway, bytes(body), version)
        assert reply.status_code == 400
        assert written(reply) == (("0", "0", "0") if version == V2 else (None, None, None))

    @both
    def test_larger_than_allowed_is_413(self, small_gateway: Running, version: str) -> None:
        for body in (bytes(SMALL_BODY_BYTES + 1), snappy(bytes(SMALL_BODY_BYTES + 1))):
            reply = post(small_gateway, body, version)
            assert (reply.status_code, "MIRUBATO_MAX_BODY_BYTES" in reply.text) == (413, True)

    def test_a_bomb_is_told_by_its_header(self, gateway: Running) -> None:
        reply = post(gateway, varint((1 << 32) - 1) + b"\xfe" * 1000)
        assert reply.status_code == 413
        reply = post(gateway, varint(64 << 20) + b"\xfe" * 1000)  # just allowed, but not what it says
        assert reply.status_code == 400

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
    def test_only_post(self, gateway: Running, method: str) -> None:
        reply = gateway.http.request(method, gateway.url("web_port", PATH))
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")

    def test_only_on_the_web_port(self, gateway: Running) -> None:
        reply = gateway.http.post(gateway.url("otlp_http_port", PATH), content=b"")
        assert reply.status_code == 404

    @both
    def test_nothing_is_fine(self, gateway: Running, version: str) -> None:
        reply = post(gateway, snappy(b""), version)
        assert (reply.status_code, written(reply)) == (204, ("0",) * 3 if version == V2 else (None,) * 3)

    @both
    def test_try_again_when_the_disk_says_no(self, broken_gateway: Running, version: str) -> None:
        reply = push(broken_gateway, version, series(fresh(), (now_ms(), 1.0)))
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
        assert written(reply) == (("0", "0", "0") if version == V2 else (None, None, None))

    def test_try_again_when_too_much_waits(self, gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        async def full(_item: object, _size: int) -> None:
            raise Overloaded("256 MiB of requests are waiting to be committed")

        monkeypatch.setattr(gateway.gateway.appender, "append", full)
        reply = push(gateway, V1, series(fresh(), (now_ms(), 1.0)))
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")

    def test_a_defect_is_500(self, gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        async def broken(_item: object, _size: int) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(gateway.gateway.appender, "append", broken)
        reply = push(gateway, V2, series(fresh(), (now_ms(), 1.0)))
        assert (reply.status_code, written(reply)) == (500, ("0", "0", "0"))
        assert "defect" in reply.text


class TestStored:
    @both
    def test_a_marker_ends_a_series(self, gateway: Running, version: str) -> None:
        name, now = fresh(), now_ms()
        assert push(gateway, version, series(name, (now - 2000, 1.0), (now - 1000, STALE_NAN))).status_code == 204
        assert gateway.api("query", query=name)["result"] == []
        (found,) = gateway.api("query", query=name, time=(now - 1500) / 1000)["result"]
        assert found["value"][1] == "1"
        assert list(gateway.samples(name).values()) == [{now - 2000: "1"}]

    @both
    def test_what_comes_late_is_in_its_place(self, gateway: Running, version: str) -> None:
        name, now = fresh(), now_ms()
        for at in (now, now - 60_000, now - 30_000):
            assert push(gateway, version, series(name, (at, float(at % 1000)))).status_code == 204
        (times,) = [list(samples) for samples in gateway.samples(name).values()]
        assert times == [now - 60_000, now - 30_000, now]

    @both
    def test_native_histograms(self, gateway: Running, version: str) -> None:
        name, now = fresh(), now_ms()
        some = Native(7.0, 2, 1, 0.001, {-3: 2, 4: 1}, {1: 5}, floats=version == V2)
        custom = Native(7.0, -53, positive={0: 2, 2: 1}, custom=[0.5, 1.0])
        push(gateway, version, Sent([("__name__", name)], natives=[(now - 5, some), (now, custom)]))
        found = natives(gateway, name)
        assert found.timestamps == [now - 5, now]
        first, second = found.histograms
        assert first is not None
        assert second is not None
        assert (first.count, first.sum, first.schema, first.zero_count) == (9, 7, 2, 1)
        assert (first.positive.offset, first.positive.counts.tolist()) == (-4, [2, 0, 0, 0, 0, 0, 0, 1])
        assert (second.schema, second.custom_bounds, second.positive.counts.tolist()) == (-53, (0.5, 1.0), [2, 0, 1])

    def test_types_and_help_in_a_scrape(self, gateway: Running) -> None:
        name, now = fresh("seconds"), now_ms()
        buckets = [(series(f"{name}_bucket", (now, count), le=le)) for le, count in (("0.5", 1.0), ("+Inf", 3.0))]
        push(gateway, V1, *buckets, series(f"{name}_sum", (now, 4.0)), series(f"{name}_count", (now, 3.0)))
        post(gateway, snappy(v1(metadata=[told(name, HISTOGRAM, "How long", "seconds")])))
        text = gateway.get("/api/prometheus", **{"match[]": f'{{__name__=~"{name}.*"}}'}).text
        assert text.splitlines()[:2] == [f"# HELP {name} How long", f"# TYPE {name} histogram"]
        assert [line.split()[1] for line in text.splitlines()[2:]] == ["1", "3", "4", "3"]
        assert gateway.api("metadata", metric=name) == {
            name: [{"type": "histogram", "help": "How long", "unit": "seconds"}]
        }

    def test_a_scrape_can_always_be_read(self, gateway: Running) -> None:
        """Counters not named `_total`, native histograms without metadata, names that text has no letters for."""
        now, word = now_ms(), fresh()
        sent = [
            series(word, (now, 3.0)).but(type=COUNTER, help="What"),
            Sent([("__name__", f"{word}_n")], natives=[(now, Native(1.0, positive={1: 1}))]),
            series(f"{word}.ü", (now, 1.0), **{"b ä:": "x"}),
            series(f"{word}__", (now, 2.0), b___="x"),
            series(f"{word}_bucket", (now, 2.0)).but(type=HISTOGRAM),
        ]
        assert push(gateway, V2, *sent).status_code == 204
        selected = {"match[]": f'{{__name__=~"{word}.*"}}'}
        for accept, parse in (("application/openmetrics-text", openmetrics_families), ("text/plain", text_families)):
            text = gateway.get("/api/prometheus", {"accept": accept}, **selected).text
            samples = [sample for family in parse(text) for sample in family.samples]
            found = {(one.name.removesuffix("_total"), one.value) for one in samples}  # the parser adds it
            assert found >= {(word, 3), (f"{word}_n_count", 1), (f"{word}__", 1)}
            (renamed,) = [one for one in samples if one.name == f"{word}__"]
            assert renamed.labels == {"b___": "x"}

    def test_series_without_metadata_are_no_metadata(self, gateway: Running) -> None:
        name = fresh()
        push(gateway, V2, series(name, (now_ms(), 1.0)))
        assert gateway.api("metadata", metric=name) == {}

    def test_the_zero_where_a_counter_began(self, gateway: Running) -> None:
        name, now = fresh("total"), now_ms()
        push(gateway, V2, series(name, (now, 4.0)).but(start=now - 9000, type=COUNTER))
        assert list(gateway.samples(name).values()) == [{now - 9000: "0", now: "4"}]

    def test_otlp_and_remote_write_at_the_same_time(self, gateway: Running) -> None:
        """They share commits, and each gets its own answer."""
        names = [fresh() for _ in range(24)]
        start = threading.Barrier(8)

        def send(index: int) -> bool:
            start.wait()
            good = True
            for name in names[index::8]:
                if index % 2:
                    reply = HTTP.export(gateway, "metrics", metrics(gauge(name, number(float(index)))))
                    good &= (reply.code, reply.rejected) == (0, 0)
                else:
                    version = (V1, V2)[index % 4 // 2]
                    good &= push(gateway, version, series(name, (now_ms(), float(index)))).status_code == 204
            return good

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(send, range(8)))
        assert [gateway.value(name) for name in names] == [str(place % 8) for place in range(24)]

    def test_what_was_accepted_is_there_after_a_restart(self, tmp_path: Path) -> None:
        now = now_ms()
        with running(tmp_path) as one:
            push(one, V1, series("c_total", (now, 3.0), job="a"), series("g", (now, 1.0)))
            push(one, V2, Sent([("__name__", "h")], natives=[(now, Native(2.0, positive={1: 2}))]))
            post(one, snappy(v1(metadata=[told("c_total", COUNTER, "What"), told("h", HISTOGRAM, "Sizes")])))
        with running(tmp_path) as one:
            assert one.value("c_total") == "3"
            assert one.value("g") == "1"
            families = {series.family for series in one.gateway.store.registry.series if series is not None}
            assert {(family.name, family.type.value, family.help) for family in families} == {
                ("c_total", "counter", "What"),
                ("g", "unknown", ""),
                ("h", "histogram", "Sizes"),
            }
            push(one, V2, series("c_total", (now + 1, 4.0), job="a"))
            assert one.gateway.store.registry.active == 3

    def test_a_client_that_hangs_up_leaves_nothing(self, gateway: Running) -> None:
        async def leave() -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.gateway.ports["web_port"])
            writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc".encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        asyncio.run(leave())
        assert push(gateway, V1, series(fresh(), (now_ms(), 1.0))).status_code == 204


def test_it_is_counted(gateway: Running) -> None:
    counts = gateway.gateway.handler.counts

    def seen() -> dict[str, int]:
        return {result: count for (door, _, result), count in counts.requests.items() if door == "remote_write"}

    before = seen()
    push(gateway, V1, series(fresh(), (now_ms(), 1.0)))
    push(gateway, V2, Sent([], [(now_ms(), 1.0)]))
    post(gateway, b"", "text/plain")
    post(gateway, b"")
    after = seen()
    changed = {result for result in after if after[result] == before.get(result, 0) + 1}
    assert {"ok", "partial", "Unsupported", "BadRequest"} <= changed


@given(
    st.binary(max_size=60) | st.binary(max_size=60).map(snappy),
    st.sampled_from([V1, V2, "text/plain", "application/x-protobuf;=;", ""]),
    st.sampled_from(["snappy", "", "gzip"]),
)
@settings(max_examples=200, deadline=None)
def test_any_bytes(gateway: Running, body: bytes, kind: str, encoding: str) -> None:
    assert post(gateway, body, kind, encoding).status_code in (204, 400, 413, 415)
