"""OTLP/HTTP as a plain ASGI application: POST /v1/metrics, /v1/traces, /v1/logs."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mirubato.errors import MirubatoError, NotFound, Unavailable, Unsupported, WrongMethod
from mirubato.model.seams import Outcome
from mirubato.otlp.signals import Signal
from mirubato.receiver.handler import Handler, too_large
from mirubato.receiver.replies import JSON, PROTOBUF, error_body, success_body, wire_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Header = tuple[bytes, bytes]

PATHS = {f"/v1/{signal}": signal for signal in Signal}


class ClientGone(Exception):
    """The client hung up before its request was complete."""


class HttpDoor:
    """Framing of OTLP/HTTP; everything else is the handler's."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, for HTTP only."""
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower().decode("latin-1")
        answer_kind = JSON if kind == JSON else PROTOBUF
        try:
            signal = _signal_of(scope)
            outcome = await self._export(signal, kind, headers, receive)
            await _reply(send, 200, success_body(signal, outcome, answer_kind), answer_kind)
        except MirubatoError as error:
            await _reply(send, wire_of(error).http, error_body(error, answer_kind), answer_kind, _header_of(error))
        except ClientGone:
            return

    async def _export(self, signal: Signal, kind: str, headers: dict[bytes, bytes], receive: Receive) -> Outcome:
        try:
            body = await self._body(headers, receive)
            # An empty request is a success whatever its type: Cloudflare probes a destination with one.
            if body and kind not in (JSON, PROTOBUF):
                raise Unsupported(f"content type {kind[:60]!r} is neither {PROTOBUF} nor {JSON}")
        except MirubatoError as error:
            self._handler.counts.requests["http", signal, type(error).__name__] += 1
            raise
        encoding = headers.get(b"content-encoding", b"").strip().lower().decode("latin-1")
        encoding = "" if encoding == "identity" or not body else encoding
        return await self._handler.export("http", signal, body, encoding=encoding, json=kind == JSON)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body, never more than the limit; a length that says more is refused before it is read."""
        limit = self._handler.body_bytes_max
        if int(headers.get(b"content-length", b"0")) > limit:
            raise too_large(limit)
        parts, total, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            total += len(parts[-1])
            if total > limit:
                raise too_large(limit)
            more = message.get("more_body", False)
        return b"".join(parts)


def _signal_of(scope: Scope) -> Signal:
    signal = PATHS.get(scope["path"])
    if signal is None:
        raise NotFound(f"OTLP is at POST {', '.join(PATHS)}")
    if scope["method"] != "POST":
        raise WrongMethod("OTLP requests are POST")
    return signal


def _header_of(error: MirubatoError) -> Header | None:
    """What an error says in a header of its own."""
    if isinstance(error, Unavailable):
        return b"retry-after", str(error.retry_after_s).encode()
    return (b"allow", b"POST") if isinstance(error, WrongMethod) else None


async def _reply(send: Send, status: int, body: bytes, kind: str, extra: Header | None = None) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    if extra is not None:
        headers.append(extra)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
