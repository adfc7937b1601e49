"""Known shapes: two exports of the same instruments differ only in fixed-width fields at known offsets.

Every value of a gauge, sum, histogram or summary point is fixed-width on the wire (fixed64, sfixed64, double, packed
fixed64), start and time too. So a shape is a template of one `ResourceMetrics` with those fields zeroed, and the
offsets of the fields. To match, the bytes are copied, the fields gathered and zeroed, and the rest is compared with
the template: a hit is proof, not a guess. It costs 0.07 us a point; the projection costs 1.5.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirubato.admission.columns import Columns
from mirubato.limits import SHAPE_CACHE_BYTES_MAX, SHAPE_SIGHTINGS_MAX, SHAPES_PER_KEY_MAX
from mirubato.otlp.fields import FieldMap, map_fields
from mirubato.otlp.streams import ResourceStreams
from mirubato.otlp.wire_points import BYTES

_Key = tuple[int, bytes]
"""Length of the ResourceMetrics, and its leading bytes: the resource."""

_RESOURCE = 1 << 3 | BYTES
"""The tag of `resource` in a ResourceMetrics."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A template, whose it is, and where its values are."""

    resource: ResourceStreams
    points: int
    template: bytes
    layout: FieldMap

    @property
    def nbytes(self) -> int:
        """Memory that the shape takes."""
        layout = self.layout
        return len(self.template) + layout.offsets.nbytes + layout.spread.nbytes + 9 * len(layout.slots) + 500


class Shapes:
    """The shapes learned so far, bounded in bytes; the least recently used go first."""

    def __init__(self) -> None:
        self._shapes: OrderedDict[_Key, list[Shape]] = OrderedDict()
        self._sightings: OrderedDict[int, bool] = OrderedDict()
        """What came once and has no shape: whether it was tried in vain to make one."""
        self._bytes = 0
        self._scratch = np.zeros(1 << 16, np.uint8)

    def clear(self) -> None:
        """Forget everything: slots may have died."""
        self._shapes.clear()
        self._sightings.clear()
        self._bytes = 0

    def match(self, encoded: bytes) -> tuple[Shape, Columns] | None:
        """The shape of these bytes and their columns, or None."""
        key = _key(encoded)
        candidates = self._shapes.get(key)
        if candidates is None:
            return None
        for shape in candidates:
            fields = self._gather(encoded, shape)
            if fields is not None:
                self._shapes.move_to_end(key)
                return shape, shape.layout.columns(fields)
        return None

    def sighted(self, encoded: bytes, signature: tuple[int, ...]) -> bool:
        """Note that these bytes came with these series; whether they came before, so that learning is worth it.

        The second sighting is asked for because learning costs 15 us a point; the series are part of what is
        remembered, so that points in ever new orders are never learned.
        """
        sighting = hash((_key(encoded), signature))
        if sighting in self._sightings:
            return not self._sightings[sighting]
        self._sightings[sighting] = False
        if len(self._sightings) > SHAPE_SIGHTINGS_MAX:
            self._sightings.popitem(last=False)
        return False

    def learn(
        self,
        encoded: bytes,
        signature: tuple[int, ...],
        resource: ResourceStreams,
        columns: Columns | None,
        points: int,
    ) -> None:
        """Make a shape of bytes that were just read as `columns`, if they have a plain form."""
        key = _key(encoded)
        shape = None if columns is None else self._made(encoded, resource, points)
        if shape is not None and columns is not None and self._agrees(shape, encoded, columns):
            self._keep(key, shape)
            self._sightings.pop(hash((key, signature)), None)
        else:
            self._sightings[hash((key, signature))] = True

    def _made(self, encoded: bytes, resource: ResourceStreams, points: int) -> Shape | None:
        layout = map_fields(encoded, resource)
        if layout is None or layout.points != points:
            return None
        template = np.frombuffer(bytearray(encoded) + bytes(8), np.uint8)
        _windows(template, len(encoded))[layout.offsets] = 0
        return Shape(resource, points, template[: len(encoded)].tobytes(), layout)

    def _agrees(self, shape: Shape, encoded: bytes, columns: Columns) -> bool:
        """Whether the shape reads the very same samples as the projection did: the last check before it is trusted."""
        fields = self._gather(encoded, shape)
        return fields is not None and _rows(shape.layout.columns(fields)) == _rows(columns)

    def _keep(self, key: _Key, shape: Shape) -> None:
        shapes = self._shapes.setdefault(key, [])
        shapes.insert(0, shape)
        self._bytes += shape.nbytes
        if len(shapes) > SHAPES_PER_KEY_MAX:
            self._bytes -= shapes.pop().nbytes
        while self._bytes > SHAPE_CACHE_BYTES_MAX and len(self._shapes) > 1:
            _, dropped = self._shapes.popitem(last=False)
            self._bytes -= sum(old.nbytes for old in dropped)

    def _gather(self, encoded: bytes, shape: Shape) -> NDArray[np.uint64] | None:
        """The values of all fields if everything else equals the template."""
        length = len(encoded)
        if length + 8 > len(self._scratch):
            self._scratch = np.zeros(2 * length + 8, np.uint8)
        scratch = self._scratch
        scratch[:length] = np.frombuffer(encoded, np.uint8)
        scratch[length : length + 8] = 0  # what a field that is not on the wire reads as
        windows, offsets = _windows(scratch, length), shape.layout.offsets
        fields: NDArray[np.uint64] = windows[offsets]
        windows[offsets] = 0
        return fields if scratch[:length].tobytes() == shape.template else None


def _windows(buffer: NDArray[np.uint8], length: int) -> NDArray[np.uint64]:
    """The 8 bytes from each offset on as a little-endian number; they overlap, so gathering needs no copy."""
    return np.ndarray((length + 1,), "<u8", buffer, 0, (1,))


def _key(encoded: bytes) -> _Key:
    """Length and the resource, if that comes first, as exporters write it: values must have no part in a key."""
    if len(encoded) < 3 or encoded[0] != _RESOURCE:
        return len(encoded), b""
    low, high = encoded[1], encoded[2]
    size = low + 2 if low < 128 else (low & 127) + (high << 7) + 3
    return len(encoded), encoded[: min(size, 4096)]


def _rows(columns: Columns) -> bytes:
    """Columns in an order of their own, as bytes, so that two can be compared bit by bit."""
    order = np.lexsort((columns.values.view(np.uint64), columns.times, columns.slots))
    return b"".join(
        column[order].tobytes()
        for column in (columns.slots, columns.times, columns.starts, columns.values, columns.flags)
    )
