"""A gateway as a process: runs until it is told to stop."""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Mapping

import uvloop

from mirubato.config import Config, address
from mirubato.gateway.composer import VERSION, Gateway

_LAST_WAIT_S = 0.1


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
    scheme = "https" if config.tls_cert else "http"
    grpc, otlp_http, web = (address(config.host, ports[name]) for name in ("grpc_port", "otlp_http_port", "web_port"))
    lines = [
        f"Mirubato Monitoring {VERSION}",
        f"  page and API   {scheme}://{web}/",
        f"  OTLP/HTTP      {scheme}://{otlp_http}/v1/metrics (and the web port)",
        f"  OTLP/gRPC      {grpc}",
        f"  data           {config.data_dir.absolute()}",
        f"  Grafana        data source of type Prometheus, URL {scheme}://{web}/api/prometheus",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def run(config: Config) -> None:
    """Run a gateway in this process until it is told to stop."""
    # New series make many small objects that live long: fewer, larger collections cost a third of the CPU.
    gc.set_threshold(50_000, 20, 50)
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
