"""Newest samples as text: Prometheus' format 0.0.4, and OpenMetrics 1.0 with exemplars.

Sources: prometheus/docs, instrumenting/exposition_formats.md and specs/om/open_metrics_spec.md.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

from mirubato.limits import EXEMPLAR_LABEL_CHARS_MAX
from mirubato.model.histogram import Histogram
from mirubato.model.labels import NAME, Family, Labels, MetricType, format_value, labels_of, metric_name
from mirubato.model.samples import Exemplar
from mirubato.model.seams import Newest

Key = TypeVar("Key")

_LABEL, _METRIC = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*"), re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ILLEGAL = re.compile(r"^[0-9]|[^a-zA-Z0-9_:]")

# The label that tells the samples of one point apart, and the end of the names that have it.
_BOUND = {MetricType.HISTOGRAM: ("le", "_bucket"), MetricType.SUMMARY: ("quantile", "")}

# Who has a name that two types want: the fewer names a type needs, the less is untyped for it.
_RANK = {
    MetricType.GAUGE: 0,
    MetricType.UNKNOWN: 0,
    MetricType.COUNTER: 1,
    MetricType.SUMMARY: 2,
    MetricType.HISTOGRAM: 3,
}

# What the samples of a family may be called, beside the family's own name.
_SUFFIXES = {MetricType.HISTOGRAM: ("_bucket", "_count", "_sum"), MetricType.SUMMARY: ("_count", "_sum")}
_OPENMETRICS_SUFFIXES = {
    MetricType.COUNTER: ("_total", "_created"),
    MetricType.HISTOGRAM: ("_bucket", "_count", "_sum", "_created"),
    MetricType.SUMMARY: ("_count", "_sum", "_created"),
}


def render(newest: Sequence[Newest], exemplars: Mapping[int, Exemplar], *, openmetrics: bool) -> str:
    """All samples, one group for each family; `exemplars` by series id, for OpenMetrics only."""
    writer = _Writer(exemplars, openmetrics=openmetrics)
    for family, samples in _groups(newest, openmetrics=openmetrics).items():
        writer.family(family, samples)
    if openmetrics:
        writer.lines.append("# EOF")
    return "\n".join(writer.lines) + "\n" if writer.lines else ""


def _groups(newest: Sequence[Newest], *, openmetrics: bool) -> dict[Family, list[Newest]]:
    """What to write: no name may stand under two types.

    Where two families want one name, the one that needs fewer names has it. The samples of the other, and of families
    that OpenMetrics would not take, stand without a type, each name by itself; where a gauge has that name, with it.
    """
    groups: dict[Family, list[Newest]] = {}
    owners: dict[str, Family] = {}
    left: list[Newest] = []
    families = _by(lambda sample: sample.family, _flat(_legal(newest)))
    for family in sorted(families, key=lambda one: _RANK[one.type]):
        points = _points(family, families[family]) if family.type in _BOUND else [families[family]]
        samples = [sample for point in points for sample in point]
        names = _names(family, openmetrics=openmetrics)
        fits = not openmetrics or all(_is_proper(family, point) for point in points)
        if fits and owners.keys().isdisjoint(names):
            groups[family] = samples
            owners.update(dict.fromkeys(names, family))
        else:
            left += samples
    for name, samples in _by(lambda sample: metric_name(sample.labels), left).items():
        owner = owners.setdefault(name, Family(name, MetricType.UNKNOWN))
        if owner.type in (MetricType.GAUGE, MetricType.UNKNOWN):
            together = {sample.labels: sample for sample in [*samples, *groups.get(owner, ())]}
            groups[owner] = list(together.values())
    return groups


def _legal(newest: Sequence[Newest]) -> Sequence[Newest]:
    """UTF-8 names with underscores, as Prometheus escapes them for those who cannot read them.

    Of series that so become one, the first stays. Only remote write brings such names, so most often there are none.
    """
    labels = {name for sample in newest for name, _ in sample.labels}
    metrics = {metric_name(sample.labels) for sample in newest}
    if all(map(_LABEL.fullmatch, labels)) and all(map(_METRIC.fullmatch, metrics)):
        return newest
    named: dict[Labels, Newest] = {}
    for sample in newest:
        renamed = _renamed(sample)
        named.setdefault(renamed.labels, renamed)
    return list(named.values())


def _renamed(sample: Newest) -> Newest:
    labels = {_ILLEGAL.sub("_", name).replace(":", "_"): text for name, text in sample.labels}
    labels[NAME] = _ILLEGAL.sub("_", labels[NAME])
    family = replace(sample.family, name=_ILLEGAL.sub("_", sample.family.name))
    return replace(sample, labels=labels_of(labels.items()), family=family)


def _by(key: Callable[[Newest], Key], samples: Iterable[Newest]) -> dict[Key, list[Newest]]:
    groups: dict[Key, list[Newest]] = {}
    for sample in samples:
        groups.setdefault(key(sample), []).append(sample)
    return groups


def _flat(newest: Iterable[Newest]) -> Iterator[Newest]:
    """Native histograms as classic ones, since text cannot carry them; these have negative ids, and no exemplars."""
    for sample in newest:
        if sample.histogram is None:
            yield sample
        else:
            yield from _classic(sample, sample.histogram)


def _classic(sample: Newest, histogram: Histogram) -> Iterator[Newest]:
    name = metric_name(sample.labels)
    plain = [pair for pair in sample.labels if pair[0] not in (NAME, "le")]
    for bound, count in histogram.classic_buckets():
        labels = labels_of([*plain, ("le", format_value(bound)), (NAME, f"{name}_bucket")])
        yield replace(sample, id=-sample.id, labels=labels, value=count, histogram=None)
    for suffix, value in (("_count", histogram.count), ("_sum", histogram.sum)):
        labels = labels_of([*plain, (NAME, name + suffix)])
        if not math.isnan(value):
            yield replace(sample, id=-sample.id, labels=labels, value=value, histogram=None)


def _points(family: Family, samples: Sequence[Newest]) -> list[list[Newest]]:
    """The samples of each point next to each other, by rising `le` or `quantile`, as the formats ask.

    Only those of its newest time, and of one histogram if there is a classic and a native one: where an app has changed
    its buckets, the old ones are no part of the new point.
    """
    label, _ = _BOUND[family.type]
    points: dict[Labels, dict[tuple[int, int], list[tuple[float, Newest]]]] = {}
    for sample in samples:
        plain = tuple(pair for pair in sample.labels if pair[0] not in (NAME, label))
        version = (sample.timestamp, min(sample.id, 0))
        points.setdefault(plain, {}).setdefault(version, []).append((_bound(family, sample), sample))
    newest = (versions[max(versions)] for versions in points.values())
    return [[sample for _, sample in sorted(point, key=lambda entry: entry[0])] for point in newest]


def _bound(family: Family, sample: Newest) -> float:
    """Its `le` or `quantile`; for `_count` and `_sum` what sorts them behind."""
    label, end = _BOUND[family.type]
    labels = dict(sample.labels)
    if labels[NAME] != family.name + end:
        return math.inf
    return float(labels[label])


def _is_proper(family: Family, point: Sequence[Newest]) -> bool:
    """Whether OpenMetrics takes these samples under their type.

    It wants counters named `_total`; counters, counts, sums and quantiles of 0 or more; no sum beside negative buckets,
    and no count without a sum; buckets that rise to the count, in whole numbers; quantiles of 0 to 1; and no `le` or
    `quantile` but its own.
    """
    if family.type not in _BOUND:
        counter = family.type is MetricType.COUNTER
        return not counter or (family.name.endswith("_total") and all(sample.value >= 0 for sample in point))
    label, end = _BOUND[family.type]
    bounded: list[tuple[float, float]] = []
    whole: dict[str, float] = {}
    for sample in point:
        labels = dict(sample.labels)
        if labels[NAME] == family.name + end:
            bounded.append((float(labels[label]), sample.value))
        elif label in labels or not sample.value >= 0:
            return False
        else:
            whole[labels[NAME].removeprefix(family.name)] = sample.value
    if ("_count" in whole) != ("_sum" in whole) or not float(whole.get("_count", 0)).is_integer():
        return False
    if family.type is MetricType.SUMMARY:
        return all(0 <= quantile <= 1 and not value < 0 for quantile, value in bounded)
    return _rises_to(whole.get("_count"), bounded)


def _rises_to(count: float | None, buckets: Sequence[tuple[float, float]]) -> bool:
    """Whether these (bound, cumulative count) make a histogram without negative bounds."""
    if not buckets or buckets[0][0] < 0 or buckets[-1][0] != math.inf:
        return False
    rising = all(low <= high and float(low).is_integer() for (_, low), (_, high) in pairwise(buckets))
    return rising and count in (None, buckets[-1][1])


def _names(family: Family, *, openmetrics: bool) -> list[str]:
    """What the samples of a family may be called."""
    suffixes = _OPENMETRICS_SUFFIXES if openmetrics else _SUFFIXES
    name = _family_name(family, openmetrics=openmetrics)
    return [name, *(name + suffix for suffix in suffixes.get(family.type, ()))]


def _family_name(family: Family, *, openmetrics: bool) -> str:
    """In OpenMetrics a counter's family lacks the `_total` that its samples have."""
    counter = openmetrics and family.type is MetricType.COUNTER
    return family.name.removesuffix("_total") if counter else family.name


