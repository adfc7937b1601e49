"""Gateways on free ports, served by a thread of this process."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import uvloop

from mirubato.config import Config
from mirubato.gateway.composer import Gateway

START_S = 20
API = "/api/prometheus/api/v1"


@dataclass(frozen=True)
class Running:
    """A gateway that serves until its context ends."""

    gateway: Gateway
    http: httpx.Client
    loop: asyncio.AbstractEventLoop
    leave: asyncio.Event

    def url(self, port: str, path: str = "") -> str:
        """`port` is `web_port` or `otlp_http_port`."""
        return f"http://127.0.0.1:{self.gateway.ports[port]}{path}"

    def get(self, path: str, headers: dict[str, str] | None = None, /, **parameters: Any) -> httpx.Response:
        """GET on the web port."""
        return self.http.get(self.url("web_port", path), params=parameters, headers=headers)

    def post(self, path: str, **form: Any) -> httpx.Response:
        """POST of a form on the web port."""
        return self.http.post(self.url("web_port", path), data=form)

    def api(self, endpoint: str, **parameters: Any) -> Any:
        """The `data` of a Prometheus API answer that must be a success."""
        reply = self.get(f"{API}/{endpoint}", **parameters)
        answer = reply.json()
        assert (reply.status_code, answer["status"]) == (200, "success"), answer
        return answer["data"]

    def samples(self, selector: str, time: float | None = None) -> dict[tuple[tuple[str, str], ...], dict[int, str]]:
        """Everything of the last hour before `time` (s): labels -> time in ms -> value as the API writes it."""
        moment = {} if time is None else {"time": time}
        found = self.api("query", query=f"{selector}[1h]", **moment)["result"]
        return {
            tuple(sorted(one["metric"].items())): {round(at * 1000): value for at, value in one["values"]}
            for one in found
            if "values" in one
        }

    def value(self, selector: str) -> str:
        """The newest value of the one series that a selector finds."""
        (found,) = self.api("query", query=selector)["result"]
        return str(found["value"][1])


def config(directory: Path, **settings: Any) -> Config:
    """Defaults, free ports, and `settings`."""
    ports = {"grpc_port": 0, "otlp_http_port": 0, "web_port": 0}
    return replace(Config(), data_dir=directory, **(ports | settings))


@contextmanager
def running(directory: Path, **settings: Any) -> Iterator[Running]:
    """A gateway over `directory`; at the end it is stopped as SIGTERM would stop it."""
    started: Future[Running] = Future()
    thread = threading.Thread(target=_serve, args=(config(directory, **settings), started), name="gateway")
    thread.start()
    try:
        one = started.result(START_S)
    except BaseException:
        thread.join(START_S)
        raise
    try:
        yield one
    finally:
        one.http.close()
        one.loop.call_soon_threadsafe(one.leave.set)
        thread.join(START_S)
        assert not thread.is_alive()


def _serve(settings: Config, started: Future[Running]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_told(settings, started))


async def _until_told(settings: Config, started: Future[Running]) -> None:
    try:
        gateway = Gateway(settings)
        await gateway.start()
    except BaseException as error:  # noqa: BLE001  (the thread that waits gets it)
        started.set_exception(error)
        return
    leave = asyncio.Event()
    started.set_result(Running(gateway, httpx.Client(timeout=30), asyncio.get_running_loop(), leave))
    await leave.wait()
    await gateway.stop()
