"""OTLP/gRPC: generic handlers that take raw bytes, so that bad bytes answer INVALID_ARGUMENT and not INTERNAL."""

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

import grpc
import grpc.aio

from mirubato.config import address
from mirubato.errors import MirubatoError
from mirubato.otlp.signals import Signal
from mirubato.receiver.handler import Handler
from mirubato.receiver.replies import PROTOBUF, retry_info, status, success_body, wire_of

SERVICES = {
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
}

# Go clients read RetryInfo from the details of the status, Python clients from a key of its own.
_STATUS_KEY = "grpc-status-details-bin"
_RETRY_KEY = "google.rpc.retryinfo-bin"

Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcDoor:
    """A grpc.aio server with the three Export methods."""

    def __init__(
        self,
        handler: Handler,
        guards: Sequence["grpc.aio.ServerInterceptor[bytes, bytes]"] = (),
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """`guards` see each call before its message; with `credentials` the port speaks TLS."""
        self._credentials = credentials
        self._server = grpc.aio.server(
            interceptors=guards,
            options=[
                ("grpc.max_receive_message_length", handler.body_bytes_max),
                ("grpc.so_reuseport", 0),  # a second gateway on the port is an error, not a coin toss
            ],
        )
        for signal, service in SERVICES.items():
            method = grpc.unary_unary_rpc_method_handler(_export(handler, signal))
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
        self.port = 0

    def bind(self, host: str, port: int) -> None:
        """Take `port` (0: any free one); OSError if that cannot be."""
        where = address(host, port)
        try:
            if self._credentials is None:
                self.port = self._server.add_insecure_port(where)
            else:
                self.port = self._server.add_secure_port(where, self._credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {where} for OTLP/gRPC: {_why_not(host, port) or error}") from error

    async def start(self) -> None:
        """Begin to serve."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Take no new calls; let those under way finish for `grace_s` seconds."""
        await self._server.stop(grace_s)


def _why_not(host: str, port: int) -> str | None:
    """What the system says about listening there; gRPC tells only that it failed."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        return str(error.strerror).partition(" (while")[0]
    return None


def _export(handler: Handler, signal: Signal) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def export(body: bytes, context: Context) -> bytes:
        try:
            outcome = await handler.export("grpc", signal, body)
        except MirubatoError as error:
            await abort(context, error)
        return success_body(signal, outcome, PROTOBUF)

    return export


async def abort(context: Context, error: MirubatoError) -> NoReturn:
    """End a call with what an error is on this wire."""
    metadata: list[tuple[str, str | bytes]] = [(_STATUS_KEY, status(error).SerializeToString())]
    retry = retry_info(error)
    if retry is not None:
        metadata.append((_RETRY_KEY, retry.SerializeToString()))
    await context.abort(wire_of(error).grpc, str(error), tuple(metadata))
