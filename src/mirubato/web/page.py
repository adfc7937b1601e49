"""The page's built files: read once, held in memory plain and gzipped, served under a strict policy.

The build (hatch_build.py, scripts/page) writes them into `built/` beside this module. Where it could not, the web port
answers with a text that says how to get the page; every API works without it.
"""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

BUILT = Path(__file__).parent / "built"
"""Where the build puts the page."""

NOT_BUILT = ".not-built"
"""A file in BUILT that says why there is no page."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content-Security-Policy: nothing from another host, nothing inline, in nobody's frame (w3.org/TR/CSP3)."""

_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
# Names under assets/ hold a hash of the content, so what is there never changes.
_FOREVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_SQUEEZABLE = {".html", ".js", ".css", ".svg", ".json", ".txt"}
_TYPES = {".js": "text/javascript; charset=utf-8", ".html": "text/html; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class _File:
    plain: bytes
    gzipped: bytes | None
    etag: str
    type: str
    caching: str


class Page:
    """The files of the page, as they were when the gateway started."""

    def __init__(self, version: str, directory: Path = BUILT) -> None:
        """`directory` may be missing, or hold a note instead of a page."""
        self._version, self._reason = version, _reason(directory)
        self._files = {} if self._reason else _read(directory)

    def routes(self) -> list[Route]:
        """`/` and the files that it asks for."""
        names = {name for name in self._files if "/" not in name} - {"index.html"}
        return [
            Route("/", self._index),
            *(Route(f"/{name}", self._named) for name in sorted(names)),
            Route("/assets/{rest:path}", self._named),
        ]

    async def _index(self, request: Request) -> Response:
        if self._reason:
            return PlainTextResponse(_text(self._version, self._reason), headers={"cache-control": "no-store"})
        return _answer(self._files["index.html"], request)

    async def _named(self, request: Request) -> Response:
        file = self._files.get(request.url.path.removeprefix("/"))
        if file is None:
            raise HTTPException(404)
        return _answer(file, request)


def _answer(file: _File, request: Request) -> Response:
    headers = _HEADERS | {"cache-control": file.caching, "etag": file.etag, "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    if file.gzipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.gzipped, headers=headers | {"content-type": file.type, "content-encoding": "gzip"})
    return Response(file.plain, headers=headers | {"content-type": file.type})


def _reason(directory: Path) -> str:
    """Why there is no page; empty when there is one."""
    note = directory / NOT_BUILT
    if note.is_file():
        return note.read_text(encoding="utf-8").strip() or "it was not built"
    return "" if (directory / "index.html").is_file() else "it was not built"


def _read(directory: Path) -> dict[str, _File]:
    paths = (path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(directory).as_posix(): _file(path, directory) for path in paths}


def _file(path: Path, directory: Path) -> _File:
    plain = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    # Level 9 once at the start costs 60 ms in all; the middleware's level 1 on each answer costs bytes each time.
    gzipped = gzip.compress(plain, 9, mtime=0) if path.suffix in _SQUEEZABLE else None
    etag = f'"{hashlib.sha256(plain).hexdigest()[:20]}"'
    return _File(plain, gzipped, etag, kind, _FOREVER if path.is_relative_to(directory / "assets") else _ASK_AGAIN)


def _text(version: str, reason: str) -> str:
    return (
        f"Mirubato Monitoring {version}\n\n"
        f"The page is not there: {reason}\n"
        "Build it with `scripts/page build` in a checkout (it needs Node 20.19 or newer, or the network to fetch it),\n"
        "or install a wheel, which brings it. All else works without it:\n\n"
        "/api/health                      how the gateway is\n"
        "/api/dashboard                   services, alerts and costs in one answer\n"
        "/api/metrics?start=1h&metric=    history as JSON\n"
        "/api/prometheus                  scrape; as a Grafana data source: type Prometheus, this URL\n"
        "/docs                            the API described\n"
        "/metrics                         the gateway's own metrics\n"
    )
