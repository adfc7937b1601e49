"""A real Prometheus scrapes an app and itself, and pushes all of it to the gateway: what both hold is the same.

Skipped where no `prometheus` is on the path, and for version 2.0 where it is too old.
"""

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from mirubato.model.samples import Kind
from tests.remote_write.encoding import V1, V2
from tests.support.gateways import API, Running, running

pytestmark = pytest.mark.slow
PROMETHEUS = shutil.which("prometheus")
WAIT_S = 60
BEGAN_S = int(time.time()) - 600
PAGE = """\
# TYPE orders counter
# HELP orders What was "ordered".
orders_total{route="/a"} NUMBER # {trace_id="abc"} 1.5
orders_created{route="/a"} BEGAN
# TYPE stock gauge
# HELP stock Grüße
stock -1.5
stock{where="nowhere"} NaN
stock{where="far"} +Inf
# TYPE wait_seconds histogram
# UNIT wait_seconds seconds
# HELP wait_seconds How long.
wait_seconds_bucket{le="0.5"} NUMBER
wait_seconds_bucket{le="+Inf"} NUMBER
wait_seconds_count NUMBER
wait_seconds_sum 4.5
# TYPE size summary
size{quantile="0.5"} 3
size_count NUMBER
size_sum 30
# EOF
"""


@cache
def is_new() -> bool:
    """Whether the Prometheus on the path can send start times, and so all that we ask of it here."""
    command = [str(PROMETHEUS), "--help"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    return "st-storage" in told.stdout + told.stderr


class App(BaseHTTPRequestHandler):
    """Metrics that rise with each scrape."""

    scrapes = 0
    gone = False

    def do_GET(self) -> None:
        type(self).scrapes += 1
        if self.gone:
            self.send_error(503)
            return
        page = PAGE.replace("NUMBER", str(self.scrapes)).replace("BEGAN", str(BEGAN_S)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def app() -> Iterator[str]:
    """An app that serves metrics; its address."""
    App.scrapes, App.gone = 0, False
    server = ThreadingHTTPServer(("127.0.0.1", 0), App)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def configuration(address: str, own: str, gateway: Running, message: str) -> dict[str, Any]:
    jobs: list[dict[str, Any]] = [
        {"job_name": "app", "static_configs": [{"targets": [address]}]},
        {"job_name": "self", "static_configs": [{"targets": [own]}]},
    ]
    if is_new():
        jobs[1] |= {"scrape_native_histograms": True, "always_scrape_classic_histograms": True}
        jobs.append(jobs[0] | {"job_name": "custom", "convert_classic_histograms_to_nhcb": True})
    write = {
        "url": gateway.url("web_port", f"{API}/write"),
        "send_exemplars": True,
        "send_native_histograms": True,
        "queue_config": {"batch_send_deadline": "200ms"},
    } | (
        {"protobuf_message": message.partition("=")[2]}
        if message == V2
        else {"metadata_config": {"send": True, "send_interval": "1s"}}
    )
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": jobs,
        "remote_write": [write],
    }


@contextmanager
def prometheus(directory: Path, address: str, gateway: Running, message: str) -> Iterator[Callable[..., Any]]:
    """A server that scrapes an app and itself each second and pushes to a gateway; yields its HTTP API."""
    own = f"127.0.0.1:{free_port()}"
    file = directory / "prometheus.yml"
    file.write_text(json.dumps(configuration(address, own, gateway, message)), encoding="utf-8")  # JSON is YAML
    features = "exemplar-storage"
    if message == V2:
        features += ",st-storage,xor2-encoding,type-and-unit-labels"
    command = [
        str(PROMETHEUS),
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={own}",
        f"--enable-feature={features}",
    ]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield partial(ask, f"http://{own}/api/v1")
        finally:
            process.send_signal(signal.SIGTERM)


def ask(api: str, endpoint: str, **asked: Any) -> Any:
    """The data of an answer; None while there is none."""
    try:
        reply = httpx.get(f"{api}/{endpoint}", params=asked)
    except httpx.HTTPError:
        return None
    return reply.json()["data"] if reply.status_code == 200 else None


def wait_for(found: Callable[[], Any]) -> Any:
    until = time.monotonic() + WAIT_S
    while not (seen := found()):
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.2)
    return seen


