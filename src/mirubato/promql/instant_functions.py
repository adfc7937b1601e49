"""Functions of an instant vector's floats, cell by cell. Source: prometheus, promql/functions.go."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mirubato.model.samples import Float64s, Int64s

Elementwise = Callable[[Float64s], Float64s]

# Seconds for which the calendar works in 64 bits; beyond, years have more digits than anybody reads.
_SECONDS_MAX = 1e15


def _days_of(seconds: Float64s, unit: str) -> NDArray[np.datetime64]:
    """Seconds since 1970, cut towards zero, in a unit of the calendar (UTC)."""
    whole = np.trunc(np.clip(np.nan_to_num(seconds, nan=-_SECONDS_MAX), -_SECONDS_MAX, _SECONDS_MAX))
    return whole.astype(np.int64).astype("datetime64[s]").astype(f"datetime64[{unit}]")


def _number(dates: NDArray[np.datetime64]) -> Int64s:
    return dates.astype(np.int64)


def _since(seconds: Float64s, unit: str, larger: str) -> Float64s:
    """How many units have passed in the larger unit."""
    passed = _days_of(seconds, unit) - _days_of(seconds, larger).astype(f"datetime64[{unit}]")
    count: Float64s = passed.astype(np.float64)
    return count


def _year(seconds: Float64s) -> Float64s:
    years: Float64s = _number(_days_of(seconds, "Y")).astype(np.float64) + 1970
    return years


def _day_of_week(seconds: Float64s) -> Float64s:
    return ((_number(_days_of(seconds, "D")) + 4) % 7).astype(np.float64)  # 1970 began on a Thursday


def _days_in_month(seconds: Float64s) -> Float64s:
    month = _days_of(seconds, "M")
    days: Float64s = ((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.float64)
    return days


def _one_based(seconds: Float64s, unit: str, larger: str) -> Float64s:
    return _since(seconds, unit, larger) + 1


DATES: dict[str, Elementwise] = {
    "day_of_month": partial(_one_based, unit="D", larger="M"),
    "day_of_week": _day_of_week,
    "day_of_year": partial(_one_based, unit="D", larger="Y"),
    "days_in_month": _days_in_month,
    "hour": partial(_since, unit="h", larger="D"),
    "minute": partial(_since, unit="m", larger="h"),
    "month": partial(_one_based, unit="M", larger="Y"),
    "year": _year,
}
"""Of seconds since 1970; without an argument of the evaluation time."""


def _sign(values: Float64s) -> Float64s:
    """-1, 0 (or -0) and 1; NaN stays."""
    return np.where(values < 0, -1.0, np.where(values > 0, 1.0, values))


ELEMENTWISE: dict[str, Elementwise] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "deg": lambda values: values * 180 / np.pi,
    "exp": np.exp,
    "floor": np.floor,
    "ln": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "rad": lambda values: values * np.pi / 180,
    "sgn": _sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}


def rounded(values: Float64s, nearest: Float64s) -> Float64s:
    """To the nearest multiple, ties up."""
    inverse = 1.0 / nearest
    return np.floor(values * inverse + 0.5) / inverse


def clamped(values: Float64s, low: Float64s, high: Float64s) -> Float64s:
    """Between two bounds; NaN makes NaN, but infinity is above and below it (Go's math.Max and math.Min)."""
    below = np.where((values == -np.inf) | (high == -np.inf), -np.inf, np.minimum(high, values))
    return np.where((below == np.inf) | (low == np.inf), np.inf, np.maximum(low, below))
