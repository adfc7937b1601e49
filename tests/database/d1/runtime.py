"""D1's own SQLite behind its REST routes, in workerd; and a door before it that fails as it is told."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from mirubato.database.d1 import D1, Place
from tests.analytics_engine.runtime import workerd

HERE = Path(__file__).parent
TOKEN = "secret-of-the-test"


@dataclass
class Engine:
    """A running D1: its base address, and a way to end it as a crash would."""

    url: str
    process: subprocess.Popen[str]

    def database(self, name: str, url: str = "") -> D1:
        """A client of one database."""
        return D1(Place(url or self.url, "account", name, TOKEN))


@contextmanager
def running(directory: Path) -> Iterator[Engine]:
    """The engine over the files in `directory`."""
    binary = workerd()
    reading, writing = os.pipe()
    command = [
        binary,
        "serve",
        f"--directory-path=disk={directory}",
        f"--control-fd={writing}",
        str(HERE / "config.capnp"),
    ]
    with (
        os.fdopen(reading, encoding="utf-8") as told,
        subprocess.Popen(command, stderr=subprocess.PIPE, pass_fds=[writing], text=True) as process,
    ):
        os.close(writing)
        try:
            line = told.readline()
            assert line, process.stderr.read() if process.stderr else ""
            yield Engine(f"http://127.0.0.1:{json.loads(line)['port']}/client/v4", process)
        finally:
            process.kill()
            process.communicate()


class Answer(Exception):
    """What the door answers instead of D1; with `after`, D1 has done it all the same."""

    def __init__(self, status: int, body: bytes = b"", *, after: bool = False, cut: bool = False) -> None:
        super().__init__(status)
        self.status, self.body, self.after, self.cut = status, body, after, cut


@contextmanager
def failing(engine: Engine, decide: Callable[[], Answer | None]) -> Iterator[str]:
    """A door to `engine` that asks `decide` before each request; its base address."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            fault = decide()
            status, answer = (fault.status, fault.body) if fault else (200, b"")
            if fault is None or fault.after:
                reply = httpx.post(
                    engine.url.removesuffix("/client/v4") + self.path,
                    content=body,
                    headers={"authorization": self.headers["authorization"], "content-type": "application/json"},
                )
                if fault is None:
                    status, answer = reply.status_code, reply.content
            self.send_response(status)
            self.send_header("content-length", str(len(answer) + (10 if fault and fault.cut else 0)))
            self.end_headers()
            self.wfile.write(answer)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/client/v4"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
