"""Values of OTel attributes -> text, in the same words as the gateway's OTLP doors: the same labels either way.

Source: opentelemetry-collector:pdata/pcommon/value.go `Value.AsString`.
"""

import json
import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType, NoneType
from typing import Any, Final

from mirubato.analytics_engine.event_points import clean


def attribute_text(value: object) -> str:
    """Text as it is, true and false, numbers in their shortest form, bytes in base64, sequences as compact JSON."""
    text = _TEXTS.get(type(value))
    if text is not None:
        return text(value)
    if isinstance(value, Sequence | Mapping) and not isinstance(value, str):
        return _json_text(value)
    return clean(str(value))


def _double_text(value: float) -> str:
    """Shortest digits, an exponent below 1e-6 and from 1e21 on, as Go's encoding/json has it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    shortest = repr(value)
    if value and not 1e-6 <= abs(value) < 1e21:
        return shortest.replace("e-0", "e-")
    return format(Decimal(shortest), "f").removesuffix(".0")


def _json_text(value: object) -> str:
    """Compact JSON; `null` for what JSON has no word for."""
    if isinstance(value, Mapping):
        members = sorted((clean(str(key)), _json_text(item)) for key, item in value.items())
        return "{" + ",".join(f"{compact(key)}:{item}" for key, item in members) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "[" + ",".join(map(_json_text, value)) + "]"
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "null"
    if isinstance(value, bool | int | float):
        return attribute_text(value)
    return compact(attribute_text(value))


def compact(value: object) -> str:
    """JSON without a blank and without escapes for what UTF-8 can say."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_TEXTS: Final[Mapping[type, Callable[[Any], str]]] = MappingProxyType(
    {
        str: clean,
        bool: lambda value: "true" if value else "false",
        int: str,
        float: _double_text,
        bytes: lambda value: b64encode(value).decode(),
        NoneType: lambda _: "",
    }
)
