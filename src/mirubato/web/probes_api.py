"""GET /api/probes: the addresses that are checked, and what became of the last check."""

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mirubato.probes.rounds import Standing


class ProbesApi:
    """Answers from memory."""

    def __init__(self, standings: Sequence[Standing]) -> None:
        self._standings = standings

    def routes(self) -> list[Route]:
        """For the web port."""
        return [Route("/api/probes", self._answer)]

    async def _answer(self, _: Request) -> Response:
        return Response(orjson.dumps({"probes": entries(self._standings)}), media_type="application/json")


def entries(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """As JSON; the fields of the last check are null before the first."""
    return [
        {
            "name": one.target.name,
            "target": one.target.instance,
            "success": one.last.success if one.last else None,
            "status": one.last.status if one.last else None,
            "duration_ms": one.last.duration_s * 1000 if one.last else None,
            "certificate_expiry": one.last.certificate_expiry_s if one.last else None,
            "error": one.last.error if one.last else None,
            "time_ms": one.last.time_ms if one.last else None,
            "last_success_ms": one.last_success_ms,
            "checks": one.checks,
            "failures": one.failures,
            "missed": one.missed,
        }
        for one in standings
    ]
