"""Aggregations over series, at all steps at once. Source: prometheus, promql/engine.go (aggregation, aggregationK)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mirubato.errors import QueryError
from mirubato.model.histogram import Histogram
from mirubato.model.labels import Labels, metric_name
from mirubato.model.samples import Float64s
from mirubato.promql import native_histograms, sums
from mirubato.promql.annotations import Annotations
from mirubato.promql.expressions import Aggregate
from mirubato.promql.grouping import Groups, dropping, grouped, is_name, keeping, with_label
from mirubato.promql.numbers import go_g, quoted
from mirubato.promql.range_functions import quantile_of_rows
from mirubato.promql.ratio import ratio_offsets
from mirubato.promql.values import Bools, Vector, empty_vector, no_histograms

Param = Float64s
"""A scalar parameter at each step."""


def aggregate(expr: Aggregate, vector: Vector, param: Float64s | str | None, notes: Annotations) -> Vector:
    """The aggregation of a vector; `param` is the scalar of topk and others, or the label of count_values."""
    if expr.op not in _WITH_HISTOGRAMS and vector.histograms is not None:
        choice = expr.op in _CHOICES
        if vector.native.any() and not (choice and isinstance(param, np.ndarray) and param.max() < 1):
            notes.info(f"ignored histogram in {expr.op} aggregation", (expr if choice else expr.expr).span)
        vector = vector.floats()
    if expr.op == "count_values":
        assert isinstance(param, str)
        if not is_name(param):
            raise QueryError(f"invalid label name {quoted(param)}")
        return _count_values(expr, vector, param)
    groups = groups_of(expr, vector.labels)
    if param is not None:
        assert isinstance(param, np.ndarray)
        return _PARAMETRIC[expr.op](vector, groups, param, expr, notes)
    if not len(vector):
        return vector
    if expr.op in ("sum", "avg"):
        return _totals(expr, vector, groups, notes)
    return _of_groups(groups, _REDUCTIONS[expr.op](vector, groups), vector.filled)


def groups_of(expr: Aggregate, labels: Sequence[Labels]) -> Groups:
    """The groups of an aggregation."""
    return grouped(labels, dropping(expr.grouping) if expr.without else keeping(expr.grouping))


def _of_groups(groups: Groups, values: Float64s, present: Bools) -> Vector:
    return Vector(groups.labels, values, _any(present, groups))


# --- sums along rows of a group ---------------------------------------------------------------------------------------


def _reduced(values: Float64s, groups: Groups, reduction: np.ufunc) -> Float64s:
    """A reduction of the rows of each group."""
    order = np.argsort(groups.of, kind="stable")
    ordered = values if (order[1:] > order[:-1]).all() else values[order]
    begins = np.concatenate([[0], np.cumsum(np.bincount(groups.of))[:-1]])
    result: Float64s = reduction.reduceat(ordered, begins, axis=0)
    return result


def _counts(mask: Bools, groups: Groups) -> Float64s:
    if len(groups.labels) == 1:
        count: Float64s = np.count_nonzero(mask, axis=0)[None, :].astype(np.float64)
        return count
    if mask.all():
        sizes = np.bincount(groups.of).astype(np.float64)
        return np.repeat(sizes[:, None], mask.shape[1], axis=1)
    return _reduced(mask.astype(np.float64), groups, np.add)


def _any(mask: Bools, groups: Groups) -> Bools:
    some: Bools = _counts(mask, groups) > 0
    return some


def _sums(vector: Vector, groups: Groups, *, mean: bool) -> Float64s:
    values = vector.values if vector.present.all() else np.where(vector.present, vector.values, 0.0)
    totals = _reduced(values, groups, np.add)
    sizes = totals if values.min(initial=0.0) >= 0 else _reduced(np.abs(values), groups, np.add)
    doubtful = sums.suspect(totals, sizes)
    if mean:
        totals = totals / np.maximum(_counts(vector.present, groups), 1)
    if doubtful.any():
        careful = sums.table_mean if mean else sums.table_sum
        for group, rows in enumerate(groups.rows()):
            at = np.flatnonzero(doubtful[group])
            if len(at):
                totals[group, at] = careful(values[rows][:, at].T, vector.present[rows][:, at].T)
    return totals


def _squares(vector: Vector, groups: Groups) -> Float64s:
    """Mean square distance from the mean, series by series (Welford), so that equal values have none at all."""
    count, mean, squares = np.zeros((3, len(groups.labels), vector.values.shape[1]))
    for row, group in enumerate(groups.of.tolist()):
        on, x = vector.present[row], vector.values[row]
        count[group] += on
        delta = x - mean[group]
        moved = mean[group] + delta / np.maximum(count[group], 1)
        squares[group] = np.where(on, squares[group] + delta * (x - moved), squares[group])
        mean[group] = np.where(on, moved, mean[group])
    return squares / np.maximum(count, 1)


_REDUCTIONS: dict[str, Callable[[Vector, Groups], Float64s]] = {
    "count": lambda vector, groups: _counts(vector.filled, groups),
    "group": lambda vector, groups: np.ones((len(groups.labels), vector.values.shape[1])),
    "min": lambda vector, groups: _reduced(np.where(vector.present, vector.values, np.nan), groups, np.fmin),
    "max": lambda vector, groups: _reduced(np.where(vector.present, vector.values, np.nan), groups, np.fmax),
    "stdvar": _squares,
    "stddev": lambda vector, groups: np.sqrt(_squares(vector, groups)),
}
_CHOICES = frozenset(("topk", "bottomk"))
_WITH_HISTOGRAMS = frozenset(("sum", "avg", "count", "group", "count_values", "limitk", "limit_ratio"))


# --- sum and avg, of native histograms too ----------------------------------------------------------------------------


def _totals(expr: Aggregate, vector: Vector, groups: Groups, notes: Annotations) -> Vector:
    if not len(vector):
        return vector
    result = _of_groups(groups, _sums(vector, groups, mean=expr.op == "avg"), vector.present)
    if vector.histograms is None:
        return result
    native = vector.native
    result.histograms = no_histograms(result.present.shape)
    together = native_histograms.sum_histograms if expr.op == "sum" else native_histograms.avg_histograms
    for group, rows in enumerate(groups.rows()):
        for step in np.flatnonzero(native[rows].any(axis=0)).tolist():
            found = vector.histograms[rows, step].tolist()
            held: list[Histogram] = [one for one in found if one is not None]
            mixed = bool(result.present[group, step])
            if mixed:
                notes.warn("encountered a mix of histograms and floats for aggregation", expr.expr.span)
                result.present[group, step] = False
            if not mixed or native[rows, step][vector.filled[rows, step]][0]:
                other = next((row for row, one in enumerate(found) if one and one.custom != held[0].custom), 0)
                name = metric_name(vector.labels[rows[other]])
                total = together(held, notes.notify(expr.expr.span, metric=name))
                result.histograms[group, step] = None if mixed else total
    return result


# --- quantile, count_values -------------------------------------------------------------------------------------------


def _quantile(vector: Vector, groups: Groups, wanted: Param, expr: Aggregate, notes: Annotations) -> Vector:
    assert expr.param is not None
    for wrong, found in ((np.nan, np.isnan(wanted)), (wanted.max(), wanted > 1), (wanted.min(), wanted < 0)):
        if found.any():
            notes.warn(f"quantile value should be between 0 and 1, got {go_g(float(wrong))}", expr.param.span)
    values = np.zeros((len(groups.labels), vector.values.shape[1]))
    for group, rows in enumerate(groups.rows()):
        values[group] = quantile_of_rows(wanted, vector.values[rows].T, vector.present[rows].T)
    return _of_groups(groups, values, vector.present)


def _count_values(expr: Aggregate, vector: Vector, label: str) -> Vector:
    """A series for each value of each group, the value as a label."""
    grouping = expr.grouping if expr.without else (*expr.grouping, label)
    key = dropping(grouping) if expr.without else keeping(grouping)
    counts: dict[Labels, Float64s] = {}
    for row, labels in enumerate(vector.labels):
        for text, steps in _texts(vector, row):
            kept = key(with_label(labels, label, text))
            counts.setdefault(kept, np.zeros(vector.values.shape[1]))[steps] += 1
    if not counts:
        return empty_vector(vector.values.shape[1])
    values = np.array(list(counts.values()))
    return Vector(list(counts), values, values > 0)


def _texts(vector: Vector, row: int) -> list[tuple[str, list[int]]]:
    """What stands in a row, and at which steps."""
    found: dict[str, list[int]] = {}
    for step in np.flatnonzero(vector.present[row]).tolist():
        found.setdefault(_plain(float(vector.values[row, step])), []).append(step)
    if vector.histograms is not None:
        for step in np.flatnonzero(vector.native[row]).tolist():
            found.setdefault(native_histograms.text(vector.histograms[row, step]), []).append(step)
    return list(found.items())


def _plain(value: float) -> str:
    """A float as Go's `FormatFloat(value, 'f', -1, 64)` writes it."""
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    return np.format_float_positional(value, trim="-")


