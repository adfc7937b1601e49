"""The demo's shop: its day, its customers, the environment of its services, and the whole of it at work."""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mirubato.demo.arrivals import Arrivals, Reading, Requests, business, read, rows, table
from mirubato.demo.day import Day
from mirubato.demo.shop import METRIC_EXPORT_INTERVAL_MS, SERVICES, service_environment
from mirubato.demo.surroundings import Surroundings
from mirubato.demo.traffic import Visit, visits

DAY = Day(seed=7, length_s=240.0, mean_rate=20.0)
NAMES = {"shop-web", "shop-orders", "shop-catalog"}


def until(day: Day, end_s: float) -> list[Visit]:
    return list(itertools.takewhile(lambda visit: visit.at_s < end_s, visits(day)))


class TestDay:
    def test_the_mean_over_a_day_is_the_mean_rate(self) -> None:
        assert sum(DAY.rate(at_s) for at_s in range(240)) / 240 == pytest.approx(DAY.mean_rate)

    def test_a_quiet_night_and_a_busy_day(self) -> None:
        rates = [DAY.rate(at_s) for at_s in range(240)]
        assert min(rates) == pytest.approx(0.15 * DAY.mean_rate, rel=0.01)
        assert 1.4 * DAY.mean_rate < max(rates) <= DAY.peak_rate
        assert DAY.rate(0) > DAY.mean_rate, "the shop opens with something to see"

    def test_every_day_is_the_same_shape(self) -> None:
        assert DAY.rate(33.0) == pytest.approx(DAY.rate(33.0 + 5 * DAY.length_s))

    @pytest.mark.parametrize("number", range(5))
    def test_one_incident_a_day_within_that_day(self, number: int) -> None:
        begin, end = DAY.incident(number)
        assert number * DAY.length_s < begin < end < (number + 1) * DAY.length_s
        assert end - begin == pytest.approx(48.0)
        assert not DAY.in_incident(begin - 0.001)
        assert DAY.in_incident(begin)
        assert DAY.in_incident(end - 0.001)
        assert not DAY.in_incident(end)

    def test_the_incident_depends_on_the_seed_alone(self) -> None:
        assert DAY.incident(3) == Day(seed=7, length_s=240.0).incident(3)
        assert DAY.incident(3) != Day(seed=8, length_s=240.0).incident(3)


class TestVisits:
    def test_the_same_seed_gives_the_same_visits(self) -> None:
        assert until(DAY, 60) == until(DAY, 60)
        assert until(DAY, 60) != until(Day(seed=8, length_s=240.0, mean_rate=20.0), 60)

    def test_they_follow_the_day(self) -> None:
        of_a_day = until(DAY, 240.0)
        assert len(of_a_day) == pytest.approx(240 * 20, rel=0.1)
        night = [visit for visit in of_a_day if DAY.rate(visit.at_s) < 0.5 * DAY.mean_rate]
        night_s = sum(DAY.rate(at_s) < 0.5 * DAY.mean_rate for at_s in range(240))
        assert 0 < len(night) / night_s < 0.5 * DAY.mean_rate

    def test_they_are_numbered_and_in_order(self) -> None:
        some = until(DAY, 30)
        assert [visit.number for visit in some] == list(range(1, len(some) + 1))
        assert all(earlier.at_s < later.at_s for earlier, later in itertools.pairwise(some))

    def test_they_look_ask_and_buy(self) -> None:
        some = until(DAY, 120)
        bought = [visit for visit in some if visit.method == "POST"]
        assert {visit.path for visit in bought} == {"/checkout"}
        assert len(bought) / len(some) == pytest.approx(0.12, abs=0.03)
        assert all(json.loads(visit.body or b"")["items"] for visit in bought)
        assert {visit.path.split("/")[1] for visit in some} == {"products", "orders", "checkout"}


