"""Rules that come with the gateway, disabled: to be switched on as they are, or as a start for one's own."""

from collections.abc import Mapping
from typing import Any

from mirubato.alerts.builtins import Scope, meaning

_PREFIX = "template-"
_HOUR_MS = 3_600_000
_SERVICE = "{{ $labels.service_name }}"


def _burn(window_ms: int, short_ms: int, factor: float) -> str:
    """Errors burn the budget of 99.9 % `factor` times too fast, over a long window and still over a short one.

    Source: Google, The Site Reliability Workbook, chapter 5.
    """
    long, short = (meaning("error_rate", Scope(window)).query for window in (window_ms, short_ms))
    return f"({long}) > {factor * 0.001:g} and ({short}) > {factor * 0.001:g}"


def _of_metric(name: str, metric: str, condition: str, threshold: float, severity: str, summary: str) -> dict[str, Any]:
    return {
        "name": name,
        "metric": metric,
        "condition": condition,
        "threshold": threshold,
        "window_minutes": 5,
        "severity": severity,
        "annotations": {"summary": summary},
    }


def _of_expr(name: str, expr: str, severity: str, summary: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "expr": expr, "severity": severity, "annotations": {"summary": summary}, **more}


_TEMPLATES: Mapping[str, dict[str, Any]] = {
    "high-error-rate": _of_metric(
        "HighErrorRate",
        "error_rate",
        "greater_than",
        0.05,
        "critical",
        f"{_SERVICE}: {{{{ $value | humanizePercentage }}}} of the requests fail",
    )
    | {"for": "2m"},
    "high-p95": _of_metric(
        "HighResponseTime",
        "response_time_p95",
        "greater_than",
        1000,
        "warning",
        f'{_SERVICE}: one of twenty requests takes longer than {{{{ $value | printf "%.0f" }}}} ms',
    )
    | {"for": "5m"},
    "low-success-rate": _of_metric(
        "LowSuccessRate",
        "success_rate",
        "less_than",
        0.95,
        "critical",
        f"{_SERVICE}: only {{{{ $value | humanizePercentage }}}} of the requests succeed",
    )
    | {"for": "2m"},
    "high-queue-depth": _of_metric(
        "HighQueueDepth",
        "queue_depth",
        "greater_than",
        1000,
        "warning",
        f"{_SERVICE}: {{{{ $value | humanize }}}} messages wait in the queue",
    )
    | {"for": "5m"},
    "cost-today": _of_metric(
        "CostToday",
        "cost_today",
        "greater_than",
        10,
        "warning",
        'today has cost {{ $value | printf "%.2f" }} USD so far',
    ),
    "cost-month": _of_metric(
        "CostMonthProjected",
        "cost_month_projected",
        "greater_than",
        100,
        "warning",
        'this month will cost about {{ $value | printf "%.2f" }} USD',
    ),
    "budget": _of_metric(
        "BudgetNearlyGone",
        "budget_hours_left",
        "less_than",
        24,
        "critical",
        'the budget is gone in {{ $value | printf "%.0f" }} hours',
    ),
    "missing-data": _of_expr(
        "ServiceSilent",
        "time() - max by (service_name) (max_over_time(timestamp(target_info)[1h:1m])) > 300"
        " or time() - max by (service_name) (max_over_time("
        "timestamp(http_server_request_duration_seconds_count)[1h:1m])) > 300",
        "warning",
        f"nothing has come from {_SERVICE} for {{{{ $value | humanizeDuration }}}}",
    ),
    "slo-burn-fast": _of_expr(
        "ErrorBudgetBurnsFast",
        _burn(_HOUR_MS, _HOUR_MS // 12, 14.4),
        "critical",
        f"{_SERVICE}: two per cent of the month's error budget (99.9 %) in an hour; "
        "{{ $value | humanizePercentage }} fail",
    ),
    "slo-burn-slow": _of_expr(
        "ErrorBudgetBurnsSlowly",
        _burn(6 * _HOUR_MS, _HOUR_MS // 2, 6),
        "warning",
        f"{_SERVICE}: five per cent of the month's error budget (99.9 %) in six hours; "
        "{{ $value | humanizePercentage }} fail",
    ),
    "gateway-health": _of_expr(
        "GatewayUnwell",
        "mirubato_healthy == 0 or absent(mirubato_healthy) or rate(mirubato_rule_failures_total[10m]) > 0",
        "critical",
        "the gateway cannot store what it is sent, or rules of it fail; /api/health and /api/alerts say more",
        **{"for": "2m"},
    ),
    "probe-down": _of_expr(
        "ProbeDown",
        "probe_success == 0",
        "critical",
        "{{ $labels.instance }} does not answer as it should",
        **{"for": "2m"},
    ),
}

TEMPLATES: Mapping[str, Mapping[str, Any]] = {
    f"{_PREFIX}{key}": {**body, "enabled": False} for key, body in _TEMPLATES.items()
}
"""Id -> the rule as JSON of the API."""
