"""Request bodies made beforehand, and how they are spread over connections."""

import gzip
from collections.abc import Iterator
from typing import NamedTuple

from bench.fleet import POINTS_PER_RESOURCE, SAMPLES_PER_RESOURCE, Fleet

STEP_MS = 10_000  # collection interval
GZIP_LEVEL = 6


class Request(NamedTuple):
    """One request body and how many data points it holds."""

    body: bytes | memoryview
    points: int


Queues = list[list[Request]]


class Load(NamedTuple):
    """Consecutive intervals of one fleet: the timestamps (ms) and the bodies."""

    fleet: Fleet
    times: range
    bodies: list[bytes]

    @property
    def points(self) -> int:
        """Data points in all."""
        return len(self.bodies) * len(self.fleet.names) * POINTS_PER_RESOURCE

    @property
    def samples(self) -> int:
        """What PromQL counts for them."""
        return len(self.bodies) * len(self.fleet.names) * SAMPLES_PER_RESOURCE

    def shuffled(self) -> "Load":
        """The same points, every request in a new order."""
        return self._replace(bodies=[self.fleet.shuffled(body) for body in self.bodies])


def make(fleet: Fleet, first_ms: int, intervals: int) -> Load:
    """The next `intervals` intervals of the fleet; the first is stamped `first_ms`."""
    times = range(first_ms, first_ms + intervals * STEP_MS, STEP_MS)
    return Load(fleet, times, [fleet.export(time_ms) for time_ms in times])


def requests(load: Load, resources_per_request: int) -> Iterator[list[Request]]:
    """The requests of each interval."""
    spans = load.fleet.resources
    groups = [spans[i : i + resources_per_request] for i in range(0, len(spans), resources_per_request)]
    for body in load.bodies:
        view = memoryview(body)
        yield [Request(view[g[0].begin : g[-1].end], len(g) * POINTS_PER_RESOURCE) for g in groups]


def queues(load: Load, points_per_request: int, connections: int, *, compress: bool = False) -> Queues:
    """One queue for each connection; a resource stays on its connection, so each series arrives in order."""
    out: Queues = [[] for _ in range(connections)]
    for interval in requests(load, max(1, points_per_request // POINTS_PER_RESOURCE)):
        for i, request in enumerate(interval):
            out[i % connections].append(_compressed(request) if compress else request)
    return [queue for queue in out if queue]


def _compressed(request: Request) -> Request:
    return Request(gzip.compress(request.body, GZIP_LEVEL), request.points)
