"""What the JSON inside a log record's body says: `console.log(JSON.stringify({...}))` arrives as one string.

Whatever comes, nothing is raised: a body that is no JSON object says nothing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from mirubato.limits import LOG_JSON_CHARS_MAX, SPAN_LABEL_CHARS_MAX

_SEVERITIES = {
    "trace": 1, "verbose": 1, "silly": 1,
    "debug": 5,
    "info": 9, "information": 9, "log": 9, "notice": 10, "informational": 9,
    "warn": 13, "warning": 13,
    "error": 17, "err": 17, "exception": 17,
    "fatal": 21, "critical": 21, "crit": 21, "alert": 22, "emerg": 23, "emergency": 23, "panic": 21,
}  # fmt: skip
# Numbers of pino and bunyan; Python's logging has the same from 10 to 50 with one level less below.
_NUMBERED = {10: 1, 20: 5, 30: 9, 40: 13, 50: 17, 60: 21}


def read_object(body: str) -> Mapping[str, Any]:
    """The JSON object that a body is; empty if it is none."""
    if not body.lstrip(" \t\r\n").startswith("{") or len(body) > LOG_JSON_CHARS_MAX:
        return {}
    try:
        document = orjson.loads(body)
    except (orjson.JSONDecodeError, UnicodeEncodeError):  # a lone surrogate is text that is no UTF-8
        return {}
    return document if isinstance(document, dict) else {}


def field(document: Mapping[str, Any], path: str) -> Any:
    """`a.b`: the member of that name, else `b` in the object `a`; None if there is none."""
    if path in document:
        return document[path]
    first, dot, rest = path.partition(".")
    inner = document.get(first) if dot else None
    return field(inner, rest) if isinstance(inner, dict) else None


def severity(level: Any) -> int:
    """Severity number (1 to 24) of a level as loggers write it, by word or by pino's numbers; 0 if it is none."""
    if isinstance(level, str):
        return _SEVERITIES.get(level.strip().lower(), 0)
    if isinstance(level, bool) or not isinstance(level, int):
        return 0
    return _NUMBERED.get(level, 0)


def first_severity(document: Mapping[str, Any], paths: Sequence[str]) -> int:
    """Of the first of some fields that is a level; 0 if none is."""
    return next((found for path in paths if (found := severity(field(document, path)))), 0)


def first_text(document: Mapping[str, Any], paths: Sequence[str]) -> str:
    """The first of some fields that is a text; "" if none is."""
    texts = (field(document, path) for path in paths)
    return next((found[:SPAN_LABEL_CHARS_MAX] for found in texts if isinstance(found, str) and found), "")


def numbers(document: Mapping[str, Any], paths: Sequence[str]) -> list[tuple[str, float]]:
    """The named fields that are finite numbers."""
    found = ((path, field(document, path)) for path in paths)
    return [(path, float(value)) for path, value in found if _is_finite(value)]


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)