class TestEnvironment:
    def test_each_service_exports_as_promised(self) -> None:
        environments = {service.name: service_environment(service, 11, 22, {"PATH": "/bin"}) for service in SERVICES}
        assert {
            name: (
                environment["OTEL_EXPORTER_OTLP_PROTOCOL"],
                environment["OTEL_EXPORTER_OTLP_ENDPOINT"],
                environment["OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"],
            )
            for name, environment in environments.items()
        } == {
            "shop-web": ("grpc", "http://127.0.0.1:11", "cumulative"),
            "shop-orders": ("http/protobuf", "http://127.0.0.1:22", "cumulative"),
            "shop-catalog": ("http/protobuf", "http://127.0.0.1:22", "delta"),
        }
        for name, environment in environments.items():
            assert environment["OTEL_SERVICE_NAME"] == name
            assert environment["PATH"] == "/bin"
            assert environment["OTEL_SEMCONV_STABILITY_OPT_IN"].startswith("http")

    def test_the_users_own_variables_and_proxies_do_not_lead_elsewhere(self) -> None:
        inherited = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=x", "http_proxy": "http://proxy:1", "no_proxy": ""}
        environment = service_environment(SERVICES[0], 1, 2, inherited)
        assert "OTEL_EXPORTER_OTLP_HEADERS" not in environment
        assert environment["no_proxy"] == environment["NO_PROXY"] == "127.0.0.1"

    def test_data_is_there_soon(self) -> None:
        assert METRIC_EXPORT_INTERVAL_MS <= 5000

    def test_surroundings_travel_unchanged(self) -> None:
        surroundings = Surroundings("http://a", "http://b", "http://c", Path("/shop"), 1234, DAY)
        assert Surroundings.from_environment(surroundings.to_environment()) == surroundings


def sample(service: str, name: str, value: float, **labels: str) -> tuple[dict[str, str], float]:
    return {"__name__": name, "service_name": service, **labels}, value


class TestArrivals:
    def test_counts_series_requests_and_failures_by_service(self) -> None:
        new = "http_server_request_duration_seconds"
        reading = read(
            [
                sample("a", f"{new}_count", 90, http_response_status_code="200"),
                sample("a", f"{new}_count", 4, http_response_status_code="404"),
                sample("a", f"{new}_count", 6, http_response_status_code="503"),
                sample("a", f"{new}_sum", 5.0, http_response_status_code="200"),
                sample("b", "queue_depth", 3),
            ],
            at_s=1.0,
        )
        assert reading.series == {"a": 4, "b": 1}
        assert reading.requests == {("a", ""): Requests(100, 6, 5.0)}
        assert business(reading) == "orders waiting 3"

    def test_a_service_that_speaks_both_conventions_is_counted_once(self) -> None:
        both = [
            sample("a", "http_server_request_duration_seconds_count", 10, http_response_status_code="500"),
            sample("a", "http_server_duration_milliseconds_count", 10, http_status_code="500"),
            sample("old", "http_server_duration_milliseconds_count", 8, http_status_code="500"),
            sample("old", "http_server_duration_milliseconds_sum", 4000),
        ]
        assert read(both, 0.0).requests == {("a", ""): Requests(10, 10, 0.0), ("old", ""): Requests(8, 8, 4.0)}

    def test_rates_lie_between_the_first_reading_of_a_service_and_the_last(self) -> None:
        a, late = ("a", "1"), ("late", "1")
        readings = [
            Reading(10.0, {"a": 1}, {a: Requests(100, 0, 1.0)}),
            Reading(15.0, {"a": 1, "late": 1}, {a: Requests(150, 0, 1.5), late: Requests(5, 0, 0.0)}),
            Reading(20.0, {"a": 1, "late": 1}, {a: Requests(200, 10, 6.0), late: Requests(15, 0, 0.1)}),
        ]
        assert rows(readings) == [("a", "1", "10.0", "10.0%", "50 ms"), ("late", "1", "2.0", "0.0%", "10 ms")]
        assert rows(readings[:1]) == [("a", "1", "-", "-", "-")]

    def test_a_restarted_service_counts_from_zero(self) -> None:
        readings = [
            Reading(10.0, {"a": 1}, {("a", "old"): Requests(100, 0, 1.0)}),
            Reading(15.0, {"a": 2}, {("a", "old"): Requests(110, 0, 1.1), ("a", "new"): Requests(10, 0, 0.1)}),
            Reading(20.0, {"a": 1}, {("a", "new"): Requests(30, 0, 0.3)}),
        ]
        assert rows(readings[:2]) == [("a", "2", "4.0", "0.0%", "10 ms")]
        assert rows(readings) == [("a", "1", "3.0", "0.0%", "10 ms")]

    def test_an_instance_of_an_earlier_demo_is_left_out_until_it_sends_again(self) -> None:
        old = [sample("a", "x", 1, instance="1"), sample("a", "y", 2, instance="1")]
        other = sample("b", "x", 1, instance="2")
        answers = iter([old, old[:1], [*old, other], [old[0], sample("a", "y", 3, instance="1"), other]])
        out = io.StringIO()
        arrivals = Arrivals(lambda: next(answers), out)
        shown = []
        pauses = iter([True, True, True, False])

        def pause(_: float) -> bool:
            shown.append(out.getvalue().splitlines()[-1].split()[1:3])
            return next(pauses)

        arrivals.watch(pause)
        assert shown == [["waiting", "for"], ["waiting", "for"], ["b", "1"], ["b", "1"]]
        assert " a " in out.getvalue()

    def test_the_table_is_aligned(self) -> None:
        lines = table([("shop-orders", "1234", "4.2", "0.0%", "25 ms")])
        assert len({len(line) for line in lines}) == 1


