"""The Prometheus HTTP API under /api/prometheus/api/v1. Source: prometheus, docs/querying/api.md."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mirubato.model.seams import Selector
from mirubato.promql.query import QueryBudget
from mirubato.web.offload import offload
from mirubato.web.parameters import Parameters, duration_ms, read_parameters
from mirubato.web.prometheus_answers import Answer, envelope, failure, refusal
from mirubato.web.prometheus_lists import Lists
from mirubato.web.prometheus_queries import Queries, QuerySettings
from mirubato.web.prometheus_rules import Rules
from mirubato.web.prometheus_status import Status, constant

PREFIX = "/api/prometheus/api/v1"

Endpoint = Callable[[Parameters, QueryBudget], Answer]
"""Called in a thread of the pool."""


class PrometheusApi:
    """Endpoints over a selector; each request is answered in a thread of `pool`."""

    def __init__(
        self,
        selector: Selector,
        pool: Executor,
        settings: QuerySettings,
        now: Callable[[], int],
        version: str,
        rules: Rules,
    ) -> None:
        self._pool, self._settings, self._rules = pool, settings, rules
        self._queries = Queries(selector, settings, now)
        self._lists = Lists(selector, now)
        self._status = Status(selector, now, version)

    def routes(self) -> list[Route]:
        """All routes with their methods: GET, and where Prometheus takes forms, POST."""
        both = {
            "query": self._queries.query,
            "query_range": self._queries.query_range,
            "query_exemplars": self._queries.query_exemplars,
            "format_query": self._queries.format_query,
            "parse_query": self._queries.parse_query,
            "series": self._lists.series,
            "labels": self._lists.labels,
        }
        # No status/flags: Grafana's older alerting page takes whatever answers there for Thanos.
        get: dict[str, Endpoint] = {
            "label/{name}/values": self._lists.label_values,
            "metadata": self._lists.metadata,
            "rules": self._rules.rules,
            "alerts": self._rules.alerts,
            "alertmanagers": constant({"activeAlertmanagers": [], "droppedAlertmanagers": []}),
            "targets": constant({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}}),
            "targets/metadata": constant([]),
            "scrape_pools": constant({"scrapePools": []}),
            "status/buildinfo": self._status.buildinfo,
            "status/runtimeinfo": self._status.runtimeinfo,
            "status/config": self._status.config,
            "status/tsdb": self._status.tsdb,
        }
        return [
            *(self._route(path, endpoint, ["GET", "POST"]) for path, endpoint in both.items()),
            *(self._route(path, endpoint, ["GET"]) for path, endpoint in get.items()),
        ]

    def budget(self, parameters: Mapping[str, str]) -> QueryBudget:
        """A query's deadline and bounds; the time that it waits for a thread counts."""
        return self._settings.budget(duration_ms(parameters, "timeout", self._settings.timeout))

    def _route(self, path: str, endpoint: Endpoint, methods: list[str]) -> Route:
        async def answer(request: Request) -> Response:
            try:
                parameters = await read_parameters(request)
                budget = self.budget(parameters.single)
            except ClientDisconnect:
                return _gone()
            except Exception as error:  # noqa: BLE001  (Grafana shows only what comes in the envelope)
                return failure(error)
            work = offload(self._pool, _answered, endpoint, parameters, budget)
            return await _unless_gone(request, work, budget)

        return Route(f"{PREFIX}/{path}", answer, methods=methods)


def _answered(endpoint: Endpoint, parameters: Parameters, budget: QueryBudget) -> Response:
    try:
        return envelope(endpoint(parameters, budget))
    except Exception as error:  # noqa: BLE001  (as above)
        return failure(error)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Response], budget: QueryBudget) -> Response:
    """What the work yields. Where the client hangs up first, the work ends at its next look at the deadline."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else _gone()
    finally:
        budget.deadline_s = 0
        working.cancel()
        leaving.cancel()


async def _hang_up(request: Request) -> None:
    """Until the client is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _gone() -> Response:
    """Nobody reads it; the status is the one that Prometheus gives."""
    return refusal("canceled", "the client hung up", 499)
