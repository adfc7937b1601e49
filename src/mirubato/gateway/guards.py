"""What stands before each door: asks the gate, refuses in the words of the path, stamps the answer with its id."""

import random
import re
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import orjson

from mirubato.access.gate import Asked, Gate
from mirubato.access.ledger import Change
from mirubato.access.rules import ANYONE, SAFE_METHODS, needed
from mirubato.access.tokens import ADMIN
from mirubato.access.visits import Visit, begin
from mirubato.clock import now_ms
from mirubato.errors import MirubatoError, code_of
from mirubato.receiver.framing import Header, Receive, Scope, Send, headers_of, reply
from mirubato.receiver.grpc_door import Context, abort
from mirubato.receiver.replies import JSON, PROTOBUF, error_body, wire_of
from mirubato.web.app import EVENT_POINTS_PATH, WRITE_PATH
from mirubato.web.http_server import AsgiApp
from mirubato.web.prometheus_api import PREFIX

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FIELDS = {
    b"host": "host",
    b"origin": "origin",
    b"sec-fetch-site": "fetch_site",
    b"authorization": "authorization",
    b"x-api-key": "api_key",
    b"cookie": "cookie",
}
_TEXTS = frozenset({"host", "origin", "fetch_site"})

Count = Callable[[str, str, MirubatoError], None]
"""Told of each refusal: the door, the path, and why."""


def _id_of(given: str | None) -> str:
    """The id that a sender gave its request, or sixteen hex digits: they need to differ, not to be hard to guess."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return f"{random.getrandbits(64):016x}"


class HttpGuard:
    """Before one HTTP application."""

    def __init__(
        self,
        app: AsgiApp,
        gate: Gate,
        record: Callable[[Change], Awaitable[None]],
        count: Count,
    ) -> None:
        self._app, self._gate, self._record, self._count = app, gate, record, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, for HTTP only."""
        asked, request_id = _asked(scope)
        visit = Visit(request_id)
        begin(visit)
        stamped = _stamped(send, request_id)
        try:
            visit.caller = self._gate.admit(asked, now_ms())
        except MirubatoError as error:
            self._count("http", asked.path, error)
            await _refuse(scope, stamped, error, request_id)
            return
        if asked.method not in SAFE_METHODS and needed(asked.method, asked.path) in (ADMIN, ANYONE):
            stamped = self._recorded(scope, stamped, visit)
        await self._app(scope, receive, stamped)

    def _recorded(self, scope: Scope, send: Send, visit: Visit) -> Send:
        """Writes the change down before the answer leaves."""

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                address = (scope.get("client") or ("",))[0]
                who = visit.caller.name
                change = Change(
                    now_ms(), who, scope["method"], scope["path"], message["status"], address, visit.request_id
                )
                await self._record(change)
            await send(message)

        return answer


def _asked(scope: Scope) -> tuple[Asked, str]:
    """What the gate wants to know, and the id of the request: the sender's, or a new one."""
    asked, given = Asked(scope["method"], scope["path"]), None
    for name, value in scope["headers"]:
        field = _FIELDS.get(name)
        if field is not None:
            setattr(asked, field, value.decode("latin-1") if field in _TEXTS else value)
        elif name == b"x-request-id":
            given = value.decode("latin-1")
    return asked, _id_of(given)


def _stamped(send: Send, request_id: str) -> Send:
    header = (b"x-request-id", request_id.encode())

    async def answer(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return answer


async def _refuse(scope: Scope, send: Send, error: MirubatoError, request_id: str) -> None:
    """An error in the form that each path has for errors."""
    kind, body = _body(scope, error, request_id)
    content_type: Header = (b"content-type", kind.encode())
    await reply(send, wire_of(error).http, body, [content_type, *headers_of(error)])


def _body(scope: Scope, error: MirubatoError, request_id: str) -> tuple[str, bytes]:
    path, code, message = scope["path"], code_of(error), str(error)
    if path.startswith("/v1/"):
        sent = dict(scope["headers"]).get(b"content-type", b"").split(b";", 1)[0].strip().lower()
        kind = JSON if sent == JSON.encode() else PROTOBUF
        return kind, error_body(error, kind)
    if path == WRITE_PATH:
        return "text/plain; charset=utf-8", f"{message}\n".encode()
    if path == EVENT_POINTS_PATH:
        return JSON, orjson.dumps({"error": {"code": code, "message": message}})
    if path.startswith(f"{PREFIX}/"):
        return JSON, orjson.dumps({"status": "error", "errorType": code, "error": message})
    return JSON, orjson.dumps({"code": code, "message": message, "request_id": request_id})


class GrpcGuard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # only its stub takes arguments
    """Before the calls of gRPC: it sees the metadata, and no byte of the message."""

    def __init__(self, gate: Gate, count: Count) -> None:
        self._gate, self._count = gate, count

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """The handler of a call, or one that refuses it."""
        found = {"authorization": None, "x-api-key": None, "x-request-id": None}
        for key, value in handler_call_details.invocation_metadata:
            if key in found:
                found[key] = value
        visit = Visit(_id_of(found["x-request-id"]))
        begin(visit)
        try:
            visit.caller = self._gate.admit_call(found["authorization"], found["x-api-key"], now_ms())
        except MirubatoError as error:
            self._count("grpc", handler_call_details.method, error)
            return _refusing(error)
        return await continuation(handler_call_details)


def _refusing(error: MirubatoError) -> Any:
    """As if the message were a stream: then it is not read before the answer."""

    async def refuse(_: Any, context: Context) -> bytes:
        await abort(context, error)

    return grpc.stream_unary_rpc_method_handler(refuse)
