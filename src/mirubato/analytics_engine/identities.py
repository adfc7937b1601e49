"""Who a point is of: metric, resource, scope and attributes -> the index and the blobs, in the slots of a layout.

All that differs between two points of one series is in their doubles and in `shape`, so this is made once and kept.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mirubato.analytics_engine.event_points import Limits, blobs_size, clean, compound_index, cut
from mirubato.analytics_engine.layout import FRAME, SHAPE, Layout
from mirubato.analytics_engine.texts import attribute_text, compact

SHAPE_BYTES_MAX = 512  # 16 bounds of 24 characters, or 15 bucket numbers: 400 at most
_KEPT_MAX = 20_000  # identities of one origin; past it all are made anew. The SDK has at most 2,000 a metric.
_REST = FRAME.index("rest")
_OF_RESOURCE = ("service.name", "service.instance.id")  # these have blobs of their own


class Family(NamedTuple):
    """What all points of one metric share."""

    metric: str
    kind: str
    unit: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Index and blobs of a series; the shape is still to be put in its place. `is_cut`: something did not fit."""

    index: str
    blobs: tuple[str | None, ...]
    is_cut: bool = False

    def with_shape(self, shape: str) -> tuple[str | None, ...]:
        """The blobs of a point; no shape is an empty slot."""
        if not shape:
            return self.blobs
        return (*self.blobs[:SHAPE], shape, *self.blobs[SHAPE + 1 :])


@dataclass(slots=True)
class Origin:
    """A resource and a scope, with the identities seen of them."""

    resource: dict[str, str]
    scope: tuple[str, ...]
    kept: dict[object, Identity] = field(default_factory=dict)


class Identities:
    """Makes and keeps them for one layout."""

    def __init__(self, layout: Layout, limits: Limits) -> None:
        self._layout = layout
        self._limits = limits

    def of(self, origin: Origin, family: Family, attributes: Mapping[str, object]) -> Identity:
        """The identity of a series."""
        kept = origin.kept
        # With the types, because 1, 1.0 and True are equal and have different texts.
        kinds = tuple(map(type, attributes.values()))
        if tuple in kinds:
            return self._make(origin, family, attributes)
        key = (family, tuple(attributes.items()), kinds)
        try:
            return kept[key]
        except KeyError:
            if len(kept) >= _KEPT_MAX:
                kept.clear()
            kept[key] = identity = self._make(origin, family, attributes)
            return identity
        except TypeError:  # an attribute that is no key, such as a list
            return self._make(origin, family, attributes)

    def _make(self, origin: Origin, family: Family, attributes: Mapping[str, object]) -> Identity:
        texts = {clean(key): attribute_text(value) for key, value in attributes.items()}
        slots, rest = self._placed(origin, family.metric, texts)
        frame = [
            clean(family.metric),
            self._layout.tag,
            family.kind,
            clean(family.unit),
            *(origin.resource.get(name) for name in _OF_RESOURCE),
            None,
            compact(rest) if rest else None,
        ]
        blobs, is_cut = self._fitted([*frame, *slots])
        return Identity(self._index(origin, family, texts), _trimmed(blobs), is_cut)

    def _placed(
        self, origin: Origin, metric: str, attributes: Mapping[str, str]
    ) -> tuple[list[str | None], dict[str, object]]:
        """The texts in their slots, and what has none: `a` attributes, `r` of the resource, `s` the scope.

        An attribute goes before one of the resource with its name. Of the resource, a null in `r` says that the text
        is in the slot. An empty text is no slot's: there it would be the same as none.
        """
        free = dict(attributes)
        of_resource: dict[str, str | None] = {
            key: text for key, text in origin.resource.items() if not (text and key in _OF_RESOURCE)
        }
        slots: list[str | None] = []
        for name in self._layout.slots(metric):
            text = free.pop(name, None) if free.get(name) else None
            if text is None and name not in attributes and of_resource.get(name):
                text, of_resource[name] = of_resource[name], None
            slots.append(text)
        parts: dict[str, object] = {"a": free, "r": of_resource, "s": origin.scope}
        return slots, {key: part for key, part in parts.items() if part}

    def _index(self, origin: Origin, family: Family, attributes: Mapping[str, str]) -> str:
        frame = {"metric": clean(family.metric), "kind": family.kind, "unit": clean(family.unit)}
        texts = {**origin.resource, **attributes, **frame}
        return compound_index([texts.get(name, "") for name in self._layout.index_parts(family.metric)], self._limits)

    def _fitted(self, blobs: list[str | None]) -> tuple[list[str | None], bool]:
        """Blobs within the limit, and whether that took cutting: first the rest goes, then every slot is shortened.

        In place of the rest stands a hash of the whole, so that two series never become one.
        """
        room = self._limits.blob_bytes - SHAPE_BYTES_MAX
        if blobs_size(blobs) <= room:
            return blobs, False
        digest = hashlib.blake2b("\0".join(blob or "" for blob in blobs).encode(), digest_size=8).hexdigest()
        blobs[_REST] = compact({"cut": digest})
        if blobs_size(blobs) > room:
            most = room // self._limits.blobs
            blobs = [blob and cut(blob, most) for blob in blobs]
        return blobs, True


def _trimmed(blobs: Sequence[str | None]) -> tuple[str | None, ...]:
    """Without the empty slots behind the last full one, but never shorter than the shape."""
    end = len(blobs)
    while end > len(FRAME) and blobs[end - 1] in {None, ""}:
        end -= 1
    return tuple(blobs[:end])
