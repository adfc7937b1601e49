"""The last requests with their verdict: what somebody who sends his first data looks at."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mirubato.errors import MirubatoError, Overloaded, StorageFailed, TooLarge, Unsupported
from mirubato.limits import INBOX_REQUESTS_MAX, REASON_CHARS_MAX, REASONS_MAX
from mirubato.model.seams import Outcome
from mirubato.otlp.signals import Signal

# Of requests that were taken as a whole, one in so many ms for each door and signal: the others look the same.
_OK_EVERY_MS = 1000

_FIXES: Mapping[str, str] = {
    "too_old": "send data sooner, or raise MIRUBATO_RETENTION_RAW",
    "too_far_ahead": "set the sender's clock, or raise MIRUBATO_FUTURE_MAX",
    "out_of_order": "let one process send one stream of deltas, in order",
    "max_series": "find the label with too many values, or raise MIRUBATO_MAX_SERIES",
    "max_new_series_per_minute": "find the label with too many values, or raise MIRUBATO_MAX_NEW_SERIES_PER_MINUTE",
    "label_limit": "send fewer or shorter attributes, or raise the setting that is named",
    TooLarge.__name__: "send smaller batches, or raise MIRUBATO_MAX_BODY_BYTES",
    Unsupported.__name__: "send application/x-protobuf or application/json, with gzip, zstd or no compression",
    Overloaded.__name__: "the sender tries again by itself; if it lasts, send less or give the gateway more CPU",
    StorageFailed.__name__: "look at the gateway's disk; the sender tries again by itself",
}


class Request(NamedTuple):
    """One request as it was answered."""

    time_ms: int
    door: str
    signal: Signal
    verdict: str
    """`ok`, `partial` or `refused`."""
    bytes: int
    accepted: int
    rejected: int
    reasons: list[dict[str, Any]]
    """`text`, how many (`count`), and what to do about it (`fix`)."""


class Inbox:
    """Remembers INBOX_REQUESTS_MAX requests that were taken, and as many that were not, or not as a whole."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._taken: deque[Request] = deque(maxlen=INBOX_REQUESTS_MAX)
        self._troubled: deque[Request] = deque(maxlen=INBOX_REQUESTS_MAX)
        self._seen: dict[tuple[str, Signal], int] = {}

    def answered(self, door: str, signal: Signal, size: int, outcome: Outcome) -> None:
        """A request of `size` bytes was taken, or some of it."""
        now = self._now()
        if not outcome.rejections:
            if now - self._seen.get((door, signal), 0) >= _OK_EVERY_MS:
                self._seen[door, signal] = now
                self._taken.append(Request(now, door, signal, "ok", size, outcome.accepted, 0, []))
            return
        verdict = "partial" if outcome.rejected else "ok"
        self._troubled.append(
            Request(now, door, signal, verdict, size, outcome.accepted, outcome.rejected, _reasons(outcome))
        )

    def refused(self, door: str, signal: Signal, size: int, error: MirubatoError) -> None:
        """A request was not taken."""
        kind = type(error).__name__
        reason = {"text": str(error)[:REASON_CHARS_MAX], "count": 1, "fix": _FIXES.get(kind, "")}
        self._troubled.append(Request(self._now(), door, signal, "refused", size, 0, 0, [reason]))

    def last(self) -> list[dict[str, Any]]:
        """The newest first."""
        found = sorted([*self._taken, *self._troubled], key=lambda one: -one.time_ms)
        return [one._asdict() for one in found]


def _reasons(outcome: Outcome) -> list[dict[str, Any]]:
    counts: Counter[tuple[str, str]] = Counter()
    for rejection in outcome.rejections:
        counts[rejection.reason.code, rejection.reason.text[:REASON_CHARS_MAX]] += rejection.count
    return [
        {"text": text, "count": count, "fix": _FIXES.get(code, "")}
        for (code, text), count in counts.most_common(REASONS_MAX)
    ]
