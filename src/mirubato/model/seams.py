"""The seams between rooms, each as small as the side that needs it can make it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mirubato.model.histogram import Histogram
from mirubato.model.labels import Family, Labels
from mirubato.model.matchers import Matcher
from mirubato.model.rollups import Rolled, Use
from mirubato.model.samples import Exemplar, Float64s, Int64s, Kind, SelectedFloats, SelectedHistograms


class Reason(NamedTuple):
    """Why a point was rejected: a stable word for metrics, and a sentence that names the setting to change."""

    code: str
    text: str


class PointRefused(Exception):
    """A point (or a series that it would make) is not taken; its good neighbours are."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.reason = Reason(code, text)


class StreamState(Protocol):
    """What the last sample of each series was, by slot: what start-time and delta rules ask."""

    last_time: Int64s
    """Time of the newest sample, ms; NEVER where there is none."""
    last_start: Int64s
    """Start time of the stream, ms; 0 where none was given."""
    last_value: Float64s
    """Newest value that was no staleness marker: the total of a delta stream."""
    stale: NDArray[np.bool_]
    """Whether the newest sample is a staleness marker."""
    histograms: dict[int, Histogram]
    """Newest native histogram by slot."""

    def remember(self, slots: Int64s) -> None:
        """Keep what the arrays hold for `slots`, to go back to if the commit fails."""
        ...

    def note(self, slots: Int64s, times: Int64s, values: Float64s, stale: NDArray[np.bool_] | None) -> None:
        """Keep time and value of each series' newest sample; of two at one time the later write wins.

        `stale` says which samples are staleness markers; None: none is.
        """
        ...

    def note_histogram(self, slot: int, time: int, histogram: Histogram | None) -> None:
        """The same for a native histogram; None is a staleness marker."""
        ...

    def remember_histogram(self, slot: int) -> None:
        """The same for one series of native histograms."""
        ...


class SeriesRegistry(Protocol):
    """Labels -> slot, as the decoder sees it. Used on the writer thread only."""

    @property
    def epoch(self) -> int:
        """Rises when slots may have died or a commit was taken back; whoever remembers slots forgets them then."""
        ...

    @property
    def state(self) -> StreamState: ...

    @property
    def watchers(self) -> list[Callable[[bool], None]]:
        """Called at the end of every commit, with whether it was kept: for memory that goes beside the samples."""
        ...

    def propose(self, labels: Labels, kind: Kind, family: Family) -> int:
        """The slot of a series, made if it is new; PointRefused past a limit.

        A family of unknown type stands for what `describe` was told of the metric, if it was.
        """
        ...

    def slot_of(self, labels: Labels, kind: Kind) -> int | None:
        """The slot of a series if it is active."""
        ...

    def describe(self, family: Family) -> None:
        """Keep what is known of a metric, told apart from its series; PointRefused past a limit."""
        ...


@dataclass(frozen=True, slots=True)
class Rejection:
    """How many points were rejected and why; `count` 0 is a warning."""

    reason: Reason
    count: int


@dataclass(slots=True)
class Outcome:
    """What became of one request: points taken, points rejected with reasons."""

    accepted: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    histograms: int = 0
    """How many of the points taken are native histograms."""
    exemplars: int = 0
    """Exemplars taken, beside the points."""

    @property
    def rejected(self) -> int:
        """Points that were not stored."""
        return sum(rejection.count for rejection in self.rejections)


@dataclass(frozen=True, slots=True)
class Selected:
    """What a window holds of the selected series."""

    floats: SelectedFloats
    histograms: Sequence[SelectedHistograms] = ()
    rolled: Rolled | None = None
    """If some of the samples are rollups: what stands for them. `floats` then begin after those."""
    damaged: int = 0
    """Blocks that were left out because their bytes are not what was written."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest sample of one series: time in ms, and a value or a native histogram."""

    id: int
    labels: Labels
    family: Family
    timestamp: int
    value: float
    histogram: Histogram | None


@dataclass(frozen=True, slots=True)
class Head:
    """What is in memory: active series, and `chunks` of samples that are not sealed yet, with their times in ms."""

    series: int
    chunks: int
    time_low: int
    time_high: int
    label_pairs: int
    by_metric: Sequence[tuple[str, int]]
    """Series of a metric name, the largest number first; so are the others."""
    by_label: Sequence[tuple[str, int]]
    """Values of a label."""
    sizes: Sequence[tuple[str, int]]
    """Characters that the values of a label would take if each series held its own."""
    by_pair: Sequence[tuple[str, int]]
    """Series with `label=value`."""


class Budget(Protocol):
    """A query's deadline and how much it may read."""

    def check(self) -> None:
        """QueryTimeout once the deadline has passed."""
        ...

    def take_series(self, count: int) -> None:
        """QueryLimit past the number of series."""
        ...

    def take_samples(self, count: int) -> None:
        """QueryLimit past the number of samples."""
        ...


class Samples(Protocol):
    """What an expression is evaluated over. Times are ms; both ends of a window belong to it."""

    def select(
        self, matchers: tuple[Matcher, ...], start: int, end: int, budget: Budget, use: Use = Use.SAMPLES
    ) -> Selected:
        """Samples of the matching series in a window, and what rollups tell of it for a use."""
        ...


class Selector(Samples, Protocol):
    """Where queries and scrapes get their samples. Times are ms; both ends of a window belong to it."""

    def series(
        self, matchers: tuple[Matcher, ...], start: int, budget: Budget, end: int | None = None
    ) -> Sequence[Labels]:
        """Labels of the matching series that may have samples at or after `start`, and at or before `end`."""
        ...

    def label_names(self) -> list[str]:
        """All label names, sorted."""
        ...

    def label_values(self, name: str) -> list[str]:
        """All values of a label, sorted."""
        ...

    def families(self) -> list[Family]:
        """All metric families, by name."""
        ...

    def newest(self, matchers: tuple[Matcher, ...] | None, since: int) -> list[Newest]:
        """The newest sample of each series, unless it is stale or older than `since`."""
        ...

    def exemplars(
        self, start: int, end: int, selectors: Sequence[tuple[Matcher, ...]] = ((),)
    ) -> list[tuple[Labels, Exemplar]]:
        """Exemplars in a window, oldest first, of the series that match any of some selectors."""
        ...

    def head(self, most: int) -> Head:
        """What is in memory, and the `most` largest of each kind of label."""
        ...
