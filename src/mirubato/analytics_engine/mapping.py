"""OTel metrics -> event points, by a layout and within the limits.

| OTel | kind | doubles after time_ms and start_ms |
|---|---|---|
| monotonic sum, delta | counter | value |
| other sum, cumulative | updown | value |
| gauge | gauge | value |
| histogram, delta | histogram | count, sum, one for each bound in `shape`; the bucket without a bound is the rest |
| exponential histogram, delta | exponential | count, sum, zero_count, one for each bucket in `shape` |

A histogram with more buckets than doubles becomes several points: count, sum and zero_count are in the first, and 0 in
the others, whose shape begins with `+`, so that adding up rows is right whatever the number of points. Minimum and
maximum are not kept: they could not be added up, nor corrected for sampling.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)

from mirubato.analytics_engine.event_points import EventPoint, Limits, clean
from mirubato.analytics_engine.identities import SHAPE_BYTES_MAX, Family, Identities, Identity, Origin
from mirubato.analytics_engine.layout import DOUBLES, EVENT, FURTHER, Layout
from mirubato.analytics_engine.texts import attribute_text

_NS_PER_MS = 1_000_000
_ORIGINS_MAX = 1000

DataPoint = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint


class Tracked(NamedTuple):
    """One call of `track`: its values by key, the attributes, and how many calls it stands for."""

    name: str
    doubles: Mapping[str, float]
    blobs: Mapping[str, object]
    weight: float


class Mapper:
    """Maps for one layout; remembers what the index and blobs of each series are.

    `counts` has, by name, what did not go through as it came: `cut` (points whose blobs were shortened), `split`
    (further points of histograms), `dropped_temporality`, `dropped_not_finite`, `dropped_doubles` (keys of
    an event past the limit), `dropped_failed`.
    """

    def __init__(self, layout: Layout, limits: Limits) -> None:
        self.counts: Counter[str] = Counter()
        self._identities = Identities(layout, limits)
        self._origins: dict[object, Origin] = {}
        self._explicit_room = limits.doubles - len(DOUBLES["histogram"])
        self._event_room = limits.doubles - len(DOUBLES[EVENT])
        self._exponential_room = limits.doubles - len(DOUBLES["exponential"])

    def points(self, data: MetricsData) -> list[EventPoint]:
        """Event points of all metrics, in order. Never raises for a data point: what cannot be mapped is counted."""
        made: list[EventPoint] = []
        for of_resource in data.resource_metrics:
            for of_scope in of_resource.scope_metrics:
                origin = self._origin(of_resource, of_scope)
                for metric in of_scope.metrics:
                    made += self._of_metric(origin, metric)
        return made

    def event(self, attributes: Mapping[str, object], tracked: Tracked, time_ms: int) -> EventPoint:
        """The point of an event; `attributes` are those of the resource. What is no finite number is counted."""
        values: dict[str, float] = {}
        shape = ""
        for key, value in tracked.doubles.items():
            longer = f"{shape} {clean(key).replace(' ', '_')}".strip()
            if not isinstance(value, int | float) or not math.isfinite(value):
                self.counts["dropped_not_finite"] += 1
            elif len(values) >= self._event_room or len(longer.encode()) > SHAPE_BYTES_MAX:
                self.counts["dropped_doubles"] += 1
            else:
                values[key], shape = float(value), longer
        origin = self._origin_of({clean(key): attribute_text(value) for key, value in attributes.items()}, ())
        identity = self._identities.of(origin, Family(tracked.name, EVENT, ""), tracked.blobs)
        if identity.is_cut:
            self.counts["cut"] += 1
        doubles = (float(time_ms), tracked.weight, *values.values())
        return EventPoint(time_ms, identity.index, identity.with_shape(shape), doubles)

    def _origin(self, of_resource: ResourceMetrics, of_scope: ScopeMetrics) -> Origin:
        resource = {clean(key): attribute_text(value) for key, value in of_resource.resource.attributes.items()}
        name, version = of_scope.scope.name or "", of_scope.scope.version or ""
        return self._origin_of(resource, (clean(name), clean(version)) if version else (clean(name),) if name else ())

    def _origin_of(self, resource: dict[str, str], scope: tuple[str, ...]) -> Origin:
        key = (tuple(sorted(resource.items())), scope)
        if key not in self._origins:
            if len(self._origins) >= _ORIGINS_MAX:
                self._origins.clear()
            self._origins[key] = Origin(resource, scope)
        return self._origins[key]

    def _of_metric(self, origin: Origin, metric: Metric) -> Iterator[EventPoint]:
        kind = _kind(metric)
        if kind is None:
            self.counts["dropped_temporality"] += len(metric.data.data_points)
            return
        family = Family(metric.name, kind, metric.unit or "")
        for point in metric.data.data_points:
            yield from self._of_point(origin, family, point)

    def _of_point(self, origin: Origin, family: Family, point: DataPoint) -> Sequence[EventPoint]:
        try:
            identity = self._identities.of(origin, family, point.attributes or {})
            made = self._made(identity, point)
        except OverflowError:  # an integer that no double holds
            made = []
        except Exception:  # noqa: BLE001 - one strange attribute must not cost its neighbours, nor reach the app
            self.counts["dropped_failed"] += 1
            return ()
        if not made:
            self.counts["dropped_not_finite"] += 1
            return ()
        if len(made) > 1:
            self.counts["split"] += len(made) - 1
        if identity.is_cut:
            self.counts["cut"] += len(made)
        return made

    def _made(self, identity: Identity, point: DataPoint) -> list[EventPoint]:
        """The points of one data point; none if a number is not finite."""
        time_ms = point.time_unix_nano // _NS_PER_MS
        times = (float(time_ms), float((point.start_time_unix_nano or 0) // _NS_PER_MS))
        if isinstance(point, NumberDataPoint):
            value = float(point.value)
            if not math.isfinite(value):
                return []
            return [EventPoint(time_ms, identity.index, identity.blobs, (*times, value))]
        total = float(point.sum)
        if not math.isfinite(total):
            return []
        heads: tuple[float, ...]
        if isinstance(point, HistogramDataPoint):
            heads, parts = (float(point.count), total), self._explicit(point)
        else:
            heads, parts = (float(point.count), total, float(point.zero_count)), self._exponential(point)
        made: list[EventPoint] = []
        for shape, buckets in parts:
            blobs = identity.with_shape(FURTHER + shape if made else shape)
            made.append(EventPoint(time_ms, identity.index, blobs, (*times, *heads, *buckets)))
            heads = (0.0,) * len(heads)
        return made

    def _explicit(self, point: HistogramDataPoint) -> Iterator[tuple[str, Iterable[float]]]:
        for start, end, shape in _explicit_parts(tuple(point.explicit_bounds), self._explicit_room):
            yield shape, map(float, point.bucket_counts[start:end])

    def _exponential(self, point: ExponentialHistogramDataPoint) -> Iterator[tuple[str, Iterable[float]]]:
        buckets = [
            (f" {sign}{number}", float(count))
            for sign, side in (("p", point.positive), ("n", point.negative))
            for number, count in enumerate(side.bucket_counts, start=side.offset)
            if count
        ]
        for start in range(0, len(buckets) or 1, self._exponential_room):
            part = buckets[start : start + self._exponential_room]
            yield str(point.scale) + "".join(name for name, _ in part), [count for _, count in part]


def _kind(metric: Metric) -> str | None:
    """None for a temporality that rows cannot hold."""
    data = metric.data
    if isinstance(data, Gauge):
        return "gauge"
    if isinstance(data, Sum):
        delta = data.aggregation_temporality is AggregationTemporality.DELTA
        if delta is not data.is_monotonic:
            return None
        return "counter" if delta else "updown"
    if data.aggregation_temporality is not AggregationTemporality.DELTA:
        return None
    return "histogram" if isinstance(data, Histogram) else "exponential"


@lru_cache(maxsize=256)
def _explicit_parts(bounds: tuple[float, ...], room: int) -> tuple[tuple[int, int, str], ...]:
    """Which bounds (from, to) go into each point, and the shape that says so."""
    starts = range(0, len(bounds) or 1, room)
    ends = [min(start + room, len(bounds)) for start in starts]
    return tuple((start, end, bounds_text(bounds[start:end])) for start, end in zip(starts, ends, strict=True))


def bounds_text(bounds: Sequence[float]) -> str:
    """Bounds as the shape of a histogram's point has them."""
    return " ".join(repr(float(bound)) for bound in bounds)
