"""Milliseconds from the last reply until a query returns what was sent."""

import statistics
import time

from bench.errors import BenchError
from bench.fleet import Fleet
from bench.loads import make
from bench.peers import HTTP
from bench.plan import Plan, progress
from bench.processes import Server, running
from bench.prometheus import Api, api
from bench.sending import send
from bench.tables import Section, Target

SELECTOR = 'queue_depth{messaging_destination_name="queue-00"}'
READABLE = Target(50, " ms")
TIMEOUT_S = 60.0
NEW_FLEETS = 3  # 69,000 new series within a minute: the default limit is 100,000
KNOWN_SETS = 8


def shown(client: Api, expected: dict[str, float]) -> bool:
    """Whether an instant query without a time has the newest value of every resource."""
    found = {s["metric"].get("instance", ""): float(s["value"][1]) for s in client.query(SELECTOR)}
    return all(found.get(instance) == value for instance, value in expected.items())


def one(plan: Plan, server: Server, client: Api, fleet: Fleet) -> float:
    """Send one interval stamped now; milliseconds until it is readable."""
    queues = plan.queues(make(fleet, time.time_ns() // 1_000_000, 1))
    outcome = send(HTTP.connect, server.ports[HTTP.port], queues)
    if outcome.failed or outcome.partial:
        raise BenchError(f"the gateway did not take the points: {outcome.problem}")
    expected = fleet.queue_depths()
    while not shown(client, expected):
        if time.perf_counter() - outcome.ended > TIMEOUT_S:
            raise BenchError(f"the newest points were not readable within {TIMEOUT_S:g} s")
    return (time.perf_counter() - outcome.ended) * 1e3


def query_ms(client: Api) -> float:
    """What the query itself takes on the idle gateway."""
    began = time.perf_counter()
    client.query(SELECTOR)
    return (time.perf_counter() - began) * 1e3


def run(plan: Plan) -> Section:
    """Brand-new series, then the next intervals of known series."""
    progress("visible")
    fleets = [plan.fleet(1, first=i * 1000) for i in range(1 if plan.quick else NEW_FLEETS)]
    with running(plan.gateway, plan.fresh("visible")) as server, api(server.ports["web_port"]) as client:
        new, known = [], []
        for fleet in fleets:
            new.append(one(plan, server, client, fleet))
            time.sleep(1)
        for _ in range(3 if plan.quick else KNOWN_SETS):
            known.append(one(plan, server, client, fleets[0]))
            time.sleep(1)
        alone = statistics.median(query_ms(client) for _ in range(10))
    return report(known, new, alone)


def report(known: list[float], new: list[float], alone: float) -> Section:
    """The table."""
    section = Section("visible", "from the last of 10 replies (10,000 points) until a query returns them all")
    table = section.table("series", "ms, median", "ms, each", "target")
    for name, values in (("known", known), ("brand new", new)):
        middle = round(statistics.median(values), 1)
        each = ", ".join(f"{value:.1f}" for value in values)
        table.add(name, f"{middle:.1f}", each, section.judge(middle, READABLE))
    section.notes = [f"The query, `{SELECTOR}` without a time, takes {alone:.1f} ms of that by itself."]
    return section
