"""End to end: requests over HTTP and gRPC against the real process, in multiples of the yardstick."""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from typing import NamedTuple

from bench.loads import STEP_MS, Load, Queues, make
from bench.peers import GRPC, GRPC_GZIP, HTTP, HTTP_GZIP, YARDSTICK, Transport
from bench.plan import SEAL_SOON, Plan, progress
from bench.processes import Server, busy_s, memory_mb, running, wait_for_quiet
from bench.prometheus import api
from bench.sending import Outcome, send
from bench.tables import Section, Table, Target

PHASES = ("cold", "warm", "shuffled")
QUIET_S = 10.0
YARDSTICK_POINTS = 1_200_000  # 0.7 s of CPU: the clock of /proc ticks every 10 ms
BUSY_NEIGHBOURS = 0.35  # cores
PEAK_MB = Target(220, " MB")
IDLE_MB = Target(150, " MB")


class Case(NamedTuple):
    """A transport, a request size and what they must reach once shapes are known and while all are new."""

    transport: Transport
    points: int
    warm: Target | None = None
    shuffled: Target | None = None

    @property
    def label(self) -> tuple[str, str, str]:
        """For a table's first cells."""
        return self.transport.name, self.transport.body, f"{self.points:,}"

    def target(self, phase: str) -> Target | None:
        """The target of a phase."""
        return {"warm": self.warm, "shuffled": self.shuffled}.get(phase)


CASES = (
    Case(HTTP, 1000, Target(1.8, " x"), Target(4, " x")),
    Case(HTTP, 100, Target(4, " x")),
    Case(GRPC, 1000, Target(2.5, " x")),
    Case(GRPC, 100, Target(7, " x")),
    Case(HTTP_GZIP, 1000, Target(1.8, " x"), Target(4, " x")),
    Case(HTTP_GZIP, 100, Target(4, " x")),
    Case(GRPC_GZIP, 1000, Target(2.5, " x")),
    Case(GRPC_GZIP, 100, Target(7, " x")),
)
QUICK_CASES = CASES[:4]


class Reading(NamedTuple):
    """One set of requests; CPU in seconds per million points."""

    outcome: Outcome
    load_cpu: float
    settled_cpu: float
    yardstick_cpu: float
    neighbours: float
    unsealed: int

    @property
    def multiple(self) -> float:
        """The settled CPU as a multiple of the yardstick's, as precise as it is shown."""
        return round(self.settled_cpu / self.yardstick_cpu, 2)


class Memory(NamedTuple):
    """Resident memory of the gateway, MB: the highest of all, and idle after the second and the third set."""

    peak: float
    warm: float
    shuffled: float


