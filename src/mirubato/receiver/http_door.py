"""OTLP/HTTP as a plain ASGI application: POST /v1/metrics, /v1/traces, /v1/logs."""

from mirubato.errors import MirubatoError, NotFound, Unsupported, WrongMethod
from mirubato.model.seams import Outcome
from mirubato.otlp.signals import Signal
from mirubato.receiver.framing import (
    ClientGone,
    Header,
    Receive,
    Scope,
    Send,
    encoding_of,
    headers_of,
    read_body,
    reply,
)
from mirubato.receiver.handler import Handler
from mirubato.receiver.replies import JSON, PROTOBUF, error_body, success_body, wire_of

PATHS = {f"/v1/{signal}": signal for signal in Signal}


class HttpDoor:
    """Framing of OTLP/HTTP; everything else is the handler's."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, for HTTP only."""
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower().decode("latin-1")
        answer_kind = JSON if kind == JSON else PROTOBUF
        content_type: Header = (b"content-type", answer_kind.encode())
        try:
            signal = _signal_of(scope)
            outcome = await self._export(signal, kind, headers, receive)
            await reply(send, 200, success_body(signal, outcome, answer_kind), [content_type])
        except MirubatoError as error:
            body = error_body(error, answer_kind)
            await reply(send, wire_of(error).http, body, [content_type, *headers_of(error)])
        except ClientGone:
            return

    async def _export(self, signal: Signal, kind: str, headers: dict[bytes, bytes], receive: Receive) -> Outcome:
        try:
            body = await read_body(headers, receive, self._handler.body_bytes_max)
            # An empty request is a success whatever its type: Cloudflare probes a destination with one.
            if body and kind not in (JSON, PROTOBUF):
                raise Unsupported(f"content type {kind[:60]!r} is neither {PROTOBUF} nor {JSON}")
        except MirubatoError as error:
            self._handler.refused("http", signal, 0, error)
            raise
        encoding = encoding_of(headers) if body else ""
        return await self._handler.export("http", signal, body, encoding=encoding, json=kind == JSON)


def _signal_of(scope: Scope) -> Signal:
    signal = PATHS.get(scope["path"])
    if signal is None:
        raise NotFound(f"OTLP is at POST {', '.join(PATHS)}")
    if scope["method"] != "POST":
        raise WrongMethod("OTLP requests are POST")
    return signal
