"""Makes `kept/format-N`: a small data directory of the format that this version writes, and what it answers.

Run before a release whose format is new: `python -m tests.backup.keep 2`. What is kept is never made again.
"""

import gzip
import json
import sys
import tarfile
import tempfile
from pathlib import Path

from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric, NumberDataPoint, Sum

from tests.backup.test_kept import KEPT, START_S, STEP_S, answers, settings
from tests.support.doors import HTTP
from tests.support.gateways import Running, running
from tests.support.requests import (
    buckets,
    counter,
    exemplar,
    exponential,
    gauge,
    histogram,
    metrics,
    number,
    powers,
    whole,
)

SEALED, STEPS = 120, 160
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


def send(one: Running, steps: range) -> None:
    """A little of each kind of metric."""
    for step in steps:
        at = (START_S + step * STEP_S) * 1000
        seen = number(step * 2.5, at, route="/x")
        seen.exemplars.append(exemplar(2.5, "ab" * 16, at))
        native = powers([step, 1, 2], zero=1, total=step * 1.5, host="a")
        native.time_unix_nano = at * 1_000_000
        rooms = [number(20 + room + step / 8, at, room=f"r{room}") for room in range(5)]
        body = metrics(
            gauge("kept_temperature", *rooms, unit="Cel", help_="of a room"),
            counter("kept_requests", seen, whole(step * 3, at, route="/y")),
            delta("kept_hits", whole(step % 7, at, host="a"), at - STEP_S * 1000),
            histogram("kept_seconds", buckets([step, 2, 1], [0.1, 1.0], step * 0.25, at, route="/x"), unit="s"),
            exponential("kept_native", native),
            resource={"service.name": "kept", "service.instance.id": "one"},
        )
        assert HTTP.export(one, "metrics", body).code == 0


def delta(name: str, point: NumberDataPoint, start_ms: int) -> Metric:
    """A monotonic delta sum of one point."""
    point.start_time_unix_nano = start_ms * 1_000_000
    return Metric(name=name, sum=Sum(data_points=[point], is_monotonic=True, aggregation_temporality=DELTA))


def keep(name: str) -> None:
    """Part of it is in blocks and part is not, as after a kill."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        with running(data, **settings()) as one:
            send(one, range(SEALED))
            one.gateway.sealer.seal()
            send(one, range(SEALED, STEPS))
            expected = json.dumps(answers(one)).encode()
        with tarfile.open(KEPT / f"{name}.tar.gz", "x:gz") as archive:
            for path in sorted(data.glob("*.db")):
                archive.add(path, f"data/{path.name}")
    (KEPT / f"{name}.answers.json.gz").write_bytes(gzip.compress(expected, mtime=0))


if __name__ == "__main__":
    keep(f"format-{sys.argv[1]}")
