"""The samples that rules write: recorded series, `ALERTS` and `ALERTS_FOR_STATE`, by the way that all samples go."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mirubato.admission.columns import LEAD, Columns, Decoded, HistogramPoint
from mirubato.alerts.remembered import Alert
from mirubato.alerts.rules import RecordingRule
from mirubato.alerts.step import Phase
from mirubato.model.histogram import Histogram
from mirubato.model.labels import NAME, STALE_NAN, Family, Labels, MetricType, labels_of, metric_name
from mirubato.model.samples import Kind
from mirubato.model.seams import PointRefused, SeriesRegistry
from mirubato.promql.query import Result

_NS_PER_MS = 1_000_000
_HELP = {
    "ALERTS": "1 for each alert that is pending or firing",
    "ALERTS_FOR_STATE": "Since when the condition of an alert has held, in seconds since 1970",
}
_BYTES_EACH = 64
"""What a sample counts as where requests that wait are measured in bytes."""


class Written(NamedTuple):
    """One sample; `time` in ms."""

    labels: Labels
    time: int
    value: float
    histogram: Histogram | None = None


def size_of(samples: Sequence[Written]) -> int:
    """Bytes, about."""
    return _BYTES_EACH * len(samples)


def columns_of(samples: Sequence[Written], registry: SeriesRegistry) -> Decoded:
    """The samples as a decoder would hand them on; on the writer thread, which alone may ask the registry."""
    decoded, rows = Decoded(), []
    for sample in samples:
        decoded.points += 1
        try:
            slot = registry.propose(sample.labels, _kind(sample), _family(sample.labels))
        except PointRefused as refused:
            decoded.rejected[refused.reason] += 1
            continue
        if sample.histogram is None:
            rows.append((slot, sample.time * _NS_PER_MS, sample.value))
        else:
            decoded.histograms.append(HistogramPoint(slot, sample.time * _NS_PER_MS, 0, sample.histogram, LEAD))
    decoded.columns += _columns(rows)
    return decoded


def _kind(sample: Written) -> Kind:
    return Kind.FLOAT if sample.histogram is None else Kind.HISTOGRAM


def _family(labels: Labels) -> Family:
    name = metric_name(labels)
    return Family(name, MetricType.GAUGE, "", _HELP[name]) if name in _HELP else Family(name, MetricType.UNKNOWN)


def _columns(rows: Sequence[tuple[int, int, float]]) -> Sequence[Columns]:
    if not rows:
        return ()
    slots, times, values = zip(*rows, strict=True)
    count = len(rows)
    return [
        Columns(
            np.array(slots, np.int64),
            np.array(times, np.uint64),
            np.zeros(count, np.uint64),
            np.array(values, np.float64),
            np.full(count, LEAD, np.uint8),
        )
    ]


@dataclass(slots=True)
class Writing:
    """Makes the samples of each tick, with a staleness marker for each series that has ended since the one before."""

    _last: dict[str, set[Labels]] = field(default_factory=dict)
    """Rule id -> the series that it wrote last."""

    def of_recording(self, rule: RecordingRule, result: Result, at: int) -> list[Written]:
        """What a recording rule yields, under its name and with its labels."""
        samples = []
        for one in result.series:
            pairs = {name: value for name, value in one.labels if name != NAME} | dict(rule.labels) | {NAME: rule.name}
            labels = labels_of(pairs.items())
            if one.values:
                samples.append(Written(labels, at, one.values[0]))
            elif one.histograms:
                samples.append(Written(labels, at, 0.0, one.histograms[0]))
        return self._with_ends(rule.id, samples, at)

    def of_alerts(self, rule_id: str, alerts: Iterable[Alert], at: int) -> list[Written]:
        """`ALERTS` and `ALERTS_FOR_STATE` of a rule's alerts, as Prometheus writes them."""
        samples = []
        for alert in alerts:
            if alert.state.phase is Phase.INACTIVE:
                continue
            word = "pending" if alert.state.phase is Phase.PENDING else "firing"
            named = _named(alert.labels, "ALERTS", {"alertstate": word})
            samples.append(Written(named, at, 1.0))
            samples.append(Written(_named(alert.labels, "ALERTS_FOR_STATE"), at, alert.state.since_ms // 1000))
        return self._with_ends(rule_id, samples, at)

    def of_gone(self, rule_id: str, at: int) -> list[Written]:
        """The ends of what a rule wrote that there is no more."""
        samples = self._with_ends(rule_id, [], at)
        self._last.pop(rule_id, None)
        return samples

    def _with_ends(self, rule_id: str, samples: list[Written], at: int) -> list[Written]:
        now = {sample.labels for sample in samples if sample.histogram is None}
        before = self._last.get(rule_id, set())
        if now or before:
            self._last[rule_id] = now
        return [*samples, *(Written(labels, at, STALE_NAN) for labels in sorted(before - now))]


def _named(labels: Mapping[str, str], name: str, more: Mapping[str, str] | None = None) -> Labels:
    return labels_of((dict(labels) | dict(more or {}) | {NAME: name}).items())
