"""What concerns the process: light to load, counted once over forks, last export at exit and SIGTERM, in time."""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from mirubato.sdk.forks import forget
from tests.support.measured import Measured

OWN = """
import os, signal, sys, time
from mirubato import create_monitor
monitor = create_monitor({"OTEL_METRICS_EXPORTER": "otlp"}, service="api")
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "MIRUBATO_"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=inherited | environment,
        check=False,
    )


@contextmanager
def collecting() -> Iterator[tuple[str, list[ExportMetricsServiceRequest]]]:
    """An OTLP/HTTP endpoint that takes everything; its base address, and what it took."""
    taken: list[ExportMetricsServiceRequest] = []
    with answering(lambda _path, body: taken.append(ExportMetricsServiceRequest.FromString(body))) as url:
        yield url, taken


@contextmanager
def answering(take: Callable[[str, bytes], None]) -> Iterator[str]:
    """An HTTP server that gives path and body of every POST to `take`; its base address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
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
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def metrics(taken: list[ExportMetricsServiceRequest], name: str) -> dict[str, Metric]:
    """By service.instance.id, the last one that came."""
    found: dict[str, Metric] = {}
    for request in taken:
        for resource in request.resource_metrics:
            (instance,) = (a.value.string_value for a in resource.resource.attributes if a.key == "service.instance.id")
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        found[instance] = metric
    return found


def counts(taken: list[ExportMetricsServiceRequest], name: str = "business.signup") -> list[float]:
    """The total of each process, in order of size."""
    found = metrics(taken, name).values()
    return sorted(sum(point.as_double or point.as_int for point in metric.sum.data_points) for metric in found)


def test_loading_it_loads_no_server_code() -> None:
    done = run("import json, sys, mirubato; print(json.dumps(sorted(sys.modules)))")
    loaded = json.loads(done.stdout)
    rooms = {name.split(".")[1] for name in loaded if name.startswith("mirubato.")}
    assert rooms == {"sdk"}
    heavy = {
        "numpy",
        "grpc",
        "google",
        "sqlite3",
        "starlette",
        "uvicorn",
        "orjson",
        "requests",
        "httpx",
        "asyncio.sslproto",
    }
    assert not heavy & {name.split(".")[0] for name in loaded}


def test_the_room_imports_only_what_the_package_needs() -> None:
    allowed = {"mirubato", "opentelemetry", *sys.stdlib_module_names}
    directory = Path(__file__).parents[2] / "src/mirubato/sdk"
    lines = [line.split() for file in directory.glob("*.py") for line in file.read_text().splitlines()]
    imported = {words[1].split(".")[0].rstrip(",") for words in lines if words[:1] in (["import"], ["from"])}
    assert imported <= allowed


def test_it_exports_at_exit() -> None:
    with collecting() as (url, taken):
        done = run(OWN + "monitor.bind('business', 'signup')(3)", MIRUBATO_ENDPOINT=url)
        assert (done.returncode, done.stderr) == (0, "")
    assert counts(taken) == [3]
    names = {a.value.string_value for r in taken[0].resource_metrics for a in r.resource.attributes}
    assert "api" in names


def test_the_environment_names_the_service() -> None:
    with collecting() as (url, taken):
        run(OWN + "monitor.track_business('signup')", MIRUBATO_ENDPOINT=url, OTEL_SERVICE_NAME="other")
    names = {a.value.string_value for r in taken[0].resource_metrics for a in r.resource.attributes}
    assert "other" in names
    assert "api" not in names


def test_event_points_are_the_default() -> None:
    posts: list[tuple[str, bytes]] = []
    code = "from mirubato import create_monitor\ncreate_monitor(service='api').track_business('signup', 3)"
    with answering(lambda path, body: posts.append((path, body))) as url:
        done = run(code, MIRUBATO_ENDPOINT=url)
        assert (done.returncode, done.stderr) == (0, "")
    assert {path for path, _ in posts} == {"/api/event-points"}
    assert b"business.signup" in b"".join(body for _, body in posts)


