"""Attributes of any type -> labels, which are text.

The text is that of the OpenTelemetry Collector's pdata (1.69), because Prometheus (3.16) uses it.
"""

import json
import math
from base64 import b64encode
from collections.abc import Iterable
from decimal import Decimal
from operator import itemgetter

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from mirubato.limits import ATTRIBUTE_DEPTH_MAX
from mirubato.model.labels import NAME
from mirubato.otlp.naming import label_name


class _NotJSONError(Exception):
    """NaN or an infinity inside an array or a map."""


def attribute_text(value: AnyValue) -> str:
    """Any attribute value as text: strings as they are, bytes in base64, arrays and maps as compact JSON.

    Nothing set gives "", and so does NaN or an infinity anywhere inside an array or a map: Go's JSON encoder
    refuses those, and pdata ignores its error. ValueError for nesting deeper than ATTRIBUTE_DEPTH_MAX.
    Source: opentelemetry-collector:pdata/pcommon/value.go `Value.AsString`.
    """
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind not in {"array_value", "kvlist_value"}:
        return _scalar_text(value)
    try:
        return _json(value, depth=0)
    except _NotJSONError:
        return ""


def _scalar_text(value: AnyValue) -> str:
    match value.WhichOneof("value"):
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "int_value":
            return str(value.int_value)
        case "double_value":
            return _double_text(value.double_value)
        case "bytes_value":
            return b64encode(value.bytes_value).decode()
        case _:  # unset, or an index into the string table that only profiles have
            return ""


def _double_text(value: float) -> str:
    """A float as Go's encoding/json has it: shortest digits, an exponent below 1e-6 and from 1e21 on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    shortest = repr(value)
    if value and not 1e-6 <= abs(value) < 1e21:
        return shortest.replace("e-0", "e-")
    return format(Decimal(shortest), "f").removesuffix(".0")


def _json(value: AnyValue, *, depth: int) -> str:
    """What Go's encoding/json makes of a value inside `depth` arrays and maps, HTML characters left alone."""
    match value.WhichOneof("value"):
        case "array_value":
            inside = _deeper(depth)
            return f"[{','.join(_json(item, depth=inside) for item in value.array_value.values)}]"
        case "kvlist_value":
            return _json_object(value.kvlist_value.values, depth=_deeper(depth))
        case "string_value":
            return _json_string(value.string_value)
        case "bytes_value" if value.bytes_value:
            return f'"{_scalar_text(value)}"'
        case "double_value" if not math.isfinite(value.double_value):
            raise _NotJSONError
        case _:  # nothing set, and no bytes: Go reads those as a nil slice
            return _scalar_text(value) or "null"


def _json_object(pairs: Iterable[KeyValue], *, depth: int) -> str:
    values = {pair.key: pair.value for pair in pairs}  # the last of a repeated key stands, as in a Go map
    members = (f"{_json_string(key)}:{_json(values[key], depth=depth)}" for key in sorted(values))
    return f"{{{','.join(members)}}}"


def _deeper(depth: int) -> int:
    if depth == ATTRIBUTE_DEPTH_MAX:
        raise ValueError(f"attribute value is nested more than {ATTRIBUTE_DEPTH_MAX} levels deep")
    return depth + 1


def _json_string(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    # Go escapes these two always, because JavaScript once took them for the end of a line.
    return quoted.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def labels_from(attributes: Iterable[KeyValue]) -> list[tuple[str, str]]:
    """The labels of a data point's attributes, sorted by name, each name once and none empty.

    Keys that become one name, and a key that comes twice, make one label: their values joined with `;` in the
    order of the keys, then of arrival. An empty value leaves a `;` only behind a text, as in Prometheus.
    An empty label is no label, and the metric's own name replaces a `__name__`: both are dropped.
    `job`, `instance`, `le` and `quantile` are for the caller to overwrite.
    ValueError for a key that makes no label, even if its value is empty.
    Source: prometheus:storage/remote/otlptranslator/prometheusremotewrite/helper.go `createAttributes`.
    """
    texts = [(attribute.key, attribute_text(attribute.value)) for attribute in attributes]
    texts.sort(key=itemgetter(0))
    labels: dict[str, str] = {}
    for key, text in texts:
        name = label_name(key)
        before = labels.get(name)
        labels[name] = f"{before};{text}" if before else text
    labels.pop(NAME, None)
    return sorted(label for label in labels.items() if label[1])
