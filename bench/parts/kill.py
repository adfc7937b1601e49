"""SIGKILL right after the last reply: what the restarted gateway still has."""

import statistics
from collections.abc import Iterator
from typing import NamedTuple

from bench.errors import BenchError
from bench.fleet import BOUNDS, SAMPLE_NAMES
from bench.loads import Load, Queues
from bench.peers import GRPC, HTTP, Transport
from bench.plan import Plan, progress
from bench.processes import running
from bench.prometheus import Api, api
from bench.sending import send
from bench.tables import Section, Target

LOST = Target(0)
RESTART = Target(3, " s")


class Loss(NamedTuple):
    """One kill: samples acknowledged and found again, seconds until the gateway served again."""

    acknowledged: int
    found: int
    restart_s: float


def selectors() -> Iterator[str]:
    """Selectors that cover every series once, each small enough for one answer."""
    edges = [*(f"{bound:g}" if bound % 1 else f"{bound:.0f}" for bound in BOUNDS), "+Inf"]
    for name in SAMPLE_NAMES:
        if name.endswith("_bucket"):
            yield from (f'{name}{{le="{edge}"}}' for edge in edges)
        else:
            yield name


def found_samples(client: Api, load: Load) -> int:
    """How many of the load's samples the gateway returns."""
    times = frozenset(load.times)
    at_s = load.times[-1] / 1000
    series = (s for selector in selectors() for s in client.query(f"{selector}[1h]", at_s))
    return sum(round(sample[0] * 1000) in times for s in series for sample in s["values"])


def one(plan: Plan, transport: Transport, load: Load, queues: Queues) -> Loss:
    """Load, kill, start again, count."""
    data = plan.fresh("kill")
    with running(plan.gateway, data) as server:
        outcome = send(transport.connect, server.ports[transport.port], queues)
        server.kill()
    if outcome.failed or outcome.partial:
        raise BenchError(f"the gateway did not take all points: {outcome.problem}")
    with running(plan.gateway, data) as server, api(server.ports["web_port"]) as client:
        return Loss(load.samples, found_samples(client, load), server.ready_s)


def run(plan: Plan) -> Section:
    """One kill per round and transport."""
    load = plan.history(plan.intervals)
    queues = plan.queues(load)
    losses: dict[str, list[Loss]] = {}
    for transport in (HTTP, GRPC):
        progress(f"kill: {transport.name}")
        rounds = range(plan.rounds)
        losses[transport.name] = [one(plan, transport, load, queues) for _ in rounds]
    return report(losses)


def report(losses: dict[str, list[Loss]]) -> Section:
    """The table."""
    section = Section("kill", "SIGKILL right after the last reply, then start again")
    columns = ("transport", "kills", "samples acknowledged", "lost", "target", "start again s", "target ")
    table = section.table(*columns)
    for name, kills in losses.items():
        lost = sum(kill.acknowledged - kill.found for kill in kills)
        restart = round(statistics.median(kill.restart_s for kill in kills), 2)
        acknowledged = f"{sum(kill.acknowledged for kill in kills):,}"
        verdicts = section.judge(lost, LOST), section.judge(restart, RESTART)
        table.add(name, len(kills), acknowledged, f"{lost:,}", verdicts[0], f"{restart:.2f}", verdicts[1])
    return section
