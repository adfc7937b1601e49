"""Through the doors: spans and logs in by OTLP, traces, logs and deploys out as JSON."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from mirubato.errors import StorageFailed
from mirubato.model.spans import Span
from mirubato.otlp.json_request import to_protobuf
from mirubato.otlp.signals import Signal
from mirubato.traces.store import FILE
from tests.support.doors import DOORS, HTTP, Door
from tests.support.gateways import Running, running
from tests.traces.requests import logs_request, traces_request
from tests.traces.some import log, now_ms, origin, span, trace_id


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway that keeps errors and what is slow, no samples."""
    with running(tmp_path_factory.mktemp("traces"), traces_sample_rate=0.0) as gateway:
        yield gateway


def send(gateway: Running, *spans: Span, door: Door = HTTP) -> None:
    assert door.export(gateway, "traces", traces_request(spans)).code == 0


def some_trace(at: int) -> tuple[bytes, list[Span]]:
    """shop -> payments, which fails, and a span whose parent is not there."""
    trace = trace_id()
    root = span(trace, "POST /order", took_ms=120, start_ms=at, route="/order")
    failed = span(
        trace, "charge", parent=root.span_id, error=True, took_ms=30, start_ms=at + 20, of=origin("payments", "7")
    )
    orphan = span(trace, "mail", parent=b"12345678", took_ms=5, start_ms=at + 200, of=origin("mailer"))
    return trace, [root, failed, orphan]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_every_door(one: Running, door: Door) -> None:
    trace, spans = some_trace(now_ms())
    for each in spans:
        send(one, each, door=door)
    answer = one.get(f"/api/traces/{trace.hex()}").json()
    assert [each["name"] for each in answer["spans"]] == ["POST /order", "charge", "mail"]


class TestWaterfall:
    def test_all_of_a_trace(self, one: Running) -> None:
        at = now_ms() - 1000
        trace, spans = some_trace(at)
        send(one, *spans)
        said = log("card refused", trace=trace, time_ms=at + 25, of=origin("payments", "7"))
        assert HTTP.export(one, "logs", logs_request([said])).code == 0
        answer = one.get(f"/api/traces/{trace.hex().upper()}").json()
        assert (answer["trace_id"], answer["root_service"], answer["root_name"]) == (trace.hex(), "shop", "POST /order")
        assert (answer["start"], answer["duration_ms"]) == (at / 1000, 205)
        assert (answer["span_count"], answer["errors"], answer["kept_as"]) == (3, 1, "error")
        assert answer["services"] == ["mailer", "payments", "shop"]
        root, failed, orphan = answer["spans"]
        assert (root["depth"], failed["depth"], orphan["depth"]) == (0, 1, 0)
        assert (root["offset_ms"], failed["offset_ms"], orphan["offset_ms"]) == (0, 20, 200)
        assert (root["attributes"], root["kind"], root["error"]) == ({"route": "/order"}, "SERVER", False)
        assert (failed["parent_id"], failed["service"]) == (root["span_id"], "payments")
        assert failed["status"] == {"code": "ERROR", "message": "it broke"}
        assert failed["events"] == [
            {"name": "exception", "offset_ms": 21, "attributes": {"exception.type": "PaymentRefused"}}
        ]
        assert answer["resources"][failed["resource"]] == {"service.name": "payments", "service.version": "7"}
        (entry,) = answer["logs"]
        assert (entry["body"], entry["severity"], entry["exception_type"]) == (
            "card refused",
            "ERROR",
            "PaymentRefused",
        )

    def test_otlp(self, one: Running) -> None:
        """What comes out is what went in, and can be sent again."""
        trace, spans = some_trace(now_ms())
        send(one, *spans)
        path = f"/api/traces/{trace.hex()}"
        sent = sorted((each.span_id, each.message, each.origin.resource, each.origin.scope) for each in spans)
        as_json = to_protobuf(Signal.TRACES, one.get(path, format="otlp").content)
        by_accept = one.get(path, {"accept": "application/otlp+json"})
        assert to_protobuf(Signal.TRACES, by_accept.content) == as_json
        for content in (as_json, one.get(path, {"accept": "application/x-protobuf"}).content):
            request = ExportTraceServiceRequest.FromString(content)
            got = [
                (
                    each.span_id,
                    each.SerializeToString(),
                    part.resource.SerializeToString(),
                    scope.scope.SerializeToString(),
                )
                for part in request.resource_spans
                for scope in part.scope_spans
                for each in scope.spans
            ]
            assert sorted(got) == sent

    def test_strange_spans(self, one: Running) -> None:
        """Parents in a circle, numbers that JSON does not have, a kind that OTLP does not have."""
        trace, at = trace_id(), now_ms()
        first, second = span(trace, "a", error=True, start_ms=at), span(trace, "b", start_ms=at)
        message = trace_pb2.Span.FromString(first.message)
        message.parent_span_id, message.kind = second.span_id, 77  # type: ignore[assignment]
        some = ArrayValue(values=[AnyValue(double_value=math.nan), AnyValue(bytes_value=b"\x00"), AnyValue()])
        message.attributes.append(KeyValue(key="k", value=AnyValue(array_value=some)))
        message.links.add(trace_id=trace, span_id=second.span_id)
        first.message = message.SerializeToString()
        other = trace_pb2.Span.FromString(second.message)
        other.parent_span_id = first.span_id
        second.message = other.SerializeToString()
        send(one, first, second)
        answer = one.get(f"/api/traces/{trace.hex()}").json()
        assert [each["depth"] for each in answer["spans"]] == [0, 1]
        assert answer["spans"][0]["attributes"] == {"k": ["nan", "AA==", None]}
        assert answer["spans"][0]["kind"] == "77"
        assert answer["spans"][0]["links"] == [
            {"trace_id": trace.hex(), "span_id": second.span_id.hex(), "attributes": {}}
        ]

    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [("0" * 32, 404, "not_found"), ("xyz", 400, "bad_field"), ("abcd", 400, "bad_field")],
    )
    def test_none(self, one: Running, path: str, status: int, code: str) -> None:
        reply = one.get(f"/api/traces/{path}")
        assert (reply.status_code, reply.json()["code"]) == (status, code)


