"""Data and expressions for the comparison with Prometheus, made by hypothesis as text: what fails can be read and run.

Unlike `grammar`, which makes whatever parses, these expressions are about the metrics of the data, and most have an
answer.
"""

from collections.abc import Sequence

from hypothesis import strategies as st

INTERVAL = "15s"
LAST_S = 600
"""No series of the data is longer."""

NUMBERS = st.sampled_from(["0", "1", "2", "0.5", "-1", "3.7", "10", "100", "1e3", "-0.25", "NaN", "Inf", "-Inf"])
FACTORS = st.sampled_from(["0", "1", "2", "0.5", "-1", "10"])
QUANTILES = st.sampled_from(["0", "0.5", "0.9", "0.99", "1", "0.25", "-0.1", "1.1", "NaN"])
DURATIONS = st.sampled_from(["15s", "20s", "30s", "1m", "90s", "2m", "5m", "47s", "3m"])
OFFSETS = st.sampled_from(["", "", "", "", " offset 30s", " offset -45s", " offset 1m", " @ 120", " @ 61", " @ end()"])
RESOLUTIONS = st.sampled_from(["", "10s", "15s", "30s", "7s", "1m"])

COUNTERS = [f'c_total{{a="{a}",b="{b}"}}' for a in "xy" for b in "12"]
GAUGES = [*(f'g{{a="{a}",b="{b}"}}' for a in "xy" for b in "12"), 'g{a="z"}', 'q{a="x"}', 'q{a="y"}']
BUCKETS = [f'b_bucket{{a="{a}",le="{le}"}}' for a in "xy" for le in ("0.1", "1", "5", "+Inf")]
NATIVES = ['h{a="x"}', 'h{a="y"}', 'n{a="x"}', 'n{a="y"}']
INFOS = ['target_info{a="x",v="1"}', 'target_info{a="y",v="2"}']


# Data. --------------------------------------------------------------------------------------------------------------


@st.composite
def values(draw: st.DrawFn, runs: st.SearchStrategy[str], most: int = 4) -> str:
    """Runs of values with gaps, markers and oddities between them."""
    breaks = st.sampled_from(["_x2", "_x6", "_x22", "stale", "NaN", "Inf", "_", "", "", "", ""])
    parts = []
    for _ in range(int(draw(st.sampled_from([str(count) for count in range(1, most + 1)])))):
        parts += [draw(breaks), draw(runs)]
    return " ".join(part for part in parts if part)


RISING = st.sampled_from(["0+1x8", "5+10x6", "100+0.5x4", "0x5", "1000+1x10", "3", "7+0.1x3", "1+33x2", "0+1x1"])
ANY_WAY = st.sampled_from(
    ["1+2x5", "10-3x6", "0x4", "-5+1x3", "2.5", "1 5 2 8 3", "1e6-7x3", "0.1+0.1x5", "3 3 3 4 4", "1e-3+1e-4x4"]
)
UNEVEN = st.lists(st.integers(-(10**9), 10**9).map(lambda number: repr(number / 1000)), min_size=3, max_size=8).map(
    " ".join
)
FALLING_IN = st.sampled_from(["0+{}x12", "0+{}x5 1+{}x6", "3+{}x8", "{}x4"])
HINTS = ["gauge", "gauge", "reset", "not_reset"]
H = "{{schema:%d count:%d sum:%s z_bucket:%d z_bucket_w:%s offset:%d buckets:[%s] n_buckets:[%s]}}"
EXPONENTIAL = st.sampled_from(
    [
        H % (0, 10, "21.5", 1, "0.001", 0, "1 3 5", "") + "+" + H % (0, 4, "6", 1, "0.001", 0, "1 1 1", "") + "x6",
        H % (1, 9, "4", 0, "0.001", -1, "2 3 4", "") + "x3",
        H % (1, 6, "-4", 0, "0.001", 0, "1", "2 3") + "+" + H % (1, 2, "1", 0, "0.001", 0, "1", "1") + "x4",
        H % (0, 5, "9", 2, "0.5", 1, "1 2", "") + "x2",
        H % (2, 3, "3", 0, "0", 3, "1 0 0 2", "") + "x3",
        H % (0, 0, "0", 0, "0", 0, "0", "") + "x2",
        *(H[:-2] % (0, 5, "9", 0, "0.001", 1, "1 4", "") + f" counter_reset_hint:{hint}}}}}x3" for hint in HINTS),
    ]
)
C = "{{schema:-53 count:%d sum:%s custom_values:[%s] buckets:[%s]}}"
CUSTOM = st.sampled_from(
    [
        C % (10, "31", "1 5 10", "2 5 2 1") + "+" + C % (4, "20", "1 5 10", "1 1 1 1") + "x6",
        C % (6, "9", "1 5 10", "3 2 1") + "x4",
        C % (6, "12", "1 10", "3 2 1") + "x3",
    ]
)


