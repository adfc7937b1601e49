"""Whatever comes as spans, logs or JSON in a body: it is read or refused, counted once, and nothing breaks."""

import json
import math
from typing import Any

import orjson
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from mirubato.admission.rules import TimeBounds, admit
from mirubato.errors import BadRequest
from mirubato.spans import log_body
from mirubato.spans.counting import Counting, CountSettings
from mirubato.spans.log_reading import LogReader, LogSettings
from mirubato.spans.reading import ReadSettings, SpanReader
from mirubato.storage.registry import Registry, SeriesLimits
from tests.spans.making import span, traces

NOW_MS = 1_795_000_000_000
RETENTION, FUTURE = 7 * 86_400_000, 600_000
DIMENSIONS = ("http.route", "cloudflare.colo")
BOUNDS = TimeBounds(RETENTION, FUTURE, zero_samples=True)

text = st.text(max_size=20)
scalars = st.one_of(
    st.builds(AnyValue, string_value=text),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(AnyValue, double_value=st.floats()),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, bytes_value=st.binary(max_size=8)),
    st.just(AnyValue()),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.builds(lambda some: AnyValue(array_value=ArrayValue(values=some)), st.lists(inner, max_size=3)),
        st.builds(
            lambda some: AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=k, value=v) for k, v in some])),
            st.lists(st.tuples(text, inner), max_size=3),
        ),
    ),
    max_leaves=6,
)
KEYS = [
    "mirubato.weight", "cloudflare.outcome", "cloudflare.cpu_time_ms", "cpu_time_ms", "cloudflare.script_name",
    "cloudflare.d1.response.rows_read", "cloudflare.d1.response.rows_written", "cloudflare.kv.query.keys.count",
    "cloudflare.r2.bucket", "cloudflare.queue.batch_size", "cloudflare.queue.name", "http.response.status_code",
    "http.status_code", "http.route", "db.system", "peer.service", "faas.trigger", "service.name", "service.version",
    "cloudflare.wall_time_ms", "cloud.provider", "exception.type", "cloudflare.colo",
]  # fmt: skip
attributes = st.lists(st.builds(KeyValue, key=st.sampled_from(KEYS) | text, value=values), max_size=8)
times = st.one_of(st.integers(0, 2**64 - 1), st.integers((NOW_MS - 1000) * 10**6, (NOW_MS + 1000) * 10**6), st.just(0))
ids = st.sampled_from([b"", b"\1" * 8, b"\2" * 8, b"\1" * 16, b"\2" * 16, bytes(16), bytes(8)]) | st.binary(max_size=20)
spans = st.builds(
    Span,
    trace_id=ids,
    span_id=ids,
    parent_span_id=ids,
    trace_state=text | st.from_regex(r"ot=th:[0-9a-f]{0,15}", fullmatch=True),
    name=text | st.sampled_from(["fetch", "kv_get", "r2_put", "queue_send", "d1_run"]),
    kind=st.integers(-(2**31), 2**31 - 1) | st.integers(0, 5),
    start_time_unix_nano=times,
    end_time_unix_nano=times,
    attributes=attributes,
    status=st.builds(Status, code=st.integers(-5, 5), message=text),
)
resources = st.builds(Resource, attributes=attributes)
requests = st.builds(
    ExportTraceServiceRequest,
    resource_spans=st.lists(
        st.builds(
            ResourceSpans,
            resource=resources,
            scope_spans=st.lists(st.builds(ScopeSpans, spans=st.lists(spans, max_size=5)), max_size=2),
        ),
        max_size=2,
    ),
)
records = st.builds(
    LogRecord,
    time_unix_nano=times,
    observed_time_unix_nano=times,
    severity_number=st.integers(-5, 30),
    severity_text=text,
    body=values | st.builds(AnyValue, string_value=st.just('{"level":"error","n":1e400,"a":{"b":2}}')),
    attributes=attributes,
    trace_id=ids,
)
log_requests = st.builds(
    ExportLogsServiceRequest,
    resource_logs=st.lists(
        st.builds(
            ResourceLogs,
            resource=resources,
            scope_logs=st.lists(st.builds(ScopeLogs, log_records=st.lists(records, max_size=5)), max_size=2),
        ),
        max_size=2,
    ),
)


def span_reader() -> SpanReader:
    return SpanReader(ReadSettings(RETENTION, FUTURE, {"*": 0.5}, DIMENSIONS))


def log_reader() -> LogReader:
    return LogReader(LogSettings(RETENTION, FUTURE, {}, number_fields=("n", "a.b")))


@settings(max_examples=80, deadline=None)
@given(st.lists(requests, max_size=3))
def test_any_spans_are_counted_and_every_sample_is_a_number(some: list[ExportTraceServiceRequest]) -> None:
    registry, reader = Registry(SeriesLimits(10_000, 10_000)), span_reader()
    counting = Counting(registry, CountSettings((0.1, 1.0), 5, DIMENSIONS))
    for request in some:
        read = reader.read(request.SerializeToString(), NOW_MS)
        sent = sum(len(scope.spans) for one in request.resource_spans for scope in one.scope_spans)
        assert len(read.spans) + read.rejected.total() == sent
        registry.begin(NOW_MS)
        batch, (outcome,) = admit([counting.spans(read)], registry.state, BOUNDS, NOW_MS)
        registry.committed()
        assert outcome.accepted + outcome.rejected == sent
        assert all(math.isfinite(value) and value >= 0 for value in batch.floats.values)


