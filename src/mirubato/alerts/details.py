"""What helps whoever is woken: last week, what differs between errors and successes, traces, the last deploy, a chart.

Each is a query that may fail or take too long; then the message goes without it.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from mirubato.alerts.evaluation import Bounds
from mirubato.alerts.messages import value_text
from mirubato.alerts.remembered import Alert, nameless
from mirubato.alerts.rules import Rule, samples
from mirubato.clock import monotonic_s
from mirubato.errors import MirubatoError
from mirubato.limits import DETAILS_S_MAX
from mirubato.model.labels import NAME, Labels
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.seams import Selector
from mirubato.notify.message import Chart, Message, clock_time, duration_text
from mirubato.promql.literals import quoted
from mirubato.promql.query import instant, over_steps
from mirubato.promql.values import Steps

_log = logging.getLogger(__name__)

_WEEK_MS = 7 * 86_400_000
_HOUR_MS = 3_600_000
_CHART_STEP_MS = 60_000
_TRACES_MAX = 3
_WINDOW = "[10m]"
_WINDOW_MS = 600_000
# What tells how a request ended, or who counted it: that it differs explains nothing.
_TELLTALE = frozenset(
    (NAME, "service_name", "job", "le", "status_code", "http_response_status_code", "http_status_code", "error_type",
     "otel_scope_name", "otel_scope_version", "telemetry_sdk_name", "span_kind")
)  # fmt: skip
_FAMILIES = (
    ("http_server_request_duration_seconds_count", 'http_response_status_code=~"5.."'),
    ("http_server_duration_milliseconds_count", 'http_status_code=~"5.."'),
    ("traces_span_metrics_calls_total", 'status_code="STATUS_CODE_ERROR"'),
)
"""Counters of requests, and which of them failed."""

Counted = tuple[Labels, float]
T = TypeVar("T")


class Deploy(NamedTuple):
    """A version that began to run; time in ms."""

    version: str
    at_ms: int


class Difference(NamedTuple):
    """An attribute that more of the errors have than of the successes; shares from 0 to 1."""

    name: str
    value: str
    of_errors: float
    of_successes: float


def difference(errors: Iterable[Counted], successes: Iterable[Counted]) -> Difference | None:
    """The attribute whose share among errors is most above that among successes; None below 20 points."""
    failed, went_well = _shares(errors), _shares(successes)
    found = [
        Difference(name, value, share, went_well.get((name, value), 0.0)) for (name, value), share in failed.items()
    ]
    best = max(found, key=lambda one: (one.of_errors - one.of_successes, one.name), default=None)
    return best if best is not None and best.of_errors - best.of_successes >= 0.2 else None


def _shares(counted: Iterable[Counted]) -> Mapping[tuple[str, str], float]:
    total, by_pair = 0.0, dict[tuple[str, str], float]()
    for labels, count in counted:
        if not count > 0:
            continue
        total += count
        for pair in labels:
            if pair[0] not in _TELLTALE:
                by_pair[pair] = by_pair.get(pair, 0.0) + count
    return {pair: count / total for pair, count in by_pair.items()}


@dataclass(frozen=True, slots=True)
class Details:
    """Finds them. `deploy` and `traces` ask those who know the last deploy of a service, its newest failed traces."""

    selector: Selector
    bounds: Bounds
    deploy: Callable[[str, int], Deploy | None] | None = None
    traces: Callable[[str, int], Sequence[str]] | None = None

    def deadline(self) -> float:
        """When a tick that begins now has spent enough on details, of the monotonic clock."""
        return monotonic_s() + DETAILS_S_MAX

    def added(self, message: Message, rule: Rule, alert: Alert, now: int, deadline: float) -> Message:
        """The message with what is found before the deadline."""
        service = alert.labels.get("service_name", "")
        facts = [
            *self._tried("last week", deadline, lambda: self._last_week(rule, alert, now, deadline)),
            *self._tried("what differs", deadline, lambda: self._differs(service, now, deadline)),
            *self._tried("the deploy", deadline, lambda: self._deployed(service, now)),
        ]
        traces = self._tried("traces", deadline, lambda: self._traces(service, now))
        charts = self._tried("the chart", deadline, lambda: self._charts(rule, alert, now, deadline))
        return replace(
            message, facts=(*message.facts, *facts), traces=tuple(traces), chart=charts[0] if charts else None
        )

    @staticmethod
    def _tried(what: str, deadline: float, find: Callable[[], list[T]]) -> list[T]:
        if monotonic_s() > deadline:
            return []
        try:
            return find()
        except MirubatoError as error:
            _log.info("a message goes without %s: %s", what, error)
        except Exception:  # noqa: BLE001  (a page must not fail for what would only make it nicer)
            _log.exception("a message goes without %s", what)
        return []

    def _asked(self, text: str, at: int, deadline: float) -> list[Counted]:
        budget = self.bounds.budget(max(0.0, deadline - monotonic_s()))
        return samples(instant(self.selector, text, at, budget))

    def _last_week(self, rule: Rule, alert: Alert, now: int, deadline: float) -> list[tuple[str, str]]:
        for labels, value in self._asked(rule.query, now - _WEEK_MS, deadline):
            if nameless(labels) == alert.series and math.isfinite(value):
                return [("Same hour last week", value_text(value, rule.unit))]
        return []

    def _differs(self, service: str, now: int, deadline: float) -> list[tuple[str, str]]:
        if not service:
            return []
        of_service = f"service_name={quoted(service)}"
        for counter, failed in _FAMILIES:
            errors = self._asked(f"increase({counter}{{{of_service}, {failed}}}{_WINDOW})", now, deadline)
            if not errors:
                continue
            all_ = self._asked(f"increase({counter}{{{of_service}}}{_WINDOW})", now, deadline)
            failing = {labels for labels, _ in errors}
            found = difference(errors, [one for one in all_ if one[0] not in failing])
            if found is None:
                return []
            return [(
                "What differs",
                f"{found.name}={found.value}: {found.of_errors:.0%} of errors, {found.of_successes:.0%} of successes",
            )]  # fmt: skip
        return []

    def _deployed(self, service: str, now: int) -> list[tuple[str, str]]:
        found = self.deploy(service, now) if self.deploy else None
        if found is None:
            return []
        ago = duration_text(now - found.at_ms)
        return [("Last deploy", f"{found.version}, {ago} before ({clock_time(found.at_ms)})")]

    def _traces(self, service: str, now: int) -> list[str]:
        """Of kept failed traces, else of exemplars."""
        if not service:
            return []
        kept = list(self.traces(service, now))[:_TRACES_MAX] if self.traces else []
        if kept:
            return kept
        of_service = Matcher("service_name", MatchOp.EQUAL, service)
        found = self.selector.exemplars(now - _WINDOW_MS, now, [(of_service,)])
        ranked = sorted(found, key=lambda one: (_failed(one[0]), one[1].timestamp), reverse=True)
        ids = (dict(exemplar.labels).get("trace_id", "") for _, exemplar in ranked)
        return list(dict.fromkeys(id_ for id_ in ids if id_))[:_TRACES_MAX]

    def _charts(self, rule: Rule, alert: Alert, now: int, deadline: float) -> list[Chart]:
        steps = Steps(now - _HOUR_MS, now, _CHART_STEP_MS)
        budget = self.bounds.budget(max(0.0, deadline - monotonic_s()))
        for one in over_steps(self.selector, rule.query, steps, budget).series:
            if nameless(one.labels) == alert.series and one.values:
                values = dict(zip(one.times, one.values, strict=True))
                line = [_finite(values.get(at)) for at in steps.times().tolist()]
                threshold = rule.threshold if rule.condition else None
                return [Chart(line, threshold, steps.start, steps.end)]
        return []


def _failed(labels: Labels) -> bool:
    """Whether a series counts what went wrong."""
    pairs = dict(labels)
    status = pairs.get("http_response_status_code") or pairs.get("http_status_code") or ""
    return status.startswith("5") or pairs.get("status_code") == "STATUS_CODE_ERROR" or bool(pairs.get("error_type"))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
