"""The rules that every point passes, whichever way it was read: time bounds, delta totals, start times.

Vectorised over all requests of a commit. What a rule asks about the past of a series is in the registry's state;
`remember` is called before the state changes, so that a failed commit can be taken back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirubato.admission.columns import COUNTER, DELTA, LEAD, STALE, Decoded, HistogramPoint
from mirubato.admission.natives import emptied, total
from mirubato.model.labels import is_stale
from mirubato.model.samples import (
    NEVER,
    Batch,
    Exemplar,
    Float64s,
    Floats,
    HistogramSample,
    Int64s,
    Starts,
    no_starts,
)
from mirubato.model.seams import Outcome, Reason, Rejection, StreamState

_NS_PER_MS = 1_000_000
_FOREVER = int(np.iinfo(np.int64).max)

TOO_OLD = Reason("too_old", "older than MIRUBATO_RETENTION_RAW")
TOO_FAR_AHEAD = Reason("too_far_ahead", "further ahead of the clock than MIRUBATO_FUTURE_MAX")
OUT_OF_ORDER = Reason("out_of_order", "a delta point older than the last one of its series")
NEGATIVE = Reason("invalid", "a negative delta of a monotonic sum")
NOT_FINITE = Reason("invalid", "a delta that is NaN or infinite: the total would be so for ever")
WARNING = "warning"


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """What admission asks of the settings; milliseconds."""

    retention: int
    future: int
    zero_samples: bool
    """Whether a zero is stored at the start of a counter (`start_time_zero_samples`)."""

    def oldest_start(self, now: int) -> int:
        """The oldest start (ms) at which a zero is stored."""
        return now - self.retention if self.zero_samples else _FOREVER


@dataclass(slots=True)
class _Pending:
    """All float samples of a commit as columns in ms, and to which request each belongs."""

    slots: Int64s
    times: Int64s
    starts: Int64s
    values: Float64s
    flags: NDArray[np.uint8]
    request_ends: Int64s
    """Where the samples of each request end, in the columns as they came."""
    place: Int64s | None = None
    """Positions in the columns as they came, once samples have been dropped."""

    def any(self, flag: int) -> bool:
        """Whether some sample carries a flag."""
        return bool(np.bitwise_or.reduce(self.flags, initial=0) & flag)

    def has(self, flags: int) -> NDArray[np.bool_]:
        """Which samples carry all of some flags."""
        carried: NDArray[np.bool_] = np.equal(self.flags & flags, flags)
        return carried

    def drop(self, bad: NDArray[np.bool_]) -> None:
        """Forget samples."""
        kept = ~bad
        self.place = np.flatnonzero(kept) if self.place is None else self.place[kept]
        self.slots, self.times, self.starts = self.slots[kept], self.times[kept], self.starts[kept]
        self.values, self.flags = self.values[kept], self.flags[kept]

    def reject(self, bad: NDArray[np.bool_], reason: Reason, outcomes: Sequence[Outcome]) -> None:
        """Forget samples and count their points, request by request."""
        if not bad.any():
            return
        led = np.flatnonzero(bad & self.has(LEAD))
        places = led if self.place is None else self.place[led]
        requests = np.searchsorted(self.request_ends, places, side="right")
        for request, count in zip(*np.unique(requests, return_counts=True), strict=True):
            outcomes[request].rejections.append(Rejection(reason, int(count)))
        self.drop(bad)


def admit(requests: Sequence[Decoded], state: StreamState, bounds: TimeBounds, now: int) -> tuple[Batch, list[Outcome]]:
    """Apply all rules at time `now` (ms); the batch to commit and what became of each request."""
    outcomes = [_outcome(request) for request in requests]
    floats, starts = _admit_floats(_gather(requests), state, bounds, now, outcomes)
    histograms: list[HistogramSample] = []
    begun: dict[int, int] = {}
    exemplars: list[Exemplar] = []
    low, high = now - bounds.retention, now + bounds.future
    for request, outcome in zip(requests, outcomes, strict=True):
        for point in request.histograms:
            histograms += _admit_histogram(point, state, bounds, now, outcome, begun)
        timely = [exemplar for exemplar in request.exemplars if low <= exemplar.timestamp <= high]
        exemplars += timely
        outcome.exemplars = len(timely)
        outcome.accepted -= outcome.rejected
    return Batch(floats, _with_more(starts, begun), histograms, exemplars), outcomes


def _outcome(request: Decoded) -> Outcome:
    rejections = [Rejection(reason, count) for reason, count in request.rejected.items()]
    warnings = [Rejection(Reason(WARNING, warning), 0) for warning in request.warnings]
    return Outcome(request.points, rejections + warnings, histograms=len(request.histograms))


def _gather(requests: Sequence[Decoded]) -> _Pending | None:
    columns = [column for request in requests for column in request.columns]
    if not columns:
        return None
    sizes = [sum(len(column.slots) for column in request.columns) for request in requests]
    return _Pending(
        np.concatenate([column.slots for column in columns]),
        _milliseconds(np.concatenate([column.times for column in columns])),
        _milliseconds(np.concatenate([column.starts for column in columns])),
        np.concatenate([column.values for column in columns]),
        np.concatenate([column.flags for column in columns]),
        np.cumsum(sizes),
    )


def _milliseconds(nanoseconds: NDArray[np.uint64]) -> Int64s:
    return (nanoseconds // _NS_PER_MS).astype(np.int64)


def _admit_floats(
    pending: _Pending | None, state: StreamState, bounds: TimeBounds, now: int, outcomes: Sequence[Outcome]
) -> tuple[Floats, Starts]:
    if pending is None:
        nothing = np.empty(0, np.int64)
        return Floats(nothing, nothing, np.empty(0)), no_starts()
    pending.reject(pending.times < now - bounds.retention, TOO_OLD, outcomes)
    pending.reject(pending.times > now + bounds.future, TOO_FAR_AHEAD, outcomes)
    deltas = pending.any(DELTA)
    if deltas:
        pending.reject(pending.has(DELTA) & ~np.isfinite(pending.values), NOT_FINITE, outcomes)
        # Of a histogram only the sum may fall, and it does not lead.
        pending.reject(pending.has(DELTA | COUNTER) & pending.has(LEAD) & (pending.values < 0), NEGATIVE, outcomes)
    state.remember(pending.slots)
    changed = (pending.starts != state.last_start[pending.slots]) & (pending.starts > 0)
    zeros, starts = None, no_starts()
    if deltas or changed.any():
        zeros = _follow(pending, state, bounds.oldest_start(now), outcomes)
        starts = _note_starts(pending, state)
    stale = is_stale(pending.values)
    state.note(pending.slots, pending.times, pending.values, stale if stale.any() else None)
    return _with_zeros(zeros, pending), starts


@dataclass(slots=True)
class _Past:
    """What came last of a series, or of many of them: times in ms."""

    time: Any
    start: Any
    value: Any


def _verdict(time: Any, start: Any, flags: Any, past: _Past, oldest: int) -> tuple[Any, Any, Any]:
    """(begins a stream with a zero, repeats the last point, is older than it): of one sample or of columns.

    Without the zero the first increase of a rare counter never shows: a counter that appears as 1 has risen by 1, but
    one sample has no increase. Prometheus stores the same zero (created-timestamp ingestion). A delta stream goes on
    after a gap, so it has a beginning only once. Deltas of one millisecond follow each other by start.
    """
    delta = (flags & DELTA) != 0
    repeats = delta & (time == past.time) & (start == past.start)
    older = delta & ((time < past.time) | ((time == past.time) & (start < past.time))) & (repeats ^ True)
    begins = ((flags & COUNTER) != 0) & (start > past.time) & (start < time) & (start >= oldest) & (start > 0)
    begins = begins & (start != past.start) & ((delta ^ True) | (past.time == NEVER))
    return begins, repeats, older


def _follow(
    pending: _Pending, state: StreamState, oldest: int, outcomes: Sequence[Outcome]
) -> tuple[Int64s, Int64s] | None:
    """Turn differences into totals; (slots, times) of the zeros that begin streams.

    Repeats (a retry after a lost reply) are taken but not added again.
    """
    verdicts = np.zeros((3, len(pending.slots)), np.bool_)
    _, inverse, counts = np.unique(pending.slots, return_inverse=True, return_counts=True)
    once = counts[inverse] == 1
    with np.errstate(over="ignore"):  # a total beyond float64 is infinite
        _follow_at_once(np.flatnonzero(once), pending, state, oldest, verdicts)
        _follow_in_turn(np.flatnonzero(~once), pending, state, oldest, verdicts)
    begins, repeats, older = verdicts
    zeros = (pending.slots[begins], pending.starts[begins]) if begins.any() else None
    if repeats.any() or older.any():
        repeated = repeats[~older]
        pending.reject(older, OUT_OF_ORDER, outcomes)
        pending.drop(repeated)
    return zeros


def _follow_at_once(
    rows: Int64s, pending: _Pending, state: StreamState, oldest: int, verdicts: NDArray[np.bool_]
) -> None:
    """Samples of series that come once in a commit."""
    slots, flags = pending.slots[rows], pending.flags[rows]
    past = _Past(state.last_time[slots], state.last_start[slots], state.last_value[slots])
    found = _verdict(pending.times[rows], pending.starts[rows], flags, past, oldest)
    verdicts[:, rows] = found
    added = ((flags & DELTA) != 0) & ~found[1] & ~found[2]
    pending.values[rows[added]] += past.value[added]


def _follow_in_turn(
    rows: Int64s, pending: _Pending, state: StreamState, oldest: int, verdicts: NDArray[np.bool_]
) -> None:
    """Samples of series that come more than once in a commit: each builds on the one before."""
    pasts: dict[int, _Past] = {}
    ends = is_stale(pending.values[rows]).tolist()
    for row, end in zip(rows.tolist(), ends, strict=True):
        slot, time, start = int(pending.slots[row]), int(pending.times[row]), int(pending.starts[row])
        past = pasts.get(slot)
        if past is None:
            last = int(state.last_time[slot]), int(state.last_start[slot]), float(state.last_value[slot])
            past = pasts[slot] = _Past(*last)
        delta = int(pending.flags[row]) & DELTA
        verdict = _verdict(time, start, int(pending.flags[row]), past, oldest)
        verdicts[:, row] = verdict
        if verdict[1] or verdict[2]:
            continue
        if delta:
            pending.values[row] += past.value
        if start or delta:
            past.start = start
        if time >= past.time:
            past.time, past.value = time, past.value if end else float(pending.values[row])


def _note_starts(pending: _Pending, state: StreamState) -> Starts:
    """Keep the start of the last sample of each series; those that are new. A delta without a start has 0."""
    before = state.last_start[pending.slots]
    given = (pending.starts > 0) | pending.has(DELTA)
    state.last_start[pending.slots[given]] = pending.starts[given]  # of several of one series the last stays
    after = state.last_start[pending.slots]
    changed = after != before
    return Starts(pending.slots[changed], after[changed])


def _with_zeros(zeros: tuple[Int64s, Int64s] | None, pending: _Pending) -> Floats:
    if zeros is None:
        return Floats(pending.slots, pending.times, pending.values)
    slots, times = zeros
    return Floats(
        np.concatenate([slots, pending.slots]),
        np.concatenate([times, pending.times]),
        np.concatenate([np.zeros(len(slots)), pending.values]),
    )


def _admit_histogram(
    point: HistogramPoint, state: StreamState, bounds: TimeBounds, now: int, outcome: Outcome, begun: dict[int, int]
) -> list[HistogramSample]:
    """The same rules for one native histogram; `begun` gets its start time if that is new."""
    slot, time, start = point.slot, point.time // _NS_PER_MS, point.start // _NS_PER_MS
    reason = _untimely(time, bounds, now)
    past = _Past(int(state.last_time[slot]), int(state.last_start[slot]), state.histograms.get(slot))
    begins, repeats, older = _verdict(time, start, point.flags, past, bounds.oldest_start(now))
    if reason is None and repeats:
        return []
    if reason is not None or older:
        outcome.rejections.append(Rejection(reason or OUT_OF_ORDER, 1))
        outcome.histograms -= 1
        return []
    state.remember_histogram(slot)
    histogram = point.histogram
    if point.flags & DELTA and past.value is not None:
        histogram = total(past.value, histogram)
    samples = [HistogramSample(slot, time, histogram, stale=bool(point.flags & STALE))]
    if begins:
        samples.insert(0, HistogramSample(slot, start, emptied(histogram)))
    if start != past.start and (start or point.flags & DELTA):
        state.last_start[slot] = begun[slot] = start
    state.note_histogram(slot, time, None if samples[-1].stale else histogram)
    return samples


def _untimely(time: int, bounds: TimeBounds, now: int) -> Reason | None:
    if time < now - bounds.retention:
        return TOO_OLD
    return TOO_FAR_AHEAD if time > now + bounds.future else None


def _with_more(starts: Starts, begun: dict[int, int]) -> Starts:
    """Also the starts of native histograms: after a restart, a repeat must still be known as one."""
    if not begun:
        return starts
    slots, times = np.array(list(begun), np.int64), np.array(list(begun.values()), np.int64)
    return Starts(np.concatenate([starts.series, slots]), np.concatenate([starts.start_ms, times]))
