"""Labels, families and matchers: what names a series and what finds it."""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Labels = tuple[tuple[str, str], ...]
"""(name, value) pairs sorted by name, the metric name among them as `__name__`."""

NAME: Final = "__name__"

# Prometheus' staleness marker is one NaN among many (model/value/value.go): compare bits, not values.
STALE_NAN_BITS: Final = 0x7FF0000000000002
STALE_NAN: Final[float] = struct.unpack("<d", struct.pack("<Q", STALE_NAN_BITS))[0]


def labels_of(pairs: Iterable[tuple[str, str]]) -> Labels:
    """Sort pairs by name into Labels; empty values are dropped, as an empty label means no label."""
    return tuple(sorted((name, value) for name, value in pairs if value))


def metric_name(labels: Labels) -> str:
    """The value of `__name__`, or an empty string."""
    return next((value for name, value in labels if name == NAME), "")


def is_stale(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of these values are staleness markers."""
    return np.equal(values.view(np.uint64), STALE_NAN_BITS)


class MetricType(StrEnum):
    """Prometheus' metric types (`metadata`, `# TYPE`)."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Family:
    """What is known of a metric beside its samples.

    `name` is the family's: without `_bucket`, `_sum`, `_count`; with `_total`, as text 0.0.4 has it. `unit` is
    Prometheus' word for it ("seconds").
    """

    name: str
    type: MetricType
    unit: str = ""
    help: str = ""


def format_value(value: float) -> str:
    """A sample value as Prometheus writes it in JSON and text: `+Inf`, `NaN`, `1`, `1e+06`, `0.1`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e21:
        return str(int(value)) if value or math.copysign(1, value) > 0 else "-0"
    return _go_exponent(repr(value))


def _go_exponent(text: str) -> str:
    """Python's shortest form -> Go's: the same digits, plain between 1e-6 and 1e21, else a two-digit exponent."""
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text
    power = int(exponent)
    if -6 <= power < 0:
        sign, digits = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
        return f"{sign}0.{'0' * (-power - 1)}{digits.replace('.', '')}"
    return f"{mantissa}e{power:+03d}"
