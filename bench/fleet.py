"""The load: a fleet of instrumented processes whose exports differ only in times and values.

A fleet of 100 resources has 10,000 OTLP series, which are 23,000 series in PromQL. Each resource reports
60 cumulative sums, 30 gauges and 10 histograms of 12 buckets; each point has 5 to 8 string attributes, each
resource 7. All values come from one seeded generator, so that every run sends the same data.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.wire import Message, Span

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BUCKETS = len(BOUNDS) + 1
METHODS = ("GET", "POST", "PUT", "DELETE")

# What a slot holds; the count of bucket j has the kind BUCKET + j.
TIME, START, VALUE, COUNT, BUCKET = 0, 1, 2, 3, 4


class Instrument(NamedTuple):
    """One metric of every resource and how many series of it there are."""

    name: str
    unit: str
    kind: str
    series: int


INSTRUMENTS = (
    Instrument("http_requests_total", "", "sum", 40),
    Instrument("db_client_operations_total", "", "sum", 20),
    Instrument("queue_depth", "", "gauge", 10),
    Instrument("process_memory_bytes", "By", "gauge", 10),
    Instrument("pool_usage_ratio", "1", "gauge", 10),
    Instrument("http_request_duration_seconds", "s", "histogram", 10),
)
POINTS_PER_RESOURCE = sum(instrument.series for instrument in INSTRUMENTS)
SAMPLES_PER_RESOURCE = 90 + 10 * (BUCKETS + 2)  # a histogram point is its buckets, its sum and its count
QUEUE_00 = 60  # the first series of queue_depth, which the visibility part asks for
SAMPLE_NAMES = (
    *(instrument.name for instrument in INSTRUMENTS[:-1]),
    *(f"{INSTRUMENTS[-1].name}_{part}" for part in ("bucket", "sum", "count")),
)

Attributes = dict[str, str]
Floats = NDArray[np.float64]
Counts = NDArray[np.uint64]


def instance_id(resource: int) -> str:
    """The `service.instance.id` of a resource, which is the label `instance` in PromQL."""
    return f"6f1c2b8e-0000-4000-8000-{resource:012d}"


def resource_attributes(resource: int) -> Attributes:
    """The 7 attributes of a resource."""
    service = resource % 10
    return {
        "service.name": f"svc-{service:02d}",
        "service.namespace": "shop",
        "service.instance.id": instance_id(resource),
        "service.version": f"2.{service}.1",
        "host.name": f"node-{resource % 25:03d}.eu-west-1.internal",
        "deployment.environment.name": "production",
        "telemetry.sdk.language": "python",
    }


def request_attributes(i: int) -> Attributes:
    """10 routes x 4 methods."""
    return {
        "http.request.method": METHODS[i % 4],
        "http.route": f"/api/v1/resource{i // 4:02d}/{{id}}",
        "http.response.status_code": "200" if i % 7 else "500",
        "url.scheme": "https",
        "server.address": "api.shop.example",
        "server.port": "443",
        "network.protocol.version": "1.1",
    }


def database_attributes(i: int) -> Attributes:
    """5 tables x 4 operations."""
    return {
        "db.system.name": "postgresql",
        "db.namespace": "orders",
        "db.operation.name": METHODS[i % 4],
        "db.collection.name": f"table_{i // 4:02d}",
        "server.address": "db-1.internal",
        "server.port": "5432",
        "error.type": "none",
        "db.response.status_code": "00000",
    }


def queue_attributes(i: int) -> Attributes:
    """10 queues."""
    return {
        "messaging.system": "rabbitmq",
        "messaging.destination.name": f"queue-{i:02d}",
        "messaging.consumer.group.name": "workers",
        "server.address": "mq-1.internal",
        "messaging.operation.type": "process",
    }


def memory_attributes(i: int) -> Attributes:
    """10 memory pools of a process."""
    return {
        "process.memory.type": f"pool-{i:02d}",
        "process.executable.name": "python3.11",
        "process.runtime.name": "cpython",
        "process.runtime.version": "3.11.7",
        "process.owner": "app",
    }


def pool_attributes(i: int) -> Attributes:
    """10 connection pools."""
    return {
        "db.client.connection.pool.name": f"pool-{i:02d}",
        "db.client.connection.state": "used",
        "db.system.name": "postgresql",
        "server.address": "db-1.internal",
        "server.port": "5432",
        "db.namespace": "orders",
    }


def duration_attributes(i: int) -> Attributes:
    """10 routes."""
    return {
        "http.request.method": "GET",
        "http.route": f"/api/v1/resource{i:02d}/{{id}}",
        "http.response.status_code": "200",
        "url.scheme": "https",
        "server.address": "api.shop.example",
        "network.protocol.version": "1.1",
    }


POINT_ATTRIBUTES = {
    "http_requests_total": request_attributes,
    "db_client_operations_total": database_attributes,
    "queue_depth": queue_attributes,
    "process_memory_bytes": memory_attributes,
    "pool_usage_ratio": pool_attributes,
    "http_request_duration_seconds": duration_attributes,
}


def key_value(key: str, value: str) -> Message:
    """An OTLP `KeyValue` with a string value."""
    return Message().text(1, key).message(2, Message().text(1, value))


def number_point(attributes: Attributes, series: int) -> Message:
    """An OTLP `NumberDataPoint`: start, time and a double."""
    point = Message()
    for key, value in attributes.items():
        point.message(7, key_value(key, value))
    return point.fixed(2, START, series).fixed(3, TIME, series).fixed(4, VALUE, series)


def histogram_point(attributes: Attributes, series: int) -> Message:
    """An OTLP `HistogramDataPoint`: start, time, count, sum, 12 bucket counts and their 11 bounds."""
    point = Message()
    for key, value in attributes.items():
        point.message(9, key_value(key, value))
    point.fixed(2, START, series).fixed(3, TIME, series).fixed(4, COUNT, series).fixed(5, VALUE, series)
    point.packed(6, range(BUCKET, BUCKET + BUCKETS), series)
    return point.data(7, np.array(BOUNDS, dtype="<f8").tobytes())


def metric(instrument: Instrument, first_series: int) -> Message:
    """An OTLP `Metric` with all points of one resource."""
    data = Message()
    attributes = POINT_ATTRIBUTES[instrument.name]
    point = histogram_point if instrument.kind == "histogram" else number_point
    for i in range(instrument.series):
        data.message(1, point(attributes(i), first_series + i), mark=True)
    if instrument.kind != "gauge":
        data.number(2, 2)  # cumulative
    if instrument.kind == "sum":
        data.number(3, 1)  # monotonic
    out = Message().text(1, instrument.name).text(2, f"benchmark metric {instrument.name}")
    if instrument.unit:
        out.text(3, instrument.unit)
    return out.message({"gauge": 5, "sum": 7, "histogram": 9}[instrument.kind], data)


def resource_metrics(resource: int, first_series: int) -> Message:
    """An OTLP `ResourceMetrics` of one scope."""
    about = Message()
    for key, value in resource_attributes(resource).items():
        about.message(1, key_value(key, value))
    scope = Message().message(1, Message().text(1, "bench.instrumentation").text(2, "1.0.0"))
    for instrument in INSTRUMENTS:
        scope.message(2, metric(instrument, first_series))
        first_series += instrument.series
    return Message().message(1, about).message(2, scope)


class Values:
    """The present value of every series; one `step` is one collection interval."""

    def __init__(self, resources: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        size = resources * POINTS_PER_RESOURCE
        kinds = np.tile(np.array([0] * 60 + [1] * 30 + [2] * 10), resources)
        self.counter, self.gauge = kinds == 0, kinds == 1
        gauges, others = self.random.integers(0, 1000, size), self.random.integers(0, 100_000, size)
        self.value: Floats = np.where(self.gauge, gauges, others).astype(float)
        self.buckets: Counts = self.random.integers(0, 1000, (size, BUCKETS)).astype(np.uint64)

    def step(self) -> None:
        """Add seeded increments: counters by whole numbers, gauges by a random walk."""
        size = len(self.value)
        increment = self.random.integers(0, 50, size)
        walk = np.clip(self.value + np.round(self.random.normal(0, 5, size), 2), 0, 1e6)
        seconds = self.value + np.round(increment * 0.173, 3)
        others = np.where(self.gauge, np.round(walk, 2), seconds)
        self.value = np.where(self.counter, self.value + increment, others)
        self.buckets += self.random.integers(0, 5, (size, BUCKETS)).astype(np.uint64)


class Fleet:
    """Exports of `resources` processes, numbered from `first`; counters start an hour before `began_ms`."""

    def __init__(self, resources: int, began_ms: int, *, first: int = 0, seed: int = 7) -> None:
        self.names = range(first, first + resources)
        self.values = Values(resources, seed)
        self.start_ms = began_ms - 3_600_000
        self.random = np.random.default_rng(seed)
        whole = Message()
        for position, resource in enumerate(self.names):
            whole.message(1, resource_metrics(resource, position * POINTS_PER_RESOURCE), mark=True)
        self.template = np.frombuffer(whole.encoded(), dtype=np.uint8)
        per_resource = POINTS_PER_RESOURCE + 1  # a resource's points are marked before the resource itself
        self.resources = whole.marks[POINTS_PER_RESOURCE::per_resource]
        self.points = [m for i, m in enumerate(whole.marks) if i % per_resource != POINTS_PER_RESOURCE]
        slots = np.array(whole.slots, dtype=np.int64)
        self.slots = {kind: slots[slots[:, 1] == kind][:, (0, 2)] for kind in range(BUCKET + BUCKETS)}

    def column(self, kind: int, series: NDArray[np.int64], time_ms: int) -> Floats | Counts:
        """One kind of value, in the order of `series`; eight bytes each."""
        if kind in (TIME, START):
            moment = time_ms if kind == TIME else self.start_ms
            return np.full(len(series), moment * 1_000_000, dtype=np.uint64)
        if kind == VALUE:
            return self.values.value[series]
        buckets = self.values.buckets[series]
        return buckets.sum(axis=1, dtype=np.uint64) if kind == COUNT else buckets[:, kind - BUCKET]

    def export(self, time_ms: int) -> bytes:
        """One interval of all resources: an OTLP request body, to be cut between resources only."""
        self.values.step()
        body = self.template.copy()
        for kind, slots in self.slots.items():
            column = np.ascontiguousarray(self.column(kind, slots[:, 1], time_ms))
            body[slots[:, :1] + np.arange(8)] = column.view(np.uint8).reshape(-1, 8)
        return body.tobytes()

    def shuffled(self, body: bytes) -> bytes:
        """The same points in an order that was never sent before: no shape of them is known to a server."""
        pieces: list[bytes] = []
        done = point = 0
        for instrument in INSTRUMENTS * len(self.resources):
            spans = self.points[point : point + instrument.series]
            point += instrument.series
            pieces.append(body[done : spans[0].begin])
            pieces.extend(_permuted(body, spans, self.random))
            done = spans[-1].end
        return b"".join([*pieces, body[done:]])

    def queue_depths(self) -> dict[str, float]:
        """The newest `queue_depth` of queue-00, by the label `instance`."""
        values = self.values.value[QUEUE_00::POINTS_PER_RESOURCE]
        return {instance_id(name): float(value) for name, value in zip(self.names, values, strict=True)}


def _permuted(body: bytes, spans: list[Span], random: np.random.Generator) -> list[bytes]:
    return [body[spans[i].begin : spans[i].end] for i in random.permutation(len(spans)).tolist()]
