"""What the page asks beside the APIs that others use too: the dashboard, the inbox, and what happens as it happens."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mirubato.web.dashboard import Dashboard
from mirubato.web.offload import offload
from mirubato.web.prometheus_queries import QuerySettings

_TICK_S = 2.0
# Pages that listen at once; one more gets 503 and asks again.
_LISTENERS_MAX = 100


class PageApi:
    """GET /api/dashboard, /api/inbox, /api/events."""

    def __init__(
        self,
        dashboard: Dashboard,
        query: QuerySettings,
        pool: Executor,
        inbox: Callable[[], list[dict[str, Any]]],
        pulse: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._dashboard, self._query, self._pool, self._inbox, self._pulse = dashboard, query, pool, inbox, pulse
        self._listeners = 0

    def routes(self) -> list[Route]:
        """For the web port."""
        return [
            Route("/api/dashboard", self._answer),
            Route("/api/inbox", self._requests),
            Route("/api/events", self._events),
        ]

    async def _answer(self, request: Request) -> Response:
        budget = self._query.budget(self._query.timeout)
        parameters = dict(request.query_params)
        return _json(await offload(self._pool, self._dashboard.answer, parameters, budget))

    async def _requests(self, _: Request) -> Response:
        return _json({"requests": self._inbox()})

    async def _events(self, _: Request) -> Response:
        if self._listeners >= _LISTENERS_MAX:
            message = f"{_LISTENERS_MAX} pages are listening already"
            return _json({"code": "overloaded", "message": message}, 503)
        return StreamingResponse(self._ticks(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    async def _ticks(self) -> AsyncIterator[bytes]:
        """Until the page goes away; the server ends what is left when it stops."""
        self._listeners += 1
        try:
            while True:
                yield b"event: tick\ndata: " + orjson.dumps(self._pulse()) + b"\n\n"
                await asyncio.sleep(_TICK_S)
        finally:
            self._listeners -= 1


def _json(data: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(data), status, media_type="application/json")
