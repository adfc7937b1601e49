"""The exporter and the relay Worker against the real runtime.

`scripts/workerd` fetches it when there is none yet; MIRUBATO_FETCH_WORKERD=0 skips these tests instead, and so does a
machine without npm.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.metrics.export import Buckets, ExponentialHistogram, Gauge, Histogram

from mirubato.analytics_engine.event_points import EventPoint, current_limits, problem
from mirubato.analytics_engine.exporter import AnalyticsEngineMetricExporter
from mirubato.analytics_engine.http_writer import DEFAULT_DATASET, HttpWriter
from mirubato.analytics_engine.layout import default_layout
from mirubato.analytics_engine.mapping import Mapper
from mirubato.analytics_engine.reading import joined, read
from tests.analytics_engine.points import (
    DELTA,
    START_MS,
    TIME_MS,
    Data,
    counter,
    exponential,
    histogram,
    metrics,
    number,
)
from tests.analytics_engine.runtime import DATASET, ROOT, TOKEN, Runtime, blobs, doubles, running, text

pytestmark = pytest.mark.slow

LIMITS = current_limits()
POINT = EventPoint(TIME_MS, "index", ("a", None, "é\U0001f600"), (1.5, -0.0, 1e308))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with running(tmp_path_factory.mktemp("runtime")) as one:
        yield one


def row_of(point: EventPoint) -> tuple[str, list[str | None], list[float]]:
    """What should arrive: empty blobs at the end are not told from none, and doubles are filled up with zeros."""
    kept = list(point.blobs)
    while kept and kept[-1] is None:
        kept.pop()
    return point.index, kept, [*point.doubles, *[0.0] * (20 - len(point.doubles))]


def arrived(row: dict[str, Any]) -> tuple[str, list[str | None], list[float]]:
    assert text(row["dataset"]) == DATASET
    return text(row["index1"]), blobs(row), doubles(row)


DATA: list[Data] = [
    counter(number(3, {"plan": "größe", "error.type": "E"}), number(2**53, {"plan": ""})),
    Gauge([number(-1.25e-300), number(1e308, {"a": "\x00\x7f\U0001f600"})]),
    Histogram([histogram(range(1, 42), [n / 8 for n in range(40)], 7.5)], DELTA),
    ExponentialHistogram([exponential(Buckets(-3, [1, 0, 2] * 9), Buckets(4, [5]), 3, 7)], DELTA),
]


def test_points_arrive_byte_for_byte_and_say_the_same(runtime: Runtime) -> None:
    sent = [point for data in DATA for point in Mapper(default_layout(), LIMITS).points(metrics(data))]
    exporter = AnalyticsEngineMetricExporter(HttpWriter(runtime.relay, token=TOKEN))
    for data in DATA:
        exporter.export(metrics(data))
    assert exporter.force_flush()
    exporter.shutdown()
    assert exporter.counts == {"written": len(sent), "split": 3}
    came = runtime.arrived.take(len(sent))
    assert sorted(map(repr, map(arrived, came))) == sorted(map(repr, map(row_of, sent)))

    readings = joined(read(point_of(row), default_layout()) for row in came)
    wanted = joined(read(point, default_layout()) for point in sent)
    assert sorted(map(repr, map(comparable, readings))) == sorted(map(repr, map(comparable, wanted)))
    assert {reading.start_ms for reading in readings} == {START_MS}


def comparable(reading: Any) -> Any:
    return {key: sorted(map(str, value.items())) if key == "buckets" else value for key, value in vars(reading).items()}


def point_of(row: dict[str, Any]) -> EventPoint:
    """As it was written: of the 20 doubles that always come, its shape tells how many it had."""
    kind, shape = blobs(row)[2], (blobs(row)[6] or "").removeprefix("+ ").split()
    used = {"histogram": 4 + len(shape), "exponential": 4 + len(shape)}.get(str(kind), 3)
    return EventPoint(TIME_MS, text(row["index1"]), tuple(blobs(row)), tuple(doubles(row)[:used]))


CASES = {
    "20 blobs": {"blobs": ("x",) * 20},
    "21 blobs": {"blobs": ("x",) * 21},
    "20 doubles": {"doubles": (1.0,) * 20},
    "21 doubles": {"doubles": (1.0,) * 21},
    "96 bytes of index": {"index": "x" * 96},
    "97 bytes of index": {"index": "x" * 97},
    "96 bytes in 48 characters": {"index": "é" * 48},
    "98 bytes in 49 characters": {"index": "é" * 49},
    "16,000 bytes in a blob": {"blobs": ("x" * 16_000,)},
    "16,001 bytes in a blob": {"blobs": ("x" * 16_001,)},
    "16,000 bytes in two blobs": {"blobs": ("é" * 4000, None, "x" * 8000)},
    "16,001 bytes in two blobs": {"blobs": ("é" * 4000, None, "x" * 8001)},
}


@pytest.mark.parametrize("case", CASES)
def test_the_runtime_the_relay_and_our_check_agree(runtime: Runtime, case: str) -> None:
    point = replace(POINT, **CASES[case])  # type: ignore[arg-type]
    fits = problem(point, LIMITS) is None

    raw = {"indexes": [point.index], "blobs": point.blobs, "doubles": point.doubles}
    httpx.post(runtime.bare, json=[raw]).raise_for_status()
    rows, refusals = runtime.arrived.settled(1)
    assert [arrived(row) for row in rows] == [row_of(point)] * fits
    assert len(refusals) == (not fits)

    reply = runtime.post([asdict(point), asdict(POINT)])
    assert reply.status_code == 200
    answer = reply.json()
    assert answer["written"] == 1 + fits
    came = [arrived(row) for row in runtime.arrived.take(1 + fits)]
    assert sorted(map(repr, came)) == sorted(map(repr, [row_of(POINT), *[row_of(point)] * fits]))
    if not fits:
        (rejected,) = answer["rejected"]
        assert (rejected["position"], rejected["code"]) == (0, "past_limit")
        assert f"{rejected['field']}: {rejected['message']}" == problem(point, LIMITS)


def test_two_indexes_are_lost_in_the_runtime(runtime: Runtime) -> None:
    """So an event point has one."""
    httpx.post(runtime.bare, json=[{"indexes": ["a", "b"]}]).raise_for_status()
    rows, (refusal,) = runtime.arrived.settled(1)
    assert rows == []
    assert "Maximum of 1 indexes" in refusal
    assert LIMITS.indexes == 1


def test_250_points_in_a_request_and_no_more(runtime: Runtime) -> None:
    points = [asdict(replace(POINT, index=f"i{n}")) for n in range(251)]
    reply = runtime.post(points)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_many_points")
    assert runtime.post(points[:250]).json() == {"written": 250, "rejected": []}
    assert sorted(text(row["index1"]) for row in runtime.arrived.take(250)) == sorted(f"i{n}" for n in range(250))


@pytest.mark.parametrize("token", [None, "wrong", TOKEN + "x", TOKEN[:-1]])
def test_without_the_token_nothing_is_written(runtime: Runtime, token: str | None) -> None:
    reply = runtime.post([asdict(POINT)], token=token)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "unauthorized")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert runtime.arrived.rows == []


def test_without_a_secret_the_relay_takes_nothing_and_says_how_to_set_one(runtime: Runtime) -> None:
    headers = {"Authorization": "Bearer undefined"}
    reply = httpx.post(
        f"{runtime.secretless}/api/event-points", json={"dataset": DATASET, "points": []}, headers=headers
    )
    assert (reply.status_code, reply.json()["error"]["field"]) == (503, "RELAY_TOKEN")


def test_a_body_without_end_is_refused(runtime: Runtime) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    reply = httpx.post(f"{runtime.relay}/api/event-points", content=b" " * (33 << 20), headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")


def test_the_largest_points_fit_in_one_request(runtime: Runtime) -> None:
    large = replace(POINT, blobs=("\x00" * 16_000,), doubles=(1.0,))
    assert runtime.post([asdict(large)] * 250).json() == {"written": 250, "rejected": []}
    assert {text(row["blob1"]) for row in runtime.arrived.take(250)} == {"\x00" * 16_000}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/", b"{}", 404, "not_found"),
        ("GET", "/api/event-points", b"", 405, "wrong_method"),
        ("POST", "/api/event-points", b"", 400, "bad_json"),
        ("POST", "/api/event-points", b"{", 400, "bad_json"),
        ("POST", "/api/event-points", b'{"dataset":"\xff"}', 400, "bad_json"),
        ("POST", "/api/event-points", b"null", 400, "bad_body"),
        ("POST", "/api/event-points", b'{"points":{}}', 400, "bad_body"),
        ("POST", "/api/event-points", b'{"points":[]}', 400, "unknown_dataset"),
        ("POST", "/api/event-points", b'{"dataset":"other","points":[]}', 400, "unknown_dataset"),
    ],
)
def test_a_request_that_is_refused_is_told_why(
    runtime: Runtime, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    reply = httpx.request(method, runtime.relay + path, content=body, headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("point", "field"),
    [
        (3, "points"),
        ([], "points"),
        ({"blob": []}, "blob"),
        ({"index": 3}, "index"),
        ({"index": "\ud83d"}, "index"),
        ({"blobs": "abc"}, "blobs"),
        ({"blobs": [3]}, "blobs"),
        ({"doubles": ["1"]}, "doubles"),
        ({"doubles": [None]}, "doubles"),
        ({"timestamp_ms": 0.5}, "timestamp_ms"),
        ({"sample_interval": 10}, "sample_interval"),
    ],
)
def test_a_point_that_is_none_is_rejected_beside_its_good_neighbour(
    runtime: Runtime, point: object, field: str
) -> None:
    answer = runtime.post([point, asdict(POINT)]).json()
    assert answer["written"] == 1
    assert [(one["position"], one["code"], one["field"]) for one in answer["rejected"]] == [(0, "bad_point", field)]
    assert [arrived(row) for row in runtime.arrived.take(1)] == [row_of(POINT)]


def test_the_worker_has_the_limits_of_the_table_and_the_default_dataset() -> None:
    source = (ROOT / "worker" / "src" / "relay.js").read_text(encoding="utf-8")
    written = re.search(r"LIMITS = \{(.*?)\}", source, re.DOTALL)
    assert written
    limits = {name: int(value.replace("_", "")) for name, value in re.findall(r"(\w+): ([\d_]+),", written[1])}
    ours = asdict(LIMITS)
    assert limits == {name: ours[name] for name in limits}
    assert len(limits) == 5

    text_ = (ROOT / "worker" / "wrangler.jsonc").read_text(encoding="utf-8")
    config = json.loads(re.sub(r"^\s*//.*$", "", text_, flags=re.MULTILINE))
    (binding,) = config["analytics_engine_datasets"]
    assert binding == {"binding": "ANALYTICS", "dataset": DEFAULT_DATASET}
    assert config["vars"] == {"DATASET": DEFAULT_DATASET}
    assert (ROOT / "worker" / config["main"]).is_file()
