"""Every route of the web port, each with each kind of person: a new route is guarded, or named here."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route

from mirubato.web.app import EVENT_POINTS_PATH, WRITE_PATH
from tests.access.people import Person, people
from tests.support.gateways import API, Running, running

OPEN = {
    ("GET", "/"),
    ("GET", "/assets/{rest:path}"),
    ("GET", "/-/healthy"),
    ("GET", "/-/ready"),
    ("GET", "/api/health"),
    ("POST", "/api/login"),
    ("POST", "/api/logout"),
}
ANY_TOKEN = {("GET", "/api/me")}
BESIDE = {("POST", path) for path in ("/v1/metrics", "/v1/traces", "/v1/logs", WRITE_PATH, EVENT_POINTS_PATH)}
"""Paths that are no routes of starlette's."""
INGEST = BESIDE | {("POST", "/api/deploys")}
ADMIN_READS = {("GET", "/api/tokens"), ("GET", "/api/audit")}
READ_POSTS = {
    *(("POST", f"{API}/{name}") for name in ("query", "query_range", "query_exemplars", "format_query", "parse_query")),
    *(("POST", f"{API}/{name}") for name in ("series", "labels")),
    ("POST", "/client/v4/accounts/{account}/analytics_engine/sql"),
    ("POST", "/api/alerts/backtest"),
    ("POST", "/api/costs/what-if"),
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("guarded")) as one:
        yield one


def routes_of(one: Running) -> list[tuple[str, str]]:
    """All routes with their methods, and those that stand beside them."""
    found = []
    for route in one.gateway.web._pages.routes:
        assert isinstance(route, Route), f"{route}: say in this test who may use it"
        found += [(method, route.path) for method in sorted(route.methods or ()) if method != "HEAD"]
    return [*found, *sorted(BESIDE)]


def needed(route: tuple[str, str]) -> str | None:
    """A scope; None: nothing."""
    method, path = route
    if route in OPEN or (method == "GET" and path.count("/") == 1 and "." in path):
        return None
    if route in ANY_TOKEN:
        return "any"
    if route in INGEST:
        return "ingest"
    if route in ADMIN_READS:
        return "admin"
    return "read" if method == "GET" or route in READ_POSTS else "admin"


def expected(person: Person, route: tuple[str, str]) -> int | None:
    """401, 403, or None: let in."""
    scope = needed(route)
    if scope is None or (person.known and scope == "any"):
        return None
    if not person.known:
        return 401
    return None if person.scopes & {scope, "admin"} else 403


def test_every_route_with_every_person(guarded: Running) -> None:
    wrong = []
    visitors = people(guarded)
    for route in routes_of(guarded):
        if route == ("POST", "/api/logout"):
            continue  # who is logged out here is not who comes next; tests/access/test_login.py
        method, path = route[0], route[1].replace("{rest:path}", "x").replace("{", "").replace("}", "")
        for person in visitors:
            with guarded.http.stream(method, guarded.url("web_port", path), headers=person.headers) as reply:
                refused = reply.status_code if reply.status_code in (401, 403) else None
                if refused != expected(person, route) or ("www-authenticate" in reply.headers) != (refused == 401):
                    wrong.append((str(person), *route, reply.status_code, expected(person, route)))
    assert wrong == []


def test_the_tables_name_what_there_is(guarded: Running) -> None:
    there = set(routes_of(guarded))
    assert (OPEN | ANY_TOKEN | ADMIN_READS) - there == set()


@pytest.mark.parametrize("path", ["/api/nothing", "/metrics/", "/v1/nothing", "/api/tokens/", "//api/health"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"])
def test_what_is_no_route_is_guarded_too(guarded: Running, method: str, path: str) -> None:
    people(guarded)
    url = guarded.url("web_port").rstrip("/") + path
    assert guarded.http.request(method, url).status_code == 401


def test_the_otlp_port_is_guarded(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        for person in people(one):
            for path in ("/v1/metrics", "/v1/traces", "/v1/logs"):
                reply = one.http.post(one.url("otlp_http_port", path), headers=person.headers)
                # The page of the web port is another origin than this one: its cookie opens nothing here.
                wanted = 403 if "admin-by" in person.name else expected(person, ("POST", path))
                assert reply.status_code == (wanted or 200), person