@st.composite
def data(draw: st.DrawFn) -> str:
    """A `load` of the test language with some series of every kind."""
    lines = [f"load {INTERVAL}"]
    for names, runs in ((COUNTERS, RISING), (GAUGES, st.one_of(ANY_WAY, ANY_WAY, UNEVEN)), (INFOS, st.just("1x20"))):
        lines += [f"  {name} {draw(values(runs))}" for name in _some(draw, names)]
    steps = draw(FALLING_IN)
    rises = {"0.1": 1, "1": 3, "5": 3, "+Inf": 4}
    for name in _some(draw, BUCKETS, at_least=4):
        le = name.split('le="')[1].rstrip('"}')
        lines.append(f"  {name} {steps.replace('{}', str(rises[le]))}")
    for name in _some(draw, NATIVES):
        runs = CUSTOM if name.startswith("n") else EXPONENTIAL
        mixed = st.one_of(runs, runs, runs, ANY_WAY) if 'a="y"' in name else runs
        lines.append(f"  {name} {draw(values(mixed, most=2))}")
    return "\n".join(lines)


def _some(draw: st.DrawFn, names: Sequence[str], at_least: int = 1) -> list[str]:
    """Most of the names, in any order."""
    kept = draw(st.permutations(names).map(" ".join)).split(" ")
    return kept[: max(at_least, len(kept) - int(draw(st.sampled_from("00012"))))]


# Expressions. -------------------------------------------------------------------------------------------------------

METRICS = st.sampled_from(["c_total", "g", "g", "q", "b_bucket", "h", "n", "nothing", "c_total", '{__name__=~"g|q"}'])
PLAIN = ["abs", "ceil", "floor", "sgn", "exp", "sqrt", "ln", "log2", "log10", "round", "sort", "sort_desc", "timestamp"]
PLAIN += ["sin", "cos", "tan", "atan", "sinh", "cosh", "tanh", "asinh", "acos", "asin", "acosh", "atanh", "deg", "rad"]
PLAIN += ["absent"]
PLAIN += ["histogram_count", "histogram_sum", "histogram_avg", "histogram_stddev", "histogram_stdvar"]
OVER_TIME = ["rate", "increase", "delta", "irate", "idelta", "changes", "resets", "deriv", "absent_over_time"]
OVER_TIME += [f"{one}_over_time" for one in ("avg", "sum", "count", "min", "max", "last", "first", "present")]
OVER_TIME += [f"{one}_over_time" for one in ("stddev", "stdvar", "mad", "ts_of_first", "ts_of_last", "ts_of_max")]
OVER_TIME += ["ts_of_min_over_time", "rate", "increase", "rate"]
CALENDAR = ["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"]
AGGREGATIONS = ["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "sum", "avg"]
GROUPING = st.sampled_from(["", "", " by (a)", " by (a, b)", " without (b)", " without (a)", " by (le)", " by (a, le)"])
ARITHMETIC = st.sampled_from(["+", "-", "*", "/", "%", "^", "atan2"])
COMPARISON = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
TRIMMING = st.sampled_from(["</", ">/"])
MATCHING = st.sampled_from(
    [
        *[""] * 4,
        "on (a)",
        "on (a, b)",
        "on ()",
        "ignoring (b)",
        "ignoring (le)",
        "on (a) group_left ()",
        "on (a) group_left ()",
        "on (a) group_left (v)",
        "on (a) group_right ()",
        "ignoring (b) group_right ()",
        "fill (0)",
        "on (a) fill_left (1)",
        "on (a, b) fill_right (3)",
        "on (a) group_left () fill_right (2)",
    ]
)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2) -> str:
    """Any expression that has an instant vector or a scalar for its value."""
    kinds = ["vector"] * 9 + ["scalar"]
    return draw(vectors(depth)) if draw(st.sampled_from(kinds)) == "vector" else draw(scalars(depth))


