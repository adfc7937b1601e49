"""Attributes of spans, log records and resources: as text for labels, as numbers to be added up."""

import math
from collections.abc import Iterable, Mapping
from itertools import islice

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from mirubato.limits import ITEM_ATTRIBUTES_MAX, SPAN_LABEL_CHARS_MAX

Attributes = Mapping[str, AnyValue]


def by_key(attributes: Iterable[KeyValue]) -> dict[str, AnyValue]:
    """The first ITEM_ATTRIBUTES_MAX attributes by key; of a repeated key the first counts."""
    found: dict[str, AnyValue] = {}
    for attribute in islice(attributes, ITEM_ATTRIBUTES_MAX):
        found.setdefault(attribute.key, attribute.value)
    return found


def text(value: AnyValue | None) -> str:
    """A string, number or truth value as the text of a label, cut to its length; "" for everything else."""
    kind = value.WhichOneof("value") if value is not None else None
    if value is None or kind is None:
        return ""
    if kind == "string_value":
        return value.string_value[:SPAN_LABEL_CHARS_MAX]
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "int_value":
        return str(value.int_value)
    return f"{value.double_value:.17g}" if kind == "double_value" else ""


def first_text(attributes: Attributes, *keys: str) -> str:
    """The first of some attributes that has a text."""
    for key in keys:
        found = text(attributes.get(key))
        if found:
            return found
    return ""


def number(value: AnyValue | None) -> float | None:
    """A finite number, also one that is written as text; None for everything else."""
    kind = value.WhichOneof("value") if value is not None else None
    if value is None or kind is None:
        return None
    if kind == "int_value":
        return float(value.int_value)
    if kind == "double_value":
        return value.double_value if math.isfinite(value.double_value) else None
    return _parsed(value.string_value) if kind == "string_value" else None


def first_number(attributes: Attributes, *keys: str) -> float | None:
    """The first of some attributes that is a number."""
    return next((found for key in keys if (found := number(attributes.get(key))) is not None), None)


def _parsed(written: str) -> float | None:
    try:
        found = float(written)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
