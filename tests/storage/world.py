"""The storage room as the gateway joins it, but in process and with a clock that is a variable; and its model.

The model is a plain dictionary: series -> time -> value. Values are compared bit by bit.
"""

import asyncio
import re
import shutil
import sqlite3
import struct
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from mirubato.database.writer import Errand
from mirubato.model.histogram import Histogram
from mirubato.model.labels import NAME, Family, Labels, MetricType, is_stale, labels_of, metric_name
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.samples import Batch, Exemplar, Floats, HistogramSample, Kind, no_starts
from mirubato.model.seams import Newest, PointRefused
from mirubato.storage.appending import Appender
from mirubato.storage.reading import Reader
from mirubato.storage.registry import Registry, SeriesLimits
from mirubato.storage.sealing import Sealer, SealSettings
from mirubato.storage.store import SampleStore

Answer = TypeVar("Answer")

NOW = 1_700_000_000_000
HOUR = 3_600_000
EVER = (-(1 << 62), 1 << 62)
EVERYTHING = Matcher(NAME, MatchOp.REGEX, ".+")

STALE = struct.pack("<Q", 0x7FF0000000000002)
"""A staleness marker, as `bits` gives it."""

Content = bytes | tuple[Any, ...] | None
"""A value as comparable bits; a histogram as a tuple, None where it went stale."""
Stored = dict[Labels, dict[int, Content]]


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def key_of(histogram: Histogram | None) -> Content:
    """A histogram as something that equals itself when its sum is NaN."""
    if histogram is None:
        return None
    scalars = (histogram.count, histogram.sum, histogram.zero_count, histogram.zero_threshold)
    sides = [(side.offset, tuple(map(bits, side.counts))) for side in (histogram.positive, histogram.negative)]
    return (*map(bits, scalars), histogram.schema, *sides)


def named(name: str, **labels: str) -> Labels:
    return labels_of([(NAME, name), *labels.items()])


def equal(name: str, value: str) -> Matcher:
    return Matcher(name, MatchOp.EQUAL, value)


@dataclass(frozen=True)
class Request:
    """What a test appends: samples by labels; `bug` makes `prepare` raise."""

    floats: Sequence[tuple[Labels, int, float]] = ()
    histograms: Sequence[tuple[Labels, int, Histogram | None]] = ()
    exemplars: Sequence[tuple[Labels, int, float, Labels]] = ()
    bug: bool = False

    def samples(self) -> list[tuple[Labels, int, Content]]:
        """All of it as the model has it."""
        floats: list[tuple[Labels, int, Content]] = [(one, time, bits(value)) for one, time, value in self.floats]
        return floats + [(one, time, key_of(histogram)) for one, time, histogram in self.histograms]


def one(name: str, time: int = NOW, value: float = 1.0, **labels: str) -> Request:
    return Request([(named(name, **labels), time, value)])


STALE_HISTOGRAM = Histogram(0.0, 0.0, 0.0, 0.0, 0)


