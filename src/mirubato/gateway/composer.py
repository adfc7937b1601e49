"""The composer: builds the rooms, joins them, starts and stops them in order."""

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from starlette.routing import Route

from mirubato.admission.columns import Decoded
from mirubato.admission.intake import Encoded, Intake
from mirubato.admission.labels import LabelLimits
from mirubato.admission.rules import TimeBounds
from mirubato.clock import monotonic_s, now_ms
from mirubato.config import Config
from mirubato.database.state import StateStore
from mirubato.gateway.ground import check_host, lock
from mirubato.gateway.measuring import measure_doors, measure_storage
from mirubato.gateway.page import page_api
from mirubato.limits import SHUTDOWN_S_MAX
from mirubato.otlp.decoder import Decoder
from mirubato.receiver.event_points_door import EventPointsDoor
from mirubato.receiver.grpc_door import GrpcDoor
from mirubato.receiver.handler import Append, Handler
from mirubato.receiver.http_door import HttpDoor
from mirubato.receiver.inbox import Inbox
from mirubato.receiver.remote_write_door import V1, V2, RemoteWriteDoor
from mirubato.remote_write.decoder import Decoder as RemoteWriteDecoder
from mirubato.storage.appending import Appender
from mirubato.storage.reading import Reader
from mirubato.storage.registry import SeriesLimits
from mirubato.storage.sealing import Sealer, SealSettings
from mirubato.storage.store import SampleStore
from mirubato.web.app import Rooms, Web
from mirubato.web.dashboard import Extra
from mirubato.web.http_server import AsgiApp, HttpServer
from mirubato.web.own_metrics import OwnMetrics
from mirubato.web.prometheus_queries import QuerySettings

_log = logging.getLogger(__name__)

VERSION = version("mirubato-monitoring")

_QUERY_THREADS = 4
_EVICT_EVERY_S = 60.0


class Part(Protocol):
    """A room with work of its own in the background: started before the doors open, stopped after they close."""

    async def start(self) -> None:
        """Begin; what it raises ends the start of the gateway."""
        ...

    async def stop(self) -> None:
        """End within a second or two, what was taken on disk."""
        ...


