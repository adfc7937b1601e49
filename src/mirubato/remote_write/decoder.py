"""A remote write request, bytes -> columns: each series is looked up by the bytes that name it."""

import math
import struct
from collections.abc import Sequence

from mirubato.admission.columns import STALE, Decoded
from mirubato.admission.labels import LabelLimits
from mirubato.admission.natives import NO_HISTOGRAM
from mirubato.model.histogram import ResetHint
from mirubato.model.labels import STALE_NAN_BITS
from mirubato.model.samples import Exemplar, Kind
from mirubato.model.seams import PointRefused, Reason, SeriesRegistry
from mirubato.remote_write import remote_write_pb2 as wire
from mirubato.remote_write.metadata import family_of_texts
from mirubato.remote_write.natives import native
from mirubato.remote_write.requests import Request, TimeSeries, Told, Version1, Version2
from mirubato.remote_write.rows import Rows
from mirubato.remote_write.series import NONE, Known, SeriesCache, message_pairs, symbol_pairs

_STALE = struct.pack("<Q", STALE_NAN_BITS)
_NOTHING = Reason("invalid", "TimeSeries must contain at least one sample or histogram")


class Decoder:
    """Turns requests into columns of slots; makes the series it has not seen. One thread at a time.

    A request that is no message of its version is refused whole; everything else is judged series by series.
    """

    def __init__(self, registry: SeriesRegistry, limits: LabelLimits) -> None:
        self._registry, self._limits = registry, limits
        self._v1 = SeriesCache(registry, limits, message_pairs, parts=1)
        self._v2 = SeriesCache(registry, limits, symbol_pairs, parts=2)

    def decode_v1(self, body: bytes) -> Decoded:
        """Columns of a prometheus.WriteRequest; BadRequest or TooLarge for one that cannot be taken at all."""
        return self._decode(Version1(body), self._v1)

    def decode_v2(self, body: bytes) -> Decoded:
        """Columns of an io.prometheus.write.v2.Request; BadRequest or TooLarge for one that cannot be taken at all."""
        return self._decode(Version2(body), self._v2)

    def _decode(self, request: Request, cache: SeriesCache) -> Decoded:
        cache.refresh()
        rows = Rows()
        for metric in request.metrics():
            self._describe(metric, rows)
        for series in request.timeseries:
            try:
                key = request.key(series)
                known = cache.known.get(key) or cache.learn(key)
            except PointRefused as refused:
                rows.refuse(refused.reason, len(series.samples) + len(series.histograms) or 1)
                continue
            self._take(request, series, known, cache, rows)
        return rows.finished()

    def _take(self, request: Request, series: TimeSeries, known: Known, cache: SeriesCache, rows: Rows) -> None:
        """All that comes of one series."""
        samples, histograms, exemplars = series.samples, series.histograms, series.exemplars
        counts = request.tells and self._told(request, known, series, rows)
        if samples:
            self._take_samples(known, samples, cache, rows, counts=counts)
        if histograms:
            self._take_histograms(known, histograms, cache, rows, counts=counts)
        if exemplars:
            self._take_exemplars(request, known, series, cache, rows)
        elif not (samples or histograms):
            rows.refuse(_NOTHING, 1)

    def _told(self, request: Request, known: Known, series: TimeSeries, rows: Rows) -> bool:
        """Take the metadata of a series; whether it counts up from its start, if it has one."""
        try:
            told = request.told(known, series)
            if told is not None:
                self._describe(told, rows)
        except PointRefused as refused:
            rows.refuse(refused.reason, 1)
        return request.counts(known, series)

    def _describe(self, told: Told, rows: Rows) -> None:
        try:
            self._registry.describe(family_of_texts(*told, self._limits))
        except PointRefused as refused:
            rows.refuse(refused.reason, 1)

    def _take_samples(
        self, known: Known, samples: Sequence[wire.Sample], cache: SeriesCache, rows: Rows, *, counts: bool
    ) -> None:
        slot = known.floats
        if slot == NONE:
            try:
                if cache.only_histograms(known):
                    samples = _without_ends(cache.slot(known, Kind.HISTOGRAM), samples, rows)
                slot = cache.slot(known, Kind.FLOAT) if samples else NONE
            except PointRefused as refused:
                rows.refuse(refused.reason, len(samples))
                return
        for sample in samples:
            rows.samples.append((slot, sample.timestamp, sample.value, sample.start_timestamp if counts else 0))

    def _take_histograms(
        self, known: Known, histograms: Sequence[wire.Histogram], cache: SeriesCache, rows: Rows, *, counts: bool
    ) -> None:
        for message in histograms:
            stale = _is_stale(message.sum)
            try:
                histogram = NO_HISTOGRAM if stale else native(message)
                slot = cache.slot(known, Kind.HISTOGRAM)
            except PointRefused as refused:
                rows.refuse(refused.reason, 1)
                continue
            counted = counts and not stale and histogram.hint is not ResetHint.GAUGE
            start = message.start_timestamp if counted else 0
            rows.add_histogram(slot, message.timestamp, start, histogram, STALE if stale else 0)

    def _take_exemplars(
        self, request: Request, known: Known, series: TimeSeries, cache: SeriesCache, rows: Rows
    ) -> None:
        """Exemplars come with the samples of their series or, from Prometheus, by themselves."""
        for one in series.exemplars:
            try:
                kind = Kind.HISTOGRAM if cache.only_histograms(known) else Kind.FLOAT
                slot = cache.slot(known, kind)
                labels = cache.labels(request.key(one))
            except PointRefused as refused:
                rows.refuse(Reason(refused.reason.code, f"exemplar left out: {refused}"), 1)
                continue
            rows.decoded.exemplars.append(Exemplar(slot, one.timestamp, one.value, labels))


def _without_ends(slot: int, samples: Sequence[wire.Sample], rows: Rows) -> Sequence[wire.Sample]:
    """What is left when the staleness markers are taken for a series of native histograms.

    Who scrapes knows only that a series is gone, and marks its end with a float.
    """
    for sample in samples:
        if _is_stale(sample.value):
            rows.add_histogram(slot, sample.timestamp, 0, NO_HISTOGRAM, STALE)
    return [sample for sample in samples if not _is_stale(sample.value)]


def _is_stale(value: float) -> bool:
    return math.isnan(value) and struct.pack("<d", value) == _STALE
