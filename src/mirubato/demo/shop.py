"""The shop: three instrumented services and their customers, each a process of its own."""

import os
import shutil
import socket
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from mirubato import clock
from mirubato.demo.children import Children, DemoError
from mirubato.demo.day import Day
from mirubato.demo.surroundings import Surroundings

# Short, so that the page is alive; an application of one's own keeps OpenTelemetry's 60 s.
METRIC_EXPORT_INTERVAL_MS = 2000
_BACKLOG = 64  # connections that wait while a service starts
_STOP_S = 4.0  # for the last export


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the shop, and how it is told to export."""

    name: str
    module: str
    protocol: Literal["grpc", "http/protobuf"]
    temporality: Literal["cumulative", "delta"]
    semconv: Literal["http", "http/dup"]  # the stable names of HTTP metrics; or these and the older ones


SERVICES = (
    Service("shop-web", "mirubato.demo.shop_web", "grpc", "cumulative", "http"),
    Service("shop-orders", "mirubato.demo.shop_orders", "http/protobuf", "cumulative", "http/dup"),
    Service("shop-catalog", "mirubato.demo.shop_catalog", "http/protobuf", "delta", "http"),
)


def service_environment(
    service: Service, grpc_port: int, otlp_http_port: int, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a service: what it inherits, and OpenTelemetry's own variables instead of inherited ones."""
    port = grpc_port if service.protocol == "grpc" else otlp_http_port
    return _local_environment(inherited) | {
        "OTEL_SERVICE_NAME": service.name,
        "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=shop,service.version=1.0.0,deployment.environment.name=demo",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": service.protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": service.temporality,
        "OTEL_METRIC_EXPORT_INTERVAL": str(METRIC_EXPORT_INTERVAL_MS),
        "OTEL_SEMCONV_STABILITY_OPT_IN": service.semconv,
    }


def _local_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Without the user's OTEL_* variables, which may point elsewhere, and with no proxy before this machine."""
    kept = {name: value for name, value in inherited.items() if not name.startswith("OTEL_")}
    return kept | {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}


class Shop:
    """Starts and stops the shop; also a context manager. Logs and databases go to `directory`.

    The services send to 127.0.0.1, OTLP/gRPC at `grpc_port` and OTLP/HTTP at `otlp_http_port`, and listen on
    free ports of their own.
    """

    def __init__(self, grpc_port: int, otlp_http_port: int, directory: Path, day: Day | None = None) -> None:
        self._grpc_port = grpc_port
        self._otlp_http_port = otlp_http_port
        self._directory = directory.resolve()
        self._day = day or Day()
        self._children: Children | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all processes and return at once: requests wait in the sockets until their service is up.

        DemoError when the packages of the extra `demo` are not installed.
        """
        places = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
        instrument = shutil.which("opentelemetry-instrument", path=places)
        if instrument is None:
            raise DemoError("the demo needs its packages: pip install 'mirubato-monitoring[demo]'")
        self._directory.mkdir(parents=True, exist_ok=True)
        self._children = Children(self._directory)
        with ExitStack() as sockets:
            listening = {service.name: sockets.enter_context(_listening_socket()) for service in SERVICES}
            surroundings = self._surroundings(listening).to_environment()
            for service in SERVICES:
                own = listening[service.name].fileno()
                environment = service_environment(service, self._grpc_port, self._otlp_http_port, os.environ)
                self._children.start(
                    service.name,
                    [instrument, sys.executable, "-m", service.module],
                    environment | surroundings | {"SHOP_LISTEN_FD": str(own)},
                    pass_fds=(own,),
                )
        customers = [sys.executable, "-m", "mirubato.demo.traffic"]
        self._children.start("traffic", customers, _local_environment(os.environ) | surroundings)

    def check(self) -> None:
        """DemoError when a process of the shop has ended by itself."""
        if self._children is not None:
            self._children.check()

    def stop(self) -> None:
        """Send the customers home, then let the services export what they have; takes a few seconds at most."""
        if self._children is not None:
            self._children.stop("traffic", patience_s=_STOP_S)
            self._children.close(_STOP_S)
            self._children = None

    def _surroundings(self, listening: Mapping[str, socket.socket]) -> Surroundings:
        urls = {name: f"http://127.0.0.1:{sock.getsockname()[1]}" for name, sock in listening.items()}
        return Surroundings(
            web_url=urls["shop-web"],
            orders_url=urls["shop-orders"],
            catalog_url=urls["shop-catalog"],
            directory=self._directory,
            opened_at_ms=clock.now_ms(),
            day=self._day,
        )


def _listening_socket() -> socket.socket:
    # Opened here and handed down, a free port stays ours: no other process can take it in between.
    return socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
