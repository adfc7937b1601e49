"""Requests made up from the API's own description, sent by each kind of person: no defect, and nobody gets too far."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from mirubato.web.openapi import description
from tests.access.people import add_token
from tests.support.gateways import Running, running

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SCHEMA = schemathesis.openapi.from_dict(description("0")).exclude(path="/api/events")  # a stream does not end
KINDS = {"nobody": (), "ingest": ("ingest",), "read": ("read",), "admin": ("admin",)}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, dict[str, str]]]]:
    with running(tmp_path_factory.mktemp("schema")) as one:
        kinds = {kind: {"x-api-key": add_token(one, *scopes)} if scopes else {} for kind, scopes in KINDS.items()}
        yield one, kinds


@SCHEMA.parametrize()
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_each_kind(case: Any, guarded: tuple[Running, dict[str, dict[str, str]]]) -> None:
    one, kinds = guarded
    url = one.url("web_port").rstrip("/")
    statuses = {}
    for kind, headers in kinds.items():
        reply = case.call(base_url=url, headers=headers, timeout=20)
        assert reply.status_code < 500 or reply.status_code == 501, (kind, reply.text)
        statuses[kind] = reply.status_code
    if statuses["nobody"] != 401:  # what is open answers everyone alike
        assert case.path in ("/", "/-/healthy", "/-/ready", "/api/health", "/api/login", "/api/logout")
    assert statuses["admin"] not in (401, 403)
    if statuses["read"] == 403:
        assert case.method != "GET" or case.path.startswith(("/api/tokens", "/api/audit"))
