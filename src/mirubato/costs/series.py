"""Costs as series: one OTLP request a minute, so that rules, dashboards and PromQL have them. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Gauge,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from mirubato.costs.accounts import Account, Accounts

_NS_PER_MS = 1_000_000
_SERVICE = "mirubato-gateway"

Value = tuple[float, dict[str, str]]


def points_request(points: Mapping[str, int], now: int, started: int) -> bytes:
    """The event points taken by dataset since `started` (ms)."""
    counted = [(float(count), {"dataset": dataset}) for dataset, count in points.items()]
    return _request([_counter("mirubato_event_points", "Event points taken", counted, now, started)])


def request(accounts: Accounts, account: Account) -> bytes:
    """The gauges of an account, at its time."""
    return _request([_gauge(name, help_, values, account.now) for name, help_, values in _gauges(accounts, account)])


def _request(metrics: Sequence[Metric | None]) -> bytes:
    who = Resource(attributes=[_attribute("service.name", _SERVICE)])
    scope = ScopeMetrics(metrics=[metric for metric in metrics if metric is not None])
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=who, scope_metrics=[scope])]
    ).SerializeToString()


def _gauges(accounts: Accounts, account: Account) -> Iterable[tuple[str, str, Sequence[Value]]]:
    projection = account.projection
    products = account.bill.by_product(accounts.table.products())
    billed, listed = accounts.monitoring(account)
    hours = [one.hours_left for one in account.budgets]
    names = [(one, {"product": one.product or "all"}) for one in account.budgets]
    yield "mirubato_cost_today_usd", "Cost of today's usage, UTC", [(float(account.today), {})]
    yield "mirubato_cost_month_projected_usd", "Projected cost of the billing period", [(float(projection.mid), {})]
    yield "mirubato_cost_month_projected_low_usd", "Its lower end", [(float(projection.low), {})]
    yield "mirubato_cost_month_projected_high_usd", "Its upper end", [(float(projection.high), {})]
    yield (
        "mirubato_cost_usd",
        "Cost of the billing period so far",
        [(float(usd), {"product": product}) for product, usd in products.items()],
    )
    yield (
        "mirubato_cost_monitoring_usd",
        "What monitoring costs of it",
        [(float(billed), {"price": "billed"}), (float(listed), {"price": "list"})],
    )
    yield "mirubato_budget_hours_left", "Until the first budget is gone", [(min(hours), {})] if hours else []
    yield "mirubato_budget_usd", "Budgets of a billing period", [(float(one.usd), of) for one, of in names]
    yield "mirubato_budget_used_ratio", "Used part of a budget", [(one.used, of) for one, of in names]
    yield "mirubato_budget_stage", "Stages reached: 1 notify, 2 page, 3 webhook", [(one.stage, of) for one, of in names]
    yield (
        "mirubato_cost_runaway_ratio",
        "Cost an hour over the 7-day median of the hour",
        [(one.ratio, {"product": one.product}) for one in account.runaways],
    )
    yield (
        "cloudflare_limit_used_ratio",
        "Used part of a limit of the plan",
        [(one.ratio, {"limit": one.id, "product": one.product, "of": one.of}) for one in account.headroom],
    )


def _gauge(name: str, help_: str, values: Sequence[Value], now: int) -> Metric | None:
    points = [_point(value, labels, now) for value, labels in values if not math.isnan(value)]
    return Metric(name=name, description=help_, gauge=Gauge(data_points=points)) if points else None


def _counter(name: str, help_: str, values: Sequence[Value], now: int, started: int) -> Metric:
    points = [_point(value, labels, now, started) for value, labels in values]
    temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    data = Sum(data_points=points, aggregation_temporality=temporality, is_monotonic=True)
    return Metric(name=name, description=help_, sum=data)


def _point(value: float, labels: dict[str, str], now: int, started: int = 0) -> NumberDataPoint:
    return NumberDataPoint(
        time_unix_nano=now * _NS_PER_MS,
        start_time_unix_nano=started * _NS_PER_MS,
        as_double=value,
        attributes=[_attribute(name, text) for name, text in labels.items() if text],
    )


def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))