class Intake:
    """A small `prepare`: proposes series, keeps their state, and answers each request with how much it refused."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def prepare(self, requests: Sequence[Request], _now: int) -> tuple[Batch, Sequence[int | Exception]]:
        floats: list[tuple[int, int, float]] = []
        histograms: list[HistogramSample] = []
        exemplars: list[Exemplar] = []
        answers: list[int | Exception] = []
        for request in requests:
            refused = 0
            for labels, time, value in request.floats:
                try:
                    floats.append((self._slot(labels, Kind.FLOAT), time, value))
                except PointRefused:
                    refused += 1
            for labels, time, histogram in request.histograms:
                slot = self._slot(labels, Kind.HISTOGRAM)
                histograms.append(HistogramSample(slot, time, histogram or STALE_HISTOGRAM, stale=histogram is None))
            for labels, time, value, about in request.exemplars:
                exemplars.append(Exemplar(self._slot(labels, Kind.FLOAT), time, value, about))
            answers.append(refused)
        batch = Batch(_columns(floats), no_starts(), histograms, exemplars)
        self._note(batch)
        if any(request.bug for request in requests):
            raise ZeroDivisionError("a bug")
        return batch, answers

    def _slot(self, labels: Labels, kind: Kind) -> int:
        type_ = MetricType.HISTOGRAM if kind is Kind.HISTOGRAM else MetricType.GAUGE
        return self._registry.propose(labels, kind, Family(metric_name(labels), type_))

    def _note(self, batch: Batch) -> None:
        state, floats = self._registry.state, batch.floats
        state.remember(floats.series)
        stale = is_stale(floats.values)
        state.note(floats.series, floats.timestamps, floats.values, stale if stale.any() else None)
        for sample in batch.histograms:
            state.remember_histogram(sample.series)
            state.note_histogram(sample.series, sample.timestamp, None if sample.stale else sample.histogram)


def _columns(floats: Sequence[tuple[int, int, float]]) -> Floats:
    return Floats(
        np.array([slot for slot, _, _ in floats], np.int64),
        np.array([time for _, time, _ in floats], np.int64),
        np.array([value for _, _, value in floats], np.float64),
    )


class Unlimited:
    """A budget that counts and refuses nothing."""

    def __init__(self) -> None:
        self.series = self.samples = self.checks = 0

    def check(self) -> None:
        self.checks += 1

    def take_series(self, count: int) -> None:
        self.series += count

    def take_samples(self, count: int) -> None:
        self.samples += count


@dataclass
class Settings:
    """What a world is made with."""

    active: int = 1000
    new_per_minute: int = 1_000_000
    seal_samples: int = 1_000_000
    seal_interval: int = 300_000


class World:
    """A store, its sealer (whose thread is not started), reader and appender. Time is `now`."""

    def __init__(self, directory: Path, settings: Settings | None = None, now: int = NOW) -> None:
        self.directory, self.now = directory, now
        self.settings = settings or Settings()
        limits = SeriesLimits(self.settings.active, self.settings.new_per_minute)
        self.store = SampleStore(directory, limits, now)
        seal = SealSettings(self.settings.seal_samples, self.settings.seal_interval)
        self.sealer = Sealer(self.store, seal, self.clock)
        self.reader = Reader(self.store)
        self.loop = asyncio.new_event_loop()
        self.appender = Appender(self.store, self.sealer, Intake(self.store.registry).prepare, self.clock, self.loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def clock(self) -> int:
        return self.now

    def close(self) -> None:
        self.sealer.stop(10)
        self.reader.close()
        assert self.store.close(10)
        self.loop.close()

    def reopened(self) -> "World":
        """Leave in order, and start again."""
        self.close()
        return World(self.directory, self.settings, self.now)

    def copied(self, directory: Path) -> "World":
        """What a sudden death now would leave, opened beside this one: the files, without the last words of a close."""
        directory.mkdir()
        for file in self.directory.glob("samples.db*"):
            if not file.name.endswith("-shm"):  # memory, which dies with the process
                shutil.copy(file, directory)
        return World(directory, self.settings, self.now)

    def killed(self, directory: Path) -> "World":
        """The same, and this one is gone."""
        copy = self.copied(directory)
        self.close()
        return copy

    def run(self, waited: Awaitable[Answer]) -> Answer:
        async def wait() -> Answer:
            return await waited

        return self.loop.run_until_complete(asyncio.wait_for(wait(), 30))

    def append(self, *requests: Request) -> list[int]:
        """Append requests that wait together; answers how many samples of each were refused."""
        return self.run(self._together([self.appender.append(request, 1) for request in requests]))

    def outcomes(self, *requests: Request, size: int = 1) -> list[int | BaseException]:
        """The same, with errors as answers."""
        waiting = [self.appender.append(request, size) for request in requests]
        return self.run(self._together(waiting, errors=True))

    @staticmethod
    async def _together(waiting: Sequence[Awaitable[int]], *, errors: bool = False) -> list[Any]:
        return list(await asyncio.gather(*waiting, return_exceptions=errors))

    def start(self, request: Request, size: int = 1) -> "asyncio.Task[int]":
        """Let a request wait for the writer."""
        task = self.loop.create_task(self.appender.append(request, size))
        self.loop.run_until_complete(asyncio.sleep(0))
        return task

    def errand(self, function: Callable[[sqlite3.Connection], Answer]) -> Errand[Answer]:
        """Let a function wait for the writer, to be part of a commit."""
        errand = Errand(function, None, transaction=True)
        self.store.writer.submit(errand)
        return errand

    @contextmanager
    def busy_writer(self) -> Iterator[None]:
        """Hold the writer up: what is queued meanwhile shares a commit."""
        begun, go_on = threading.Event(), threading.Event()

        def hold_up(_: sqlite3.Connection) -> None:
            begun.set()
            go_on.wait(30)

        self.store.writer.submit(Errand(hold_up, None, transaction=False))
        assert begun.wait(30)
        try:
            yield
        finally:
            go_on.set()

    def on_writer(self, function: Callable[[sqlite3.Connection], Answer], *, transaction: bool = False) -> Answer:
        """Call a function with the writing connection."""
        return self.store.writer.call(function, transaction=transaction)

    def pragma(self, text: str) -> int:
        """Set or read a pragma of the writing connection."""
        row = self.on_writer(lambda connection: connection.execute(f"PRAGMA {text}").fetchone())
        return int(row[0]) if row else 0

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the file holds."""
        return self.on_writer(lambda connection: list(connection.execute(sql)))

    def evict(self) -> int:
        return self.on_writer(lambda _: self.store.evict(self.now))

    def select(self, *matchers: Matcher, start: int = EVER[0], end: int = EVER[1]) -> Stored:
        """The answer of the reader as the model has it (no matcher: everything); checks that its columns are sound."""
        selected = self.reader.select(matchers or (EVERYTHING,), start, end, Unlimited())
        found: Stored = {}
        floats = selected.floats
        assert len(floats.offsets) == len(floats.labels) + 1
        assert floats.offsets[-1] == len(floats.timestamps) == len(floats.values)
        for labels, low, high in zip(floats.labels, floats.offsets[:-1], floats.offsets[1:], strict=True):
            times, values = floats.timestamps[low:high].tolist(), floats.values[low:high].tolist()
            assert times == sorted(set(times))
            assert labels not in found
            found[labels] = {time: bits(value) for time, value in zip(times, values, strict=True)}
        for one_series in selected.histograms:
            assert list(one_series.timestamps) == sorted(set(one_series.timestamps))
            contents = map(key_of, one_series.histograms)
            found.setdefault(one_series.labels, {}).update(zip(one_series.timestamps, contents, strict=True))
        return found

    def newest(self, since: int, *matchers: Matcher) -> dict[Labels, tuple[int, Content]]:
        """What a scrape would show."""
        return {newest.labels: _shown(newest) for newest in self.reader.newest(matchers or None, since)}


