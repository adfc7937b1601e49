"""CPU of the decoder alone, in process, on one thread."""

import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bench.loads import Load, requests
from bench.plan import Plan, progress
from bench.tables import Section
from bench.yardstick import count
from mirubato.admission.labels import LabelLimits
from mirubato.config import Config
from mirubato.otlp.decoder import Decoder
from mirubato.storage.registry import Registry, SeriesLimits

Bodies = list[bytes]
REPEATS = 3  # in each round; the machine's speed changes, so the kinds alternate


class Kind(NamedTuple):
    """What is timed: `prepare` makes a function of one body, `bodies` go through it."""

    name: str
    prepare: Callable[[], Callable[[bytes], object]]
    bodies: Bodies


def new_decoder() -> Decoder:
    """A decoder with default settings that has seen nothing."""
    config = Config()
    registry = Registry(SeriesLimits(config.max_series, config.max_new_series_per_minute))
    limits = LabelLimits(config.max_labels, config.max_label_name_bytes, config.max_label_value_bytes)
    return Decoder(registry, limits, config.promote_resource_attributes)


def us_per_point(function: Callable[[bytes], object], bodies: Bodies, points: int) -> float:
    """CPU microseconds per point of `function` over all bodies."""
    began = time.process_time_ns()
    for body in bodies:
        function(body)
    return (time.process_time_ns() - began) / 1e3 / points


def bodies_of(load: Load, points_per_request: int) -> Bodies:
    """The load's requests in order."""
    return [bytes(r.body) for interval in requests(load, points_per_request // 100) for r in interval]


def after(bodies: Iterable[bytes]) -> Callable[[], Callable[[bytes], object]]:
    """Makes decoders that have seen `bodies` before."""

    def prepare() -> Callable[[bytes], object]:
        decoder = new_decoder()
        for body in bodies:
            decoder.decode(body)
        return decoder.decode

    return prepare


def kinds(load: Load, points_per_request: int) -> list[Kind]:
    """The cases of one request size."""
    plain = bodies_of(load, points_per_request)
    per_interval = len(plain) // len(load.bodies)
    seen = plain[: 2 * per_interval]  # a shape is learned when it comes a second time
    return [
        Kind("official classes, count", lambda: count, plain),
        Kind("shapes known", after(seen), plain[2 * per_interval :]),
        Kind("every shape new, series known", after(seen), bodies_of(load.shuffled(), points_per_request)),
        Kind("every series new", after([]), plain[:per_interval]),
    ]


def one(kind: Kind, points_per_request: int) -> float:
    """One reading."""
    return us_per_point(kind.prepare(), kind.bodies, len(kind.bodies) * points_per_request)


def run(plan: Plan) -> Section:
    """Each kind several times, in turns."""
    progress("decode")
    section = Section("decode", "CPU of the decoder alone, in process, protobuf")
    table = section.table("points a request", "what", "us a point", "multiple of the official classes")
    load = plan.history(12)
    for size in (1000, 100):
        cases = kinds(load, size)
        turns = [[one(kind, size) for kind in cases] for _ in range(REPEATS * plan.rounds)]
        medians = [statistics.median(values) for values in zip(*turns, strict=True)]
        for kind, median in zip(cases, medians, strict=True):
            table.add(f"{size:,}", kind.name, f"{median:.3f}", f"{median / medians[0]:.2f} x")
    return section
