"""Our engine over samples in memory: a Selector that is a dictionary, and the engine with it."""

from collections.abc import Iterable, Sequence

import numpy as np

from mirubato.clock import monotonic_s
from mirubato.errors import BadQuery, QueryError
from mirubato.model.histogram import Histogram
from mirubato.model.labels import Family, Labels, MetricType, metric_name
from mirubato.model.matchers import Matcher, match_all
from mirubato.model.rollups import Use
from mirubato.model.samples import Exemplar, SelectedFloats, SelectedHistograms
from mirubato.model.seams import Budget, Head, Newest, Selected
from mirubato.promql.query import QueryBudget, Result, instant, over_steps
from mirubato.promql.values import Points, Steps
from tests.promql.answers import Answer, Question, Sample, Series, Store, is_marker
from tests.promql.shapes import Shape, shape_of

TIMEOUT_S = 60
BOUND = 50_000_000


class Memory:
    """`model.seams.Selector` over a Store. A series of both floats and histograms is two, as on disk."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def select(
        self, matchers: tuple[Matcher, ...], start: int, end: int, budget: Budget, use: Use = Use.SAMPLES
    ) -> Selected:
        found = [self._window(one, start, end) for one in self._store.sorted() if match_all(matchers, dict(one.labels))]
        floats = [floats for floats, _ in found if floats.samples]
        budget.take_series(len(floats))
        budget.take_samples(sum(len(one.samples) for one in floats))
        return Selected(_columns(floats), [histograms for _, histograms in found if histograms.timestamps])

    def series(
        self, matchers: tuple[Matcher, ...], start: int, budget: Budget, end: int | None = None
    ) -> Sequence[Labels]:
        return [one for one in self._store.series if match_all(matchers, dict(one))]

    def label_names(self) -> list[str]:
        return sorted({name for labels in self._store.series for name, _ in labels})

    def label_values(self, name: str) -> list[str]:
        return sorted({dict(labels)[name] for labels in self._store.series if name in dict(labels)})

    def families(self) -> list[Family]:
        return [Family(name, MetricType.UNKNOWN) for name in sorted({metric_name(one) for one in self._store.series})]

    def newest(self, matchers: tuple[Matcher, ...] | None, since: int) -> list[Newest]:
        raise NotImplementedError("scrapes ask for it, queries do not")

    def exemplars(
        self, start: int, end: int, selectors: Sequence[tuple[Matcher, ...]] = ((),)
    ) -> list[tuple[Labels, Exemplar]]:
        return []

    def head(self, most: int) -> Head:
        raise NotImplementedError("the status page asks for it, queries do not")

    @staticmethod
    def _window(one: Series, start: int, end: int) -> tuple[Series, SelectedHistograms]:
        """The floats and the histograms; a marker belongs to what it follows, as in Prometheus' head."""
        floats: list[Sample] = []
        histograms: list[tuple[int, Histogram | None]] = []
        after_histogram = False
        for time, value in one.samples:
            inside = start <= time <= end
            if isinstance(value, Shape):
                after_histogram = True
                histograms += [(time, value.model())] if inside else []
            elif after_histogram and is_marker(value):
                histograms += [(time, None)] if inside else []
            else:
                after_histogram = False
                floats += [(time, value)] if inside else []
        times, shapes = [time for time, _ in histograms], [shape for _, shape in histograms]
        return Series(one.labels, floats), SelectedHistograms(one.labels, times, shapes)


def _columns(series: Sequence[Series]) -> SelectedFloats:
    counts = [len(one.samples) for one in series]
    return SelectedFloats(
        [one.labels for one in series],
        np.concatenate(([0], np.cumsum(counts, dtype=np.int64))).astype(np.int64),
        np.array([time for one in series for time, _ in one.samples], np.int64),
        np.array([value for one in series for _, value in one.samples], np.float64),
    )


class Ours:
    """The engine that is tested (`answers.Engine`)."""

    def __init__(self) -> None:
        self._store = Store()

    def clear(self) -> None:
        self._store.series.clear()

    def load(self, series: Iterable[Series]) -> None:
        self._store.add(series)

    def ask(self, question: Question) -> Answer:
        selector, budget = Memory(self._store), QueryBudget(monotonic_s() + TIMEOUT_S, BOUND, BOUND)
        try:
            if question.step:
                steps = Steps(question.start, question.end, question.step, question.lookback)
                result = over_steps(selector, question.text, steps, budget)
            else:
                result = instant(selector, question.text, question.start, budget, lookback=question.lookback)
        except QueryError as error:
            return Answer(error=str(error), refused=isinstance(error, BadQuery))
        return answer_of(result)


def answer_of(result: Result) -> Answer:
    """A result of the front door in the tests' words."""
    series = [Series(points.labels, _samples(points)) for points in result.series]
    return Answer(result.kind, series, result.text, result.warnings, result.infos)


def _samples(points: Points) -> list[Sample]:
    floats: list[Sample] = list(zip(points.times, points.values, strict=True))
    shapes: list[Sample] = [
        (time, shape_of(one)) for time, one in zip(points.histogram_times, points.histograms, strict=True)
    ]
    return sorted(floats + shapes, key=lambda sample: sample[0])
