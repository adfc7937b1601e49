"""Protobuf by hand: encoded bytes that remember where their changing values stand.

Every value that differs between two exports of one instrument is fixed-width on the wire (fixed64 or double),
so a message is encoded once, and each collection interval only overwrites the values in place.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple, Self


class Wire(IntEnum):
    """Wire types of the protobuf encoding."""

    VARINT = 0
    FIXED64 = 1
    BYTES = 2


class Slot(NamedTuple):
    """Eight bytes at `offset` that hold the value `kind` of the series number `series`."""

    offset: int
    kind: int
    series: int


class Span(NamedTuple):
    """A stretch of the encoded bytes, `begin` to `end`."""

    begin: int
    end: int


def varint(number: int) -> bytes:
    """The base-128 encoding of a number >= 0."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def tag(field: int, wire: Wire) -> bytes:
    """What stands before a field's value."""
    return varint(field << 3 | wire)


class Message:
    """A message under construction, with the slots in it and the spans of the fields that were marked."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.slots: list[Slot] = []
        self.marks: list[Span] = []

    def raw(self, data: bytes) -> Self:
        """Append bytes as they are."""
        self.parts.append(data)
        self.size += len(data)
        return self

    def number(self, field: int, value: int) -> Self:
        """Append a varint field."""
        return self.raw(tag(field, Wire.VARINT) + varint(value))

    def data(self, field: int, value: bytes) -> Self:
        """Append a bytes field."""
        return self.raw(tag(field, Wire.BYTES) + varint(len(value)) + value)

    def text(self, field: int, value: str) -> Self:
        """Append a string field."""
        return self.data(field, value.encode())

    def slot(self, kind: int, series: int) -> Self:
        """Append eight bytes that are filled in later."""
        self.slots.append(Slot(self.size, kind, series))
        return self.raw(bytes(8))

    def fixed(self, field: int, kind: int, series: int) -> Self:
        """Append a fixed64 or double field whose value is filled in later."""
        return self.raw(tag(field, Wire.FIXED64)).slot(kind, series)

    def packed(self, field: int, kinds: Iterable[int], series: int) -> Self:
        """Append a packed list of fixed64 values that are filled in later."""
        inner = Message()
        for kind in kinds:
            inner.slot(kind, series)
        return self.message(field, inner)

    def message(self, field: int, inner: "Message", *, mark: bool = False) -> Self:
        """Append a nested message; `mark` remembers the field's span, its tag included."""
        begin = self.size
        self.raw(tag(field, Wire.BYTES) + varint(inner.size))
        base = self.size
        self.parts.extend(inner.parts)
        self.size += inner.size
        self.slots.extend(Slot(base + s.offset, s.kind, s.series) for s in inner.slots)
        self.marks.extend(Span(base + m.begin, base + m.end) for m in inner.marks)
        if mark:
            self.marks.append(Span(begin, self.size))
        return self

    def encoded(self) -> bytes:
        """The message's bytes; slots are zero."""
        return b"".join(self.parts)
