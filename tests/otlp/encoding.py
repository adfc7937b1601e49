"""Protobuf written by hand: in other orders of fields than the official classes use, packed or not, zeros or not.

Two encoders of one message differ in all of this, and a decoder must not care.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

VARINT, FIXED64, LENGTH, GROUP, END_GROUP, FIXED32 = 0, 1, 2, 3, 4, 5


def varint(number: int) -> bytes:
    """A number in base 128; negative ones as 64 bits of two's complement."""
    number &= (1 << 64) - 1
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])


def tag(field: int, wire: int) -> bytes:
    """What stands before a field's value."""
    return varint(field << 3 | wire)


def part(field: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return tag(field, LENGTH) + varint(len(content)) + content


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, where it ends)."""
    number = 0
    for index in range(at, len(data)):
        number |= (data[index] & 127) << 7 * (index - at)
        if data[index] < 128:
            return number, index + 1
    raise ValueError("a number without an end")


def parts_of(data: bytes, field: int) -> list[bytes]:
    """The contents of all length-delimited fields of a number, in a message that is valid."""
    found, at, depth = [], 0, 0
    while at < len(data):
        key, at = read_varint(data, at)
        content = b""
        if key & 7 == LENGTH:
            size, at = read_varint(data, at)
            content, at = data[at : at + size], at + size
        elif key & 7 == VARINT:
            _, at = read_varint(data, at)
        else:
            at += {FIXED64: 8, FIXED32: 4}.get(key & 7, 0)
            depth += {GROUP: 1, END_GROUP: -1}.get(key & 7, 0)
        if not depth and key == field << 3 | LENGTH:
            found.append(content)
    return found


Backwards = Literal["nothing", "points", "everything"]
ALL_BACKWARDS: tuple[Backwards, ...] = ("nothing", "points", "everything")


@dataclass(frozen=True)
class Style:
    """How to write what can be written in more than one way."""

    backwards: Backwards = "nothing"
    """What has its fields by falling number."""
    packed: bool = True
    zeros: bool = False
    """Also numbers that are zero and could be left out."""


def encode(message: Message, style: Style) -> bytes:
    """A message in some style; its official class reads the same from it."""
    fields: list[FieldDescriptor] = [*message.DESCRIPTOR.fields]
    name = message.DESCRIPTOR.name
    backwards = style.backwards == "everything" or (style.backwards == "points" and name.endswith("DataPoint"))
    fields.sort(key=lambda field: field.number, reverse=backwards)
    return b"".join(_field(message, field, style) for field in fields)


def _field(message: Message, field: FieldDescriptor, style: Style) -> bytes:
    value = getattr(message, field.name)
    if field.is_repeated:
        return _repeated(field, value, style)
    if field.has_presence:
        return _one(field, value, style) if message.HasField(field.name) else b""
    written = style.zeros and field.type in _NUMBERS
    return _one(field, value, style) if written or not _is_zero(value) else b""


def _is_zero(value: Any) -> bool:
    return not value and struct.pack("<d", value) == bytes(8) if isinstance(value, float) else not value


def _repeated(field: FieldDescriptor, values: Any, style: Style) -> bytes:
    if field.type in _NUMBERS and style.packed:
        content = b"".join(_NUMBERS[field.type][1](value) for value in values)
        return part(field.number, content) if values else b""
    return b"".join(_one(field, value, style) for value in values)


def _one(field: FieldDescriptor, value: Any, style: Style) -> bytes:
    if field.type in _NUMBERS:
        wire, write = _NUMBERS[field.type]
        return tag(field.number, wire) + write(value)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return part(field.number, encode(value, style))
    return part(field.number, value.encode() if isinstance(value, str) else value)


_NUMBERS: dict[int, tuple[int, Callable[[Any], bytes]]] = {
    FieldDescriptor.TYPE_DOUBLE: (FIXED64, lambda value: struct.pack("<d", value)),
    FieldDescriptor.TYPE_FIXED64: (FIXED64, lambda value: struct.pack("<Q", value)),
    FieldDescriptor.TYPE_SFIXED64: (FIXED64, lambda value: struct.pack("<q", value)),
    FieldDescriptor.TYPE_FIXED32: (FIXED32, lambda value: struct.pack("<I", value)),
    FieldDescriptor.TYPE_SINT32: (VARINT, lambda value: varint(value << 1 ^ value >> 31)),
    FieldDescriptor.TYPE_BOOL: (VARINT, varint),
    FieldDescriptor.TYPE_ENUM: (VARINT, varint),
    FieldDescriptor.TYPE_INT32: (VARINT, varint),
    FieldDescriptor.TYPE_INT64: (VARINT, varint),
    FieldDescriptor.TYPE_UINT32: (VARINT, varint),
    FieldDescriptor.TYPE_UINT64: (VARINT, varint),
}
