"""The command line: exit statuses, messages, and a gateway as a process of its own."""

import gc
import importlib.metadata
import json
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from mirubato.cli import main
from tests.support.doors import HTTP
from tests.support.gateways import Running, running
from tests.support.requests import exponential, fresh, gauge, metrics, now_ms, number, powers

READY_S, LEAVE_S = 30, 10
FREE_PORTS = ["--grpc-port", "0", "--otlp-http-port", "0", "--web-port", "0"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No mirubato.toml, no mirubato-data but the test's own; and what `gateway` sets for its process is set back."""
    monkeypatch.chdir(tmp_path)
    threshold, stack, switch = gc.get_threshold(), threading.stack_size(), sys.getswitchinterval()
    yield
    gc.set_threshold(*threshold)
    threading.stack_size(stack)
    sys.setswitchinterval(switch)


class TestUsage:
    def test_the_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["version"]) == 0
        assert capsys.readouterr().out == importlib.metadata.version("mirubato-monitoring") + "\n"

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["nonsense"],
            ["gateway", "--nonsense"],
            ["gateway", "--grpc-por", "0"],
            ["gateway", "extra"],
            ["gateway", "--grpc-port"],
            ["health", "--nonsense"],
            ["version", "extra"],
            ["query"],
            ["query", "up", "extra"],
            ["query", "up", "--range", "x"],
            ["query", "up", "--range", "0s"],
            ["query", "up", "--step", "-1s"],
            ["query", "up", "--time", "yesterday"],
        ],
    )
    def test_bad_usage_is_2(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2
        assert "usage: mirubato" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "arguments", [["--help"], ["gateway", "--help"], ["health", "--help"], ["query", "--help"]]
    )
    def test_help_is_0(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 0
        assert "usage: mirubato" in capsys.readouterr().out

    def test_the_arguments_of_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["mirubato", "version"])
        assert main() == 0

    def test_as_a_module(self) -> None:
        done = subprocess.run([sys.executable, "-m", "mirubato", "version"], capture_output=True, check=True)
        assert done.stdout.decode().strip() == importlib.metadata.version("mirubato-monitoring")


