"""The composer: builds the rooms, joins them, starts and stops them in order."""

import asyncio
import json
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
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
from mirubato.gateway.alerting import Alerting, Around
from mirubato.gateway.analytics import Analytics
from mirubato.gateway.costing import Costing
from mirubato.gateway.ground import check_whole, lock
from mirubato.gateway.guarding import Guarding, check_host
from mirubato.gateway.measuring import measure_doors, measure_storage
from mirubato.gateway.mirroring import Mirroring
from mirubato.gateway.page import active_alerts, page_api
from mirubato.gateway.probing import Probing
from mirubato.gateway.retaining import measure_retention, retaining
from mirubato.gateway.ruling import Ruling
from mirubato.gateway.signals import Signals
from mirubato.gateway.tls import certificate
from mirubato.gateway.tracing import Tracing
from mirubato.gateway.vitals import Vitals
from mirubato.limits import SHUTDOWN_S_MAX
from mirubato.model.seams import Outcome
from mirubato.otlp.decoder import Decoder
from mirubato.otlp.signals import Signal
from mirubato.probes.targets import targets_of
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
        check_whole(config.data_dir)
        self._tls = certificate(config)
        self._targets = targets_of(config.probes)
        self._config = config
        self._started = monotonic_s()
        self._tasks: list[asyncio.Task[None]] = []
        self._doors: list[GrpcDoor | HttpServer] = []
        self._parts: list[Part] = []
        self.ports: dict[str, int] = {}
        self.extras: dict[str, Extra] = {}
        """What rooms add to /api/dashboard, by key; before `start`."""
        self.query = QuerySettings(
            config.query_timeout, config.max_query_series, config.max_query_samples, config.promql_experimental
        )
        with ExitStack() as opened:  # whatever fails, what was opened before it is closed
            self._open(opened)
            self._build(opened)
            self._opened = opened.pop_all()

    def _open(self, opened: ExitStack) -> None:
        """The files of the data directory, and the threads that work on them; closed in the opposite order."""
        config = self._config
        opened.callback(lock(config.data_dir).close)
        self.store = SampleStore(
            config.data_dir, SeriesLimits(config.max_series, config.max_new_series_per_minute), now_ms()
        )
        opened.callback(self._close_store)
        self.state = StateStore(config.data_dir)
        opened.callback(self.state.close, SHUTDOWN_S_MAX / 8)
        self.reader = Reader(self.store)
        self._pool = ThreadPoolExecutor(_QUERY_THREADS, "query")
        opened.callback(self._close_reader)
        self._slow_lane = ThreadPoolExecutor(1, "slow-lane")
        opened.callback(self._slow_lane.shutdown, wait=False, cancel_futures=True)
        self.sealer = Sealer(self.store, SealSettings(config.seal_samples, config.seal_interval), now_ms)
        self.retention = retaining(config, self.store, self.sealer, self.state)
        opened.callback(self.retention.close)
        opened.callback(self.sealer.stop, SHUTDOWN_S_MAX / 4)

    def _build(self, opened: ExitStack) -> None:
        """The rooms that need no event loop. The mirror is the first part: what it restores must be there first."""
        config = self._config
        self.own_metrics = OwnMetrics(VERSION)
        opened.callback(self.own_metrics.close)
        self.own_metrics.gauge("mirubato.build.info", "", "Always 1", lambda: [(1, {"version": VERSION})])
        self.mirroring = Mirroring(self.state, config) if config.d1_database_id else None
        self.guarding = Guarding(config, self.state)
        self.costing = Costing(config, self.state, self.reader, lambda: self.query.budget(self.query.timeout))
        if self.mirroring:
            self.mirroring.on_usage = self.costing.count_d1
        self.ruling = Ruling(config, self.state)
        self.tracing = Tracing(config, self.state, self.reader)
        opened.callback(self.tracing.store.close, SHUTDOWN_S_MAX / 8)
        around = Around(self.state, self.ruling.book, self.costing.selector, self.store.registry, self._commit)
        self.alerting = Alerting(config, around, self.tracing)
        vitals = Vitals(
            self.own_metrics,
            self.ruling.book,
            self.store.registry,
            self._commit,
            config.evaluation_interval,
            lambda: self.health()["status"] == "ok",
        )
        for measured in (self.guarding, self.tracing, self.alerting):
            measured.measure(self.own_metrics)
        self.extras |= {"costs": self.costing.summary, "deploys": self.tracing.markers}
        first = [part for part in (self.mirroring, self.guarding, self._tls) if part is not None]
        self._parts += [*first, self.costing, self.ruling, self.tracing, self.alerting, vitals]

    async def start(self) -> None:
        """Bind the ports and serve; OSError, and everything closed again, if one is taken."""
        try:
            self._join()
            await self._serve()
        except BaseException:  # also when it is cancelled: nothing may stay open
            await self.stop()
            raise

    def _join(self) -> None:
        """The ways from the doors to the commit, and the rooms that write there."""
        config, registry = self._config, self.store.registry
        self.appender = Appender(self.store, self.sealer, self._intake().prepare, now_ms, asyncio.get_running_loop())
        limits = LabelLimits(config.max_labels, config.max_label_name_bytes, config.max_label_value_bytes)
        decoder = Decoder(registry, limits, config.promote_resource_attributes)
        self._written = RemoteWriteDecoder(registry, limits)
        signals = Signals(config, registry, self._commit, self.tracing.store, self._slow_lane)
        appends: dict[Signal, Append] = {
            Signal.METRICS: self._append(decoder.decode),
            Signal.TRACES: signals.traces,
            Signal.LOGS: signals.logs,
        }
        self.handler = Handler(appends, self._slow_lane, config.max_body_bytes, Inbox(now_ms))
        self.guarding.tell(self.handler.refused)
        self.costing.join(appends[Signal.METRICS])
        self._analytics = Analytics(config, self._pool)
        self.probing = Probing(config, self._targets, registry, self._commit, VERSION)
        self.extras |= {"probes": self.probing.entries, "alerts": active_alerts(self.alerting.desk.active)}
        for measured in (signals, self.probing):
            measured.measure(self.own_metrics)
        measure_doors(self.own_metrics, self.handler.counts)
        measure_storage(self.own_metrics, self.store, self.sealer, self.appender)
        measure_retention(self.own_metrics, self.store, self.sealer, self.retention)
        self._parts += [signals, self._analytics, self.probing]

    async def _serve(self) -> None:
        """All ports are taken before anything is served: a gateway is there as a whole or not at all."""
        doors = self._made_doors()
        self._doors = list(doors.values())
        for name, door in doors.items():
            door.bind(self._config.host, getattr(self._config, name))
        self.ports = {name: door.port for name, door in doors.items()}
        self.sealer.start()
        for part in self._parts:
            await part.start()
        for door in self._doors:
            await door.start()
        self._tasks.append(asyncio.create_task(self._evict_idle()))
        self._write_ports()

    def _made_doors(self) -> dict[str, GrpcDoor | HttpServer]:
        """By the setting of their port."""
        otlp = HttpDoor(self.handler)
        versions = {V1: self._append(self._written.decode_v1), V2: self._append(self._written.decode_v2)}
        event_points = EventPointsDoor(self.handler, self.costing.counting(self._analytics.keep))
        self.web = Web(self._rooms(otlp, RemoteWriteDoor(self.handler, versions), event_points))
        tls, credentials = (self._tls.context, self._tls.grpc_credentials()) if self._tls else (None, None)
        return {
            "grpc_port": GrpcDoor(self.handler, self.guarding.grpc(), credentials),
            "otlp_http_port": HttpServer(self.guarding.http(otlp), "OTLP/HTTP", tls),
            "web_port": HttpServer(self.guarding.http(self.web), "the web", tls),
        }

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
        self._opened.close()

    def _close_store(self) -> None:
        if not self.store.close(SHUTDOWN_S_MAX / 4):
            _log.error("the writer did not finish in time")

    def _close_reader(self) -> None:
        """Their clients are gone, so queries end at their next look at the deadline. One that does not look is left."""
        ending = threading.Thread(target=self._end_queries, name="close-reader", daemon=True)
        ending.start()
        ending.join(SHUTDOWN_S_MAX / 8)

    def _end_queries(self) -> None:
        """Once the last one has ended."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.reader.close(SHUTDOWN_S_MAX / 8)

    def _intake(self) -> Intake[Encoded]:
        config = self._config
        bounds = TimeBounds(config.retention_raw, config.future_max, config.start_time_zero_samples)
        return Intake(Encoded.decoded, self.store.registry.state, bounds)

    def _append(self, decode: Callable[[bytes], Decoded]) -> Append:
        """The way of one protocol's requests to the commit that they share with those of all others."""
        return lambda body, size: self.appender.append(Encoded(decode, body), size)

    def _commit(self, count: Callable[[], Decoded], size: int) -> Awaitable[Outcome]:
        """Commit what `count` answers on the writer thread, for a request of `size` bytes."""
        return self.appender.append(Encoded(lambda _: count(), b""), size)

    def _rooms(self, otlp: AsgiApp, remote_write: AsgiApp, event_points: AsgiApp) -> Rooms:
        return Rooms(
            selector=self.costing.selector,
            pool=self._pool,
            query=self.query,
            now=now_ms,
            version=VERSION,
            health=self.health,
            own_metrics=self.own_metrics.text,
            otlp=otlp,
            remote_write=remote_write,
            event_points=event_points,
            rules=self.ruling.prometheus(self.alerting.desk),
            deploys=self.tracing.markers,
            apis=self._apis(),
        )

    def _apis(self) -> Sequence[Route]:
        """What the web port answers beside Prometheus' API and history."""
        page = page_api(
            self.costing.selector, self.query, self._pool, self.handler, self._newest, self._firing, self.extras
        )
        return [
            *page.routes(),
            *self.ruling.routes(self.alerting.desk, self.reader, self._pool),
            *self.tracing.routes(self._pool),
            *self.probing.routes(),
            *self._analytics.routes(),
            *self.guarding.routes(),
            *self.costing.routes(self._pool),
        ]

    def _firing(self) -> int:
        return sum(alert.state == "firing" for alert in self.alerting.desk.active())

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
                "damaged_blocks": len(store.damaged),
                "over_bytes": self.retention.over_bytes,
            },
            "last_sample_ms": self._newest(),
            **({"mirror": self.mirroring.health()} if self.mirroring else {}),
            "alerts": self.alerting.health(),
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
