"""One client for each way into the gateway; what comes back looks the same for all."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import zstandard
from google.protobuf.json_format import Parse
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.support.gateways import Running
from tests.support.requests import otlp_json

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda body: body,
    "gzip": gzip.compress,
    "zstd": lambda body: zstandard.ZstdCompressor().compress(body),
}
SERVICES = {
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}
RESPONSES: dict[str, type[Message]] = {
    "metrics": ExportMetricsServiceResponse,
    "traces": ExportTraceServiceResponse,
    "logs": ExportLogsServiceResponse,
}


@dataclass(frozen=True)
class Reply:
    """What came back: a gRPC code (0: success), the bytes and the message, and when to try again."""

    code: int
    body: bytes
    message: str = ""
    rejected: int = 0
    retry_s: int | None = None
    status: int = 0
    """Of HTTP."""


@dataclass(frozen=True)
class Door:
    """gRPC, or HTTP with a content type on one of two ports; with a compression or none."""

    name: str
    kind: str
    port: str
    encoding: str = ""

    def __str__(self) -> str:
        return f"{self.name}{'+' if self.encoding else ''}{self.encoding}"

    @property
    def full_success(self) -> bytes:
        """The body of a full success."""
        return b"{}" if self.kind == JSON else b""

    def export(self, running: Running, signal: str, message: Message) -> Reply:
        """Send a request."""
        return self.send(running, signal, otlp_json(message) if self.kind == JSON else message.SerializeToString())

    def send(self, running: Running, signal: str, body: bytes) -> Reply:
        """Send the bytes of a request."""
        return self._call(running, signal, body) if self.name == "grpc" else self._post(running, signal, body)

    def _call(self, running: Running, signal: str, body: bytes) -> Reply:
        with grpc.insecure_channel(f"127.0.0.1:{running.gateway.ports[self.port]}") as channel:
            method = channel.unary_unary(f"/{SERVICES[signal]}/Export", bytes, bytes)
            compression = grpc.Compression.Gzip if self.encoding else grpc.Compression.NoCompression
            try:
                answer = method(body, compression=compression, timeout=20)
            except grpc.RpcError as error:
                return _refused(error)
        return success(signal, answer, json=False)

    def _post(self, running: Running, signal: str, body: bytes) -> Reply:
        headers = {"content-type": self.kind} | ({"content-encoding": self.encoding} if self.encoding else {})
        url = running.url(self.port, f"/v1/{signal}")
        return read(running.http.post(url, content=COMPRESS[self.encoding](body), headers=headers), signal, self.kind)


def _refused(error: Any) -> Reply:
    """A gRPC error; RetryInfo must stand in both places where clients look, or in neither."""
    metadata = dict(error.trailing_metadata() or ())
    code: int = error.code().value[0]
    own = metadata.get("google.rpc.retryinfo-bin")
    if "grpc-status-details-bin" not in metadata:
        assert own is None
        return Reply(code, b"", str(error.details()))
    status = Status.FromString(bytes(metadata["grpc-status-details-bin"]))
    assert (status.code, status.message) == (code, error.details())
    retry_s = retry_of(status)
    assert (None if own is None else RetryInfo.FromString(bytes(own)).retry_delay.seconds) == retry_s
    return Reply(code, b"", status.message, retry_s=retry_s)


def retry_of(status: Status) -> int | None:
    """Seconds of the RetryInfo among the details."""
    for detail in status.details:
        info = RetryInfo()
        if detail.Unpack(info):
            return int(info.retry_delay.seconds)
    return None


def read(reply: httpx.Response, signal: str, kind: str) -> Reply:
    """An HTTP answer of the content type `kind`."""
    assert reply.headers["content-type"] == kind
    if reply.status_code == 200:
        return success(signal, reply.content, json=kind == JSON)
    status = Parse(reply.content, Status()) if kind == JSON else Status.FromString(reply.content)
    after = reply.headers.get("retry-after")
    retry_s = retry_of(status)
    assert (None if after is None else int(after)) == retry_s
    return Reply(status.code, reply.content, status.message, retry_s=retry_s, status=reply.status_code)


def success(signal: str, body: bytes, *, json: bool) -> Reply:
    """A success; a partial one tells a number or a message, else nothing of it is set."""
    response = RESPONSES[signal]()
    if json:
        Parse(body, response)
    else:
        response.ParseFromString(body)
    if not response.HasField("partial_success"):
        return Reply(0, body, status=200)
    ((_, partial),) = response.ListFields()
    rejected = next((value for field, value in partial.ListFields() if field.name.startswith("rejected_")), 0)
    assert rejected or partial.error_message
    return Reply(0, body, partial.error_message, rejected, status=200)


GRPC = Door("grpc", PROTOBUF, "grpc_port")
HTTP = Door("http", PROTOBUF, "otlp_http_port")
HTTP_JSON = Door("http-json", JSON, "otlp_http_port")
WEB = Door("web", PROTOBUF, "web_port")
DOORS = [
    GRPC,
    Door("grpc", PROTOBUF, "grpc_port", "gzip"),
    *(
        Door(f"{name}{suffix}", kind, port, encoding)
        for name, port in (("http", "otlp_http_port"), ("web", "web_port"))
        for suffix, kind in (("", PROTOBUF), ("-json", JSON))
        for encoding in COMPRESS
    ),
]
"""Every way in: 2 of gRPC, and 2 ports x 2 encodings x 3 compressions of HTTP."""
HTTP_DOORS = [door for door in DOORS if door.name != "grpc"]
