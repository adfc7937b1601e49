"""`info()`: labels of an info metric (`target_info`) beside each series of the same job and instance.

Source: prometheus, promql/info.go.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mirubato.errors import QueryError
from mirubato.model.labels import NAME, Labels, metric_name
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.samples import Int64s
from mirubato.promql.evaluation import Evaluation
from mirubato.promql.expressions import Expr, Paren, VectorSelector
from mirubato.promql.grouping import keeping
from mirubato.promql.values import Vector, empty_vector, merged, stacked

_IDENTIFYING = ("instance", "job")
_TARGET_INFO = Matcher(NAME, MatchOp.EQUAL, "target_info")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which info metrics, and which of their labels."""

    names: tuple[Matcher, ...]
    data: tuple[Matcher, ...]

    def takes(self, name: str) -> bool:
        """Whether a label is wanted; without any named, all are."""
        return not self.data or any(matcher.name == name for matcher in self.data)

    @property
    def optional(self) -> bool:
        """Whether a series without info stays."""
        return all(matcher.matches_missing() for matcher in self.data)


def info(evaluation: Evaluation, vector: Vector, args: Sequence[Expr]) -> Vector:
    """The series of a vector with the labels of their info series added."""
    wanted = _wanted(args)
    plain = np.array([all(one.matches(metric_name(labels)) for one in wanted.names) for labels in vector.labels], bool)
    rows = [labels for labels, skipped in zip(vector.labels, plain.tolist(), strict=True) if not skipped]
    found = _info_series(evaluation, rows, wanted)
    parts = [vector.take(plain)] if plain.any() else []
    for row in np.flatnonzero(~plain).tolist():
        parts += _enriched(vector.take(slice(row, row + 1)), found, wanted)
    return merged(stacked(parts, len(evaluation.times)))


def _wanted(args: Sequence[Expr]) -> _Wanted:
    if not args:
        return _Wanted((_TARGET_INFO,), ())
    selector = args[0]
    while isinstance(selector, Paren):
        selector = selector.expr
    assert isinstance(selector, VectorSelector)
    names = tuple(matcher for matcher in selector.matchers if matcher.name == NAME)
    data = tuple(matcher for matcher in selector.matchers if matcher.name != NAME)
    if not names:
        names = (_TARGET_INFO,)
    elif not any(matcher.op in (MatchOp.EQUAL, MatchOp.REGEX) for matcher in names):
        names = (Matcher(NAME, MatchOp.REGEX, ".+_info"), *names)
    return _Wanted(names, data)


def _info_series(evaluation: Evaluation, rows: Sequence[Labels], wanted: _Wanted) -> Vector:
    """Info series of the jobs and instances of these rows, with the times of their samples as values."""
    values = {name: {value for labels in rows for key, value in labels if key == name} for name in _IDENTIFYING}
    if not any(values.values()):
        return empty_vector(len(evaluation.times))
    selector = VectorSelector("", (*wanted.data, *wanted.names), (0, 0))
    if evaluation.vector(selector).histograms is not None:
        raise QueryError("info sample should be float")
    found = evaluation.sample_times(selector)
    kept = [
        all(not some or dict(labels).get(name, "") in some for name, some in values.items()) for labels in found.labels
    ]
    return found.take(np.array(kept, bool))


def _enriched(row: Vector, found: Vector, wanted: _Wanted) -> Iterator[Vector]:
    """One series, apart for each set of labels that its info series had."""
    own = row.labels[0]
    key = keeping(_IDENTIFYING)
    by_name: dict[str, list[int]] = {}
    for index, labels in enumerate(found.labels):
        if key(labels) == key(own):
            by_name.setdefault(metric_name(labels), []).append(index)
    chosen = [_newest(found, rows, row) for rows in by_name.values()]
    table = np.array(chosen).reshape(len(chosen), row.values.shape[1])
    for combination in np.unique(table, axis=1).T if chosen else [np.empty(0, np.int64)]:
        steps = (table == combination[:, None]).all(axis=0)
        infos = [found.labels[index] for index in combination.tolist() if index >= 0]
        part = row.only(np.broadcast_to(steps, row.present.shape))
        if len(part) and (infos or wanted.optional):
            yield replace(part, labels=[_with_info(own, infos, wanted)], one_name=False)


def _newest(found: Vector, rows: Sequence[int], row: Vector) -> Int64s:
    """The info series with the newest sample at each step, -1 where there is none."""
    times = np.where(found.present[rows], found.values[rows], -np.inf)
    best = times.max(axis=0)
    clash = (times == best).sum(axis=0) > 1
    clash &= np.isfinite(best) & row.filled[0]
    if clash.any():
        step = int(np.flatnonzero(clash)[0])
        first, second = np.flatnonzero(times[:, step] == best[step])[:2].tolist()
        at = round(float(best[step]) * 1000)
        raise QueryError(
            f"found duplicate series for info metric: existing {found.labels[rows[first]]} @ {at},"
            f" new {found.labels[rows[second]]} @ {at}"
        )
    return np.where(np.isfinite(best), np.array(rows)[np.argmax(times, axis=0)], -1)


def _with_info(own: Labels, infos: Sequence[Labels], wanted: _Wanted) -> Labels:
    given, added = dict(own), dict[str, str]()
    for name, value in (pair for labels in infos for pair in labels):
        if name == NAME or not wanted.takes(name):
            continue
        if added.get(name, value) != value:
            raise QueryError(f"conflicting label: {name}")
        if name not in given:
            added[name] = value
    return tuple(sorted((given | added).items()))
