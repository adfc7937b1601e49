"""Refusals and limits at the real doors, each in the words of its protocol."""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status

from mirubato.access import ledger
from mirubato.errors import ConfigError
from mirubato.gateway.composer import Gateway
from mirubato.web.app import EVENT_POINTS_PATH, WRITE_PATH
from tests.access.people import add_token, id_of, revoke
from tests.support.doors import SERVICES
from tests.support.gateways import API, Running, config, running
from tests.support.requests import gauge, metrics, number, otlp_json

PROTOBUF, JSON = "application/x-protobuf", "application/json"
REQUEST = metrics(gauge("sent", number(1.0)))
TWO_POINTS = metrics(gauge("sent_two", number(1.0, room="a"), number(2.0, room="b")))


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as gateway:
        yield gateway


def call(one: Running, *metadata: tuple[str, str], request: Any = REQUEST) -> grpc.StatusCode:
    """The status of an export over gRPC."""
    return refusal(one, *metadata, request=request)[0]


def refusal(
    one: Running, *metadata: tuple[str, str], request: Any = REQUEST
) -> tuple[grpc.StatusCode, str, dict[str, Any]]:
    with grpc.insecure_channel(f"127.0.0.1:{one.gateway.ports['grpc_port']}") as channel:
        export = channel.unary_unary(f"/{SERVICES['metrics']}/Export", bytes, bytes)
        try:
            export(request.SerializeToString(), metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            trailing: Any = error.trailing_metadata() or ()
            return error.code(), str(error.details()), dict(trailing)
    return grpc.StatusCode.OK, "", {}


def post(one: Running, headers: Mapping[str, str], request: Any = REQUEST, kind: str = PROTOBUF) -> Any:
    body = otlp_json(request) if kind == JSON else request.SerializeToString()
    url = one.url("otlp_http_port", "/v1/metrics")
    return one.http.post(url, content=body, headers={"content-type": kind, **headers})


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


class TestGrpc:
    @pytest.fixture(scope="class")
    @classmethod
    def one(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
        """One for all: each test has tokens of its own."""
        with running(tmp_path_factory.mktemp("shared")) as gateway:
            yield gateway

    def test_each_way_to_give_a_token(self, one: Running) -> None:
        text = add_token(one, "ingest")
        basic = base64.b64encode(f"anyone:{text}".encode()).decode()
        for metadata in (
            ("authorization", f"Bearer {text}"),
            ("x-api-key", text),
            ("authorization", f"Basic {basic}"),
        ):
            assert call(one, metadata) is grpc.StatusCode.OK

    def test_refusals(self, one: Running) -> None:
        reader = add_token(one, "read")
        assert call(one) is grpc.StatusCode.UNAUTHENTICATED
        assert call(one, ("authorization", "Bearer wrong")) is grpc.StatusCode.UNAUTHENTICATED
        code, message, trailing = refusal(one, ("authorization", f"Bearer {reader}"))
        assert (code, message) == (grpc.StatusCode.PERMISSION_DENIED, "token 'read' may read; this needs ingest")
        assert Status.FromString(trailing["grpc-status-details-bin"]).code == 7
        assert "google.rpc.retryinfo-bin" not in trailing

    def test_a_message_is_not_read_before_its_sender_is_known(self, one: Running) -> None:
        """Larger than the limit, it would be RESOURCE_EXHAUSTED otherwise."""
        add_token(one, "read")
        large = metrics(gauge("x" * (65 << 20), number(1.0)))
        assert call(one, request=large) is grpc.StatusCode.UNAUTHENTICATED

    def test_a_limit_says_when_to_try_again(self, one: Running) -> None:
        text = add_token(one, "ingest", points_per_minute=1)
        assert call(one, ("x-api-key", text), request=TWO_POINTS) is grpc.StatusCode.OK
        code, message, trailing = refusal(one, ("x-api-key", text))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "budget of 1 points per minute" in message
        assert "google.rpc.retryinfo-bin" in trailing


class TestHttp:
    @pytest.fixture(scope="class")
    @classmethod
    def one(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
        """One for all: each test has tokens of its own."""
        with running(tmp_path_factory.mktemp("shared")) as gateway:
            yield gateway

    @pytest.mark.parametrize("kind", [PROTOBUF, JSON])
    def test_otlp_answers_in_its_own_words(self, one: Running, kind: str) -> None:
        reader = add_token(one, "read")
        for headers, status, code in (({}, 401, 16), (bearer("wrong"), 401, 16), (bearer(reader), 403, 7)):
            reply = post(one, headers, kind=kind)
            told = reply.json()["code"] if kind == JSON else Status.FromString(reply.content).code
            assert (reply.status_code, reply.headers["content-type"], told) == (status, kind, code)
            assert reply.headers.get("www-authenticate") == ('Bearer realm="mirubato"' if status == 401 else None)

    def test_each_path_answers_in_its_own_words(self, one: Running) -> None:
        add_token(one, "read")
        written = one.http.post(one.url("web_port", WRITE_PATH))
        points = one.http.post(one.url("web_port", EVENT_POINTS_PATH))
        queried = one.get(f"{API}/query", query="1")
        other = one.get("/api/metrics", {"x-request-id": "abc-1"})
        assert [reply.status_code for reply in (written, points, queried, other)] == [401] * 4
        assert written.headers["content-type"].startswith("text/plain")
        assert points.json()["error"]["code"] == "unauthenticated"
        assert (queried.json()["status"], queried.json()["errorType"]) == ("error", "unauthenticated")
        assert other.json() | {"message": ""} == {"code": "unauthenticated", "message": "", "request_id": "abc-1"}

    def test_a_scraper_may_use_basic(self, one: Running) -> None:
        text = add_token(one, "read")
        for path in ("/metrics", "/api/prometheus"):
            assert one.http.get(one.url("web_port", path), auth=("prometheus", text)).status_code == 200
            assert one.http.get(one.url("web_port", path), auth=("prometheus", "x")).status_code == 401

    def test_a_rate_limit(self, one: Running) -> None:
        text = add_token(one, "read", requests_per_minute=2)
        replies = [one.get("/api/metrics", bearer(text), start="1h", metric="x") for _ in range(3)]
        assert [reply.status_code for reply in replies] == [200, 200, 429]
        assert replies[2].json()["code"] == "limit_reached"
        assert "2 requests per minute" in replies[2].json()["message"]
        assert 1 <= int(replies[2].headers["retry-after"]) <= 30

    def test_a_budget_of_points_counts_all_doors(self, one: Running) -> None:
        text = add_token(one, "ingest", points_per_day=3)
        assert post(one, bearer(text), TWO_POINTS).status_code == 200
        assert call(one, ("x-api-key", text), request=TWO_POINTS) is grpc.StatusCode.OK
        reply = post(one, bearer(text), kind=JSON)
        assert (reply.status_code, reply.json()["code"]) == (429, 8)
        assert "budget of 3 points per day" in reply.json()["message"]
        assert 1 <= int(reply.headers["retry-after"]) <= 86_400

    def test_a_budget_outlives_a_restart(self, tmp_path: Path) -> None:
        with running(tmp_path / "data") as first:
            text = add_token(first, "ingest", points_per_day=1)
            assert post(first, bearer(text)).status_code == 200
        with running(tmp_path / "data") as again:
            assert post(again, bearer(text)).status_code == 429
            assert id_of(text) in again.gateway.state.read(ledger.last_used)

    @pytest.mark.parametrize(("given", "kept"), [("req-1.A_b", True), ("x" * 65, False), ("a b", False), ("", False)])
    def test_request_ids(self, one: Running, given: str, kept: bool) -> None:
        for reply in (one.get("/-/healthy", {"x-request-id": given}), one.get("/api/none", {"x-request-id": given})):
            told = reply.headers["x-request-id"]
            assert told == given if kept else len(told) == 16
        assert len({one.get("/-/healthy").headers["x-request-id"] for _ in range(20)}) == 20


class TestFollowing:
    def test_health_is_short_for_who_may_not_read(self, one: Running) -> None:
        assert "version" in one.get("/api/health").json()
        reader, sender = add_token(one, "read"), add_token(one, "ingest")
        assert one.get("/api/health").json() == {"status": "ok"}
        assert one.get("/api/health", bearer("wrong")).json() == {"status": "ok"}
        assert one.get("/api/health", bearer(sender)).json() == {"status": "ok"}
        assert "version" in one.get("/api/health", bearer(reader)).json()

    def test_tokens_that_others_make_and_revoke_are_seen_soon(self, one: Running) -> None:
        text = add_token(one, "read")
        assert one.get("/metrics", bearer(text)).status_code == 200
        revoke(one, text)
        assert one.get("/metrics", bearer(text)).status_code == 200  # there are no tokens now: all is open
        add_token(one, "admin")
        assert one.get("/metrics", bearer(text)).status_code == 401

    def test_a_setting_is_a_token_too(self, tmp_path: Path) -> None:
        secret = "a-secret-of-the-settings"
        with running(tmp_path, read_token=secret) as one:
            assert one.get("/metrics").status_code == 401
            assert one.get("/metrics", bearer(secret)).status_code == 200
            assert one.get("/metrics", {"x-api-key": secret}).status_code == 200
            assert post(one, bearer(secret)).status_code == 403
            assert one.get("/metrics", bearer(secret + "x")).status_code == 401


class TestStarting:
    def test_elsewhere_needs_a_token_or_permission(self, tmp_path: Path) -> None:
        settings = config(tmp_path / "data", host="0.0.0.0")
        for _ in range(2):
            with pytest.raises(ConfigError, match=r"mirubato token create .*--allow-anonymous"):
                Gateway(settings)
        with running(tmp_path / "data") as one:
            text = add_token(one, "read")
        with running(tmp_path / "data", host="0.0.0.0") as open_to_all:
            url = open_to_all.url("web_port", "/metrics")
            assert open_to_all.http.get(url).status_code == 401
            assert open_to_all.http.get(url, headers=bearer(text)).status_code == 200
            revoke(open_to_all, text)
            assert open_to_all.http.get(url).status_code == 401  # never open, once it could be reached
        with pytest.raises(ConfigError, match="there is no token"):
            Gateway(settings)

    def test_an_expired_token_is_none(self, tmp_path: Path) -> None:
        with running(tmp_path / "data") as one:
            add_token(one, "admin", age_ms=10_000, lifetime_ms=1000)
        with pytest.raises(ConfigError, match="there is no token"):
            Gateway(config(tmp_path / "data", host="0.0.0.0"))

    def test_a_token_of_the_settings_is_enough(self, tmp_path: Path) -> None:
        with running(tmp_path, host="0.0.0.0", admin_token="x" * 24) as one:
            assert one.http.get(one.url("web_port", "/metrics")).status_code == 401

    def test_permission_is_for_everyone(self, tmp_path: Path) -> None:
        with running(tmp_path, host="0.0.0.0", allow_anonymous=True) as one:
            add_token(one, "read")
            assert one.get("/metrics").status_code == 200
            assert call(one) is grpc.StatusCode.OK


class TestCors:
    def test_a_listed_page_may_ask_and_send(self, tmp_path: Path) -> None:
        origin = "https://app.example"
        with running(tmp_path, cors_origins=(origin,)) as one:
            text = add_token(one, "ingest")
            for port in ("otlp_http_port", "web_port"):
                asked = {"origin": origin, "access-control-request-method": "POST"}
                asked["access-control-request-headers"] = "authorization,content-type"
                reply = one.http.options(one.url(port, "/v1/metrics"), headers=asked)
                assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, origin)
                url = one.url(port, "/v1/metrics")
                sent = one.http.post(
                    url,
                    content=REQUEST.SerializeToString(),
                    headers={"origin": origin, "content-type": PROTOBUF, **bearer(text)},
                )
                assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (200, origin)
                other = one.http.options(url, headers=asked | {"origin": "https://evil.example"})
                assert "access-control-allow-origin" not in other.headers

    def test_nobody_is_listed_by_default(self, one: Running) -> None:
        reply = one.get("/metrics", {"origin": "https://app.example"})
        assert "access-control-allow-origin" not in reply.headers
        asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
        assert "access-control-allow-origin" not in one.http.options(one.url("web_port", "/"), headers=asked).headers


def test_refusals_are_measured(one: Running) -> None:
    text = add_token(one, "read")
    one.get("/metrics")
    call(one, ("x-api-key", text))
    own = one.get("/metrics", bearer(text)).text
    assert 'mirubato_refused_requests_total{door="http",reason="unauthenticated"} 1.0' in own
    assert 'mirubato_refused_requests_total{door="grpc",reason="forbidden"} 1.0' in own
