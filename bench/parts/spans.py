"""Spans over HTTP: CPU of counting them and of deciding what to keep, and memory under traces that never end."""

import os
import random
import statistics
import time
from collections.abc import Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from bench.loads import Queues, Request
from bench.over_http import SpansConnection
from bench.parts.ingest import QUIET_S
from bench.plan import Plan, progress
from bench.processes import Server, memory_mb, running, wait_for_quiet
from bench.sending import send
from bench.tables import Section, Target

COST = Target(8, " s")
FLOOD_MB = Target(400, " MB")
BATCH = 512  # what OpenTelemetry's SDKs send
CONNECTIONS = 4
REQUESTS, QUICK_REQUESTS = 400, 100  # of one set
WARM_UP = 20
ONLY_ERRORS = {"MIRUBATO_TRACES_SAMPLE_RATE": "0"}
FLOODS = 3  # sets of traces that never end, one after the other
SERVICES, ROUTES = 4, 15
SPANS_PER_TRACE = 8
FAILED_SHARE = 0.01  # of traces
_INSIDE = (Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CLIENT)


def attributes(kind: int, route: int) -> list[KeyValue]:
    """12 of them, as instrumentations of HTTP write them."""
    texts = {
        "http.request.method": "GET",
        "http.route": f"/api/orders/{route}/{{id}}",
        "url.scheme": "https",
        "url.path": f"/api/orders/{route}/{random.getrandbits(32)}",
        "server.address": "orders.example.com",
        "client.address": f"10.0.{random.getrandbits(8)}.{random.getrandbits(8)}",
        "network.protocol.version": "1.1",
        "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        "thread.name": f"worker-{random.randrange(16)}",
    }
    numbers = {"http.response.status_code": 200, "server.port": 443, "thread.id": 1000 + kind}
    return [
        *(KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in texts.items()),
        *(KeyValue(key=key, value=AnyValue(int_value=value)) for key, value in numbers.items()),
    ]


def trace(now_ns: int, *, ends: bool) -> Iterator[Span]:
    """A server's span with what it did inside, every third of that a call; one that does not end has no root here."""
    trace_id, root = os.urandom(16), os.urandom(8)
    route, failed = random.randrange(ROUTES), random.random() < FAILED_SHARE
    for number in range(SPANS_PER_TRACE):
        first = ends and not number
        kind = Span.SPAN_KIND_SERVER if first else _INSIDE[number % 3]
        yield Span(
            trace_id=trace_id,
            span_id=root if first else os.urandom(8),
            parent_span_id=b"" if first else root,
            name=f"{'GET' if first else 'step'} /api/orders/{route}",
            kind=kind,
            start_time_unix_nano=now_ns - random.randrange(1_000_000, 400_000_000),
            end_time_unix_nano=now_ns,
            attributes=attributes(kind, route),
            status=Status(code=Status.STATUS_CODE_ERROR) if failed and not number else None,
        )


def request(service: int, *, ends: bool = True) -> Request:
    """One export of one service: 64 traces of 8 spans each."""
    now_ns = time.time_ns()
    spans = [span for _ in range(BATCH // SPANS_PER_TRACE) for span in trace(now_ns, ends=ends)]
    resource = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value=f"service-{service}"))])
    one = ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=spans)])
    return Request(ExportTraceServiceRequest(resource_spans=[one]).SerializeToString(), len(spans))


def load(requests: int, *, ends: bool = True) -> Queues:
    """Requests of all services, spread over the connections."""
    out: Queues = [[] for _ in range(CONNECTIONS)]
    for number in range(requests):
        out[number % CONNECTIONS].append(request(number % SERVICES, ends=ends))
    return out


def cpu_per_million(server: Server, queues: Queues) -> float:
    """CPU seconds per million spans, until the gateway idles again."""
    before = server.cpu_s()
    outcome = send(SpansConnection, server.ports["otlp_http_port"], queues)
    time.sleep(1)
    assert not outcome.failed, outcome.problem
    return (server.cpu_s() - before) / outcome.points * 1e6


def flood(server: Server, requests: int) -> list[float]:
    """Resident memory (MB) after each set of traces of which no root ever comes."""
    memory = []
    for _ in range(FLOODS):
        outcome = send(SpansConnection, server.ports["otlp_http_port"], load(requests, ends=False))
        assert not outcome.failed, outcome.problem
        memory.append(memory_mb(server.pid, "VmRSS"))
    return memory


def costs(plan: Plan, server: Server, requests: int) -> list[float]:
    """CPU seconds per million spans, in each round."""
    found = []
    send(SpansConnection, server.ports["otlp_http_port"], load(WARM_UP))
    for _ in range(plan.rounds):
        queues = load(requests)
        wait_for_quiet(QUIET_S)
        found.append(cpu_per_million(server, queues))
    return found


def run(plan: Plan) -> Section:
    """The cost with and without writing a sample of the traces, then the flood."""
    requests = QUICK_REQUESTS if plan.quick else REQUESTS
    progress("spans")
    with running(plan.gateway.with_environment(**ONLY_ERRORS), plan.fresh("spans")) as server:
        decided = costs(plan, server, requests)
    with running(plan.gateway, plan.fresh("spans")) as server:
        written = costs(plan, server, requests)
        memory = flood(server, requests)
        peak = memory_mb(server.pid, "VmHWM")
    return report(decided, written, requests, memory, peak)


def report(decided: list[float], written: list[float], requests: int, memory: list[float], peak: float) -> Section:
    """Both tables."""
    section = Section("spans", f"spans in batches of {BATCH} with 12 attributes, protobuf over HTTP")
    table = section.table("what", "CPU s per million spans", "each round", "target")
    rows = (
        ("counted, and the decision what to keep; errors written", decided, COST),
        ("the default: a tenth of the other traces written too", written, None),
    )
    for what, found, target in rows:
        middle = round(statistics.median(found), 2)
        table.add(what, f"{middle:.2f}", ", ".join(f"{cost:.2f}" for cost in found), section.judge(middle, target))
    table = section.table("memory under traces that never end", "MB after each set", "peak MB", "target")
    sets = ", ".join(f"{value:.0f}" for value in memory)
    spans = f"{FLOODS} sets of {requests * BATCH:,} spans"
    table.add(spans, sets, f"{peak:.0f}", section.judge(round(peak), FLOOD_MB))
    return section