class Gateway:
    """All rooms of one gateway. `start`, then `stop`; ports are real once it has started."""

    def __init__(self, config: Config) -> None:
        """Open the storage; ConfigError or StorageFailed if that cannot be."""
        check_host(config)
        self._config = config
        self._started = monotonic_s()
        self._lock = lock(config.data_dir)
        try:
            self.store = SampleStore(
                config.data_dir, SeriesLimits(config.max_series, config.max_new_series_per_minute), now_ms()
            )
            self.state = self._opened_state()
        except BaseException:  # whatever it was, another gateway may have the directory now
            self._lock.close()
            raise
        self.sealer = Sealer(self.store, SealSettings(config.seal_samples, config.seal_interval), now_ms)
        self.reader = Reader(self.store)
        self._pool = ThreadPoolExecutor(_QUERY_THREADS, "query")
        self._slow_lane = ThreadPoolExecutor(1, "slow-lane")
        self.own_metrics = OwnMetrics(VERSION)
        self.own_metrics.gauge("mirubato.build.info", "", "Always 1", lambda: [(1, {"version": VERSION})])
        self._tasks: list[asyncio.Task[None]] = []
        self._doors: list[GrpcDoor | HttpServer] = []
        self._parts: list[Part] = []
        self.query = QuerySettings(
            config.query_timeout, config.max_query_series, config.max_query_samples, config.promql_experimental
        )
        self.extras: dict[str, Extra] = {}
        """What rooms add to /api/dashboard, by key; before `start`."""
        self.ports: dict[str, int] = {}

    async def start(self) -> None:
        """Bind the ports and serve; OSError, and everything closed again, if one is taken."""
        try:
            await self._start()
        except BaseException:  # also when it is cancelled: nothing may stay open
            await self.stop()
            raise

    async def _start(self) -> None:
        config = self._config
        self.appender = Appender(self.store, self.sealer, self._intake().prepare, now_ms, asyncio.get_running_loop())
        limits = LabelLimits(config.max_labels, config.max_label_name_bytes, config.max_label_value_bytes)
        decoder = Decoder(self.store.registry, limits, config.promote_resource_attributes)
        self.handler = Handler(self._append(decoder.decode), self._slow_lane, config.max_body_bytes, Inbox(now_ms))
        measure_doors(self.own_metrics, self.handler.counts)
        measure_storage(self.own_metrics, self.store, self.sealer, self.appender)
        otlp = HttpDoor(self.handler)
        written = RemoteWriteDecoder(self.store.registry, limits)
        remote_write = RemoteWriteDoor(
            self.handler, {V1: self._append(written.decode_v1), V2: self._append(written.decode_v2)}
        )
        doors: dict[str, GrpcDoor | HttpServer] = {
            "grpc_port": GrpcDoor(self.handler),
            "otlp_http_port": HttpServer(otlp, "OTLP/HTTP"),
            "web_port": HttpServer(Web(self._rooms(otlp, remote_write, EventPointsDoor(self.handler))), "the web"),
        }
        # All ports are taken before anything is served: a gateway is there as a whole or not at all.
        self._doors = list(doors.values())
        for name, door in doors.items():
            door.bind(config.host, getattr(config, name))
        self.ports = {name: door.port for name, door in doors.items()}
        self.sealer.start()
        for part in self._parts:
            await part.start()
        for door in self._doors:
            await door.start()
        self._tasks.append(asyncio.create_task(self._evict_idle()))
        self._write_ports()

    async def stop(self) -> None:
        """Take no new work, commit what was taken, close the files; within SHUTDOWN_S_MAX seconds."""
        self._ports_file().unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(door.stop(SHUTDOWN_S_MAX / 4) for door in self._doors))
        await asyncio.gather(*(part.stop() for part in self._parts), return_exceptions=True)
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Close what `__init__` opened."""
        self.sealer.stop(SHUTDOWN_S_MAX / 4)
        self._slow_lane.shutdown(wait=False, cancel_futures=True)
        # Their clients are gone, so queries end at their next look at the deadline. One that does not look is left.
        ending = threading.Thread(target=self._close_reader, name="close-reader", daemon=True)
        ending.start()
        ending.join(SHUTDOWN_S_MAX / 8)
        if not self.store.close(SHUTDOWN_S_MAX / 4):
            _log.error("the writer did not finish in time")
        self.state.close(SHUTDOWN_S_MAX / 8)
        self.own_metrics.close()
        self._lock.close()

    def _opened_state(self) -> StateStore:
        try:
            return StateStore(self._config.data_dir)
        except BaseException:  # the samples are open already
            self.store.close(SHUTDOWN_S_MAX / 4)
            raise

    def _close_reader(self) -> None:
        """Once the last query has ended."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.reader.close()

    def _intake(self) -> Intake[Encoded]:
        config = self._config
        bounds = TimeBounds(config.retention_raw, config.future_max, config.start_time_zero_samples)
        return Intake(Encoded.decoded, self.store.registry.state, bounds)

    def _append(self, decode: Callable[[bytes], Decoded]) -> Append:
        """The way of one protocol's requests to the commit that they share with those of all others."""
        return lambda body, size: self.appender.append(Encoded(decode, body), size)

    def _rooms(self, otlp: AsgiApp, remote_write: AsgiApp, event_points: AsgiApp) -> Rooms:
        return Rooms(
            selector=self.reader,
            pool=self._pool,
            query=self.query,
            now=now_ms,
            version=VERSION,
            health=self.health,
            own_metrics=self.own_metrics.text,
            otlp=otlp,
            remote_write=remote_write,
            event_points=event_points,
            apis=self._apis(),
        )

    def _apis(self) -> Sequence[Route]:
        """What the web port answers beside Prometheus' API and history."""
        page = page_api(self.reader, self.query, self._pool, self.handler, self._newest, self.extras)
        return [*page.routes()]

    def _newest(self) -> int | None:
        """Time of the newest sample, ms."""
        registry = self.store.registry
        size = len(registry.series)
        newest = int(registry.state.last_time[:size].max()) if size else 0
        return newest if newest > 0 else None

    def health(self) -> Mapping[str, Any]:
        """What /api/health answers."""
        store, registry = self.store, self.store.registry
        return {
            "status": "ok" if store.healthy and not self.sealer.behind() else "cannot store",
            "version": VERSION,
            "uptime_s": round(monotonic_s() - self._started, 1),
            "storage": {
                "series": registry.active,
                "unsealed_samples": store.recent.samples,
                "bytes": store.bytes(),
                "last_commit_ms": store.last_commit or None,
            },
            "last_sample_ms": self._newest(),
            "queues": {"waiting_bytes": self.appender.waiting_bytes, "writer": store.writer.waiting()},
        }

    async def _evict_idle(self) -> None:
        """Idle series leave memory; on the writer thread, which alone changes the registry."""
        while True:
            await asyncio.sleep(_EVICT_EVERY_S)
            try:
                await asyncio.to_thread(self.store.writer.call, lambda _: self.store.evict(now_ms()), transaction=False)
            except Exception:  # noqa: BLE001  (the next minute tries again; memory is all that is at stake)
                _log.exception("letting idle series go failed")

    def _ports_file(self) -> Path:
        return self._config.data_dir / "gateway.json"

    def _write_ports(self) -> None:
        """Where tools find a gateway that was started on free ports."""
        path = self._ports_file()
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps({"pid": os.getpid(), **self.ports}), encoding="utf-8")
        draft.replace(path)
