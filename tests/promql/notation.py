"""The notation of series in Prometheus' test language: `name{label="value"} 1+2x3 _ stale {{schema:0 count:2}}`.

Source: prometheus, docs/configuration/unit_testing_rules.md and promql/promqltest/README.md.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat

from mirubato.model.histogram import ResetHint
from mirubato.model.labels import NAME, STALE_NAN, Labels, labels_of
from tests.promql.answers import Value
from tests.promql.shapes import Shape

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}
_DURATION = re.compile(r"(\d+)(ms|[smhdwy])")

_STRING = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`"
_METRIC = re.compile(rf"\s*(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*(?P<labels>\{{(?:{_STRING}|[^{{}}\"'`])*\}})?")
_LABEL = re.compile(rf"(?P<key>{_STRING}|[a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=\s*(?P<value>{_STRING}))?\s*(?:,|$)\s*")

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[iI]nf|NaN"
_ITEM = re.compile(
    rf"(?P<blank>_)(?:x(?P<gaps>\d+))?$"
    rf"|(?P<base>[+-]?(?:{_NUMBER})|stale)(?P<step>[+-](?:{_NUMBER}))?(?:x(?P<times>\d+))?$"
)
_HISTOGRAMS = re.compile(r"\{\{(?P<base>.*?)\}\}(?:(?P<sign>[+-])\{\{(?P<step>.*?)\}\})?(?:x(?P<times>\d+))?$")
_HISTOGRAM_KEY = re.compile(r"\s*(?P<key>[a-z_]+):(?P<value>\[[^\]]*\]|\S+)\s*")
_HINTS = {hint.name.lower(): hint for hint in ResetHint}


class NotationError(ValueError):
    """A script that is not written as scripts are."""


@dataclass(frozen=True)
class Written:
    """Labels and one value for each interval; None where there is none."""

    labels: Labels
    values: Sequence[Value | None]


def duration_ms(text: str) -> int:
    """`1h30m` -> ms; `0` needs no unit."""
    if text == "0":
        return 0
    if not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        raise NotationError(f"no duration: {text!r}")
    return sum(int(amount) * _UNITS_MS[unit] for amount, unit in _DURATION.findall(text))


def unquoted(text: str) -> str:
    """A Go string literal."""
    return text[1:-1] if text[0] == "`" else str(ast.literal_eval(text))


def parse_series(line: str) -> Written:
    """A line of a `load`, or of what an `eval` expects."""
    match = _METRIC.match(line)
    if not match or not match[0].strip():
        raise NotationError(f"no series: {line!r}")
    return Written(_labels(match["name"], match["labels"]), list(_values(line[match.end() :].strip())))


def _labels(name: str | None, braces: str | None) -> Labels:
    pairs = [(NAME, name)] if name else []
    text, at = (braces or "{}")[1:-1].strip(), 0
    while at < len(text):
        match = _LABEL.match(text, at)
        if not match:
            raise NotationError(f"no labels: {text!r}")
        key = unquoted(match["key"]) if match["key"][0] in "\"'`" else match["key"]
        pairs.append((key, unquoted(match["value"])) if match["value"] else (NAME, key))
        at = match.end()
    return labels_of(pairs)


def _values(text: str) -> Iterator[Value | None]:
    """Items stand apart by blanks, but for those within `{{ }}`."""
    for item in re.findall(r"(?:\{\{.*?\}\}|[^\s{])+", text):
        if "{{" in item:
            yield from _histograms(item)
        else:
            yield from _floats(item)


def _floats(item: str) -> Iterator[Value | None]:
    match = _ITEM.match(item)
    if not match:
        raise NotationError(f"no value: {item!r}")
    if match["blank"]:
        yield from repeat(None, int(match["gaps"] or 1))
        return
    base = STALE_NAN if match["base"] == "stale" else float(match["base"])
    step = float(match["step"] or 0)
    # Added up, as Prometheus does it: 0.1 three times is not 0.3.
    times = int(match["times"] or 0)
    yield from accumulate(repeat(step, times), initial=base) if match["step"] else repeat(base, times + 1)


def _histograms(item: str) -> Iterator[Shape]:
    match = _HISTOGRAMS.match(item)
    if not match:
        raise NotationError(f"no histogram: {item!r}")
    base, times = _histogram(match["base"]), int(match["times"] or 0)
    if match["step"] is None:
        yield from repeat(base, times + 1)
        return
    sign = -1.0 if match["sign"] == "-" else 1.0
    step = _histogram(match["step"])
    yield from accumulate(repeat(step, times), lambda done, more: done.plus(more, sign), initial=base)


def _histogram(text: str) -> Shape:
    keys = {match["key"]: match["value"] for match in _HISTOGRAM_KEY.finditer(text)}
    if "".join(match[0] for match in _HISTOGRAM_KEY.finditer(text)) != text:
        raise NotationError(f"no histogram: {text!r}")
    hint = keys.pop("counter_reset_hint", None)
    shape = Shape(
        schema=int(keys.pop("schema", "0")),
        count=float(keys.pop("count", "0")),
        sum=float(keys.pop("sum", "0")),
        zero_count=float(keys.pop("z_bucket", "0")),
        zero_threshold=float(keys.pop("z_bucket_w", "0")),
        positive=_buckets(keys.pop("buckets", "[]"), keys.pop("offset", "0")),
        negative=_buckets(keys.pop("n_buckets", "[]"), keys.pop("n_offset", "0")),
        custom=tuple(float(bound) for bound in keys.pop("custom_values", "[]")[1:-1].split()),
        hint=_HINTS[hint] if hint else None,
    )
    if keys:
        raise NotationError(f"unknown in a histogram: {sorted(keys)}")
    return shape


def _buckets(counts: str, offset: str) -> dict[int, float]:
    return {index: float(count) for index, count in enumerate(counts[1:-1].split(), int(offset))}
