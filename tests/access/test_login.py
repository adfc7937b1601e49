"""Logging in on the page, the record of changes, and tokens over the API."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mirubato.access.gate import COOKIE
from mirubato.limits import LOGINS_PER_MINUTE
from tests.access.people import add_token, id_of, revoke
from tests.support.gateways import API, Running, running


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as gateway:
        yield gateway


def page(one: Running, *, origin: str | None = None) -> httpx.Client:
    """A browser on our page, or on another."""
    own = one.url("web_port")
    return httpx.Client(base_url=own, headers={"origin": own if origin is None else origin})


def admin(one: Running) -> dict[str, str]:
    return {"authorization": f"Bearer {add_token(one, 'admin')}"}


class TestLogin:
    def test_a_token_becomes_a_cookie_and_ends(self, one: Running) -> None:
        text = add_token(one, "read")
        with page(one) as browser:
            assert browser.get("/api/me").status_code == 401
            reply = browser.post("/api/login", json={"token": text})
            assert (reply.status_code, reply.json()["scopes"]) == (200, ["read"])
            cookie = reply.headers["set-cookie"]
            assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"))
            assert "Secure" not in cookie
            assert text not in cookie
            assert browser.get("/api/me").json()["name"] == "read"
            assert browser.post(f"{API}/query", data={"query": "1"}).status_code == 200
            assert browser.post("/api/alerts", json={}).status_code == 403
            kept = dict(browser.cookies)
            assert browser.post("/api/logout").status_code == 204
            assert browser.get("/api/me").status_code == 401
            assert browser.get("/api/me", headers={"cookie": f"{COOKIE}={kept[COOKIE]}"}).status_code == 401

    def test_behind_tls_the_cookie_is_secure(self, one: Running) -> None:
        text = add_token(one, "read")
        with page(one) as browser:
            reply = browser.post("/api/login", json={"token": text}, headers={"x-forwarded-proto": "https"})
        assert "Secure" in reply.headers["set-cookie"]

    def test_a_session_ends_with_its_token(self, one: Running) -> None:
        add_token(one, "admin")
        text = add_token(one, "read")
        with page(one) as browser:
            browser.post("/api/login", json={"token": text})
            assert browser.get("/api/me").status_code == 200
            revoke(one, text)
            assert browser.get("/api/me").status_code == 401

    def test_a_session_outlives_a_restart(self, tmp_path: Path) -> None:
        with running(tmp_path) as first:
            text = add_token(first, "read")
            with page(first) as browser:
                browser.post("/api/login", json={"token": text})
                cookie = f"{COOKIE}={browser.cookies[COOKIE]}"
        with running(tmp_path) as again:
            assert again.get("/api/me", {"cookie": cookie}).json()["name"] == "read"

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({"token": "wrong"}, 401, "unauthenticated"),
            ({"token": ""}, 400, "bad_request"),
            ({"token": 1}, 400, "bad_request"),
            ({}, 400, "bad_request"),
            ([], 400, "bad_request"),
        ],
    )
    def test_what_is_no_login(self, one: Running, body: Any, status: int, code: str) -> None:
        add_token(one, "read")
        reply = one.http.post(one.url("web_port", "/api/login"), json=body)
        assert (reply.status_code, reply.json()["code"]) == (status, code)
        half = one.http.post(one.url("web_port", "/api/login"), content=b'{"token": "\\ud800"}')
        assert half.status_code == 400
        assert "set-cookie" not in reply.headers

    def test_who_may_only_send_has_no_page(self, one: Running) -> None:
        reply = one.http.post(one.url("web_port", "/api/login"), json={"token": add_token(one, "ingest")})
        assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")

    def test_a_form_of_another_page_is_no_login(self, one: Running) -> None:
        text = add_token(one, "read")
        reply = one.http.post(one.url("web_port", "/api/login"), data={"token": text})
        assert reply.status_code == 400
        with page(one, origin="https://evil.example") as browser:
            assert browser.post("/api/login", json={"token": text}).status_code == 403

    def test_attempts_are_limited(self, one: Running) -> None:
        add_token(one, "read")
        for _ in range(LOGINS_PER_MINUTE):
            assert one.http.post(one.url("web_port", "/api/login"), json={"token": "guess"}).status_code == 401
        reply = one.http.post(one.url("web_port", "/api/login"), json={"token": "guess"})
        assert (reply.status_code, reply.json()["code"]) == (429, "limit_reached")
        assert int(reply.headers["retry-after"]) >= 1

    def test_me_without_tokens(self, one: Running) -> None:
        me = one.get("/api/me").json()
        assert (me["name"], me["open"]) == ("anonymous", True)


class TestForgery:
    """What another page may do with the user's cookie: nothing."""

    @pytest.fixture(scope="class")
    @classmethod
    def one(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
        """One for all: each test has tokens of its own."""
        with running(tmp_path_factory.mktemp("shared")) as gateway:
            yield gateway

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
    def test_changes_and_questions_by_post(self, one: Running, origin: str) -> None:
        text = add_token(one, "admin")
        with page(one) as browser:
            browser.post("/api/login", json={"token": text})
            for path in ("/api/tokens", f"{API}/query"):
                forged = browser.post(path, headers={"origin": origin})
                assert (forged.status_code, "Origin" in forged.text) == (403, True)
            assert browser.delete(f"/api/tokens/{id_of(text)}", headers={"origin": origin}).status_code == 403
            assert browser.post(f"{API}/query", data={"query": "1"}).status_code == 200

    def test_a_change_by_cookie_must_say_where_it_comes_from(self, one: Running) -> None:
        text = add_token(one, "admin")
        with page(one) as browser:
            browser.post("/api/login", json={"token": text})
            browser.headers.pop("origin")
            assert browser.post("/api/tokens", json={"scopes": "read"}).status_code == 403
            seen = browser.post("/api/tokens", json={"scopes": "read"}, headers={"sec-fetch-site": "same-origin"})
            assert seen.status_code == 201

    def test_who_sends_a_token_needs_no_origin(self, one: Running) -> None:
        headers = admin(one) | {"origin": "https://evil.example"}
        reply = one.http.post(one.url("web_port", "/api/tokens"), json={"scopes": "read"}, headers=headers)
        assert reply.status_code == 201


class TestTokens:
    @pytest.fixture(scope="class")
    @classmethod
    def one(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
        """One for all: each test has tokens of its own."""
        with running(tmp_path_factory.mktemp("shared")) as gateway:
            yield gateway

    def test_made_listed_used_revoked(self, one: Running) -> None:
        headers, url = admin(one), one.url("web_port", "/api/tokens")
        asked = {"scopes": ["ingest"], "name": "shop", "expires": "30d", "rate_limit": "600/min", "budget": "5M/day"}
        made = one.http.post(url, json=asked, headers=headers)
        assert made.status_code == 201
        text = made.json()["token"]
        assert one.http.post(one.url("web_port", "/v1/metrics"), headers={"x-api-key": text}).status_code == 200
        listed = {token["name"]: token for token in one.get("/api/tokens", headers).json()["tokens"]}
        shop = listed["shop"]
        assert (shop["scopes"], shop["requests_per_minute"], shop["points_per_day"]) == (["ingest"], 600, 5_000_000)
        assert shop["expires_ms"] == shop["created_ms"] + 30 * 86_400_000
        assert not any(text in str(token) or "digest" in token for token in listed.values())
        assert one.http.delete(f"{url}/{shop['id']}", headers=headers).status_code == 204
        assert one.http.post(one.url("web_port", "/v1/metrics"), headers={"x-api-key": text}).status_code == 401
        again = one.http.delete(f"{url}/{shop['id']}", headers=headers)
        assert (again.status_code, again.json()["code"]) == (404, "not_found")

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"{}",
            b'{"scopes": "all"}',
            b'{"scopes": [1]}',
            b'{"scopes": "read", "name": 1}',
            b'{"scopes": "read", "name": "<script>"}',
            b'{"scopes": "read", "expires": "soon"}',
            b'{"scopes": "read", "rate_limit": "fast"}',
            b'{"scopes": "read", "budget": ["x"]}',
            b"x" * 20_000,
        ],
    )
    def test_what_is_no_token(self, one: Running, body: bytes) -> None:
        reply = one.http.post(one.url("web_port", "/api/tokens"), content=body, headers=admin(one))
        assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")


