"""A port that speaks HTTP: uvicorn inside the loop that is running already."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import uvicorn

from mirubato.config import address

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class _Uvicorn(uvicorn.Server):
    """Signals are the gateway's business, not the web server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """One port served by uvicorn inside the running loop."""

    def __init__(self, app: AsgiApp, what: str, tls: ssl.SSLContext | None = None) -> None:
        """`what` is what the port is for, as an error names it."""
        self._what = what
        self._server = _Uvicorn(
            uvicorn.Config(
                _quiet(app),
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,  # who a request says that it is for is not looked at, and each would cost 5 us
                timeout_keep_alive=75,
                ssl_context_factory=None if tls is None else lambda _config, _default: tls,
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
            reason = str(error.strerror).partition(" (while")[0]  # Python adds the address, which we name anyway
            raise OSError(f"cannot listen on {address(host, port)} for {self._what}: {reason}") from error
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
            await self._hang_up()
            await self._task

    async def _hang_up(self) -> None:
        """Close what is still open. Who waits for a body sees that its sender is gone; who computes is cancelled."""
        self._server.force_exit = True
        state = self._server.server_state
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0.01)
        tasks = list(state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _quiet(app: AsgiApp) -> AsgiApp:
    """Cancelled while the gateway leaves, a request ends without a trace in the log."""

    async def answer(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return answer