class TestLists:
    def test_traces(self, one: Running) -> None:
        at = now_ms() - 60_000
        trace, spans = some_trace(at)
        slow = span(trace_id(), "report", took_ms=5000, start_ms=at, of=origin("reports"))
        send(one, *spans, slow, span(trace_id(), "fine", start_ms=at, of=origin("reports")))

        def found(**asked: str) -> list[str]:
            return [each["root_name"] for each in one.get("/api/traces", **asked).json()["traces"]]

        assert found(service="reports") == ["report"]
        assert "report" not in found(status="error", limit="1000")
        assert found(service="reports", min_duration="4.9s", max_duration="5001ms", status="ok") == ["report"]
        assert found(service="reports", min_duration="6") == []
        assert found(service="reports", start="30s") == []
        assert found(service="reports", start="2m", end="now") == ["report"]
        assert found(q=f"it BROKE {trace.hex()[:10]}") == ["POST /order"]
        assert found(q=f"unheard of {trace.hex()[:10]}") == []
        assert found(q="broke CHARGE", service="mailer", limit="1") == ["POST /order"]
        (row,) = one.get("/api/traces", q=trace.hex()).json()["traces"]
        assert row == {
            "trace_id": trace.hex(),
            "root_service": "shop",
            "root_name": "POST /order",
            "start": at / 1000,
            "duration_ms": 205,
            "spans": 3,
            "errors": 1,
            "services": ["mailer", "payments", "shop"],
            "kept_as": "error",
        }

    def test_logs(self, one: Running) -> None:
        who, at = origin("printer"), now_ms()
        some = [log("out of paper", 17, time_ms=at, of=who), log("on fire", 21, time_ms=at + 1, of=who)]
        assert HTTP.export(one, "logs", logs_request([*some, log("fine", 9, time_ms=at, of=who)])).code == 0

        def found(**asked: str) -> list[str]:
            return [each["body"] for each in one.get("/api/logs", service="printer", **asked).json()["logs"]]

        assert found() == ["on fire", "out of paper"]
        assert found(severity="fatal") == found(severity="18") == ["on fire"]
        assert found(q="PAPER") == found(end=f"{at / 1000:.3f}") == ["out of paper"]
        assert found(limit="1") == ["on fire"]
        assert found(start="1h", severity="warn") == ["on fire", "out of paper"]

    @pytest.mark.parametrize(
        ("path", "field", "value"),
        [
            ("traces", "status", "bad"),
            ("traces", "min_duration", "5 parsecs"),
            ("traces", "min_duration", "-1s"),
            ("traces", "max_duration", "nan"),
            ("traces", "start", "yesterday"),
            ("traces", "end", "1e400"),
            ("traces", "limit", "0"),
            ("traces", "limit", "1001"),
            ("traces", "limit", "²"),
            ("traces", "q", "a " * 11),
            ("logs", "severity", "25"),
            ("logs", "severity", "awful"),
            ("logs", "limit", "x"),
            ("deploys", "start", "x"),
            ("deploys", "limit", "-1"),
        ],
    )
    def test_what_cannot_be(self, one: Running, path: str, field: str, value: str) -> None:
        reply = one.get(f"/api/{path}", **{field: value})
        assert (reply.status_code, reply.json()["field"]) == (400, field)

    @pytest.mark.parametrize(
        ("asked", "field"),
        [({"start": "1h", "end": "2h"}, "end"), ({"min_duration": "2s", "max_duration": "1s"}, "max_duration")],
    )
    def test_what_contradicts_itself(self, one: Running, asked: dict[str, str], field: str) -> None:
        assert one.get("/api/traces", **asked).json()["field"] == field


