"""Every way in gives the same answers: what is sent through one door may be sent through all."""

import secrets

import pytest
from google.protobuf.message import Message

from tests.conftest import SMALL_BODY_BYTES
from tests.support.doors import DOORS, GRPC, SERVICES, Door
from tests.support.gateways import Running
from tests.support.requests import (
    buckets,
    counter,
    fresh,
    gauge,
    histogram,
    metrics,
    now_ms,
    number,
    records,
    spans,
)

INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNAVAILABLE = 3, 8, 12, 14
DAY_MS = 86_400_000
EMPTY: dict[str, Message] = {"metrics": metrics(), "traces": spans(0), "logs": records(0)}

all_doors = pytest.mark.parametrize("door", DOORS, ids=str)
signals = pytest.mark.parametrize("signal", list(SERVICES))


@all_doors
def test_a_full_success_says_nothing(gateway: Running, door: Door) -> None:
    name = fresh()
    sent = metrics(gauge(name, number(1.5, route="/a"), number(-2.25, route="/b")))
    assert door.export(gateway, "metrics", sent).body == door.full_success
    assert (gateway.value(f'{name}{{route="/a"}}'), gateway.value(f'{name}{{route="/b"}}')) == ("1.5", "-2.25")


@all_doors
def test_a_partial_success_counts_points_and_names_the_setting(gateway: Running, door: Door) -> None:
    name, now = fresh(), now_ms()
    old = histogram(name + ".old", buckets([1, 2, 3], [1, 2], 9.0, now - 8 * DAY_MS))
    good = counter(name, number(3.0, now), number(4.0, now - 60_000, route="/old"))
    ahead = gauge(name + ".ahead", number(1.0, now + 3_600_000), number(2.0, now + 7_200_000))
    reply = door.export(gateway, "metrics", metrics(old, good, ahead))
    assert (reply.code, reply.rejected) == (0, 3)
    assert "1 rejected: older than MIRUBATO_RETENTION_RAW" in reply.message
    assert "2 rejected: further ahead of the clock than MIRUBATO_FUTURE_MAX" in reply.message
    assert gateway.value(f'{name}_total{{route=""}}') == "3"
    assert gateway.value(f'{name}_total{{route="/old"}}') == "4"
    assert not gateway.api("series", **{"match[]": f'{{__name__=~"{name}_(old|ahead).*"}}'})


@all_doors
def test_a_warning_rejects_nothing(gateway: Running, door: Door) -> None:
    name = fresh()
    reply = door.export(
        gateway, "metrics", metrics(gauge(name, number(1.0)), resource={"service.name": "s", "__": "x"})
    )
    assert (reply.code, reply.rejected) == (0, 0)
    assert "target_info left out" in reply.message
    assert gateway.value(name) == "1"


@all_doors
@signals
def test_an_empty_request_succeeds(gateway: Running, door: Door, signal: str) -> None:
    assert door.export(gateway, signal, EMPTY[signal]).body == door.full_success


@all_doors
def test_traces_and_logs_are_taken(gateway: Running, door: Door) -> None:
    before = dict(gateway.gateway.handler.counts.accepted)
    assert door.export(gateway, "traces", spans(5)).body == door.full_success
    assert door.export(gateway, "logs", records(5000)).body == door.full_success
    after = gateway.gateway.handler.counts.accepted
    assert {signal: after[signal] - before.get(signal, 0) for signal in after} | {"metrics": 0} == {
        "metrics": 0,
        "traces": 5,
        "logs": 5000,
    }


@all_doors
@signals
def test_bytes_that_mean_nothing_are_refused_for_good(gateway: Running, door: Door, signal: str) -> None:
    reply = door.send(gateway, signal, b"\x0a\xff\xff")
    assert (reply.code, reply.retry_s) == (INVALID_ARGUMENT, None)
    assert reply.message
    assert reply.status in (0, 400)


@all_doors
def test_a_request_over_the_limit_is_refused_for_good(small_gateway: Running, door: Door) -> None:
    """Random digits: compressed they are half as long, so that one door refuses before and another after inflating."""
    long = metrics(gauge(fresh(), number(1.0, noise=secrets.token_hex(SMALL_BODY_BYTES))))
    reply = door.export(small_gateway, "metrics", long)
    assert (reply.code, reply.retry_s) == (RESOURCE_EXHAUSTED, None)
    if door.name != "grpc":
        assert reply.status == 413
        assert f"MIRUBATO_MAX_BODY_BYTES={SMALL_BODY_BYTES}" in reply.message


@all_doors
def test_a_request_that_inflates_over_the_limit_is_refused_for_good(small_gateway: Running, door: Door) -> None:
    long = metrics(gauge(fresh(), number(1.0, noise="0" * SMALL_BODY_BYTES)))
    assert door.export(small_gateway, "metrics", long).code == RESOURCE_EXHAUSTED


@all_doors
def test_a_request_just_within_the_limit_is_taken(small_gateway: Running, door: Door) -> None:
    name = fresh()
    points = [number(1.0, now_ms() - 1000 * ago, noise="0" * 1000) for ago in range(25)]
    assert door.export(small_gateway, "metrics", metrics(gauge(name, *points))).body == door.full_success
    assert small_gateway.value(name) == "1"


@pytest.mark.parametrize("method", ["/opentelemetry.proto.collector.metrics.v1.MetricsService/Import", "/a.B/Export"])
def test_an_unknown_method_is_unimplemented(gateway: Running, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service, _, name = method[1:].partition("/")
    monkeypatch.setitem(SERVICES, "metrics", service if name == "Export" else f"{service}/Import")
    assert GRPC.send(gateway, "metrics", b"").code == UNIMPLEMENTED


@all_doors
def test_when_nothing_can_be_stored_the_client_may_try_again(broken_gateway: Running, door: Door) -> None:
    reply = door.export(broken_gateway, "metrics", metrics(gauge(fresh(), number(1.0))))
    assert (reply.code, reply.retry_s) == (UNAVAILABLE, 2)
    assert "could not commit" in reply.message
    assert reply.status in (0, 503)


@all_doors
def test_when_too_much_waits_the_client_may_try_again(
    gateway: Running, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.gateway.appender, "waiting_bytes", 1 << 40)
    reply = door.export(gateway, "metrics", metrics(gauge(fresh(), number(1.0))))
    monkeypatch.undo()
    assert (reply.code, reply.retry_s) == (UNAVAILABLE, 1)
    assert "waiting to be committed" in reply.message


@all_doors
def test_our_own_mistakes_are_told_as_such(
    gateway: Running, door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gateway.gateway.handler, "_appends", None)
    reply = door.export(gateway, "metrics", metrics(gauge(fresh(), number(1.0))))
    assert (reply.code, reply.retry_s) == (13, None)
    assert "defect" in reply.message
    assert reply.status in (0, 500)
    assert "NoneType" in caplog.text
