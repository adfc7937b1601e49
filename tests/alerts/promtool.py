"""promtool, where there is one: `scripts/prometheus server` builds it, Debian's `prometheus` brings it."""

import shutil
import subprocess
from pathlib import Path

import pytest

_BUILT = Path(__file__).resolve().parents[2] / ".cache" / "prometheus" / "bin"


def binary(name: str) -> Path:
    """The path of `promtool` or `prometheus`; skips the test where there is none."""
    for path in (_BUILT / name, Path(shutil.which(name) or "/nowhere")):
        if path.is_file():
            return path
    pytest.skip(f"there is no {name} (scripts/prometheus server builds one, Debian's prometheus brings one)")


def promtool(*arguments: str) -> tuple[int, str]:
    """Status and all that it says."""
    done = subprocess.run([binary("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr
