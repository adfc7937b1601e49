"""Which functions there are, what they take and what they answer. Source: prometheus, docs/querying/functions.md."""

from dataclasses import dataclass
from enum import StrEnum


class ValueType(StrEnum):
    """The four types of PromQL, in the words of its errors."""

    SCALAR = "scalar"
    VECTOR = "instant vector"
    MATRIX = "range vector"
    STRING = "string"


_SHORT_NAMES = {ValueType.VECTOR: "vector", ValueType.MATRIX: "matrix"}


def short_name(type_: ValueType) -> str:
    """A type as Prometheus' API calls it: `vector`, `matrix`, `scalar`, `string`."""
    return _SHORT_NAMES.get(type_, type_.value)


@dataclass(frozen=True, slots=True)
class Function:
    """A function's signature.

    `variadic` arguments of the last type may be left out or added: n > 0 means that the last is optional and may come
    up to n times, -1 any number of times, 0 that all are needed.
    """

    name: str
    args: tuple[ValueType, ...]
    returns: ValueType
    variadic: int = 0
    experimental: bool = False


_V, _M, _S, _T = ValueType.VECTOR, ValueType.MATRIX, ValueType.SCALAR, ValueType.STRING

_ALL = (
    Function("abs", (_V,), _V),
    Function("absent", (_V,), _V),
    Function("absent_over_time", (_M,), _V),
    Function("acos", (_V,), _V),
    Function("acosh", (_V,), _V),
    Function("asin", (_V,), _V),
    Function("asinh", (_V,), _V),
    Function("atan", (_V,), _V),
    Function("atanh", (_V,), _V),
    Function("avg_over_time", (_M,), _V),
    Function("ceil", (_V,), _V),
    Function("changes", (_M,), _V),
    Function("clamp", (_V, _S, _S), _V),
    Function("clamp_max", (_V, _S), _V),
    Function("clamp_min", (_V, _S), _V),
    Function("cos", (_V,), _V),
    Function("cosh", (_V,), _V),
    Function("count_over_time", (_M,), _V),
    Function("day_of_month", (_V,), _V, variadic=1),
    Function("day_of_week", (_V,), _V, variadic=1),
    Function("day_of_year", (_V,), _V, variadic=1),
    Function("days_in_month", (_V,), _V, variadic=1),
    Function("deg", (_V,), _V),
    Function("delta", (_M,), _V),
    Function("deriv", (_M,), _V),
    Function("double_exponential_smoothing", (_M, _S, _S), _V, experimental=True),
    Function("end", (), _S, experimental=True),
    Function("exp", (_V,), _V),
    Function("first_over_time", (_M,), _V),
    Function("floor", (_V,), _V),
    Function("histogram_avg", (_V,), _V),
    Function("histogram_count", (_V,), _V),
    Function("histogram_fraction", (_S, _S, _V), _V),
    Function("histogram_quantile", (_S, _V), _V),
    Function("histogram_quantiles", (_V, _T, _S, _S), _V, variadic=9, experimental=True),
    Function("histogram_stddev", (_V,), _V),
    Function("histogram_stdvar", (_V,), _V),
    Function("histogram_sum", (_V,), _V),
    Function("hour", (_V,), _V, variadic=1),
    Function("idelta", (_M,), _V),
    Function("increase", (_M,), _V),
    Function("info", (_V, _V), _V, variadic=1, experimental=True),
    Function("irate", (_M,), _V),
    Function("label_join", (_V, _T, _T, _T), _V, variadic=-1),
    Function("label_replace", (_V, _T, _T, _T, _T), _V),
    Function("last_over_time", (_M,), _V),
    Function("ln", (_V,), _V),
    Function("log10", (_V,), _V),
    Function("log2", (_V,), _V),
    Function("mad_over_time", (_M,), _V, experimental=True),
    Function("max_of", (_S, _S), _S, experimental=True),
    Function("max_over_time", (_M,), _V),
    Function("min_of", (_S, _S), _S, experimental=True),
    Function("min_over_time", (_M,), _V),
    Function("minute", (_V,), _V, variadic=1),
    Function("month", (_V,), _V, variadic=1),
    Function("pi", (), _S),
    Function("predict_linear", (_M, _S), _V),
    Function("present_over_time", (_M,), _V),
    Function("quantile_over_time", (_S, _M), _V),
    Function("rad", (_V,), _V),
    Function("range", (), _S, experimental=True),
    Function("rate", (_M,), _V),
    Function("resets", (_M,), _V),
    Function("round", (_V, _S), _V, variadic=1),
    Function("scalar", (_V,), _S),
    Function("sgn", (_V,), _V),
    Function("sin", (_V,), _V),
    Function("sinh", (_V,), _V),
    Function("sort", (_V,), _V),
    Function("sort_by_label", (_V, _T), _V, variadic=-1, experimental=True),
    Function("sort_by_label_desc", (_V, _T), _V, variadic=-1, experimental=True),
    Function("sort_desc", (_V,), _V),
    Function("sqrt", (_V,), _V),
    Function("start", (), _S, experimental=True),
    Function("start_timestamp", (_V,), _V, experimental=True),
    Function("stddev_over_time", (_M,), _V),
    Function("stdvar_over_time", (_M,), _V),
    Function("step", (), _S, experimental=True),
    Function("sum_over_time", (_M,), _V),
    Function("tan", (_V,), _V),
    Function("tanh", (_V,), _V),
    Function("time", (), _S),
    Function("timestamp", (_V,), _V),
    Function("ts_of_first_over_time", (_M,), _V, experimental=True),
    Function("ts_of_last_over_time", (_M,), _V, experimental=True),
    Function("ts_of_max_over_time", (_M,), _V, experimental=True),
    Function("ts_of_min_over_time", (_M,), _V, experimental=True),
    Function("vector", (_S,), _V),
    Function("year", (_V,), _V, variadic=1),
)

FUNCTIONS = {function.name: function for function in _ALL}
