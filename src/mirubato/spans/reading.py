"""A traces request -> its spans, the series that each counts for, and what was rejected. Pure.

The loop over the spans is written out: at 512 spans of 12 attributes it takes 3 us each.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from mirubato.errors import BadRequest
from mirubato.limits import SPAN_BYTES_MAX, SPAN_LABEL_CHARS_MAX
from mirubato.model.seams import Reason
from mirubato.model.spans import Origin, Span
from mirubato.spans import cloudflare
from mirubato.spans.attributes import Attributes, by_key, first_number, first_text, text
from mirubato.spans.cloudflare import WorkerSpan
from mirubato.spans.envelope import Envelope
from mirubato.spans.origins import Origins, Shared, service_of, version_of
from mirubato.spans.weights import WEIGHT_MARK, HeadRates, WeightSource, sampler_weight, threshold_weight

_NS_PER_MS = 1_000_000
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)
_CHARS = SPAN_LABEL_CHARS_MAX
SERVER, CLIENT = 2, 3
ERROR = 2
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_KIND, _STATUS = "SPAN_KIND_UNSPECIFIED", "STATUS_CODE_UNSET"
kind_of = {number: f"SPAN_KIND_{kind}" for number, kind in enumerate(_KINDS)}.get
status_of = {number: f"STATUS_CODE_{code}" for number, code in enumerate(("UNSET", "OK", "ERROR"))}.get
_STATUS_KEYS = ("http.response.status_code", "http.status_code")
_STATUS_MARK = b"status_code\x12"
_VARINT_TAG = 0x18
_PEER_KEYS = ("peer.service", "db.system.name", "db.system", "messaging.system")
_PEER_MARK, _SYSTEM_MARK = b"peer.service", b".system"

TOO_LARGE = Reason("too_large", f"a span of more than {SPAN_BYTES_MAX >> 10} KiB")
BAD_ID = Reason("invalid", "a trace id that is not 16 bytes or a span id that is not 8, or all zeros")
TOO_OLD = Reason("too_old", "ended before MIRUBATO_RETENTION_RAW")
TOO_FAR_AHEAD = Reason("too_far_ahead", "further ahead of the clock than MIRUBATO_FUTURE_MAX")


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """What reading asks of the settings; ms."""

    retention: int
    future: int
    rates: Mapping[str, float]
    """Of head sampling, by service."""
    dimensions: Sequence[str] = ()
    """Attributes that become labels of span metrics."""


@dataclass(slots=True)
class ReadSpans:
    """One request; the lists up to `sources` have an entry for each span."""

    now_ms: int
    spans: list[Span] = field(default_factory=list)
    keys: list[tuple[str, ...]] = field(default_factory=list)
    """service, name, kind, status, and the chosen attributes."""
    identities: list[bytes] = field(default_factory=list)
    """Trace id and span id."""
    weights: list[float] = field(default_factory=list)
    durations_ns: list[int] = field(default_factory=list)
    """Below 0 where the end is before the start."""
    sources: list[WeightSource] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    """Places of the spans that may be one half of a call."""
    peers: dict[bytes, str] = field(default_factory=dict)
    """What client spans say they call, by span id."""
    workers: dict[int, WorkerSpan] = field(default_factory=dict)
    """Spans of Workers by place."""
    rejected: Counter[Reason] = field(default_factory=Counter)


class _About(NamedTuple):
    """What is known of a span beside its own fields."""

    origin: Origin
    weight: float
    source: WeightSource
    dimensions: tuple[str, ...]
    failed: bool = False
    """Whether its attributes say so."""


def _given(origin: Origin, head_weight: float | None, dimensions: tuple[str, ...], *, failed: bool = False) -> _About:
    if head_weight is None:
        return _About(origin, 1.0, WeightSource.NONE, dimensions, failed)
    return _About(origin, head_weight, WeightSource.HEAD_SAMPLING_RATE, dimensions, failed)


def _uncounted(about: _About) -> _About:
    return about._replace(weight=0.0, source=WeightSource.COUNTED)


class _Group(NamedTuple):
    """What is asked about the spans of one scope, and what holds for those that say nothing else."""

    shared: Shared
    worker: bool
    """Cloudflare's export made them."""
    sampled: bool
    """Some of the request have a weight of their own."""
    chosen: bool
    """Some of the request have a chosen attribute."""
    usual: _About


