"""How the page's files are served, without a browser."""

import asyncio
import gzip
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from mirubato.web.page import NOT_BUILT, POLICY, Page

FIRST_SCREEN_BYTES_MAX = 60_000


def ask(directory: Path, path: str, **headers: str) -> httpx.Response:
    """GET from a web port that serves this directory."""
    app = Starlette(routes=Page("1.2.3", directory).routes())

    async def answer() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return asyncio.run(answer())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>x</title>" + " " * 2000)
    (tmp_path / "assets" / "index-abc.js").write_text("let a = 1\n" * 300)
    (tmp_path / "theme.js").write_text("let b = 2")
    (tmp_path / ".inputs").write_text("secret of the build")
    return tmp_path


def test_index_asks_again_and_is_strict(directory: Path) -> None:
    reply = ask(directory, "/")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-cache"


def test_assets_stay_for_ever(directory: Path) -> None:
    reply = ask(directory, "/assets/index-abc.js")
    assert reply.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "immutable" in reply.headers["cache-control"]
    assert reply.headers["content-encoding"] == "gzip"
    assert reply.text == "let a = 1\n" * 300


def test_plain_where_gzip_is_not_understood(directory: Path) -> None:
    reply = ask(directory, "/assets/index-abc.js", accept_encoding="identity")
    assert "content-encoding" not in reply.headers
    assert len(reply.content) == 3000


def test_not_modified(directory: Path) -> None:
    etag = ask(directory, "/").headers["etag"]
    assert ask(directory, "/", if_none_match=etag).status_code == 304


@pytest.mark.parametrize("path", ["/assets/none.js", "/assets/../.inputs", "/assets/%2e%2e/.inputs", "/.inputs", "/x"])
def test_nothing_else(directory: Path, path: str) -> None:
    assert ask(directory, path).status_code == 404


@pytest.mark.parametrize("note", [None, "npm ci failed: no network"])
def test_without_a_page_a_text_says_why(tmp_path: Path, note: str | None) -> None:
    if note:
        (tmp_path / NOT_BUILT).write_text(note)
    reply = ask(tmp_path, "/")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert "/api/prometheus" in reply.text
    assert "scripts/page build" in reply.text
    assert (note or "not built") in reply.text


def scripts(built: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((built / ".manifest.json").read_text())
    return found


def with_imports(manifest: dict[str, Any], names: Iterator[str]) -> set[str]:
    """Files of these chunks and of all that they import at once."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        chunk = manifest[waiting.pop()]
        if chunk["file"] not in found:
            found.add(chunk["file"])
            waiting += chunk.get("imports", [])
    return found


def test_the_first_screen_is_small(built: Path) -> None:
    """What is loaded before anything is seen, and the charts of the overview; the map and the editor come later."""
    manifest = scripts(built)
    first = [name for name, chunk in manifest.items() if chunk.get("isEntry") or name.endswith("parts/plot.ts")]
    assert len(first) == 2
    files = with_imports(manifest, iter(first)) | {"theme.js"}
    size = sum(len(gzip.compress((built / file).read_bytes(), 9)) for file in files)
    assert size <= FIRST_SCREEN_BYTES_MAX
    lazy = {chunk["file"] for name, chunk in manifest.items() if name.endswith(("parts/editor.ts", "parts/map.tsx"))}
    assert len(lazy) == 2
    assert not lazy & files


def test_no_address_of_a_registry_is_kept(built: Path) -> None:
    lock = (built.parents[3] / "page" / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') > 50


def test_types_and_units(tools: Path) -> None:
    """tsc and vitest, as `scripts/page check` runs them."""
    command = [str(tools.parent / "scripts" / "page"), "check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