@settings(max_examples=60, deadline=None)
@given(log_requests)
def test_any_logs_are_counted(request: ExportLogsServiceRequest) -> None:
    registry = Registry(SeriesLimits(10_000, 10_000))
    counting = Counting(registry, CountSettings((0.1, 1.0), 5))
    read = log_reader().read(request.SerializeToString(), NOW_MS)
    sent = sum(len(scope.log_records) for one in request.resource_logs for scope in one.scope_logs)
    registry.begin(NOW_MS)
    batch, (outcome,) = admit([counting.logs(read)], registry.state, BOUNDS, NOW_MS)
    assert outcome.accepted + outcome.rejected == sent
    assert all(math.isfinite(value) for value in batch.floats.values)
    assert all(0 <= log.severity <= 24 for log in read.logs)


@given(st.binary(max_size=60) | requests.map(lambda one: one.SerializeToString()[:-1]))
def test_bytes_are_read_where_the_official_classes_read_them(body: bytes) -> None:
    try:
        ExportTraceServiceRequest.FromString(body)
        valid = True
    except DecodeError:
        valid = False
    if valid:
        span_reader().read(body, NOW_MS)
    else:
        with pytest.raises(BadRequest, match="not an ExportTraceServiceRequest"):
            span_reader().read(body, NOW_MS)


@given(st.binary(max_size=60))
def test_any_bytes_as_logs(body: bytes) -> None:
    try:
        log_reader().read(body, NOW_MS)
    except BadRequest as error:
        assert "not an ExportLogsServiceRequest" in str(error)  # noqa: PT017  (some bytes are a request)


@pytest.mark.parametrize("empty", [b"\x0a\x00", b"\x0a\x04\x12\x02\x12\x00"])
def test_millions_of_empty_messages_are_refused(empty: bytes) -> None:
    with pytest.raises(BadRequest, match="must be empty"):
        span_reader().read(empty * 200_000, NOW_MS)


def test_one_scope_of_empty_spans_is_refused() -> None:
    inner = b"\x12\x00" * 100_000
    scope = b"\x12" + _varint(len(inner)) + inner
    with pytest.raises(BadRequest, match="must be empty"):
        span_reader().read(b"\x0a" + _varint(len(scope)) + scope, NOW_MS)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def test_many_services_are_bounded() -> None:
    registry = Registry(SeriesLimits(100_000, 100_000))
    counting = Counting(registry, CountSettings((1.0,), 2, DIMENSIONS))
    reader = span_reader()
    for number in range(1100):
        read = reader.read(traces([span(ended_ns=NOW_MS * 10**6)], f"s{number}").SerializeToString(), NOW_MS)
        counting.spans(read)
    services = {dict(one.labels).get("service_name") for one in registry.series if one is not None}
    assert len(services) == 1001
    assert "overflow" in services


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
PATHS = ("level", "a.b", "a.b.c", "", ".", "a..b", "level.name")


@given(st.dictionaries(st.sampled_from(["level", "a", "b", "", "a.b"]) | st.text(max_size=3), json_values, max_size=5))
def test_the_walker_reads_any_object(document: dict[str, Any]) -> None:
    _walk(json.dumps(document))


@given(st.text() | st.text(alphabet='{}[]":,.truefalsn0123456789eE+-\\u ').map(lambda rest: "{" + rest))
def test_the_walker_reads_any_text(body: str) -> None:
    _walk(body)


def _walk(body: str) -> None:
    document = log_body.read_object(body)
    assert 0 <= log_body.first_severity(document, PATHS) <= 24
    assert isinstance(log_body.first_text(document, PATHS), str)
    assert all(math.isfinite(value) for _, value in log_body.numbers(document, PATHS))


@pytest.mark.parametrize("body", ['{"a":' * 5000, "[" * 100_000, '{"level":"\ud800"}', "{" * 70_000, "{}", "null", ""])
def test_the_walker_on_deep_broken_and_empty_bodies(body: str) -> None:
    assert log_body.read_object(body) == {}


def test_a_path_is_a_name_first_and_a_way_second() -> None:
    document = orjson.loads('{"a.b": 1, "a": {"b": 2, "c": {"d": 3}}}')
    assert [log_body.field(document, path) for path in ("a.b", "a.c.d", "a.x", "x")] == [1, 3, None, None]


@pytest.mark.parametrize(
    ("level", "number"),
    [("ERROR", 17), (" warn ", 13), (50, 17), (30, 9), ("Critical", 21), (True, 0), (None, 0), ([], 0), (7, 0)],
)
def test_levels(level: object, number: int) -> None:
    assert log_body.severity(level) == number
