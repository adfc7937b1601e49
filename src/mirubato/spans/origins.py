"""What the spans or log records of one resource and scope share, read once and found again by the bytes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from mirubato.limits import ORIGIN_CACHE_BYTES_MAX
from mirubato.model.spans import Origin
from mirubato.spans import cloudflare
from mirubato.spans.attributes import Attributes, by_key, first_text
from mirubato.spans.envelope import Envelope, Group
from mirubato.spans.weights import COUNTED, HeadRates

UNKNOWN_SERVICE = "unknown_service"
"""The name that OpenTelemetry gives to a service without one (resource semantic conventions)."""

_ENTRY_BYTES = 2000


@dataclass(slots=True)
class Shared:
    """The origin of a group, and what its resource says beside it."""

    origin: Origin
    attributes: Attributes
    worker: bool
    """Whether Cloudflare's own export made it."""
    head_weight: float | None
    """By the rate that is configured for the service."""
    counted: bool
    """Whether the sender has counted the spans already."""
    dimensions: tuple[str, ...]
    """The chosen attributes, as far as the resource has them."""
    variants: dict[tuple[str, str], Origin] = field(default_factory=dict)

    def variant(self, service: str, version: str) -> Origin:
        """The origin of an item that names its service or version itself."""
        key = service or self.origin.service, version or self.origin.version
        if key == (self.origin.service, self.origin.version):
            return self.origin
        found = self.variants.get(key)
        if found is None:
            if len(self.variants) >= _VARIANTS_MAX:
                self.variants.clear()
            found = self.variants[key] = replace(self.origin, service=key[0], version=key[1])
        return found


_VARIANTS_MAX = 100


class Origins:
    """Origins by the bytes of resource and scope; starts anew when it has grown to ORIGIN_CACHE_BYTES_MAX."""

    def __init__(self, envelope: Envelope, rates: HeadRates, dimensions: Sequence[str]) -> None:
        self._envelope, self._rates, self._dimensions = envelope, rates, dimensions
        self._known: Mapping[tuple[bytes, bytes], Shared] = {}
        self._bytes = 0

    def of(self, group: Group) -> Shared:
        """What a group shares; BadRequest where its resource or scope is no message."""
        key = group.resource, group.scope
        found = self._known.get(key)
        if found is None:
            found = self._read(group)
            size = _ENTRY_BYTES + 4 * (len(group.resource) + len(group.scope))
            if self._bytes + size > ORIGIN_CACHE_BYTES_MAX:
                self._known, self._bytes = {}, 0
            # Two threads may read at once: each adds to a copy of what it saw, and an entry lost is read again.
            self._known = {**self._known, key: found}
            self._bytes += size
        return found

    def _read(self, group: Group) -> Shared:
        parsed: Callable[..., Resource] = self._envelope.parsed
        attributes = by_key(parsed(Resource.FromString, group.resource).attributes)
        scope: InstrumentationScope = self._envelope.parsed(InstrumentationScope.FromString, group.scope)
        service = service_of(attributes) or UNKNOWN_SERVICE
        worker = cloudflare.is_export(attributes, scope.name)
        script = cloudflare.script_of(attributes)
        return Shared(
            Origin(service, version_of(attributes), group.resource, group.scope),
            attributes,
            worker,
            self._rates.weight(service, script),
            first_text(attributes, COUNTED).lower() == "true",
            tuple(first_text(attributes, key) for key in self._dimensions),
        )


def service_of(attributes: Attributes) -> str:
    """The service that attributes name; "" if none."""
    return first_text(attributes, "service.name", "cloudflare.script_name", "faas.name")


def version_of(attributes: Attributes) -> str:
    """The version of the service or of the Worker's script; "" if none."""
    return first_text(attributes, "service.version", "cloudflare.script_version.id", "faas.version")
