"""The real OpenTelemetry Collector, running the project's own collector-config.yaml.

Most tests look at what the collector sends on, span by span, in a receiver of their own that keeps everything; the last
one puts the real gateway in that place. `scripts/collector` builds the collector when there is none yet (2 to 5
minutes, once); MIRUBATO_BUILD_COLLECTOR=0 skips these tests instead, and so does a machine without Go.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUILD_SECONDS = 900
WAIT_SECONDS = 60
DECISION_WAIT = "3s"  # longer than the two halves of a trace take to be sent, on a busy machine too

ORDINARY = 2000  # traces in which all went well
FAILED = 60  # traces whose root span failed
SPAN_SECONDS = 0.25
WHOLE = Counter({"GET /basket": 1, "SELECT": 1})  # the spans of each of them
LAST = b"the last trace.."  # one more, sent when these have been decided on

# (service, span name, kind, status) -> spans, as the labels of the span metrics name them.
Counts = dict[tuple[str, str, str, str], int]
SENT: Counts = {
    ("shop", "GET /basket", "SPAN_KIND_SERVER", "STATUS_CODE_UNSET"): ORDINARY,
    ("shop", "GET /basket", "SPAN_KIND_SERVER", "STATUS_CODE_ERROR"): FAILED,
    ("shop", "SELECT", "SPAN_KIND_CLIENT", "STATUS_CODE_UNSET"): ORDINARY + FAILED,
    ("unknown_service", "last", "SPAN_KIND_INTERNAL", "STATUS_CODE_ERROR"): 1,
}


# What is sent. ------------------------------------------------------------------------------------------------------


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def resource(service: str | None) -> Resource:
    """As an SDK describes its process; without a name for the spans that nobody named."""
    if service is None:
        return Resource()
    return Resource(attributes=[text("service.name", service), text("service.instance.id", f"{service}-1")])


def trace_ids() -> tuple[list[bytes], list[bytes]]:
    """The ids of the ordinary and of the failed traces; always the same, and so is the hash that samples them."""
    chance = random.Random(20)
    ids = [chance.randbytes(16) for _ in range(ORDINARY + FAILED)]
    return ids[:ORDINARY], ids[ORDINARY:]


def span(trace: bytes, name: str, kind: Span.SpanKind.ValueType, *, failed: bool = False) -> Span:
    now = time.time_ns()
    return Span(
        trace_id=trace,
        span_id=name.encode().ljust(8)[:8],
        name=name,
        kind=kind,
        start_time_unix_nano=now - int(SPAN_SECONDS * 1e9),
        end_time_unix_nano=now,
        status=Status(code=Status.STATUS_CODE_ERROR) if failed else None,
    )


def spans_request(service: str | None, spans: Iterable[Span]) -> ExportTraceServiceRequest:
    scope = ScopeSpans(spans=list(spans))
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource(service), scope_spans=[scope])])


def roots() -> ExportTraceServiceRequest:
    ordinary, failed = trace_ids()
    kind = Span.SPAN_KIND_SERVER
    good = [span(trace, "GET /basket", kind) for trace in ordinary]
    return spans_request("shop", good + [span(trace, "GET /basket", kind, failed=True) for trace in failed])


def children() -> ExportTraceServiceRequest:
    ordinary, failed = trace_ids()
    return spans_request("shop", [span(trace, "SELECT", Span.SPAN_KIND_CLIENT) for trace in ordinary + failed])


def last() -> ExportTraceServiceRequest:
    """A trace that is always kept; its spans belong to no service."""
    return spans_request(None, [span(LAST, "last", Span.SPAN_KIND_INTERNAL, failed=True)])


def stock_request() -> ExportMetricsServiceRequest:
    point = NumberDataPoint(time_unix_nano=time.time_ns(), as_int=42, attributes=[text("shelf", "a")])
    metric = Metric(name="shop.stock", unit="{item}", gauge=Gauge(data_points=[point]))
    scope = ScopeMetrics(metrics=[metric])
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=resource("shop"), scope_metrics=[scope])]
    )


def log_request() -> ExportLogsServiceRequest:
    record = LogRecord(time_unix_nano=time.time_ns(), body=AnyValue(string_value="sold out"))
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=resource("shop"), scope_logs=[ScopeLogs(log_records=[record])])]
    )


SERVICES = {
    ExportTraceServiceRequest: ("trace", "TraceService", "/v1/traces"),
    ExportMetricsServiceRequest: ("metrics", "MetricsService", "/v1/metrics"),
    ExportLogsServiceRequest: ("logs", "LogsService", "/v1/logs"),
}


def send_grpc(port: int, request: Message) -> None:
    package, service, _ = SERVICES[type(request)]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        export = channel.unary_unary(
            f"/opentelemetry.proto.collector.{package}.v1.{service}/Export",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=bytes,
        )
        export(request, timeout=WAIT_SECONDS)


def send_http(port: int, request: Message) -> None:
    path = SERVICES[type(request)][2]
    headers = {"Content-Type": "application/x-protobuf"}
    url = f"http://127.0.0.1:{port}{path}"
    httpx.post(url, content=request.SerializeToString(), headers=headers, timeout=WAIT_SECONDS).raise_for_status()


# Who receives it. ---------------------------------------------------------------------------------------------------


@dataclass
class Sink:
    """An OTLP receiver that accepts everything and keeps it, in the order in which it came."""

    spans: list[ResourceSpans] = field(default_factory=list)
    metrics: list[ResourceMetrics] = field(default_factory=list)
    logs: list[ResourceLogs] = field(default_factory=list)

    def take_traces(self, body: bytes, _: grpc.ServicerContext) -> bytes:
        self.spans.extend(ExportTraceServiceRequest.FromString(body).resource_spans)
        return ExportTraceServiceResponse().SerializeToString()

    def take_metrics(self, body: bytes, _: grpc.ServicerContext) -> bytes:
        self.metrics.extend(ExportMetricsServiceRequest.FromString(body).resource_metrics)
        return ExportMetricsServiceResponse().SerializeToString()

    def take_logs(self, body: bytes, _: grpc.ServicerContext) -> bytes:
        self.logs.extend(ExportLogsServiceRequest.FromString(body).resource_logs)
        return ExportLogsServiceResponse().SerializeToString()

    def named(self, name: str) -> list[tuple[Resource, Metric]]:
        return [
            (group.resource, metric)
            for group in list(self.metrics)
            for scope in group.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]

    def traces(self) -> dict[bytes, Counter[str]]:
        """Of each trace that arrived, how often each of its spans did."""
        found: dict[bytes, Counter[str]] = {}
        for group in list(self.spans):
            for scope in group.scope_spans:
                for one in scope.spans:
                    found.setdefault(one.trace_id, Counter())[one.name] += 1
        return found


@contextmanager
def listening(sink: Sink, port: int) -> Iterator[None]:
    """Serve the sink over OTLP/gRPC."""
    takers = {"trace": sink.take_traces, "metrics": sink.take_metrics, "logs": sink.take_logs}
    with futures.ThreadPoolExecutor(max_workers=4) as pool:
        server = grpc.server(pool, options=[("grpc.max_receive_message_length", 64 << 20)])
        for package, service, _ in SERVICES.values():
            handler = grpc.unary_unary_rpc_method_handler(takers[package])
            full = f"opentelemetry.proto.collector.{package}.v1.{service}"
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(full, {"Export": handler}),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        try:
            yield
        finally:
            server.stop(grace=5).wait()


# The processes. -----------------------------------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; held together, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def eventually(what: str, happened: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {WAIT_SECONDS} s: {what}\n{log.read_text()[-4000:]}")
        time.sleep(0.05)


@contextmanager
def process(command: list[str], log: Path, extra: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with its output in `log`; at the end it is asked to stop, and killed if it doesn't."""
    with log.open("ab") as output:
        environment = {**os.environ, **(extra or {})}
        running = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=log.parent)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(timeout=WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@dataclass(frozen=True)
class Collector:
    process: subprocess.Popen[bytes]
    grpc_port: int
    http_port: int
    log: Path

    def up(self) -> bool:
        """Receivers start last: a port that answers means that all is ready."""
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.grpc_port)) == 0

    def stop(self) -> None:
        """In good order: it decides on what it holds and empties its queues."""
        self.process.terminate()
        assert self.process.wait(timeout=WAIT_SECONDS) == 0, self.log.read_text()[-4000:]


