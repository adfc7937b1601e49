"""The generated load is valid OTLP and says what it claims to say."""

from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric, NumberDataPoint

from bench.fleet import INSTRUMENTS, POINTS_PER_RESOURCE, QUEUE_00, SAMPLES_PER_RESOURCE, Fleet, instance_id
from bench.loads import STEP_MS, make, queues
from bench.wire import Message, varint
from bench.yardstick import count

BEGAN_MS = 1_700_000_000_000


@pytest.fixture(name="fleet")
def small_fleet() -> Fleet:
    return Fleet(3, BEGAN_MS, first=7)


def metrics(body: bytes) -> Iterator[Metric]:
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics


def points(metric: Metric) -> list[NumberDataPoint] | list[HistogramDataPoint]:
    if metric.HasField("histogram"):
        return list(metric.histogram.data_points)
    return list((metric.sum if metric.HasField("sum") else metric.gauge).data_points)


def test_varint() -> None:
    assert varint(0) == b"\x00"
    assert varint(300) == b"\xac\x02"


def test_nested_messages_keep_their_slots_and_marks() -> None:
    outer = Message().text(1, "x").message(2, Message().fixed(1, kind=5, series=9), mark=True)
    assert outer.encoded() == b"\x0a\x01x\x12\x09\x09" + bytes(8)
    assert outer.slots == [(6, 5, 9)]
    assert outer.marks == [(3, 14)]


def test_an_export_is_what_the_official_classes_read(fleet: Fleet) -> None:
    body = fleet.export(BEGAN_MS)
    read = ExportMetricsServiceRequest.FromString(body)
    instances = [r.resource.attributes[2].value.string_value for r in read.resource_metrics]
    assert instances == [instance_id(resource) for resource in (7, 8, 9)]
    assert [metric.name for metric in metrics(body)] == [i.name for i in INSTRUMENTS] * 3
    assert count(body) == 3 * POINTS_PER_RESOURCE
    assert sum(len(points(m)) * (14 if m.HasField("histogram") else 1) for m in metrics(body)) == (
        3 * SAMPLES_PER_RESOURCE
    )


def test_values_stand_where_they_belong(fleet: Fleet) -> None:
    body = fleet.export(BEGAN_MS)
    numbers = [p for m in metrics(body) for p in points(m)]
    for series, point in enumerate(numbers):
        assert point.time_unix_nano == BEGAN_MS * 1_000_000
        assert point.start_time_unix_nano == (BEGAN_MS - 3_600_000) * 1_000_000
        assert 5 <= len(point.attributes) <= 8
        if isinstance(point, HistogramDataPoint):
            assert point.sum == fleet.values.value[series]
            assert list(point.bucket_counts) == fleet.values.buckets[series].tolist()
            assert point.count == sum(point.bucket_counts)
        else:
            assert point.as_double == fleet.values.value[series]


def test_exports_differ_only_in_values(fleet: Fleet) -> None:
    first, second = fleet.export(BEGAN_MS), fleet.export(BEGAN_MS + STEP_MS)
    assert len(first) == len(second)
    assert first != second
    before, after = (next(iter(metrics(body))).sum.data_points for body in (first, second))
    assert all(a.as_double <= b.as_double for a, b in zip(before, after, strict=True))


def test_shuffled_points_are_the_same_points_in_a_new_order(fleet: Fleet) -> None:
    body = fleet.export(BEGAN_MS)
    one, two = fleet.shuffled(body), fleet.shuffled(body)
    assert len({body, one, two}) == 3
    for mixed in (one, two):
        for metric, other in zip(metrics(body), metrics(mixed), strict=True):
            assert metric.name == other.name
            assert sorted(p.SerializeToString() for p in points(metric)) == sorted(
                p.SerializeToString() for p in points(other)
            )


def test_queue_depths_are_those_sent(fleet: Fleet) -> None:
    body = fleet.export(BEGAN_MS)
    depths = [m.gauge.data_points[0] for m in metrics(body) if m.name == "queue_depth"]
    assert depths[0].attributes[1].value.string_value == "queue-00"
    assert [p.as_double for p in depths] == list(fleet.queue_depths().values())
    assert depths[1].as_double == fleet.values.value[POINTS_PER_RESOURCE + QUEUE_00]


@pytest.mark.parametrize(("points_per_request", "requests"), [(100, 3), (200, 2), (1000, 1)])
def test_requests_are_cut_between_resources(fleet: Fleet, points_per_request: int, requests: int) -> None:
    load = make(fleet, BEGAN_MS, 2)
    made = [request for queue in queues(load, points_per_request, 2) for request in queue]
    assert len(made) == 2 * requests
    assert sum(request.points for request in made) == load.points == 600
    assert all(count(bytes(request.body)) == request.points for request in made)


def test_each_resource_stays_on_its_connection_in_order(fleet: Fleet) -> None:
    load = make(fleet, BEGAN_MS, 4)
    for queue in queues(load, 100, 3):
        read = [ExportMetricsServiceRequest.FromString(bytes(r.body)).resource_metrics[0] for r in queue]
        times = [r.scope_metrics[0].metrics[0].sum.data_points[0].time_unix_nano for r in read]
        assert len({r.resource.SerializeToString() for r in read}) == 1
        assert times == [time_ms * 1_000_000 for time_ms in load.times]
