"""The room as the gateway joins it, in process: requests go in, and what is committed is kept in dictionaries."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mirubato.admission.columns import Decoded
from mirubato.admission.intake import Encoded, Intake
from mirubato.admission.labels import LabelLimits
from mirubato.admission.rules import TimeBounds
from mirubato.model.histogram import Buckets, Histogram
from mirubato.model.labels import Family, Labels
from mirubato.model.samples import Batch, Kind
from mirubato.model.seams import Outcome
from mirubato.remote_write.decoder import Decoder
from mirubato.storage.registry import Registry, Series, SeriesLimits
from tests.remote_write.encoding import V1, V2, Sent, v1, v2

NOW = 1_700_000_000_000
DAY = 86_400_000
MANY = SeriesLimits(active=1_000_000, new_per_minute=1_000_000)
ENCODERS: dict[str, Callable[..., bytes]] = {V1: v1, V2: v2}


@dataclass
class Held:
    """What was committed: bits of float64 by labels and time, histograms (None: a staleness marker), exemplars."""

    samples: dict[Labels, dict[int, int]] = field(default_factory=dict)
    natives: dict[Labels, dict[int, Histogram | None]] = field(default_factory=dict)
    exemplars: list[tuple[Labels, int, int, Labels]] = field(default_factory=list)


class Gate:
    """An intake with a registry; `commit` keeps what it yields."""

    def __init__(
        self, *, zero_samples: bool = False, limits: SeriesLimits = MANY, labels: LabelLimits | None = None
    ) -> None:
        self.registry = Registry(limits)
        self.decoder = Decoder(self.registry, labels or LabelLimits(64, 512, 4096))
        self.decoders: dict[str, Callable[[bytes], Decoded]] = {V1: self.decoder.decode_v1, V2: self.decoder.decode_v2}
        bounds = TimeBounds(7 * DAY, 600_000, zero_samples)
        self.intake = Intake(Encoded.decoded, self.registry.state, bounds)
        self.held = Held()

    def commit(self, *requests: tuple[str, bytes], fails: bool = False) -> Sequence[Outcome | Exception]:
        """Requests (version, body) that share a commit."""
        self.registry.begin(NOW)
        batch, answers = self.intake.prepare([Encoded(self.decoders[kind], body) for kind, body in requests], NOW)
        if fails:
            self.registry.undo()
            return answers
        self._keep(batch)
        self.registry.committed()
        return answers

    def send(self, version: str, *sent: Sent) -> Outcome:
        """One request that can be decoded."""
        (outcome,) = self.commit((version, ENCODERS[version](*sent)))
        assert isinstance(outcome, Outcome), outcome
        return outcome

    def refused(self, version: str, body: bytes) -> Exception:
        """What a request is answered that cannot be taken at all."""
        (error,) = self.commit((version, body))
        assert isinstance(error, Exception), error
        return error

    def series(self, name: str, kind: Kind = Kind.FLOAT) -> list[Series]:
        """The series of a metric."""
        return [
            one
            for one in self.registry.series
            if one is not None and one.kind is kind and ("__name__", name) in one.labels
        ]

    def families(self, name: str, kind: Kind = Kind.FLOAT) -> set[Family]:
        """The families of the series of a metric."""
        return {one.family for one in self.series(name, kind)}

    def _labels(self, slot: int) -> Labels:
        series = self.registry.series[slot]
        assert series is not None
        return series.labels

    def _keep(self, batch: Batch) -> None:
        floats = batch.floats
        rows = zip(floats.series.tolist(), floats.timestamps.tolist(), floats.values.tolist(), strict=True)
        for slot, time, value in rows:
            self.held.samples.setdefault(self._labels(slot), {})[time] = bits(value)
        for one in batch.histograms:
            histogram = None if one.stale else one.histogram
            self.held.natives.setdefault(self._labels(one.series), {})[one.timestamp] = histogram
        for example in batch.exemplars:
            labels = self._labels(example.series)
            self.held.exemplars.append((labels, example.timestamp, bits(example.value), example.labels))


def bits(value: float) -> int:
    """A float64 as the 64 bits that it is."""
    (number,) = struct.unpack("<Q", struct.pack("<d", value))
    return int(number)


def from_bits(number: int) -> float:
    """The float64 of 64 bits."""
    (value,) = struct.unpack("<d", struct.pack("<Q", number))
    return float(value)


def texts(outcome: Outcome) -> list[str]:
    """The sentences of an outcome."""
    return [rejection.reason.text for rejection in outcome.rejections]


def sparse(buckets: Buckets) -> dict[int, float]:
    """Counts of the buckets that hold something, by our index."""
    counts = enumerate(buckets.counts.tolist(), buckets.offset)
    return {index: count for index, count in counts if count}
