"""How much is measured, and on what."""

import sys
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from bench.fleet import Fleet
from bench.loads import STEP_MS, Load, Queues, make, queues
from bench.processes import Program, Server, cpu_s

CONNECTIONS = 10
# The default seals what is left over only after minutes: with this, a part that waits sees all of the sealing.
SEAL_SOON = {"MIRUBATO_SEAL_INTERVAL": "5s"}
RESOURCES = 100  # 10,000 OTLP series, 23,000 in PromQL
IDLE_SHARE = 0.02  # of a core: less than this is "nothing more to do"
EXTRA_SETTLE_S = 30.0


@dataclass(frozen=True)
class Plan:
    """The gateway to measure, where its data goes, and how thorough the run is."""

    gateway: Program
    work: Path
    rounds: int = 3
    quick: bool = False
    began_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    numbers: "count[int]" = field(default_factory=count)

    @property
    def intervals(self) -> int:
        """Collection intervals of one set: 60 are 600,000 points."""
        return 20 if self.quick else 60

    @property
    def settle_s(self) -> float:
        """Seconds after the last reply in which the server may finish its work."""
        return 7.0 if self.quick else 10.0

    def fresh(self, name: str) -> Path:
        """A data directory that does not exist yet."""
        return self.work / f"{name}-{next(self.numbers)}"

    def fleet(self, intervals: int, *, first: int = 0, resources: int = RESOURCES) -> Fleet:
        """A fleet whose next `intervals` intervals end now; `first_ms` is the first of them."""
        return Fleet(resources, self.first_ms(intervals), first=first)

    def first_ms(self, intervals: int) -> int:
        """The timestamp of the first of `intervals` intervals of which the last is the start of the run."""
        return self.began_ms - (intervals - 1) * STEP_MS

    def history(self, intervals: int) -> Load:
        """Intervals that end at the start of the run."""
        return make(self.fleet(intervals), self.first_ms(intervals), intervals)

    def queues(self, load: Load, points_per_request: int = 1000, *, compress: bool = False) -> Queues:
        """The load as requests, spread over the connections."""
        return queues(load, points_per_request, CONNECTIONS, compress=compress)

    def settle(self, server: Server) -> None:
        """Wait until the server has done what the load left: at least `settle_s`, then until it idles."""
        time.sleep(self.settle_s)
        deadline = time.monotonic() + EXTRA_SETTLE_S
        used = cpu_s(server.pid)
        while time.monotonic() < deadline:
            time.sleep(1)
            before, used = used, cpu_s(server.pid)
            if used - before <= IDLE_SHARE:
                return


def progress(text: str) -> None:
    """One line about what runs now."""
    print(text, file=sys.stderr, flush=True)
