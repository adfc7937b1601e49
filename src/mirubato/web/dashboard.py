"""GET /api/dashboard: what the first screen of the page needs, in one answer."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mirubato.alerts.intervals import Sampled, interval_of
from mirubato.errors import BadQuery
from mirubato.model.labels import NAME, Labels
from mirubato.model.seams import Selector
from mirubato.promql.quantiles import bucket_quantile
from mirubato.promql.query import QueryBudget, instant, over_steps
from mirubato.promql.values import Points, Steps
from mirubato.web.parameters import moment_ms

_HOUR_MS = 3_600_000
# Points of a sparkline: one for every 3 pixels of 120.
_SPARK_POINTS = 40
# What the service map shows is what calls whom now.
_RECENT_S = 300
_QUANTILES = (0.5, 0.95, 0.99)
_BY = "by (service_name, script_name)"
# Series that the gateway writes by itself from its first second on: nobody has sent anything yet.
_OWN = re.compile("mirubato_|cloudflare_limit_|probe_|ALERTS")

Extra = Callable[[int, int], Any]
"""(start, end) in ms -> one more part of the answer, from another room."""


@dataclass(frozen=True, slots=True)
class RequestFamily:
    """Where the requests of a service are counted; a service is never counted from two of these (docs/ALERTS.md).

    In the expressions `RANGE` stands for a range such as `[300s]`.
    """

    source: str
    count: str
    """Increase of all requests, by series."""
    failed: str
    """Increase of the failed ones."""
    duration: str
    """Name of the histogram."""
    matchers: str = ""
    to_ms: float = 1000.0
    squares: str = ""
    """Where requests are sampled, and `count` is a sum of weights: the increase of the sum of their squares."""
    failed_squares: str = ""
    """Of the failed ones."""


_HTTP, _OLDER = "http_server_request_duration_seconds", "http_server_duration_milliseconds"
_SPANS, _SERVER = "traces_span_metrics", 'span_kind="SPAN_KIND_SERVER"'
_ERROR = 'status_code="STATUS_CODE_ERROR"'
_STATUS, _CAUSE = 'http_response_status_code=~"5.."', 'error_type!="",http_response_status_code!~"5.."'

FAMILIES = (
    RequestFamily(
        "http",
        f"increase({_HTTP}_countRANGE)",
        f"increase({_HTTP}_count{{{_STATUS}}}RANGE) or increase({_HTTP}_count{{{_CAUSE}}}RANGE)",
        _HTTP,
    ),
    RequestFamily(
        "http",  # the same as exponential histograms
        f"histogram_count(increase({_HTTP}RANGE))",
        f"histogram_count(increase({_HTTP}{{{_STATUS}}}RANGE) or increase({_HTTP}{{{_CAUSE}}}RANGE))",
        _HTTP,
    ),
    RequestFamily(
        "http_older",
        f"increase({_OLDER}_countRANGE)",
        f'increase({_OLDER}_count{{http_status_code=~"5.."}}RANGE)',
        _OLDER,
        to_ms=1.0,
    ),
    RequestFamily(
        "spans",
        f"increase({_SPANS}_calls_total{{{_SERVER}}}RANGE)",
        f"increase({_SPANS}_calls_total{{{_SERVER},{_ERROR}}}RANGE)",
        f"{_SPANS}_duration_seconds",
        _SERVER,
        squares=f"increase({_SPANS}_weights_squared_total{{{_SERVER}}}RANGE)",
        failed_squares=f"increase({_SPANS}_weights_squared_total{{{_SERVER},{_ERROR}}}RANGE)",
    ),
    RequestFamily(
        "worker",
        "increase(cloudflare_worker_requests_totalRANGE)",
        "increase(cloudflare_worker_errors_totalRANGE)",
        "cloudflare_worker_duration_seconds",
    ),
)


@dataclass(slots=True)
class Service:
    """One service over the range; rates per second, durations in ms."""

    service_name: str
    source: str
    rate_per_s: float = 0.0
    error_rate: float | None = None
    error_rate_low: float | None = None
    error_rate_high: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    saturation: float | None = None
    last_seen_ms: int | None = None
    version: str = ""
    sparkline: dict[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question's range, and how it asks PromQL."""

    selector: Selector
    budget: QueryBudget
    steps: Steps

    @property
    def range_s(self) -> int:
        """Length of the range in whole seconds, at least a minute."""
        return max((self.steps.end - self.steps.start) // 1000, 60)

    @property
    def window_s(self) -> int:
        """What a rate in a sparkline looks back: two steps, and no less than two minutes of scrapes a minute apart."""
        return max(2 * self.steps.step // 1000, 150)

    def now(self, query: str) -> Sequence[Points]:
        """An instant query at the end of the range."""
        return instant(self.selector, query, self.steps.end, self.budget).series

    def over(self, query: str) -> Sequence[Points]:
        """A range query."""
        return over_steps(self.selector, query, self.steps, self.budget).series


class Dashboard:
    """Builds the answer in the thread that calls; `extras` are parts that other rooms give, by their key."""

    def __init__(self, selector: Selector, now: Callable[[], int], extras: Mapping[str, Extra]) -> None:
        self._selector, self._now, self._extras = selector, now, extras

    def answer(self, parameters: Mapping[str, str], budget: QueryBudget) -> dict[str, Any]:
        """`start` (default 1h ago) and `end`, as in /api/metrics; BadQuery names the parameter."""
        now = self._now()
        start, end = moment_ms(parameters, "start", now - _HOUR_MS, now), moment_ms(parameters, "end", now, now)
        if end <= start:
            raise BadQuery('invalid parameter "end": not after "start"')
        step = max((end - start) // _SPARK_POINTS, 15_000)
        asked = Asked(self._selector, budget, Steps(start, end, step))
        services = _services(asked)
        return {
            "now_ms": now,
            "start_ms": start,
            "end_ms": end,
            "step_ms": step,
            "waiting": not services and all(map(_OWN.match, self._selector.label_values(NAME))),
            "services": [_plain(services[name]) for name in sorted(services)],
            "graph": {"edges": _edges(asked)},
            **{key: extra(start, end) for key, extra in self._extras.items()},
        }


def _plain(service: Service) -> dict[str, Any]:
    return {name: getattr(service, name) for name in Service.__slots__}


def _services(asked: Asked) -> dict[str, Service]:
    services: dict[str, Service] = {}
    for family in FAMILIES:
        counted = _by_service(asked.now(_summed(family.count, asked.range_s)))
        mine = {
            name: Service(name, family.source, count / asked.range_s)
            for name, count in counted.items()
            if name not in services
        }
        if mine:
            _add_errors(asked, family, mine, counted)
            _add_quantiles(asked, family, mine)
            _add_sparklines(asked, family, mine)
            services |= mine
    _add_versions(asked, services)
    return services


def _service_of(labels: Labels) -> str:
    found = dict(labels)
    return found.get("service_name") or found.get("script_name") or "unknown"


def _by_service(points: Iterable[Points]) -> dict[str, float]:
    """The newest value of each service; of several series of one service the sum."""
    found: dict[str, float] = {}
    for one in points:
        name = _service_of(one.labels)
        if one.values:
            found[name] = found.get(name, 0.0) + one.values[-1]
    return found


def _summed(increase: str, range_s: int) -> str:
    """The increase of each service over a range in seconds."""
    return f"sum {_BY} ({increase.replace('RANGE', f'[{range_s}s]')})"


def _add_errors(asked: Asked, family: RequestFamily, mine: dict[str, Service], counted: Mapping[str, float]) -> None:
    failed = _by_service(asked.now(_summed(family.failed, asked.range_s)))
    squares, failed_squares = (
        _by_service(asked.now(_summed(one, asked.range_s))) if one else {}
        for one in (family.squares, family.failed_squares)
    )
    for name, service in mine.items():
        if counted[name] > 0:
            known = error_rate(counted[name], failed.get(name, 0.0), squares.get(name), failed_squares.get(name))
            service.error_rate, service.error_rate_low, service.error_rate_high = known


def error_rate(
    total: float, failed: float, squares: float | None, failed_squares: float | None
) -> tuple[float, float, float]:
    """The share of failed requests, and its interval: from sums of weights, and of their squares (None: all are 1)."""
    failed = min(failed, total)
    inside = failed if failed_squares is None else failed_squares
    outside = (total if squares is None else squares) - inside
    sampled = Sampled(total, _mean(inside, failed), _mean(outside, total - failed))
    return failed / total, *interval_of(failed / total, sampled)


def _mean(squares: float, weights: float) -> float:
    """The mean weight of events, by weight; that of events of which none were kept is not known, and taken as 1."""
    return squares / weights if weights > 0 else 1.0


def error_rates(asked: Asked) -> list[dict[str, Any]]:
    """The error rate of each service at each step, with its interval: what /api/metrics answers for `error_rate`."""
    answers: dict[str, dict[str, Any]] = {}
    for family in FAMILIES:
        rows = [
            _rows(asked.over(_summed(one, asked.window_s))) if one else {}
            for one in (family.count, family.failed, family.squares, family.failed_squares)
        ]
        total, failed, squares, failed_squares = rows
        for name in sorted(total.keys() - answers.keys()):
            points, interval = [], []
            for time, count in sorted(total[name].items()):
                if count > 0:
                    errors = failed.get(name, {}).get(time, 0.0)
                    known = squares.get(name, {}).get(time), failed_squares.get(name, {}).get(time)
                    share, low, high = error_rate(count, errors, *known)
                    points.append([time / 1000, share])
                    interval.append([time / 1000, low, high])
            labels = {"service_name": name}
            answers[name] = {"metric": "error_rate", "labels": labels, "points": points, "interval": interval}
    return list(answers.values())


def _add_quantiles(asked: Asked, family: RequestFamily, mine: dict[str, Service]) -> None:
    selector = f"{family.duration}_bucket{{{family.matchers}}}"
    found = asked.now(f"sum by (service_name, script_name, le) (increase({selector}[{asked.range_s}s]))")
    for name, values in _quantiles(found).items():
        if name in mine:
            _set_quantiles(mine[name], [value * family.to_ms for value in values])
    native = f"sum {_BY} (increase({family.duration}{{{family.matchers}}}[{asked.range_s}s]))"
    missing = {name for name, service in mine.items() if service.p50_ms is None}
    if missing:
        asked_of = [_by_service(asked.now(f"histogram_quantile({quantile}, {native})")) for quantile in _QUANTILES]
        for name in missing & asked_of[0].keys():
            _set_quantiles(mine[name], [one.get(name, math.nan) * family.to_ms for one in asked_of])


def _set_quantiles(service: Service, values: Sequence[float]) -> None:
    service.p50_ms, service.p95_ms, service.p99_ms = (value if math.isfinite(value) else None for value in values)


def _quantiles(points: Iterable[Points]) -> dict[str, list[float]]:
    """Each service's _QUANTILES from its classic buckets."""
    buckets: dict[str, dict[float, float]] = {}
    for one in points:
        upper = float(dict(one.labels).get("le", "nan"))
        if not math.isnan(upper) and one.values:
            buckets.setdefault(_service_of(one.labels), {})[upper] = one.values[-1]
    found = {}
    for name, counts in buckets.items():
        uppers = sorted(counts)
        table = np.repeat(np.array([[counts[upper]] for upper in uppers]), len(_QUANTILES), axis=1)
        answer = bucket_quantile(np.array(_QUANTILES), np.array(uppers), table[np.newaxis])
        found[name] = answer.values[0].tolist()
    return found


def _add_sparklines(asked: Asked, family: RequestFamily, mine: dict[str, Service]) -> None:
    times = asked.steps.times().tolist()
    total = _rows(asked.over(_summed(family.count, asked.window_s)))
    failed = _rows(asked.over(_summed(family.failed, asked.window_s)))
    for name, service in mine.items():
        counts, errors = total.get(name, {}), failed.get(name, {})
        service.sparkline = {
            "times_ms": times,
            "rate_per_s": [counts[time] / asked.window_s if time in counts else None for time in times],
            "error_rate": [errors.get(time, 0.0) / counts[time] if counts.get(time) else None for time in times],
        }
        service.last_seen_ms = max(counts, default=None)
        if counts:  # the rate is that of now: over an hour of which ten minutes have data it would be a sixth
            service.rate_per_s = counts[max(counts)] / asked.window_s


def _rows(points: Iterable[Points]) -> dict[str, dict[int, float]]:
    rows: dict[str, dict[int, float]] = {}
    for one in points:
        row = rows.setdefault(_service_of(one.labels), {})
        for time, value in zip(one.times, one.values, strict=True):
            row[time] = row.get(time, 0.0) + value
    return rows


def _add_versions(asked: Asked, services: dict[str, Service]) -> None:
    for one in asked.now('max by (job, service_name, service_version) (target_info{service_version!=""})'):
        labels = dict(one.labels)
        name = labels.get("service_name") or labels.get("job", "").rpartition("/")[2]
        if name in services:
            services[name].version = labels["service_version"]
    busy = "max by (service_name) (process_cpu_utilization_ratio or system_cpu_utilization_ratio)"
    for name, value in _by_service(asked.now(busy)).items():
        if name in services and math.isfinite(value):
            services[name].saturation = value


def _edges(asked: Asked) -> list[dict[str, Any]]:
    """Who calls whom, from the service graph's series."""
    recent_s = min(asked.range_s, _RECENT_S)
    by, window = "by (client, server)", f"[{recent_s}s]"
    calls = _by_edge(asked.now(f"sum {by} (increase(traces_service_graph_request_total{window}))"))
    failed = _by_edge(asked.now(f"sum {by} (increase(traces_service_graph_request_failed_total{window}))"))
    slow = "traces_service_graph_request_server_seconds_bucket"
    p95 = _by_edge(
        asked.now(f"histogram_quantile(0.95, sum by (client, server, le) (increase({slow}{window})))") if calls else ()
    )
    return [
        {
            "client": client,
            "server": server,
            "rate_per_s": count / recent_s,
            "error_rate": min(failed.get((client, server), 0.0) / count, 1.0) if count else None,
            "p95_ms": _ms(p95.get((client, server))),
        }
        for (client, server), count in sorted(calls.items())
    ]


def _ms(seconds: float | None) -> float | None:
    return seconds * 1000 if seconds is not None and math.isfinite(seconds) else None


def _by_edge(points: Iterable[Points]) -> dict[tuple[str, str], float]:
    found = {}
    for one in points:
        labels = dict(one.labels)
        if one.values:
            found[labels.get("client", ""), labels.get("server", "")] = one.values[-1]
    return found
