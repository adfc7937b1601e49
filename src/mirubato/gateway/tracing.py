"""Joins the kept traces, error logs and deploy markers to the rooms around them, and keeps them tidy."""

import asyncio
import logging
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from starlette.routing import Route

from mirubato.clock import now_ms
from mirubato.config import Config
from mirubato.database.state import StateStore
from mirubato.gateway.measuring import one
from mirubato.limits import SHUTDOWN_S_MAX
from mirubato.model.labels import NAME
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.seams import Selector
from mirubato.traces.deploys import Deploys
from mirubato.traces.store import TraceSettings, TraceStore
from mirubato.traces.tail import TailSettings
from mirubato.web.own_metrics import OwnMetrics
from mirubato.web.traces_api import TracesApi

_log = logging.getLogger(__name__)

_TICK_S = 5.0
_TIDY_EVERY_TICKS = 12
# target_info comes again at least once a minute.
_TARGET_INFO_MS = 120_000
_VERSIONS = (Matcher(NAME, MatchOp.EQUAL, "target_info"), Matcher("service_version", MatchOp.NOT_EQUAL, ""))


class Tracing:
    """A part of the gateway; `store` takes decoded spans and logs, `deploys` answers what was deployed when."""

    def __init__(self, config: Config, state: StateStore, selector: Selector) -> None:
        """Open traces.db; StorageFailed if that cannot be."""
        self.deploys = Deploys(state)
        self.store = TraceStore(config.data_dir, _settings(config), self.deploys)
        self._selector = selector
        # Not the loop's own threads: those are waited for at the end, and a query may take long.
        self._pool = ThreadPoolExecutor(1, "versions")
        self._task: asyncio.Task[None] | None = None

    def routes(self, pool: Executor) -> list[Route]:
        """For the web port."""
        return TracesApi(self.store, self.deploys, pool, now_ms).routes()

    def markers(self, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
        """The deploys of a range, for charts; from any thread."""
        return [deploy.entry() for deploy in self.deploys.between(start_ms, end_ms)]

    def measure(self, metrics: OwnMetrics) -> None:
        """What is kept, what waits and what had to go."""
        tail = self.store.tail
        metrics.counter("mirubato.traces.kept.spans", "", "Spans kept", one(lambda: tail.counts.kept))
        metrics.counter("mirubato.traces.kept.logs", "", "Error logs kept", one(lambda: self.store.kept_logs))
        metrics.counter(
            "mirubato.traces.forgotten.spans",
            "",
            "Spans not kept: their trace showed no reason to, the buffer was full, or their trace has too many",
            lambda: [
                (tail.counts.forgotten, {"reason": "no_reason"}),
                (tail.counts.pushed_out, {"reason": "buffer_full"}),
                (tail.counts.overflowing, {"reason": "trace_too_large"}),
            ],
        )
        metrics.counter(
            "mirubato.traces.trimmed",
            "",
            "Traces and logs that went before their time",
            one(lambda: self.store.trimmed),
        )
        metrics.gauge("mirubato.traces.waiting", "By", "Spans that wait", one(lambda: tail.waiting_bytes))
        metrics.gauge("mirubato.traces.storage", "By", "Size of traces.db and its log", one(self.store.bytes))

    async def start(self) -> None:
        """Know what was running, and begin to tidy."""
        await asyncio.to_thread(self.deploys.load)
        self._task = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Commit what is queued and close the file."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._pool.shutdown(wait=False, cancel_futures=True)
        with suppress(Exception):  # it is for the first minute after a restart, and state.db may be closed
            await self.deploys.save()
        if not await asyncio.to_thread(self.store.close, SHUTDOWN_S_MAX / 4):
            _log.error("the writer of traces.db did not finish in time")

    async def _tick(self) -> None:
        ticks = 0
        while True:
            self.store.tail.expire(now_ms())
            if ticks % _TIDY_EVERY_TICKS == 0:
                await self._tidy()
            ticks += 1
            await asyncio.sleep(_TICK_S)

    async def _tidy(self) -> None:
        try:
            await asyncio.to_thread(self.store.tidy, now_ms())
            await self.look()
            await self.deploys.save()
        except Exception:  # noqa: BLE001  (the next minute tries again; until then a little more is kept)
            _log.exception("tidying traces.db failed")

    async def look(self) -> None:
        """Which versions there are of what sends metrics; what only sends those is deployed too."""
        loop = asyncio.get_running_loop()
        told = await loop.run_in_executor(self._pool, self._told_versions)
        await self.deploys.see(told, now_ms(), "metrics")

    def _told_versions(self) -> list[tuple[str, str]]:
        """(service, version) of everything that sends metrics; the service is what `job` ends with."""
        found = []
        for newest in self._selector.newest(_VERSIONS, now_ms() - _TARGET_INFO_MS):
            labels = dict(newest.labels)
            service = labels.get("service_name") or labels.get("job", "").rpartition("/")[2]
            if service:
                found.append((newest.timestamp, service, labels["service_version"]))
        return [(service, version) for _, service, version in sorted(found)]


def _settings(config: Config) -> TraceSettings:
    tail = TailSettings(
        slow_ns=config.traces_slow * 1_000_000,
        sample_rate=config.traces_sample_rate,
        per_minute=config.traces_max_per_minute,
        decision_ms=config.traces_decision_time,
        buffer_bytes=config.traces_buffer_bytes,
    )
    return TraceSettings(tail, config.traces_retention, config.traces_max_bytes)
