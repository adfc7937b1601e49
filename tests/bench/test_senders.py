"""The senders against small real servers."""

import gzip
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest

from bench.errors import BenchError
from bench.loads import Request
from bench.over_grpc import PATH, GrpcConnection, GzipGrpcConnection
from bench.over_http import GzipHttpConnection, HttpConnection
from bench.sending import send

LARGE = b"x" * 300_000  # more than a flow-control window and a socket's buffer


class Receiver(BaseHTTPRequestHandler):
    """Answers 200 and keeps the body; 503 to `refuse`, a partial success to `partly`, nothing to `hang up`."""

    protocol_version = "HTTP/1.1"
    received: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        self.received.append(body)
        if body == b"hang up":
            self.close_connection = True
            return
        answer = b"some were rejected" if body == b"partly" else b""
        self.send_response(503 if body == b"refuse" else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture(name="http_server")
def http_receiver() -> Iterator[tuple[int, list[bytes]]]:
    received: list[bytes] = []
    handler = type("Handler", (Receiver,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1], received
        server.shutdown()
        thread.join()


@pytest.fixture(name="grpc_server")
def grpc_receiver() -> Iterator[tuple[int, list[bytes]]]:
    """Raw bytes in and out; refuses `refuse`, answers `partly` with a message."""
    received: list[bytes] = []

    def export(body: bytes, context: grpc.ServicerContext) -> bytes:
        received.append(body)
        if body == b"refuse":
            context.abort(grpc.StatusCode.UNAVAILABLE, "later")
        return b"some were rejected" if body == b"partly" else b""

    service, method = PATH.decode()[1:].split("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(export)}
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port, received
    server.stop(None).wait()


def test_http_sends_every_body_once(http_server: tuple[int, list[bytes]]) -> None:
    port, received = http_server
    bodies = [b"one", LARGE, b"", b"two"]
    outcome = send(HttpConnection, port, [[Request(body, 10) for body in bodies], [Request(b"three", 5)]])
    assert sorted(received) == sorted([*bodies, b"three"])
    assert (outcome.points, outcome.failed, outcome.partial) == (45, 0, 0)
    assert len(outcome.latencies) == 5
    assert 0 < outcome.percentile(0.5) <= outcome.percentile(0.99) <= outcome.wall * 1e3


def test_http_counts_what_was_not_plain_success(http_server: tuple[int, list[bytes]]) -> None:
    bodies = (b"fine", b"refuse", b"partly", b"fine")
    outcome = send(HttpConnection, http_server[0], [[Request(body, 1) for body in bodies]])
    assert (outcome.points, outcome.failed, outcome.partial) == (3, 1, 1)
    assert outcome.problem.startswith("503")


def test_http_gzip(http_server: tuple[int, list[bytes]]) -> None:
    port, received = http_server
    outcome = send(GzipHttpConnection, port, [[Request(gzip.compress(LARGE), 1)]])
    assert (outcome.points, received) == (1, [LARGE])


def test_a_closed_connection_ends_the_measurement(http_server: tuple[int, list[bytes]]) -> None:
    with pytest.raises(BenchError, match="closed the connection"):
        send(HttpConnection, http_server[0], [[Request(b"hang up", 1)]])


def test_grpc_sends_every_body_once(grpc_server: tuple[int, list[bytes]]) -> None:
    port, received = grpc_server
    bodies = [b"one", LARGE, b"", LARGE, b"two"]
    outcome = send(GrpcConnection, port, [[Request(body, 10) for body in bodies], [Request(b"three", 5)]])
    assert sorted(received) == sorted([*bodies, b"three"])
    assert (outcome.points, outcome.failed, outcome.partial) == (55, 0, 0)


def test_grpc_counts_what_was_not_plain_success(grpc_server: tuple[int, list[bytes]]) -> None:
    bodies = (b"fine", b"refuse", b"partly", b"fine")
    outcome = send(GrpcConnection, grpc_server[0], [[Request(body, 1) for body in bodies]])
    assert (outcome.points, outcome.failed, outcome.partial) == (3, 1, 1)
    assert outcome.problem


def test_grpc_gzip(grpc_server: tuple[int, list[bytes]]) -> None:
    port, received = grpc_server
    outcome = send(GzipGrpcConnection, port, [[Request(gzip.compress(LARGE), 1)] * 2])
    assert (outcome.points, received) == (2, [LARGE, LARGE])
