"""Functions of histograms: classic ones, of series with an `le` label, and native ones.

Source: prometheus, promql/functions.go and promql/quantile.go.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mirubato.model.histogram import Histogram
from mirubato.model.labels import Labels, format_value
from mirubato.model.samples import Float64s, Int64s
from mirubato.promql import native_histograms as native
from mirubato.promql.annotations import Annotations
from mirubato.promql.evaluation import Evaluation, string_of
from mirubato.promql.expressions import Call, Expr, Span
from mirubato.promql.grouping import with_label
from mirubato.promql.numbers import go_g
from mirubato.promql.quantiles import bucket_fraction, bucket_quantile
from mirubato.promql.values import Bools, Vector, merged, stacked, without_name

_BUCKET = "le"


# --- one number of each native histogram ------------------------------------------------------------------------------


def _of_each(evaluation: Evaluation, vector: Vector, function: Callable[[Histogram, int], float]) -> Vector:
    """A function of each histogram and its step; floats are left out."""
    steps = len(evaluation.times)
    if vector.histograms is None:
        return vector.take(slice(0))
    native_cells = vector.native
    values = np.zeros((len(vector), steps))
    for row, step in np.argwhere(native_cells).tolist():
        values[row, step] = function(vector.histograms[row, step], step)
    return Vector(vector.labels, values, native_cells, one_name=vector.one_name).compact().unnamed()


_SIMPLE: dict[str, Callable[[Histogram], float]] = {
    "histogram_avg": native.average,
    "histogram_count": lambda one: one.count,
    "histogram_stddev": native.stddev,
    "histogram_stdvar": native.stdvar,
    "histogram_sum": lambda one: one.sum,
}


def _simple(evaluation: Evaluation, expr: Call) -> Vector:
    function = _SIMPLE[expr.function.name]
    return _of_each(evaluation, evaluation.vector(expr.args[0]), lambda one, _: function(one))


# --- quantiles and fractions ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Split:
    """The histograms of a vector: native ones, and the buckets of classic ones."""

    native: Vector
    classic: list["_Classic"]


@dataclass(frozen=True, slots=True)
class _Classic:
    """Classic histograms with the same bounds: `uppers` [buckets], `counts` and `present` [groups, buckets, steps]."""

    labels: Sequence[Labels]
    uppers: Float64s
    counts: Float64s
    present: Bools


def _split(evaluation: Evaluation, vector: Vector, argument: Expr) -> _Split:
    by_labels: dict[Labels, list[tuple[float, int]]] = {}
    for row, labels in enumerate(vector.labels):
        if vector.histograms is not None and not vector.present[row].any():
            continue
        bound = next((value for name, value in labels if name == _BUCKET), "")
        upper = _bound(bound)
        if upper is None:
            text = f'bucket label "{_BUCKET}" is missing or has a malformed value of "{bound}"'
            evaluation.notes.warn(text, argument.span)
            continue
        by_labels.setdefault(_without_bucket(labels), []).append((upper, row))
    if vector.histograms is None:
        return _Split(vector.take(slice(0)), list(_classic(vector, by_labels)))
    return _apart(evaluation, vector, by_labels, argument)


def _bound(text: str) -> float | None:
    """A bound as Go's ParseFloat reads it."""
    try:
        return float(text)
    except ValueError:
        return None


def _without_bucket(labels: Labels) -> Labels:
    return tuple([pair for pair in labels if pair[0] != _BUCKET])


def _classic(vector: Vector, by_labels: dict[Labels, list[tuple[float, int]]]) -> Iterator[_Classic]:
    """Groups of equal bounds, each one set of arrays."""
    by_bounds: dict[tuple[float, ...], list[tuple[Labels, list[int]]]] = {}
    for labels, buckets in by_labels.items():
        buckets.sort()
        bounds = tuple(upper for upper, _ in buckets)
        by_bounds.setdefault(bounds, []).append((labels, [row for _, row in buckets]))
    for bounds, groups in by_bounds.items():
        rows = np.array([rows for _, rows in groups], np.int64)
        names = [labels for labels, _ in groups]
        yield _Classic(names, np.array(bounds), vector.values[rows], vector.present[rows])


