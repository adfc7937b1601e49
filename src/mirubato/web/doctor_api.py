"""GET /api/doctor: what `mirubato doctor` finds, for the page."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mirubato.checkups.finding import PROBLEM, Finding


class DoctorApi:
    """One route over `look`, which blocks, for some seconds where others do not answer."""

    def __init__(self, look: Callable[[], Sequence[Finding]]) -> None:
        self._look = look

    def routes(self) -> list[Route]:
        """For the web port."""
        return [Route("/api/doctor", self._findings, methods=["GET"])]

    async def _findings(self, _: Request) -> Response:
        found = await run_in_threadpool(self._look)
        document = {"ok": all(one.status != PROBLEM for one in found), "checks": [asdict(one) for one in found]}
        return Response(orjson.dumps(document), headers={"cache-control": "no-store"}, media_type="application/json")
