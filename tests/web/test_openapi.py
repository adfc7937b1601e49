"""The description of the API: all routes and no others, and what it says may be asked is answered without a defect."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from tests.support.gateways import Running

STREAMS = {"/api/events"}


def routes(gateway: Running) -> Iterator[Route]:
    for route in gateway.gateway.web.routes:
        if isinstance(route, Route) and route.path.startswith(("/api", "/-/", "/metrics", "/client", "/docs")):
            yield route


def described(gateway: Running) -> dict[str, dict[str, Any]]:
    return dict(gateway.get("/api/openapi.json").json()["paths"])


def test_all_routes_are_described_and_no_others(gateway: Running) -> None:
    there = {
        (route.path.replace(":path", ""), method.lower())
        for route in routes(gateway)
        for method in (route.methods or {"GET"}) - {"HEAD"}
    }
    told = {(path, method) for path, methods in described(gateway).items() for method in methods}
    assert told == there


def test_the_page_needs_nothing_from_elsewhere(gateway: Running) -> None:
    reply = gateway.get("/docs")
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")
    assert "/api/costs" in reply.text
    assert "<script" not in reply.text


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_get_is_a_defect(gateway: Running, data: st.DataObject) -> None:
    """Whatever the parameters are: an answer, or an error with a code and a sentence."""
    gets = {path: methods["get"] for path, methods in described(gateway).items() if "get" in methods}
    path = data.draw(st.sampled_from(sorted(gets.keys() - STREAMS)))
    asked: dict[str, str] = {}
    for parameter in gets[path]["parameters"]:
        value = data.draw(st.one_of(st.just(parameter.get("example", "x")), st.text(max_size=20), st.none()))
        if parameter["in"] == "path":
            value = "x" + (value or "").replace("/", "")
            path = path.replace(f"{{{parameter['name']}}}", quote(value))
        elif value is not None:
            asked[parameter["name"]] = value
    reply = gateway.get(path, **asked)
    assert reply.status_code < 500 or reply.status_code in (501, 503), reply.text
    if reply.status_code >= 400 and not path.startswith("/api/prometheus/api/"):
        answer = reply.json()
        assert answer["code"]
        assert answer["message"]


@pytest.mark.parametrize("path", ["/api/openapi.json", "/docs"])
def test_only_get(gateway: Running, path: str) -> None:
    assert gateway.post(path).status_code == 405
