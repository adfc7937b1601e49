"""The yardstick: a naive uvicorn server that decodes metrics with the official classes and counts points.

Nothing is stored, nothing is checked. A machine's speed changes from minute to minute, so the gateway's CPU is
quoted as a multiple of this server's in the same run. `python -m bench.yardstick DIRECTORY` serves on a free
port and writes it into DIRECTORY/yardstick.json.
"""

import gzip
import json
import os
import socket
import sys
from pathlib import Path

import uvicorn
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from starlette.types import Receive, Scope, Send

ANNOUNCEMENT = "yardstick.json"
HEADERS = [(b"content-type", b"application/x-protobuf"), (b"content-length", b"0")]


def count(body: bytes) -> int:
    """Decode an OTLP metrics request with the official classes and count its data points."""
    points = 0
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points += len(getattr(metric, str(metric.WhichOneof("data"))).data_points)
    return points


class Counter:
    """The ASGI application."""

    def __init__(self) -> None:
        self.points = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await read(receive)
        if (b"content-encoding", b"gzip") in scope["headers"]:
            body = gzip.decompress(body)
        self.points += count(body)
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b""})


async def read(receive: Receive) -> bytes:
    """The whole request body."""
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def main() -> None:
    """Serve until SIGTERM."""
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:  # else Nagle waits for delayed ACKs
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        announcement = Path(sys.argv[1]) / ANNOUNCEMENT
        announced = {"pid": os.getpid(), "otlp_http_port": listener.getsockname()[1]}
        announcement.with_suffix(".new").write_text(json.dumps(announced))
        announcement.with_suffix(".new").replace(announcement)
        config = uvicorn.Config(Counter(), log_level="warning", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