class TestRefusalsToStart:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--grpc-port", "x"], "grpc_port (--grpc-port, MIRUBATO_GRPC_PORT): 'x' is no whole number"),
            (["--config", "nothing.toml"], "nothing.toml: "),
            (["--host", "0.0.0.0"], "start with --allow-anonymous"),
        ],
    )
    def test_bad_settings_are_2(self, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["gateway", *arguments]) == 2
        assert told in capsys.readouterr().err
        assert not Path("mirubato-data").exists()

    def test_a_taken_port_is_1(self, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert main(["gateway", *FREE_PORTS[:4], "--web-port", str(port)]) == 1
        told = f"mirubato: cannot listen on 127.0.0.1:{port} for the web: Address already in use\n"
        assert capsys.readouterr().err.endswith(told)

    def test_a_directory_in_use_is_1(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with running(tmp_path / "data"):
            assert main(["gateway", "--data-dir", "data", *FREE_PORTS]) == 1
        assert "data is in use by another gateway" in capsys.readouterr().err

    def test_a_file_of_a_newer_version_is_1(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with running(tmp_path / "data") as one:
            one.gateway.store.writer.call(lambda file: file.execute("PRAGMA user_version=99"), transaction=False)
        assert main(["gateway", "--data-dir", "data", *FREE_PORTS]) == 1
        assert "newer version" in capsys.readouterr().err


class Impostor(BaseHTTPRequestHandler):
    """Some other server on the port; it answers the path's last part."""

    answer = b""

    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()
        self.wfile.write(self.answer)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def log_request(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def impostor(answer: bytes) -> Iterator[int]:
    handler = type("Handler", (Impostor,), {"answer": answer})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class TestHealth:
    def test_of_a_healthy_gateway(self, gateway: Running, capsys: pytest.CaptureFixture[str]) -> None:
        port = str(gateway.gateway.ports["web_port"])
        assert main(["health", "--web-port", port]) == 0
        assert capsys.readouterr().out == "ok\n"
        assert main(["health", "--web-port", port, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["storage"]["series"] >= 0

    def test_of_one_on_a_free_port(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with running(tmp_path):
            assert main(["health", "--web-port", "0", "--data-dir", str(tmp_path)]) == 0
        assert main(["health", "--web-port", "0", "--data-dir", str(tmp_path)]) == 2
        assert "does not tell the real one" in capsys.readouterr().err

    def test_of_one_that_cannot_store(self, broken_gateway: Running, capsys: pytest.CaptureFixture[str]) -> None:
        HTTP.export(broken_gateway, "metrics", metrics(gauge("up", number(1.0))))
        assert main(["health", "--web-port", str(broken_gateway.gateway.ports["web_port"])]) == 1
        assert capsys.readouterr().out == "cannot store\n"

    def test_of_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
        assert main(["health", "--web-port", str(port)]) == 1
        assert f"no gateway answers at 127.0.0.1:{port}: " in capsys.readouterr().err

    @pytest.mark.parametrize("answer", [b"<html>", b"", b"{}", b"[]", b'"ok"', b"\xff"])
    def test_of_something_else(self, answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
        with impostor(answer) as port:
            assert main(["health", "--web-port", str(port)]) == 1
        assert f"no gateway answers at 127.0.0.1:{port}: " in capsys.readouterr().err


class TestQuery:
    """The shared gateway, found by its address."""

    @pytest.fixture
    def stock(self, gateway: Running) -> str:
        """Two series of a gauge, one sample each 15 s for 5 minutes; the second has a hole."""
        name, now = fresh("stock"), now_ms()
        points = [
            number(float(value * step), now - 15_000 * (20 - step), zone=zone, shelf="1")
            for step in range(21)
            for zone, value in (("a", 1), ("b", 2))
            if zone == "a" or not 5 < step < 10
        ]
        assert HTTP.export(gateway, "metrics", metrics(gauge(name, *points))).code == 0
        return name

    def ask(self, gateway: Running, *arguments: str) -> int:
        return main(["query", *arguments, "--url", gateway.url("web_port")])

    def test_a_vector_is_a_table(self, gateway: Running, stock: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.ask(gateway, stock) == 0
        out, err = capsys.readouterr()
        pad = " " * (len(stock) - len("metric"))
        assert out.splitlines() == [
            f"metric{pad}  job   service_name  shelf  zone  value",
            f"{stock}  shop  shop          1      a        20",
            f"{stock}  shop  shop          1      b        40",
        ]
        assert err == ""

    def test_at_a_time(self, gateway: Running, stock: str, capsys: pytest.CaptureFixture[str]) -> None:
        then = now_ms() / 1000 - 150
        for text in (str(then), datetime.fromtimestamp(then, UTC).isoformat()):
            assert self.ask(gateway, f'{stock}{{zone="a"}} * 2', "--time", text) == 0
            value = capsys.readouterr().out.split()[-1]
            assert 0 < float(value) < 40

    @pytest.mark.parametrize(("query", "shown"), [("1+1", "2\n"), ('"a b"', "a b\n"), ("vector(7)", "value\n    7\n")])
    def test_without_series(self, gateway: Running, query: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.ask(gateway, query) == 0
        assert capsys.readouterr().out == shown

    def test_samples_of_a_range_vector(self, gateway: Running, stock: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.ask(gateway, f'{stock}{{zone="a"}}[40s]') == 0
        name, *samples = capsys.readouterr().out.splitlines()
        assert name == f'{stock}{{job="shop", service_name="shop", shelf="1", zone="a"}}'
        assert [line.split()[-1] for line in samples] == ["18", "19", "20"]

    def test_native_histograms(self, gateway: Running, capsys: pytest.CaptureFixture[str]) -> None:
        name = fresh()
        assert HTTP.export(gateway, "metrics", metrics(exponential(name, powers([1, 2], total=4.5)))).code == 0
        assert self.ask(gateway, name) == 0
        assert capsys.readouterr().out.splitlines()[1].endswith("count 3, sum 4.5")
        assert self.ask(gateway, name, "--range", "1m") == 0
        assert "native histograms, which are not drawn" in capsys.readouterr().out

    def test_a_range_is_a_plot(self, gateway: Running, stock: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.ask(gateway, stock, "--range", "5m", "--step", "15s") == 0
        out, err = capsys.readouterr()
        *drawn, first, second = out.splitlines()
        assert (first, second) == (f'a {stock}{{zone="a"}}  20', f'b {stock}{{zone="b"}}  40')
        assert any("a" in line and "│" in line for line in drawn)
        assert any("b" in line and "│" in line for line in drawn)
        assert all(len(line) <= 100 for line in drawn)
        assert ("\x1b" in out, err) == (False, "")

    @pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, 1e308])
    def test_a_plot_of_one_value(self, gateway: Running, value: float, capsys: pytest.CaptureFixture[str]) -> None:
        name = fresh()
        assert HTTP.export(gateway, "metrics", metrics(gauge(name, number(value)))).code == 0
        assert self.ask(gateway, name, "--range", "1h") == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"a {name}")

    def test_more_series_than_a_plot_can_show(self, gateway: Running, capsys: pytest.CaptureFixture[str]) -> None:
        name = fresh()
        points = [number(1.0, number=str(index)) for index in range(15)]
        assert HTTP.export(gateway, "metrics", metrics(gauge(name, *points))).code == 0
        assert self.ask(gateway, name, "--range", "1m") == 0
        assert "3 more series are not shown" in capsys.readouterr().err

    def test_json(self, gateway: Running, stock: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.ask(gateway, stock, "--json") == 0
        assert json.loads(capsys.readouterr().out)["resultType"] == "vector"
        assert self.ask(gateway, stock, "--json", "--range", "1m") == 0
        assert json.loads(capsys.readouterr().out)["resultType"] == "matrix"

    @pytest.mark.parametrize("range_", [[], ["--range", "1m"]])
    def test_nothing(self, gateway: Running, range_: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert self.ask(gateway, "absent_x", *range_) == 0
        assert capsys.readouterr() == ("", "mirubato: no series\n")

    def test_notes_are_told(self, gateway: Running, stock: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.ask(gateway, f"rate({stock}[5m])") == 0
        out, err = capsys.readouterr()
        assert out
        assert err.startswith("mirubato: PromQL info: metric might not be a counter")

    def test_an_expression_that_is_none_is_2(self, gateway: Running, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.ask(gateway, "up{") == 2
        assert "1:4: parse error" in capsys.readouterr().err
        assert self.ask(gateway, "up", "--step", "5s") == 2
        assert "--step needs --range" in capsys.readouterr().err
        assert self.ask(gateway, "up", "--range", "1y", "--step", "1s") == 2
        assert "11,000 points" in capsys.readouterr().err

    def test_one_without_an_answer_is_1(self, gateway: Running, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.ask(gateway, 'label_replace(vector(1), "a", "b", "c", "(")') == 1
        assert "invalid regular expression" in capsys.readouterr().err

    def test_of_a_gateway_on_a_free_port(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with running(tmp_path):
            assert main(["query", "1", "--data-dir", str(tmp_path)]) == 0
        assert main(["query", "1", "--data-dir", str(tmp_path), "--web-port", "0"]) == 2
        assert "does not tell the real one" in capsys.readouterr().err

    def test_of_another_prometheus(self, gateway: Running, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["query", "1", "--url", gateway.url("web_port", "/api/prometheus/")]) == 0
        assert capsys.readouterr().out == "1\n"

    def test_of_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
        assert main(["query", "1", "--url", f"http://127.0.0.1:{port}"]) == 1
        assert f"no gateway answers at http://127.0.0.1:{port}: " in capsys.readouterr().err

    @pytest.mark.parametrize("answer", [b"<html>", b"", b"{}", b"[]", b"\xff"])
    def test_of_something_else(self, answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
        with impostor(answer) as port:
            assert main(["query", "1", "--url", f"http://127.0.0.1:{port}"]) == 1
        assert "is no gateway" in capsys.readouterr().err


@contextmanager
def process(directory: Path, *command: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, int]]]:
    """A gateway process (or what `command` makes of it), once it has written down its ports; killed at the end."""
    start = command or ("-m", "mirubato")
    arguments = [sys.executable, *start, "gateway", "--data-dir", str(directory), *FREE_PORTS]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as one:
        try:
            yield one, ports_of(one, directory / "gateway.json")
        finally:
            one.kill()


def ports_of(one: subprocess.Popen[bytes], file: Path) -> dict[str, int]:
    until = time.monotonic() + READY_S
    while True:
        try:
            ports: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            ports = {}
        if ports.get("pid") == one.pid:
            return ports
        assert one.poll() is None, one.stdout and one.stdout.read()
        assert time.monotonic() < until
        time.sleep(0.02)


def left(one: subprocess.Popen[bytes], number_: int) -> str:
    """Send a signal; what it had printed when it left, with status 0 and in time."""
    began = time.monotonic()
    one.send_signal(number_)
    out, _ = one.communicate(timeout=LEAVE_S)
    assert (one.returncode, time.monotonic() - began < LEAVE_S) == (0, True), out
    assert b"Traceback" not in out
    return out.decode()


@pytest.mark.slow
class TestProcess:
    @pytest.mark.parametrize("number_", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it(self, tmp_path: Path, number_: int) -> None:
        with process(tmp_path) as (one, ports):
            out = left(one, number_)
        assert f"http://127.0.0.1:{ports['web_port']}/" in out
        assert f"OTLP/gRPC      127.0.0.1:{ports['grpc_port']}" in out
        assert not (tmp_path / "gateway.json").exists()

    def test_what_was_acknowledged_is_there_and_open_connections_do_not_hold_it(self, tmp_path: Path) -> None:
        with process(tmp_path) as (one, ports), httpx.Client() as client:
            url = f"http://127.0.0.1:{ports['otlp_http_port']}/v1/metrics"
            headers = {"content-type": "application/x-protobuf"}
            for index in range(20):
                body = metrics(gauge("up", number(1.0, index=str(index)))).SerializeToString()
                client.post(url, content=body, headers=headers).raise_for_status()
            with socket.create_connection(("127.0.0.1", ports["otlp_http_port"])) as half:
                half.sendall(b"POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
                left(one, signal.SIGTERM)
        with running(tmp_path) as again:
            assert len(again.samples("up")) == 20

    def test_a_second_one_on_its_directory_is_refused(self, tmp_path: Path) -> None:
        with process(tmp_path) as (one, _):
            command = [sys.executable, "-m", "mirubato", "gateway", "--data-dir", str(tmp_path), *FREE_PORTS]
            second = subprocess.run(command, capture_output=True, timeout=READY_S, check=False)
            assert second.returncode == 1
            assert f"in use by another gateway (process {one.pid})" in second.stderr.decode()
            assert "Traceback" not in second.stderr.decode()
            left(one, signal.SIGTERM)

    def test_a_killed_one_leaves_its_directory_free(self, tmp_path: Path) -> None:
        with process(tmp_path) as (one, _):
            one.kill()
            one.wait(LEAVE_S)
        with running(tmp_path) as again:
            assert again.get("/api/health").status_code == 200

    def test_a_query_that_takes_minutes_does_not_hold_it(self, tmp_path: Path) -> None:
        began = tmp_path / "began"
        slow = tmp_path / "slow.py"
        slow.write_text(SLOW_GATEWAY.format(began=str(began)), encoding="utf-8")
        with process(tmp_path, str(slow)) as (one, ports):
            url = f"http://127.0.0.1:{ports['web_port']}/api/prometheus/api/v1/query?query=up"
            client = in_thread(lambda: httpx.get(url, timeout=60))
            until = time.monotonic() + READY_S
            while not began.exists():
                assert time.monotonic() < until
                time.sleep(0.02)
            left(one, signal.SIGTERM)
            client.join(LEAVE_S)


SLOW_GATEWAY = """
import pathlib, sys, time
from mirubato.cli import main
from mirubato.storage.reading import Reader

def select(*_, **__):
    pathlib.Path({began!r}).touch()
    time.sleep(600)

Reader.select = select
sys.exit(main())
"""


def in_thread(call: Callable[[], object]) -> threading.Thread:
    """Call it in a thread; that the server goes away under it is expected."""

    def swallowing() -> None:
        try:
            call()
        except httpx.HTTPError:
            return

    thread = threading.Thread(target=swallowing)
    thread.start()
    return thread