class TestAudit:
    def test_changes_are_there_with_who_what_when_and_which_request(self, one: Running) -> None:
        headers = admin(one)
        url = one.url("web_port", "/api/tokens")
        one.http.post(url, json={"scopes": "read"}, headers=headers | {"x-request-id": "first"})
        one.http.post(url, json={}, headers=headers | {"x-request-id": "second"})
        one.get("/metrics", headers)
        found = one.get("/api/audit", headers).json()["changes"]
        assert [(change["request_id"], change["status"]) for change in found] == [("second", 400), ("first", 201)]
        told = found[1]
        assert (told["actor"], told["action"], told["target"]) == ("admin", "POST", "/api/tokens")
        assert told["address"] == "127.0.0.1"
        assert told["at_ms"] > 1_700_000_000_000

    def test_logins_say_who(self, one: Running) -> None:
        headers, text = admin(one), add_token(one, "read")
        with page(one) as browser:
            browser.post("/api/login", json={"token": "wrong"})
            browser.post("/api/login", json={"token": text})
            browser.post("/api/logout")
        found = one.get("/api/audit", headers, limit=10).json()["changes"]
        told = [(change["actor"], change["target"], change["status"]) for change in reversed(found)]
        assert told == [("nobody", "/api/login", 401), ("read", "/api/login", 200), ("read", "/api/logout", 204)]

    @pytest.mark.parametrize("limit", ["0", "-1", "x", "1001", "99999999999999999999"])
    def test_a_limit_that_is_none(self, one: Running, limit: str) -> None:
        assert one.get("/api/audit", admin(one), limit=limit).status_code == 400
