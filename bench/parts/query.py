"""Milliseconds that queries over an hour of data take on an idle gateway, and what ingest feels of them."""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlencode

from bench.errors import BenchError
from bench.fleet import Fleet
from bench.hour import load_hour
from bench.loads import STEP_MS, Queues, make
from bench.peers import HTTP
from bench.plan import SEAL_SOON, Plan, progress
from bench.processes import Server, cpu_s, running
from bench.prometheus import Api, api
from bench.sending import Outcome, send
from bench.tables import Section, Table, Target

API = "/api/prometheus/api/v1"
RUNS, WARM_UP = 30, 2
SETTLE_S = 8.0
LATENCY = Target(300, " ms")
SLOWDOWN = Target(2, " x")
SETS = 3

Parameters = dict[str, str]


class Query(NamedTuple):
    """One query: what it is called, the most milliseconds that it may take, and its request."""

    name: str
    target: Target
    path: str
    parameters: Parameters

    @property
    def url(self) -> str:
        """Path and parameters."""
        return f"{API}/{self.path}?{urlencode(self.parameters)}"


def queries(last_ms: int) -> list[Query]:
    """The queries, at the newest sample."""
    end = last_ms / 1000
    hour = {"start": f"{end - 3600:.3f}", "end": f"{end:.3f}"}
    ten_minutes = {"start": f"{end - 590:.3f}", "end": f"{end:.3f}", "step": "10s"}
    rates = "sum by (service_name) (rate(http_requests_total[5m]))"
    quantile = "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))"
    return [
        Query("instant sum by (service_name) of rates, 4,000 series", Target(15, " ms"), "query",
              {"query": rates, "time": f"{end:.3f}"}),
        Query("1 h at 15 s of histogram_quantile, 12,000 series", Target(200, " ms"), "query_range",
              {"query": quantile, "step": "15s", **hour}),
        Query("1,000 series x 60 steps out", Target(20, " ms"), "query_range",
              {"query": "queue_depth", **ten_minutes}),
        Query("series, 4,000 out", Target(15, " ms"), "series", {"match[]": "http_requests_total", **hour}),
        Query("label values", Target(2, " ms"), "label/http_route/values", hour),
    ]  # fmt: skip


def milliseconds(client: Api, query: Query, runs: int) -> list[float]:
    """How long each run took, the first ones left out."""
    taken = []
    for _ in range(WARM_UP + runs):
        began = time.perf_counter()
        client.get(query.url)
        taken.append((time.perf_counter() - began) * 1e3)
    return taken[WARM_UP:]


@contextmanager
def asking(port: int, query: Query) -> Iterator[list[float]]:
    """One query back to back, from a thread of its own; milliseconds of each."""
    over, taken = threading.Event(), list[float]()

    def ask() -> None:
        with api(port) as client:
            while not over.is_set():
                taken.extend(milliseconds(client, query, 1))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join()


def sets(plan: Plan, fleet: Fleet, first_ms: int) -> Iterator[Queues]:
    """Sets of requests of the same series, each after the one before."""
    while True:
        yield plan.queues(make(fleet, first_ms, plan.intervals))
        first_ms += plan.intervals * STEP_MS


def sent(server: Server, requests: Queues) -> Outcome:
    """Send a set; every request must be taken."""
    outcome = send(HTTP.connect, server.ports[HTTP.port], requests)
    if outcome.failed or outcome.partial:
        raise BenchError(f"{outcome.failed + outcome.partial} requests were not taken: {outcome.problem}")
    return outcome


def run(plan: Plan) -> Section:
    """An hour of 10,000 series; each query alone; then sets of requests without and with the longest query beside."""
    progress("query")
    section = Section("query", "an hour of 10,000 series at 10 s, wall time of one request after another")
    gateway = plan.gateway.with_environment(**SEAL_SOON)
    with running(gateway, plan.fresh("query")) as server, api(server.ports["web_port"]) as client:
        load_hour(plan, server)
        time.sleep(SETTLE_S)
        asked = queries(plan.began_ms)
        table = section.table("query", "ms, p50", "ms, p95", "CPU ms", "target")
        for query in asked:
            _measure(section, table, client, server, query, 5 if plan.quick else RUNS)
        _beside(section, plan, server, asked[1])
    return section


def _measure(section: Section, table: Table, client: Api, server: Server, query: Query, runs: int) -> None:
    before = cpu_s(server.pid)
    taken = sorted(milliseconds(client, query, runs))
    cpu = (cpu_s(server.pid) - before) / (runs + WARM_UP) * 1e3
    middle = round(statistics.median(taken), 1)
    late = taken[min(len(taken) - 1, int(0.95 * len(taken)))]
    table.add(query.name, f"{middle:.1f}", f"{late:.1f}", f"{cpu:.1f}", section.judge(middle, query.target))


def _beside(section: Section, plan: Plan, server: Server, query: Query) -> None:
    """Ingest alone and beside a query that is asked back to back."""
    # Behind the hour there is room of ten minutes only: these are other processes, whose sets begin where it begins.
    fleet = plan.fleet(1, first=5000)
    requests = sets(plan, fleet, plan.began_ms - 2 * SETS * plan.intervals * STEP_MS)
    sent(server, next(requests))
    alone = [sent(server, next(requests)) for _ in range(1 if plan.quick else SETS)]
    with asking(server.ports["web_port"], query) as taken:
        beside = [sent(server, next(requests)) for _ in range(1 if plan.quick else SETS)]
    rates = [statistics.median(one.points / one.wall for one in some) for some in (alone, beside)]
    worst = [max(one.percentile(1.0) for one in some) for some in (alone, beside)]
    table = section.table(
        "ingest, HTTP, 1,000 a request", "points/s", "slower", "target", "longest reply, ms", "target "
    )
    table.add("alone", f"{rates[0]:,.0f}", "", "", f"{worst[0]:.0f}", "")
    slower = round(rates[0] / rates[1], 2)
    table.add(
        "beside the second query", f"{rates[1]:,.0f}", f"{slower:.2f} x", section.judge(slower, SLOWDOWN),
        f"{worst[1]:.0f}", section.judge(round(worst[1]), LATENCY),
    )  # fmt: skip
    section.notes = [f"{len(taken)} queries were answered meanwhile, {statistics.median(taken):.0f} ms each."]