class TestDeploys:
    def test_a_change_of_version(self, one: Running) -> None:
        for version in ("1", "2", "1", "2"):
            send(one, span(trace_id(), start_ms=now_ms(), of=origin("baker", version)))
        (found,) = one.get("/api/deploys", service="baker", start="1m").json()["deploys"]
        assert (found["service_name"], found["version"], found["previous_version"]) == ("baker", "2", "1")
        assert found["source"] == "spans"
        for path in ("/api/dashboard", "/api/metrics"):
            assert found in one.get(path, start="1m").json()["deploys"]
        assert one.get("/api/deploys", service="baker", end="1m").json() == {"deploys": []}

    def test_one_that_is_told(self, one: Running) -> None:
        def post(**body: Any) -> httpx.Response:
            return one.http.post(one.url("web_port", "/api/deploys"), json=body)

        at = now_ms() - 5000
        told = post(service_name="told", version="v9", time_ms=at)
        assert (told.status_code, told.json()["time_ms"]) == (201, at)
        assert post(service_name="told", version="v9", time_ms=at).json()["id"] == told.json()["id"]
        send(one, span(trace_id(), start_ms=now_ms(), of=origin("told", "v9")))
        (found,) = one.get("/api/deploys", service="told").json()["deploys"]
        assert (found["version"], found["source"]) == ("v9", "api")
        assert post(service_name="told", version="v10").json()["previous_version"] == "v9"

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            (b"{", ""),
            (b"[]", ""),
            (b'{"version": "1"}', "service_name"),
            (b'{"service_name": "a", "version": 1}', "version"),
            (b'{"service_name": "a", "version": " "}', "version"),
            (b'{"service_name": "a", "version": "1", "time_ms": -1}', "time_ms"),
            (b'{"service_name": "a", "version": "1", "time_ms": true}', "time_ms"),
            (b'{"service_name": "a", "version": "1", "time_ms": 99999999999999}', "time_ms"),
            (b'{"service_name": "a", "version": "1", "when": 1}', "when"),
            (orjson.dumps({"service_name": "a", "version": "v" * 300}), "version"),
            (b" " * 70_000, ""),
        ],
    )
    def test_what_is_none(self, one: Running, body: bytes, field: str) -> None:
        reply = one.http.post(one.url("web_port", "/api/deploys"), content=body)
        assert (reply.status_code, reply.json()["field"]) == (400, field)


def test_a_damaged_file_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StorageFailed, match=r"cannot use .*traces\.db"), running(tmp_path):
        pass
    (tmp_path / FILE).unlink()
    with running(tmp_path) as one:
        assert one.get("/api/traces").json() == {"traces": []}


def test_a_flood_leaves_the_gateway_as_it_was(tmp_path: Path) -> None:
    """Spans of traces that never end: the buffer keeps to its bound."""
    bound = 1 << 20
    with running(tmp_path, traces_sample_rate=0.0, traces_buffer_bytes=bound) as one:
        for _ in range(20):
            send(one, *(span(trace_id(), start_ms=now_ms()) for _ in range(300)))
            assert one.gateway.tracing.store.tail.waiting_bytes <= bound
        assert 'mirubato_traces_forgotten_spans_total{reason="buffer_full"} 0.0' not in one.get("/metrics").text
