"""The service graph: pairs of spans, however they come, and what waits."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.limits import CALL_WAIT_MS, WAITING_CALLS_MAX
from mirubato.model.spans import Origin, Span
from mirubato.spans.calls import Call, Calls
from tests.spans.making import CLIENT, CONSUMER, ERROR, PRODUCER, SERVER, UNSET, span, traces
from tests.support.gateways import Running, running

ORIGIN = Origin("x", "", b"", b"")


def half(
    service: str, kind: int, span_id: int, parent: int = 0, *, error: bool = False, weight: float = 1, trace: int = 1
) -> Span:
    """A span of 2 s (a client's) or 1 s."""
    ids = trace.to_bytes(16, "big"), span_id.to_bytes(8, "big"), parent.to_bytes(8, "big") if parent else b""
    length = (2 if kind in (3, 4) else 1) * 1_000_000_000
    return Span(*ids, service, "n", kind, 10, 10 + length, error, weight, b"", ORIGIN)


def pair(calls: Calls, *spans: Span, now: int = 1000, peers: dict[bytes, str] | None = None) -> list[Call]:
    return calls.pair(spans, peers or {}, now)


WEB, API = half("web", 3, 7), half("api", 2, 8, 7)


@pytest.mark.parametrize("order", [(WEB, API), (API, WEB)])
def test_both_orders_make_one_call(order: tuple[Span, Span]) -> None:
    calls = Calls()
    assert pair(calls, order[0]) == []
    assert pair(calls, order[1]) == [Call("web", "api", failed=False, weight=1, client_s=2, server_s=1)]


def test_either_side_can_fail_and_the_larger_weight_counts() -> None:
    calls = Calls()
    (call,) = pair(calls, half("web", 3, 7, weight=10), half("api", 2, 8, 7, error=True))
    assert (call.failed, call.weight) == (True, 10)


def test_a_message_has_several_consumers() -> None:
    calls = Calls()
    found = pair(calls, half("a", 5, 2, 1), half("shop", 4, 1), half("b", 5, 3, 1))
    assert [(call.client, call.server) for call in found] == [("shop", "a"), ("shop", "b")]


def test_roots_inner_spans_and_other_traces_make_no_call() -> None:
    calls = Calls()
    assert pair(calls, WEB, half("api", 2, 9), half("api", 1, 9, 7), half("api", 2, 9, 7, trace=2)) == []


def test_what_waits_too_long_goes_and_a_named_peer_is_a_call() -> None:
    calls = Calls()
    pair(calls, WEB, half("api", 3, 9), half("lost", 2, 5, 4), peers={WEB.span_id: "postgresql"})
    assert calls.expire(1000 + CALL_WAIT_MS - 1) == []
    (call,) = calls.expire(1000 + CALL_WAIT_MS)
    assert (call.client, call.server, call.client_s, call.server_s) == ("web", "postgresql", 2, None)
    assert (len(calls), calls.unpaired) == (0, 2)
    assert pair(calls, API, now=1000 + CALL_WAIT_MS) == []


def test_a_flood_of_halves_is_bounded() -> None:
    calls = Calls()
    for first in range(0, 3 * WAITING_CALLS_MAX, 10_000):
        pair(
            calls, *(half("a", 2, number + 1, number + 1, trace=number + 1) for number in range(first, first + 10_000))
        )
        calls.committed()
    assert len(calls) <= WAITING_CALLS_MAX
    assert calls.unpaired >= 2 * WAITING_CALLS_MAX


@given(st.lists(st.tuples(st.integers(2, 5), st.integers(1, 4), st.integers(0, 4)), max_size=12), st.integers(0, 12))
def test_a_commit_that_is_taken_back_never_was(spans: list[tuple[int, int, int]], cut: int) -> None:
    some = [half(f"s{kind}", kind, own, parent) for kind, own, parent in spans]
    once, twice = Calls(), Calls()
    for calls in (once, twice):
        pair(calls, *some[:cut])
        calls.committed()
    pair(twice, *some[cut:])
    twice.undo()
    assert sorted(pair(twice, *some[cut:])) == sorted(pair(once, *some[cut:]))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("graph")) as one:
        yield one


def test_the_graph_as_metrics(gateway: Running) -> None:
    for number in range(20):
        trace = random.randbytes(16)
        calling = span("call", CLIENT, seconds=0.3, trace=trace)
        asked = span("GET /", SERVER, ERROR if number < 5 else UNSET, seconds=0.2, trace=trace, parent=calling.span_id)
        sending = span("send", PRODUCER, trace=trace, parent=asked.span_id)
        taking = span("take", CONSUMER, trace=trace, parent=sending.span_id)
        for service, spans in (("worker", [taking]), ("web", [calling]), ("api", [asked, sending])):
            url = gateway.url("otlp_http_port", "/v1/traces")
            body, kind = traces(spans, service).SerializeToString(), "application/x-protobuf"
            assert gateway.http.post(url, content=body, headers={"content-type": kind}).status_code == 200
    graph = "traces_service_graph_request"
    assert gateway.value(f'{graph}_total{{client="web",server="api"}}') == "20"
    assert gateway.value(f'{graph}_failed_total{{client="web",server="api"}}') == "5"
    assert gateway.value(f'{graph}_total{{client="api",server="worker"}}') == "20"
    assert gateway.value(f'{graph}_server_seconds_bucket{{client="web",server="api",le="0.25"}}') == "20"
    assert float(gateway.value(f'{graph}_client_seconds_sum{{client="web"}}')) == pytest.approx(6)
