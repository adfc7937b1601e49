"""A port that speaks HTTP: uvicorn inside the loop that is running already."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from mirubato.config import address


class _Uvicorn(uvicorn.Server):
    """Signals are the gateway's business, not the web server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """One port served by uvicorn inside the running loop."""

    def __init__(self, app: Any, what: str) -> None:
        """`what` is what the port is for, as an error names it."""
        self._what = what
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
            )
        )
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    def bind(self, host: str, port: int) -> None:
        """Take `port` (0: any free one); OSError if that cannot be."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise OSError(f"cannot listen on {address(host, port)} for {self._what}: {error.strerror}") from error
        self.port = int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Begin to serve."""
        assert self._socket is not None
        self._task = asyncio.create_task(self._server.serve([self._socket]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(0.001)

    async def stop(self, grace_s: float) -> None:
        """Take no new requests; let those under way finish for `grace_s` seconds."""
        self._server.should_exit = True
        if self._task is None:
            if self._socket is not None:
                self._socket.close()
            return
        done, _ = await asyncio.wait([self._task], timeout=grace_s)
        if not done:
            self._server.force_exit = True
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
