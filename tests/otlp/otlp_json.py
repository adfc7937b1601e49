"""OTLP/JSON written from protobuf messages, as the specification says ("JSON Protobuf Encoding"); and any message."""

import base64
import math
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

HEX = {"trace_id", "span_id", "parent_span_id"}
_WIDE = {
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_SFIXED64,
}


def camel(name: str) -> str:
    """lowerCamelCase."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def to_json(message: Message, *, wide_as_numbers: bool = False) -> dict[str, Any]:
    """A message as a JSON document; 64-bit integers as strings unless asked otherwise."""
    document: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.is_repeated:
            document[camel(field.name)] = [_value(field, one, wide_as_numbers) for one in value]
        else:
            document[camel(field.name)] = _value(field, value, wide_as_numbers)
    return document


def _value(field: FieldDescriptor, value: Any, wide_as_numbers: bool) -> Any:
    match value:
        case Message():
            return to_json(value, wide_as_numbers=wide_as_numbers)
        case bytes():
            return value.hex() if field.name in HEX else base64.b64encode(value).decode()
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case int() if field.type in _WIDE and not wide_as_numbers:
            return str(value)
        case _:
            return value


# --- any message -----------------------------------------------------------------------------------------------------

_SIGNED, _UNSIGNED = st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1)
_SMALL, _COUNT = st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1)
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    # NaN has one form in JSON, so it has one here.
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False) | st.just(math.nan) | st.just(-0.0),
    FieldDescriptor.TYPE_INT64: _SIGNED,
    FieldDescriptor.TYPE_SFIXED64: _SIGNED,
    FieldDescriptor.TYPE_UINT64: _UNSIGNED,
    FieldDescriptor.TYPE_FIXED64: _UNSIGNED,
    FieldDescriptor.TYPE_INT32: _SMALL,
    FieldDescriptor.TYPE_SINT32: _SMALL,
    FieldDescriptor.TYPE_ENUM: _SMALL,
    FieldDescriptor.TYPE_UINT32: _COUNT,
    FieldDescriptor.TYPE_FIXED32: _COUNT,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: st.text(max_size=5),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=17),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 9) -> dict[str, Any]:
    """Fields for a message of any type, few of them set, with messages in them `depth` levels deep."""
    fields: dict[str, Any] = {}
    for field in descriptor.fields:
        inner = field.message_type
        if inner is not None and (depth == 0 or draw(st.integers(0, 2)) == 0):
            continue
        if inner is None and draw(st.booleans()):
            continue
        one = messages(inner, depth - 1) if inner is not None else _SCALARS[field.type]
        fields[field.name] = draw(st.lists(one, max_size=2)) if field.is_repeated else draw(one)
    for group in descriptor.oneofs:
        for field in draw(st.permutations([*group.fields]))[1:]:
            fields.pop(field.name, None)
    return fields
