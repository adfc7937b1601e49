"""OTLP/gRPC by hand-made HTTP/2 frames.

grpcio's own client costs about 150 us of CPU a call, which on two cores is taken from the server under test;
this one costs a third of it. A call counts as accepted when the server answered with a message: an error is a
reply of trailers only.
"""

import struct
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from bench.errors import BenchError
from bench.loads import Request
from bench.sending import READ_BYTES, Connection, Reply

PATH = b"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 16_384
WINDOW = 65_535  # every window before the server's first word
MESSAGE_HEAD = 5  # one byte "compressed", four bytes length

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
ENABLE_PUSH, INITIAL_WINDOW_SIZE = 2, 4


class Frame(NamedTuple):
    """One HTTP/2 frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame_head(kind: int, flags: int, stream: int, size: int) -> bytes:
    """The nine bytes before a frame's payload."""
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return frame_head(kind, flags, stream, len(payload)) + payload


def _literal(index: int, value: bytes) -> bytes:
    """HPACK: literal without indexing, its name from the static table, no Huffman coding."""
    name = bytes((index,)) if index < 15 else bytes((15, index - 15))
    return name + bytes((len(value),)) + value


def _new_name(name: bytes, value: bytes) -> bytes:
    """HPACK: literal without indexing, with its own name."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


def headers(authority: bytes, encoding: bytes) -> bytes:
    """The header block of every call: :method POST, :scheme http, :path, :authority, content-type, te."""
    block = b"\x83\x86" + _literal(4, PATH) + _literal(1, authority)
    block += _literal(31, b"application/grpc") + _new_name(b"te", b"trailers")
    return block + _new_name(b"grpc-encoding", encoding) if encoding else block


class GrpcConnection(Connection):
    """Calls `MetricsService/Export`, one call after the other on one connection."""

    encoding = b""

    def greet(self) -> None:
        self.incoming = bytearray()
        self.pending: deque[tuple[bytes, memoryview]] = deque()
        self.stream = -1
        self.answer = b""
        self.connection_window = self.stream_window = self.initial_window = WINDOW
        self.block = headers(f"127.0.0.1:{self.port}".encode(), self.encoding)
        settings = struct.pack(">HIHI", ENABLE_PUSH, 0, INITIAL_WINDOW_SIZE, 1 << 20)
        update = frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings) + update)
        self._await_settings()
        for part in self.outgoing:
            self.socket.sendall(part)
        self.outgoing.clear()

    def _await_settings(self) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            self.incoming += self.socket.recv(READ_BYTES)
            if any(f.kind == SETTINGS and not f.flags & ACK for f in self._frames()):
                return
        raise BenchError("no HTTP/2 SETTINGS from the server within 10 s")

    def begin(self, request: Request) -> None:
        self.stream += 2
        self.stream_window = self.initial_window
        self.answer = b""
        head = bytes((bool(self.encoding),)) + struct.pack(">I", len(request.body))
        self._queue(frame(HEADERS, END_HEADERS, self.stream, self.block))
        self.pending = deque(self._data(memoryview(head + bytes(request.body))))

    def _data(self, message: memoryview) -> Iterator[tuple[bytes, memoryview]]:
        for begin in range(0, len(message), MAX_FRAME):
            chunk = message[begin : begin + MAX_FRAME]
            last = begin + MAX_FRAME >= len(message)
            yield frame_head(DATA, END_STREAM if last else 0, self.stream, len(chunk)), chunk

    def _queue(self, data: bytes) -> None:
        self.outgoing.append(memoryview(data))

    def refill(self) -> None:
        while self.pending and len(self.pending[0][1]) <= min(self.connection_window, self.stream_window):
            head, chunk = self.pending.popleft()
            self.connection_window -= len(chunk)
            self.stream_window -= len(chunk)
            self.outgoing.extend((memoryview(head), chunk))

    def _frames(self) -> list[Frame]:
        """The whole frames that have arrived; those that concern the connection are dealt with."""
        out: list[Frame] = []
        begin = 0
        while len(self.incoming) - begin >= 9:
            end = begin + 9 + int.from_bytes(self.incoming[begin : begin + 3], "big")
            if len(self.incoming) < end:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self.incoming, begin + 3)
            out.append(Frame(kind, flags, stream & 0x7FFF_FFFF, bytes(self.incoming[begin + 9 : end])))
            self._control(out[-1])
            begin = end
        del self.incoming[:begin]
        return out

    def _control(self, received: Frame) -> None:
        if received.kind == SETTINGS and not received.flags & ACK:
            self._apply(received.payload)
            self._queue(frame(SETTINGS, ACK, 0))
        elif received.kind == PING and not received.flags & ACK:
            self._queue(frame(PING, ACK, 0, received.payload))
        elif received.kind == WINDOW_UPDATE:
            self._widen(received)
        elif received.kind == GOAWAY:
            raise BenchError(f"the server said GOAWAY: {received.payload!r}")

    def _apply(self, settings: bytes) -> None:
        for key, value in struct.iter_unpack(">HI", settings):
            if key == INITIAL_WINDOW_SIZE:
                self.stream_window += value - self.initial_window
                self.initial_window = value

    def _widen(self, update: Frame) -> None:
        increment = int.from_bytes(update.payload, "big") & 0x7FFF_FFFF
        if update.stream == 0:
            self.connection_window += increment
        elif update.stream == self.stream:
            self.stream_window += increment

    def feed(self, data: bytes) -> Reply | None:
        self.incoming += data
        for received in self._frames():
            if received.stream != self.stream or not received.stream:
                continue
            if received.kind == DATA:
                self.answer += received.payload
            ended = received.kind in (DATA, HEADERS) and received.flags & END_STREAM
            if ended or received.kind == RESET:
                return self._reply(received)
        return None

    def _reply(self, last: Frame) -> Reply:
        self.pending.clear()
        if last.kind == RESET or len(self.answer) < MESSAGE_HEAD:
            return Reply(accepted=False, detail=f"HTTP/2 frame {last.kind}: {last.payload[:200]!r}")
        message = self.answer[MESSAGE_HEAD:]
        return Reply(accepted=True, detail=repr(message[:200]) if message else "")


class GzipGrpcConnection(GrpcConnection):
    """The same with messages that are compressed already."""

    encoding = b"gzip"
