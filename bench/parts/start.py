"""Seconds until the gateway serves: empty, and with an hour of data that nothing has sealed."""

import statistics

from bench.hour import load_hour
from bench.plan import Plan, progress
from bench.processes import memory_mb, running
from bench.prometheus import api
from bench.tables import Section, Target

READY = Target(3, " s")
NOTHING_SEALED = {"MIRUBATO_SEAL_SAMPLES": "100000000", "MIRUBATO_SEAL_INTERVAL": "1d"}
STARTS = 3


def run(plan: Plan) -> Section:
    """Fill, kill, and start several times on the same data."""
    progress("start")
    gateway = plan.gateway.with_environment(**NOTHING_SEALED)
    data = plan.fresh("start")
    with running(gateway, data) as server:
        empty = server.ready_s
        points = load_hour(plan, server)
        server.kill()  # SIGTERM might seal
    seconds, memory = [], []
    for _ in range(STARTS):
        with running(gateway, data) as server:
            seconds.append(server.ready_s)
            memory.append(memory_mb(server.pid, "VmHWM"))
            with api(server.ports["web_port"]) as client:
                unsealed = client.unsealed_samples()
            server.kill()
    return report(empty, f"10,000 series, {points / 1e6:.1f} M points", unsealed, seconds, max(memory))


def report(empty: float, filled: str, unsealed: int, seconds: list[float], memory: float) -> Section:
    """The table."""
    section = Section("start", "from the start of the process until it serves")
    columns = "data directory", "samples not sealed", "s, median", "s, each", "target", "peak RSS MB"
    table = section.table(*columns)
    table.add("empty", 0, f"{empty:.2f}", f"{empty:.2f}", section.judge(round(empty, 2), READY), "")
    middle = round(statistics.median(seconds), 2)
    each = ", ".join(f"{value:.2f}" for value in seconds)
    verdict = section.judge(middle, READY)
    table.add(filled, f"{unsealed:,}", f"{middle:.2f}", each, verdict, f"{memory:.0f}")
    return section
