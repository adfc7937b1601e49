"""What `metric` of a rule means: the built-ins of the API as PromQL, or any metric over the rule's window.

A built-in is answered by the first family of metrics that has data for a service; one service is never counted from two
of them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mirubato.alerts.intervals import PART
from mirubato.errors import BadField, BadQuery
from mirubato.promql.expressions import VectorSelector
from mirubato.promql.literals import duration_text, quoted
from mirubato.promql.parser import parse

_BY = "sum by (service_name)"
_HOUR_MS = 3_600_000
"""A minute may hold no sampled success at all; an hour tells how they are sampled."""
# `http.server.duration` and the like; what looks like an expression is a mistake.
_NAME = re.compile(r"[^\W\d][\w.:/-]*")
_COUNTERS = ("_total", "_count", "_sum", "_bucket")
_QUEUES = "|".join(
    (
        "queue_depth(_messages|_ratio)?",
        "messaging_queue_(depth|size|messages)",
        "cloudflare_queue_backlog_messages",
        "rabbitmq_queue_messages",
        "celery_queue_length",
    )
)


@dataclass(frozen=True, slots=True)
class Scope:
    """Over what a metric is taken: a time (ms), and label values that its series must have."""

    window_ms: int
    filter: Mapping[str, str] = field(default_factory=dict)

    @property
    def range(self) -> str:
        """The window as a PromQL range."""
        return f"[{duration_text(self.window_ms)}]"

    def longer(self, least_ms: int) -> "Scope":
        """The same over at least so much time."""
        return replace(self, window_ms=max(self.window_ms, least_ms))

    def matchers(self, *more: str, service: str = "service_name") -> str:
        """Matchers in braces; `service` is the label that names the service in this family."""
        own = [
            f"{service if name == 'service_name' else name}={quoted(value)}"
            for name, value in sorted(self.filter.items())
        ]
        return "{" + ", ".join([*more, *own]) + "}" if more or own else ""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a rule asks: the value of each series, its unit, and how well a share of sampled events is known."""

    query: str
    unit: str = ""
    sampling: str = ""


@dataclass(frozen=True, slots=True)
class _Family:
    """Requests and failures of a service in one family of metrics, as increases by series, and the P95 in ms."""

    all: str
    failed: str
    p95: str = ""
    weights: "_Weights | None" = None
    """Where events are sampled, and `all` is a sum of weights."""


@dataclass(frozen=True, slots=True)
class _Weights:
    """Σw² and Σw of failures and of the others, as increases by series over at least an hour."""

    failed: tuple[str, str]
    others: tuple[str, str]


def _families(scope: Scope) -> Sequence[_Family]:
    """In the order in which they are asked."""
    return (
        _of_seconds(scope, "_count", "{}"),
        _of_seconds(scope, "", "histogram_count({})"),  # the same as exponential histograms
        _of_milliseconds(scope),
        _of_spans(scope),
        _of_workers(scope),
    )


def _of_seconds(scope: Scope, ending: str, count: str) -> _Family:
    name, range_ = "http_server_request_duration_seconds", scope.range
    status = scope.matchers('http_response_status_code=~"5.."')
    cause = scope.matchers('error_type!=""', 'http_response_status_code!~"5.."')
    counted = f"{name}{ending}"
    failed = f"increase({counted}{status}{range_}) or increase({counted}{cause}{range_})"
    return _Family(
        count.format(f"increase({counted}{scope.matchers()}{range_})"),
        count.format(failed),
        _p95(f"{name}{'_bucket' if ending else ''}{scope.matchers()}{range_}", 1000, classic=bool(ending)),
    )


def _of_milliseconds(scope: Scope) -> _Family:
    name, range_ = "http_server_duration_milliseconds", scope.range
    failed = scope.matchers('http_status_code=~"5.."')
    return _Family(
        f"increase({name}_count{scope.matchers()}{range_})",
        f"increase({name}_count{failed}{range_})",
        _p95(f"{name}_bucket{scope.matchers()}{range_}", 1),
    )


def _of_spans(scope: Scope) -> _Family:
    calls, squared = "traces_span_metrics_calls_total", "traces_span_metrics_weights_squared_total"
    server, status = 'span_kind="SPAN_KIND_SERVER"', "STATUS_CODE_ERROR"
    all_, hour = scope.matchers(server), scope.longer(_HOUR_MS).range
    failed = scope.matchers(server, f'status_code="{status}"')
    others = scope.matchers(server, f'status_code!="{status}"')
    return _Family(
        f"increase({calls}{all_}{scope.range})",
        f"increase({calls}{failed}{scope.range})",
        _p95(f"traces_span_metrics_duration_seconds_bucket{all_}{scope.range}", 1000),
        _Weights(
            (f"increase({squared}{failed}{hour})", f"increase({calls}{failed}{hour})"),
            (f"increase({squared}{others}{hour})", f"increase({calls}{others}{hour})"),
        ),
    )


def _of_workers(scope: Scope) -> _Family:
    """Cloudflare's own names: of what the gateway makes of its traces, which are sampled, and of its exporter."""
    requests, errors, hour = "cloudflare_worker_requests", "cloudflare_worker_errors", scope.longer(_HOUR_MS)

    def of(name: str, over: Scope = scope) -> str:
        return _of_script(f"{name}_total", over)

    failed = of(f"{errors}_weights_squared", hour), of(errors, hour)
    every = of(f"{requests}_weights_squared", hour), of(requests, hour)
    return _Family(
        of(requests),
        of(errors),
        f"1000 * histogram_quantile(0.95, sum by (service_name, le)"
        f" (rate(cloudflare_worker_duration_seconds_bucket{scope.matchers()}{scope.range})))",
        _Weights(failed, every),
    )


