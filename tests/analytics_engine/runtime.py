"""workerd, the real runtime, with an Analytics Engine binding whose event points come to a service of the test."""

import asyncio
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "relay-token"
DATASET = "mirubato_metrics"
FETCH_S = 300
ARRIVAL_S = 30
BACKLOG = 1024  # the runtime opens a socket for each point that is under way

CONFIG = """
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "relay", worker = .relay), (name = "bare", worker = .bare),
               (name = "secretless", worker = .secretless),
               (name = "{dataset}", external = (address = "127.0.0.1:{port}", http = ())) ],
  sockets = [ (name = "relay", address = "127.0.0.1:0", http = (), service = "relay"),
              (name = "bare", address = "127.0.0.1:0", http = (), service = "bare"),
              (name = "secretless", address = "127.0.0.1:0", http = (), service = "secretless") ] );
const relay :Workerd.Worker = (
  modules = [ (name = "relay.js", esModule = embed "relay.js") ], compatibilityDate = "2025-06-01",
  bindings = [ (name = "ANALYTICS", analyticsEngine = "{dataset}"), (name = "RELAY_TOKEN", text = "{token}"),
               (name = "DATASET", text = "{dataset}") ] );
const secretless :Workerd.Worker = (
  modules = [ (name = "relay.js", esModule = embed "relay.js") ], compatibilityDate = "2025-06-01",
  bindings = [ (name = "ANALYTICS", analyticsEngine = "{dataset}"), (name = "DATASET", text = "{dataset}") ] );
const bare :Workerd.Worker = (
  modules = [ (name = "bare.js", esModule = embed "bare.js") ], compatibilityDate = "2025-06-01",
  bindings = [ (name = "ANALYTICS", analyticsEngine = "{dataset}") ] );
"""

# Writes whatever it gets: what becomes of it is the runtime's own doing.
BARE = """
export default { async fetch(request, env) {
  for (const point of await request.json()) env.ANALYTICS.writeDataPoint(point)
  return new Response('ok')
} }
"""


@dataclass
class Arrived:
    """What the runtime made of the points that Workers gave it, in no certain order: it opens many sockets."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, row: dict[str, Any]) -> None:
        with self.changed:
            self.rows.append(row)
            self.changed.notify_all()

    def listen(self, lines: IO[str]) -> None:
        """The runtime's log, which alone tells that a point was lost."""
        for line in lines:
            with self.changed:
                self.log.append(line)
                if "writeDataPoint()" in line:
                    self.refusals.append(line)
                self.changed.notify_all()

    def settled(self, count: int) -> tuple[list[dict[str, Any]], list[str]]:
        """Wait until so many points came or were refused; take both."""

        def is_enough() -> bool:
            return len(self.rows) + len(self.refusals) >= count

        with self.changed:
            assert self.changed.wait_for(is_enough, ARRIVAL_S), (len(self.rows), self.refusals, count)
            taken, self.rows, self.refusals = (self.rows, self.refusals), [], []
            return taken

    def take(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many rows, none of them refused."""
        rows, refusals = self.settled(count)
        assert refusals == []
        return rows


def text(data: Sequence[int]) -> str:
    """A text as the event has it: a list of bytes."""
    return bytes(data).decode()


def blobs(row: dict[str, Any]) -> list[str | None]:
    """Its blobs up to the last one; None where there is none."""
    numbers = [int(key[4:]) for key in row if key.startswith("blob")]
    return [text(row[f"blob{n}"]) if f"blob{n}" in row else None for n in range(1, max(numbers, default=0) + 1)]


def doubles(row: dict[str, Any]) -> list[float]:
    """All 20."""
    return [float(row[f"double{n}"]) for n in range(1, 21)]


@dataclass
class Runtime:
    """Where the relay is, one without a secret, and the Worker that checks nothing; and what arrived."""

    relay: str
    secretless: str
    bare: str
    arrived: Arrived

    def post(self, points: object, *, token: str | None = TOKEN) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        body = json.dumps({"dataset": DATASET, "points": points})
        return httpx.post(f"{self.relay}/api/event-points", content=body, headers=headers)


def workerd() -> str:
    """The path of the binary; skips the test where none can be had."""
    build = [] if os.environ.get("MIRUBATO_FETCH_WORKERD", "1") != "0" else ["--no-fetch"]
    done = subprocess.run(
        [str(ROOT / "scripts" / "workerd"), *build], capture_output=True, text=True, timeout=FETCH_S, check=False
    )
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _number(digits: str) -> float:
    """Minus zero is written without a point, and an integer has none."""
    return -0.0 if digits == "-0" else int(digits)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, arrived: Arrived) -> None:
    """Events on one connection, until it closes."""
    try:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower():
            length = int(head.partition("content-length:")[2].split("\r\n")[0])
            event = await reader.readexactly(length)
            arrived.add(json.loads(event, parse_int=_number))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@contextmanager
def sink() -> Iterator[tuple[int, Arrived]]:
    """The port of a service that keeps what it gets."""
    arrived, loop, ports = Arrived(), asyncio.new_event_loop(), []
    started = threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(lambda r, w: _serve(r, w, arrived), "127.0.0.1", 0, backlog=BACKLOG)
        ports.append(server.sockets[0].getsockname()[1])
        started.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(ARRIVAL_S)
        yield ports[0], arrived
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextmanager
def running(directory: Path) -> Iterator[Runtime]:
    """The runtime with both Workers."""
    binary = workerd()
    with sink() as (port, arrived):
        (directory / "relay.js").write_bytes((ROOT / "worker" / "src" / "relay.js").read_bytes())
        (directory / "bare.js").write_text(BARE, encoding="utf-8")
        config = directory / "config.capnp"
        config.write_text(CONFIG.format(port=port, dataset=DATASET, token=TOKEN), encoding="utf-8")
        reading, writing = os.pipe()
        command = [binary, "serve", "--experimental", "--verbose", f"--control-fd={writing}", str(config)]
        with (
            os.fdopen(reading, encoding="utf-8") as told,
            subprocess.Popen(
                command, stderr=subprocess.PIPE, pass_fds=[writing], text=True, errors="replace"
            ) as process,
        ):
            os.close(writing)
            assert process.stderr
            listener = threading.Thread(target=arrived.listen, args=[process.stderr])
            listener.start()
            try:
                ports: dict[str, int] = {}
                while len(ports) < 3:
                    line = told.readline()
                    assert line, "".join(arrived.log)
                    event = json.loads(line)
                    ports[event["socket"]] = event["port"]
                at = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
                yield Runtime(**at, arrived=arrived)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()
                listener.join()
