"""The composer: builds the rooms, joins them, starts and stops them in order."""

import asyncio
import fcntl
import gc
import ipaddress
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import uvloop

from mirubato.admission.columns import Decoded
from mirubato.admission.intake import Encoded, Intake
from mirubato.admission.labels import LabelLimits
from mirubato.admission.rules import TimeBounds
from mirubato.clock import monotonic_s, now_ms
from mirubato.config import Config, address
from mirubato.errors import ConfigError, StorageFailed
from mirubato.limits import SHUTDOWN_S_MAX
from mirubato.otlp.decoder import Decoder
from mirubato.receiver.event_points_door import EventPointsDoor
from mirubato.receiver.grpc_door import GrpcDoor
from mirubato.receiver.handler import Append, Handler
from mirubato.receiver.http_door import HttpDoor
from mirubato.receiver.remote_write_door import V1, V2, RemoteWriteDoor
from mirubato.remote_write.decoder import Decoder as RemoteWriteDecoder
from mirubato.storage.appending import Appender
from mirubato.storage.reading import Reader
from mirubato.storage.registry import SeriesLimits
from mirubato.storage.sealing import Sealer, SealSettings
from mirubato.storage.store import SampleStore
from mirubato.web.app import Rooms, Web
from mirubato.web.http_server import AsgiApp, HttpServer
from mirubato.web.own_metrics import OwnMetrics, Reading
from mirubato.web.prometheus_queries import QuerySettings

_log = logging.getLogger(__name__)

VERSION = version("mirubato-monitoring")

_QUERY_THREADS = 4
_EVICT_EVERY_S = 60.0
_LAST_WAIT_S = 0.1
_SWITCH_S = 0.001
# Seconds; an fsync is 0.6 ms on an SSD and 10 ms on a disk that turns.
_COMMIT_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]


