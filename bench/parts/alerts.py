"""The CPU that 1,000 rules over 10,000 series take, and the time from a sample's arrival to the Slack request."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread

from bench.errors import BenchError
from bench.fleet import instance_id
from bench.peers import HTTP
from bench.plan import RESOURCES, Plan, progress
from bench.processes import Server, cpu_s, running
from bench.prometheus import api
from bench.sending import send
from bench.tables import Section, Target

SLOT_S = 15
SLOTS = 4
HISTORY = 30  # collection intervals of 10 s: the 5 minutes that the rules look back on
CPU = Target(30, " %")
LATENCY = Target(SLOT_S + 1, " s")
WAIT_S = 40.0
ALARMS = 3

# Ten of each process; the fifth fires everywhere.
TEMPLATES = (
    "sum by (service_name) (rate(http_requests_total{%s}[5m])) > 1e12",
    'sum(rate(http_requests_total{%s, http_route=~".+00.+"}[5m])) / sum(rate(http_requests_total{%s}[5m])) > 0.9',
    "sum by (db_collection_name) (rate(db_client_operations_total{%s}[5m])) > 1e12",
    "queue_depth{%s} > 1e12",
    "max by (instance) (queue_depth{%s}) >= 0",
    "avg_over_time(process_memory_bytes{%s}[5m]) > 1e18",
    "max by (instance) (pool_usage_ratio{%s}) > 1e12",
    "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{%s}[5m]))) > 1e12",
    "increase(http_request_duration_seconds_count{%s}[5m]) < 0",
    "sum by (service_name) (rate(http_requests_total[5m])) > 1e12",  # the same in all: answered once
)


def rules() -> str:
    """A Prometheus rule file of 1,000 alert rules; JSON is YAML too."""
    found = []
    for resource in range(RESOURCES):
        matcher = f'instance="{instance_id(resource)}"'
        for number, template in enumerate(TEMPLATES):
            expr = template.replace("%s", matcher)
            labels = {"severity": "warning", "number": str(number), "process": str(resource)}
            found.append({"alert": f"Rule{number}", "expr": expr, "for": "1m", "labels": labels})
    return json.dumps({"groups": [{"name": "bench", "rules": found}]})


@contextmanager
def slack() -> Iterator[tuple[str, Event]]:
    """A webhook's address, and what is set when something that is no test came to it."""
    came = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            if b"Alarm" in body:
                came.set()

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def post(server: Server, path: str, body: object) -> None:
    """JSON to the web port; it must be taken."""
    connection = http.client.HTTPConnection("127.0.0.1", server.ports["web_port"], timeout=WAIT_S)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    reply = connection.getresponse()
    said = reply.read()
    connection.close()
    if reply.status >= 300:
        raise BenchError(f"{path}: {reply.status} {said[:200]!r}")


def alarm_s(server: Server, came: Event, number: int) -> float:
    """Seconds from a sample that is too high to the request that says so."""
    name = f"alarm_{number}"
    post(server, "/api/alerts", {
        "name": f"Alarm {number}", "metric": name, "condition": "greater_than", "threshold": 5, "window_minutes": 1,
        "severity": "critical", "notification_channels": ["slack"],
    })  # fmt: skip
    time.sleep(SLOT_S / ALARMS * number)  # the samples meet different parts of an interval
    came.clear()
    began = time.monotonic()
    point = {"timeUnixNano": str(time.time_ns()), "asDouble": 9}
    metrics = [{"name": name, "gauge": {"dataPoints": [point]}}]
    post(server, "/v1/metrics", {"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]})
    if not came.wait(WAIT_S):
        raise BenchError(f"no message came within {WAIT_S:g} s")
    return time.monotonic() - began


def run(plan: Plan) -> Section:
    """Five minutes of data, then some slots without and with the rules, then alarms."""
    progress("alerts")
    file = plan.fresh("rules").with_suffix(".yml")
    file.write_text(rules(), encoding="utf-8")
    slots = 2 if plan.quick else SLOTS
    with slack() as (url, came):
        gateway = plan.gateway.with_environment(MIRUBATO_RULE_FILES=str(file), SLACK_WEBHOOK_URL=url)
        with running(gateway, plan.fresh("alerts")) as server, api(server.ports["web_port"]) as client:
            outcome = send(HTTP.connect, server.ports[HTTP.port], plan.queues(plan.history(HISTORY)))
            if outcome.failed or outcome.partial:
                raise BenchError(f"the gateway did not take the points: {outcome.problem}")
            plan.settle(server)
            before, began = cpu_s(server.pid), time.monotonic()
            time.sleep(slots * SLOT_S)
            share = round((cpu_s(server.pid) - before) / (time.monotonic() - began) * 100, 1)
            firing = len(client.query('ALERTS{alertname="Rule4"}'))
            waits = [alarm_s(server, came, number) for number in range(1 if plan.quick else ALARMS)]
    if firing != RESOURCES:
        raise BenchError(f"{firing} alerts of {RESOURCES} were active")
    return report(share, slots, waits)


def report(share: float, slots: int, waits: list[float]) -> Section:
    """The table."""
    section = Section("alerts", "1,000 rules over 10,000 OTLP series every 15 s, 100 alerts active")
    table = section.table("what", "measured", "target")
    table.add(f"CPU of the gateway over {slots} slots", f"{share} % of a core", section.judge(share, CPU))
    worst = round(max(waits), 1)
    each = ", ".join(f"{wait:.1f}" for wait in waits)
    table.add("from a sample to the Slack request, worst", f"{worst} s ({each})", section.judge(worst, LATENCY))
    return section
