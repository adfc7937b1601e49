"""The two servers under load: the gateway and the yardstick."""

import sys
from typing import NamedTuple

from bench.over_grpc import GrpcConnection, GzipGrpcConnection
from bench.over_http import GzipHttpConnection, HttpConnection
from bench.processes import TOP, Program
from bench.sending import Connect
from bench.yardstick import ANNOUNCEMENT

YARDSTICK = Program(
    "yardstick",
    (sys.executable, "-m", "bench.yardstick", "{data}"),
    ANNOUNCEMENT,
    {"PYTHONPATH": str(TOP)},
)
GATEWAY_COMMAND = (sys.executable, "-m", "mirubato")
GATEWAY_ARGUMENTS = (
    *("gateway", "--data-dir", "{data}"),
    *("--grpc-port", "0", "--otlp-http-port", "0", "--web-port", "0"),
)


def gateway(command: tuple[str, ...] = GATEWAY_COMMAND) -> Program:
    """The gateway with default settings on free ports; `command` is what stands before `gateway`."""
    return Program("gateway", command + GATEWAY_ARGUMENTS, "gateway.json")


class Transport(NamedTuple):
    """A way for a request to reach a server."""

    name: str
    body: str
    port: str
    connect: Connect

    @property
    def compressed(self) -> bool:
        """Whether bodies are gzipped beforehand."""
        return self.body == "gzip"


HTTP = Transport("HTTP", "plain", "otlp_http_port", HttpConnection)
HTTP_GZIP = Transport("HTTP", "gzip", "otlp_http_port", GzipHttpConnection)
GRPC = Transport("gRPC", "plain", "grpc_port", GrpcConnection)
GRPC_GZIP = Transport("gRPC", "gzip", "grpc_port", GzipGrpcConnection)
