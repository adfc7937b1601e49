"""OTel metrics for tests, as the SDK makes them and as it might."""

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
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
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from mirubato.analytics_engine.event_points import EventPoint

START_MS = 1_795_000_000_000
TIME_MS = START_MS + 60_000
DELTA = AggregationTemporality.DELTA
CUMULATIVE = AggregationTemporality.CUMULATIVE

Data = Sum | Gauge | Histogram | ExponentialHistogram
Value = str | bool | int | float | Sequence[str]


def number(value: float, attributes: Mapping[str, Value] | None = None) -> NumberDataPoint:
    return NumberDataPoint(attributes, START_MS * 1_000_000, TIME_MS * 1_000_000, value)


def histogram(
    counts: Sequence[int], bounds: Sequence[float], total: float = 1.5, attributes: Mapping[str, Value] | None = None
) -> HistogramDataPoint:
    times = START_MS * 1_000_000, TIME_MS * 1_000_000
    return HistogramDataPoint(attributes, *times, sum(counts), total, counts, bounds, 0.0, 9.0)


def exponential(
    positive: Buckets, negative: Buckets, scale: int, zero_count: int, attributes: Mapping[str, Value] | None = None
) -> ExponentialHistogramDataPoint:
    count = sum(positive.bucket_counts) + sum(negative.bucket_counts) + zero_count
    times = START_MS * 1_000_000, TIME_MS * 1_000_000
    return ExponentialHistogramDataPoint(
        attributes, *times, count, 2.5, scale, zero_count, positive, negative, 0, 0.0, 9.0
    )


def counter(*points: NumberDataPoint) -> Sum:
    return Sum(points, DELTA, is_monotonic=True)


def metrics(
    data: Data,
    name: str = "orders",
    unit: str = "1",
    resource: Mapping[str, Value] | None = None,
    scope: tuple[str, str] = ("shop", "1.0"),
) -> MetricsData:
    origin = Resource({"service.name": "api"} if resource is None else resource)
    of_scope = ScopeMetrics(InstrumentationScope(*scope), [Metric(name, "", unit, data)], "")
    return MetricsData([ResourceMetrics(origin, [of_scope], "")])


class Kept:
    """A writer that keeps what it gets."""

    def __init__(self) -> None:
        self.points: list[EventPoint] = []
        self.counts: dict[str, int] = {}
        self.closed_within_s: float | None = None

    def write(self, points: Sequence[EventPoint]) -> None:
        self.points += points

    def flush(self, timeout_s: float) -> bool:
        return True

    def close(self, timeout_s: float) -> bool:
        self.closed_within_s = timeout_s
        return True


names = st.sampled_from(
    ["http.route", "error.type", "faas.name", "plan", "kind", "unit", "service.name", "", "größe"]
) | st.text(max_size=8)
values = (
    st.text(max_size=30)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.lists(st.text(max_size=5), max_size=3).map(tuple)
)
attribute_sets = st.dictionaries(names, values, max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**40)
metric_names = st.sampled_from(["http.server.request.duration", "orders", "app.errors", "resource.usage"])
all_bounds = st.lists(finite, unique=True, max_size=40).map(sorted)


@st.composite
def histograms(draw: st.DrawFn) -> HistogramDataPoint:
    bounds = draw(all_bounds)
    filled = draw(st.lists(counts, min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    return histogram(filled, bounds, draw(finite), draw(attribute_sets))


@st.composite
def exponentials(draw: st.DrawFn) -> ExponentialHistogramDataPoint:
    sides = st.builds(Buckets, st.integers(-200, 200), st.lists(counts, max_size=40))
    scale, zeros = draw(st.integers(-10, 20)), draw(counts)
    return exponential(draw(sides), draw(sides), scale, zeros, draw(attribute_sets))


numbers = st.builds(number, finite | st.integers(-(2**53), 2**53), attribute_sets)
