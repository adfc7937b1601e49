"""What only HTTP has: paths, methods, content types, encodings, chunks, and connections that break."""

import gzip
import json
import re
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import httpx
import pytest
import zstandard
from google.rpc.status_pb2 import Status

from mirubato.errors import BadRequest
from mirubato.limits import MIB
from mirubato.receiver.handler import inflate
from tests.conftest import SMALL_BODY_BYTES
from tests.support.doors import HTTP, JSON, PROTOBUF, read
from tests.support.gateways import Running
from tests.support.requests import fresh, gauge, metrics, number, otlp_json

PORTS = ["otlp_http_port", "web_port"]
TYPES = [
    "text/plain",
    "application/octet-stream",
    "application/x-protobufs",
    "application/jsonx",
    "application/x-www-form-urlencoded",
    "json",
]

both_ports = pytest.mark.parametrize("port", PORTS)


def post(
    running: Running, body: bytes | Iterator[bytes], kind: str | None, encoding: str = "", port: str = "otlp_http_port"
) -> httpx.Response:
    headers = ({"content-type": kind} if kind is not None else {}) | (
        {"content-encoding": encoding} if encoding else {}
    )
    return running.http.post(running.url(port, "/v1/metrics"), content=body, headers=headers)


def one_point() -> tuple[str, bytes]:
    name = fresh()
    return name, metrics(gauge(name, number(1.0))).SerializeToString()


class TestEmptyBodies:
    @both_ports
    @pytest.mark.parametrize("kind", [None, "", PROTOBUF, JSON, *TYPES])
    @pytest.mark.parametrize("encoding", ["", "gzip", "zstd", "br"])
    def test_succeed_whatever_they_say_they_are(
        self, gateway: Running, port: str, kind: str | None, encoding: str
    ) -> None:
        reply = post(gateway, b"", kind, encoding, port)
        assert reply.status_code == 200
        json_asked = kind == JSON
        assert (reply.content, reply.headers["content-type"]) == ((b"{}", JSON) if json_asked else (b"", PROTOBUF))

    def test_an_envelope_that_inflates_to_nothing_succeeds(self, gateway: Running) -> None:
        assert post(gateway, gzip.compress(b""), PROTOBUF, "gzip").content == b""
        assert post(gateway, zstandard.compress(b""), JSON, "zstd").content == b"{}"


class TestContentTypes:
    @both_ports
    @pytest.mark.parametrize(
        "kind", [PROTOBUF, f"{PROTOBUF}; charset=utf-8", "Application/X-Protobuf", f"{PROTOBUF} ;x=y"]
    )
    def test_protobuf(self, gateway: Running, port: str, kind: str) -> None:
        name, body = one_point()
        reply = post(gateway, body, kind, port=port)
        assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, b"", PROTOBUF)
        assert gateway.value(name) == "1"

    @both_ports
    @pytest.mark.parametrize("kind", [JSON, f"{JSON}; charset=utf-8", "APPLICATION/JSON", f"{JSON};charset=UTF-8"])
    def test_json(self, gateway: Running, port: str, kind: str) -> None:
        name = fresh()
        reply = post(gateway, otlp_json(metrics(gauge(name, number(1.0)))), kind, port=port)
        assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, b"{}", JSON)
        assert gateway.value(name) == "1"

    @both_ports
    @pytest.mark.parametrize("kind", [None, "", *TYPES])
    def test_others_are_415(self, gateway: Running, port: str, kind: str | None) -> None:
        reply = post(gateway, b"x", kind, port=port)
        assert reply.status_code == 415
        status = Status.FromString(reply.content)
        assert "application/x-protobuf nor application/json" in status.message
        assert "retry-after" not in reply.headers

    def test_an_encoding_that_is_not_spoken_is_415(self, gateway: Running) -> None:
        for encoding in ("br", "deflate", "gzip, gzip", "identity, gzip"):
            reply = post(gateway, b"x", JSON, encoding)
            assert reply.status_code == 415
            assert reply.json()["message"] == f"content encoding {encoding!r} is not one of gzip, zstd"

    def test_letter_case_of_an_encoding_does_not_matter(self, gateway: Running) -> None:
        name, body = one_point()
        assert post(gateway, gzip.compress(body), PROTOBUF, "GZip").status_code == 200
        assert gateway.value(name) == "1"
        assert post(gateway, body, PROTOBUF, "Identity").status_code == 200


