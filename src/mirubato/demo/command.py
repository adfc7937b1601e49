"""`mirubato demo`: a gateway, the shop, and what arrives, until Ctrl-C."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from mirubato import clock
from mirubato.demo.arrivals import Arrivals, GatewayReader
from mirubato.demo.children import Children, DemoError
from mirubato.demo.day import Day
from mirubato.demo.shop import Shop

_GATEWAY_READY_S = 60.0
_GATEWAY_STOP_S = 10.0
_GLANCE_S = 0.1  # how soon a signal, or the end of a child, is noticed


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the gateway listens."""

    grpc: int
    otlp_http: int
    web: int


@dataclass(slots=True)
class Stop:
    """Whether the demo should end: set by SIGINT or SIGTERM, or because its time is over."""

    deadline_s: float | None = None  # monotonic seconds
    _asked: bool = field(default=False, init=False)

    def install(self) -> None:
        """Take SIGINT and SIGTERM from now on; a second Ctrl-C does not disturb the first."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def pause(self, seconds: float) -> bool:
        """Wait; False as soon as the demo should end."""
        until_s = clock.monotonic_s() + seconds
        while not self.due():
            left_s = until_s - clock.monotonic_s()
            if left_s <= 0:
                return True
            time.sleep(min(left_s, _GLANCE_S))
        return False

    def due(self) -> bool:
        """Whether the demo should end now."""
        return self._asked or (self.deadline_s is not None and clock.monotonic_s() >= self.deadline_s)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mirubato demo",
        description="Start the gateway and a small shop of instrumented services, and show what arrives.",
        epilog="All other options go to the gateway: see mirubato gateway --help.",
        allow_abbrev=False,
    )
    parser.add_argument("--no-traffic", action="store_true", help="the bare gateway, without the shop")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("mirubato-data/demo"), help="default: ./mirubato-data/demo"
    )
    parser.add_argument("--for", type=float, dest="for_s", metavar="SECONDS", help="stop after so many seconds")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another shop (default: 1)")
    parser.add_argument(
        "--day", type=float, default=Day().length_s, dest="day_s", metavar="SECONDS", help="length of the shop's day"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the demo with the options `argv` (without the word `demo`); the exit status."""
    arguments, gateway_options = _parser().parse_known_args(argv)
    command = _gateway_command(arguments.data_dir, gateway_options)
    if arguments.no_traffic and arguments.for_s is None:
        os.execv(command[0], command)  # noqa: S606 - from here on this process is the gateway
    stop = Stop()
    if arguments.for_s is not None:
        stop.deadline_s = clock.monotonic_s() + arguments.for_s
    stop.install()
    try:
        _run(command, arguments, stop)
    except (DemoError, OSError) as error:
        print(f"mirubato demo: {error}", file=sys.stderr)
        return error.exit_status if isinstance(error, DemoError) else 1
    return 0


def _gateway_command(data_dir: Path, options: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "mirubato", "gateway", "--data-dir", str(data_dir), *options]


def _run(command: Sequence[str], arguments: argparse.Namespace, stop: Stop) -> None:
    data_dir: Path = arguments.data_dir
    directory = data_dir / "shop"
    directory.mkdir(parents=True, exist_ok=True)
    with Children(directory) as children:
        pid = children.start("gateway", command)
        try:
            ports = _wait_for_gateway(children, data_dir / "gateway.json", pid, stop)
            if ports is not None:
                _show(ports, children, arguments, stop)
        finally:
            children.stop(patience_s=_GATEWAY_STOP_S)


def _wait_for_gateway(children: Children, path: Path, pid: int, stop: Stop) -> Ports | None:
    """The ports once the gateway has written them; None when the demo should end before."""
    deadline_s = clock.monotonic_s() + _GATEWAY_READY_S
    while stop.pause(_GLANCE_S):
        children.check()
        ports = _read_ports(path, pid)
        if ports is not None:
            return ports
        if clock.monotonic_s() > deadline_s:
            raise DemoError(
                f"the gateway was not ready within {_GATEWAY_READY_S:.0f} s: see {children.log_path('gateway')}"
            )
    return None


def _read_ports(path: Path, pid: int) -> Ports | None:
    try:
        ready = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if ready["pid"] != pid:
        return None  # left behind by a gateway of another day
    return Ports(ready["grpc_port"], ready["otlp_http_port"], ready["web_port"])


def _show(ports: Ports, children: Children, arguments: argparse.Namespace, stop: Stop) -> None:
    url = f"http://127.0.0.1:{ports.web}"
    print(f"Mirubato Monitoring: {url}/", flush=True)
    print(f"OTLP/gRPC 127.0.0.1:{ports.grpc}, OTLP/HTTP 127.0.0.1:{ports.otlp_http}; Ctrl-C stops all.", flush=True)
    if arguments.no_traffic:
        while stop.pause(1.0):
            children.check()
        return
    arrivals = Arrivals(GatewayReader(url).samples, sys.stdout)
    day = Day(arguments.seed, arguments.day_s)
    with Shop(ports.grpc, ports.otlp_http, arguments.data_dir / "shop", day) as shop:

        def pause(seconds: float) -> bool:
            children.check()
            shop.check()
            return stop.pause(seconds)

        arrivals.watch(pause)
        print("Stopping ...", flush=True)
