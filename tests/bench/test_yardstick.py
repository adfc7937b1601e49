"""The yardstick as a process: it starts, takes the load, uses CPU, and ends."""

from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.fleet import Fleet
from bench.loads import make, queues
from bench.peers import HTTP, HTTP_GZIP, YARDSTICK, Transport
from bench.processes import Program, memory_mb, running
from bench.sending import send


@pytest.mark.parametrize("transport", [HTTP, HTTP_GZIP], ids=["plain", "gzip"])
def test_the_yardstick_takes_the_load(transport: Transport, tmp_path: Path) -> None:
    load = make(Fleet(4, 1_700_000_000_000), 1_700_000_000_000, 25)
    made = queues(load, 200, 2, compress=transport.compressed)
    with running(YARDSTICK, tmp_path / "data") as server:
        before = server.cpu_s()
        outcome = send(transport.connect, server.ports[transport.port], made)
        assert (outcome.points, outcome.failed, outcome.partial) == (10_000, 0, 0)
        assert server.cpu_s() >= before > 0
        assert memory_mb(server.pid, "VmHWM") >= memory_mb(server.pid, "VmRSS") > 10
    assert server.process.returncode is not None


def test_a_program_that_ends_at_once_is_reported(tmp_path: Path) -> None:
    broken = Program("broken", ("/bin/sh", "-c", "echo no such luck; exit 3"), "never.json")
    with pytest.raises(BenchError, match="no such luck"), running(broken, tmp_path / "data"):
        pass
