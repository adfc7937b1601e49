"""Logging in on the page, tokens, and the record of changes, as JSON. Who may is decided before (gateway.guarding)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mirubato.access import ledger
from mirubato.access.gate import COOKIE
from mirubato.access.keeper import Keeper
from mirubato.access.logins import Attempts, new_session
from mirubato.access.rules import allows
from mirubato.access.tokens import READ, mint, shown, wanted_of
from mirubato.access.visits import ANONYMOUS, Caller, current
from mirubato.database.state import StateStore
from mirubato.errors import BadRequest, Forbidden, LimitReached, MirubatoError, NotFound, Unauthenticated, code_of
from mirubato.limits import SESSION_MS

_BODY_BYTES_MAX = 16 * 1024
_AUDIT_DEFAULT, _AUDIT_MAX = 100, 1000
_STATUS: Mapping[type[MirubatoError], int] = {
    BadRequest: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    LimitReached: 429,
}

Refresh = Callable[[], Awaitable[None]]
"""Lets a change in state.db be seen at once."""


class AccessApi:
    """Routes over state.db and the book of who may come in."""

    def __init__(self, state: StateStore, keeper: Keeper, refresh: Refresh, now: Callable[[], int]) -> None:
        self._state, self._keeper, self._refresh, self._now = state, keeper, refresh, now
        self._attempts = Attempts()

    def routes(self) -> list[Route]:
        """All routes with their methods."""
        return [
            _route("/api/login", self._login, "POST"),
            _route("/api/logout", self._logout, "POST"),
            _route("/api/me", self._me, "GET"),
            _route("/api/tokens", self._tokens, "GET"),
            _route("/api/tokens", self._create, "POST"),
            _route("/api/tokens/{id}", self._revoke, "DELETE"),
            _route("/api/audit", self._audit, "GET"),
        ]

    async def _login(self, request: Request) -> Response:
        """A token becomes a session in a cookie that no script reads and no other site sends."""
        now = self._now()
        self._attempts.count(request.client.host if request.client else "", now)
        given = (await _document(request)).get("token")
        if not isinstance(given, str) or not given:
            raise BadRequest('the body is {"token": "..."}')
        caller = self._keeper.by_secret(given.strip(), now)
        if not allows(caller.scopes, READ):
            raise Forbidden(f"token {caller.name!r} cannot read, so there is nothing on the page for it")
        session, secret = new_session(caller.id, now)
        await run_in_threadpool(self._state.write, lambda file: ledger.add_session(file, session))
        await self._refresh()
        _now_is(caller)
        response = _json(
            {**_who(caller), "expires_ms": min(session.expires_ms, caller.expires_ms or session.expires_ms)}
        )
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "") == "https"
        response.set_cookie(COOKIE, secret, SESSION_MS // 1000, secure=secure, httponly=True, samesite="strict")
        return response

    async def _logout(self, _: Request) -> Response:
        caller = _caller()
        if caller.session is not None:
            digest = caller.session
            await run_in_threadpool(self._state.write, lambda file: ledger.end_session(file, digest))
            await self._refresh()
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    async def _me(self, _: Request) -> Response:
        caller = _caller()
        return _json({**_who(caller), "expires_ms": caller.expires_ms, "open": self._keeper.open})

    async def _tokens(self, _: Request) -> Response:
        def read() -> list[dict[str, Any]]:
            last = self._state.read(ledger.last_used)
            kept = self._state.read(ledger.tokens)
            return [shown(token, last.get(token.id)) for token in [*self._keeper.fixed, *kept]]

        return _json({"tokens": await run_in_threadpool(read)})

    async def _create(self, request: Request) -> Response:
        asked = await _document(request)
        wanted = wanted_of(
            _words(asked, "scopes") or _words(asked, "scope"),
            _text(asked, "name"),
            _text(asked, "expires"),
            _text(asked, "rate_limit"),
            _words(asked, "budget"),
        )
        token, text = mint(wanted, self._now())
        await run_in_threadpool(self._state.write, lambda file: ledger.add_token(file, token))
        await self._refresh()
        return _json({"token": text, **shown(token, None)}, 201)

    async def _revoke(self, request: Request) -> Response:
        which, now = request.path_params["id"], self._now()
        token = await run_in_threadpool(self._state.read, lambda file: ledger.find_token(file, which))
        await run_in_threadpool(self._state.write, lambda file: ledger.revoke_token(file, token, now))
        await self._refresh()
        return Response(status_code=204)

    async def _audit(self, request: Request) -> Response:
        text = request.query_params.get("limit", str(_AUDIT_DEFAULT))
        if not text.isdecimal() or not 1 <= int(text[:9]) <= _AUDIT_MAX:
            raise BadRequest(f"limit is between 1 and {_AUDIT_MAX}")
        found = await run_in_threadpool(self._state.read, lambda file: ledger.changes(file, int(text)))
        return _json({"changes": [asdict(change) for change in found]})


def _who(caller: Caller) -> dict[str, Any]:
    return {"id": caller.id or None, "name": caller.name, "scopes": sorted(caller.scopes)}


def _caller() -> Caller:
    visit = current()
    return ANONYMOUS if visit is None else visit.caller


def _now_is(caller: Caller) -> None:
    """So that the record of changes says who logged in."""
    visit = current()
    if visit is not None:
        visit.caller = caller


def _route(path: str, answer: Callable[[Request], Awaitable[Response]], method: str) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except MirubatoError as error:
            return _refusal(error)

    return Route(path, endpoint, methods=[method])


def _refusal(error: MirubatoError) -> Response:
    status = _STATUS.get(type(error), 503)
    visit = current()
    body = {"code": code_of(error), "message": str(error), "request_id": visit.request_id if visit else None}
    response = _json(body, status)
    if isinstance(error, LimitReached):
        response.headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, Unauthenticated):
        response.headers["www-authenticate"] = 'Bearer realm="mirubato"'
    return response


def _json(data: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(data), status, {"cache-control": "no-store"}, "application/json")


async def _document(request: Request) -> dict[str, Any]:
    """A JSON object within a bound. A form is refused: that is what a page from elsewhere could send."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _BODY_BYTES_MAX:
            raise BadRequest(f"the body is larger than {_BODY_BYTES_MAX} bytes")
    try:
        document = orjson.loads(bytes(body))
    except orjson.JSONDecodeError as error:
        raise BadRequest("the body is no JSON") from error
    if not isinstance(document, dict):
        raise BadRequest("the body is no JSON object")
    return document


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{name} is a text")
    return value


def _words(asked: Mapping[str, Any], name: str) -> list[str]:
    value = asked.get(name)
    words = [value] if isinstance(value, str) else value if value is not None else []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadRequest(f"{name} is a text or a list of texts")
    return words
