"""Delta streams become cumulative at the door; the storage keeps their totals through failures and restarts."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from mirubato.admission.intake import Intake
from mirubato.admission.labels import LabelLimits
from mirubato.admission.rules import TimeBounds
from mirubato.errors import StorageFailed
from mirubato.limits import ACTIVE_SERIES_MS
from mirubato.model.seams import Outcome
from mirubato.otlp.decoder import Decoder
from mirubato.storage.appending import Appender
from tests.storage.world import NOW, World, bits, key_of, named

NS = 1_000_000
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
STALE_FLAG = 1
DAY = 86_400_000
TOTAL = named("hits_total", job="shop")
LATENCY = named("latency", job="shop")


class Door:
    """A world with the real decoder and rules before it."""

    def __init__(self, world: World) -> None:
        self.lead_to(world)

    def lead_to(self, world: World) -> None:
        """Be the door of this world from now on."""
        self.world = world
        registry = world.store.registry
        decoder = Decoder(registry, LabelLimits(64, 512, 4096), ())
        intake = Intake(decoder.decode, registry.state, TimeBounds(7 * DAY, 600_000, zero_samples=False))
        self._appender = Appender(world.store, world.sealer, intake.prepare, world.clock, world.loop)

    def send(self, *metrics: Metric) -> Outcome:
        return self.send_together([list(metrics)])[0]

    def send_together(self, requests: list[list[Metric]]) -> list[Outcome]:
        async def all_of_them() -> list[Outcome]:
            bodies = [_request(metrics) for metrics in requests]
            return list(await asyncio.gather(*(self._appender.append(body, len(body)) for body in bodies)))

        return self.world.run(all_of_them())

    def last(self) -> float:
        """The newest total."""
        samples = self.world.select()[TOTAL]
        (value,) = [value for value in map(float, range(1000)) if bits(value) == samples[max(samples)]]
        return value


def _request(metrics: list[Metric]) -> bytes:
    about = {"service.name": "shop", "host.name": "a"}
    attributes = [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in about.items()]
    resource = ResourceMetrics(resource=Resource(attributes=attributes), scope_metrics=[ScopeMetrics(metrics=metrics)])
    return ExportMetricsServiceRequest(resource_metrics=[resource]).SerializeToString()


def hits(
    value: float, second: int, *, temporality: AggregationTemporality.ValueType = DELTA, stale: bool = False
) -> Metric:
    """What was counted in the second before `second`."""
    point = NumberDataPoint(
        start_time_unix_nano=(NOW + 1000 * (second - 1)) * NS,
        time_unix_nano=(NOW + 1000 * second) * NS,
        as_double=value,
        flags=STALE_FLAG if stale else 0,
    )
    counted = Sum(aggregation_temporality=temporality, is_monotonic=True, data_points=[point])
    return Metric(name="hits", sum=counted)


def latency(count: int, second: int) -> Metric:
    point = ExponentialHistogramDataPoint(
        start_time_unix_nano=(NOW + 1000 * (second - 1)) * NS,
        time_unix_nano=(NOW + 1000 * second) * NS,
        count=count,
        sum=float(count),
        scale=3,
        positive=ExponentialHistogramDataPoint.Buckets(offset=0, bucket_counts=[count]),
    )
    return Metric(
        name="latency", exponential_histogram=ExponentialHistogram(aggregation_temporality=DELTA, data_points=[point])
    )


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """Closes the world that the door has in the end."""
    made = Door(World(tmp_path / "data"))
    yield made
    made.world.close()


Again = Callable[[Door], None]


@pytest.fixture(params=["in order", "killed"])
def restart(request: pytest.FixtureRequest, tmp_path: Path) -> Again:
    deaths = itertools.count()

    def again(door: Door) -> None:
        kill = request.param == "killed"
        door.lead_to(door.world.killed(tmp_path / f"{next(deaths)}") if kill else door.world.reopened())

    return again


@pytest.mark.parametrize("seal_after", [0, 1, 2, 3])
def test_a_restart_is_no_reset(door: Door, restart: Again, seal_after: int) -> None:
    for second in range(1, 4):
        door.send(hits(10.0, second), latency(2, second))
        if second == seal_after:
            door.world.sealer.seal()
    restart(door)
    door.send(hits(5.0, 4), latency(1, 4))
    assert list(door.world.select()[TOTAL].values()) == [bits(10.0), bits(20.0), bits(30.0), bits(35.0)]
    assert [one.histogram.count for one in door.world.reader.newest(None, 0) if one.histogram] == [7.0]


@pytest.mark.parametrize("sealed", [True, False])
def test_a_repeat_after_a_restart_is_not_added(door: Door, restart: Again, sealed: bool) -> None:
    """The reply was lost in the crash, and the client sends again what is on disk."""
    door.send(hits(10.0, 1), hits(5.0, 2), latency(2, 1), latency(1, 2))
    if sealed:
        door.world.sealer.seal()
    restart(door)
    outcome = door.send(hits(5.0, 2), latency(1, 2))
    assert (outcome.accepted, outcome.rejections) == (2, [])
    door.send(hits(1.0, 3), latency(1, 3))
    assert door.last() == 16.0
    assert [one.histogram.count for one in door.world.reader.newest(None, 0) if one.histogram] == [4.0]


def test_a_stream_goes_on_after_a_stale_marker_and_a_restart(door: Door, restart: Again) -> None:
    """Value and marker may share a commit: the total is the value, not the one before it."""
    door.send(hits(10.0, 1))
    door.send_together([[hits(7.0, 2)], [hits(0.0, 3, stale=True)]])
    restart(door)
    door.send(hits(1.0, 4))
    assert door.last() == 18.0


@contextmanager
def breaking(world: World) -> Iterator[None]:
    """No batch can be written."""
    no = "CREATE TEMP TRIGGER no BEFORE INSERT ON main.batch BEGIN SELECT RAISE(FAIL, 'disk is full'); END"
    world.on_writer(lambda connection: connection.execute(no))
    yield
    world.on_writer(lambda connection: connection.execute("DROP TRIGGER no"))


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_failed_commit_adds_nothing(door: Door, restart: Again, attempts: int) -> None:
    door.send(hits(10.0, 1), latency(2, 1))
    world = door.world
    before = world.select(), world.newest(0)
    for _ in range(attempts):
        with breaking(world), pytest.raises(StorageFailed):
            door.send(hits(5.0, 2), latency(1, 2))
        assert (world.select(), world.newest(0)) == before
    assert door.send(hits(5.0, 2), latency(1, 2)).accepted == 2
    assert door.last() == 15.0
    restart(door)
    door.send(hits(1.0, 3))
    assert door.last() == 16.0


def test_what_is_written_now_and_then_is_written_after_a_failed_commit(door: Door) -> None:
    """target_info comes once a minute: a commit that failed does not count."""
    door.send(hits(1.0, 1))
    info, later = named("target_info", job="shop", host_name="a"), NOW + 61_000
    assert set(door.world.select()[info]) == {NOW + 1000}
    with breaking(door.world), pytest.raises(StorageFailed):
        door.send(hits(1.0, 61))
    door.send(hits(1.0, 61))
    assert set(door.world.select()[info]) == {NOW + 1000, later}


def test_the_start_of_a_cumulative_stream_comes_back(door: Door, restart: Again) -> None:
    for second in (1, 2):
        door.send(hits(10.0, second, temporality=CUMULATIVE))
    door.world.sealer.seal()
    restart(door)
    door.send(hits(11.0, 3, temporality=CUMULATIVE))
    restart(door)
    assert int(door.world.store.registry.state.last_start[0]) == NOW + 2000


def test_a_stream_that_was_idle_for_an_hour_begins_anew(door: Door) -> None:
    """Its series has left memory; the fall of the value is what PromQL takes for a reset, which is right."""
    door.send(hits(10.0, 1), latency(2, 1))
    door.world.sealer.seal()
    door.world.now += ACTIVE_SERIES_MS + 1
    assert door.world.evict() == 3  # and target_info
    door.world.now += 1000
    later = (door.world.now - NOW) // 1000
    door.send(hits(3.0, later), latency(1, later))
    assert [*door.world.select()[TOTAL].values()] == [bits(10.0), bits(3.0)]
    contents = [*door.world.select()[LATENCY].values()]
    assert len(contents) == 2
    assert key_of(None) not in contents
