"""Layouts: the points of a metric have their fixed-width fields before or after the attributes, always alike.

So a point whose whole request has no known shape can still be read without being parsed: what is between the fields
(the attributes, framed) is a key to its series, and the fields of many points are gathered at once. All bytes are
looked at: the key is compared by the dictionary, the rest with the layout's template. It costs 0.4 us a point; to parse
it costs 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mirubato.admission.columns import LEAD
from mirubato.otlp.wire_points import BYTES, NotPlainError, Point, histogram_point, number_point, read_fields

_ABSENT = -1


class LayoutMismatchError(Exception):
    """A point was not what its key made it look like: the request is to be read without layouts."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the fields of a point are, in what is left of it without its attributes.

    Compared by identity: `Streams.layout_of` makes each one once, and hashing all of it would cost 1 us a metric.
    """

    before: int
    """Bytes before the attributes."""
    after: int
    """Bytes after them."""
    template: bytes
    """Those bytes, with every changing field zeroed."""
    fields: tuple[int, ...]
    """Offsets of time, start (-1: not there), and the values; of a histogram first its bucket counts."""
    ignored: tuple[int, ...]
    """Offsets of fields that change and are not stored."""
    buckets: int | None
    """Bounds of a histogram; None for a number."""
    integer: bool
    """Whether a number is an integer."""
    attributes: int
    """Field number of the attributes."""

    @cached_property
    def samples(self) -> int:
        """Samples that one point makes: a histogram's count is two, `+Inf` and `_count`."""
        return len(self.fields) - 2 + (self.buckets is not None)

    @cached_property
    def _between(self) -> slice:
        return slice(self.before, -self.after or None)

    def key(self, point: bytes) -> bytes:
        """What names the series; nothing sensible for a point that is too short, which `fixed` tells."""
        return point[self._between]

    def keys(self, points: Sequence[bytes]) -> list[bytes]:
        """The keys of several points."""
        between = self._between
        return [point[between] for point in points]

    def fits(self, point: bytes) -> bool:
        """Whether a point has this layout."""
        if len(point) < len(self.template):
            return False
        fixed = bytearray(point[: self.before] + point[len(point) - self.after :])
        for offset in (*self.fields, *self.ignored):
            if offset != _ABSENT:
                fixed[offset : offset + 8] = bytes(8)
        return fixed == self.template and _only_attributes(self.key(point), self.attributes)

    def fixed(self, points: Sequence[bytes], keys: Sequence[bytes]) -> bytes:
        """The other bytes of some points, one after the other; LayoutMismatchError if one is too short."""
        low, high = self.before, self.after
        if not high:
            joined = b"".join([point[:low] for point in points])
        elif not low:
            joined = b"".join([point[-high:] for point in points])
        else:
            joined = b"".join([part for point in points for part in (point[:low], point[-high:])])
        if sum(map(len, points)) != len(joined) + sum(map(len, keys)):
            raise LayoutMismatchError
        return joined

    def read(self, fixed: bytes) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float64]]:
        """(times, starts, values by point and sample); LayoutMismatchError if a byte differs that should not."""
        size = len(self.template)
        count, rest = divmod(len(fixed), size)
        if rest:
            raise LayoutMismatchError
        rows = np.frombuffer(bytearray(fixed), np.uint8)
        windows = np.ndarray((count, size - 7), "<u8", rows, 0, (size, 1))
        used = [offset for offset in self.fields if offset != _ABSENT]
        gathered = windows[:, used]
        windows[:, [*used, *self.ignored]] = 0
        if rows.tobytes() != self.template * count:
            raise LayoutMismatchError
        if self.fields[1] == _ABSENT:
            return gathered[:, 0], np.zeros(count, np.uint64), self._values(gathered[:, 1:])
        return gathered[:, 0], gathered[:, 1], self._values(gathered[:, 2:])

    def _values(self, raw: NDArray[np.uint64]) -> NDArray[np.float64]:
        if self.buckets is None:
            raw = np.ascontiguousarray(raw)
            return raw.view(np.int64).astype(np.float64) if self.integer else raw.view(np.float64)
        values = np.empty((len(raw), self.samples))
        values[:, : self.buckets] = raw[:, : self.buckets].cumsum(axis=1)
        values[:, self.buckets] = values[:, self.buckets + 1] = raw[:, self.buckets]
        if self.samples == self.buckets + 3:
            values[:, -1] = np.ascontiguousarray(raw[:, -1]).view(np.float64)
        return values


def number_layout(point: bytes) -> Layout | None:
    """The layout of a NumberDataPoint, or None if it has no plain form."""
    try:
        plain, value = number_point(point, 0, len(point))
        return _layout(point, plain, (value,), (), None, integer=6 in plain.once, attributes=7)
    except (NotPlainError, IndexError, ValueError):
        return None


def histogram_layout(point: bytes) -> Layout | None:
    """The layout of a HistogramDataPoint, or None if it has no plain form."""
    try:
        found = histogram_point(point, 0, len(point))
        plain, bounds, counts = found.point, len(found.bounds), found.counts
        if 4 not in plain.once:
            return None
        values = [*range(counts, counts + 8 * bounds, 8), plain.once[4][2]]
        values += [plain.once[5][2]] if 5 in plain.once else []
        ignored = [plain.once[number][2] for number in (11, 12) if number in plain.once]
        ignored += [counts + 8 * bounds] if 6 in plain.once else []
        return _layout(point, plain, tuple(values), tuple(ignored), bounds, integer=False, attributes=9)
    except (NotPlainError, IndexError, ValueError):
        return None


def _layout(
    point: bytes,
    plain: Point,
    values: tuple[int, ...],
    ignored: tuple[int, ...],
    buckets: int | None,
    *,
    integer: bool,
    attributes: int,
) -> Layout | None:
    if 3 not in plain.once or not plain.together:
        return None
    low, high = (plain.spans[0][0], plain.spans[-1][1]) if plain.spans else (len(point), len(point))
    after = len(point) - high

    def moved(offset: int) -> int:
        return offset if offset < low else offset - (high - low)

    start = moved(plain.once[2][2]) if 2 in plain.once else _ABSENT
    fields = (moved(plain.once[3][2]), start, *map(moved, values))
    template = bytearray(point[:low] + point[high:])
    unstored = tuple(map(moved, ignored))
    for offset in (*fields, *unstored):
        if offset != _ABSENT:
            template[offset : offset + 8] = bytes(8)
    return Layout(low, after, bytes(template), fields, unstored, buckets, integer, attributes)


def _only_attributes(between: bytes, number: int) -> bool:
    """Whether some bytes are nothing but entries of one field."""
    try:
        return all(part[0] == number and part[1] == BYTES for part in read_fields(between, 0, len(between)))
    except (NotPlainError, IndexError):
        return False


@dataclass(slots=True)
class KnownPoints:
    """The series of one metric whose points have one layout, by key; a histogram's are several slots."""

    layout: Layout
    slots: dict[bytes, tuple[int, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class LayoutGroup:
    """Points of one layout that wait to be read together, from many metrics."""

    layout: Layout
    fixed: list[bytes] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    flags: bytearray = field(default_factory=bytearray)
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    """(number of the first point, points) of each addition."""

    def add(self, fixed: bytes, slots: Sequence[tuple[int, ...]], flags: int, arrived: int) -> None:
        """Points in order of arrival, the first of which is number `arrived` of the request."""
        count, more = len(slots), self.layout.samples - 1
        self.fixed.append(fixed)
        self.slots += chain.from_iterable(slots)
        self.flags += bytes((flags | LEAD, *[flags] * more)) * count
        self.arrivals.append((arrived, count))
