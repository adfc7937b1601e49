"""Exports what the sampler picked, every error, and the local spans that explain it; each with its weight.

| span                                | exported            | `mirubato.weight` | `mirubato.keep_reason` |
|-------------------------------------|---------------------|-------------------|------------------------|
| status ERROR                        | always              | 1                 | `error`                |
| `mirubato.business` is true         | R >= T of its rate  | 1 / rate          | `business`             |
| other, picked with a known chance p | when picked         | 1 / p             | `sampled`              |
| other, picked by an unknown chance  | when picked         | none              | none (as it came)      |
| other, in a local trace with errors | with the error      | 0                 | `context`              |

Each class is exported by a rule that does not depend on the others: the sum of weights is an unbiased count of spans.
"""

import os
import threading
from collections import OrderedDict

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags

from mirubato.sdk.drops import DROPPED
from mirubato.sdk.sampler import BUSINESS, BUSINESS_RATE, KEEP_REASON, RANDOM_MASK, WEIGHT, threshold, without_th

MAX_TRACES = 1000  # local traces in flight whose spans are held
MAX_SPANS_PER_TRACE = 64
MAX_SPANS = 8192


class KeptSpan(ReadableSpan):
    """A copy with weight and reason, sampled, and without `th`.

    Copied as a whole: through the properties it costs 3 us more, for locks that an ended span no longer needs.
    """

    def __init__(self, span: ReadableSpan, weight: float, reason: str) -> None:
        context, attributes = span.get_span_context(), span.attributes
        assert context is not None
        vars(self).update(vars(span))
        self._original = span
        self._attributes = {**attributes.copy(), WEIGHT: weight, KEEP_REASON: reason}  # type: ignore[union-attr]
        self._context = _as_sampled(context)

    @property
    def dropped_attributes(self) -> int:
        """Of the original: the copy's plain mapping has no count."""
        return self._original.dropped_attributes


def _as_sampled(context: SpanContext) -> SpanContext:
    flags = TraceFlags(context.trace_flags | TraceFlags.SAMPLED)
    return SpanContext(context.trace_id, context.span_id, context.is_remote, flags, without_th(context.trace_state))


class Held:
    """Ended spans of local traces that may yet show an error; bounded, and what does not fit is counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._traces: OrderedDict[int, list[ReadableSpan] | None] = OrderedDict()  # None: an error was there
        self._spans = 0

    def __len__(self) -> int:
        return self._spans

    def hold(self, trace_id: int, span: ReadableSpan) -> bool:
        """Hold the span; False when its trace has had an error, so that it is context now."""
        with self._lock:
            spans = self._traces.get(trace_id, [])
            if spans is None:
                return False
            if len(spans) >= MAX_SPANS_PER_TRACE:
                DROPPED.add("context_spans")
                return True
            if not spans:
                self._traces[trace_id] = spans
            spans.append(span)
            self._spans += 1
            self._shrink()
        return True

    def release(self, trace_id: int) -> list[ReadableSpan]:
        """What is held of the trace; from now on its spans are context."""
        with self._lock:
            spans = self._traces.get(trace_id) or []
            self._spans -= len(spans)
            self._traces[trace_id] = None
            self._shrink()
        return spans

    def end(self, trace_id: int) -> bool:
        """The local root has ended: forget the trace. Whether it had an error."""
        if trace_id not in self._traces:
            return False  # most traces; without the lock
        with self._lock:
            spans = self._traces.pop(trace_id, [])
            self._spans -= len(spans or ())
        return spans is None

    def _shrink(self) -> None:
        while len(self._traces) > MAX_TRACES or self._spans > MAX_SPANS:
            _, spans = self._traces.popitem(last=False)
            self._spans -= len(spans or ())
            DROPPED.add("context_spans", len(spans or ()))

    def forget(self) -> None:
        """After a fork: what is held is the parent's."""
        self._lock, self._spans = threading.Lock(), 0
        self._traces = OrderedDict()


class KeepingSpanProcessor(SpanProcessor):
    """Hands what is kept to `inner`, a processor that exports spans with the sampled flag (`BatchSpanProcessor`)."""

    def __init__(self, inner: SpanProcessor, business_rate: float = BUSINESS_RATE) -> None:
        self._inner = inner
        self._business_weight = 1 / business_rate if business_rate else 0.0
        self._business_least = threshold(business_rate)
        self.held = Held()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.held.forget)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Pass it on."""
        self._inner.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Keep the span, hold it, or let it go."""
        context, parent = span.get_span_context(), span.parent
        if context is None:
            return
        trace_id = context.trace_id
        if span.status.status_code is StatusCode.ERROR:
            self._error(trace_id, span)
        elif (span.attributes or {}).get(BUSINESS) is True:
            self._business(context, span)
        elif context.trace_flags & TraceFlags.SAMPLED:
            self._inner.on_end(span)  # the sampler has given it its weight
        elif parent is None or parent.is_remote:
            if self.held.end(trace_id):
                self._inner.on_end(KeptSpan(span, 0, "context"))
            return
        elif not self.held.hold(trace_id, span):
            self._inner.on_end(KeptSpan(span, 0, "context"))
        if parent is None or parent.is_remote:
            self.held.end(trace_id)

    def _error(self, trace_id: int, span: ReadableSpan) -> None:
        for explaining in self.held.release(trace_id):
            self._inner.on_end(KeptSpan(explaining, 0, "context"))
        self._inner.on_end(KeptSpan(span, 1, "error"))

    def _business(self, context: SpanContext, span: ReadableSpan) -> None:
        if context.trace_id & RANDOM_MASK >= self._business_least:
            self._inner.on_end(KeptSpan(span, self._business_weight, "business"))
        elif context.trace_flags & TraceFlags.SAMPLED or not self.held.hold(context.trace_id, span):
            # A parent elsewhere picked it by another rule, or an error needs it: not one of those that count.
            self._inner.on_end(KeptSpan(span, 0, "context"))

    def shutdown(self) -> None:
        """Export what waits."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what waits."""
        return self._inner.force_flush(timeout_millis)
