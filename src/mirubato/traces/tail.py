"""The tail decision: which spans are kept, once the gateway has seen enough of their trace. Pure; time is an argument.

| a trace is              | once                                                            | from then on       |
|-------------------------|-----------------------------------------------------------------|--------------------|
| kept, as an error       | one of its spans is an error                                    | all of it is kept  |
| kept, as slow           | a span takes `slow_ns` or longer, and this minute has room      | all of it is kept  |
| kept, as sampled        | a sampler has picked a span of it (weight above 1), or its id   | all of it is kept  |
|                         | is picked here when it begins; and this minute has room         |                    |
| waiting                 | none of this                                                    | its spans wait     |
| forgotten               | it waited `decision_ms` from its first span, or the buffer is   | nothing is known   |
|                         | full and it waited longest                                      | of it any more     |

A forgotten trace that goes on begins anew: an error that comes after the decision still keeps itself and what follows.
What waits is memory only. Spans that are not kept cost about 1 us, so the loop over them is written out.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from mirubato.limits import KEPT_TRACES_MAX, SPANS_PER_TRACE_MAX, WAITING_SPAN_BYTES
from mirubato.model.spans import Origin, Span, Spans

_MINUTE_MS = 60_000
# R and T of OpenTelemetry's consistent probability sampling: the last 56 bits of a trace id pick it.
_RANDOM = 1 << 56
# A trace may take this part of the buffer: one that never ends must not push out all others.
_PART_OF_BUFFER = 16


class Cause(IntEnum):
    """Why a trace is kept, the strongest last. The numbers are on disk, and in the SQL of `trimming`."""

    SAMPLED = 1
    SLOW = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class TailSettings:
    """What decides; durations in the unit of their name."""

    slow_ns: int
    sample_rate: float
    """Of the traces that come without having been sampled; between 0 and 1."""
    per_minute: int
    """Slow traces, and sampled traces, each: so many begin to be kept in a minute. Errors have no such limit."""
    decision_ms: int
    buffer_bytes: int


@dataclass(slots=True)
class TailCounts:
    """Since the start."""

    kept: int = 0
    """Spans."""
    forgotten: int = 0
    """Spans whose time was over."""
    pushed_out: int = 0
    """Spans that had to go early, because the buffer was full."""
    overflowing: int = 0
    """Spans beyond what one trace may have."""


@dataclass(slots=True)
class _Waiting:
    since_ms: int
    bytes: int = WAITING_SPAN_BYTES
    origin: Origin | None = None
    """Of the span that came last: what many spans share is counted once."""
    spans: list[Span] = field(default_factory=list)


@dataclass(slots=True)
class _Kept:
    cause: Cause
    spans: int = 0


@dataclass(slots=True)
class Batch:
    """What one request makes worth keeping."""

    spans: list[Span] = field(default_factory=list)
    causes: dict[bytes, Cause] = field(default_factory=dict)
    """Of each trace among `spans`."""
    begun: set[bytes] = field(default_factory=set)
    """Traces that were not kept before."""


class Tail:
    """Knows the traces that wait and the newest that are kept. Not for several threads at once."""

    def __init__(self, settings: TailSettings) -> None:
        self._settings = settings
        self._threshold = _RANDOM - round(settings.sample_rate * _RANDOM)
        self._waiting: OrderedDict[bytes, _Waiting] = OrderedDict()  # a dict looks for its first behind all it lost
        """By trace id, the one that waits longest first."""
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._minute = 0
        self._begun = {Cause.SAMPLED: 0, Cause.SLOW: 0}
        self.waiting_bytes = 0
        self.counts = TailCounts()

    def __len__(self) -> int:
        """Traces that wait."""
        return len(self._waiting)

    def remember(self, trace_id: bytes, cause: Cause, spans: int) -> None:
        """A trace is kept already, with so many spans: what a restart tells."""
        self._kept[trace_id] = _Kept(cause, spans)
        while len(self._kept) > KEPT_TRACES_MAX:
            self._kept.popitem(last=False)

    def decide(self, spans: Spans, now_ms: int) -> Batch:
        """Which spans are to be kept now: of these, and of those that waited for them."""
        self.expire(now_ms)
        batch, slow_ns = Batch(), self._settings.slow_ns
        kept, waiting = self._kept, self._waiting
        for span in spans:
            trace_id = span.trace_id
            if trace_id in kept:
                self._more(span, batch)
            elif span.error:
                self._keep(trace_id, Cause.ERROR, batch)
                self._more(span, batch)
            elif span.end_ns - span.start_ns >= slow_ns and self._room(Cause.SLOW, now_ms):
                self._keep(trace_id, Cause.SLOW, batch)
                self._more(span, batch)
            elif span.weight > 1 and self._room(Cause.SAMPLED, now_ms):
                self._keep(trace_id, Cause.SAMPLED, batch)
                self._more(span, batch)
            elif trace_id in waiting:
                self._wait(waiting[trace_id], span)
            elif self._is_picked(trace_id) and self._room(Cause.SAMPLED, now_ms):
                self._keep(trace_id, Cause.SAMPLED, batch)
                self._more(span, batch)
            else:
                self._wait(self._begin(trace_id, now_ms), span)
        self._shrink()
        return batch

    def expire(self, now_ms: int) -> None:
        """Forget the traces whose time is over."""
        since = now_ms - self._settings.decision_ms
        over = []
        for trace_id, trace in self._waiting.items():
            if trace.since_ms > since:
                break
            over.append(trace_id)
        for trace_id in over:
            self.counts.forgotten += len(self._forget(trace_id))

    def give_back(self, batch: Batch, now_ms: int) -> None:
        """The batch could not be written. The client sends its spans again, but those that waited nobody else has."""
        for trace_id in batch.begun:
            self._kept.pop(trace_id, None)
        for span in batch.spans:
            if span.trace_id in batch.begun:
                self._wait(self._waiting.get(span.trace_id) or self._begin(span.trace_id, now_ms), span)
        self.counts.kept -= len(batch.spans)
        self._shrink()

    def _is_picked(self, trace_id: bytes) -> bool:
        return int.from_bytes(trace_id[-7:], "big") >= self._threshold

    def _room(self, cause: Cause, now_ms: int) -> bool:
        """Whether one more trace may be kept for this cause; takes the place."""
        minute = now_ms // _MINUTE_MS
        if minute != self._minute:
            self._minute = minute
            self._begun = {Cause.SAMPLED: 0, Cause.SLOW: 0}
        if self._begun[cause] >= self._settings.per_minute:
            return False
        self._begun[cause] += 1
        return True

    def _keep(self, trace_id: bytes, cause: Cause, batch: Batch) -> None:
        """From now on this trace is kept, and so is what of it has waited."""
        waited = self._forget(trace_id)
        batch.spans += waited
        batch.causes[trace_id] = cause
        batch.begun.add(trace_id)
        self.counts.kept += len(waited)
        self.remember(trace_id, cause, len(waited))

    def _more(self, span: Span, batch: Batch) -> None:
        """A span of a kept trace; an error makes the trace one, whatever it was kept for."""
        trace = self._kept[span.trace_id]
        if trace.spans >= SPANS_PER_TRACE_MAX and not (span.error and trace.cause is not Cause.ERROR):
            self.counts.overflowing += 1
            return
        if span.error:
            trace.cause = Cause.ERROR
        trace.spans += 1
        batch.spans.append(span)
        batch.causes[span.trace_id] = trace.cause
        self.counts.kept += 1
        self._kept.move_to_end(span.trace_id)

    def _begin(self, trace_id: bytes, now_ms: int) -> _Waiting:
        trace = self._waiting[trace_id] = _Waiting(now_ms)
        self.waiting_bytes += trace.bytes
        return trace

    def _wait(self, trace: _Waiting, span: Span) -> None:
        size, origin = WAITING_SPAN_BYTES + len(span.message), span.origin
        if origin is not trace.origin:
            size += len(origin.resource) + len(origin.scope)
        if trace.bytes + size > self._settings.buffer_bytes // _PART_OF_BUFFER:
            self.counts.overflowing += 1
            return
        trace.origin = origin
        trace.spans.append(span)
        trace.bytes += size
        self.waiting_bytes += size

    def _forget(self, trace_id: bytes) -> Sequence[Span]:
        """Take a trace out of the buffer; its spans, none if it is not there."""
        trace = self._waiting.pop(trace_id, None)
        if trace is None:
            return ()
        self.waiting_bytes -= trace.bytes
        return trace.spans

    def _shrink(self) -> None:
        """Those that wait longest go first."""
        while self.waiting_bytes > self._settings.buffer_bytes:
            self.counts.pushed_out += len(self._forget(next(iter(self._waiting))))
