"""Binary operators on cells of which one at least is a native histogram. Source: prometheus, promql/engine.go."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mirubato.model.histogram import Histogram
from mirubato.model.samples import Float64s
from mirubato.promql import native_histograms as native
from mirubato.promql.annotations import Annotations
from mirubato.promql.expressions import Binary
from mirubato.promql.native_histograms import Note, Notify
from mirubato.promql.values import Bools, Histograms, has_histogram, no_histograms

_COLLISIONS = (Note.COLLISION_IN_ADDITION, Note.COLLISION_IN_SUBTRACTION)


@dataclass(frozen=True, slots=True)
class Operands:
    """Both sides, cell by cell: a float where present, a histogram where it is not None; [rows, steps]."""

    left: Float64s
    left_present: Bools
    left_histograms: Histograms | None
    right: Float64s
    right_present: Bools
    right_histograms: Histograms | None


@dataclass(frozen=True, slots=True)
class NativeCells:
    """Results: which cells had a histogram on a side, which of them have a float now, and histograms."""

    touched: Bools
    failed: Bools
    """Where the sides do not go together."""
    floats: Bools
    values: Float64s
    histograms: Histograms


def native_cells(expr: Binary, operands: Operands, notes: Annotations) -> NativeCells:
    """The operator where both sides have something and one of them is a histogram."""
    shape = operands.left.shape
    lefts, rights = _or_none(operands.left_histograms, shape), _or_none(operands.right_histograms, shape)
    native_left, native_right = has_histogram(lefts), has_histogram(rights)
    touched = (native_left | native_right) & (operands.left_present | native_left)
    touched &= operands.right_present | native_right
    failed, floats = np.zeros((2, *shape), np.bool_)
    result = NativeCells(touched, failed, floats, np.zeros(shape), no_histograms(shape))
    for row, step in np.argwhere(touched).tolist():
        left = lefts[row, step] if native_left[row, step] else float(operands.left[row, step])
        right = rights[row, step] if native_right[row, step] else float(operands.right[row, step])
        found = _cell(expr, left, right, notes)
        if isinstance(found, Histogram):
            result.histograms[row, step] = found
        elif found is None:
            result.failed[row, step] = (
                expr.op not in _COMPARISONS or not native_left[row, step] & native_right[row, step]
            )
        else:
            result.floats[row, step], result.values[row, step] = True, found
    return result


def _or_none(histograms: Histograms | None, shape: tuple[int, ...]) -> Histograms:
    return no_histograms(shape) if histograms is None else histograms


Cell = Histogram | float


def _cell(expr: Binary, left: Cell, right: Cell, notes: Annotations) -> Cell | None:
    """What the operator makes of two values; None where there is no answer."""
    match left, right:
        case Histogram(), Histogram():
            if expr.op in _COMPARISONS:
                holds = native.equal(left, right) == (expr.op == "==")
                return float(holds) if expr.bool else (left if holds else None)
            if expr.op in _SUMS:
                return _summed(_SUMS[expr.op], left, right, notes.notify(expr.span, operator=expr.op))
        case Histogram(), float():
            if expr.op in _BY_NUMBER:
                return _BY_NUMBER[expr.op](left, right)
        case float(), Histogram():
            if expr.op == "*":
                return native.scale(right, left)
    sides = ["histogram" if isinstance(one, Histogram) else "float" for one in (left, right)]
    text = f'incompatible sample types encountered for binary operator "{expr.op}": {sides[0]} {expr.op} {sides[1]}'
    notes.info(text, expr.span)
    return None


_COMPARISONS = ("==", "!=")
_SUMS: dict[str, Callable[[Histogram, Histogram, Notify], Histogram | None]] = {
    "+": native.add,
    "-": native.subtract,
}
_BY_NUMBER: dict[str, Callable[[Histogram, float], Histogram]] = {
    "*": native.scale,
    "/": native.divide,
    "</": native.trim_upper,
    ">/": native.trim_lower,
}


def _summed(
    add: Callable[[Histogram, Histogram, Notify], Histogram | None], left: Histogram, right: Histogram, notify: Notify
) -> Histogram | None:
    """A sum or difference; none of a counter that was reset and one that was not."""
    told: list[Note] = []
    result = add(left, right, told.append)
    for note in told:
        notify(note)
    return None if any(note in _COLLISIONS for note in told) else result
