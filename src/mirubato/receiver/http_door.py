"""OTLP/HTTP as a plain ASGI application: POST /v1/metrics, /v1/traces, /v1/logs."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mirubato.errors import BadRequest, MirubatoError, Unavailable, Unsupported
from mirubato.otlp.signals import Signal
from mirubato.receiver.handler import Handler, too_large
from mirubato.receiver.replies import JSON, PROTOBUF, error_body, success_body, wire_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATHS = {f"/v1/{signal}": signal for signal in Signal}


class ClientGone(Exception):
    """The client hung up before its request was complete."""


class HttpDoor:
    """Framing of OTLP/HTTP; everything else is the handler's."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        signal = PATHS.get(scope["path"])
        if signal is None:
            await _reply(send, 404, b"OTLP is at POST /v1/metrics, /v1/traces and /v1/logs\n", "text/plain")
        elif scope["method"] != "POST":
            await _reply(send, 405, b"OTLP requests are POST\n", "text/plain", (b"allow", b"POST"))
        else:
            await self._export(signal, _headers(scope), receive, send)

    async def _export(self, signal: Signal, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        kind = headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower().decode("latin-1")
        answer_kind = JSON if kind == JSON else PROTOBUF
        try:
            body = await self._body(headers, receive)
            # An empty request is a success whatever its type: Cloudflare probes a destination with one.
            if body and kind not in (JSON, PROTOBUF):
                raise Unsupported(f"content type {kind[:60]!r} is neither {PROTOBUF} nor {JSON}")
            encoding = headers.get(b"content-encoding", b"").strip().lower().decode("latin-1")
            encoding = "" if encoding == "identity" or not body else encoding
            outcome = await self._handler.export("http", signal, body, encoding=encoding, json=kind == JSON)
            await _reply(send, 200, success_body(signal, outcome, answer_kind), answer_kind)
        except MirubatoError as error:
            retry = (b"retry-after", str(error.retry_after_s).encode()) if isinstance(error, Unavailable) else None
            await _reply(send, wire_of(error).http, error_body(error, answer_kind), answer_kind, retry)
        except ClientGone:
            return

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body, never more than the limit; a length that says more is refused before it is read."""
        limit = self._handler.body_bytes_max
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise BadRequest("bad Content-Length")
        if int(length) > limit:
            raise too_large(limit)
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            return bytes(message.get("body", b""))
        parts, total = [], 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            total += len(parts[-1])
            if total > limit:
                raise too_large(limit)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await receive()


def _headers(scope: Scope) -> dict[bytes, bytes]:
    return dict(scope["headers"])


async def _reply(send: Send, status: int, body: bytes, kind: str, extra: tuple[bytes, bytes] | None = None) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    if extra is not None:
        headers.append(extra)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
