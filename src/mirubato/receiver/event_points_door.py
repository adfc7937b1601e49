"""Event points over HTTP, as a plain ASGI application: what `mirubato`'s exporter posts when no Worker is near."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from mirubato.analytics_engine.event_points import EventPoint, current_limits
from mirubato.analytics_engine.layout import default_layout
from mirubato.errors import MirubatoError, Unsupported, WrongMethod
from mirubato.otlp.event_points import Taken, take
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
from mirubato.receiver.handler import Handler, explain
from mirubato.receiver.replies import JSON, wire_of

_CONTENT: Header = (b"content-type", JSON.encode())


Keep = Callable[[str, Sequence[EventPoint]], Awaitable[None]]
"""(dataset, points): kept as they came, on disk when it answers."""


class EventPointsDoor:
    """Framing of `POST /api/event-points`; what was measured takes the way of OTLP from there, and all is kept."""

    def __init__(self, handler: Handler, keep: Keep) -> None:
        self._handler, self._keep = handler, keep
        self._layout, self._limits = default_layout(), current_limits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, for HTTP only."""
        try:
            answer = await self._written(scope, receive)
        except MirubatoError as error:
            code = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in type(error).__name__)
            body = {"error": {"code": code.strip("_"), "message": str(error)}}
            await reply(send, wire_of(error).http, orjson.dumps(body), [_CONTENT, *headers_of(error)])
        except ClientGone:
            return
        else:
            await reply(send, 200, orjson.dumps(answer), [_CONTENT])

    async def _written(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        """How many points were stored, and which were not and why."""
        if scope["method"] != "POST":
            raise WrongMethod("event points are sent with POST")
        headers = dict(scope["headers"])
        if encoding := encoding_of(headers):
            raise Unsupported(f"content encoding {encoding[:40]!r}: event points come as they are")
        taken = take(await read_body(headers, receive, self._handler.body_bytes_max), self._layout, self._limits)
        rejected: list[dict[str, Any]] = [
            {"position": position, "code": "bad_point", "message": message} for position, message in taken.rejected
        ]
        return {"written": await self._stored(taken, rejected), "rejected": rejected}

    async def _stored(self, taken: Taken, rejected: list[dict[str, Any]]) -> int:
        """How many points were stored; appends to `rejected` what the samples' rules do not let in."""
        written = len(taken.points) - len(taken.readings)
        if taken.readings:
            outcome = await self._handler.export("event_points", Signal.METRICS, taken.request())
            written += outcome.accepted
            # Which points they came from is not known any more: the series of several may share a reason.
            reason: dict[str, Any] = {"position": None, "code": "rejected", "message": explain(outcome)}
            rejected += [reason] * outcome.rejected
        if taken.points:
            await self._keep(taken.dataset, taken.points)
        return written
