"""What-if: the month's event points and events with other settings, simulated on the data of the last hour. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from mirubato.config import parse_duration
from mirubato.costs.price_tags import HOURS_OF_MONTH, MetricPoints
from mirubato.errors import BadQuery

_METRICS_SHOWN = 50
_LABELS_MAX = 20
# What the in-app sampler does unless it is told otherwise.
_SUCCESS_RATE = 0.1


@dataclass(frozen=True, slots=True)
class Change:
    """What would be different: labels dropped (of some metrics, or of all), an interval in ms, a success rate."""

    drop_labels: Sequence[str] = ()
    metrics: Sequence[str] = ()
    interval: int = 0
    success_rate: float | None = None
    success_rate_now: float = _SUCCESS_RATE


@dataclass(frozen=True, slots=True)
class Spans:
    """Real spans of the last hour, sampling undone: those that failed and those that did not."""

    failed: float = 0.0
    succeeded: float = 0.0


@dataclass(frozen=True, slots=True)
class Prices:
    """USD by list price for one event point, and for one span as an event at Cloudflare."""

    point: Decimal
    event: Decimal


@dataclass(frozen=True, slots=True)
class Outcome:
    """A month before and after, in units and USD by list price."""

    points: tuple[int, int] = (0, 0)
    series: tuple[int, int] = (0, 0)
    events: tuple[int, int] = (0, 0)
    usd: tuple[Decimal, Decimal] = (Decimal(0), Decimal(0))
    by_metric: Sequence[tuple[str, int, int, Decimal]] = field(default_factory=tuple)


def change_of(document: Any) -> Change:
    """A request's JSON -> Change; BadQuery names the field."""
    if not isinstance(document, dict):
        raise BadQuery('the body must be an object such as {"drop_label": "user_id"}')
    known = {"drop_label", "drop_labels", "metric", "metrics", "interval", "success_rate", "success_rate_now"}
    if unknown := sorted(document.keys() - known):
        raise BadQuery(f"no such field: {', '.join(map(str, unknown))[:100]}; there are {', '.join(sorted(known))}")
    dropped = _words(document, "drop_label", "drop_labels")
    interval = _interval(document.get("interval", 0))
    rate = document.get("success_rate")
    if not dropped and not interval and rate is None:
        raise BadQuery("nothing to change: give success_rate, drop_label or interval")
    return Change(
        dropped,
        _words(document, "metric", "metrics"),
        interval,
        None if rate is None else _part("success_rate", rate),
        _part("success_rate_now", document.get("success_rate_now", _SUCCESS_RATE)),
    )


def _words(document: Mapping[str, Any], one: str, many: str) -> Sequence[str]:
    words = document.get(many, document.get(one, ()))
    words = [words] if isinstance(words, str) else words
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) and word for word in words):
        raise BadQuery(f"{one} must be a name, {many} a list of names")
    if len(words) > _LABELS_MAX:
        raise BadQuery(f"{many}: at most {_LABELS_MAX}")
    return tuple(words)


def _interval(value: Any) -> int:
    try:
        interval = value * 1000 if isinstance(value, int | float) else parse_duration(value)
    except (ValueError, TypeError) as error:
        raise BadQuery(f"interval: {error}") from error
    if isinstance(value, bool) or not 0 <= interval <= 86_400_000:
        raise BadQuery("interval must be between 0 and 1d")
    return int(interval)


def _part(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise BadQuery(f"{name} must be above 0 and at most 1")
    return float(value)


def simulate(change: Change, metrics: Sequence[MetricPoints], spans: Spans, prices: Prices) -> Outcome:
    """The month after the change; what is not touched by it stays as it is."""
    rows = []
    before = after = series_before = series_after = 0
    for one in metrics:
        touched = not change.metrics or one.name in change.metrics
        points, series = (len(one.times), len(one.labels))
        left, left_series = one.count(change.drop_labels, change.interval) if touched else (points, series)
        before, after = before + points, after + left
        series_before, series_after = series_before + series, series_after + left_series
        if left != points:
            saved = (points - left) * HOURS_OF_MONTH * prices.point
            rows.append((one.name, points * HOURS_OF_MONTH, left * HOURS_OF_MONTH, saved))
    events = _events(change, spans)
    points_month = (before * HOURS_OF_MONTH, after * HOURS_OF_MONTH)
    usd = [points_month[when] * prices.point + events[when] * prices.event for when in (0, 1)]
    rows.sort(key=lambda row: -row[3])
    return Outcome(points_month, (series_before, series_after), events, (usd[0], usd[1]), rows[:_METRICS_SHOWN])


def _events(change: Change, spans: Spans) -> tuple[int, int]:
    """Spans that are exported a month: every failed one, and of the others the part that the rate keeps."""
    rate = change.success_rate_now if change.success_rate is None else change.success_rate
    kept = [spans.failed + spans.succeeded * part for part in (change.success_rate_now, rate)]
    return round(kept[0] * HOURS_OF_MONTH), round(kept[1] * HOURS_OF_MONTH)
