"""The gateway as a whole: addresses, ports that are taken, one gateway for each directory, and what is left behind."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mirubato.errors import ConfigError, StorageFailed
from mirubato.gateway.composer import Gateway
from tests.support.doors import GRPC, HTTP, WEB
from tests.support.gateways import config, running
from tests.support.requests import gauge, metrics, number

PORTS = {"grpc_port": "OTLP/gRPC", "otlp_http_port": "OTLP/HTTP", "web_port": "the web"}


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield int(taken.getsockname()[1])


@pytest.mark.parametrize(("setting", "what"), PORTS.items())
def test_a_taken_port_is_named_with_the_reason(tmp_path: Path, taken_port: int, setting: str, what: str) -> None:
    told = rf"^cannot listen on 127\.0\.0\.1:{taken_port} for {what}: Address already in use$"
    with pytest.raises(OSError, match=told), running(tmp_path, **{setting: taken_port}):
        pass
    assert not (tmp_path / "gateway.json").exists()
    with running(tmp_path) as again:
        assert again.get("/api/health").status_code == 200


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    told = r"^cannot listen on 192\.0\.2\.1:0 for OTLP/gRPC: Cannot assign requested address$"
    with pytest.raises(OSError, match=told), running(tmp_path, host="192.0.2.1", allow_anonymous=True):
        pass


def test_a_closed_gateway_leaves_its_ports(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        ports = dict(one.gateway.ports)
    with running(tmp_path, **ports) as again:
        assert again.gateway.ports == ports


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_other_machines_may_come_only_where_that_was_said(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="--allow-anonymous"):
        Gateway(config(tmp_path / "data", host=host))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "0.0.0.0"])
def test_other_addresses(tmp_path: Path, host: str) -> None:
    with running(tmp_path, host=host, allow_anonymous=host == "0.0.0.0") as one:
        reached = "127.0.0.1" if host == "0.0.0.0" else host
        for port in ("web_port", "otlp_http_port"):
            reply = httpx.post(f"http://{reached}:{one.gateway.ports[port]}/v1/metrics")
            assert reply.status_code == 200


def test_ipv6(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with running(tmp_path, host="::1") as one:
        assert httpx.get(f"http://[::1]:{one.gateway.ports['web_port']}/-/ready").status_code == 200


def test_one_gateway_for_each_directory(tmp_path: Path) -> None:
    with running(tmp_path):
        with pytest.raises(StorageFailed, match=rf"is in use by another gateway \(process {os.getpid()}\)"):
            Gateway(config(tmp_path))
        with running(tmp_path / "other"):
            pass
    with running(tmp_path) as again:
        assert again.get("/api/health").status_code == 200


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageFailed, match=r"data_dir cannot be used: .*Not a directory"):
        Gateway(config(tmp_path / "file" / "data"))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """It is refused, and the directory is free for another try."""
    (tmp_path / "samples.db").write_bytes(b"not a database" * 1000)
    for _ in range(2):
        with pytest.raises(StorageFailed, match=r"samples\.db"):
            Gateway(config(tmp_path))


def test_the_ports_are_written_down_while_it_serves(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        written = json.loads((tmp_path / "gateway.json").read_text(encoding="utf-8"))
        assert written == {"pid": os.getpid(), **one.gateway.ports}
        assert set(PORTS) | {"pid"} == set(written)
    assert not (tmp_path / "gateway.json").exists()


def test_what_came_through_any_door_is_there_after_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        for index, door in enumerate((GRPC, HTTP, WEB)):
            assert door.export(one, "metrics", metrics(gauge(f"m{index}", number(float(index))))).code == 0
    with running(tmp_path) as again:
        assert [again.value(f"m{index}") for index in range(3)] == ["0", "1", "2"]


def test_a_request_that_never_ends_does_not_hold_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as half:
        with running(tmp_path) as one:
            half.connect(("127.0.0.1", one.gateway.ports["web_port"]))
            half.sendall(b"POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
            assert one.get("/api/health").status_code == 200
        assert half.recv(1) == b""
    assert not caplog.records


def test_a_query_that_is_being_computed_does_not_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked, go_on = threading.Event(), threading.Event()
    refused: list[Exception] = []

    def select(*_: object, **__: object) -> None:
        asked.set()
        go_on.wait(20)

    def client(url: str) -> None:
        try:
            httpx.get(url, timeout=20)
        except httpx.HTTPError as error:
            refused.append(error)

    with running(tmp_path) as one:
        monkeypatch.setattr(one.gateway.reader, "select", select)
        query = one.url("web_port", "/api/prometheus/api/v1/query?query=up")
        thread = threading.Thread(target=client, args=(query,))
        thread.start()
        assert asked.wait(20)
    go_on.set()
    thread.join(20)
    assert [type(error) for error in refused] == [httpx.RemoteProtocolError]
    assert not caplog.records


def test_readers_are_closed(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        assert HTTP.export(one, "metrics", metrics(gauge("up", number(1.0)))).code == 0
        assert one.value("up") == "1"
        reader = one.gateway.reader
        assert reader.readers.count
    assert not reader.readers.count
    assert not (tmp_path / "samples.db-wal").exists(), "the last one to close clears the log"


def test_idle_series_leave_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep is called again and again; what it does is the storage's."""
    monkeypatch.setattr("mirubato.gateway.composer._EVICT_EVERY_S", 0.01)
    with running(tmp_path) as one:
        swept = asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), one.loop)
        swept.result(10)
        assert HTTP.export(one, "metrics", metrics(gauge("up", number(1.0)))).code == 0
        assert one.value("up") == "1"
