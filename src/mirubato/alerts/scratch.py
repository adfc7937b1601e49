"""Samples in memory, to ask PromQL of: what rules are tried out on (`model.seams.Samples`)."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mirubato.model.histogram import Histogram
from mirubato.model.labels import NAME, Labels, metric_name
from mirubato.model.matchers import Matcher, MatchOp, match_all
from mirubato.model.rollups import Use
from mirubato.model.samples import SelectedFloats, SelectedHistograms
from mirubato.model.seams import Budget, Selected


@dataclass(slots=True)
class _Series:
    """Times in ms, rising, of floats and of histograms."""

    labels: Labels
    names: dict[str, str]
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    histogram_times: list[int] = field(default_factory=list)
    histograms: list[Histogram] = field(default_factory=list)


class Scratch:
    """Series by their labels. Samples come in the order of time."""

    def __init__(self) -> None:
        self._by_name: dict[str, dict[Labels, _Series]] = {}

    def add(self, labels: Labels, time: int, value: float | Histogram) -> None:
        """One sample; of two at one time the later one stays."""
        of_name = self._by_name.setdefault(metric_name(labels), {})
        series = of_name.setdefault(labels, _Series(labels, dict(labels)))
        if isinstance(value, Histogram):
            series.histogram_times.append(time)
            series.histograms.append(value)
        elif series.times and series.times[-1] == time:
            series.values[-1] = value
        else:
            series.times.append(time)
            series.values.append(value)

    def select(
        self,
        matchers: tuple[Matcher, ...],
        start: int,
        end: int,
        budget: Budget,
        use: Use = Use.SAMPLES,  # noqa: ARG002  (there are no rollups)
    ) -> Selected:
        """Samples of the matching series in a window; both ends belong to it."""
        found = list(self._matching(matchers))
        budget.take_series(len(found))
        offsets, times, values, labels = [0], [], [], []
        histograms = []
        for series in found:
            low, high = bisect_left(series.times, start), bisect_right(series.times, end)
            if low < high:
                times += series.times[low:high]
                values += series.values[low:high]
                labels.append(series.labels)
                offsets.append(len(times))
            low, high = bisect_left(series.histogram_times, start), bisect_right(series.histogram_times, end)
            if low < high:
                window = slice(low, high)
                histograms.append(
                    SelectedHistograms(series.labels, series.histogram_times[window], series.histograms[window])
                )
        budget.take_samples(len(times))
        columns = SelectedFloats(
            labels, np.array(offsets, np.int64), np.array(times, np.int64), np.array(values, np.float64)
        )
        return Selected(columns, histograms)

    def _matching(self, matchers: tuple[Matcher, ...]) -> Iterator[_Series]:
        exact = next((one.value for one in matchers if one.name == NAME and one.op is MatchOp.EQUAL), None)
        names = self._by_name if exact is None else [exact] if exact in self._by_name else []
        for name in sorted(names):
            yield from (one for _, one in sorted(self._by_name[name].items()) if match_all(matchers, one.names))
