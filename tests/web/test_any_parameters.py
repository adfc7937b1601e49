"""Whatever stands in a URL or a form, the answer is a success or says what is wrong; it is never our mistake."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.doors import HTTP
from tests.support.gateways import API, Running, running
from tests.support.requests import gauge, metrics, number

WORDS = [
    "up",
    '{job="shop"}',
    "up[5m]",
    "sum(rate(up[5m]))",
    "up[5m:1s]",
    "1",
    '"x"',
    "topk(1, up)",
    "1h",
    "now",
    "0",
    "-1",
    "1e308",
    "NaN",
    "1700000000",
    "2023-11-14T22:13:20Z",
]
LONG = ["9" * 5000, "1" * 400, "292y", "1e15", "-1e15", "9007199254740.991", "9007199254740.993", "0.0005", "1e-320"]
TEXTS = st.one_of(st.sampled_from(WORDS + LONG), st.text(max_size=20))
NAMES = ["query", "time", "start", "end", "step", "limit", "timeout", "lookback_delta", "match[]", "metric", "group_by"]
NAMES += ["stats", "limit_per_metric", "type", "exclude_alerts", "group_limit", "group_next_token", "state"]
PARAMETERS = st.dictionaries(st.sampled_from(NAMES), TEXTS)
FORMS = ["query", "query_range", "query_exemplars", "format_query", "parse_query", "series", "labels"]
ENDPOINTS = [*FORMS, "label/job/values", "metadata", "rules", "alerts", "targets", "status/tsdb", "status/buildinfo"]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway with one series: without a selector, all of them are read again and again."""
    with running(tmp_path_factory.mktemp("few")) as one:
        assert HTTP.export(one, "metrics", metrics(gauge("up", number(1.0)))).code == 0
        yield one


@given(st.sampled_from(ENDPOINTS), PARAMETERS, st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_prometheus_api(few: Running, endpoint: str, parameters: dict[str, Any], form: bool) -> None:
    ask = few.post if form and endpoint in FORMS else few.get
    reply = ask(f"{API}/{endpoint}", **parameters)
    answer = reply.json()
    if reply.status_code == 200:
        assert answer["status"] == "success"
    else:
        assert (reply.status_code, answer["errorType"]) in ((400, "bad_data"), (422, "execution"), (503, "timeout"))
        assert answer["error"]


@given(PARAMETERS)
@settings(max_examples=100, deadline=None)
def test_history_and_scrape(few: Running, parameters: dict[str, Any]) -> None:
    for path in ("/api/metrics", "/api/prometheus", "/api/prometheus/federate"):
        reply = few.get(path, **parameters)
        assert reply.status_code in (200, 400, 422, 503)
        if reply.status_code != 200:
            assert set(reply.json()) == {"code", "message"}