def vectors(depth: int) -> st.SearchStrategy[str]:
    """Expressions of instant vectors, nested up to `depth` times."""
    if depth <= 0:
        return st.one_of(selectors(), selectors(), ranged(0), NUMBERS.map("vector({})".format))
    return st.one_of(
        selectors(),
        ranged(depth - 1),
        ranged(depth - 1),
        functions(depth - 1),
        aggregations(depth - 1),
        aggregations(depth - 1),
        binaries(depth - 1),
        binaries(depth - 1),
        labelled(depth - 1),
    )


@st.composite
def matchers(draw: st.DrawFn) -> str:
    """Braces, most often empty ones."""
    one = st.sampled_from(["", "", "", 'a="x"', 'b="1"', 'a!="x"', 'a=~"x|y"', 'b=~".+"', 'b=""', 'a!~"x"'])
    return f"{{{draw(one)}}}"


@st.composite
def selectors(draw: st.DrawFn) -> str:
    """An instant vector selector."""
    return draw(selectors_of(edges_after=draw(st.sampled_from([*[""] * 12, " smoothed", " anchored"]))))


@st.composite
def ranged(draw: st.DrawFn, depth: int) -> str:
    """A function of a range vector; of a subquery now and then."""
    edges = draw(st.sampled_from(["", "", "", "", "", "", " anchored", " smoothed"]))
    if edges:
        name = draw(st.sampled_from(["rate", "increase", "delta", "changes", "resets"]))
        return f"{name}({draw(selectors_of(edges_after=f'[{draw(DURATIONS)}]{edges}'))})"
    samples = draw(range_vectors(depth))
    # Of steps before 1970, which only subqueries have, Prometheus 3.14 says that the last was in 1970.
    forms = [f"{name}({samples})" for name in OVER_TIME if name != "ts_of_last_over_time" or ":" not in samples]
    # Prometheus 3.14 answers nothing to predict_linear of a subquery with an `@`.
    straight = draw(selectors_of(edges_after=f"[{draw(DURATIONS)}]")) if "@" in samples else samples
    forms += [f"quantile_over_time({draw(QUANTILES)}, {samples})", f"predict_linear({straight}, {draw(NUMBERS)})"] * 3
    return draw(st.sampled_from([*forms, f"double_exponential_smoothing({samples}, 0.3, 0.6)"]))


@st.composite
def selectors_of(draw: st.DrawFn, edges_after: str) -> str:
    """A selector with something between its braces and its offset."""
    metric, braces = draw(METRICS), draw(matchers())
    return (metric if metric.startswith("{") else metric + braces) + edges_after + draw(OFFSETS)


@st.composite
def range_vectors(draw: st.DrawFn, depth: int) -> str:
    """A range of samples, or a subquery."""
    duration = draw(DURATIONS)
    if draw(st.sampled_from(["range", "range", "range", "subquery"])) == "range":
        return draw(selectors_of(edges_after=f"[{duration}]"))
    return f"({draw(vectors(depth))})[{duration}:{draw(RESOLUTIONS)}]{draw(OFFSETS)}"


@st.composite
def functions(draw: st.DrawFn, depth: int) -> str:
    """A function of an instant vector."""
    inner = draw(vectors(depth))
    numbers = f"{draw(NUMBERS)}, {draw(NUMBERS)}"
    plain = f"{draw(st.sampled_from(PLAIN))}({inner})"
    quantile = f"histogram_quantile({draw(QUANTILES)}, {inner})"
    others = [f"clamp({inner}, {numbers})", f"clamp_min({inner}, 1)", f"clamp_max({inner}, 3)", f"-({inner})"]
    others += [f"round({inner}, {draw(NUMBERS)})", f"histogram_fraction({numbers}, {inner})"]
    others += [f'histogram_quantiles({inner}, "q", 0.5, 0.9)', f"info({inner})", f'info({inner}, {{v=~".+"}})']
    others += [f'sort_by_label({inner}, "a")', f"start_timestamp({inner})"]
    # What year NaN is in depends on the processor.
    others += [f"{draw(st.sampled_from(CALENDAR))}({inner} * 1e6 > -1e11 < 1e11)"]
    return draw(st.sampled_from([*[plain] * 12, *[quantile] * 4, *others]))


