"""Binary operators between scalars and vectors, at all steps at once. Source: prometheus, promql/engine.go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mirubato.errors import QueryError
from mirubato.model.labels import Labels
from mirubato.model.samples import Float64s
from mirubato.promql.annotations import Annotations
from mirubato.promql.expressions import COMPARISONS, SET_OPERATORS, Binary, Cardinality, VectorMatching
from mirubato.promql.grouping import Groups, dropping, grouped, keeping, with_label
from mirubato.promql.native_operators import Operands, native_cells
from mirubato.promql.values import (
    METADATA_LABELS,
    Bools,
    Histograms,
    Value,
    Vector,
    has_histogram,
    merged,
    no_histograms,
    stacked,
)

_ARITHMETIC: dict[str, Callable[[Float64s, Float64s], Float64s]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}
_COMPARE: dict[str, Callable[[Float64s, Float64s], Bools]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def binary(expr: Binary, left: Value, right: Value, notes: Annotations) -> Value:
    """The result of an operator on two evaluated sides."""
    assert not isinstance(left, str)
    assert not isinstance(right, str)
    with np.errstate(all="ignore"):
        if isinstance(left, Vector) and isinstance(right, Vector):
            matching = expr.matching or VectorMatching()
            if expr.op in SET_OPERATORS:
                return _set(expr.op, left, right, matching)
            return _vectors(expr, left, right, matching, notes)
        if isinstance(right, Vector):
            assert isinstance(left, np.ndarray)
            return _with_scalar(expr, right, left, notes, swapped=True)
        if isinstance(left, Vector):
            return _with_scalar(expr, left, right, notes, swapped=False)
        return _scalars(expr.op, left, right)


def _scalars(op: str, left: Float64s, right: Float64s) -> Float64s:
    if op in COMPARISONS:
        return _COMPARE[op](left, right).astype(np.float64)
    return _ARITHMETIC[op](left, right)


# --- a vector and a scalar --------------------------------------------------------------------------------------------


def _with_scalar(expr: Binary, vector: Vector, scalar: Float64s, notes: Annotations, *, swapped: bool) -> Vector:
    table = np.broadcast_to(scalar, vector.values.shape)
    nothing = None if vector.histograms is None else no_histograms(vector.present.shape)
    own, other = _Side(vector.values, vector.present, vector.histograms), _Side(table, vector.filled, nothing)
    cells = _cells(expr, other, own, notes) if swapped else _cells(expr, own, other, notes)
    if swapped and expr.op in COMPARISONS and not expr.bool:
        cells.values = vector.values
    result = Vector(vector.labels, cells.values, cells.present, cells.histograms)
    if expr.op in _ARITHMETIC or expr.bool:
        return result.compact().unnamed()
    return result.compact()


@dataclass(slots=True)
class _Side:
    """One operand: a cell has a float or a histogram; [rows, steps]."""

    values: Float64s
    present: Bools
    histograms: Histograms | None
    failed: Bools | None = None
    """Of results: where the sides do not go together."""

    @property
    def filled(self) -> Bools:
        """Where there is anything."""
        return self.present if self.histograms is None else self.present | has_histogram(self.histograms)


def _cells(expr: Binary, left: _Side, right: _Side, notes: Annotations) -> _Side:
    """The operator on each pair of cells."""
    both = left.present & right.present
    native = None
    if left.histograms is not None or right.histograms is not None:
        operands = Operands(left.values, left.present, left.histograms, right.values, right.present, right.histograms)
        native = native_cells(expr, operands, notes)
        both &= ~native.touched
    if expr.op in _COMPARE:
        holds = _COMPARE[expr.op](left.values, right.values)
        if expr.bool:
            result = _Side(holds.astype(np.float64), both, None)
        else:
            result = _Side(np.array(left.values), both & holds, None)
    elif expr.op in _ARITHMETIC:
        result = _Side(_ARITHMETIC[expr.op](left.values, right.values), both, None)
    else:
        if both.any():
            notes.info(
                f'incompatible sample types encountered for binary operator "{expr.op}": float {expr.op} float',
                expr.span,
            )
        result = _Side(np.array(left.values), np.zeros_like(both), None, failed=both)
    if native is not None:
        result.values = np.where(native.floats, native.values, result.values)
        result.present = result.present | native.floats
        result.histograms, result.failed = native.histograms, native.failed
    return result


# --- two vectors ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Match:
    """Which rows of both sides share the labels that they are matched on."""

    many: Groups
    one: Groups
    count: int


def _match(many: Vector, one: Vector, matching: VectorMatching) -> _Match:
    key = keeping(matching.labels) if matching.on else dropping(matching.labels)
    known: dict[Labels, int] = {}
    many_groups, one_groups = grouped(many.labels, key, known), grouped(one.labels, key, known)
    return _Match(many_groups, one_groups, len(known))


def _seen(groups: Groups, filled: Bools, count: int) -> Bools:
    """At which steps each group has any row; [groups, steps]."""
    seen = np.zeros((count, filled.shape[1]), np.bool_)
    np.logical_or.at(seen, groups.of, filled)
    return seen


def _set(op: str, left: Vector, right: Vector, matching: VectorMatching) -> Vector:
    match = _match(left, right, matching)
    steps = left.values.shape[1]
    if op == "or":
        missing = ~_seen(match.many, left.filled, match.count)[match.one.of]
        return merged(stacked([left, right.only(missing)], steps))
    there = _seen(match.one, right.filled, match.count)[match.many.of]
    return left.only(there if op == "and" else ~there)


def _vectors(expr: Binary, left: Vector, right: Vector, matching: VectorMatching, notes: Annotations) -> Vector:
    """Arithmetic and comparison; one-to-many is many-to-one with the sides exchanged."""
    swapped = matching.card is Cardinality.ONE_TO_MANY
    many, one = (right, left) if swapped else (left, right)
    # The left fill stands for the "many" side and the right one for the other, even where the sides are exchanged.
    fills = (matching.fill_left, matching.fill_right)
    match = _match(many, one, matching)
    _check_unique(many, one, match, matching, filling=fills != (None, None))
    joined = _joined(many, one, match, matching, fills)
    cells = _cells(expr, *((joined.one, joined.many) if swapped else (joined.many, joined.one)), notes)
    names = [_result_labels(m, o, expr, matching) for m, o in joined.labels]
    _check_matches(joined, cells, names, matching)
    return merged(Vector(names, cells.values, cells.present, cells.histograms).compact())


@dataclass(frozen=True, slots=True)
class _Joined:
    """Rows that meet, side by side, with the labels of both and the number of the key that they share."""

    many: _Side
    one: _Side
    labels: Sequence[tuple[Labels, Labels]]
    keys: Sequence[int]


def _joined(
    many: Vector, one: Vector, match: _Match, matching: VectorMatching, fills: tuple[float | None, float | None]
) -> _Joined:
    at_many, at_one = _paired(match)
    parts = [(_rows_of(many, at_many), _rows_of(one, at_one))]
    labels = [(many.labels[m], one.labels[o]) for m, o in zip(at_many, at_one, strict=True)]
    keys = match.many.of[at_many].tolist()
    fill_many, fill_one = fills
    if fill_one is not None:
        parts.append(_alone(many, _seen(match.one, one.filled, match.count)[match.many.of], fill_one))
        labels += [(own, _match_labels(own, matching)) for own in many.labels]
        keys += match.many.of.tolist()
    if fill_many is not None:
        own_side, fill = _alone(one, _seen(match.many, many.filled, match.count)[match.one.of], fill_many)
        parts.append((fill, own_side))
        labels += [(_match_labels(own, matching), own) for own in one.labels]
        keys += match.one.of.tolist()
    steps = many.values.shape[1]
    return _Joined(_together([m for m, _ in parts], steps), _together([o for _, o in parts], steps), labels, keys)


def _paired(match: _Match) -> tuple[list[int], list[int]]:
    """Each pair of rows with the same key."""
    by_key: dict[int, list[int]] = {}
    for row, key in enumerate(match.one.of.tolist()):
        by_key.setdefault(key, []).append(row)
    pairs = [(row, other) for row, key in enumerate(match.many.of.tolist()) for other in by_key.get(key, ())]
    return [row for row, _ in pairs], [other for _, other in pairs]


def _rows_of(vector: Vector, rows: Sequence[int]) -> _Side:
    at = np.array(rows, np.int64)
    return _Side(vector.values[at], vector.present[at], None if vector.histograms is None else vector.histograms[at])


def _alone(vector: Vector, seen: Bools, fill: float) -> tuple[_Side, _Side]:
    """Rows where they have no partner, and the value that stands in for it."""
    alone = vector.filled & ~seen
    own = _Side(vector.values, vector.present & ~seen, None)
    if vector.histograms is not None:
        own.histograms = vector.histograms.copy()
        own.histograms[seen] = None
    return own, _Side(np.full(alone.shape, fill), alone, None)


def _together(sides: Sequence[_Side], steps: int) -> _Side:
    rows = [Vector([()] * len(side.values), side.values, side.present, side.histograms) for side in sides]
    one = stacked(rows, steps)
    return _Side(one.values, one.present, one.histograms)


def _match_labels(labels: Labels, matching: VectorMatching) -> Labels:
    return (keeping(matching.labels) if matching.on else dropping(matching.labels))(labels)


def _result_labels(many: Labels, one: Labels, expr: Binary, matching: VectorMatching) -> Labels:
    labels = many
    if expr.op in _ARITHMETIC or expr.bool:
        labels = tuple([pair for pair in labels if pair[0] not in METADATA_LABELS])
    if matching.card is Cardinality.ONE_TO_ONE:
        wanted = frozenset(matching.labels)
        labels = tuple([pair for pair in labels if (pair[0] in wanted) == matching.on])
    given = dict(one)
    for name in matching.include:
        labels = with_label(labels, name, given.get(name, ""))
    return labels


# --- what may not be --------------------------------------------------------------------------------------------------


def _check_unique(many: Vector, one: Vector, match: _Match, matching: VectorMatching, *, filling: bool) -> None:
    """QueryError where the "one" side has two series of one key at one step."""
    filled = one.filled
    some_many, some_one = many.filled.any(axis=0), filled.any(axis=0)
    active = (some_many | some_one) if filling else (some_many & some_one)
    for key in np.flatnonzero(np.bincount(match.one.of, minlength=match.count) > 1).tolist():
        rows = np.flatnonzero(match.one.of == key)
        clash = np.flatnonzero((filled[rows].sum(axis=0) > 1) & active)
        if len(clash):
            first, second = (one.labels[row] for row in rows[filled[rows, clash[0]]][:2].tolist())
            side = "left" if matching.card is Cardinality.ONE_TO_MANY else "right"
            raise QueryError(
                f"found duplicate series for the match group {text_of(_match_labels(second, matching))} on the {side}"
                f" hand-side of the operation: [{text_of(second)}, {text_of(first)}];many-to-many matching not allowed:"
                " matching labels must be unique on one side"
            )


def _check_matches(joined: _Joined, cells: _Side, names: Sequence[Labels], matching: VectorMatching) -> None:
    """QueryError where two series of the "many" side give one result at one step."""
    exact = matching.card is Cardinality.ONE_TO_ONE
    same: dict[object, list[int]] = {}
    for row, (key, name) in enumerate(zip(joined.keys, names, strict=True)):
        same.setdefault(key if exact else (key, name), []).append(row)
    if len(same) == len(names):
        return
    both = joined.many.filled & joined.one.filled
    if cells.failed is not None:
        both &= ~cells.failed
    for rows in same.values():
        if len(rows) > 1 and (both[rows].sum(axis=0) > 1).any():
            raise QueryError(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                if exact
                else "multiple matches for labels: grouping labels must ensure unique matches"
            )


def text_of(labels: Labels) -> str:
    """Labels as Prometheus writes them in errors: `{__name__="x", a="b"}`."""
    return f"{{{', '.join(f'{name}={_quoted(value)}' for name, value in labels)}}}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
