"""Evaluation: a resolved expression -> its value at each step. Source: prometheus, promql/engine.go.

Every kind of expression is evaluated for all series and all steps at once. A subquery is an evaluation of its own,
over its own steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mirubato.model.labels import NAME, Labels, is_stale, metric_name
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.rollups import Use
from mirubato.model.samples import Float64s, Int64s, SelectedFloats
from mirubato.model.seams import Budget, Samples, Selected
from mirubato.promql import extended, native_ranges, rolled
from mirubato.promql.aggregate import aggregate
from mirubato.promql.annotations import Annotations
from mirubato.promql.binary import binary
from mirubato.promql.calls import call
from mirubato.promql.evaluation import string_of
from mirubato.promql.expressions import (
    Aggregate,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    Span,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
    bare,
)
from mirubato.promql.histogram_functions import check_quantile
from mirubato.promql.numbers import quoted
from mirubato.promql.range_functions import FUNCTIONS, Range
from mirubato.promql.values import Bools, Steps, Value, Vector, has_histogram
from mirubato.promql.windows import Columns, NativeColumn, RangeVector, RolledColumns, ragged, search

# What `[5m:]` means: Prometheus' default evaluation interval, ms.
_SUBQUERY_STEP_MS = 60_000

# What keeps the metric name, or has no use for labels at all.
_NAMED = frozenset(("absent_over_time", "first_over_time", "last_over_time"))

_COUNTER_ENDINGS = ("_total", "_sum", "_count", "_bucket")


@dataclass(slots=True)
class Context:
    """What all evaluations of one query share."""

    selector: Samples
    budget: Budget
    notes: Annotations
    ordered: bool
    """Whether something in the query depends on the order of series: then they come sorted by labels."""
    selected: dict[tuple[tuple[Matcher, ...], int, int, Use], "_Series"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Series:
    """What a selection found: one row for each set of labels."""

    labels: Sequence[Labels]
    columns: Columns
    native: dict[int, NativeColumn]
    rolled: RolledColumns | None = None


class Evaluator:
    """Evaluates expressions over steps (`promql.evaluation.Evaluation`)."""

    def __init__(self, context: Context, steps: Steps) -> None:
        self._context = context
        self.steps, self.times = steps, steps.times()
        self.notes, self.budget = context.notes, context.budget

    def value(self, expr: Expr) -> Value:  # noqa: PLR0911  (one for each kind)
        """An expression at each step; QueryError, QueryLimit, QueryTimeout."""
        self.budget.check()
        match expr:
            case NumberLiteral():
                return np.full(len(self.times), expr.value)
            case StringLiteral():
                return expr.value
            case Paren():
                return self.value(expr.expr)
            case VectorSelector():
                return self._instant(expr)
            case Unary():
                return self._unary(expr)
            case Binary():
                return binary(expr, self.value(expr.lhs), self.value(expr.rhs), self.notes)
            case Aggregate():
                return self._aggregate(expr)
            case Call():
                return call(self, expr)
            case MatrixSelector() | Subquery():
                raise AssertionError("range vectors are arguments of functions, or a whole query")

    def vector(self, expr: Expr) -> Vector:
        """An expression that is an instant vector."""
        value = self.value(expr)
        assert isinstance(value, Vector)
        return value

    def scalar(self, expr: Expr) -> Float64s:
        """An expression that is a scalar."""
        value = self.value(expr)
        assert isinstance(value, np.ndarray)
        return value

    def _unary(self, expr: Unary) -> Value:
        value = self.value(expr.expr)
        assert not isinstance(value, str)
        if expr.op == "+":
            return value
        if not isinstance(value, Vector):
            return -value
        negative = replace(value, values=-value.values)
        if value.histograms is not None:
            negative.histograms = native_ranges.negated(value.histograms)
        return negative.unnamed()

    def _aggregate(self, expr: Aggregate) -> Vector:
        param: Float64s | str | None = None
        if expr.param is not None:
            param = string_of(expr.param) if expr.op == "count_values" else self.scalar(expr.param)
        return aggregate(expr, self.vector(expr.expr), param, self.notes).compact()

    # --- instant selectors --------------------------------------------------------------------------------------------

    def _ends(self, at: object, offset: object) -> Int64s:
        """The time that each step looks at."""
        assert isinstance(offset, int)
        if at is None:
            return self.times - offset
        assert isinstance(at, int)
        return np.full(len(self.times), at - offset)

    def _instant(self, selector: VectorSelector) -> Vector:
        """At each step the newest sample of the look-back (left-open), unless the series went stale there."""
        if not selector.smoothed:
            return self._newest(selector, times=False)
        ends, lookback = self._ends(selector.at, selector.offset), self.steps.lookback
        series = _live(self._select(selector.matchers, int(ends.min()) - lookback + 1, int(ends.max()) + lookback))
        if series.rolled is not None:
            raise rolled.refuse("smoothed", series.rolled.borders)
        self.budget.take_samples(len(series.labels) * len(ends))
        values, present = extended.smoothed(series.columns, ends, lookback)
        found = Vector(series.labels, values, present, one_name=_one_name(selector.matchers))
        if series.native:
            about = (self.notes, selector.span)
            native_ranges.smooth(found, series.native, series.columns, (ends, lookback), about)
        return found.compact()

    def sample_times(self, selector: VectorSelector) -> Vector:
        """When the samples that a selector shows were taken, in seconds."""
        return self._newest(selector, times=True)

    def _newest(self, selector: VectorSelector, *, times: bool) -> Vector:
        ends = self._ends(selector.at, selector.offset)
        starts = ends - self.steps.lookback
        series = self._select(selector.matchers, int(starts.min()) + 1, int(ends.max()), Use.LAST)
        columns, shape = series.columns, (len(series.labels), len(self.times))
        if series.rolled is not None:
            edges = rolled.edges(series.rolled.borders, ends, self.steps.lookback)
            columns, starts, ends = series.rolled.columns, edges.starts, edges.ends
            rolled.tell(self.notes, edges, series.rolled.borders, self.steps.lookback, selector.span)
        self.budget.take_samples(shape[0] * shape[1])
        values, present = np.zeros(shape), np.zeros(shape, np.bool_)
        shown = columns.timestamps / 1000 if times else columns.values
        windows = search(columns, starts, ends)
        for chunk in windows.chunks() if len(shown) else ():
            self.budget.check()
            some = chunk.high > chunk.low
            at = np.where(some, chunk.high - 1, 0)
            values[chunk.rows] = shown[at]
            present[chunk.rows] = some & ~is_stale(columns.values[at])
        found = Vector(series.labels, values, present, one_name=_one_name(selector.matchers))
        if series.native:
            native_ranges.newest(found, series.native, columns, (starts, ends), times=times)
        return found.compact()

    # --- ranges -------------------------------------------------------------------------------------------------------

    def over_range(self, call_: Call) -> Vector:
        """A function of a range vector, with the scalars beside it."""
        name = call_.function.name
        index = next(i for i, one in enumerate(call_.args) if isinstance(bare(one), MatrixSelector | Subquery))
        scalars = tuple(self.scalar(one) for i, one in enumerate(call_.args) if i != index)
        argument = bare(call_.args[index])
        assert isinstance(argument, MatrixSelector | Subquery)
        # Prometheus puts what it evaluates of a subquery into a selector that has no place in the text.
        span = (0, 0) if isinstance(argument, Subquery) else argument.span
        vector = self.range_vector(argument, rolled.USES.get(name, Use.SAMPLES))
        if vector.extended:
            extended.check(name, vector)
        quantile_span = call_.args[0].span if name == "quantile_over_time" else span

        def applied(name: str, vector: RangeVector, steps: Bools) -> Vector:
            range_ = Range(vector, vector.windows(), self.times[steps], tuple(scalar[steps] for scalar in scalars))
            result = self._floats(name, range_)
            if vector.native:
                native_ranges.apply(name, quantile_span, range_, result, self.notes)
            if name == "quantile_over_time" and (range_.windows.high > range_.windows.low).any():
                check_quantile(self.notes, scalars[0], quantile_span)
            return result

        if vector.rolled is not None:
            result = self._rolled(name, argument, vector, applied)
        else:
            result = applied(name, vector, np.ones(len(self.times), np.bool_))
        if name in ("rate", "increase"):
            self._note_gauges(result, span)
        result = result.compact()
        return result if name in _NAMED else result.unnamed(strictly=True)

    def _rolled(
        self, name: str, argument: MatrixSelector | Subquery, vector: RangeVector, evaluate: rolled.Evaluate
    ) -> Vector:
        """A function of a range that reaches back to rollups."""
        assert vector.rolled is not None
        borders = vector.rolled.borders
        if name not in rolled.USES or vector.extended:
            raise rolled.refuse("an extended range" if vector.extended else name, borders)
        if vector.rolled.no_histograms:
            raise rolled.refuse(f"{name} of native histograms", borders)
        counts = self.range_vector(argument, Use.COUNT).rolled if name == "avg_over_time" else None
        edges = rolled.edges(borders, vector.ends, vector.range_ms)
        rolled.tell(self.notes, edges, borders, vector.range_ms, argument.span)
        return rolled.Rollup(name, vector, counts, edges, evaluate).value()

    def _floats(self, name: str, range_: Range) -> Vector:
        shape = (len(range_.vector.labels), len(range_.times))
        self.budget.take_samples(shape[0] * shape[1])
        values, present = np.zeros(shape), np.zeros(shape, np.bool_)
        if len(range_.vector.columns.values):
            function = extended.function_of(name, range_) if range_.vector.extended else FUNCTIONS[name](range_)
            for chunk in range_.windows.chunks():
                self.budget.check()
                values[chunk.rows], present[chunk.rows] = function(chunk, range_)
        return Vector(range_.vector.labels, values, present, one_name=range_.vector.one_name)

    def _note_gauges(self, result: Vector, span: Span) -> None:
        """Tell who takes the rate of what may be no counter."""
        shown = np.flatnonzero(result.present.any(axis=1))
        rows = shown[:1] if result.one_name else shown
        for metric in sorted({metric_name(result.labels[row]) for row in rows.tolist()}):
            if metric and not metric.endswith(_COUNTER_ENDINGS):
                text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:"
                self.notes.info(f"{text} {quoted(metric)}", span)

    def range_vector(self, expr: MatrixSelector | Subquery, use: Use = Use.SAMPLES) -> RangeVector:
        """The samples of all windows, without staleness markers; and rollups, for a use."""
        if isinstance(expr, Subquery):
            return self._subquery(expr)
        selector = expr.selector
        assert isinstance(expr.range, int)
        ends = self._ends(selector.at, selector.offset)
        starts = ends - expr.range
        before = self.steps.lookback if selector.anchored or selector.smoothed else 0
        after = self.steps.lookback if selector.smoothed else 0
        found = self._select(selector.matchers, int(starts.min()) + 1 - before, int(ends.max()) + after, use)
        live, one_name = _live(found), _one_name(selector.matchers)
        vector = RangeVector(live.labels, live.columns, live.native, starts, ends, expr.range, one_name=one_name)
        vector = replace(vector, rolled=live.rolled)
        return replace(vector, before_ms=before, after_ms=after, anchored=selector.anchored, smoothed=selector.smoothed)

    def _subquery(self, expr: Subquery) -> RangeVector:
        assert isinstance(expr.range, int)
        ends = self._ends(expr.at, expr.offset)
        starts = ends - expr.range
        step = expr.step if isinstance(expr.step, int) else _SUBQUERY_STEP_MS
        first = _aligned_after(int(starts.min()), step)
        last = int(ends.max())
        if last < first:
            return RangeVector([], _columns([]), {}, starts, ends, expr.range)
        steps = Steps(first, last, step, self.steps.lookback)
        self.budget.take_samples(len(steps))  # before an array of so many is made
        inner = Evaluator(self._context, steps)
        value = inner.value(expr.expr)
        if not isinstance(value, Vector):
            assert isinstance(value, np.ndarray)
            value = Vector([()], value[None, :], np.ones((1, len(value)), np.bool_))
        return _as_range(value, inner.times, starts, ends, expr.range)

    def _select(self, matchers: tuple[Matcher, ...], start: int, end: int, use: Use = Use.SAMPLES) -> _Series:
        """The series of a selection; the same selection twice in a query is read once."""
        key = (matchers, start, end, use)
        known = self._context.selected.get(key)
        if known is None:
            found = self._context.selector.select(matchers, max(start, 0), max(end, 0), self.budget, use=use)
            if found.damaged:
                self.notes.warn(f"{found.damaged} damaged blocks were left out: samples are missing", (0, 0))
            # What Prometheus says about mixed histograms depends on which comes first.
            ordered = self._context.ordered or bool(found.histograms)
            known = self._context.selected[key] = _rows(found, ordered=ordered)
            if found.rolled is not None:
                columns = _rows(replace(found, floats=found.rolled.floats), ordered=ordered).columns
                about = RolledColumns(found.rolled.borders, columns, found.rolled.no_histograms)
                known = self._context.selected[key] = replace(known, rolled=about)
        return known


def _one_name(matchers: Sequence[Matcher]) -> bool:
    return any(matcher.name == NAME and matcher.op is MatchOp.EQUAL for matcher in matchers)


def _aligned_after(start: int, step: int) -> int:
    """The first multiple of the step after a time; a multiple is counted from 0 towards it, as in Go."""
    first = step * int(start / step) if abs(start) < 1 << 52 else step * (start // step)
    return first + step if first <= start else first


# --- rows -------------------------------------------------------------------------------------------------------------


def _columns(floats: Sequence[SelectedFloats]) -> Columns:
    if not floats:
        return Columns(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0))
    return Columns(floats[0].offsets, floats[0].timestamps, floats[0].values)


def _rows(found: Selected, *, ordered: bool) -> _Series:
    """One row for each set of labels; floats and histograms of the same labels share it."""
    labels, columns = list(found.floats.labels), _columns([found.floats])
    native: dict[int, NativeColumn] = {}
    if found.histograms:
        row_of = {one: row for row, one in enumerate(labels)}
        for one in found.histograms:
            row = row_of.setdefault(one.labels, len(row_of))
            if row == len(labels):
                labels.append(one.labels)
            native[row] = NativeColumn(np.array(one.timestamps, np.int64), one.histograms)
        missing = len(labels) + 1 - len(columns.offsets)
        columns = replace(columns, offsets=np.append(columns.offsets, np.repeat(columns.offsets[-1:], missing)))
    series = _Series(labels, columns, native)
    return _sorted(series) if ordered else series


def _sorted(series: _Series) -> _Series:
    order = sorted(range(len(series.labels)), key=series.labels.__getitem__)
    if order == list(range(len(order))):
        return series
    rows = np.array(order, np.int64)
    begins, sizes = series.columns.offsets[:-1][rows], np.diff(series.columns.offsets)[rows]
    at = np.repeat(begins, sizes) + ragged(sizes)
    columns = Columns(np.append([0], np.cumsum(sizes)), series.columns.timestamps[at], series.columns.values[at])
    native = {new: series.native[old] for new, old in enumerate(order) if old in series.native}
    return _Series([series.labels[row] for row in order], columns, native)


def _live(series: _Series) -> _Series:
    """Without staleness markers."""
    native, about = series.native, series.rolled
    if native:
        native = {row: _live_native(column) for row, column in native.items()}
    if about is not None:
        about = replace(about, columns=_live_columns(about.columns))
    return _Series(series.labels, _live_columns(series.columns), native, about)


def _live_columns(columns: Columns) -> Columns:
    live = ~is_stale(columns.values)
    if live.all():
        return columns
    totals = np.append([0], np.cumsum(live))
    return Columns(totals[columns.offsets], columns.timestamps[live], columns.values[live])


def _live_native(column: NativeColumn) -> NativeColumn:
    at = [index for index, one in enumerate(column.histograms) if one is not None]
    return NativeColumn(column.timestamps[at], [column.histograms[index] for index in at])


def _as_range(vector: Vector, times: Int64s, starts: Int64s, ends: Int64s, range_ms: int) -> RangeVector:
    """The values of a subquery as samples."""
    offsets = np.append([0], np.cumsum(vector.present.sum(axis=1)))
    stamps = np.broadcast_to(times, vector.present.shape)[vector.present]
    columns = Columns(offsets, stamps, vector.values[vector.present])
    native = {}
    if vector.histograms is not None:
        mask = has_histogram(vector.histograms)
        for row in np.flatnonzero(mask.any(axis=1)).tolist():
            held = native_ranges.without_hints(vector.histograms[row][mask[row]].tolist())
            native[row] = NativeColumn(times[mask[row]], held)
    return RangeVector(vector.labels, columns, native, starts, ends, range_ms, one_name=vector.one_name)