def _apart(
    evaluation: Evaluation, vector: Vector, by_labels: dict[Labels, list[tuple[float, int]]], argument: Expr
) -> _Split:
    """Where a classic and a native histogram have the same labels at one step, neither counts."""
    assert vector.histograms is not None
    cells, present = vector.native, vector.present.copy()
    for row, labels in enumerate(vector.labels):
        rows = [one for _, one in by_labels.get(labels, ())]
        clash = cells[row] & present[rows].any(axis=0)
        if clash.any():
            evaluation.notes.warn("vector contains a mix of classic and native histograms", argument.span)
            cells[row] &= ~clash
            for one in rows:
                present[one] &= ~clash
    natives = Vector(vector.labels, vector.values, np.zeros_like(cells), vector.histograms).only(cells)
    classic = Vector(vector.labels, vector.values, present)
    return _Split(natives, list(_classic(classic, by_labels)))


def _quantile(evaluation: Evaluation, expr: Call) -> Vector:
    wanted = evaluation.scalar(expr.args[0])
    vector = evaluation.vector(expr.args[1])
    check_quantile(evaluation.notes, wanted, expr.args[0].span)
    split = _split(evaluation, vector, expr.args[1])
    return merged(stacked(_quantiles(evaluation, split, wanted, expr.args[0], expr.args[1]), len(evaluation.times)))


def check_quantile(notes: Annotations, wanted: Float64s, span: Span) -> None:
    """Warn of each quantile (one for each step) that cannot be."""
    for one in np.unique(wanted[~((wanted >= 0) & (wanted <= 1))]).tolist():
        notes.warn(f"quantile value should be between 0 and 1, got {go_g(one)}", span)


def _quantiles(
    evaluation: Evaluation, split: _Split, wanted: Float64s, native_span: Expr, classic_span: Expr
) -> Iterator[Vector]:
    notify = evaluation.notes.notify(native_span.span)

    def of(one: Histogram, step: int) -> float:
        return native.quantile(float(wanted[step]), one, notify)

    yield _of_each(evaluation, split.native, of)
    for classic in split.classic:
        evaluation.budget.check()
        found = bucket_quantile(wanted, classic.uppers, classic.counts, classic.present)
        if found.forced is not None:
            at = found.forced
            times = evaluation.times[at.steps].tolist()
            evaluation.notes.forced_monotonicity(classic_span.span, times, at.lowest, at.highest, at.difference)
        yield _of_classic(classic, found.values)


def _of_classic(classic: _Classic, values: Float64s) -> Vector:
    names = [without_name(labels) for labels in classic.labels]
    some: Bools = np.logical_or.reduce(classic.present, axis=1)
    return Vector(names, values, some).compact()


def _many_quantiles(evaluation: Evaluation, expr: Call) -> Vector:
    """`histogram_quantiles`: several at once, told apart by a label."""
    label = string_of(expr.args[1])
    split = _split(evaluation, evaluation.vector(expr.args[0]), expr.args[0])
    parts: list[Vector] = []
    for argument in expr.args[2:]:
        wanted = evaluation.scalar(argument)
        check_quantile(evaluation.notes, wanted, argument.span)
        for part in _quantiles(evaluation, split, wanted, expr.args[0], expr.args[0]):
            parts += _labelled(part, label, wanted)
    return merged(stacked(parts, len(evaluation.times)))


def _labelled(part: Vector, label: str, wanted: Float64s) -> Iterator[Vector]:
    """A quantile may be another one at each step."""
    for one in np.unique(wanted).tolist():
        same: Int64s | Bools = np.isnan(wanted) if math.isnan(one) else wanted == one
        kept = part.only(np.broadcast_to(same, part.present.shape))
        text = format_value(one) if not one.is_integer() else f"{format_value(one)}.0"
        kept.labels = [with_label(labels, label, text) for labels in kept.labels]
        yield kept


def _fraction(evaluation: Evaluation, expr: Call) -> Vector:
    lower, upper = evaluation.scalar(expr.args[0]), evaluation.scalar(expr.args[1])
    split = _split(evaluation, evaluation.vector(expr.args[2]), expr.args[2])

    notify = evaluation.notes.notify(expr.args[0].span)

    def of(one: Histogram, step: int) -> float:
        return native.fraction(float(lower[step]), float(upper[step]), one, notify)

    parts = [_of_each(evaluation, split.native, of)]
    for classic in split.classic:
        evaluation.budget.check()
        found = bucket_fraction(lower, upper, classic.uppers, classic.counts, classic.present)
        parts.append(_of_classic(classic, found))
    return merged(stacked(parts, len(evaluation.times)))


HISTOGRAM_FUNCTIONS: dict[str, Callable[[Evaluation, Call], Vector]] = {
    **dict.fromkeys(_SIMPLE, _simple),
    "histogram_fraction": _fraction,
    "histogram_quantile": _quantile,
    "histogram_quantiles": _many_quantiles,
}
