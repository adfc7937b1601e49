"""The otlp room as the gateway joins it, in process: requests go in, and what is committed is kept in dictionaries."""

from collections import Counter
from collections.abc import Sequence

from mirubato.admission.columns import Columns
from mirubato.admission.intake import Intake
from mirubato.admission.labels import LabelLimits
from mirubato.admission.rules import TimeBounds
from mirubato.model.histogram import Buckets, Histogram
from mirubato.model.samples import Batch
from mirubato.model.seams import Outcome
from mirubato.otlp.decoder import Decoder
from mirubato.otlp.layouts import Layout
from mirubato.otlp.shapes import Shape, Shapes
from mirubato.otlp.streams import Learn, Streams
from mirubato.storage.registry import Registry, SeriesLimits
from tests.otlp.reference import Answer, Held, Labels, Native, Rules, bits

MANY = SeriesLimits(active=1_000_000, new_per_minute=1_000_000)


class CountingShapes(Shapes):
    """Counts how often a shape was known; or knows none."""

    def __init__(self, *, blind: bool) -> None:
        super().__init__()
        self.blind = blind
        self.hits = 0

    def match(self, encoded: bytes) -> tuple[Shape, Columns] | None:
        found = None if self.blind else super().match(encoded)
        self.hits += found is not None
        return found


class NoLayouts(Streams):
    """Learns no layouts."""

    def layout_of(self, point: bytes, learn: Learn) -> Layout | None:
        return None


class Gate:
    """An intake with a registry; `commit` keeps what it yields."""

    def __init__(self, rules: Rules, *, limits: SeriesLimits = MANY, shapes: bool = True, layouts: bool = True) -> None:
        self.registry = Registry(limits)
        label_limits = LabelLimits(rules.labels, rules.name_bytes, rules.value_bytes)
        self.decoder = Decoder(self.registry, label_limits, rules.promoted)
        self.shapes = self.decoder._shapes = CountingShapes(blind=not shapes)
        if not layouts:
            self.decoder._streams = NoLayouts(self.registry, label_limits, rules.promoted)
        bounds = TimeBounds(rules.retention, rules.future, rules.zero_samples)
        self.intake = Intake(self.decoder.decode, self.registry.state, bounds)
        self.held = Held()

    def commit(self, bodies: Sequence[bytes], now: int) -> Sequence[Outcome | Exception]:
        """Requests that share a commit."""
        self.registry.begin(now)
        batch, answers = self.intake.prepare(bodies, now)
        self._keep(batch, self.held)
        self.registry.committed()
        return answers

    def attempt(
        self, bodies: Sequence[bytes], now: int, *, forget: bool = True
    ) -> tuple[Held, Sequence[Outcome | Exception]]:
        """The same, but the commit fails: what would have been stored.

        Without `forget`, what was learned stays unless there are new series; then only target_info is not what it was.
        """
        self.registry.begin(now)
        batch, answers = self.intake.prepare(bodies, now)
        held = Held()
        self._keep(batch, held)
        if forget or self.registry.unsaved():
            self.registry.undo()
        else:
            self.registry.state.undo()
        return held, answers

    def labels(self, slot: int) -> Labels:
        """The labels of an active series."""
        series = self.registry.series[slot]
        assert series is not None
        return series.labels

    def _keep(self, batch: Batch, held: Held) -> None:
        floats = batch.floats
        rows = zip(floats.series.tolist(), floats.timestamps.tolist(), floats.values.tolist(), strict=True)
        for slot, time, value in rows:
            held.samples.setdefault(self.labels(slot), {})[time] = bits(value)
        for sample in batch.histograms:
            shown = None if sample.stale else plain(sample.histogram)
            held.natives.setdefault(self.labels(sample.series), {})[sample.timestamp] = shown
        for one in batch.exemplars:
            held.exemplars.append((self.labels(one.series), one.timestamp, bits(one.value), one.labels))


def plain(histogram: Histogram) -> Native:
    """A native histogram as the reference has it."""
    return Native(
        histogram.count,
        repr(histogram.sum),
        histogram.zero_count,
        histogram.zero_threshold,
        histogram.schema,
        _sparse(histogram.positive),
        _sparse(histogram.negative),
    )


def _sparse(buckets: Buckets) -> dict[int, float]:
    return {index: count for index, count in enumerate(buckets.counts, buckets.offset) if count}


def answer(outcome: Outcome | Exception) -> Answer:
    """An outcome as the reference has it."""
    assert isinstance(outcome, Outcome), outcome
    rejected: Counter[str] = Counter()
    for rejection in outcome.rejections:
        rejected[rejection.reason.code] += rejection.count
    return Answer(outcome.accepted, +rejected)


def texts(outcome: Outcome | Exception) -> list[str]:
    """The sentences of an outcome."""
    assert isinstance(outcome, Outcome), outcome
    return [rejection.reason.text for rejection in outcome.rejections]
