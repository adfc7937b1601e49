"""From what names a series in a request to its slots, looked up by its bytes."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from mirubato.admission.labels import LabelLimits
from mirubato.limits import ATTRIBUTE_CACHE_ENTRIES_MAX, ATTRIBUTE_CACHE_ENTRY_BYTES
from mirubato.model.labels import Family, Labels, MetricType, labels_of, metric_name
from mirubato.model.samples import Kind
from mirubato.model.seams import PointRefused, SeriesRegistry
from mirubato.remote_write import remote_write_pb2 as wire

Key = tuple[bytes, ...]
"""What names a series: its labels as messages (version 1), or names and values in turn (version 2)."""

Pairs = Callable[[Key], list[tuple[bytes, bytes]]]

NONE = -1


@dataclass(slots=True)
class Known:
    """One set of labels, and the slots of its series as far as there are any."""

    key: Key
    name: str
    quantile: bool
    """Whether it can be a quantile of a summary: no counter, though the summary has a start."""
    labels: Labels | None
    """Only until it has a slot, for they take more memory than all else here: 1.4 of 1.8 kB."""
    floats: int = NONE
    histograms: int = NONE


class SeriesCache:
    """The series of one version's requests; forgets them when the registry's epoch changes or too many gather."""

    def __init__(self, registry: SeriesRegistry, limits: LabelLimits, pairs: Pairs, parts: int) -> None:
        """`pairs` takes a key apart, `parts` of which make one label."""
        self._registry, self._limits = registry, limits
        self._pairs, self._parts = pairs, parts
        self._epoch = registry.epoch
        self._entries = 0
        self._parts_seen: dict[bytes, bytes] = {}
        self.known: dict[Key, Known] = {}

    def refresh(self) -> None:
        """Call between requests."""
        if self._epoch != self._registry.epoch or self._entries > ATTRIBUTE_CACHE_ENTRIES_MAX:
            self._epoch = self._registry.epoch
            self._entries = 0
            self.known.clear()
            self._parts_seen.clear()

    def learn(self, key: Key) -> Known:
        """What is named by a key that is not known; PointRefused where labels are wrong."""
        labels = self.labels(key)
        name = metric_name(labels)
        if not name:
            raise PointRefused("invalid", "a series without a metric name (the label __name__)")
        key = self._shared(key)
        quantile = any(label == "quantile" for label, _ in labels)
        known = self.known[key] = Known(key, sys.intern(name), quantile, labels)
        self._entries += 1
        return known

    def slot(self, known: Known, kind: Kind) -> int:
        """The slot of its series of a kind, made if need be; PointRefused past a limit."""
        slot = known.floats if kind is Kind.FLOAT else known.histograms
        if slot != NONE:
            return slot
        slot = self._registry.propose(self._labels_of(known), kind, Family(known.name, MetricType.UNKNOWN))
        known.labels = None
        if kind is Kind.FLOAT:
            known.floats = slot
        else:
            known.histograms = slot
        return slot

    def only_histograms(self, known: Known) -> bool:
        """Whether all that came of it lately were native histograms."""
        if known.floats != NONE:
            return False
        float_, histogram = (
            self._registry.slot_of(self._labels_of(known), kind) for kind in (Kind.FLOAT, Kind.HISTOGRAM)
        )
        return float_ is None and histogram is not None

    def _labels_of(self, known: Known) -> Labels:
        return self.labels(known.key) if known.labels is None else known.labels

    def labels(self, key: Key) -> Labels:
        """Labels of a series or an exemplar, sorted; PointRefused where they are wrong."""
        self._limits.check((), len(key) // self._parts)  # before a million of them are looked at
        labels = labels_of(_unique(_texts(self._pairs(key))))
        self._limits.check(labels, len(labels))
        return labels

    def _shared(self, key: Key) -> Key:
        """The same key, made of bytes that all keys share: most labels are those of many series."""
        for part in key:
            if part not in self._parts_seen:
                self._parts_seen[part] = part
                self._entries += len(part) // ATTRIBUTE_CACHE_ENTRY_BYTES
        return tuple(map(self._parts_seen.__getitem__, key))


def message_pairs(key: Key) -> list[tuple[bytes, bytes]]:
    """(name, value) of labels that are messages."""
    try:
        messages = [wire.Label.FromString(part) for part in key]
    except DecodeError as error:
        raise PointRefused("invalid", f"a label that cannot be decoded: {error}") from error
    return [(message.name, message.value) for message in messages]


def symbol_pairs(key: Key) -> list[tuple[bytes, bytes]]:
    """(name, value) of labels that are names and values in turn."""
    if len(key) % 2:
        raise PointRefused("invalid", "labels_refs that do not come in pairs")
    return list(zip(key[::2], key[1::2], strict=True))


def _texts(pairs: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    try:
        return [(name.decode(), value.decode()) for name, value in pairs]
    except UnicodeDecodeError as error:
        raise PointRefused("invalid", "a label that is not valid UTF-8") from error


def _unique(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    names: set[str] = set()
    for name, _ in pairs:
        if not name:
            raise PointRefused("invalid", "a label without a name")
        if name in names:
            raise PointRefused("invalid", f"label {name[:60]!r} comes more than once")
        names.add(name)
    return pairs
