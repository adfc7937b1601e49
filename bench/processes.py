"""Processes that the benchmark starts, and what /proc says about them (Linux)."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
PROC = Path("/proc")
TOP = Path(__file__).resolve().parents[1]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the command's name, or nothing when the process has gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def tree(pid: int) -> list[int]:
    """The process and its living descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        stat = _stat(int(entry.name)) if entry.name.isdigit() else []
        if stat:
            children[int(stat[1])].append(int(entry.name))
    found = [pid]
    for parent in found:
        found.extend(children[parent])
    return found


def cpu_s(pid: int) -> float:
    """User and system CPU seconds of the process tree, ended children included."""
    stats = [stat for member in tree(pid) if (stat := _stat(member))]
    return sum(int(ticks) for stat in stats for ticks in stat[11:15]) / TICKS_PER_S


def memory_mb(pid: int, what: str) -> float:
    """`VmRSS` (now) or `VmHWM` (peak) of the process tree, in MB."""
    kilobytes = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            lines = (PROC / str(member) / "status").read_text().splitlines()
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))
    return kilobytes / 1024


def busy_s() -> float:
    """CPU seconds used by everything on the machine since it started."""
    with (PROC / "stat").open() as file:
        ticks = [int(value) for value in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / TICKS_PER_S


def wait_for_quiet(limit_s: float) -> None:
    """Wait, at most `limit_s`, for half a second in which the machine uses less than 10 % of one core."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        before, began = busy_s(), time.monotonic()
        time.sleep(0.5)
        if busy_s() - before < 0.10 * (time.monotonic() - began):
            return


@dataclass(frozen=True)
class Program:
    """A server that can be started on a data directory.

    `{data}` in the command is the directory. Once it serves, the program writes its process id and its ports
    as JSON into the file `announcement` there: {"pid", "grpc_port", "otlp_http_port", "web_port"}.
    """

    name: str
    command: tuple[str, ...]
    announcement: str
    environment: dict[str, str] = field(default_factory=dict)

    def with_environment(self, **variables: str) -> "Program":
        """The same program with more environment variables."""
        return Program(self.name, self.command, self.announcement, self.environment | variables)


@dataclass
class Server:
    """A running program."""

    program: Program
    process: subprocess.Popen[bytes]
    data: Path
    log: Path
    ports: dict[str, int]
    ready_s: float

    @property
    def pid(self) -> int:
        """The process that was started; its descendants belong to it."""
        return self.process.pid

    def cpu_s(self) -> float:
        """CPU seconds so far."""
        return cpu_s(self.pid)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that takes longer than 20 s."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL to the process and its descendants."""
        for member in tree(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        self.process.wait()

    def last_words(self) -> str:
        """The end of the server's output."""
        return self.log.read_text(errors="replace")[-1500:].strip()


def _environment(extra: dict[str, str]) -> dict[str, str]:
    """Ours without settings that would change what is measured."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MIRUBATO_", "OTEL_"))}
    return kept | extra


def _announced(path: Path) -> dict[str, int]:
    try:
        return {str(key): int(value) for key, value in json.loads(path.read_text()).items() if key != "host"}
    except (OSError, ValueError):
        return {}


def _wait_ready(server: Server, path: Path, began: float) -> None:
    while not server.ports:
        if server.process.poll() is not None:
            raise BenchError(f"{server.program.name} ended before it served:\n{server.last_words()}")
        if time.monotonic() - began > READY_TIMEOUT_S:
            raise BenchError(f"{server.program.name} did not serve within {READY_TIMEOUT_S:g} s")
        time.sleep(0.005)
        server.ports = _announced(path)
    server.ready_s = time.monotonic() - began


@contextlib.contextmanager
def running(program: Program, data: Path) -> Iterator[Server]:
    """Start the program on the data directory, wait until it serves, and stop it at the end."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / program.announcement
    path.unlink(missing_ok=True)
    log = data.with_name(f"{data.name}-{program.name}.log")
    command = [part.format(data=data) for part in program.command]
    began = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=data.parent,
            env=_environment(program.environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(program, process, data, log, {}, 0.0)
    try:
        _wait_ready(server, path, began)
        yield server
    finally:
        server.stop()
