"""Metadata of the app -> attributes of an instrument, bounded in number, length and distinct values."""

from collections.abc import Mapping
from typing import Any

from mirubato.sdk.drops import DROPPED

Plain = str | bool | int | float
Attributes = dict[str, Plain]
Metadata = Mapping[str, Any] | None

MAX_KEYS = 16  # of one call
MAX_KEY_LENGTH = 64  # characters
MAX_VALUE_LENGTH = 128  # characters
MAX_DISTINCT_VALUES = 200  # of one key at one instrument
MAX_SETS = 2000  # of one instrument; the SDK's specification has the same default
MAX_LOOKED_UP = 4 * MAX_SETS  # different metadata that may lead to them, before the look-up starts anew

OTHER = "_OTHER"  # semantic conventions' word for a value outside of the known ones
OVERFLOW: Attributes = {"otel.metric.overflow": True}
RENAMED = {"path": "http.route", "method": "http.request.method", "worker": "faas.name"}
METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}


def known_method(method: object) -> str:
    """The method in capitals, `_OTHER` for one that HTTP does not know."""
    name = str(method).upper()
    return name if name in METHODS else OTHER


class AttributeSets:
    """The attribute sets of one instrument: made once for each metadata, then looked up."""

    def __init__(self) -> None:
        self._looked_up: dict[object, Attributes] = {}
        self._sets: dict[object, Attributes] = {}
        self._values: dict[str, set[object]] = {}
        self.get = self._looked_up.get  # by key; TypeError when the key is not hashable

    def of(self, key: object, metadata: Metadata, fixed: Attributes) -> Attributes:
        """The bounded metadata with `fixed`, which wins; remembered under `key`. What is cut is counted when made."""
        found = self._looked_up.get(key)
        if found is None:
            found = self._make(metadata, fixed)
            if len(self._looked_up) >= MAX_LOOKED_UP:
                self._looked_up.clear()
            self._looked_up[key] = found
        return found

    def _make(self, metadata: Metadata, fixed: Attributes) -> Attributes:
        attributes: Attributes = {}
        for name, value in (metadata or {}).items():
            self._put(attributes, name, value)
        attributes |= fixed
        identity = frozenset(attributes.items())
        if identity not in self._sets and len(self._sets) >= MAX_SETS:
            DROPPED.add("metadata_sets")
            return OVERFLOW
        return self._sets.setdefault(identity, attributes)

    def _put(self, attributes: Attributes, name: object, value: object) -> None:
        if value is None:
            return
        if len(attributes) >= MAX_KEYS or not isinstance(name, str) or not 0 < len(name) <= MAX_KEY_LENGTH:
            DROPPED.add("metadata_keys")
            return
        name = RENAMED.get(name, name)
        attributes[name] = self._known(name, known_method(value) if name == RENAMED["method"] else _plain(value))

    def _known(self, name: str, value: Plain) -> Plain:
        values = self._values.setdefault(name, set())
        if value not in values:
            if len(values) >= MAX_DISTINCT_VALUES:
                DROPPED.add("metadata_values")
                return OTHER
            values.add(value)
        return value


def frozen(metadata: Metadata) -> tuple[tuple[object, object], ...]:
    """The metadata as a key to look up by; what is not hashable as text."""
    if not metadata:
        return ()
    key = tuple(metadata.items())
    try:
        hash(key)
    except TypeError:
        return tuple((name, str(value)) for name, value in key)
    return key


def _plain(value: object) -> Plain:
    if isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else str(value)
    if len(text) > MAX_VALUE_LENGTH:
        DROPPED.add("metadata_length")
    return text[:MAX_VALUE_LENGTH]