# --- topk and others: some of the series themselves -------------------------------------------------------------------


def _extremes(vector: Vector, groups: Groups, param: Param, expr: Aggregate, _: Annotations) -> Vector:
    """`topk` and `bottomk`: of equal values the series that comes first; NaN only where nothing else is left."""
    count = _whole(param, len(vector))
    kept, order = np.zeros_like(vector.present), []
    sign = -1.0 if expr.op == "topk" else 1.0
    for rows in groups.rows():
        values, present = vector.values[rows] * sign, vector.present[rows]
        unordered = np.isnan(values)
        ranked = np.lexsort((np.where(unordered, 0.0, values), unordered, ~present), axis=0)
        chosen = np.arange(len(rows))[:, None] < count
        mask = np.zeros_like(present)
        np.put_along_axis(mask, ranked, chosen, axis=0)
        kept[rows] = mask & present
        order += rows[ranked[:, 0]].tolist()
    return replace(vector, present=kept).take(np.array(order, np.int64)).compact()


def _whole(param: Param, most: int) -> Float64s:
    """Numbers of series: whole, not negative, no more than there are; QueryError for what is no number."""
    if param.max() < 1:
        return np.zeros_like(param)
    if np.isnan(param).any():
        raise QueryError("Parameter value is NaN")
    if param.min() <= -(2.0**63):
        raise QueryError(f"Scalar value {go_g(float(param.min()))} underflows int64")
    if param.max() >= 2.0**63:
        raise QueryError(f"Scalar value {go_g(float(param.max()))} overflows int64")
    return np.clip(np.trunc(param), 0, most)


