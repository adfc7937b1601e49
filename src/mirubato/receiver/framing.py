"""What the HTTP doors share: reading a body within a bound, and answering."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mirubato.errors import MirubatoError, Unauthenticated, Unavailable, WrongMethod
from mirubato.receiver.handler import too_large

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Header = tuple[bytes, bytes]


class ClientGone(Exception):
    """The client hung up before its request was complete."""


async def read_body(headers: dict[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The whole body, never more than `limit` bytes; a length that says more is refused before it is read."""
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


def encoding_of(headers: dict[bytes, bytes]) -> str:
    """The Content-Encoding; empty if there is none."""
    encoding = headers.get(b"content-encoding", b"").strip().lower().decode("latin-1")
    return "" if encoding == "identity" else encoding


def headers_of(error: MirubatoError) -> list[Header]:
    """What an error says in a header of its own."""
    if isinstance(error, Unauthenticated):
        return [(b"www-authenticate", b'Bearer realm="mirubato"')]
    if isinstance(error, Unavailable):
        return [(b"retry-after", str(error.retry_after_s).encode())]
    return [(b"allow", b"POST")] if isinstance(error, WrongMethod) else []


async def reply(send: Send, status: int, body: bytes, headers: list[Header]) -> None:
    """Send an answer."""
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