Held = dict[tuple[tuple[str, str], ...], list[Any]]


def raw(api: Callable[..., Any], selector: str, at_s: float) -> Held:
    """All samples of the last minute before a time, by labels; of histograms what they count and their sum."""
    found = api("query", query=f"{selector}[1m]", time=at_s)
    return {
        tuple(sorted(one["metric"].items())): one.get("values", [])
        + [[at, histogram["count"], histogram["sum"]] for at, histogram in one.get("histograms", [])]
        for one in (found or {"result": ()})["result"]
    }


def holds(ours: Held, theirs: Held) -> bool:
    """Whether we have all that they have; zeros where counters began are ours alone."""
    return bool(theirs) and all(
        sample in ours.get(labels, ()) for labels, samples in theirs.items() for sample in samples
    )


@pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus on the path")
@pytest.mark.parametrize("message", [V1, V2], ids=["1.0", "2.0"])
def test_both_hold_the_same(tmp_path: Path, message: str) -> None:
    if message == V2 and not is_new():
        pytest.skip("this prometheus is too old for version 2.0")
    with running(tmp_path / "gateway") as gateway, app() as address:
        with prometheus(tmp_path, address, gateway, message) as theirs:
            ours = gateway.api
            scraped = 'count_over_time(orders_total{job="app"}[1m]) > 4'
            wait_for(lambda: ours("query", query=scraped)["result"])
            App.gone = True
            wait_for(lambda: ours("query", query='up{job="app"} == 0')["result"])
            at = time.time()
            # Histograms with custom buckets are not sent in version 1.0.
            app_ = '{job=~"app|custom"}' if message == V2 else '{job="app"}'
            self_ = '{job="self",__name__=~"go_.*|prometheus_.*_duration_seconds.*"}'
            wait_for(lambda: raw(ours, app_, at) == raw(theirs, app_, at) != {})
            wait_for(lambda: holds(raw(ours, self_, at), raw(theirs, self_, at)))
            ended = {selector: theirs("query", query=selector)["result"] for selector in ("orders_total", "size")}
            assert ended == {selector: ours("query", query=selector)["result"] for selector in ended}
            assert ended == {"orders_total": [], "size": []}
            check_metadata(gateway, "How long." if message == V1 else "")
            check_exemplars(gateway)
        if is_new():
            check_natives(gateway, custom=message == V2)
        if message == V2:
            check_start(gateway, at)


def check_metadata(gateway: Running, help_: str) -> None:
    """What the app says of its metrics; Prometheus 3.14 sends no help texts in version 2.0."""
    expected = {"wait_seconds": [{"type": "histogram", "unit": "seconds", "help": help_}]}
    wait_for(lambda: gateway.api("metadata", metric="wait_seconds") == expected)
    families = {series.family.name: series.family for series in gateway.gateway.store.registry.series if series}
    assert families["orders_total"].type == "counter"
    assert (families["stock"].type, families["stock"].help) == ("gauge", "Grüße" if help_ else "")
    assert families["size"].type == "summary"


def check_exemplars(gateway: Running) -> None:
    """The exemplar of the counter."""
    found = wait_for(lambda: gateway.gateway.reader.exemplars(0, 1 << 60))
    assert {(exemplar.value, exemplar.labels) for _, exemplar in found} >= {(1.5, (("trace_id", "abc"),))}


def check_natives(gateway: Running, *, custom: bool) -> None:
    """Exponential ones of Prometheus itself, custom ones that it made of the app's."""
    natives = [one for one in gateway.gateway.store.registry.series if one and one.kind is Kind.HISTOGRAM]
    names = {dict(one.labels)["__name__"] for one in natives}
    assert "prometheus_http_request_duration_seconds" in names
    assert ("wait_seconds" in names) is custom


def check_start(gateway: Running, at_s: float) -> None:
    """A zero where the counter began, as the app says."""
    query = f'orders_total{{job="app"}}[{int(at_s) - BEGAN_S + 60}s]'
    (found,) = gateway.api("query", query=query, time=at_s)["result"]
    assert found["values"][0] == [BEGAN_S, "0"]
