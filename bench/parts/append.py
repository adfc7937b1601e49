"""CPU from bytes to sealed blocks, in process: decode, commit, seal."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.errors import BenchError
from bench.loads import Queues, Request
from bench.plan import Plan, progress
from bench.tables import Section
from bench.yardstick import count
from mirubato.admission.intake import Intake
from mirubato.admission.labels import LabelLimits
from mirubato.admission.rules import TimeBounds
from mirubato.config import Config
from mirubato.model.seams import Outcome
from mirubato.otlp.decoder import Decoder
from mirubato.storage.appending import Appender
from mirubato.storage.registry import SeriesLimits
from mirubato.storage.sealing import Sealer, SealSettings
from mirubato.storage.store import SampleStore

NEVER_MS = 10**12  # we say when to seal
WARM_INTERVALS = 2  # a shape is learned when it comes a second time


class Reading(NamedTuple):
    """CPU microseconds per point of each step."""

    official: float
    append: float
    seal: float


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


@contextmanager
def opened(directory: Path) -> Iterator[SampleStore]:
    """A new store with default settings."""
    config = Config()
    limits = SeriesLimits(config.max_series, config.max_new_series_per_minute)
    store = SampleStore(directory, limits, now_ms())
    try:
        yield store
    finally:
        store.close(10)


def intake(store: SampleStore) -> Intake[bytes]:
    """Decoder and rules with default settings."""
    config = Config()
    limits = LabelLimits(config.max_labels, config.max_label_name_bytes, config.max_label_value_bytes)
    decoder = Decoder(store.registry, limits, config.promote_resource_attributes)
    bounds = TimeBounds(config.retention_raw, config.future_max, config.start_time_zero_samples)
    return Intake(decoder.decode, store.registry.state, bounds)


async def append_all(store: SampleStore, sealer: Sealer, prepare: Intake[bytes], queues: Queues) -> None:
    """All queues at once, one request of each in flight, as connections do."""
    loop = asyncio.get_running_loop()
    appender: Appender[bytes, Outcome] = Appender(store, sealer, prepare.prepare, now_ms, loop)

    async def drain(queue: list[Request]) -> None:
        for request in queue:
            outcome = await appender.append(bytes(request.body), len(request.body))
            if outcome.rejected:
                raise BenchError(f"points were rejected: {outcome.rejections[0].reason}")

    await asyncio.gather(*(drain(queue) for queue in queues))


def cpu_us(function: Callable[[], object], points: int) -> float:
    """CPU microseconds per point of all threads of this process."""
    began = time.process_time_ns()
    function()
    return (time.process_time_ns() - began) / 1e3 / points


def seal_all(sealer: Sealer) -> None:
    """Seal and merge until there is nothing to do."""
    while sealer.seal() or sealer.merge():
        pass


def one(directory: Path, warm: Queues, queues: Queues) -> Reading:
    """Every step on a new store, and the official classes on the same bodies."""
    bodies = [bytes(request.body) for queue in queues for request in queue]
    points = sum(request.points for queue in queues for request in queue)
    with opened(directory) as store:
        sealer = Sealer(store, SealSettings(Config().seal_samples, NEVER_MS), now_ms)
        prepare = intake(store)
        asyncio.run(append_all(store, sealer, prepare, warm))
        return Reading(
            cpu_us(lambda: [count(body) for body in bodies], points),
            cpu_us(lambda: asyncio.run(append_all(store, sealer, prepare, queues)), points),
            cpu_us(lambda: seal_all(sealer), points),
        )


def split(queues: Queues, intervals: int) -> tuple[Queues, Queues]:
    """The first intervals of each queue, and the rest."""
    sizes = [len(queue) * WARM_INTERVALS // intervals for queue in queues]
    return (
        [queue[:size] for queue, size in zip(queues, sizes, strict=True)],
        [queue[size:] for queue, size in zip(queues, sizes, strict=True)],
    )


def run(plan: Plan) -> Section:
    """Known shapes, both request sizes, as many rounds as planned."""
    progress("append")
    section = Section("append", "CPU from bytes to sealed blocks, in process, shapes known")
    table = section.table(
        *("points a request", "official classes, count us a point", "decode + commit us", "seal us"),
        *("together us", "multiple of the official classes"),
    )
    intervals = plan.intervals + WARM_INTERVALS
    load = plan.history(intervals)
    for size in (1000, 100):
        warm, queues = split(plan.queues(load, size), intervals)
        readings = [one(plan.fresh("append"), warm, queues) for _ in range(plan.rounds)]
        steps = Reading(*(statistics.median(values) for values in zip(*readings, strict=True)))
        together = sum(steps[1:])
        cells = [f"{value:.3f}" for value in (*steps, together)]
        table.add(f"{size:,}", *cells, f"{together / steps.official:.2f} x")
    return section
