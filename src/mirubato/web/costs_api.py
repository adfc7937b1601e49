"""GET /api/costs and what belongs to it: what-if, budgets, prices, reports."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mirubato.costs.shelf import CONTENT_TYPES, Kept
from mirubato.errors import BadField, BadQuery, NotFound, Unavailable, code_of
from mirubato.web.offload import offload
from mirubato.web.parameters import flag

_BODY_BYTES_MAX = 65_536
_BUDGET_USD_MAX = Decimal(1_000_000_000)

Handler = Callable[[Request], Awaitable[Response]]


class CostsRoom(Protocol):
    """What answers; all methods block, and raise MirubatoError."""

    def answer(self, month: str, *, breakdown: bool) -> dict[str, Any]:
        """The costs of the period that begins in a month; of the current one without."""
        ...

    def what_if(self, document: Any) -> dict[str, Any]:
        """A month with other settings."""
        ...

    def budgets(self) -> dict[str, Any]:
        """Budgets, how they stand, and which stages were crossed."""
        ...

    def set_budgets(self, budgets: Mapping[str, Decimal | None]) -> None:
        """Set some; None takes one away. BadField for a product that is none."""
        ...

    def prices(self, day: str, plan: str) -> dict[str, Any]:
        """The price table, or what is in force on a day."""
        ...

    def reports(self) -> Sequence[Kept]:
        """All reports that are kept."""
        ...

    def report(self, name: str) -> bytes:
        """One of them; NotFound."""
        ...

    def write_report(self, month: str) -> Sequence[str]:
        """Make the report of a month (the last that is complete, without one); the names of its files."""
        ...


class CostsApi:
    """Routes of the web port."""

    def __init__(self, room: CostsRoom, pool: Executor) -> None:
        self._room, self._pool = room, pool

    def routes(self) -> list[Route]:
        """For the web port."""
        return [
            Route("/api/costs", _answered(self._costs)),
            Route("/api/costs/what-if", _answered(self._what_if), methods=["POST"]),
            Route("/api/costs/budgets", _answered(self._budgets), methods=["GET"]),
            Route("/api/costs/budgets", _answered(self._set_budgets), methods=["PUT"]),
            Route("/api/costs/prices", _answered(self._prices)),
            Route("/api/costs/reports", _answered(self._reports), methods=["GET"]),
            Route("/api/costs/reports", _answered(self._write_report), methods=["POST"]),
            Route("/api/costs/reports/{name}", _answered(self._report)),
        ]

    async def _costs(self, request: Request) -> Response:
        asked = request.query_params
        breakdown = flag(asked, "breakdown")

        def answer() -> dict[str, Any]:
            return self._room.answer(asked.get("month", ""), breakdown=breakdown)

        return _json(await offload(self._pool, answer))

    async def _what_if(self, request: Request) -> Response:
        return _json(await offload(self._pool, self._room.what_if, await _document(request)))

    async def _budgets(self, _: Request) -> Response:
        return _json(await offload(self._pool, self._room.budgets))

    async def _set_budgets(self, request: Request) -> Response:
        budgets = budgets_of(await _document(request))
        await offload(self._pool, self._room.set_budgets, budgets)
        return _json(await offload(self._pool, self._room.budgets))

    async def _prices(self, request: Request) -> Response:
        asked = request.query_params
        return _json(await offload(self._pool, self._room.prices, asked.get("on", ""), asked.get("plan", "")))

    async def _reports(self, _: Request) -> Response:
        kept = await offload(self._pool, self._room.reports)
        rows = [
            {"name": one.name, "bytes": one.size, "written_ms": one.written, "url": f"/api/costs/reports/{one.name}"}
            for one in kept
        ]
        return _json({"reports": rows})

    async def _write_report(self, request: Request) -> Response:
        body = await _body(request)
        document = _parsed(body) if body else {}
        month = document.get("month", "") if isinstance(document, dict) else None
        if not isinstance(month, str):
            raise BadField("month", "must be a month such as 2026-11")
        names = await offload(self._pool, self._room.write_report, month or request.query_params.get("month", ""))
        return _json({"written": names}, 201)

    async def _report(self, request: Request) -> Response:
        name = request.path_params["name"]
        body = await offload(self._pool, self._room.report, name)
        kind = name.rpartition(".")[2]
        headers = {"x-content-type-options": "nosniff"}
        if kind == "html":
            headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
        return Response(body, media_type=CONTENT_TYPES[kind], headers=headers)


def budgets_of(document: Any) -> dict[str, Decimal | None]:
    """`{"budgets": {"all": 20, "workers": 10, "kv": null}}` -> USD by product, '' for all; BadField otherwise."""
    given = document.get("budgets") if isinstance(document, dict) else None
    if not isinstance(given, dict) or not given:
        raise BadField("budgets", 'must be an object such as {"all": 20, "workers": null}')
    return {"" if product == "all" else product: _budget(product, value) for product, value in given.items()}


def _budget(product: str, value: Any) -> Decimal | None:
    if value is None:
        return None
    try:
        usd = Decimal(str(value)) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except InvalidOperation:
        usd = None
    if usd is None or not usd.is_finite() or not 0 < usd <= _BUDGET_USD_MAX:
        raise BadField(f"budgets.{product[:40]}", "must be USD above 0, or null for none")
    return usd


async def _document(request: Request) -> Any:
    return _parsed(await _body(request))


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _BODY_BYTES_MAX:
            raise BadQuery(f"the body is larger than {_BODY_BYTES_MAX} bytes")
    return bytes(body)


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadQuery(f"the body is not JSON: {error}") from error


def _json(data: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(data), status, media_type="application/json")


def _answered(handler: Handler) -> Handler:
    """The errors of the costs as JSON."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except BadField as error:
            return _json({"code": code_of(error), "message": str(error), "field": error.field}, 400)
        except NotFound as error:
            return _json({"code": code_of(error), "message": str(error)}, 404)
        except Unavailable as error:
            return _json({"code": code_of(error), "message": str(error)}, 503)
        except BadQuery as error:
            return _json({"code": code_of(error), "message": str(error)}, 400)

    return answer
