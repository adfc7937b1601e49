"""What each metric costs: the event points that its data points are, simulated with labels dropped or longer intervals.

A data point is one event point at Analytics Engine, whatever its size: the price tag of a metric is what its points
cost there a month, by list price. The data is that of the last hour.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from mirubato.costs.last_use import family_name
from mirubato.costs.periods import HOUR_MS
from mirubato.errors import QueryError
from mirubato.limits import COST_LABELED_METRICS_MAX, COST_METRICS_MAX
from mirubato.model.families import PARTS
from mirubato.model.labels import NAME, Labels, MetricType
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.samples import Int64s
from mirubato.model.seams import Budget, Selector

# Hours of a month: 365 / 12 days.
HOURS_OF_MONTH = 730

# Not sent by an app: Prometheus' own, and what the gateway writes itself.
_NOT_SENT = ("target_info", "ALERTS", "ALERTS_FOR_STATE")
_NOT_SENT_PREFIXES = ("mirubato_cost_", "mirubato_budget", "cloudflare_limit_")
# Labels that make a series what it is, and cannot be dropped alone.
_KEPT_LABELS = frozenset((NAME, "le", "quantile", "job", "instance"))


@dataclass(frozen=True, slots=True)
class MetricPoints:
    """The data points of one metric in a window: one entry of `times` (ms) for each, of the series in `owners`."""

    name: str
    type: MetricType
    labels: Sequence[Labels]
    owners: Int64s
    times: Int64s

    def interval(self) -> int:
        """The usual time between two points of a series, in ms; 60 s where none has two."""
        same = self.owners[1:] == self.owners[:-1]
        steps = np.diff(self.times)[same]
        return int(np.median(steps)) if len(steps) else 60_000

    def count(self, dropped: Collection[str] = (), interval: int = 0) -> tuple[int, int]:
        """(points, series) that would be left without some labels, and at least `interval` ms apart."""
        groups: dict[Labels, int] = {}
        of_series = np.array(
            [
                groups.setdefault(tuple(pair for pair in labels if pair[0] not in dropped), len(groups))
                for labels in self.labels
            ],
            np.int64,
        )
        merges = len(groups) < len(self.labels)
        # Series that become one are exported once an interval, not once for each of them.
        width = max(1, interval, self.interval()) if merges or interval > self.interval() else 1
        owners = of_series[self.owners]
        ticks = self.times // width
        return len(np.unique(owners * (ticks.max() - ticks.min() + 1) + ticks - ticks.min())), len(groups)


def points_of(
    selector: Selector, now: int, budget: Callable[[], Budget], metrics: Collection[str] = ()
) -> Iterator[MetricPoints]:
    """The data points of the last hour, metric by metric; of some, or of all that an app has sent."""
    types = {family.name: family.type for family in selector.families()}
    wanted: dict[str, list[str]] = {}
    for name in selector.label_values(NAME)[: COST_METRICS_MAX * 4]:
        if name in _NOT_SENT or name.startswith(_NOT_SENT_PREFIXES) or ":" in name:
            continue
        wanted.setdefault(family_name(name, types), []).append(name)
    for family, names in list(wanted.items())[:COST_METRICS_MAX]:
        if not metrics or family in metrics or set(names) & set(metrics):
            found = _points(selector, family, types.get(family, MetricType.UNKNOWN), names, now, budget())
            if found is not None:
                yield found


def _points(
    selector: Selector, family: str, type_: MetricType, names: Sequence[str], now: int, budget: Budget
) -> MetricPoints | None:
    """A histogram's point is many series, and is counted at one of them: its count."""
    name = f"{family}_count" if type_ in PARTS and f"{family}_count" in names else family
    try:
        selected = selector.select((Matcher(NAME, MatchOp.EQUAL, name),), now - HOUR_MS + 1, now, budget)
    except QueryError:
        return None
    floats = selected.floats
    lengths = np.diff(floats.offsets)
    labels = list(floats.labels)
    owners = [np.repeat(np.arange(len(labels)), lengths)]
    times = [floats.timestamps]
    for one in selected.histograms:
        owners.append(np.full(len(one.timestamps), len(labels)))
        times.append(np.asarray(one.timestamps, np.int64))
        labels.append(one.labels)
    every = np.concatenate(times)
    return MetricPoints(family, type_, labels, np.concatenate(owners), every) if len(every) else None


@dataclass(frozen=True, slots=True)
class PriceTag:
    """A metric: its points a month, what they cost by list price, and what dropping a label would save (USD)."""

    metric: str
    type: MetricType
    series: int
    points_month: int
    usd_list: Decimal
    labels: Mapping[str, tuple[int, Decimal]]
    """Label -> (values, USD a month that dropping it saves); of the most expensive metrics only."""
    last_use: int | None = None


def price_tags(metrics: Sequence[MetricPoints], usd_per_point: Decimal, uses: Mapping[str, int]) -> list[PriceTag]:
    """The most expensive first."""
    order = sorted(metrics, key=lambda one: (-len(one.times), one.name))
    tags = []
    for number, one in enumerate(order):
        usd = len(one.times) * HOURS_OF_MONTH * usd_per_point
        labels = _label_savings(one, usd_per_point) if number < COST_LABELED_METRICS_MAX else {}
        used = [uses[name] for name in (one.name, *(f"{one.name}{end}" for end in _ends(one.type))) if name in uses]
        last = max(used) if used else None
        tags.append(PriceTag(one.name, one.type, len(one.labels), len(one.times) * HOURS_OF_MONTH, usd, labels, last))
    return tags


def _ends(type_: MetricType) -> Sequence[str]:
    return PARTS.get(type_, ())


def _label_savings(one: MetricPoints, usd_per_point: Decimal) -> dict[str, tuple[int, Decimal]]:
    values: dict[str, set[str]] = {}
    for labels in one.labels:
        for name, value in labels:
            values.setdefault(name, set()).add(value)
    found = {}
    for name, some in sorted(values.items()):
        if name not in _KEPT_LABELS and len(some) > 1:
            left, _ = one.count((name,))
            found[name] = (len(some), (len(one.times) - left) * HOURS_OF_MONTH * usd_per_point)
    return found
