"""A server that takes event points, keeps them, and answers as it is told."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Mapping[str, str], str]
TAKEN: Answer = (200, {}, "{}")


@dataclass
class Door:
    """`answers` are given in order, then TAKEN; `hold` is waited for before each."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    came: threading.Event = field(default_factory=threading.Event)

    @property
    def points(self) -> list[Any]:
        return [point for body in self.bodies for point in body["points"]]


@contextmanager
def door(*answers: Answer, held: bool = False) -> Iterator[Door]:
    one = Door(answers=list(answers))
    if not held:
        one.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            one.came.set()
            one.hold.wait()
            one.paths.append(self.path)
            one.headers.append(dict(self.headers))
            status, headers, text = one.answers.pop(0) if one.answers else TAKEN
            if status < 300:
                one.bodies.append(body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        one.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield one
        finally:
            one.hold.set()
            server.shutdown()
            thread.join()
