"""OTLP/HTTP, protobuf, HTTP/1.1 with keep-alive."""

import httptools

from bench.loads import Request
from bench.sending import Connection, Reply


class HttpConnection(Connection):
    """Posts each body to `path`."""

    path = "/v1/metrics"
    encoding = ""

    def begin(self, request: Request) -> None:
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{self.encoding}"
            f"Content-Type: application/x-protobuf\r\nContent-Length: {len(request.body)}\r\n\r\n"
        )
        self.outgoing.extend((memoryview(head.encode()), memoryview(request.body)))
        self.parser = httptools.HttpResponseParser(self)
        self.answer = b""
        self.complete = False

    def feed(self, data: bytes) -> Reply | None:
        self.parser.feed_data(data)
        if not self.complete:
            return None
        status = self.parser.get_status_code()
        accepted = 200 <= status < 300
        return Reply(accepted, self._detail(status) if self.answer or not accepted else "")

    def _detail(self, status: int) -> str:
        return f"{status} {self.answer[:300]!r}"

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self.answer += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.complete = True


class SpansConnection(HttpConnection):
    """Traces instead of metrics."""

    path = "/v1/traces"


class GzipHttpConnection(HttpConnection):
    """The same with bodies that are compressed already."""

    encoding = "Content-Encoding: gzip\r\n"