class Gateway:
    """All rooms of one gateway. `start`, then `stop`; ports are real once it has started."""

    def __init__(self, config: Config) -> None:
        """Open the storage; ConfigError or StorageFailed if that cannot be."""
        _check_host(config)
        self._config = config
        self._started = monotonic_s()
        self._lock = _lock(config.data_dir)
        try:
            self.store = SampleStore(
                config.data_dir, SeriesLimits(config.max_series, config.max_new_series_per_minute), now_ms()
            )
        except BaseException:
            self._lock.close()
            raise
        self.sealer = Sealer(self.store, SealSettings(config.seal_samples, config.seal_interval), now_ms)
        self.reader = Reader(self.store)
        self._pool = ThreadPoolExecutor(_QUERY_THREADS, "query")
        self._slow_lane = ThreadPoolExecutor(1, "slow-lane")
        self.own_metrics = OwnMetrics(VERSION)
        self._tasks: list[asyncio.Task[None]] = []
        self._doors: list[GrpcDoor | HttpServer] = []
        self.ports: dict[str, int] = {}

    async def start(self) -> None:
        """Bind the ports and serve; OSError, and everything closed again, if one is taken."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        config = self._config
        self.appender = Appender(self.store, self.sealer, self._intake().prepare, now_ms, asyncio.get_running_loop())
        limits = LabelLimits(config.max_labels, config.max_label_name_bytes, config.max_label_value_bytes)
        decoder = Decoder(self.store.registry, limits, config.promote_resource_attributes)
        self.handler = Handler(self._append(decoder.decode), self._slow_lane, config.max_body_bytes)
        self._declare_metrics()
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
        self.own_metrics.close()
        self._lock.close()

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
        config = self._config
        return Rooms(
            selector=self.reader,
            pool=self._pool,
            query=QuerySettings(
                config.query_timeout, config.max_query_series, config.max_query_samples, config.promql_experimental
            ),
            now=now_ms,
            version=VERSION,
            health=self.health,
            own_metrics=self.own_metrics.text,
            otlp=otlp,
            remote_write=remote_write,
            event_points=event_points,
        )

    def health(self) -> Mapping[str, Any]:
        """What /api/health answers."""
        store, registry = self.store, self.store.registry
        size = len(registry.series)
        newest = int(registry.state.last_time[:size].max()) if size else None
        return {
            "status": "ok" if store.healthy and not self.sealer.behind() else "cannot store",
            "version": VERSION,
            "uptime_s": round(monotonic_s() - self._started, 1),
            "storage": {
                "series": registry.active,
                "unsealed_samples": store.recent.samples,
                "bytes": self._stored_bytes(),
                "last_commit_ms": store.last_commit or None,
            },
            "last_sample_ms": newest if newest is not None and newest > 0 else None,
            "queues": {"waiting_bytes": self.appender.waiting_bytes, "writer": store.writer.waiting()},
        }

    def _stored_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.store.path.parent.glob(f"{self.store.path.name}*"))

    def _declare_metrics(self) -> None:
        metrics, counts, store = self.own_metrics, self.handler.counts, self.store
        metrics.counter(
            "mirubato.received.items",
            "",
            "Points, spans and log records that were accepted",
            lambda: [(count, {"signal": signal}) for signal, count in list(counts.accepted.items())],
        )
        metrics.counter(
            "mirubato.rejected.items",
            "",
            "Points, spans and log records that were rejected, by reason",
            lambda: [
                (count, {"signal": signal, "reason": reason})
                for (signal, reason), count in list(counts.rejected.items())
            ],
        )
        metrics.counter(
            "mirubato.requests",
            "",
            "Requests by door, signal and result",
            lambda: [
                (count, {"door": door, "signal": signal, "result": result})
                for (door, signal, result), count in list(counts.requests.items())
            ],
        )
        metrics.counter(
            "mirubato.received",
            "By",
            "Bodies of requests, as they came",
            lambda: [(count, {"signal": signal}) for signal, count in list(counts.bytes.items())],
        )
        metrics.gauge("mirubato.series", "", "Active series", _one(lambda: store.registry.active))
        metrics.gauge("mirubato.unsealed.samples", "", "Not yet in blocks", _one(lambda: store.recent.samples))
        metrics.counter("mirubato.sealed.samples", "", "Put into blocks", _one(lambda: self.sealer.sealed_samples))
        metrics.gauge("mirubato.storage", "By", "Size of the samples file and its log", _one(self._stored_bytes))
        metrics.gauge(
            "mirubato.queue", "By", "Requests that wait to be committed", _one(lambda: self.appender.waiting_bytes)
        )
        metrics.gauge("mirubato.build.info", "", "Always 1", lambda: [(1, {"version": VERSION})])
        record = metrics.histogram("mirubato.commit.duration", "s", "One commit, fsync included", _COMMIT_BOUNDS)
        store.writer.on_commit = record

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


def _one(read: Callable[[], float]) -> Reading:
    """A reading of one number without attributes."""
    return lambda: [(read(), {})]


def _check_host(config: Config) -> None:
    if not (_is_loopback(config.host) or config.allow_anonymous):
        raise ConfigError(
            f"host {config.host} can be reached from other machines, and there are no tokens yet:"
            " start with --allow-anonymous if everyone there may read and write"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _lock(directory: Path) -> TextIO:
    """Hold a data directory for this process, until the file is closed; StorageFailed if another has it."""
    path = directory / "gateway.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StorageFailed(f"data_dir cannot be used: {error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read() or "unknown"
        file.close()
        raise StorageFailed(f"data_dir {directory} is in use by another gateway (process {holder})") from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


async def serve(config: Config) -> None:
    """Run a gateway until SIGTERM or SIGINT."""
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    gateway = Gateway(config)
    await gateway.start()
    _announce(config, gateway.ports)
    # What lives now lives on: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    await leave.wait()
    await gateway.stop()


def _announce(config: Config, ports: Mapping[str, int]) -> None:
    grpc, otlp_http, web = (address(config.host, ports[name]) for name in ("grpc_port", "otlp_http_port", "web_port"))
    lines = [
        f"Mirubato Monitoring {VERSION}",
        f"  page and API   http://{web}/",
        f"  OTLP/HTTP      http://{otlp_http}/v1/metrics (and the web port)",
        f"  OTLP/gRPC      {grpc}",
        f"  data           {config.data_dir.absolute()}",
        f"  Grafana        data source of type Prometheus, URL http://{web}/api/prometheus",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def run(config: Config) -> None:
    """Run a gateway in this process until it is told to stop."""
    # New series make many small objects that live long: fewer, larger collections cost a third of the CPU.
    gc.set_threshold(50_000, 20, 50)
    # A thread that computes a query gives way to replies sooner than after Python's 5 ms: half the wait at worst.
    sys.setswitchinterval(_SWITCH_S)
    threading.stack_size(1 << 20)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config))
    _leave_without_waiting()


def _leave_without_waiting() -> None:
    """End the process here if a query is still being computed: Python would wait for its thread, 30 s or more."""
    for thread in threading.enumerate():
        if thread is threading.current_thread() or thread.daemon:
            continue
        thread.join(_LAST_WAIT_S)
        if thread.is_alive():
            sys.stdout.flush()
            os._exit(0)  # all that was accepted is on disk, and the files are closed
