"""Spans on their way from the decoder to the metrics made of them and to the kept traces."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)  # not frozen: that makes each of them 1.5 us dearer
class Span:
    """One span of a request; times in ns since 1970. The messages stay as they came, to be kept or thrown away."""

    trace_id: bytes
    """16 bytes; others have been rejected."""
    span_id: bytes
    """8 bytes."""
    parent_id: bytes
    """Empty for a root."""
    service: str
    name: str
    kind: int
    """OTLP's number: 2 server, 3 client, 4 producer, 5 consumer."""
    start_ns: int
    end_ns: int
    error: bool
    """Status ERROR, or what stands for it where the status is not set (docs/TRACES.md)."""
    weight: float
    """How many real spans it stands for; 0: kept, not counted."""
    message: bytes
    """`opentelemetry.proto.trace.v1.Span`."""
    origin: "Origin"


@dataclass(frozen=True, slots=True)
class Origin:
    """What the spans (or log records) of one ResourceSpans and ScopeSpans share."""

    service: str
    version: str
    """`service.version`, or the version of the Worker's script; empty if unknown."""
    resource: bytes
    """`opentelemetry.proto.resource.v1.Resource`."""
    scope: bytes
    """`opentelemetry.proto.common.v1.InstrumentationScope`."""


Spans = Sequence[Span]
