"""Joins what reads and counts spans and logs to the commit of samples and to what keeps them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Protocol, TypeVar

from mirubato.admission.columns import Decoded
from mirubato.clock import now_ms
from mirubato.config import Config
from mirubato.gateway.measuring import one
from mirubato.limits import SPAN_SERIES_REPEAT_MS
from mirubato.model.logs import Logs
from mirubato.model.seams import Outcome, SeriesRegistry
from mirubato.model.spans import Spans
from mirubato.spans.counting import Counting, CountSettings
from mirubato.spans.log_reading import LogReader, LogSettings
from mirubato.spans.reading import ReadSettings, SpanReader
from mirubato.web.own_metrics import OwnMetrics

_log = logging.getLogger(__name__)

Read = TypeVar("Read")

Commit = Callable[[Callable[[], Decoded], int], Awaitable[Outcome]]
"""(what counts, on the writer thread; the size of the request in bytes) -> what became of it, once it is on disk."""

# Smaller requests are read on the event loop: the hand-over costs more than the work (0.1 ms).
_INLINE_BYTES_MAX = 16 * 1024


class Keeper(Protocol):
    """Where spans and logs go to be kept; answers once what is worth it is on disk."""

    async def keep(self, spans: Spans, now_ms: int) -> None:
        """Take the spans of one request; those of a request that is sent again, again."""
        ...

    async def keep_logs(self, logs: Logs, now_ms: int) -> None:
        """The same for log records."""
        ...


class Signals:
    """Traces and logs requests: read, counted and kept. A part of the gateway: it repeats totals in the background."""

    def __init__(
        self, config: Config, registry: SeriesRegistry, commit: Commit, keeper: Keeper, slow_lane: Executor
    ) -> None:
        """ConfigError for settings that do not go together."""
        self._commit, self._keeper, self._slow_lane = commit, keeper, slow_lane
        self._spans, self._logs = span_reader(config), log_reader(config)
        self.counting = Counting(registry, count_settings(config))
        self._task: asyncio.Task[None] | None = None

    async def traces(self, body: bytes, size: int) -> Outcome:
        """Take an ExportTraceServiceRequest; answers after both commits."""
        read = await self._read(self._spans.read, body)
        if not read.spans and not read.rejected:
            return Outcome()
        counted = self._commit(lambda: self.counting.spans(read), size)
        outcome, _ = await asyncio.gather(counted, self._keeper.keep(read.spans, read.now_ms))
        return outcome

    async def logs(self, body: bytes, size: int) -> Outcome:
        """Take an ExportLogsServiceRequest; answers after both commits."""
        read = await self._read(self._logs.read, body)
        if not read.logs and not read.rejected:
            return Outcome()
        counted = self._commit(lambda: self.counting.logs(read), size)
        outcome, _ = await asyncio.gather(counted, self._keeper.keep_logs(read.logs, read.now_ms))
        return outcome

    async def _read(self, read: Callable[[bytes, int], Read], body: bytes) -> Read:
        if len(body) <= _INLINE_BYTES_MAX:
            return read(body, now_ms())
        return await asyncio.get_running_loop().run_in_executor(self._slow_lane, read, body, now_ms())

    async def start(self) -> None:
        """Begin to repeat totals."""
        self._task = asyncio.create_task(self._repeat())

    async def stop(self) -> None:
        """End that."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _repeat(self) -> None:
        """Series of spans are there at every instant of a query, as if they were scraped."""
        while True:
            await asyncio.sleep(SPAN_SERIES_REPEAT_MS / 1000)
            try:
                if self.counting.rows:
                    await self._commit(lambda: self.counting.repeat(now_ms()), 0)
            except Exception:  # noqa: BLE001  (the next time tries again; no count is lost)
                _log.exception("repeating the totals of spans failed")

    def measure(self, metrics: OwnMetrics) -> None:
        """What was counted, what only in part, and what waits."""
        counts, counting = self.counting.counts, self.counting
        metrics.counter(
            "mirubato.spans.counted",
            "",
            "Spans that came for the first time, by who gave their weight",
            lambda: [(count, {"weight_source": source}) for source, count in list(counts.sources.items())],
        )
        metrics.counter("mirubato.spans.duplicates", "", "Spans that came again", one(lambda: counts.duplicates))
        metrics.counter(
            "mirubato.spans.uncounted",
            "",
            "Spans and log records that no series could be made for",
            one(lambda: counts.refused),
        )
        metrics.counter(
            "mirubato.spans.overflow",
            "",
            "Items counted as overflow: MIRUBATO_SPAN_METRICS_MAX_SETS was reached",
            one(lambda: counting.overflows),
        )
        metrics.gauge("mirubato.spans.label_sets", "", "Sets of labels in use", one(lambda: counting.rows))
        metrics.gauge("mirubato.calls.waiting", "", "Halves of calls that wait", one(lambda: len(counting.calls)))
        metrics.counter(
            "mirubato.calls.unpaired", "", "Halves of calls that waited in vain", one(lambda: counting.calls.unpaired)
        )


def span_reader(config: Config) -> SpanReader:
    """The reader of traces requests that settings ask for."""
    bounds = config.retention_raw, config.future_max
    return SpanReader(ReadSettings(*bounds, config.span_sampling_rates, config.span_metrics_dimensions))


def log_reader(config: Config) -> LogReader:
    """The reader of logs requests that settings ask for."""
    return LogReader(
        LogSettings(
            config.retention_raw,
            config.future_max,
            config.log_sampling_rates,
            config.log_level_fields,
            config.log_number_fields,
        )
    )


def count_settings(config: Config) -> CountSettings:
    """What settings say about counting."""
    return CountSettings(config.span_metrics_buckets, config.span_metrics_max_sets, config.span_metrics_dimensions)
