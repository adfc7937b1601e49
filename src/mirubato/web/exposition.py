"""Newest samples as text: Prometheus' format 0.0.4, and OpenMetrics 1.0 with exemplars.

Sources: prometheus/docs, instrumenting/exposition_formats.md and specs/om/open_metrics_spec.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mirubato.limits import EXEMPLAR_LABEL_CHARS_MAX
from mirubato.model.labels import NAME, Family, Labels, MetricType, format_value, labels_of
from mirubato.model.samples import Exemplar
from mirubato.model.seams import Newest

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Format:
    """One of the two formats, and the content type to answer with."""

    openmetrics: bool
    content_type: str


def negotiate(accept: str) -> Format:
    """The format for an Accept header: OpenMetrics where it is asked for at least as much as plain text."""
    best: tuple[float, bool, str] = (0.0, False, "")
    for part in accept.split(","):
        kind, _, rest = part.strip().partition(";")
        options = dict(option.strip().partition("=")[::2] for option in rest.split(";") if "=" in option)
        wanted = kind.strip().lower() == "application/openmetrics-text"
        if wanted or kind.strip().lower() in ("text/plain", "text/*", "*/*"):
            best = max(best, (_quality(options.get("q", "1")), wanted, options.get("escaping", "")))
    _, openmetrics, escaping = best
    if not openmetrics:
        return Format(openmetrics=False, content_type=TEXT)
    return Format(openmetrics=True, content_type=OPENMETRICS + (f"; escaping={escaping}" if escaping else ""))


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def render(newest: Sequence[Newest], exemplars: Mapping[int, Exemplar], *, openmetrics: bool) -> str:
    """All samples, one group for each family; `exemplars` by series id, for OpenMetrics only."""
    writer = _Writer(exemplars if openmetrics else {}, openmetrics=openmetrics)
    for family, samples in _by_family(newest).items():
        writer.family(family, samples)
    if openmetrics:
        writer.lines.append("# EOF")
    return "\n".join(writer.lines) + "\n" if writer.lines else ""


def _by_family(newest: Sequence[Newest]) -> dict[Family, list[Newest]]:
    """Samples by family; two types may not share a name, so the second one's series stand as untyped ones."""
    owners: dict[str, Family] = {}
    groups: dict[Family, list[Newest]] = {}
    for sample in newest:
        family = sample.family
        if owners.setdefault(family.name, family) is not family and owners[family.name] != family:
            name = next(value for label, value in sample.labels if label == NAME)
            family = Family(name, MetricType.UNKNOWN)
            if owners.setdefault(name, family) != family:
                continue
        groups.setdefault(family, []).append(sample)
    return groups


class _Writer:
    def __init__(self, exemplars: Mapping[int, Exemplar], *, openmetrics: bool) -> None:
        self.lines: list[str] = []
        self._exemplars, self._openmetrics = exemplars, openmetrics

    def family(self, family: Family, samples: Sequence[Newest]) -> None:
        name = family.name
        if self._openmetrics and family.type is MetricType.COUNTER:
            name = name.removesuffix("_total")
        type_ = "untyped" if family.type is MetricType.UNKNOWN and not self._openmetrics else family.type.value
        if family.help:
            self.lines.append(f"# HELP {name} {_escaped(family.help, quotes=self._openmetrics)}")
        self.lines.append(f"# TYPE {name} {type_}")
        if self._openmetrics and family.unit and name.endswith(f"_{family.unit}"):
            self.lines.append(f"# UNIT {name} {family.unit}")
        for sample in _in_order(samples):
            if sample.histogram is None:
                self._sample(sample.labels, sample.value, sample.timestamp, sample.id)
            else:
                self._native(sample)

    def _native(self, sample: Newest) -> None:
        """A native histogram as classic buckets: text cannot carry it."""
        assert sample.histogram is not None
        plain = [(name, value) for name, value in sample.labels if name != NAME]
        name = next(value for label, value in sample.labels if label == NAME)
        for bound, count in sample.histogram.classic_buckets():
            labels = labels_of([*plain, ("le", format_value(bound)), (NAME, f"{name}_bucket")])
            self._sample(labels, count, sample.timestamp, 0)
        for suffix, value in (("_sum", sample.histogram.sum), ("_count", sample.histogram.count)):
            self._sample(labels_of([*plain, (NAME, name + suffix)]), value, sample.timestamp, 0)

    def _sample(self, labels: Labels, value: float, timestamp: int, id_: int) -> None:
        name, pairs = "", []
        for label, text in labels:
            if label == NAME:
                name = text
            else:
                pairs.append(f'{label}="{_escaped(text, quotes=True)}"')
        where = f"{name}{{{','.join(pairs)}}}" if pairs else name
        time = format_value(timestamp / 1000) if self._openmetrics else str(timestamp)
        self.lines.append(f"{where} {format_value(value)} {time}{self._exemplar(name, id_)}")

    def _exemplar(self, name: str, id_: int) -> str:
        """OpenMetrics allows exemplars on buckets and counters, with labels of at most 128 code points."""
        exemplar = self._exemplars.get(id_)
        if exemplar is None or not name.endswith(("_bucket", "_total")):
            return ""
        if sum(len(label) + len(text) for label, text in exemplar.labels) > EXEMPLAR_LABEL_CHARS_MAX:
            return ""
        pairs = ",".join(f'{label}="{_escaped(text, quotes=True)}"' for label, text in exemplar.labels)
        return f" # {{{pairs}}} {format_value(exemplar.value)} {format_value(exemplar.timestamp / 1000)}"


def _in_order(samples: Sequence[Newest]) -> Iterable[Newest]:
    """The samples of one point next to each other, its buckets by rising `le`, as the formats ask."""
    if not any(label == "le" for label, _ in samples[0].labels):
        return samples
    groups: dict[Labels, list[tuple[float, Newest]]] = {}
    for sample in samples:
        plain = tuple(pair for pair in sample.labels if pair[0] not in (NAME, "le"))
        le = next((float(value) for name, value in sample.labels if name == "le"), float("inf"))
        groups.setdefault(plain, []).append((le, sample))
    return [sample for group in groups.values() for _, sample in sorted(group, key=lambda entry: entry[0])]


def _escaped(text: str, *, quotes: bool) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
