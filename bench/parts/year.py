"""A year of a system of 1,000 series with a turned clock, in process: size, retention's cost, queries, correctness.

Every value is a formula of its time, so what each query must answer is known without looking at a sample.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.plan import Plan, progress
from bench.tables import Section, Target
from mirubato.clock import monotonic_s
from mirubato.model.labels import NAME, Family, MetricType, labels_of
from mirubato.model.rollups import DAY_MS, HOUR_MS
from mirubato.model.samples import Batch, Float64s, Floats, Int64s, Kind, no_starts
from mirubato.promql.query import QueryBudget, over_steps
from mirubato.promql.values import Steps
from mirubato.storage.reading import Reader
from mirubato.storage.registry import SeriesLimits
from mirubato.storage.retention import Retention, RetentionSettings
from mirubato.storage.sealing import Sealer, SealSettings
from mirubato.storage.store import SampleStore

BEGAN_MS = 1_700_006_400_000
assert BEGAN_MS % DAY_MS == 0

QUERY = Target(1.0, " s")
WRONG = Target(0)
RULES = RetentionSettings(7 * DAY_MS, 30 * DAY_MS, 365 * DAY_MS)


@dataclass(frozen=True)
class Shape:
    """How much: series, days, and one sample of each series every `step_ms`."""

    series: int = 1000
    days: int = 365
    step_ms: int = 300_000
    metrics: int = 10
    """Counters, and as many gauges."""

    @property
    def counters(self) -> Int64s:
        """Numbers of the series that are counters; the others are gauges."""
        return np.arange(self.series // 2)

    @property
    def end_ms(self) -> int:
        """When it ends."""
        return BEGAN_MS + self.days * DAY_MS

    def values(self, ticks: Int64s) -> Float64s:
        """Of all series at some ticks, tick by tick: counters that are reset every five days, gauges day by day."""
        numbers = np.arange(self.series)
        since = ticks % (5 * DAY_MS // self.step_ms) + 1
        counters = since[:, None] * (self.counters + 1)
        of_day = ticks % (DAY_MS // self.step_ms)
        gauges = of_day[:, None] + numbers[len(self.counters) :] * 0.25
        return np.concatenate([counters, gauges], axis=1).astype(np.float64)

    def samples_of(self, ms: int) -> int:
        """Samples of one series in a stretch."""
        return ms // self.step_ms


class System:
    """A store with retention, fed by the day."""

    def __init__(self, directory: Path, shape: Shape) -> None:
        self.shape, self.now = shape, BEGAN_MS
        self.store = SampleStore(directory, SeriesLimits(10**6, 10**6), self.now)
        self.sealer = Sealer(self.store, SealSettings(500_000, 10**12), lambda: self.now)
        self.retention = Retention(self.store, self.sealer, RULES)
        self.reader = Reader(self.store)
        self._slots = self.store.writer.call(lambda _: self._propose(), transaction=False)
        self.keeping_s: list[float] = []

    def _propose(self) -> Int64s:
        self.store.registry.begin(self.now)
        slots = []
        for number in range(self.shape.series):
            counter = number < len(self.shape.counters)
            name = f"{'calls' if counter else 'depth'}_{number % self.shape.metrics}{'_total' if counter else ''}"
            labels = labels_of([(NAME, name), ("instance", f"{number:04}"), ("job", "shop")])
            family = Family(name, MetricType.COUNTER if counter else MetricType.GAUGE)
            slots.append(self.store.registry.propose(labels, Kind.FLOAT, family))
        return np.array(slots)

    def day(self) -> None:
        """A day of samples, and what is due then: each hour by itself would be 8,760 times 40 commits."""
        ticks = np.arange(self.now // self.shape.step_ms + 1, (self.now + DAY_MS) // self.shape.step_ms + 1)
        self.now += DAY_MS
        floats = Floats(
            np.tile(self._slots, len(ticks)),
            np.repeat(ticks * self.shape.step_ms, len(self._slots)),
            self.shape.values(ticks).ravel(),
        )
        self._commit(Batch(floats, no_starts()))
        while self.sealer.full() and self.sealer.seal():
            pass
        while self.sealer.merge():
            pass
        began = time.process_time()
        self.retention.run(self.now)
        self.keeping_s.append(time.process_time() - began)

    def _commit(self, batch: Batch) -> None:
        store, seqs = self.store, list[int]()
        store.writer.call(
            lambda connection: seqs.append(store.write(connection, batch)),
            lambda: store.committed(seqs[0], batch, self.now),
        )

    def close(self) -> None:
        """Close the files."""
        self.reader.close()
        self.store.close(30)


@dataclass(frozen=True)
class Question:
    """A query over steps, and what each of its series must answer at each of them."""

    text: str
    days: int
    """How far back it goes."""
    step_ms: int
    wanted: Callable[[Shape], float | None]
    """None: only the time it takes is of interest."""


def _per_s(shape: Shape) -> float:
    return float((shape.counters + 1).sum()) / (shape.step_ms / 1000)


QUESTIONS = (
    Question("sum(rate({job='shop',__name__=~'calls.*'}[1d]))", 350, DAY_MS, _per_s),
    Question("sum(increase({job='shop',__name__=~'calls.*'}[30d]))", 300, DAY_MS, lambda s: _per_s(s) * 30 * 86_400),
    Question("sum(rate({job='shop',__name__=~'calls.*'}[1h]))", 28, HOUR_MS, _per_s),
    Question("avg(count_over_time({job='shop'}[1d]))", 350, DAY_MS, lambda s: float(s.samples_of(DAY_MS))),
    Question(
        "min(max_over_time(depth_0[1d]) - min_over_time(depth_0[1d]))",
        350,
        DAY_MS,
        lambda s: s.samples_of(DAY_MS) - 1.0,
    ),
    Question(
        "avg(avg_over_time(depth_0[1d])) - avg(min_over_time(depth_0[1d]))",
        350,
        DAY_MS,
        lambda s: (s.samples_of(DAY_MS) - 1) / 2,
    ),
    Question("max(max_over_time({job='shop',__name__=~'depth.*'}[1h]))", 28, HOUR_MS, lambda _: None),
    Question("calls_0_total", 350, DAY_MS, lambda _: None),
    Question("sum(rate(calls_0_total[2h]))", 7, HOUR_MS, lambda _: None),
)


def ask(system: System, question: Question) -> tuple[float, int, int]:
    """Seconds, points of the answer, and how many of them are wrong."""
    end = system.now // DAY_MS * DAY_MS
    start = max(
        end - question.days * DAY_MS, BEGAN_MS + 31 * DAY_MS if "30d" in question.text else BEGAN_MS + 2 * DAY_MS
    )
    budget = QueryBudget(monotonic_s() + 300, 10**6, 10**9)
    began = time.perf_counter()
    result = over_steps(system.reader, question.text, Steps(start, end, question.step_ms, 300_000), budget)
    took = time.perf_counter() - began
    wanted = question.wanted(system.shape)
    values = [value for one in result.series for value in one.values]
    missing = (end - start) // question.step_ms + 1 - min((len(one.values) for one in result.series), default=0)
    wrong = 0 if wanted is None else sum(abs(value - wanted) > 1e-3 * abs(wanted) for value in values)
    return took, len(values), wrong + missing


@contextmanager
def lived(directory: Path, shape: Shape) -> Iterator[System]:
    """The system at the end of its time."""
    system = System(directory, shape)
    try:
        for day in range(shape.days):
            system.day()
            if day % 30 == 0:
                progress(f"year: day {day}")
        yield system
    finally:
        system.close()


def run(plan: Plan) -> Section:
    """Live through it, then ask."""
    progress("year")
    shape = Shape(series=200, days=60) if plan.quick else Shape()
    began = time.perf_counter()
    with lived(plan.fresh("year"), shape) as system:
        lived_s = time.perf_counter() - began
        return report(system, lived_s)


def report(system: System, lived_s: float) -> Section:
    """The tables."""
    shape = system.shape
    samples = shape.series * shape.samples_of(shape.days * DAY_MS)
    title = f"{shape.days} days of {shape.series:,} series, one sample each {shape.step_ms // 1000} s"
    section = Section("year", title)
    questions = section.table("query", "back to, days", "points", "s", "target", "wrong", "target ")
    for question in QUESTIONS:
        took, points, wrong = ask(system, question)
        verdicts = section.judge(round(took, 2), QUERY), section.judge(wrong, WRONG)
        questions.add(f"`{question.text}`", question.days, points, f"{took:.2f}", verdicts[0], wrong, verdicts[1])
    sizes = section.table("kept as", "rows", "MB")
    for name, rows, size in stored(system.store):
        sizes.add(name, rows, f"{size / 1e6:.1f}")
    sizes.add("the file", "", f"{system.store.path.stat().st_size / 1e6:.1f}")
    keeping = sorted(system.keeping_s)
    middle, most = statistics.median(keeping) * 1000, keeping[-1] * 1000
    cpu = f"Retention, once a day: {middle:.0f} ms of CPU in the middle, {most:.0f} ms at most."
    section.notes = [f"{samples / 1e6:.0f} M samples. {cpu} The whole took {lived_s:.0f} s."]
    return section


def stored(store: SampleStore) -> list[tuple[str, int, int]]:
    """What the file holds: blocks of samples, of hours, of days."""
    parts = {
        "samples": ("sum(samples)", "block"),
        "hours": ("sum(buckets)", f"rollup WHERE resolution = {HOUR_MS}"),
        "days": ("sum(buckets)", f"rollup WHERE resolution = {DAY_MS}"),
    }
    size = "sum(length(series) + length(timestamps) + length(content))"
    found = []
    for name, (rows, table) in parts.items():
        sql = f"SELECT {rows}, {size} FROM {table}"
        count, length = store.writer.call(lambda connection, sql=sql: connection.execute(sql).fetchone())  # type: ignore[misc]
        found.append((name, int(count or 0), int(length or 0)))
    return found
