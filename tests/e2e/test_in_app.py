"""Auto-instrumented apps, set up by environment variables alone, in real servers against the real gateway.

Metrics go to the gateway, spans to a collector in this test, which can be asked what came.
"""

import concurrent.futures
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.gateways import Running
from tests.support.requests import fresh

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="gunicorn needs POSIX")]

BIN = Path(sys.executable).parent
REQUESTS, FAILURES = 300, 40
COUNT = "http_server_request_duration_seconds_count"

FLASK = """
from flask import Flask
from mirubato import create_monitor

app = Flask(__name__)
monitor = create_monitor()

@app.get("/score/<int:number>")
def score(number):
    monitor.track_business("score_read")
    return str(number)

@app.get("/fail")
def fail():
    raise RuntimeError("no")
"""

FASTAPI = """
from fastapi import FastAPI
from mirubato import create_monitor

app = FastAPI()
monitor = create_monitor()

@app.get("/score/{number}")
async def score(number: int):
    await monitor.track_business("score_read")
    return number

@app.get("/fail")
async def fail():
    raise RuntimeError("no")
"""


@contextmanager
def collecting() -> Iterator[tuple[str, list[Span]]]:
    """An OTLP/HTTP endpoint for spans; its address, and what came."""
    taken: list[Span] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            taken.extend(one for r in request.resource_spans for scope in r.scope_spans for one in scope.spans)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def environment(service: str, gateway: Running, traces: str) -> dict[str, str]:
    """Nothing but variables: this is what the docs say to set."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "MIRUBATO_"))}
    return inherited | {
        "OTEL_SERVICE_NAME": service,
        "OTEL_PYTHON_CONFIGURATOR": "mirubato",
        "OTEL_TRACES_SAMPLER": "mirubato",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": gateway.url("otlp_http_port", "/v1/metrics"),
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": traces,
        # Nothing is exported before the end: what arrives came at SIGTERM.
        "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
    }


@contextmanager
def serving(
    command: list[str], directory: Path, variables: Mapping[str, str], listening: socket.socket
) -> Iterator[str]:
    """A server that inherits a listening socket; at the end SIGTERM, and it must leave."""
    log = directory / "server.log"
    address = "http://{}:{}".format(*listening.getsockname())
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(BIN / "opentelemetry-instrument"), str(BIN / command[0]), *command[1:]],
            cwd=directory,
            env=dict(variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listening.fileno()],
        )
        try:
            wait_for(address, process, log)
            yield address
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        finally:
            process.kill()
            process.wait()
    assert process.returncode in (0, -signal.SIGTERM), log.read_text()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            httpx.get(f"{address}/unknown", timeout=5)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())


def traffic(address: str) -> None:
    """So many requests, every eighth or so a failure, from several connections at once."""
    paths = [f"/score/{number}" for number in range(REQUESTS)] + ["/fail"] * FAILURES
    # After an exception uvicorn closes the connection; a client that keeps it would run into that.
    with (
        httpx.Client(timeout=20, headers={"Connection": "close"}) as client,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        statuses = list(pool.map(lambda path: client.get(f"{address}{path}").status_code, paths))
    assert (statuses.count(200), statuses.count(500)) == (REQUESTS, FAILURES)


def total(gateway: Running, selector: str) -> float:
    return sum(float(one["value"][1]) for one in gateway.api("query", query=selector)["result"])


def check(gateway: Running, service: str, spans: list[Span]) -> None:
    """Exact counts in PromQL; every error among the spans; a tenth of the rest."""
    of = f'service_name="{service}"'
    assert total(gateway, f'{COUNT}{{{of},http_response_status_code="200"}}') == REQUESTS
    assert total(gateway, f'{COUNT}{{{of},http_response_status_code="500"}}') == FAILURES
    assert total(gateway, f"business_score_read_total{{{of}}}") == REQUESTS
    served = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    errors = [span for span in served if span.status.code == Status.STATUS_CODE_ERROR]
    assert len({span.span_id for span in errors}) == len(errors) == FAILURES
    assert {weight(span) for span in errors} == {1}
    successes = [span for span in served if span.status.code != Status.STATUS_CODE_ERROR]
    assert {round(weight(span), 6) for span in successes} <= {10}
    assert 5 < len(successes) < 80


def weight(span: Span) -> float:
    (found,) = (one.value for one in span.attributes if one.key == "mirubato.weight")
    return found.double_value or float(found.int_value)


def run(gateway: Running, directory: Path, app: str, command: list[str], listening: socket.socket) -> None:
    (directory / "app.py").write_text(app)
    service = fresh("app")
    with collecting() as (traces, spans):
        with serving(command, directory, environment(service, gateway, traces), listening) as address:
            traffic(address)
        check(gateway, service, spans)


@pytest.mark.parametrize("preload", [False, True])
def test_flask_in_gunicorn_with_two_workers(gateway: Running, tmp_path: Path, preload: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = ["gunicorn", "-w", "2", "--bind", f"fd://{listening.fileno()}", "app:app"]
        run(gateway, tmp_path, FLASK, command + ["--preload"] * preload, listening)


def test_fastapi_in_uvicorn(gateway: Running, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        run(gateway, tmp_path, FASTAPI, ["uvicorn", "--fd", str(listening.fileno()), "app:app"], listening)


def test_a_script_with_a_monitor_alone(gateway: Running) -> None:
    service = fresh("script")
    code = f"from mirubato import create_monitor\ncreate_monitor(service={service!r}).track_request(200, 12.5)"
    variables = {"OTEL_METRICS_EXPORTER": "otlp", "MIRUBATO_ENDPOINT": gateway.url("web_port")}
    subprocess.run([sys.executable, "-c", code], env=os.environ | variables, check=True, timeout=30)
    assert total(gateway, f'{COUNT}{{service_name="{service}",http_response_status_code="200"}}') == 1
