"""An HTTP server that stands for a receiver of messages: answers what it is told to, and remembers what it got."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from ssl import SSLContext
from typing import Any

WAIT_S = 20


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What to answer. `hang`: nothing, until the server ends."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False


class HttpReceiver:
    """The requests in their order, and `answer`, which may be replaced."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Reply] = lambda _: Reply()
        self.over = threading.Event()
        self._news: SimpleQueue[Request] = SimpleQueue()

    def url(self, path: str = "", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def take(self, request: Request) -> Reply:
        self.requests.append(request)
        self._news.put(request)
        return self.answer(request)

    def next(self, timeout_s: float = WAIT_S) -> Request:
        """The next request; AssertionError if none comes."""
        try:
            return self._news.get(timeout=timeout_s)
        except Empty:
            raise AssertionError("no request came") from None


@contextmanager
def receiving(tls: SSLContext | None = None) -> Iterator[HttpReceiver]:
    """A receiver on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, _parsed(body))
            reply = receiver.take(request)
            if reply.hang:
                receiver.over.wait(WAIT_S)
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver = HttpReceiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        thread.join(WAIT_S)
        server.server_close()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body