# The whole of it, with real processes. ----------------------------------------------------------------------------

WAIT_S = 60.0
FREE_PORTS = ("--grpc-port", "0", "--otlp-http-port", "0", "--web-port", "0")

# Starts one child, tells its pid, and waits for the SIGKILL that gives it no chance to clean up.
PARENT = """
import sys, time
from pathlib import Path
from mirubato.demo.children import Children
children = Children(Path(sys.argv[1]))
print(children.start("child", [sys.executable, "-c", "import time; time.sleep(600)"]), flush=True)
time.sleep(600)
"""

_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def running(arguments: Sequence[str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process; killed at the end if it is still there."""
    with output.open("wb") as out, subprocess.Popen([sys.executable, *arguments], stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.kill()


def eventually(holds: Callable[[], bool], failure: Callable[[], str], within_s: float = WAIT_S) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, failure()
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has waited for yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def get(web_port: int, path: str, **parameters: str) -> Any:
    """`data` of an answer of the Prometheus API; None while the gateway does not answer."""
    url = f"http://127.0.0.1:{web_port}/api/prometheus/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with _NO_PROXY.open(url, timeout=5) as response:
            return json.load(response)["data"]
    except (urllib.error.URLError, ConnectionError):
        return None


def web_port(data_dir: Path) -> int | None:
    """The port of the gateway's API once it is ready."""
    path = data_dir / "gateway.json"
    return int(json.loads(path.read_bytes())["web_port"]) if path.exists() else None


def has_all_services(port: int) -> bool:
    return set(get(port, "label/service_name/values") or ()) >= NAMES


def has_requests(port: int, service: str) -> bool:
    query = f'http_server_request_duration_seconds_count{{service_name="{service}"}}'
    vector = get(port, "query", query=query)
    return bool(vector and vector["result"] and sum(float(item["value"][1]) for item in vector["result"]) > 0)


@pytest.mark.slow
def test_the_whole_demo(tmp_path: Path) -> None:
    data_dir, output = tmp_path / "data", tmp_path / "output.txt"
    arguments = ("-m", "mirubato", "demo", "--for", "90", "--data-dir", str(data_dir), *FREE_PORTS)

    def tell() -> str:
        logs = [output, *sorted(data_dir.glob("shop/*.log"))]
        return "\n".join(f"== {log.name}\n{log.read_text()[-4000:]}" for log in logs)

    with running(arguments, output) as demo:
        eventually(lambda: web_port(data_dir) is not None, tell)
        port = web_port(data_dir)
        assert port is not None
        eventually(lambda: has_all_services(port), tell)
        for service in sorted(NAMES):  # gRPC, HTTP, and HTTP in delta temporality
            eventually(lambda name=service: has_requests(port, name), tell)  # type: ignore[misc]
        eventually(lambda: all(name in output.read_text() for name in NAMES), tell)
        gateway_pid = int(json.loads((data_dir / "gateway.json").read_bytes())["pid"])
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(20) == 0, tell()
        assert not is_alive(gateway_pid)
    assert f"http://127.0.0.1:{port}/" in output.read_text()


@pytest.mark.slow
def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    with running(["-c", PARENT, str(tmp_path)], output) as parent:
        eventually(lambda: output.read_text().endswith("\n"), output.read_text)
        child = int(output.read_text())
        assert is_alive(child)
        parent.kill()
        parent.wait(10)
        eventually(lambda: not is_alive(child), lambda: f"{child} is still there", within_s=10)


@pytest.mark.slow
def test_without_traffic_it_is_the_bare_gateway(tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    arguments = ("-m", "mirubato", "demo", "--no-traffic", "--data-dir", str(tmp_path), *FREE_PORTS)
    with running(arguments, output) as demo:
        eventually(lambda: web_port(tmp_path) is not None, output.read_text)
        assert json.loads((tmp_path / "gateway.json").read_bytes())["pid"] == demo.pid
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(20) == 0, output.read_text()
    assert not (tmp_path / "shop").exists()


@pytest.mark.slow
def test_an_option_that_nobody_knows_is_bad_usage(tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    with running(["-m", "mirubato", "demo", "--data-dir", str(tmp_path / "data"), "--nonsense"], output) as demo:
        assert demo.wait(WAIT_S) == 2
    assert "--nonsense" in output.read_text()
