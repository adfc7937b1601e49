"""Where the fixed-width fields of a ResourceMetrics are: the wire walker that makes a shape.

It knows only the plain form that exporters write (each field at most once, one data field a metric) and answers None
for anything else: that is then read by the projection every time. What it answers is checked against the projection's
reading before it is trusted.
"""

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mirubato.admission.columns import COUNTER, LEAD, Columns
from mirubato.model.labels import MetricType
from mirubato.model.samples import Float64s, Int64s
from mirubato.model.seams import PointRefused
from mirubato.otlp.points import sum_flags
from mirubato.otlp.streams import MetricIdentity, MetricStreams, ResourceStreams
from mirubato.otlp.wire_points import (
    BYTES,
    VARINT,
    Field,
    NotPlainError,
    Point,
    allow,
    histogram_point,
    number_point,
    read_fields,
    split_point,
)


@dataclass(slots=True)
class _Sample:
    """One sample: its slot and where its time, start and value are."""

    slot: int
    time: int
    start: int
    value: int
    flags: int


@dataclass(frozen=True, slots=True)
class FieldMap:
    """Where the fields of a shape are, and how they become columns.

    `offsets` are gathered as 8-byte windows, each once. `spread` picks from what was gathered: first the time of every
    sample, then every start, then every value. Samples are ordered by what their value is: doubles, signed integers,
    counts, then the rows of bucket counts.
    """

    points: int
    slots: Int64s
    flags: NDArray[np.uint8]
    offsets: Int64s
    spread: Int64s
    doubles: int
    integers: int
    counts: int
    rows: tuple[tuple[int, int], ...]
    """(histograms, buckets each) for each number of buckets; their samples are cumulated within a row."""
    firsts: tuple[int, ...]
    """One sample of the first point of each metric, in order."""

    def first_time(self, columns: Columns) -> int:
        """Time (ns) of a metric's first point, the first that is not 0."""
        times = columns.times
        return int(times[self.firsts[0]]) or next((int(time) for time in times[list(self.firsts)] if time), 0)

    def columns(self, gathered: NDArray[np.uint64]) -> Columns:
        """Gathered fields as columns."""
        fields = gathered[self.spread]
        count = len(self.slots)
        values = self._values(fields[2 * count :])
        return Columns(self.slots, fields[:count], fields[count : 2 * count], values, self.flags)

    def _values(self, raw: NDArray[np.uint64]) -> Float64s:
        """Value fields -> float64, in place: they are as wide."""
        values = raw.view(np.float64)
        low, high = self.doubles, self.doubles + self.integers
        if low < high:
            values[low:high] = raw[low:high].view(np.int64)
        at = high + self.counts
        for histograms, buckets in self.rows:
            row = raw[at : at + histograms * buckets].reshape(histograms, buckets)
            np.cumsum(row, axis=1, out=row)
            at += histograms * buckets
        if high < len(raw):
            values[high:] = raw[high:]
        return values


@dataclass(slots=True)
class _Found:
    """What the walk has met so far."""

    absent: int
    doubles: list[_Sample] = field(default_factory=list)
    integers: list[_Sample] = field(default_factory=list)
    counts: list[_Sample] = field(default_factory=list)
    rows: dict[int, list[_Sample]] = field(default_factory=dict)
    ignored: list[int] = field(default_factory=list)
    """Fields that change but are not stored: a histogram's minimum, maximum and last bucket (`+Inf` is its count)."""
    times: list[int] = field(default_factory=list)
    """Where the time of each point is."""
    first_times: list[int] = field(default_factory=list)
    """Where the time of each metric's first point is."""

    def when(self, point: Point) -> tuple[int, int]:
        """Where the time and the start of a point are; takes note of the point."""
        self.times.append(point.at(3, self.absent))
        return self.times[-1], point.at(2, self.absent)


def map_fields(encoded: bytes, resource: ResourceStreams) -> FieldMap | None:
    """The fields of a ResourceMetrics whose series `resource` knows, or None if it has no plain form."""
    found = _Found(absent=len(encoded))
    try:
        for number, kind, begin, end in read_fields(encoded, 0, len(encoded)):
            if number == 2 and kind == BYTES:
                _walk_scope(encoded, begin, end, resource, found)
        return _assembled(found)
    except (NotPlainError, PointRefused, IndexError, KeyError, ValueError):
        return None