def _of_script(metric: str, scope: Scope) -> str:
    """Increases by service; where none is named, the script stands for it."""
    named = scope.matchers('service_name!=""')
    nameless = scope.matchers('service_name=""', service="script_name")
    return (
        f"increase({metric}{named}{scope.range})"
        f' or label_replace(increase({metric}{nameless}{scope.range}), "service_name", "$1", "script_name", "(.+)")'
    )


def _p95(buckets: str, milliseconds: int, *, classic: bool = True) -> str:
    by = f"sum by (service_name{', le' if classic else ''})"
    quantile = f"histogram_quantile(0.95, {by} (rate({buckets})))"
    return f"{milliseconds} * {quantile}" if milliseconds != 1 else quantile


def _first_of(queries: Sequence[str]) -> str:
    """For each service the first query that answers."""
    return " or on (service_name) ".join(f"({query})" for query in queries)


def _error_rate(scope: Scope) -> Meaning:
    """No requests at all is no data, not a rate of 0."""
    shares = []
    for family in _families(scope):
        all_ = f"{_BY} ({family.all})"
        shares.append(f"({_BY} ({family.failed}) or on (service_name) 0 * {all_}) / ({all_} > 0)")
    return Meaning(_first_of(shares), "ratio", _sampling(scope, "inside", "outside"))


def _success_rate(scope: Scope) -> Meaning:
    rate = _error_rate(scope)
    return Meaning(f"1 - ({rate.query})", rate.unit, _sampling(scope, "outside", "inside"))


def _sampling(scope: Scope, failed: str, others: str) -> str:
    """What `intervals.sampled_of` reads, for the services that only sampled families tell of.

    Instruments count every event (docs/SDK.md), so what they tell is exact. `failed` and `others` say which part of the
    share they are.
    """
    families = _families(scope)
    exact = [f"{_BY} ({family.all}) > 0" for family in families if family.weights is None]
    sampled = [(family, family.weights) for family in families if family.weights is not None]
    totals = _first_of([f"{_BY} ({family.all}) > 0" for family, _ in sampled])
    parts = {
        "total": f"({totals}) unless on (service_name) ({_first_of(exact)})",
        failed: _first_of([_mean(*weights.failed) for _, weights in sampled]),
        others: _first_of([_mean(*weights.others) for _, weights in sampled]),
    }
    return " or ".join(f'label_replace({query}, "{PART}", "{part}", "", "")' for part, query in parts.items())


def _mean(squared: str, weights: str) -> str:
    return f"{_BY} ({squared}) / ({_BY} ({weights}) > 0)"


def _response_time_p95(scope: Scope) -> Meaning:
    """A histogram without observations has NaN for a quantile, which is no data."""
    return Meaning(_first_of([f"{family.p95} >= 0" for family in _families(scope) if family.p95]), "ms")


def _queue_depth(scope: Scope) -> Meaning:
    """The fullest queue of each service, on average over the window."""
    series = scope.matchers(f"__name__=~{quoted(_QUEUES)}")
    return Meaning(f"max by (service_name) (avg_over_time({series}{scope.range}))")


def _newest(metric: str, unit: str) -> Callable[[Scope], Meaning]:
    """A metric that is one number for all, written by the gateway itself."""
    return lambda scope: Meaning(metric + scope.matchers(), unit)


BUILT_INS: Mapping[str, Callable[[Scope], Meaning]] = {
    "error_rate": _error_rate,
    "success_rate": _success_rate,
    "response_time_p95": _response_time_p95,
    "queue_depth": _queue_depth,
    "cost_today": _newest("mirubato_cost_today_usd", "USD"),
    "cost_month_projected": _newest("mirubato_cost_month_projected_usd", "USD"),
    "budget_hours_left": _newest("mirubato_budget_hours_left", "hours"),
}
"""What a rule's `metric` may be beside the name of a metric."""


def meaning(metric: str, scope: Scope) -> Meaning:
    """The PromQL of a built-in or of any metric, which may have matchers of its own; BadField for what is neither.

    A counter (by the ending of its name) is taken as its increase over the window, anything else as its average.
    """
    if metric in BUILT_INS:
        return BUILT_INS[metric](scope)
    selector = _selector(metric)
    if scope.filter:
        selector = f"{selector.removesuffix('}')}{', ' if selector.endswith('}') else '{'}{scope.matchers()[1:]}"
        _selector(selector)
    name = metric.partition("{")[0].strip()
    function = "increase" if name.endswith(_COUNTERS) else "avg_over_time"
    return Meaning(f"{function}({selector}{scope.range})")


def _selector(metric: str) -> str:
    """A metric as a selector: as it stands, or a name with letters that PromQL does not know, quoted."""
    text = metric.strip()
    for shown in (text, f"{{{quoted(text)}}}" if _NAME.fullmatch(text) else text):
        try:
            parsed = parse(shown)
        except BadQuery:
            continue
        if isinstance(parsed, VectorSelector) and not (parsed.offset or parsed.at):
            return shown
    raise BadField("metric", f"{metric[:100]!r} is neither a built-in ({', '.join(BUILT_INS)}) nor a metric name")
