"""Real HTTP and TLS servers on free ports, which answer as their path says."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/slow":
            self.server.gone.wait(20)  # type: ignore[attr-defined]
        if path.startswith("/to/"):
            self._answer(302, location=path.removeprefix("/to/").replace("~", "/"))
        elif path == "/endless":
            self._endless()
        elif path == "/loop":
            self._answer(302, location="/loop")
        elif path == "/broken":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            self.close_connection = True
        else:
            self._answer(int(path.removeprefix("/") or 200))

    def _answer(self, status: int, location: str = "") -> None:
        self.send_response(status)
        self.send_header("content-length", "2")
        if location:
            self.send_header("location", location)
        self.end_headers()
        self.wfile.write(b"ok")

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("connection", "close")
        self.end_headers()
        with suppress(OSError):
            while not self.server.gone.is_set():  # type: ignore[attr-defined]
                self.wfile.write(b"x" * 65_536)

    def handle(self) -> None:
        with suppress(OSError):  # the client has gone
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.gone = threading.Event()
        self.tls = tls

    def finish_request(self, request: object, client_address: object) -> None:
        """The handshake belongs to the thread of the connection."""
        if self.tls is None:
            super().finish_request(request, client_address)  # type: ignore[arg-type]
            return
        with suppress(OSError), self.tls.wrap_socket(request, server_side=True) as wrapped:  # type: ignore[arg-type]
            super().finish_request(wrapped, client_address)

    def handle_error(self, *_: object) -> None:
        pass

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.server_address[1]}"


@contextmanager
def server(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    one = Server(tls)
    thread = threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.gone.set()
        one.shutdown()
        one.server_close()
        thread.join(5)


def until(seconds: float = 20) -> Iterator[None]:
    """Turns of a loop that waits for something, at most so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)
    raise AssertionError("it did not come")


def server_context(monkeypatch: pytest.MonkeyPatch, directory: Path, **certificate: Any) -> ssl.SSLContext:
    """For `server`: a certificate of `localhost` by an authority that this process trusts from now on."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(directory / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", **certificate).configure_cert(context)
    return context
