"""POST /client/v4/accounts/{any}/analytics_engine/sql: Analytics Engine's SQL API, over what was written here."""

from collections.abc import Callable
from concurrent.futures import Executor

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mirubato.errors import MirubatoError
from mirubato.local_analytics.engine import NotInstalled
from mirubato.web.offload import offload

_BODY_BYTES_MAX = 64 * 1024


class AnalyticsSql:
    """The statement is the body, or the parameter `query`."""

    def __init__(self, answer: Callable[[str], tuple[str, str]], pool: Executor) -> None:
        self._answer, self._pool = answer, pool

    def routes(self) -> list[Route]:
        """For the web port."""
        return [Route("/client/v4/accounts/{account}/analytics_engine/sql", self._sql, methods=["GET", "POST"])]

    async def _sql(self, request: Request) -> Response:
        text = request.query_params.get("query", "")
        if request.method == "POST":
            body = bytearray()
            async for part in request.stream():
                body += part
                if len(body) > _BODY_BYTES_MAX:
                    return _refusal(413, "too_large", f"a statement has at most {_BODY_BYTES_MAX} bytes")
            text = body.decode(errors="replace") or text
        try:
            answer, kind = await offload(self._pool, self._answer, text)
        except NotInstalled as error:
            return _refusal(501, "not_installed", str(error))
        except MirubatoError as error:
            return _refusal(422, "bad_query", str(error))
        return Response(answer, media_type=kind)


def _refusal(status: int, code: str, message: str) -> Response:
    """Cloudflare's envelope, and beside it what all errors here have."""
    body = {"success": False, "errors": [{"code": status, "message": message}], "code": code, "message": message}
    return Response(orjson.dumps(body), status, media_type="application/json")