@contextmanager
def collecting(binary: str, folder: Path, gateway_port: int) -> Iterator[Collector]:
    grpc_port, http_port = free_ports(2)
    settings = {
        "MIRUBATO_COLLECTOR_GRPC": f"127.0.0.1:{grpc_port}",
        "MIRUBATO_COLLECTOR_HTTP": f"127.0.0.1:{http_port}",
        "MIRUBATO_COLLECTOR_DATA_DIR": str(folder / "queue"),
        "MIRUBATO_COLLECTOR_DECISION_WAIT": DECISION_WAIT,
        "MIRUBATO_COLLECTOR_FLUSH_INTERVAL": "500ms",
        "MIRUBATO_COLLECTOR_REPORT_MS": "500",
        "MIRUBATO_COLLECTOR_INSTANCE": "collector-under-test",
        "MIRUBATO_GATEWAY_GRPC": f"127.0.0.1:{gateway_port}",
    }
    log = folder / "collector.log"
    with process([binary, "--config", str(ROOT / "collector-config.yaml")], log, settings) as running:
        collector = Collector(running, grpc_port, http_port, log)
        eventually("the collector is up", collector.up, log)
        yield collector


def collector_script() -> tuple[int | None, str, str]:
    """Exit status (None: out of time), output and errors of scripts/collector, with no compiler left behind."""
    command = [str(ROOT / "scripts" / "collector")]
    if os.environ.get("MIRUBATO_BUILD_COLLECTOR") == "0":
        command.append("--no-build")
    pipe = subprocess.PIPE
    running = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    try:
        output, errors = running.communicate(timeout=BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        return None, "", f"no collector was built within {BUILD_SECONDS} s"
    return running.returncode, output, errors


@pytest.fixture(scope="module")
def binary() -> str:
    """The path of a real collector."""
    status, output, errors = collector_script()
    if status in {None, 3}:
        pytest.skip(errors.strip().splitlines()[-1])
    assert status == 0, errors
    return output.strip()


# What comes through. ------------------------------------------------------------------------------------------------


def label(attributes: Iterable[KeyValue], key: str) -> str:
    return next((one.value.string_value for one in attributes if one.key == key), "")


def identity(point: NumberDataPoint | HistogramDataPoint) -> tuple[str, str, str, str]:
    service, name = label(point.attributes, "service.name"), label(point.attributes, "span.name")
    return service, name, label(point.attributes, "span.kind"), label(point.attributes, "status.code")


def counted(sink: Sink) -> Counts:
    """The span metrics' newest values."""
    calls = sink.named("traces.span.metrics.calls")
    return {identity(point): point.as_int for _, metric in calls for point in metric.sum.data_points}


def send_everything(collector: Collector) -> None:
    """Both halves of each trace in requests of their own, through the two doors."""
    send_http(collector.http_port, children())
    send_grpc(collector.grpc_port, roots())
    send_grpc(collector.grpc_port, stock_request())
    send_http(collector.http_port, log_request())


def all_failed_are_whole(sink: Sink) -> bool:
    traces = sink.traces()
    return all(traces.get(trace) == WHOLE for trace in trace_ids()[1])


@pytest.fixture(scope="module")
def sink(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Sink:
    """What a receiver behind the collector has after everything was sent and the collector has stopped.

    Traces are decided on and leave in the order in which they came: the last one, sent when the others begin to
    arrive, is decided on after all of them, and a stop waits for the requests that are on their way.
    """
    folder = tmp_path_factory.mktemp("collector")
    kept, (port,) = Sink(), free_ports(1)
    with listening(kept, port), collecting(binary, folder, port) as collector:
        send_everything(collector)
        eventually("all traces with an error arrive", lambda: all_failed_are_whole(kept), collector.log)
        send_grpc(collector.grpc_port, last())
        eventually("the last trace arrives", lambda: LAST in kept.traces(), collector.log)
        eventually("every span is counted", lambda: counted(kept) == SENT, collector.log)
        collector.stop()
    return kept


def test_every_span_is_counted_before_the_sampling(sink: Sink) -> None:
    assert counted(sink) == SENT
    metric = sink.named("traces.span.metrics.calls")[-1][1]
    assert metric.sum.is_monotonic
    assert metric.sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def test_durations_are_seconds_in_explicit_buckets(sink: Sink) -> None:
    found = sink.named("traces.span.metrics.duration")
    newest = {identity(point): point for _, metric in found for point in metric.histogram.data_points}
    assert {metric.unit for _, metric in found} == {"s"}
    assert {key: point.count for key, point in newest.items()} == SENT
    for point in newest.values():
        assert point.sum == pytest.approx(point.count * SPAN_SECONDS)
        at = list(point.explicit_bounds).index(SPAN_SECONDS)
        assert point.bucket_counts[at] == point.count  # an upper bound is inclusive


def test_the_span_metrics_keep_their_process_and_name_their_collector(sink: Sink) -> None:
    for owner, metric in sink.named("traces.span.metrics.calls"):
        for point in metric.sum.data_points:
            assert label(point.attributes, "collector.instance.id") == "collector-under-test"
            assert label(owner.attributes, "service.name") == label(point.attributes, "service.name")
    owners = {label(owner.attributes, "service.instance.id") for owner, _ in sink.named("traces.span.metrics.calls")}
    assert owners == {"shop-1", ""}


def test_every_trace_with_an_error_is_kept_whole(sink: Sink) -> None:
    assert all_failed_are_whole(sink)
    assert sink.traces()[LAST] == Counter(["last"])


def test_a_tenth_of_the_other_traces_is_kept_whole(sink: Sink) -> None:
    traces, (ordinary, _) = sink.traces(), trace_ids()
    kept = [traces[trace] for trace in ordinary if trace in traces]
    # 200 expected, 13 is one standard deviation; the ids, and so the outcome, are always the same.
    assert 160 <= len(kept) <= 240
    assert all(one == WHOLE for one in kept)


def test_spans_and_only_spans_say_that_they_are_counted(sink: Sink) -> None:
    mark = KeyValue(key="mirubato.spans.counted", value=AnyValue(bool_value=True))
    assert sink.spans
    assert all(mark in group.resource.attributes for group in sink.spans)
    others = [group.resource for group in sink.metrics] + [group.resource for group in sink.logs]
    assert not any(one.key == mark.key for owner in others for one in owner.attributes)


def test_metrics_and_logs_pass_unchanged(sink: Sink) -> None:
    ((owner, stock),) = sink.named("shop.stock")
    assert owner == resource("shop")
    assert (stock.unit, stock.gauge.data_points[0].as_int) == ("{item}", 42)
    assert label(stock.gauge.data_points[0].attributes, "shelf") == "a"
    (log,) = sink.logs
    assert log.scope_logs[0].log_records[0].body.string_value == "sold out"


def test_the_collector_reports_on_itself(sink: Sink) -> None:
    (owner, accepted) = sink.named("otelcol_receiver_accepted_spans")[-1]
    assert label(owner.attributes, "service.name") == "otelcol"
    assert sum(point.as_int for point in accepted.sum.data_points) == sum(SENT.values())


def test_what_was_accepted_survives_sigkill_and_an_absent_gateway(binary: str, tmp_path: Path) -> None:
    kept, (port,) = Sink(), free_ports(1)
    with collecting(binary, tmp_path, port) as collector:
        send_grpc(collector.grpc_port, stock_request())
        collector.process.send_signal(signal.SIGKILL)
        collector.process.wait()
    with listening(kept, port), collecting(binary, tmp_path, port) as collector:
        eventually("the metric arrives", lambda: bool(kept.named("shop.stock")), collector.log)


# The same with the real gateway. ------------------------------------------------------------------------------------


def read_ports(file: Path) -> dict[str, int]:
    try:
        ports: dict[str, int] = json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return ports


@contextmanager
def gateway(folder: Path) -> Iterator[dict[str, int]]:
    """A real gateway on free ports, which it writes down when it is ready."""
    folder.mkdir()
    log, doors = folder / "gateway.log", ["--grpc-port", "0", "--otlp-http-port", "0", "--web-port", "0"]
    with process([sys.executable, "-m", "mirubato", "gateway", "--data-dir", str(folder), *doors], log) as running:

        def ready() -> bool:
            assert running.poll() is None, log.read_text()[-4000:]
            return bool(read_ports(folder / "gateway.json"))

        eventually("the gateway is ready", ready, log)
        yield read_ports(folder / "gateway.json")


def ask(web_port: int, query: str) -> list[tuple[dict[str, str], int]]:
    """Labels and newest value of each series."""
    url = f"http://127.0.0.1:{web_port}/api/prometheus/api/v1/query"
    answer = httpx.get(url, params={"query": query}, timeout=WAIT_SECONDS).raise_for_status().json()
    assert answer["status"] == "success"
    return [(series["metric"], int(float(series["value"][1]))) for series in answer["data"]["result"]]


def counted_by_gateway(web_port: int, metric: str) -> Counts:
    """By the labels that the contract gives to span metrics, whatever other labels there are."""
    found: Counts = {}
    for labels, value in ask(web_port, metric):
        key = (labels["service_name"], labels["span_name"], labels["span_kind"], labels["status_code"])
        found[key] = found.get(key, 0) + value
    return found


def spans_sent(web_port: int) -> int:
    """How many spans the gateway has accepted, as the collector tells it."""
    return sum(value for _, value in ask(web_port, "otelcol_exporter_sent_spans_total"))


def test_the_gateway_has_every_span_counted_once(binary: str, tmp_path: Path) -> None:
    calls, durations = "traces_span_metrics_calls_total", "traces_span_metrics_duration_seconds_count"
    with gateway(tmp_path / "gateway") as ports, collecting(binary, tmp_path, ports["grpc_port"]) as collector:
        web = ports["web_port"]
        send_everything(collector)
        send_grpc(collector.grpc_port, last())
        eventually("spans are counted", lambda: counted_by_gateway(web, calls) == SENT, collector.log)
        eventually("the kept spans arrive", lambda: spans_sent(web) > 2 * FAILED, collector.log)
        # What the gateway makes of spans is readable a second after its reply: were it to count these again, it shows.
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert counted_by_gateway(web, calls) == SENT
            time.sleep(0.1)
        assert counted_by_gateway(web, durations) == SENT
