"""Analytics Engine SQL for the metrics of a layout, weighted by what sampling left out.

Analytics Engine keeps some rows for all: each says in `_sample_interval` how many it stands for, and that differs from
row to row. So every number here is a sum over `_sample_interval * double`, or a quantile with it as the weight.
Minimum, maximum and "the last value" cannot be corrected that way, and are not offered.
Source: developers.cloudflare.com/analytics/analytics-engine/{sampling,sql-reference}.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from mirubato.analytics_engine.dialect import check_dataset
from mirubato.analytics_engine.event_points import current_limits
from mirubato.analytics_engine.layout import DOUBLES, Layout
from mirubato.analytics_engine.mapping import bounds_text
from mirubato.errors import BadQuery

REQUESTS: Final = "http.server.request.duration"

_UNITS_S: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNIT_NAMES: Final = ((86_400, "DAY"), (3600, "HOUR"), (60, "MINUTE"), (1, "SECOND"))
_DURATION: Final = r"\d+[smhdw]"
_QUESTION: Final = re.compile(
    r"\s*(?P<what>error rate|rate|count|sum|mean|p\d{1,2}(?:\.\d+)?)"
    r"(?:\s+of\s+(?P<metric>[\w./-]+)(?:\s+\((?P<kind>\w+)\))?)?"
    r"(?:\s+by\s+(?P<by>[\w.-]+(?:\s*,\s*(?!last\b|every\b)[\w.-]+)*))?"
    r"(?:\s+where\s+(?P<where>[\w.-]+\s*=\s*[^\s,]+(?:\s+and\s+[\w.-]+\s*=\s*[^\s,]+)*))?"
    rf"(?:\s*,?\s*last\s+(?P<last>{_DURATION}))?"
    rf"(?:\s*,?\s*every\s+(?P<every>{_DURATION}))?\s*"
)


@dataclass(frozen=True)
class Question:
    """What to ask of one metric.

    `what`: count (of observations, or what a counter counted), rate (count per second), sum (of what was observed),
    mean, `error rate` (failed / all: a status of 5xx or an error.type), or a quantile as `p95`. `kind` "" is a
    histogram where the layout knows bounds, else a counter. `by` and `where` name attributes that have a slot.
    `last_s` and `every_s` are seconds; 0 for `every_s` is one row for the whole time.
    """

    what: str
    metric: str = REQUESTS
    kind: str = ""
    by: tuple[str, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    last_s: int = 3600
    every_s: int = 0


def question(text: str) -> Question:
    """The question in words; BadQuery, which says their form, if it is not one.

    `WHAT [of METRIC [(KIND)]] [by A, B] [where A=V and B=V] [, last 1h] [, every 5m]`
    """
    found = _QUESTION.fullmatch(text)
    if not found:
        raise BadQuery(
            "a question is: error rate|rate|count|sum|mean|p95 [of METRIC [(KIND)]] [by A, B] [where A=V and B=V] "
            "[last 1h] [every 5m]"
        )
    pairs = re.split(r"\s+and\s+", found["where"]) if found["where"] else []
    return Question(
        found["what"],
        found["metric"] or REQUESTS,
        found["kind"] or "",
        tuple(re.split(r"\s*,\s*", found["by"])) if found["by"] else (),
        {name.strip(): value.strip() for name, _, value in (pair.partition("=") for pair in pairs)},
        _seconds(found["last"] or "1h"),
        _seconds(found["every"] or "0s"),
    )


def statement(asked: Question, layout: Layout, dataset: str) -> str:
    """The SQL, one line; BadQuery where it could not be right: no slot, no bounds, a value that cannot be weighted."""
    check_dataset(dataset)
    kind = asked.kind or ("histogram" if layout.bounds(asked.metric) else "counter")
    if kind not in DOUBLES:
        raise BadQuery(f"{kind!r} is no kind; there are {', '.join(DOUBLES)}")
    groups = _groups(asked, layout)
    filters = _filters(asked, layout, kind)
    if asked.what.startswith("p") and kind == "histogram":
        return _histogram_quantile(asked, layout, groups, f"FROM {dataset} WHERE {filters}")
    selected = ", ".join([*_selected(groups), f"{_value(asked, layout, kind)} AS value"])
    # Texts are quoted by _text, names are checked: this prints a statement, it runs none.
    return f"SELECT {selected} FROM {dataset} WHERE {filters}{_grouped(groups)}{_ordered(groups)}"  # noqa: S608


def _groups(asked: Question, layout: Layout) -> dict[str, str]:
    """Expressions of the groups by their aliases."""
    groups = {"t": f"toStartOfInterval(timestamp, {_interval(asked.every_s)})"} if asked.every_s else {}
    for name in asked.by:
        alias = re.sub(r"\W", "_", name)
        if alias in {*groups, "value"}:
            raise BadQuery(f"two columns would be called {alias}")
        groups[alias] = _blob(asked.metric, name, layout)
    return groups


def _selected(groups: Mapping[str, str]) -> list[str]:
    return [f"{expression} AS {alias}" for alias, expression in groups.items()]


def _grouped(groups: Mapping[str, str]) -> str:
    return f" GROUP BY {', '.join(groups)}" if groups else ""


def _ordered(groups: Mapping[str, str]) -> str:
    return f" ORDER BY {'t' if 't' in groups else 'value DESC'}" if groups else ""


def _filters(asked: Question, layout: Layout, kind: str) -> str:
    fixed = [
        f"timestamp >= now() - {_interval(asked.last_s)}",
        f"blob1 = {_text(asked.metric)}",
        f"blob2 LIKE {_text(layout.name + '/%')}",  # any version: positions do not drift
        f"blob3 = {_text(kind)}",
    ]
    return " AND ".join(
        fixed + [f"{_blob(asked.metric, name, layout)} = {_text(value)}" for name, value in asked.where.items()]
    )


def _value(asked: Question, layout: Layout, kind: str) -> str:
    """The expression of what is asked."""
    doubles = DOUBLES[kind]
    if asked.what.startswith("p"):
        if "value" not in doubles or kind == "counter":
            raise BadQuery(f"no quantile can be had of the kind {kind}")
        return f"quantileExactWeighted({_share(asked.what)})({_double(kind, 'value')}, _sample_interval)"
    if kind in {"gauge", "updown"}:
        if asked.what != "mean":
            raise BadQuery(f"rows of the kind {kind} are not to be added up: ask for the mean or a quantile")
        return f"{_total(kind, 'value')} / sum(_sample_interval)"
    if kind == "counter" and asked.what in {"mean", "sum"}:
        raise BadQuery("a counter has a count and a rate")
    count = _total(kind, "value" if kind == "counter" else "count")
    if asked.what == "error rate":
        return f"{_total(kind, doubles[2], _failed(asked.metric, layout))} / {count}"
    of_count = {"count": count, "rate": f"{count} / {asked.every_s or asked.last_s}"}
    return (
        of_count.get(asked.what)
        or {
            "sum": _total(kind, "sum"),
            "mean": f"{_total(kind, 'sum')} / {count}",
        }[asked.what]
    )


def _failed(metric: str, layout: Layout) -> str:
    conditions = []
    if number := layout.blob(metric, "error.type"):
        conditions.append(f"blob{number} <> ''")
    numbers = (layout.blob(metric, name) for name in ("http.response.status_code", "http.status_code"))
    conditions += [f"blob{number} LIKE '5%'" for number in numbers if number]
    if not conditions:
        raise BadQuery(f"{metric} has a slot neither for error.type nor for a status code in {layout.tag}")
    return " OR ".join(conditions)


def _histogram_quantile(asked: Question, layout: Layout, groups: Mapping[str, str], source: str) -> str:
    """Interpolated within its bucket, as Prometheus' histogram_quantile does; past the last bound it is that bound."""
    bounds = layout.bounds(asked.metric)
    first = len(DOUBLES["histogram"]) + 1
    if not bounds or len(bounds) > current_limits().doubles - first + 1:
        raise BadQuery(f"{layout.tag} has no bounds of {asked.metric}, or more than fit in one event point")
    columns = [f"double{number}" for number in range(first, first + len(bounds))]
    below = [f"sum(_sample_interval * ({' + '.join(columns[: n + 1])})) AS c{n + 1}" for n in range(len(bounds))]
    inner = ", ".join([*_selected(groups), f"{_total('histogram', 'count')} AS n", *below])
    subquery = f"SELECT {inner} {source} AND blob7 = {_text(bounds_text(bounds))}{_grouped(groups)} HAVING n > 0"
    rank = f"{_share(asked.what)} * n"
    value = _number(bounds[-1])
    for n in reversed(range(len(bounds))):
        low, high = (bounds[n - 1] if n else min(bounds[0], 0.0)), bounds[n]
        before = f"c{n}" if n else "0"
        inside = f"{_number(low)} + {_number(_width(low, high))} * ({rank} - {before}) / (c{n + 1} - {before})"
        value = f"if({rank} <= c{n + 1}, {inside}, {value})"
    return f"SELECT {', '.join([*groups, f'{value} AS value'])} FROM ({subquery}){_ordered(groups)}"  # noqa: S608