class Sets:
    """The three sets of requests, made once: ten minutes each, one after the other."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        total = plan.intervals * len(PHASES)
        fleet, first = plan.fleet(total), plan.first_ms(total)
        starts = (first + i * plan.intervals * STEP_MS for i in range(len(PHASES)))
        made = [make(fleet, start, plan.intervals) for start in starts]
        self.loads = dict(zip(PHASES, [*made[:2], made[2].shuffled()], strict=True))
        self.queues = cache(self._queues)

    def _queues(self, phase: str, points: int, *, compress: bool) -> Queues:
        return self.plan.queues(self.loads[phase], points, compress=compress)

    def of(self, case: Case) -> Iterator[tuple[str, Load, Queues]]:
        """Phase, load and requests of a case, in order."""
        for phase, load in self.loads.items():
            yield phase, load, self.queues(phase, case.points, compress=case.transport.compressed)


def per_million(seconds: float, points: int) -> float:
    """CPU seconds per million points."""
    return seconds / max(points, 1) * 1e6


def yardstick_cpu(yardstick: Server, case: Case, queues: Queues) -> float:
    """CPU seconds per million points of the yardstick for the same bodies; over HTTP, also for gRPC."""
    transport = HTTP_GZIP if case.transport.compressed else HTTP
    repeats = max(1, YARDSTICK_POINTS // sum(request.points for queue in queues for request in queue))
    before = yardstick.cpu_s()
    outcome = send(transport.connect, yardstick.ports[transport.port], [queue * repeats for queue in queues])
    return per_million(yardstick.cpu_s() - before, outcome.points)


def one_set(plan: Plan, server: Server, case: Case, queues: Queues) -> Reading:
    """Send one set to the gateway and wait until it has settled."""
    wait_for_quiet(QUIET_S)
    own, busy, before = time.process_time(), busy_s(), server.cpu_s()
    outcome = send(case.transport.connect, server.ports[case.transport.port], queues)
    loaded = server.cpu_s()
    others = busy_s() - busy - (loaded - before) - (time.process_time() - own)
    plan.settle(server)
    settled = server.cpu_s()
    with api(server.ports["web_port"]) as client:
        unsealed = client.unsealed_samples()
    return Reading(
        outcome,
        per_million(loaded - before, outcome.points),
        per_million(settled - before, outcome.points),
        0.0,
        others / outcome.wall,
        unsealed,
    )


def one_case(plan: Plan, sets: Sets, case: Case, yardstick: Server) -> tuple[dict[str, Reading], Memory]:
    """The three sets on one empty gateway, a yardstick reading before, between and after them."""
    readings: dict[str, Reading] = {}
    idle: dict[str, float] = {}
    gateway = plan.gateway.with_environment(**SEAL_SOON)
    with running(gateway, plan.fresh("ingest")) as server:
        for phase, _, queues in sets.of(case):
            before = yardstick_cpu(yardstick, case, queues)
            reading = one_set(plan, server, case, queues)
            after = yardstick_cpu(yardstick, case, queues)
            readings[phase] = reading._replace(yardstick_cpu=(before + after) / 2)
            idle[phase] = memory_mb(server.pid, "VmRSS")
        peak = memory_mb(server.pid, "VmHWM")
    return readings, Memory(peak, idle["warm"], idle["shuffled"])


def add_row(section: Section, table: Table, case: Case, phase: str, readings: list[Reading]) -> None:
    """Medians of the rounds."""
    median = statistics.median
    multiple = median(r.multiple for r in readings)
    spread = f" ({min(r.multiple for r in readings):.2f}-{max(r.multiple for r in readings):.2f})"
    failed = sum(r.outcome.failed + r.outcome.partial for r in readings)
    table.add(
        *case.label,
        phase,
        f"{median(r.outcome.points / r.outcome.wall for r in readings):,.0f}",
        f"{median(r.load_cpu for r in readings):.2f}",
        f"{median(r.settled_cpu for r in readings):.2f}",
        f"{median(r.yardstick_cpu for r in readings):.2f}",
        f"{multiple:.2f} x{spread if len(readings) > 1 else ''}",
        section.judge(multiple, case.target(phase)),
        f"{median(r.outcome.percentile(0.5) for r in readings):.1f} / "
        f"{median(r.outcome.percentile(0.99) for r in readings):.1f}",
        section.judge_zero(failed),
    )


def report(readings: dict[tuple[Case, str], list[Reading]], memories: dict[Case, list[Memory]]) -> Section:
    """The tables."""
    section = Section("ingest", "end to end over HTTP and gRPC, reply after commit, sealing included")
    speed = section.table(
        *("transport", "body", "points a request", "set", "points/s", "CPU s per M points, load"),
        *("CPU s per M, settled", "yardstick CPU s per M", "multiple", "target", "p50 / p99 ms", "failed"),
    )
    for (case, phase), rounds in readings.items():
        add_row(section, speed, case, phase, rounds)
    table = section.table(
        *("transport", "body", "points a request", "peak RSS MB", "target"),
        *("idle RSS MB after warm", "idle RSS MB after shuffled", "target "),
    )
    for case, rounds_of_memory in memories.items():
        memory = Memory(*(round(statistics.median(values)) for values in zip(*rounds_of_memory, strict=True)))
        verdicts = section.judge(memory.peak, PEAK_MB), section.judge(max(memory[1:]), IDLE_MB)
        table.add(*case.label, memory.peak, verdicts[0], memory.warm, memory.shuffled, verdicts[1])
    section.notes = list(notes([r for rounds in readings.values() for r in rounds]))
    return section


def notes(readings: list[Reading]) -> Iterator[str]:
    """What a reader must know about this run."""
    problem = next((r.outcome.problem for r in readings if r.outcome.problem), "")
    if problem:
        yield f"First answer that was not plain success: `{problem}`"
    unsealed = max(r.unsealed for r in readings)
    if unsealed:
        yield f"Up to {unsealed:,} samples were not sealed yet when the settled CPU was read."
    neighbours = max(r.neighbours for r in readings)
    if neighbours > BUSY_NEIGHBOURS:
        yield f"Other programs took up to {neighbours:.1f} cores during a set: measure on a quiet machine."


def run(plan: Plan) -> Section:
    """All cases, as many rounds as planned."""
    sets = Sets(plan)
    cases = QUICK_CASES if plan.quick else CASES
    readings: dict[tuple[Case, str], list[Reading]] = defaultdict(list)
    memories: dict[Case, list[Memory]] = defaultdict(list)
    with ExitStack() as stack:
        yardstick = stack.enter_context(running(YARDSTICK, plan.fresh("yardstick")))
        for number in range(plan.rounds):
            for case in cases:
                label = " ".join(case.label)
                progress(f"ingest: round {number + 1} of {plan.rounds}, {label} points a request")
                found, memory = one_case(plan, sets, case, yardstick)
                memories[case].append(memory)
                for phase, reading in found.items():
                    readings[case, phase].append(reading)
    return report(readings, memories)