def _first(vector: Vector, groups: Groups, param: Param, _: Aggregate, __: Annotations) -> Vector:
    """`limitk`: the first series of each group at each step."""
    count = _whole(param, len(vector))
    keep = np.zeros_like(vector.present)
    filled = vector.filled
    for rows in groups.rows():
        keep[rows] = np.cumsum(filled[rows], axis=0) <= count
    return vector.only(keep & filled)


def _share(vector: Vector, _: Groups, param: Param, expr: Aggregate, notes: Annotations) -> Vector:
    """`limit_ratio`: series whose hash lies in the wanted part; a negative ratio takes the others."""
    assert expr.param is not None
    if not param.any():
        return vector.take(slice(0))
    if np.isnan(param).any():
        raise QueryError("Ratio value is NaN")
    for ratio, cap in ((param.max(), 1.0), (param.min(), -1.0)):
        if ratio * cap > 1:
            text = f"ratio value should be between -1 and 1, got {go_g(float(ratio))}, capping to {go_g(cap)}"
            notes.warn(text, expr.param.span)
    ratios = np.clip(param, -1, 1)
    offset = ratio_offsets(vector.labels)[:, None]
    return vector.only(np.where(ratios >= 0, offset < ratios, offset >= 1 + ratios) & (ratios != 0))


_PARAMETRIC: dict[str, Callable[[Vector, Groups, Param, Aggregate, Annotations], Vector]] = {
    "quantile": _quantile,
    "topk": _extremes,
    "bottomk": _extremes,
    "limitk": _first,
    "limit_ratio": _share,
}
