"""The notation of series in promtool's unit tests: `name{label="value"}`, `1+2x3 _ stale {{schema:0 count:2}}`.

Source: prometheus, docs/configuration/unit_testing_rules.md.
"""

import re
from collections.abc import Iterator
from itertools import repeat

from mirubato.errors import BadQuery
from mirubato.model.histogram import CUSTOM_SCHEMA, Buckets, Histogram, ResetHint
from mirubato.model.labels import NAME, STALE_NAN, Labels, labels_of
from mirubato.model.matchers import MatchOp
from mirubato.promql.expressions import VectorSelector
from mirubato.promql.parser import parse

_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|0[xX][0-9a-fA-F]+|[iI]nf|[nN]a[nN]"
_ITEM = re.compile(
    rf"(?P<blank>_)(?:x(?P<gaps>[0-9]+))?"
    rf"|(?P<base>[+-]?(?:{_NUMBER})|stale)(?P<step>[+-](?:{_NUMBER}))?(?:x(?P<times>[0-9]+))?"
)
_HISTOGRAMS = re.compile(r"\{\{(?P<base>.*?)\}\}(?:(?P<sign>[+-])\{\{(?P<step>.*?)\}\})?(?:x(?P<times>[0-9]+))?")
_KEY = re.compile(r"\s*(?P<key>[a-z_]+):(?P<value>\[[^\]]*\]|\S+)\s*")
_HINTS = {"unknown": ResetHint.UNKNOWN, "reset": ResetHint.RESET, "not_reset": ResetHint.NOT_RESET}
_VALUES_MAX = 1_000_000

Value = float | Histogram | None
"""What stands at one interval; None: nothing."""


def parse_labels(text: str) -> Labels:
    """A series as it is named: a metric name, labels in braces, or both; BadQuery for something else."""
    if not text.strip() or text.strip() == "{}":
        return ()
    try:
        parsed = parse(text)
    except BadQuery:
        # A selector must say something: labels that are all empty do not.
        parsed = None
    if not isinstance(parsed, VectorSelector) or any(one.op is not MatchOp.EQUAL for one in parsed.matchers):
        raise BadQuery(f"{text[:200]!r} does not name a series")
    return labels_of((one.name, one.value) for one in parsed.matchers)


def parse_values(text: str) -> list[Value]:
    """The values of a series, one for each interval; ValueError for what is none."""
    values: list[Value] = []
    for item in re.findall(r"(?:\{\{.*?\}\}|[^\s{])+", text):
        values += _histograms(item) if "{{" in item else _floats(item)
        if len(values) > _VALUES_MAX:
            raise ValueError(f"more than {_VALUES_MAX} values")
    return values


def _count(text: str | None) -> int:
    return min(int(text or 0), _VALUES_MAX + 1)


def _floats(item: str) -> Iterator[Value]:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise ValueError(f"no value: {item[:60]!r}")
    if match["blank"]:
        yield from repeat(None, _count(match["gaps"]) if match["gaps"] else 1)
        return
    base = STALE_NAN if match["base"] == "stale" else _number(match["base"])
    step = _number(match["step"]) if match["step"] else 0.0
    yield base
    for _ in range(_count(match["times"])):
        base = base + step if match["step"] else base  # added up, as Prometheus does it: 0.1 three times is not 0.3
        yield base


def _number(text: str) -> float:
    return float(int(text, 16)) if "x" in text.lower() else float(text)


def _histograms(item: str) -> Iterator[Value]:
    match = _HISTOGRAMS.fullmatch(item)
    if match is None:
        raise ValueError(f"no histogram: {item[:60]!r}")
    current = _histogram(match["base"])
    step = None if match["step"] is None else _histogram(match["step"])
    yield current
    for _ in range(_count(match["times"])):
        if step is not None:
            current = current.plus(step) if match["sign"] == "+" else current.minus(step)
        yield current


def _histogram(text: str) -> Histogram:
    keys = {match["key"]: match["value"] for match in _KEY.finditer(text)}
    if "".join(match[0] for match in _KEY.finditer(text)) != text:
        raise ValueError(f"no histogram: {text[:60]!r}")
    schema = int(keys.pop("schema", "0"))
    first = 0 if schema == CUSTOM_SCHEMA else -1
    hint = keys.pop("counter_reset_hint", "unknown")
    histogram = Histogram(
        count=float(keys.pop("count", "0")),
        sum=float(keys.pop("sum", "0")),
        zero_count=float(keys.pop("z_bucket", "0")),
        zero_threshold=float(keys.pop("z_bucket_w", "0")),
        schema=schema,
        positive=_buckets(keys.pop("buckets", "[]"), int(keys.pop("offset", "0")) + first),
        negative=_buckets(keys.pop("n_buckets", "[]"), int(keys.pop("n_offset", "0")) + first),
        hint=_HINTS.get(hint, ResetHint.UNKNOWN),
        custom_bounds=tuple(float(bound) for bound in keys.pop("custom_values", "[]")[1:-1].split()),
    )
    if keys:
        raise ValueError(f"unknown in a histogram: {', '.join(sorted(keys))}")
    return histogram


def _buckets(counts: str, offset: int) -> Buckets:
    return Buckets(offset, [float(count) for count in counts[1:-1].split()])


def series_text(labels: Labels) -> str:
    """`name{label="value"}`, as promtool prints it."""
    pairs = ", ".join(f'{name}="{value}"' for name, value in labels if name != NAME)
    name = dict(labels).get(NAME, "")
    return f"{name}{{{pairs}}}" if pairs or not name else name
