"""The web port: routes and what joins them. Errors of /api are JSON with a code, a sentence and the setting."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from mirubato.access.tokens import READ
from mirubato.access.visits import may
from mirubato.errors import BadQuery, QueryError, QueryLimit, QueryTimeout, code_of
from mirubato.limits import LOOKBACK_MS
from mirubato.model.matchers import Matcher
from mirubato.model.samples import Exemplar
from mirubato.model.seams import Newest, Selector
from mirubato.promql.parser import parse_matchers
from mirubato.web.exposition import render
from mirubato.web.history import Deploys, History
from mirubato.web.http_server import AsgiApp, Receive, Send
from mirubato.web.negotiation import negotiate
from mirubato.web.offload import offload
from mirubato.web.openapi import OpenApi
from mirubato.web.page import Page
from mirubato.web.prometheus_answers import refusal
from mirubato.web.prometheus_api import PREFIX, PrometheusApi
from mirubato.web.prometheus_queries import QuerySettings
from mirubato.web.prometheus_rules import Rules

Health = Callable[[], Mapping[str, Any]]
"""What /api/health answers; its `status` is `ok` or what is wrong."""

WRITE_PATH = f"{PREFIX}/write"
"""Where Prometheus pushes to: `remote_write` in its configuration, with the gateway's address before it."""

EVENT_POINTS_PATH = "/api/event-points"
"""Where `mirubato`'s exporter posts to, as it does to a relay Worker."""

_STATUS = {BadQuery: 400, QueryLimit: 422, QueryTimeout: 503}


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the web port is joined to."""

    selector: Selector
    pool: Executor
    query: QuerySettings
    now: Callable[[], int]
    version: str
    health: Health
    own_metrics: Callable[[], bytes]
    otlp: AsgiApp
    remote_write: AsgiApp
    event_points: AsgiApp
    rules: Rules
    deploys: Deploys
    apis: Sequence[Route]
    """Routes of the other APIs, each made by a module of its own."""


class Web:
    """The ASGI application of the web port; it takes OTLP/HTTP and remote write too."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._history = History(rooms.selector, rooms.now, rooms.deploys)
        self._api = PrometheusApi(rooms.selector, rooms.pool, rooms.query, rooms.now, rooms.version, rooms.rules)
        self._pages = Starlette(
            routes=[
                *Page(rooms.version).routes(),
                *OpenApi(rooms.version).routes(),
                Route("/-/healthy", _alive),
                Route("/-/ready", self._ready),
                Route("/metrics", self._own),
                Route("/api/health", self._health),
                Route("/api/metrics", self._metrics),
                Route("/api/prometheus", self._scrape),
                Route("/api/prometheus/federate", self._scrape),
                *self._api.routes(),
                *rooms.apis,
            ],
            middleware=[Middleware(GZipMiddleware, minimum_size=1024, compresslevel=1)],
            exception_handlers={QueryError: _query_error, HTTPException: _http_error, Exception: _defect},
        )

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """All but OTLP, remote write and event points."""
        return self._pages.routes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI: /v1/... is OTLP, two paths take remote write and event points, all else is here."""
        if scope["path"].startswith("/v1/"):
            await self._rooms.otlp(scope, receive, send)
        elif scope["path"] == WRITE_PATH:
            await self._rooms.remote_write(scope, receive, send)
        elif scope["path"] == EVENT_POINTS_PATH:
            await self._rooms.event_points(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    async def _ready(self, _: Request) -> Response:
        ready = self._rooms.health()["status"] == "ok"
        return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503)

    async def _health(self, _: Request) -> Response:
        health = self._rooms.health()
        told = health if may(READ) else {"status": health["status"]}
        return _json(told, 200 if health["status"] == "ok" else 503)

    async def _own(self, _: Request) -> Response:
        body = await offload(self._rooms.pool, self._rooms.own_metrics)
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _metrics(self, request: Request) -> Response:
        budget = self._api.budget(request.query_params)
        return _json(await offload(self._rooms.pool, self._history.answer, dict(request.query_params), budget))

    async def _scrape(self, request: Request) -> Response:
        wanted = negotiate(request.headers.get("accept", ""))
        selectors = [parse_matchers(text) for text in request.query_params.getlist("match[]")]
        body = await offload(self._rooms.pool, self._rendered, selectors, wanted.openmetrics)
        return Response(body, headers={"content-type": wanted.content_type})

    def _rendered(self, selectors: list[tuple[Matcher, ...]], openmetrics: bool) -> bytes:  # noqa: FBT001
        now, selector = self._rooms.now(), self._rooms.selector
        since = now - LOOKBACK_MS + 1
        found: dict[int, Newest] = {}
        wanted: Sequence[tuple[Matcher, ...] | None] = selectors or (None,)
        for matchers in wanted:
            found.update((newest.id, newest) for newest in selector.newest(matchers, since))
        exemplars: dict[int, Exemplar] = {}
        if openmetrics:
            exemplars = {exemplar.series: exemplar for _, exemplar in selector.exemplars(since, now)}
        samples = [found[id_] for id_ in sorted(found)]
        return render(samples, exemplars, openmetrics=openmetrics).encode()


async def _alive(_: Request) -> Response:
    return PlainTextResponse("alive\n")


def _json(data: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS), status, media_type="application/json")


async def _query_error(_: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 422)
    return _json({"code": code_of(error), "message": str(error)}, status)


async def _http_error(request: Request, error: Exception) -> Response:
    """404 and 405, as each part of the tree says such things."""
    assert isinstance(error, HTTPException)
    missing = error.status_code == 404
    path = request.url.path
    message = f"there is nothing at {path}" if missing else f"{path} does not take {request.method}"
    if path.startswith(f"{PREFIX}/"):
        response = refusal("not_found" if missing else "bad_data", message, error.status_code)
    else:
        code = "not_found" if missing else "method_not_allowed"
        response = _json({"code": code, "message": message}, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _defect(_: Request, __: Exception) -> Response:
    """Our own mistake; the server logs the trace."""
    return _json({"code": "internal", "message": "this is a defect of the gateway; its log says more"}, 500)