@st.composite
def aggregations(draw: st.DrawFn, depth: int) -> str:
    """An aggregation, with a parameter now and then."""
    grouping = draw(GROUPING)
    if draw(st.integers(0, 5)) == 0:
        # Which of several equal ones is taken depends on their order, which is a secret: their sum does not.
        chosen = f"topk{grouping} ({draw(st.integers(0, 3))}, {draw(vectors(depth))})"
        return draw(st.sampled_from([f"sum({chosen})", f"sum({chosen.replace('topk', 'bottomk', 1)})"]))
    if draw(st.integers(0, 15)) == 0:
        return f"count(limitk{grouping} (1, {draw(vectors(depth))}))"
    if draw(st.integers(0, 15)) == 0:
        # Only of what is exact: the last digit of a sine is another in C and in Go, and so is the label.
        return f'count_values{grouping} ("v", {draw(selectors())})'
    inner, plain = draw(vectors(depth)), (draw(st.sampled_from(AGGREGATIONS)), "")
    others = [("quantile", f"{draw(QUANTILES)}, ")] * 2
    others += [("limit_ratio", f"{ratio}, ") for ratio in ("0.5", "-0.5", "1", "0.1")]
    name, parameter = draw(st.sampled_from([*[plain] * 8, *others]))
    return f"{name}{grouping} ({parameter}{inner})"


@st.composite
def binaries(draw: st.DrawFn, depth: int) -> str:
    """Two operands and what stands between them."""
    lhs = draw(vectors(depth))
    kind = draw(st.sampled_from(["arithmetic", "arithmetic", "comparison", "bool", "set", "scalar", "scalar"]))
    if kind == "scalar":
        sign = draw(st.one_of(ARITHMETIC, COMPARISON, COMPARISON.map("{} bool".format), TRIMMING))
        pair = [f"({lhs})", draw(scalars(depth))]
        return f" {sign} ".join(pair if draw(st.sampled_from("lr")) == "l" else reversed(pair))
    rhs, matching = draw(vectors(depth)), draw(MATCHING)
    if "fill" in matching:
        # Floats only: two that do not go together count as no pair in Prometheus, and its right one is filled.
        lhs, rhs = f"{lhs} > -Inf", f"{rhs} > -Inf"
    if kind == "set":
        sign = draw(st.sampled_from(["and", "or", "unless"]))
        return f"({lhs}) {sign} {matching.split(' group')[0].split(' fill')[0].removeprefix('fill (0)')} ({rhs})"
    sign = draw(ARITHMETIC if kind == "arithmetic" else COMPARISON) + (" bool" if kind == "bool" else "")
    return f"({lhs}) {sign} {matching} ({rhs})"


@st.composite
def labelled(draw: st.DrawFn, depth: int) -> str:
    """label_replace and label_join."""
    inner = draw(vectors(depth))
    forms = ['label_replace(%s, "b", "$1z", "a", "(.*)")', 'label_replace(%s, "new", "${1}", "a", "x(.*)")']
    forms += ['label_join(%s, "j", "-", "a", "b")', 'label_replace(%s, "a", "", "a", "y")', 'label_join(%s, "b", "")']
    return draw(st.sampled_from(forms)).replace("%s", inner)


def scalars(depth: int) -> st.SearchStrategy[str]:
    """Expressions of scalars."""
    if depth <= 0:
        return st.one_of(NUMBERS, FACTORS, st.sampled_from(["time()", "pi()", "1m", "step()", "start()"]))
    return st.one_of(
        NUMBERS,
        vectors(depth - 1).map("scalar({})".format),
        st.tuples(scalars(0), ARITHMETIC, scalars(0)).map(" ".join).map("({})".format),
        st.tuples(scalars(0), COMPARISON, scalars(0)).map(" bool ".join).map(_spaced),
    )


def _spaced(text: str) -> str:
    """`1 bool < bool 2` -> `(1 < bool 2)`."""
    lhs, sign, rhs = text.split(" bool ")
    return f"({lhs} {sign} bool {rhs})"
