"""What the numbers were measured on."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from bench.processes import TOP


def _after_colon(file: str, key: str) -> str:
    """The value of the first `key : value` line of a /proc file."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def _git(*arguments: str) -> str:
    command = ["git", "--no-optional-locks", *arguments]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def file_system(path: Path) -> str:
    """The type of the file system that holds a directory."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(mount[1], mount[2]) for mount in mounts if path.resolve().is_relative_to(mount[1])]
    return max(holding, key=lambda mount: len(mount[0]), default=("", "unknown"))[1]


def commit() -> str:
    """The commit that was measured, and whether the files differ from it."""
    name = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    return f"{name}, with changes that are not committed" if _git("status", "--porcelain", "src") else name


def machine(work: Path) -> str:
    """CPU, memory, kernel, Python and the file system of the data directories."""
    model = _after_colon("/proc/cpuinfo", "model name") or platform.machine()
    memory = round(int((_after_colon("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 1024**2)
    return (
        f"{model}, {os.cpu_count()} cores, {memory} GiB of memory, {platform.system()} {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}, data on {file_system(work)}"
    )


def today() -> str:
    """The date, UTC."""
    return datetime.now(tz=UTC).date().isoformat()
