"""What "accepted" survives: the process is killed under load, again and again, and every acknowledged sample is there.

Clients do as exporters do: one request at a time, the next after the reply, and the same again where no reply came.
"""

import http.client
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Gauge,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)

pytestmark = pytest.mark.slow

SEED = 20
ROUNDS = 3
CLIENTS = 4
SERIES = 40
START_S = 20
STOP_S = 10
LOAD_S = 30
SEAL_SAMPLES = 5000
"""So few that sealing runs all the time."""

GAUGE, COUNTER = "load", "hits"


class Process:
    """A gateway of its own process on free ports."""

    def __init__(self, directory: Path) -> None:
        ports = itertools.chain.from_iterable((f"--{name}-port", "0") for name in ("grpc", "otlp-http", "web"))
        arguments = [sys.executable, "-m", "mirubato", "gateway", "--data-dir", str(directory), *ports]
        environment = os.environ | {"MIRUBATO_SEAL_SAMPLES": str(SEAL_SAMPLES)}
        self._log = (directory.parent / "gateway.log").open("ab")
        self._process = subprocess.Popen(
            arguments, env=environment, cwd=directory.parent, stdout=self._log, stderr=subprocess.STDOUT
        )
        self.ports = self._ready(directory / "gateway.json")

    def _ready(self, file: Path) -> dict[str, int]:
        """Its ports, once it serves: the file of a killed one may still be there."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, "the gateway did not start"
            ports: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
            if ports.get("pid") == self._process.pid:
                return ports
            time.sleep(0.01)
        self.kill()
        raise AssertionError("the gateway did not start in time")

    def kill(self) -> None:
        self._process.kill()
        self._end(STOP_S)

    def terminate(self) -> int:
        """SIGTERM; answers the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._end(STOP_S)

    def _end(self, timeout_s: float) -> int:
        try:
            return self._process.wait(timeout_s)
        finally:
            self._process.kill()
            self._process.wait()
            self._log.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.ports["web_port"], timeout=START_S)) as connection:
            connection.request("GET", f"/api/prometheus/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
            answer = json.load(connection.getresponse())
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


@contextmanager
def gateway(directory: Path) -> Iterator[Process]:
    process = Process(directory)
    try:
        yield process
    finally:
        process.kill()


@dataclass
class Client:
    """Sends request after request; knows which were acknowledged."""

    number: int
    times: list[int] = field(default_factory=list)
    """Time in ms of each request that was ever sent."""
    acknowledged: int = 0
    """How many of them; all but the last where the gateway died under it."""
    problem: str = ""

    def send_until_it_dies(self, port: int, enough: threading.Event) -> None:
        """One request after another, until no reply comes."""
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)) as connection:
            try:
                while not enough.is_set():
                    self._send(connection)
            except (OSError, http.client.HTTPException):
                return

    def _send(self, connection: http.client.HTTPConnection) -> None:
        if self.acknowledged == len(self.times):
            self.times.append(max(time.time_ns() // 1_000_000, self.times[-1] + 1 if self.times else 0))
        headers = {"Content-Type": "application/x-protobuf"}
        connection.request("POST", "/v1/metrics", self._request().SerializeToString(), headers)
        reply = connection.getresponse()
        body = reply.read()
        if reply.status == 503:
            return  # again, with the next turn of the loop
        if reply.status != 200 or ExportMetricsServiceResponse.FromString(body).HasField("partial_success"):
            self.problem = f"{reply.status}: {body!r}"
            raise http.client.HTTPException(self.problem)
        self.acknowledged += 1

    def _request(self) -> ExportMetricsServiceRequest:
        index, client = len(self.times) - 1, _label("client", str(self.number))
        now = self.times[-1] * 1_000_000
        points = [
            NumberDataPoint(
                time_unix_nano=now,
                as_double=value_of(index, series),
                attributes=[client, _label("series", str(series))],
            )
            for series in range(SERIES)
        ]
        before = (self.times[-2] if index else self.times[-1] - 1) * 1_000_000
        hit = NumberDataPoint(start_time_unix_nano=before, time_unix_nano=now, as_int=1, attributes=[client])
        delta = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
        metrics = [
            Metric(name=GAUGE, gauge=Gauge(data_points=points)),
            Metric(name=COUNTER, sum=Sum(aggregation_temporality=delta, is_monotonic=True, data_points=[hit])),
        ]
        return ExportMetricsServiceRequest(
            resource_metrics=[ResourceMetrics(scope_metrics=[ScopeMetrics(metrics=metrics)])]
        )

    def check(self, process: Process) -> None:
        """Everything acknowledged is there with its value, and nothing that was not sent."""
        assert not self.problem
        known = {time: index for index, time in enumerate(self.times)}
        found = process.query(f'{GAUGE}{{client="{self.number}"}}[1h]')
        assert {one["metric"]["series"] for one in found} == {str(series) for series in range(SERIES)}
        for one in found:
            stored = samples_of(one)
            assert stored == {time: value_of(known[time], int(one["metric"]["series"])) for time in stored}
            assert set(self.times[: self.acknowledged]) <= stored.keys()

    def check_total(self, process: Process) -> None:
        """The delta stream became one counter that never falls: each request that was sent has counted once."""
        (found,) = process.query(f'{COUNTER}_total{{client="{self.number}"}}[1h]')
        totals = samples_of(found)
        counted = [total for at, total in sorted(totals.items()) if at in set(self.times)]
        assert counted == list(range(1, len(counted) + 1))
        assert self.acknowledged <= len(counted) <= len(self.times)


def _label(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def value_of(index: int, series: int) -> float:
    return index * 1000 + series + 0.25


def samples_of(series: dict[str, Any]) -> dict[int, float]:
    return {round(at * 1000): float(value) for at, value in series["values"]}


@contextmanager
def load(clients: list[Client], process: Process) -> Iterator[None]:
    """All clients send at once until the gateway is gone."""
    enough = threading.Event()
    port = process.ports["otlp_http_port"]
    threads = [threading.Thread(target=client.send_until_it_dies, args=(port, enough)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(START_S)
            enough.set()


def wait_for(clients: list[Client], requests: int) -> None:
    """Until so many more requests have been acknowledged."""
    wanted = sum(client.acknowledged for client in clients) + requests
    deadline = time.monotonic() + LOAD_S
    while sum(client.acknowledged for client in clients) < wanted:
        assert time.monotonic() < deadline, "the load does not get on"
        time.sleep(0.001)


def test_every_acknowledged_sample_survives_sigkill(tmp_path: Path) -> None:
    chance, clients = random.Random(SEED), [Client(number) for number in range(CLIENTS)]
    directory = tmp_path / "data"
    for _ in range(ROUNDS):
        with gateway(directory) as process, load(clients, process):
            wait_for(clients, chance.randrange(300, 1000))
            process.kill()
        with gateway(directory) as process:
            for client in clients:
                client.check(process)
    assert sealed_blocks(directory) > 0
    with gateway(directory) as process, load(clients, process):  # who got no reply sends the same again
        wait_for(clients, 2 * CLIENTS)
        process.kill()
    with gateway(directory) as process:
        for client in clients:
            client.check(process)
            client.check_total(process)


def test_sigterm_under_load(tmp_path: Path) -> None:
    clients = [Client(number) for number in range(CLIENTS)]
    with gateway(tmp_path / "data") as process, load(clients, process):
        wait_for(clients, 200)
        assert process.terminate() == 0
    assert not (tmp_path / "data" / "gateway.json").exists()
    with gateway(tmp_path / "data") as process:
        for client in clients:
            client.check(process)
            client.check_total(process)


def sealed_blocks(directory: Path) -> int:
    """How many blocks there are; the file is whole."""
    with closing(sqlite3.connect(directory / "samples.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (blocks,) = connection.execute("SELECT count(*) FROM block").fetchone()
    return int(blocks)
