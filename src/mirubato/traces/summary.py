"""What the list of traces says of one trace, made of its spans as they come, in whatever order. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from mirubato.model.spans import Span
from mirubato.traces.tail import Cause

# What a search looks into, in characters for one trace: names and errors of about a hundred distinct spans.
_TEXTS_CHARS_MAX = 4096
_TEXT_CHARS_MAX = 200
# SQLite's integers; the times of a hostile span are up to 2^64.
_NS_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Summary:
    """One trace; times in ns."""

    cause: Cause
    start_ns: int = _NS_MAX
    end_ns: int = 0
    spans: int = 0
    errors: int = 0
    rooted: bool = False
    """Whether the root is there; until then the earliest span stands for it."""
    root_start_ns: int = _NS_MAX
    root_service: str = ""
    root_name: str = ""
    services: frozenset[str] = field(default_factory=frozenset)
    texts: str = ""
    """Names of spans and messages of errors, in lower case, each in a line of its own."""


def with_spans(summary: Summary, spans: Sequence[Span], cause: Cause) -> Summary:
    """The same trace with more spans, at least one, none of them there before; a stronger cause wins."""
    return replace(
        _rooted(summary, spans),
        cause=max(cause, summary.cause),
        start_ns=min(summary.start_ns, *(bounded(span.start_ns) for span in spans)),
        end_ns=max(summary.end_ns, *(bounded(span.end_ns) for span in spans)),
        spans=summary.spans + len(spans),
        errors=summary.errors + sum(span.error for span in spans),
        services=summary.services | {span.service for span in spans},
        texts=_with_texts(summary.texts, spans),
    )


def bounded(time_ns: int) -> int:
    """A time that SQLite can hold."""
    return min(time_ns, _NS_MAX)


def _rooted(summary: Summary, spans: Sequence[Span]) -> Summary:
    """What stands for the whole trace: the span without a parent, of several or of none the earliest."""
    first = min(spans, key=lambda span: (bool(span.parent_id), span.start_ns))
    rooted, start = not first.parent_id, bounded(first.start_ns)
    if (not rooted, start) >= (not summary.rooted, summary.root_start_ns):
        return summary
    return replace(summary, rooted=rooted, root_start_ns=start, root_service=first.service, root_name=first.name)


def _with_texts(texts: str, spans: Sequence[Span]) -> str:
    if len(texts) >= _TEXTS_CHARS_MAX:
        return texts
    known = dict.fromkeys(texts.split("\n") if texts else ())
    for span in spans:
        known[searchable(span.name)] = None
        if span.error:
            known.update(dict.fromkeys(map(searchable, _errors(span.message))))
    known.pop("", None)
    return "\n".join(known)[:_TEXTS_CHARS_MAX]


def searchable(text: str) -> str:
    """A text as searches compare it: lower case, one line, bounded."""
    return " ".join(text[:_TEXT_CHARS_MAX].lower().split())


def _errors(message: bytes) -> Iterator[str]:
    """What a span says of its failure: the status, and the exceptions among its events."""
    try:
        span = Message.FromString(message)
    except DecodeError:
        return
    yield span.status.message
    for event in span.events:
        for attribute in event.attributes:
            if attribute.key in ("exception.type", "exception.message"):
                yield attribute.value.string_value
