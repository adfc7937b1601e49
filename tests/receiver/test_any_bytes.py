"""Whatever bytes come with whatever headers: an answer of OTLP, and never our mistake."""

import httpx
from google.protobuf.json_format import Parse
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.doors import COMPRESS, GRPC, JSON, PROTOBUF, SERVICES, success
from tests.support.gateways import Running
from tests.support.requests import gauge, metrics, number, otlp_json, records, spans

WHOLE = [message.SerializeToString() for message in (metrics(gauge("any", number(1.0))), spans(2), records(2))]
WHOLE += [otlp_json(message) for message in (metrics(gauge("any", number(1.0))), spans(2), records(2))]
WHOLE += [b"{}", b"null", b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{}]}}]}]}]}']


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Random bytes, or a request with some bytes changed, cut, or compressed."""
    body = bytearray(draw(st.one_of(st.binary(max_size=60), st.sampled_from(WHOLE))))
    for at, value in draw(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3)):
        if at < len(body):
            body[at] = value
    cut = draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))
    pack = COMPRESS[draw(st.sampled_from(list(COMPRESS)))]
    return pack(bytes(body[:cut]))


KINDS = st.sampled_from([PROTOBUF, JSON, f"{JSON}; charset=utf-8", "text/plain", ""])
ENCODINGS = st.sampled_from(["", "gzip", "zstd", "identity", "br"])


@given(bodies(), st.sampled_from(list(SERVICES)), KINDS, ENCODINGS)
@settings(max_examples=300, deadline=None)
def test_over_http(gateway: Running, body: bytes, signal: str, kind: str, encoding: str) -> None:
    headers = {"content-type": kind} | ({"content-encoding": encoding} if encoding else {})
    reply = httpx_post(gateway, signal, body, headers)
    json = kind.startswith(JSON)
    assert reply.headers["content-type"] == (JSON if json else PROTOBUF)
    if reply.status_code == 200:
        success(signal, reply.content, json=json)
        return
    assert reply.status_code in (400, 415)
    status = Parse(reply.content, Status()) if json else Status.FromString(reply.content)
    assert status.message


def httpx_post(gateway: Running, signal: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return gateway.http.post(gateway.url("otlp_http_port", f"/v1/{signal}"), content=body, headers=headers)


@given(bodies(), st.sampled_from(list(SERVICES)))
@settings(max_examples=100, deadline=None)
def test_over_grpc(gateway: Running, body: bytes, signal: str) -> None:
    assert GRPC.send(gateway, signal, body).code in (0, 3)
