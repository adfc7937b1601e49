"""README and guide: every command and snippet in them is run, on a gateway of its own, as a reader would."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
import yaml

from tests.support.gateways import Running, running

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
# They install, deploy, or run for ever; what they name is checked elsewhere (deploy, demo, e2e).
NOT_RUN = (
    "pip",
    "npx",
    "export",
    "opentelemetry-bootstrap",
    "opentelemetry-instrument",
    "docker",
    "scripts/",
    "mirubato gateway",
)
# It begins a session with the world outside.
FAILS = {"mirubato doctor": (0, 1), "mirubato doctor --json": (0, 1)}


@dataclass(frozen=True)
class Snippet:
    """One block of a page."""

    page: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}: {self.text.splitlines()[0][:50]}"


def snippets(*languages: str) -> list[Snippet]:
    return [
        Snippet(page, language, text)
        for page in PAGES
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8"))
        if language in languages
    ]


def commands(text: str) -> Iterator[str]:
    """Commands of a block; quotes and backslashes go on in the next line."""
    part = ""
    for line in text.splitlines():
        part += line + "\n"
        if line.endswith("\\") or part.count("'") % 2:
            continue
        command = re.sub(r"\s+#.*$", "", part.strip()) if "'" not in part else part.strip()
        if command and not command.startswith("#"):
            yield command
        part = ""
    assert not part, f"a quote is not closed: {part}"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("data") / "mirubato-data") as one:
        yield one


@pytest.fixture
def place(shop: Running, tmp_path: Path) -> Path:
    """A directory with the files that commands name, and the settings of the running gateway."""
    for snippet in snippets("yaml"):
        document = yaml.safe_load(snippet.text)
        if "groups" in document:
            (tmp_path / "rules.yaml").write_text(snippet.text, encoding="utf-8")
    return tmp_path


def environment(gateway: Running) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "MIRUBATO_"))}
    return inherited | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MIRUBATO_WEB_PORT": str(gateway.gateway.ports["web_port"]),
        "MIRUBATO_DATA_DIR": str(gateway.gateway.store.path.parent),
        "MIRUBATO_ALLOW_ANONYMOUS": "true",
    }


def bash(command: str, directory: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("snippet", snippets("bash"), ids=str)
def test_commands(shop: Running, place: Path, snippet: Snippet) -> None:
    for command in commands(snippet.text):
        if command.startswith(NOT_RUN) or command.startswith("mirubato token"):
            continue
        here = command.replace("http://127.0.0.1:4319", shop.url("web_port")).replace(
            "curl -s ", "curl -sS --fail-with-body "
        )
        done = bash(here, place, environment(shop))
        assert done.returncode in FAILS.get(command, (0,)), f"{command}\n{done.stdout}\n{done.stderr}"
        if command.startswith("curl"):
            orjson.loads(done.stdout)


def test_tokens(tmp_path: Path) -> None:
    """They close a gateway, so they are made for one that does not run."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MIRUBATO_")}
    inherited["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    made = [
        command
        for snippet in snippets("bash")
        for command in commands(snippet.text)
        if command.startswith("mirubato token")
    ]
    assert made
    for command in made:
        assert bash(command, tmp_path, inherited).returncode == 0


@pytest.mark.parametrize("snippet", snippets("python"), ids=str)
def test_python(snippet: Snippet, tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "MIRUBATO_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", snippet.text],
        cwd=tmp_path,
        env=inherited | {"OTEL_METRICS_EXPORTER": "none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("snippet", snippets("yaml", "toml", "json", "jsonc"), ids=str)
def test_what_is_to_be_pasted_can_be_read(snippet: Snippet) -> None:
    match snippet.language:
        case "yaml":
            assert yaml.safe_load(snippet.text)
        case "toml":
            assert tomllib.loads(snippet.text)
        case _:
            assert orjson.loads(snippet.text)


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