def _blob(metric: str, name: str, layout: Layout) -> str:
    number = layout.blob(metric, name)
    if number is None:
        raise BadQuery(
            f"{name} of {metric} has no slot in the layout {layout.tag}: add it behind the last of its blobs"
        )
    return f"blob{number}"


def _double(kind: str, name: str) -> str:
    return f"double{DOUBLES[kind].index(name) + 1}"


def _total(kind: str, name: str, condition: str = "") -> str:
    """The weighted sum of a double, of the rows for which the condition holds."""
    weighted = f"_sample_interval * {_double(kind, name)}"
    return f"sumIf({weighted}, {condition})" if condition else f"sum({weighted})"


def _share(what: str) -> str:
    """p95 -> 0.95."""
    return repr(round(float(what[1:]) / 100, 10))


def _width(low: float, high: float) -> float:
    """0.1 - 0.075 is 0.025."""
    return float(Decimal(repr(high)) - Decimal(repr(low)))


def _number(value: float) -> str:
    return f"({value!r})" if value < 0 else repr(value)


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * _UNITS_S[duration[-1]]


def _interval(seconds: int) -> str:
    size, unit = next(pair for pair in _UNIT_NAMES if seconds % pair[0] == 0)
    return f"INTERVAL '{seconds // size}' {unit}"
