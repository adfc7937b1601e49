"""Protobuf messages taken apart by their wire format: fields, and data points in their plain form.

Plain is what exporters write: each field at most once, fixed-width values, attributes as length-delimited entries.
Anything else raises NotPlainError and is left to protobuf.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

VARINT, FIXED64, BYTES = 0, 1, 2
"""Wire types (protobuf.dev, encoding)."""

Field = tuple[int, int, int, int]
"""Field number, wire type, where its content begins (a varint's value stands there) and where it ends."""

AttributeKey = tuple[int, bytes]
"""What names the series of a point, see `attribute_key`."""


def attribute_key(attributes: Sequence[bytes]) -> AttributeKey:
    """A key that only these attributes have: how many they are, and their bytes joined.

    Between two entries stands a zero, which no protobuf field can begin with: else the bytes of two attributes would
    also be those of one that has its key twice, since protobuf merges the fields of a message wherever they come from.
    """
    return len(attributes), b"\0".join(attributes)


class NotPlainError(Exception):
    """The bytes have a form that is not learned."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends)."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def varint(number: int) -> bytes:
    """A number >= 0 in base 128."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def read_fields(data: bytes, at: int, end: int) -> Iterator[Field]:
    """The fields of the message between `at` and `end`."""
    while at < end:
        tag = data[at]
        at += 1
        if tag >= 128:
            raise NotPlainError
        kind = tag & 7
        if kind == BYTES:
            size = data[at]
            at += 1
            if size >= 128:
                size, at = read_varint(data, at - 1)
            yield tag >> 3, kind, at, at + size
            at += size
        elif kind == FIXED64:
            yield tag >> 3, kind, at, at + 8
            at += 8
        elif kind == VARINT:
            value, at = read_varint(data, at)
            yield tag >> 3, kind, value, at
        else:
            raise NotPlainError
    if at != end:
        raise NotPlainError


@dataclass(slots=True)
class Point:
    """One data point taken apart."""

    attributes: list[bytes] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Where each attribute entry lies, its framing included."""
    once: dict[int, Field] = field(default_factory=dict)
    """Fields that come once, by number."""
    repeated: list[tuple[int, int]] = field(default_factory=list)
    """Contents of the repeated field."""

    @property
    def key(self) -> AttributeKey:
        """What `MetricStreams` knows the series by."""
        return attribute_key(self.attributes)

    @property
    def together(self) -> bool:
        """Whether the attributes follow each other without a gap."""
        return all(low[1] == high[0] for low, high in pairwise(self.spans))

    def at(self, number: int, absent: int) -> int:
        """Where a field's content begins; `absent` if it was left out."""
        return self.once[number][2] if number in self.once else absent


def split_point(data: bytes, begin: int, end: int, attributes: int, repeated: int = 0) -> Point:
    """Take a point apart; `attributes` and `repeated` are the numbers of its repeated fields."""
    point, previous = Point(), begin
    for part in read_fields(data, begin, end):
        number, kind, low, high = part
        if number == attributes and kind == BYTES:
            point.attributes.append(data[low:high])
            point.spans.append((previous, high))
        elif number == repeated and kind == BYTES:
            point.repeated.append((low, high))
        elif number in point.once:
            raise NotPlainError
        else:
            point.once[number] = part
        previous = high
    return point


def allow(point: Point, fixed: tuple[int, ...], packed: tuple[int, ...] = ()) -> None:
    """NotPlainError unless a point has only these fields, each with the wire type that it should have."""
    for number, kind, _, _ in point.once.values():
        if not ((number in fixed and kind == FIXED64) or (number in packed and kind == BYTES)):
            raise NotPlainError


def number_point(data: bytes, begin: int, end: int) -> tuple[Point, int]:
    """A NumberDataPoint and where its value is."""
    point = split_point(data, begin, end, 7)
    allow(point, (2, 3, 4, 6))
    if (4 in point.once) == (6 in point.once):
        raise NotPlainError
    return point, point.once[4 if 4 in point.once else 6][2]


@dataclass(frozen=True, slots=True)
class HistogramFields:
    """A HistogramDataPoint, its bounds, and where its bucket counts begin."""

    point: Point
    bounds: tuple[float, ...]
    counts: int


def histogram_point(data: bytes, begin: int, end: int) -> HistogramFields:
    """A HistogramDataPoint with as many bucket counts as it should have."""
    point = split_point(data, begin, end, 9)
    allow(point, (2, 3, 4, 5, 11, 12), (6, 7))
    low, high = point.once[7][2:4] if 7 in point.once else (0, 0)
    bounds = struct.unpack(f"<{(high - low) // 8}d", data[low:high])
    counts, counts_end = point.once[6][2:4] if 6 in point.once else (0, 0)
    if counts_end - counts != (8 * (len(bounds) + 1) if 6 in point.once or bounds else 0):
        raise NotPlainError
    return HistogramFields(point, bounds, counts)