def _shown(newest: Newest) -> tuple[int, Content]:
    content = bits(newest.value) if newest.histogram is None else key_of(newest.histogram)
    return newest.timestamp, content


@dataclass
class Model:
    """What a store must hold: for each series its samples by time, of two at one time the later write."""

    series: dict[Labels, dict[int, Content]] = field(default_factory=dict)
    seen: dict[Labels, int] = field(default_factory=dict)

    def append(self, requests: Iterable[Request], now: int) -> None:
        for request in requests:
            for labels, time, content in request.samples():
                self.series.setdefault(labels, {})[time] = content
                self.seen[labels] = now

    def matching(self, matchers: Sequence[Matcher]) -> list[Labels]:
        return [labels for labels in self.series if all(matches(matcher, dict(labels)) for matcher in matchers)]

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Stored:
        found: Stored = {}
        for labels in self.matching(matchers):
            samples = {time: content for time, content in self.series[labels].items() if start <= time <= end}
            if samples:
                found[labels] = samples
        return found

    def newest(self, since: int) -> dict[Labels, tuple[int, Content]]:
        last = {labels: max(samples.items(), key=lambda item: item[0]) for labels, samples in self.series.items()}
        return {labels: sample for labels, sample in last.items() if sample[0] >= since and sample[1] not in _GONE}


_GONE = (None, STALE)


def matches(matcher: Matcher, labels: Mapping[str, str]) -> bool:
    """Whether labels fulfil a condition, said once more with Python's own regular expressions."""
    value = labels.get(matcher.name, "")
    match matcher.op:
        case MatchOp.EQUAL:
            return value == matcher.value
        case MatchOp.NOT_EQUAL:
            return value != matcher.value
        case MatchOp.REGEX:
            return re.fullmatch(matcher.value, value, re.DOTALL) is not None
        case _:
            return re.fullmatch(matcher.value, value, re.DOTALL) is None
