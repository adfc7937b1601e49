"""One built page, one browser; every page that a test opens is watched: no errors, no request to another host."""

import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP, PHONE = (1440, 900), (390, 844)


def builder() -> ModuleType:
    """page/build.py, which stands outside of the package."""
    spec = importlib.util.spec_from_file_location("mirubato_page_build", ROOT / "page" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def built() -> Path:
    """The page of these very sources; skipped where it cannot be built."""
    building = builder()
    page = building.Page(ROOT)
    if not page.fresh():
        try:
            page.build()
        except building.PageError as error:
            pytest.skip(f"the page cannot be built here: {error}")
    return Path(page.built)


@pytest.fixture(scope="session")
def tools(built: Path) -> Path:
    """page/ with the tools that only its tests need; skipped where they are not to be had."""
    page = ROOT / "page"
    if not (page / "node_modules" / "vitest").is_dir():
        if shutil.which("npm") is None:
            pytest.skip("there is no npm here")
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--prefer-offline"]
        if subprocess.run(command, cwd=page, capture_output=True, timeout=300, check=False).returncode:
            pytest.skip("npm cannot fetch the page's tools")
    return page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The machine's own chromium."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("there is no chromium here")
    with playwright.sync_playwright() as driver:
        # As root, in a container, chromium wants both.
        found = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield found
        found.close()


@dataclass
class Watched:
    """What a page did that it should not have."""

    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()
    """Parts of errors that a test provokes."""

    def watch(self, page: Any) -> None:
        """From now on."""
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._told(str(error)))
        page.on("request", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self._told(message.text)

    def _told(self, text: str) -> None:
        if not any(part in text for part in self.expected):
            self.errors.append(text)

    def _asked(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https") and parts.hostname != "127.0.0.1":
            self.strangers.append(request.url)


@pytest.fixture
def watched() -> Iterator[Watched]:
    """Checked when the test is over."""
    one = Watched()
    yield one
    assert (one.errors, one.strangers) == ([], [])


Open = Callable[..., Any]


@pytest.fixture
def open_page(built: Path, browser: Any, watched: Watched) -> Iterator[Open]:
    """Open an address in a window of its own: `open_page(url, size=PHONE, scheme="dark")`."""
    contexts = []

    def opened(url: str, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        watched.watch(page)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