class _Writer:
    def __init__(self, exemplars: Mapping[int, Exemplar], *, openmetrics: bool) -> None:
        self.lines: list[str] = []
        self._exemplars, self._openmetrics = exemplars, openmetrics

    def family(self, family: Family, samples: Sequence[Newest]) -> None:
        """The lines of one family."""
        name = _family_name(family, openmetrics=self._openmetrics)
        type_ = "untyped" if family.type is MetricType.UNKNOWN and not self._openmetrics else family.type.value
        if family.help:
            self.lines.append(f"# HELP {name} {_escaped(family.help, quotes=self._openmetrics)}")
        self.lines.append(f"# TYPE {name} {type_}")
        if self._openmetrics and family.unit and name.endswith(f"_{family.unit}"):
            self.lines.append(f"# UNIT {name} {family.unit}")
        bound, end = _BOUND.get(family.type, ("", "")) if self._openmetrics else ("", "")
        for sample in samples:
            own = metric_name(sample.labels)
            self._sample(sample, own, bound if own == family.name + end else "", _exemplar_end(family.type))

    def _sample(self, sample: Newest, name: str, bound: str, exemplar_end: str) -> None:
        pairs = []
        for label, text in sample.labels:
            if label == bound:
                pairs.append(f'{label}="{_canonical(text)}"')
            elif label != NAME:
                pairs.append(f'{label}="{_escaped(text, quotes=True)}"')
        where = f"{name}{{{','.join(pairs)}}}" if pairs else name
        line = f"{where} {format_value(sample.value)} "
        if not self._openmetrics:
            self.lines.append(f"{line}{sample.timestamp}")
            return
        exemplar = self._exemplars.get(sample.id)
        line += format_value(sample.timestamp / 1000)
        if exemplar is not None and exemplar_end and name.endswith(exemplar_end):
            line += _exemplar(exemplar)
        self.lines.append(line)


def _canonical(bound: str) -> str:
    """`le` and `quantile` as OpenMetrics has them: a float shows that it is one."""
    return f"{bound}.0" if bound.removeprefix("-").isdigit() else bound


def _exemplar_end(type_: MetricType) -> str:
    """OpenMetrics allows exemplars on counters and buckets."""
    return {MetricType.COUNTER: "_total", MetricType.HISTOGRAM: "_bucket"}.get(type_, "")


def _exemplar(exemplar: Exemplar) -> str:
    """Behind a sample; nothing where its labels are longer than the 128 code points that OpenMetrics allows."""
    if sum(len(label) + len(text) for label, text in exemplar.labels) > EXEMPLAR_LABEL_CHARS_MAX:
        return ""
    pairs = ",".join(f'{label}="{_escaped(text, quotes=True)}"' for label, text in exemplar.labels)
    return f" # {{{pairs}}} {format_value(exemplar.value)} {format_value(exemplar.timestamp / 1000)}"


def _escaped(text: str, *, quotes: bool) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