def test_sigterm_exports_and_ends_as_it_would_have() -> None:
    code = OWN + "monitor.track_business('signup', 4)\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(30)"
    with collecting() as (url, taken):
        done = run(code, MIRUBATO_ENDPOINT=url)
        assert done.returncode == -signal.SIGTERM
    assert counts(taken) == [4]


def test_the_apps_own_handler_is_called() -> None:
    code = f"import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: (print('bye'), sys.exit(7)))\n{OWN}"
    code += "monitor.track_business('signup', 5)\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(30)"
    with collecting() as (url, taken):
        done = run(code, MIRUBATO_ENDPOINT=url)
        assert (done.returncode, done.stdout) == (7, "bye\n")
    assert counts(taken) == [5]


@pytest.mark.parametrize("leave", ["sys.exit(0)", "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"])
def test_a_gateway_that_is_down_holds_nothing_up(leave: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        code = OWN + f"monitor.track_business('signup')\nbegan = time.monotonic()\n{leave}"
        began = time.monotonic()
        done = run(code, MIRUBATO_ENDPOINT=url, MIRUBATO_EXIT_TIMEOUT="1")
    assert done.returncode in (0, -signal.SIGTERM)
    assert time.monotonic() - began < 6, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_children_count_only_their_own() -> None:
    code = (
        OWN
        + """
monitor.track_business("signup", 5)
bound = monitor.bind("business", "signup")
bound(10)
monitor.track_business("signup", -1)
if os.fork() == 0:
    bound(1)
    monitor.track_business("signup", 2)
    sys.exit(0)
os.wait()
bound(100)
"""
    )
    with collecting() as (url, taken):
        done = run(code, MIRUBATO_ENDPOINT=url)
        assert done.returncode == 0, done.stderr
    assert counts(taken) == [3, 115]
    assert counts(taken, "mirubato.sdk.dropped") == [1]


def test_this_sdk_can_be_made_to_forget() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    counter = provider.get_meter("x").create_counter("seen")
    counter.add(5)
    forget(provider)
    counter.add(2)
    assert Measured(provider, reader).total("seen") == 2


def test_without_an_exporter_it_says_so_once_and_works() -> None:
    code = """
from mirubato import create_monitor
for _ in range(3):
    monitor = create_monitor(service="api", reader=lambda: None)
    monitor.track_request(200, 1)
assert monitor.dropped == {"no_exporter": 1}, dict(monitor.dropped)
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("exporter", "said"), [("none", 0), ("nobody", 1)])
def test_exporters_that_are_none(exporter: str, said: int) -> None:
    code = "from mirubato import create_monitor\nfor _ in range(3): create_monitor().track_request(200, 1)"
    done = run(code, OTEL_METRICS_EXPORTER=exporter)
    assert (done.returncode, done.stderr.count("nothing is exported")) == (0, said)


def test_it_uses_the_provider_that_is_set() -> None:
    code = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from mirubato import create_monitor
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
create_monitor().track_request(200, 1)
names = [m.name for r in reader.get_metrics_data().resource_metrics for s in r.scope_metrics for m in s.metrics]
assert names == ["http.server.request.duration"], names
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_track_picks_becomes_event_points() -> None:
    """The default of `create_monitor`: metrics and events go to one address."""
    taken: list[dict[str, Any]] = []
    with answering(lambda _path, body: taken.append(json.loads(body))) as url:
        done = run(
            "from mirubato import create_monitor\n"
            "monitor = create_monitor(service='api')\n"
            "for _ in range(3):\n"
            "    monitor.track('render', {'ms': 1.5, 'odd': float('nan')}, {'kind': 'pdf'})\n"
            "monitor.flush()\n",
            MIRUBATO_ENDPOINT=url,
        )
    assert done.returncode == 0, done.stderr
    points = [point for body in taken for point in body["points"]]
    events = [point for point in points if point["blobs"][2] == "event"]
    assert [(one["blobs"][0], one["blobs"][4], one["blobs"][6], one["doubles"][1:]) for one in events] == [
        ("render", "api", "ms", [1.0, 1.5])
    ] * 3
    assert {point["blobs"][0] for point in points} >= {"render", "render.ms"}
