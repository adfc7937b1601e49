"""Joins the page's API to the rooms that it tells of."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from mirubato.clock import now_ms
from mirubato.model.seams import Selector
from mirubato.receiver.handler import Handler
from mirubato.web.dashboard import Dashboard, Extra
from mirubato.web.page_api import PageApi
from mirubato.web.prometheus_queries import QuerySettings


def page_api(
    selector: Selector,
    query: QuerySettings,
    pool: Executor,
    handler: Handler,
    newest: Callable[[], int | None],
    extras: Mapping[str, Extra],
) -> PageApi:
    """`newest` answers the time of the newest sample, ms."""

    def pulse() -> Mapping[str, Any]:
        accepted = {str(signal): count for signal, count in list(handler.counts.accepted.items())}
        return {"now_ms": now_ms(), "last_sample_ms": newest(), "accepted": accepted}

    return PageApi(Dashboard(selector, now_ms, extras), query, pool, handler.inbox.last, pulse)
