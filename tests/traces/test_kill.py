"""A reply means kept: the process is killed under load, and every error whose request was answered is there."""

import http.client
import threading
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.test_kill import Process
from tests.traces.requests import logs_request, traces_request
from tests.traces.some import log, now_ms, span, trace_id

pytestmark = pytest.mark.slow

CLIENTS = 3
ENOUGH = 150


class Client:
    """Sends traces of three spans, the first alone and without an error, and a log: one request after another."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        """Traces whose error was acknowledged."""
        self.logged: list[str] = []

    def send_until_it_dies(self, port: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            try:
                while True:
                    self._trace(connection)
            except (OSError, http.client.HTTPException):
                return

    def _trace(self, connection: http.client.HTTPConnection) -> None:
        trace, at = trace_id(), now_ms()
        some = [span(trace, name, start_ms=at, error=name == "bad") for name in ("first", "bad", "late")]
        self._post(connection, "traces", traces_request(some[:1]).SerializeToString())
        self._post(connection, "traces", traces_request(some[1:]).SerializeToString())
        self.kept.append(trace)
        text = trace.hex()
        self._post(connection, "logs", logs_request([log(text, time_ms=at)]).SerializeToString())
        self.logged.append(text)

    def _post(self, connection: http.client.HTTPConnection, signal: str, body: bytes) -> None:
        connection.request("POST", f"/v1/{signal}", body, {"content-type": "application/x-protobuf"})
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 200


def test_every_acknowledged_error_survives_sigkill(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    clients = [Client() for _ in range(CLIENTS)]
    process = Process(directory)
    enough = threading.Event()
    threads = [
        threading.Thread(target=client.send_until_it_dies, args=(process.ports["otlp_http_port"],))
        for client in clients
    ]
    for thread in threads:
        thread.start()
    while sum(len(client.logged) for client in clients) < ENOUGH:
        assert any(thread.is_alive() for thread in threads)
        enough.wait(0.01)
    process.kill()
    for thread in threads:
        thread.join(20)
    process = Process(directory)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{process.ports['web_port']}", timeout=20) as web:
            for trace in (trace for client in clients for trace in client.kept):
                answer = web.get(f"/api/traces/{trace.hex()}").json()
                assert {one["name"] for one in answer["spans"]} == {"first", "bad", "late"}
            for text in (text for client in clients for text in client.logged):
                (found,) = web.get("/api/logs", params={"q": text}).json()["logs"]
                assert found["body"] == text
    finally:
        process.kill()
