"""Joins the page's API to the rooms that it tells of."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from mirubato.alerts.seams import ActiveAlert
from mirubato.clock import now_ms
from mirubato.model.seams import Selector
from mirubato.receiver.handler import Handler
from mirubato.web.dashboard import Dashboard, Extra
from mirubato.web.page_api import PageApi
from mirubato.web.prometheus_queries import QuerySettings

_ALERTS_MAX = 100


def active_alerts(active: Callable[[], Sequence[ActiveAlert]]) -> Extra:
    """What /api/dashboard tells of alerts: how many fire, and the newest of them."""

    def told(_start_ms: int, _end_ms: int) -> dict[str, Any]:
        alerts = sorted(active(), key=lambda alert: (alert.state != "firing", -alert.active_since_ms))
        states = Counter(alert.state for alert in alerts)
        return {
            "firing": states["firing"],
            "pending": states["pending"],
            "active": [
                {
                    "id": alert.id,
                    "rule_id": alert.rule_id,
                    "name": alert.labels.get("alertname", ""),
                    "severity": alert.labels.get("severity", ""),
                    "state": alert.state,
                    "since_ms": alert.active_since_ms,
                    "value": alert.value if math.isfinite(alert.value) else None,
                    "labels": dict(alert.labels),
                }
                for alert in alerts[:_ALERTS_MAX]
            ],
        }

    return told


def page_api(
    selector: Selector,
    query: QuerySettings,
    pool: Executor,
    handler: Handler,
    newest: Callable[[], int | None],
    firing: Callable[[], int],
    extras: Mapping[str, Extra],
) -> PageApi:
    """`newest` answers the time of the newest sample, ms; `firing` how many alerts fire."""

    def pulse() -> Mapping[str, Any]:
        accepted = {str(signal): count for signal, count in list(handler.counts.accepted.items())}
        return {"now_ms": now_ms(), "last_sample_ms": newest(), "accepted": accepted, "firing": firing()}

    return PageApi(Dashboard(selector, now_ms, extras), query, pool, handler.inbox.last, pulse)
