"""Whatever is sent through whichever door: what is stored is what a plain dictionary would hold."""

import math
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric, NumberDataPoint

from mirubato.model.labels import format_value
from tests.support.doors import DOORS, Door
from tests.support.gateways import Running
from tests.support.requests import (
    buckets,
    counter,
    fresh,
    gauge,
    histogram,
    metrics,
    now_ms,
    number,
    whole,
)

Labels = tuple[tuple[str, str], ...]

RETENTION_MS, FUTURE_MS = 7 * 86_400_000, 600_000
BOUNDS = [0.5, 1.0, 2.5]
LABELS = st.dictionaries(st.sampled_from(["route", "http.method", "Zone"]), st.text(max_size=3), max_size=3)
SECONDS = st.one_of(st.integers(-3000, 0), st.integers(-300, 0))
VALUES = st.one_of(st.floats(), st.integers(-(2**53), 2**53))


@dataclass
class Model:
    """What should be stored, and how many points should be rejected."""

    samples: dict[Labels, dict[int, str]] = field(default_factory=dict)
    rejected: int = 0

    def put(self, name: str, at_ms: int, value: float, labels: dict[str, str]) -> None:
        """The last write of a (series, time) wins; an empty label is none."""
        named = {key.replace(".", "_"): text for key, text in labels.items() if text}
        pairs = named | {"__name__": name, "job": "shop", "service_name": "shop"}
        self.samples.setdefault(tuple(sorted(pairs.items())), {})[at_ms] = format_value(float(value))


def good_number(data: st.DataObject, model: Model, name: str, now: int) -> NumberDataPoint:
    labels, value, at_ms = data.draw(LABELS), data.draw(VALUES), now + 1000 * data.draw(SECONDS)
    model.put(name, at_ms, value, labels)
    return whole(value, at_ms, **labels) if isinstance(value, int) else number(value, at_ms, **labels)


def bad_number(data: st.DataObject, model: Model, name: str, now: int) -> NumberDataPoint:
    model.rejected += 1
    labels = data.draw(LABELS)
    return data.draw(
        st.sampled_from(
            [
                number(1.0, now - RETENTION_MS - 60_000, **labels),
                number(2.0, now + FUTURE_MS + 60_000, **labels),
                number(3.0, 0, **labels),
                number(None, now, **labels),
                number(4.0, now, **labels, **{"": "a label without a name"}),
                number(5.0, now, **labels, long="x" * 5000),
                number(6.0, now, **{f"label{index}": "x" for index in range(100)}),
            ]
        )
    )


def good_buckets(data: st.DataObject, model: Model, name: str, now: int) -> HistogramDataPoint:
    labels, at_ms = data.draw(LABELS), now + 1000 * data.draw(SECONDS)
    counts = data.draw(st.lists(st.integers(0, 2**40), min_size=4, max_size=4))
    total = data.draw(st.floats())
    for index, bound in enumerate(["0.5", "1", "2.5", "+Inf"]):
        model.put(f"{name}_bucket", at_ms, sum(counts[: index + 1]), labels | {"le": bound})
    model.put(f"{name}_count", at_ms, sum(counts), labels)
    model.put(f"{name}_sum", at_ms, total, labels)
    return buckets(counts, BOUNDS, total, at_ms, **labels)


def bad_buckets(data: st.DataObject, model: Model, name: str, now: int) -> HistogramDataPoint:
    model.rejected += 1
    labels = data.draw(LABELS)
    return data.draw(
        st.sampled_from(
            [
                buckets([1, 2, 3, 4], BOUNDS, 1.0, now - RETENTION_MS - 60_000, **labels),
                buckets([1, 2, 3], BOUNDS, 1.0, now, **labels),
                buckets([1, 2, 3], [2.0, 1.0], 1.0, now, **labels),
                buckets([1, 2, 3], [1.0, math.inf], 1.0, now, **labels),
                buckets([1, 2, 3, 4], BOUNDS, 1.0, now, **labels, **{"": "a label without a name"}),
            ]
        )
    )


def some_metric(data: st.DataObject, model: Model, prefix: str, now: int) -> Metric:
    """A metric of good points and bad ones; those of one name in one request are of one kind."""
    kind = data.draw(st.sampled_from(["gauge", "counter", "histogram"]))
    name = f"{prefix}_{kind}{data.draw(st.integers(0, 1))}"
    good = data.draw(st.lists(st.booleans(), max_size=6))
    if kind == "histogram":
        return histogram(name, *((good_buckets if one else bad_buckets)(data, model, name, now) for one in good))
    stored = name if kind == "gauge" else f"{name}_total"
    points = [(good_number if one else bad_number)(data, model, stored, now) for one in good]
    return gauge(name, *points) if kind == "gauge" else counter(name, *points)


@given(data=st.data(), doors=st.lists(st.sampled_from(DOORS), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_stored_is_what_a_dictionary_would_hold(
    gateway: Running, data: st.DataObject, doors: list[Door]
) -> None:
    prefix, now, stored = fresh("p"), now_ms(), Model()
    for door in doors:
        model = Model(stored.samples)
        sent = metrics(*(some_metric(data, model, prefix, now) for _ in range(3)))
        reply = door.export(gateway, "metrics", sent)
        assert (reply.code, reply.rejected) == (0, model.rejected), reply.message
        assert bool(reply.message) == bool(model.rejected)
    found = gateway.samples(f'{{__name__=~"{prefix}_.*"}}', now / 1000)
    assert found == stored.samples