class SpanReader:
    """Reads requests; remembers origins. Several threads may use it."""

    def __init__(self, settings: ReadSettings) -> None:
        self._settings = settings
        self._envelope = Envelope("ExportTraceServiceRequest")
        self._rates = HeadRates(settings.rates)
        self._origins = Origins(self._envelope, self._rates, settings.dimensions)
        self._chosen = [key.encode() for key in settings.dimensions]

    def read(self, body: bytes, now_ms: int) -> ReadSpans:
        """All spans of an ExportTraceServiceRequest; BadRequest where it cannot be decoded."""
        read = ReadSpans(now_ms)
        # The whole request is searched once: to search each span takes ten times as long.
        sampled, chosen = WEIGHT_MARK in body, any(mark in body for mark in self._chosen)
        for group in self._envelope.groups(body):
            shared = self._origins.of(group)
            worker = shared.worker or any(cloudflare.MARK in encoded for encoded in group.items[:1])
            usual = _given(shared.origin, shared.head_weight, shared.dimensions)
            group_ = _Group(shared, worker, sampled, chosen, _uncounted(usual) if shared.counted else usual)
            self._read_group(group_, group.items, read)
        return read

    def _read_group(self, group: _Group, items: Sequence[bytes], read: ReadSpans) -> None:
        low = (read.now_ms - self._settings.retention) * _NS_PER_MS
        high = (read.now_ms + self._settings.future) * _NS_PER_MS
        now = read.now_ms * _NS_PER_MS
        parse, rejected, spans, keys, usual = Message.FromString, read.rejected, read.spans, read.keys, group.usual
        special = group.worker or group.sampled or group.chosen
        for encoded in items:
            if len(encoded) > SPAN_BYTES_MAX:
                rejected[TOO_LARGE] += 1
                continue
            try:
                message = parse(encoded)
            except DecodeError as error:
                raise BadRequest(f"not an ExportTraceServiceRequest: {error}") from error
            trace_id, span_id = message.trace_id, message.span_id
            end = message.end_time_unix_nano or message.start_time_unix_nano or now
            start = message.start_time_unix_nano or end
            if len(trace_id) != 16 or len(span_id) != 8 or trace_id == _NO_TRACE or span_id == _NO_SPAN:
                rejected[BAD_ID] += 1
                continue
            if not low <= end <= high or start > high:
                rejected[TOO_OLD if end < low else TOO_FAR_AHEAD] += 1
                continue
            name, kind, state = message.name, message.kind, message.trace_state
            status = message.status.code if message.HasField("status") else 0
            about = self._about(message, encoded, group, read) if special or state else usual
            if kind >= SERVER:
                read.calls.append(len(spans))
                if kind >= CLIENT and (_PEER_MARK in encoded or _SYSTEM_MARK in encoded):
                    read.peers[span_id] = first_text(by_key(message.attributes), *_PEER_KEYS)
                elif kind == SERVER and not status and _is_500(message, encoded):
                    status = ERROR
            if about.failed:
                status = status or ERROR
            origin = about.origin
            service, failed = origin.service, status == ERROR
            ids = trace_id, span_id, message.parent_span_id
            spans.append(Span(*ids, service, name, kind, start, end, failed, about.weight, encoded, origin))
            keys.append((service, name[:_CHARS], kind_of(kind, _KIND), status_of(status, _STATUS), *about.dimensions))
            read.identities.append(trace_id + span_id)
            read.weights.append(about.weight)
            read.durations_ns.append(end - start)
            read.sources.append(about.source)

    def _about(self, message: Message, encoded: bytes, group: _Group, read: ReadSpans) -> _About:
        """What the attributes and the trace state of a span say, where they may say something."""
        found, shared = group.usual, group.shared
        if group.worker:
            own = by_key(message.attributes)
            worker = read.workers[len(read.spans)] = cloudflare.read_worker(message.name, own, shared.attributes)
            origin = shared.variant(service_of(own), version_of(own))
            weight = self._rates.weight(origin.service, worker.script)
            found = _given(origin, weight, shared.dimensions, failed=cloudflare.failed(cloudflare.outcome_of(own)))
        if group.chosen and any(mark in encoded for mark in self._chosen):
            found = found._replace(dimensions=self._dimensions(by_key(message.attributes), shared))
        if shared.counted:
            return _uncounted(found)
        told = _told_weight(message, encoded)
        return found if told is None else found._replace(weight=told[0], source=told[1])

    def _dimensions(self, own: Attributes, shared: Shared) -> tuple[str, ...]:
        """Chosen attributes of a span; where it has none, those of its resource."""
        pairs = zip(self._settings.dimensions, shared.dimensions, strict=True)
        return tuple(text(own.get(key)) or inherited for key, inherited in pairs)


def _is_500(message: Message, encoded: bytes) -> bool:
    """Whether the HTTP status is 500 or more; below 384, the second byte of the varint is less than 3."""
    at = encoded.find(_STATUS_MARK)
    number = at + len(_STATUS_MARK) + 1
    if at < 0 or (len(encoded) >= number + 3 and encoded[number] == _VARINT_TAG and encoded[number + 2] < 3):
        return False
    return (first_number(by_key(message.attributes), *_STATUS_KEYS) or 0) >= 500


def _told_weight(message: Message, encoded: bytes) -> tuple[float, WeightSource] | None:
    """What the span itself says that it stands for."""
    if WEIGHT_MARK in encoded:
        weight = sampler_weight(message.attributes)
        if weight is not None:
            return weight, WeightSource.SAMPLER
    weight = threshold_weight(message.trace_state)
    return None if weight is None else (weight, WeightSource.TRACESTATE)
