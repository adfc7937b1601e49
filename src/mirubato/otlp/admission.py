"""The rules that every point passes, whichever way it was read: time bounds, delta totals, start times.

Vectorised over all requests of a commit. What a rule asks about the past of a series is in the registry's state;
`remember` is called before the state changes, so that a failed commit can be taken back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirubato.model.histogram import empty
from mirubato.model.samples import NEVER, Batch, Exemplar, Float64s, Floats, HistogramSample, Int64s, Starts
from mirubato.model.seams import Outcome, Reason, Rejection, StreamState
from mirubato.otlp.columns import COUNTER, DELTA, LEAD, STALE, Decoded, HistogramPoint

_NS_PER_MS = 1_000_000

TOO_OLD = Reason("too_old", "older than MIRUBATO_RETENTION_RAW")
TOO_FAR_AHEAD = Reason("too_far_ahead", "further ahead of the clock than MIRUBATO_FUTURE_MAX")
OUT_OF_ORDER = Reason("out_of_order", "a delta point older than the last one of its series")
NEGATIVE = Reason("invalid", "a negative delta of a monotonic sum")
WARNING = "warning"


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """What admission asks of the settings; milliseconds."""

    retention: int
    future: int
    zero_samples: bool
    """Whether a zero is stored at the start of a counter (`start_time_zero_samples`)."""


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

    def has(self, flag: int) -> NDArray[np.bool_]:
        """Which samples carry a flag."""
        return (self.flags & flag).astype(np.bool_)

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
    exemplars: list[Exemplar] = []
    low, high = now - bounds.retention, now + bounds.future
    for request, outcome in zip(requests, outcomes, strict=True):
        for point in request.histograms:
            histograms += _admit_histogram(point, state, bounds, now, outcome)
        exemplars += [exemplar for exemplar in request.exemplars if low <= exemplar.timestamp <= high]
        outcome.accepted -= outcome.rejected
    return Batch(floats, starts, histograms, exemplars), outcomes


def _outcome(request: Decoded) -> Outcome:
    rejections = [Rejection(reason, count) for reason, count in request.rejected.items()]
    return Outcome(
        request.points, rejections + [Rejection(Reason(WARNING, warning), 0) for warning in request.warnings]
    )


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
        return Floats(nothing, nothing, np.empty(0)), Starts(nothing, nothing)
    pending.reject(pending.times < now - bounds.retention, TOO_OLD, outcomes)
    pending.reject(pending.times > now + bounds.future, TOO_FAR_AHEAD, outcomes)
    state.remember(pending.slots)
    changed = (pending.starts != state.last_start[pending.slots]) & (pending.starts > 0)
    zeros = None
    if changed.any():
        zeros = _zero_samples(pending, changed, state, bounds, now)
    if pending.any(DELTA):
        _add_deltas(pending, state, outcomes)
        changed = (pending.starts != state.last_start[pending.slots]) & (pending.starts > 0)
    starts = Starts(pending.slots[changed], pending.starts[changed])
    state.last_start[starts.series] = starts.start_ms
    state.note(pending.slots, pending.times, pending.values, pending.has(STALE) if pending.any(STALE) else None)
    return _with_zeros(zeros, pending), starts


def _zero_samples(
    pending: _Pending, changed: NDArray[np.bool_], state: StreamState, bounds: TimeBounds, now: int
) -> tuple[Int64s, Int64s] | None:
    """(slots, times) of the zeros that begin streams.

    Without them the first increase of a rare counter never shows: a counter that appears as 1 has risen by 1, but one
    sample has no increase. Prometheus stores the same zero (created-timestamp ingestion). A delta stream goes on
    after a gap, so it has a beginning only once.
    """
    if not bounds.zero_samples:
        return None
    last = state.last_time[pending.slots]
    begins = changed & pending.has(COUNTER) & (pending.starts < pending.times) & (pending.starts > last)
    begins &= pending.starts >= now - bounds.retention
    begins &= ~pending.has(DELTA) | (last == NEVER)
    return (pending.slots[begins], pending.starts[begins]) if begins.any() else None


def _with_zeros(zeros: tuple[Int64s, Int64s] | None, pending: _Pending) -> Floats:
    if zeros is None:
        return Floats(pending.slots, pending.times, pending.values)
    slots, times = zeros
    return Floats(
        np.concatenate([slots, pending.slots]),
        np.concatenate([times, pending.times]),
        np.concatenate([np.zeros(len(slots)), pending.values]),
    )


def _add_deltas(pending: _Pending, state: StreamState, outcomes: Sequence[Outcome]) -> None:
    """Replace differences by totals; repeats (a retry after a lost reply) are taken but not added again."""
    pending.reject(
        pending.has(DELTA) & pending.has(COUNTER) & pending.has(LEAD) & (pending.values < 0),
        NEGATIVE,
        outcomes,
    )
    rows = np.flatnonzero(pending.has(DELTA))
    _, inverse, counts = np.unique(pending.slots[rows], return_inverse=True, return_counts=True)
    single = counts[inverse] == 1
    repeats, older = np.zeros((2, len(pending.slots)), np.bool_)
    _add_singles(rows[single], pending, state, repeats, older)
    for row in rows[~single].tolist():
        _add_one(row, pending, state, repeats, older)
    both = repeats | older
    if both.any():
        repeated = repeats[~older]
        pending.reject(older, OUT_OF_ORDER, outcomes)
        pending.drop(repeated)


def _verdict(time: Any, start: Any, last_time: Any, last_start: Any) -> tuple[Any, Any]:
    """(is a repeat of the last point, is older than it); points of one millisecond follow each other by start."""
    repeat = (time == last_time) & (start == last_start)
    older = (time < last_time) | ((time == last_time) & (start < last_time))
    return repeat, older & (repeat ^ True)


def _add_singles(
    rows: Int64s, pending: _Pending, state: StreamState, repeats: NDArray[np.bool_], older: NDArray[np.bool_]
) -> None:
    slots, times, starts = pending.slots[rows], pending.times[rows], pending.starts[rows]
    repeats[rows], older[rows] = _verdict(times, starts, state.last_time[slots], state.last_start[slots])
    added = rows[~(repeats[rows] | older[rows])]
    slots = pending.slots[added]
    pending.values[added] += state.last_value[slots]
    state.last_value[slots] = pending.values[added]
    state.last_time[slots] = pending.times[added]


def _add_one(
    row: int, pending: _Pending, state: StreamState, repeats: NDArray[np.bool_], older: NDArray[np.bool_]
) -> None:
    """The same for a series that comes more than once in a commit: its points build on each other."""
    slot, time, start = pending.slots[row], pending.times[row], pending.starts[row]
    repeats[row], older[row] = _verdict(time, start, state.last_time[slot], state.last_start[slot])
    if repeats[row] or older[row]:
        return
    pending.values[row] += state.last_value[slot]
    state.last_value[slot] = pending.values[row]
    state.last_time[slot] = time
    state.last_start[slot] = start


def _admit_histogram(
    point: HistogramPoint, state: StreamState, bounds: TimeBounds, now: int, outcome: Outcome
) -> list[HistogramSample]:
    """The same rules for one native histogram."""
    slot, time, start = point.slot, point.time // _NS_PER_MS, point.start // _NS_PER_MS
    histogram = point.histogram
    reason = _untimely(time, bounds, now)
    state.remember_histogram(slot)
    last_time, last_start = int(state.last_time[slot]), int(state.last_start[slot])
    if point.flags & DELTA and reason is None:
        repeat, older = _verdict(time, start, last_time, last_start)
        if repeat:
            return []
        if older:
            reason = OUT_OF_ORDER
        elif slot in state.histograms:
            histogram = state.histograms[slot].plus(histogram)
    if reason is not None:
        outcome.rejections.append(Rejection(reason, 1))
        return []
    samples = [HistogramSample(slot, time, histogram, stale=bool(point.flags & STALE))]
    begins = last_time < start < time and start >= now - bounds.retention and start != last_start
    if begins and bounds.zero_samples and (not point.flags & DELTA or last_time == NEVER):
        samples.insert(0, HistogramSample(slot, start, empty(histogram.schema, histogram.zero_threshold)))
    if start:
        state.last_start[slot] = start
    state.note_histogram(slot, time, None if samples[-1].stale else histogram)
    return samples


def _untimely(time: int, bounds: TimeBounds, now: int) -> Reason | None:
    if time < now - bounds.retention:
        return TOO_OLD
    return TOO_FAR_AHEAD if time > now + bounds.future else None
