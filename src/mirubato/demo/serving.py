"""How the shop's services take requests: on a socket that the parent opened, until SIGTERM."""

import logging
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn
from flask import Flask
from starlette.applications import Starlette
from werkzeug.serving import WSGIRequestHandler, make_server


class _QuietHandler(WSGIRequestHandler):
    """Keeps connections open and writes no line per request."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def serve_wsgi(app: Flask) -> None:
    """Serve on the inherited socket; ends with SystemExit at SIGTERM."""
    _prepare()
    with _inherited_socket() as listening:
        host, port = listening.getsockname()
        make_server(
            host, port, app, threaded=True, request_handler=_QuietHandler, fd=listening.fileno()
        ).serve_forever()


def serve_asgi(app: Starlette) -> None:
    """Serve on the inherited socket; ends with SystemExit at SIGTERM (uvicorn raises it again once it is done)."""
    _prepare()
    config = uvicorn.Config(app, lifespan="off", access_log=False, log_level="warning")
    with _inherited_socket() as listening:
        uvicorn.Server(config).run(sockets=[listening])


def _inherited_socket() -> socket.socket:
    return socket.socket(fileno=int(os.environ["SHOP_LISTEN_FD"]))


def _prepare() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # By default SIGTERM ends Python without atexit, and what the SDK had not exported yet would be lost.
    signal.signal(signal.SIGTERM, _exit)


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
