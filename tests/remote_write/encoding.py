"""Remote write requests of both versions, written byte by byte from the specifications: times in ms."""

import itertools
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import cramjam

V1 = "application/x-protobuf;proto=prometheus.WriteRequest"
V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
COUNTER, GAUGE, HISTOGRAM, GAUGEHISTOGRAM, SUMMARY, INFO, STATESET = range(1, 8)
Pairs = Sequence[tuple[str, str]]


def varint(number: int) -> bytes:
    """Base 128; a negative number as 64 bits."""
    number &= (1 << 64) - 1
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def zigzag(number: int) -> bytes:
    """A signed number that is short when it is small."""
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def part(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def text(number: int, content: str) -> bytes:
    """A field of text."""
    return part(number, content.encode())


def whole(number: int, content: int) -> bytes:
    """A field that is a number; left out where it is 0."""
    return varint(number << 3) + varint(content) if content else b""


def double(number: int, content: float) -> bytes:
    """A field that is a float64, bit for bit."""
    return varint(number << 3 | 1) + struct.pack("<d", content)


def packed(number: int, contents: Iterable[bytes]) -> bytes:
    """A field of numbers in a row."""
    return part(number, b"".join(contents))


@dataclass(frozen=True)
class Native:
    """A native histogram as Prometheus has it: counts by Prometheus' bucket index, integers or floats."""

    sum: float = 0.0
    schema: int = 0
    zero: float = 0
    zero_threshold: float = 0.0
    positive: Mapping[int, float] | None = None
    negative: Mapping[int, float] | None = None
    hint: int = 0
    custom: Sequence[float] = ()
    floats: bool = False
    count: float | None = None
    """What its buckets hold, where it is not given."""

    def encoded(self, time: int, start: int = 0) -> bytes:
        """The message, the same in both versions."""
        sides = (self.positive or {}, self.negative or {})
        count = self.zero + sum(sum(side.values()) for side in sides) if self.count is None else self.count
        head = double(2, count) if self.floats else varint(1 << 3) + varint(int(count))
        zero = double(7, self.zero) if self.floats else varint(6 << 3) + varint(int(self.zero))
        head += double(3, self.sum) + varint(4 << 3) + zigzag(self.schema) + double(5, self.zero_threshold) + zero
        tail = varint(14 << 3) + varint(self.hint) + whole(15, time)
        tail += packed(16, [struct.pack("<d", bound) for bound in self.custom]) if self.custom else b""
        return head + self._side(sides[1], 8) + self._side(sides[0], 11) + tail + whole(17, start)

    def _side(self, buckets: Mapping[int, float], number: int) -> bytes:
        indexes = sorted(buckets)
        spans: list[list[int]] = []
        for before, index in zip([None, *indexes], indexes, strict=False):
            if before is not None and index == before + 1:
                spans[-1][1] += 1
            else:
                spans.append([index if before is None else index - before - 1, 1])
        written = b"".join(
            part(number, varint(1 << 3) + zigzag(offset) + varint(2 << 3) + varint(length)) for offset, length in spans
        )
        counts = [buckets[index] for index in indexes]
        if self.floats:
            return written + packed(number + 2, [struct.pack("<d", count) for count in counts])
        deltas = [int(count) - int(before) for before, count in itertools.pairwise([0, *counts])]
        return written + packed(number + 1, map(zigzag, deltas))


@dataclass(frozen=True)
class Sent:
    """One time series of a request."""

    labels: Pairs
    samples: Sequence[tuple[int, float]] = ()
    natives: Sequence[tuple[int, Native]] = ()
    exemplars: Sequence[tuple[int, float, Pairs]] = ()
    start: int = 0
    type: int = 0
    unit: str = ""
    help: str = ""

    def but(self, **changes: object) -> Self:
        """The same with something else."""
        return replace(self, **changes)  # type: ignore[arg-type]


def series(name: str, *samples: tuple[int, float], **labels: str) -> Sent:
    """A series with float samples."""
    return Sent([("__name__", name), *sorted(labels.items())], samples)


def told(name: str, type_: int, help_: str = "", unit: str = "") -> bytes:
    """Metadata of version 1."""
    return part(3, whole(1, type_) + text(2, name) + text(4, help_) + text(5, unit))


def v1(*sent: Sent, metadata: Iterable[bytes] = ()) -> bytes:
    """A prometheus.WriteRequest."""
    return b"".join(part(1, _series_v1(one)) for one in sent) + b"".join(metadata)


def _series_v1(one: Sent) -> bytes:
    samples = [part(2, double(1, value) + whole(2, time)) for time, value in one.samples]
    exemplars = [
        part(3, _labels_v1(labels) + double(2, value) + whole(3, time)) for time, value, labels in one.exemplars
    ]
    natives = [part(4, native.encoded(time)) for time, native in one.natives]
    return _labels_v1(one.labels) + b"".join([*samples, *exemplars, *natives])


def _labels_v1(labels: Pairs) -> bytes:
    return b"".join(part(1, text(1, name) + text(2, value)) for name, value in labels)


class Symbols:
    """The table of a request of version 2."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {"": 0}

    def place(self, symbol: str) -> int:
        """Where a text stands."""
        return self.places.setdefault(symbol, len(self.places))

    def refs(self, labels: Pairs) -> bytes:
        """Labels as field 1."""
        return packed(1, [varint(self.place(symbol)) for pair in labels for symbol in pair])


def v2(*sent: Sent) -> bytes:
    """An io.prometheus.write.v2.Request."""
    symbols = Symbols()
    timeseries = b"".join(part(5, _series_v2(one, symbols)) for one in sent)
    return b"".join(text(4, symbol) for symbol in symbols.places) + timeseries


def _series_v2(one: Sent, symbols: Symbols) -> bytes:
    samples = [part(2, double(1, value) + whole(2, time) + whole(3, one.start)) for time, value in one.samples]
    natives = [part(3, native.encoded(time, one.start)) for time, native in one.natives]
    exemplars = [
        part(4, symbols.refs(labels) + double(2, value) + whole(3, time)) for time, value, labels in one.exemplars
    ]
    metadata = whole(1, one.type) + whole(3, symbols.place(one.help)) + whole(4, symbols.place(one.unit))
    return symbols.refs(one.labels) + b"".join([*samples, *natives, *exemplars]) + part(5, metadata)


def snappy(body: bytes) -> bytes:
    """A snappy block."""
    return bytes(cramjam.snappy.compress_raw(body))
