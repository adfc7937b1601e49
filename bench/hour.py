"""An hour of data, which several parts ask for."""

from bench.errors import BenchError
from bench.loads import STEP_MS, make
from bench.peers import HTTP
from bench.plan import Plan
from bench.processes import Server
from bench.sending import send

INTERVALS = 360  # an hour of 10 s
INTERVALS_PER_SET = 60  # 160 MB of requests at a time


def load_hour(plan: Plan, server: Server) -> int:
    """Send an hour of data, set by set; the number of points."""
    fleet, first = plan.fleet(INTERVALS), plan.first_ms(INTERVALS)
    points = 0
    for begin in range(0, INTERVALS, INTERVALS_PER_SET):
        load = make(fleet, first + begin * STEP_MS, INTERVALS_PER_SET)
        outcome = send(HTTP.connect, server.ports[HTTP.port], plan.queues(load))
        if outcome.failed or outcome.partial:
            raise BenchError(f"{outcome.failed + outcome.partial} requests were not taken: {outcome.problem}")
        points += outcome.points
    return points