def _assembled(found: _Found) -> FieldMap:
    widths = sorted(width for width in found.rows if width)
    samples = found.doubles + found.integers + found.counts
    for width in widths:
        samples += found.rows[width]
    if len({sample.slot for sample in samples}) < len(samples):
        raise NotPlainError  # of two samples of one series the later counts, and here they are not in order of arrival
    places = {sample.time: place for place, sample in enumerate(samples)}
    used = [s.time for s in samples] + [s.start for s in samples] + [s.value for s in samples]
    offsets, spread = np.unique(np.array(used + found.ignored, np.int64), return_inverse=True)
    return FieldMap(
        len(found.times),
        np.array([sample.slot for sample in samples], np.int64),
        np.array([sample.flags for sample in samples], np.uint8),
        offsets,
        spread[: len(used)],
        len(found.doubles),
        len(found.integers),
        len(found.counts),
        tuple((len(found.rows[width]) // width, width) for width in widths),
        tuple(places[time] for time in found.first_times),
    )


def _walk_scope(data: bytes, begin: int, end: int, resource: ResourceStreams, found: _Found) -> None:
    for number, kind, low, high in read_fields(data, begin, end):
        if number == 2 and kind == BYTES:
            _walk_metric(data, low, high, resource, found)


def _walk_metric(data: bytes, begin: int, end: int, resource: ResourceStreams, found: _Found) -> None:
    texts = {1: "", 2: "", 3: ""}
    body: Field | None = None
    for part in read_fields(data, begin, end):
        number, kind, low, high = part
        if number in texts and kind == BYTES:
            texts[number] = data[low:high].decode()
        elif number in (5, 7, 9, 11) and kind == BYTES and body is None:
            body = part
        else:
            raise NotPlainError
    if body is None:
        return
    number, _, low, high = body
    points, temporality, monotonic = _walk_data(data, low, high)
    identity, flags = _identity(number, texts[1], texts[3], temporality, monotonic=monotonic)
    streams = resource.metric(identity, texts[2])
    walk = {5: _walk_number, 7: _walk_number, 9: _walk_histogram, 11: _walk_summary}[number]
    before = len(found.times)
    for low, high in points:
        walk(data, low, high, streams, flags, found)
    found.first_times += found.times[before : before + 1]


def _walk_data(data: bytes, begin: int, end: int) -> tuple[list[tuple[int, int]], int, bool]:
    points: list[tuple[int, int]] = []
    scalars: dict[int, int] = {}
    for number, kind, low, high in read_fields(data, begin, end):
        if number == 1 and kind == BYTES:
            points.append((low, high))
        elif number in (2, 3) and kind == VARINT and number not in scalars:
            scalars[number] = low
        else:
            raise NotPlainError
    return points, scalars.get(2, 0), bool(scalars.get(3, 0))


def _identity(number: int, name: str, unit: str, temporality: int, *, monotonic: bool) -> tuple[MetricIdentity, int]:
    if number == 5:
        return MetricIdentity(name, unit, MetricType.GAUGE), 0
    if number == 11:
        return MetricIdentity(name, unit, MetricType.SUMMARY), COUNTER
    monotonic = monotonic or number == 9
    flags = sum_flags(temporality, monotonic=monotonic)
    if flags is None:
        raise NotPlainError
    if number == 9:
        return MetricIdentity(name, unit, MetricType.HISTOGRAM), flags
    return MetricIdentity(name, unit, MetricType.COUNTER if monotonic else MetricType.GAUGE, sum=True), flags


def _walk_number(data: bytes, begin: int, end: int, streams: MetricStreams, flags: int, found: _Found) -> None:
    point, value = number_point(data, begin, end)
    time, start = found.when(point)
    sample = _Sample(streams.numbers[point.key], time, start, value, flags | LEAD)
    (found.doubles if 4 in point.once else found.integers).append(sample)


def _walk_histogram(data: bytes, begin: int, end: int, streams: MetricStreams, flags: int, found: _Found) -> None:
    fields = histogram_point(data, begin, end)
    point, buckets = fields.point, len(fields.bounds)
    slots = streams.groups[point.key, fields.bounds]
    time, start = found.when(point)
    samples = [_Sample(slot, time, start, fields.counts + 8 * index, flags) for index, slot in enumerate(slots)]
    row, totals, total_sum = samples[:buckets], samples[buckets:-1], samples[-1]
    samples[0].flags |= LEAD
    found.rows.setdefault(buckets, []).extend(row)
    for sample in totals:
        sample.value = point.at(4, found.absent)
    found.counts += totals
    if 5 in point.once:
        total_sum.value = point.once[5][2]
        found.doubles.append(total_sum)
    found.ignored += [point.once[number][2] for number in (11, 12) if number in point.once]
    if 6 in point.once:
        found.ignored.append(fields.counts + 8 * buckets)


def _walk_summary(data: bytes, begin: int, end: int, streams: MetricStreams, _flags: int, found: _Found) -> None:
    point = split_point(data, begin, end, 7, repeated=6)
    allow(point, (2, 3, 4, 5))
    entries = [_quantile(data, low, high, found.absent) for low, high in point.repeated]
    slots = streams.groups[point.key, tuple(quantile for quantile, _ in entries)]
    time, start = found.when(point)
    quantiles = [_Sample(slot, time, start, at, 0) for slot, (_, at) in zip(slots, entries, strict=False)]
    count = _Sample(slots[-2], time, start, point.at(4, found.absent), COUNTER)
    total = _Sample(slots[-1], time, start, point.at(5, found.absent), COUNTER)
    (quantiles or [count])[0].flags |= LEAD
    found.doubles += [*quantiles, total]
    found.counts.append(count)


def _quantile(data: bytes, begin: int, end: int, absent: int) -> tuple[float, int]:
    """(quantile, where its value is) of a ValueAtQuantile."""
    point = split_point(data, begin, end, 0)
    allow(point, (1, 2))
    quantile = struct.unpack_from("<d", data, point.once[1][2])[0] if 1 in point.once else 0.0
    return quantile, point.at(2, absent)