class TestPathsAndMethods:
    @both_ports
    @pytest.mark.parametrize("path", ["/v1/metric", "/v1/metrics/", "/v1/profiles", "/v1/"])
    def test_elsewhere_there_is_nothing(self, gateway: Running, port: str, path: str) -> None:
        protobuf = gateway.http.post(gateway.url(port, path), content=b"x")
        json_ = gateway.http.post(gateway.url(port, path), json={})
        assert (protobuf.status_code, json_.status_code) == (404, 404)
        assert Status.FromString(protobuf.content).code == 5
        assert json_.json() == {"code": 5, "message": "OTLP is at POST /v1/metrics, /v1/traces, /v1/logs"}

    @both_ports
    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
    def test_only_post_is_taken(self, gateway: Running, port: str, method: str) -> None:
        reply = gateway.http.request(method, gateway.url(port, "/v1/traces"), headers={"content-type": JSON})
        assert (reply.status_code, reply.headers["allow"], reply.headers["content-type"]) == (405, "POST", JSON)
        if method != "HEAD":
            assert reply.json() == {"code": 12, "message": "OTLP requests are POST"}


BROKEN_GZIP = {
    "garbage": b"not gzip at all",
    "header only": gzip.compress(b"x" * 100)[:8],
    "half": gzip.compress(bytes(range(256)) * 40)[:100],
    "no checksum": gzip.compress(b"x" * 100)[:-8],
    "wrong checksum": gzip.compress(b"x" * 100)[:-8] + b"\0" * 8,
    "zlib, not gzip": zlib.compress(b"x" * 100),
    "garbage behind": gzip.compress(b"") + b"garbage",
    "second member cut": gzip.compress(b"") + gzip.compress(b"x" * 100)[:-4],
}
WHOLE_ZSTD = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(range(256)) * 40)
BROKEN_ZSTD = {
    "garbage": b"not zstd at all",
    "header only": WHOLE_ZSTD[:6],
    "half": WHOLE_ZSTD[: len(WHOLE_ZSTD) // 2],
    "no checksum": WHOLE_ZSTD[:-4],
    "wrong checksum": WHOLE_ZSTD[:-4] + b"\0" * 4,
    "garbage behind": WHOLE_ZSTD + b"garbage",
    "second frame cut": zstandard.compress(b"") + WHOLE_ZSTD[:-1],
}


class TestCompression:
    @pytest.mark.parametrize("body", BROKEN_GZIP.values(), ids=BROKEN_GZIP)
    def test_broken_gzip_is_400(self, gateway: Running, body: bytes) -> None:
        reply = post(gateway, body, JSON, "gzip")
        assert (reply.status_code, reply.json()["code"]) == (400, 3)
        assert "gzip" in reply.json()["message"] or "truncated" in reply.json()["message"]

    @pytest.mark.parametrize("body", BROKEN_ZSTD.values(), ids=BROKEN_ZSTD)
    def test_broken_zstd_is_400(self, gateway: Running, body: bytes) -> None:
        reply = post(gateway, body, JSON, "zstd")
        assert (reply.status_code, reply.json()["code"]) == (400, 3)
        assert "zstd" in reply.json()["message"] or "truncated" in reply.json()["message"]

    @pytest.mark.parametrize("cut", range(1, 60, 7))
    def test_a_cut_anywhere_is_noticed(self, gateway: Running, cut: int) -> None:
        """Protobuf may be whole where its compression is not: half a request must not pass for one."""
        names = [fresh() for _ in range(400)]
        body = b"".join(metrics(gauge(name, number(1.0, 1))).SerializeToString() for name in names)
        assert post(gateway, zstandard.compress(body)[:-cut], PROTOBUF, "zstd").status_code == 400
        assert post(gateway, gzip.compress(body)[:-cut], PROTOBUF, "gzip").status_code == 400

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    def test_members_and_frames_follow_each_other(self, gateway: Running, encoding: str) -> None:
        compress = gzip.compress if encoding == "gzip" else zstandard.compress
        name, body = one_point()
        parts = [b"", body[:10], b"", body[10:11], body[11:], b""]
        assert post(gateway, b"".join(map(compress, parts)), PROTOBUF, encoding).status_code == 200
        assert gateway.value(name) == "1"

    def test_a_frame_to_skip_is_skipped(self, gateway: Running) -> None:
        name, body = one_point()
        skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
        assert post(gateway, skipped + zstandard.compress(body) + skipped, PROTOBUF, "zstd").status_code == 200
        assert gateway.value(name) == "1"

    def test_very_many_members_take_no_longer_than_few(self, gateway: Running) -> None:
        """To copy the rest of the body for each member would take minutes for this megabyte."""
        reply = post(gateway, gzip.compress(b"") * 50_000, PROTOBUF, "gzip")
        assert (reply.status_code, reply.content) == (200, b"")

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    def test_a_bomb_is_413_and_takes_little_memory(self, gateway: Running, encoding: str) -> None:
        zeros = bytes(200_000_000)
        bomb = gzip.compress(zeros, 1) if encoding == "gzip" else zstandard.compress(zeros)
        del zeros
        assert len(bomb) < 1_000_000
        tracemalloc.start()
        reply = post(gateway, bomb, JSON, encoding)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (reply.status_code, reply.json()["code"]) == (413, 8)
        assert f"MIRUBATO_MAX_BODY_BYTES={64 * MIB}" in reply.json()["message"]
        assert peak < (64 + 33) * MIB

    def test_a_window_may_be_8_mib(self) -> None:
        assert inflate("zstd", b"\x28\xb5\x2f\xfd\x00\x68\x01\x00\x00", MIB) == b""
        with pytest.raises(BadRequest, match="too much memory"):
            inflate("zstd", b"\x28\xb5\x2f\xfd\x00\x70\x01\x00\x00", MIB)


def pieces(total: int) -> Iterator[bytes]:
    """A body without a length, which HTTP/1.1 sends in chunks."""
    for _ in range(total // 1024):
        yield bytes(1024)


class TestSizes:
    @both_ports
    def test_chunks_make_a_body(self, gateway: Running, port: str) -> None:
        name, body = one_point()
        reply = post(gateway, (body[at : at + 7] for at in range(0, len(body), 7)), PROTOBUF, port=port)
        assert (reply.status_code, reply.content) == (200, b"")
        assert gateway.value(name) == "1"

    def test_no_chunks_at_all_are_an_empty_body(self, gateway: Running) -> None:
        assert post(gateway, iter(()), None).status_code == 200

    @both_ports
    def test_chunks_over_the_limit_are_413(self, small_gateway: Running, port: str) -> None:
        reply = post(small_gateway, pieces(SMALL_BODY_BYTES + 2048), PROTOBUF, port=port)
        assert reply.status_code == 413
        assert str(SMALL_BODY_BYTES) in Status.FromString(reply.content).message

    def test_a_length_over_the_limit_is_refused_before_anything_is_read(self, small_gateway: Running) -> None:
        with Raw(small_gateway) as raw:
            raw.send(f"content-type: {JSON}", f"content-length: {SMALL_BODY_BYTES + 1}")
            assert raw.answer().startswith("HTTP/1.1 413 ")

    def test_a_length_at_the_limit_is_read(self, small_gateway: Running) -> None:
        with Raw(small_gateway) as raw:
            raw.send(f"content-type: {JSON}", f"content-length: {SMALL_BODY_BYTES}", body=b" " * SMALL_BODY_BYTES)
            answer = raw.answer()
            assert answer.startswith("HTTP/1.1 400 ")
            assert "not JSON" in answer

    def test_the_connection_survives_a_refusal(self, small_gateway: Running) -> None:
        with Raw(small_gateway) as raw:
            for _ in range(3):
                raw.send(f"content-type: {JSON}", f"content-length: {2 * SMALL_BODY_BYTES}")
                assert raw.answer().startswith("HTTP/1.1 413 ")
                raw.socket.sendall(bytes(2 * SMALL_BODY_BYTES))


class Raw:
    """One connection, spoken by hand."""

    def __init__(self, running: Running) -> None:
        self.socket = socket.create_connection(("127.0.0.1", running.gateway.ports["otlp_http_port"]), timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *headers: str, body: bytes = b"") -> None:
        head = "\r\n".join(["POST /v1/metrics HTTP/1.1", "host: x", *headers, "", ""])
        self.socket.sendall(head.encode() + body)

    def answer(self) -> str:
        """A head and as much body as it announces."""
        got = b""
        while b"\r\n\r\n" not in got:
            got += self.socket.recv(65536)
        head, _, body = got.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        while len(body) < length:
            body += self.socket.recv(65536)
        return (head + b"\n" + body).decode(errors="replace")


class TestConnections:
    def test_a_client_that_hangs_up_in_the_middle_leaves_nothing(self, gateway: Running) -> None:
        handler = gateway.gateway.handler
        before = sum(handler.counts.requests.values())
        name, body = one_point()
        for sent in (0, 5, len(body) - 1):
            with Raw(gateway) as raw:
                raw.send(f"content-type: {PROTOBUF}", f"content-length: {len(body)}", body=body[:sent])
        assert post(gateway, b"", None).status_code == 200
        assert sum(handler.counts.requests.values()) == before + 1
        assert not gateway.api("series", **{"match[]": name})

    def test_a_body_that_comes_slowly_is_waited_for(self, gateway: Running) -> None:
        name, body = one_point()
        with Raw(gateway) as raw:
            raw.send(f"content-type: {PROTOBUF}", f"content-length: {len(body)}")
            for at in range(0, len(body), 20):
                raw.socket.sendall(body[at : at + 20])
                threading.Event().wait(0.01)
            assert raw.answer().startswith("HTTP/1.1 200 ")
        assert gateway.value(name) == "1"

    def test_clients_at_the_same_time_do_not_mix(self, gateway: Running) -> None:
        name = fresh()

        def send(client: int) -> int:
            sent = 0
            for index in range(20):
                point = number(client + index / 100, client=str(client), index=str(index))
                sent += HTTP.export(gateway, "metrics", metrics(gauge(name, point))).code == 0
            return sent

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(send, range(8))) == [20] * 8
        stored = {
            (labels["client"], labels["index"]): values
            for labels, values in ((dict(pairs), values) for pairs, values in gateway.samples(name).items())
        }
        assert {key: float(*values.values()) for key, values in stored.items()} == {
            (str(client), str(index)): client + index / 100 for client in range(8) for index in range(20)
        }

    def test_requests_in_a_row_are_answered_in_a_row(self, gateway: Running) -> None:
        with Raw(gateway) as raw:
            for body, connection in ((b"{}", "keep-alive"), (b"nonsense", "keep-alive"), (b"{}", "close")):
                length = f"content-length: {len(body)}"
                raw.send(f"content-type: {JSON}", length, f"connection: {connection}", body=body)
            with raw.socket.makefile("r", encoding="latin-1", newline="\r\n") as file:
                answers = file.read()
        assert re.findall(r"HTTP/1.1 (\d+)", answers) == ["200", "400", "200"]


def test_errors_in_json_are_statuses_in_json(gateway: Running) -> None:
    reply = post(gateway, b"[]", JSON)
    assert (reply.status_code, json.loads(reply.content)) == (
        400,
        {"code": 3, "message": "the request must be an object"},
    )
    assert read(reply, "metrics", JSON).message == "the request must be an object"
