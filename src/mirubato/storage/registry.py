"""Series that are in memory: labels -> slot, what their last samples were, and the inverted index for queries.

A series has an id, for ever, on disk; and a slot, its place in the arrays here while it is active. Slots are used
again, ids are not. Everything that remembers slots watches `epoch`.
"""

import sys
import threading
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mirubato.limits import FAMILIES_MAX
from mirubato.model.families import family_of
from mirubato.model.histogram import Histogram
from mirubato.model.labels import NAME, Family, Labels, MetricType, metric_name
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.samples import NEVER, Float64s, Int64s, Kind
from mirubato.model.seams import PointRefused

Pair = tuple[str, str]

_NO_PAIR: Final[Pair] = ("", "")
_GONE: Final = Family("", MetricType.UNKNOWN)
"""What stands where a pair or a family was released: numbers are never given again."""


@dataclass(slots=True)
class Series:
    """One series in memory."""

    id: int
    labels: Labels
    kind: Kind
    family: Family


@dataclass(frozen=True, slots=True)
class SeriesLimits:
    """Settings that bound the number of series."""

    active: int
    new_per_minute: int


@dataclass(frozen=True, slots=True)
class LastSamples:
    """The newest samples of some series: three columns of one length, and native histograms by slot."""

    times: Int64s
    values: Float64s
    stale: NDArray[np.bool_]
    histograms: dict[int, Histogram]


class State:
    """What the last sample of each slot was (`model.seams.StreamState`), with a log to take a commit back."""

    def __init__(self) -> None:
        self.last_time: Int64s = np.full(1024, NEVER, np.int64)
        self.last_start: Int64s = np.zeros(1024, np.int64)
        self.last_value: Float64s = np.zeros(1024)
        self.stale: NDArray[np.bool_] = np.zeros(1024, np.bool_)
        self.histograms: dict[int, Histogram] = {}
        self._log: list[tuple[Int64s, Int64s, Int64s, Float64s, NDArray[np.bool_]]] = []
        self._histogram_log: list[tuple[int, Histogram | None]] = []

    def grow(self, size: int) -> None:
        """Make room for `size` slots, by doubling."""
        old = len(self.last_time)
        if size <= old:
            return
        more = max(size, 2 * old) - old
        self.last_time = np.concatenate([self.last_time, np.full(more, NEVER, np.int64)])
        self.last_start = np.concatenate([self.last_start, np.zeros(more, np.int64)])
        self.last_value = np.concatenate([self.last_value, np.zeros(more)])
        self.stale = np.concatenate([self.stale, np.zeros(more, np.bool_)])

    def clear(self, slot: int) -> None:
        """Forget one slot, so that it can be used again."""
        self.last_time[slot], self.last_start[slot] = NEVER, 0
        self.last_value[slot], self.stale[slot] = 0.0, False
        self.histograms.pop(slot, None)

    def note(self, slots: Int64s, times: Int64s, values: Float64s, stale: NDArray[np.bool_] | None) -> None:
        """Keep time and value of each series' newest sample; of two at one time the later write wins."""
        if stale is None and (times >= self.last_time[slots]).all():
            # The common case, half the cost: nothing is late. A series that comes twice, newest first, shows in that
            # its time is not what was just written.
            self.last_time[slots] = times
            if (self.last_time[slots] == times).all():
                self.last_value[slots], self.stale[slots] = values, False
                return
        live = times >= self.last_time[slots]
        np.maximum.at(self.last_time, slots, times)
        newest = times == self.last_time[slots]
        if stale is None:
            self.stale[slots[newest]] = False
            live = newest
        else:
            self.stale[slots[newest]] = stale[newest]
            # The value before a marker may be of the same commit: it is the total that the stream goes on from.
            live &= ~stale
            live_time = np.full(len(self.last_time), NEVER, np.int64)
            np.maximum.at(live_time, slots[live], times[live])
            live &= times == live_time[slots]
        self.last_value[slots[live]] = values[live]

    def note_histogram(self, slot: int, time: int, histogram: Histogram | None) -> None:
        """The same for a native histogram; None is a staleness marker."""
        if time < self.last_time[slot]:
            return
        self.last_time[slot], self.stale[slot] = time, histogram is None
        if histogram is not None:
            self.histograms[slot] = histogram

    def copy(self, slots: Int64s) -> "LastSamples":
        """The newest samples of some slots; on the writer thread."""
        columns = self.last_time[slots], self.last_value[slots], self.stale[slots]
        return LastSamples(*columns, dict(self.histograms))

    def remember(self, slots: Int64s) -> None:
        """Keep what `slots` hold, until `forget` or `undo`."""
        self._log.append(
            (slots, self.last_time[slots], self.last_start[slots], self.last_value[slots], self.stale[slots])
        )

    def remember_histogram(self, slot: int) -> None:
        """The same for one series of native histograms."""
        self.remember(np.array([slot]))
        self._histogram_log.append((slot, self.histograms.get(slot)))

    def touched(self) -> Sequence[Int64s]:
        """The slots remembered since the last commit."""
        return [entry[0] for entry in self._log]

    def forget(self) -> None:
        """The commit is on disk."""
        self._log.clear()
        self._histogram_log.clear()

    def undo(self) -> None:
        """The commit failed: go back to what was, newest change first."""
        for slots, last_time, last_start, last_value, stale in reversed(self._log):
            self.last_time[slots], self.last_start[slots] = last_time, last_start
            self.last_value[slots], self.stale[slots] = last_value, stale
        for slot, histogram in reversed(self._histogram_log):
            if histogram is None:
                self.histograms.pop(slot, None)
            else:
                self.histograms[slot] = histogram
        self.forget()


class Index:
    """Label -> value -> slots: what finds the series of a selector. Guarded by a lock, since queries read it."""

    def __init__(self, lock: threading.RLock) -> None:
        self._postings: dict[str, dict[str, array[int]]] = {}
        self._size = 0
        """One more than the highest slot that was ever entered."""
        self._lock = lock

    def add(self, slot: int, labels: Labels) -> None:
        """Enter one series."""
        with self._lock:
            self._size = max(self._size, slot + 1)
            for name, value in labels:
                values = self._postings.get(name)
                if values is None:
                    values = self._postings[name] = {}
                slots = values.get(value)
                if slots is None:
                    values[value] = array("i", (slot,))
                else:
                    slots.append(slot)

    def remove(self, gone: Sequence[tuple[int, Labels]]) -> None:
        """Take series out; each list of slots that names one of them is filtered once."""
        dead = np.zeros(max((slot for slot, _ in gone), default=-1) + 1, np.bool_)
        dead[[slot for slot, _ in gone]] = True
        with self._lock:
            for name, value in {pair for _, labels in gone for pair in labels}:
                slots = np.frombuffer(self._postings[name][value], np.int32)
                inside = slots < len(dead)
                kept = slots[~(inside & dead[np.where(inside, slots, 0)])]
                if len(kept):
                    self._postings[name][value] = array("i", kept.tobytes())
                    continue
                del self._postings[name][value]
                if not self._postings[name]:
                    del self._postings[name]

    def find(self, matchers: Sequence[Matcher]) -> Int64s:
        """Slots that fulfil every condition, rising; free ones among them where no condition asks for a label."""
        with self._lock:
            found = np.ones(self._size, np.bool_)
            for matcher in matchers:
                missing_too = matcher.matches_missing()
                mask = self._mask(matcher, wanted=not missing_too)
                found &= ~mask if missing_too else mask
        return np.flatnonzero(found)

    def _mask(self, matcher: Matcher, *, wanted: bool) -> NDArray[np.bool_]:
        """Slots with the label whose value matches (or, not wanted, does not match)."""
        mask = np.zeros(self._size, np.bool_)
        values = self._postings.get(matcher.name, {})
        if matcher.op is MatchOp.EQUAL and wanted:
            lists = [values[matcher.value]] if matcher.value in values else []
        else:
            lists = [slots for value, slots in values.items() if matcher.matches(value) is wanted]
        for slots in lists:
            mask[np.frombuffer(slots, np.int32)] = True
        return mask

    def names(self) -> list[str]:
        """All label names, sorted."""
        with self._lock:
            return sorted(self._postings)

    def values(self, name: str) -> list[str]:
        """All values of a label, sorted."""
        with self._lock:
            return sorted(self._postings.get(name, ()))

    def counts(self) -> dict[str, dict[str, int]]:
        """Label -> value -> how many series have it."""
        with self._lock:
            return {
                name: {value: len(slots) for value, slots in values.items()} for name, values in self._postings.items()
            }


@dataclass(frozen=True, slots=True)
class Active:
    """Active series that fulfil some conditions: three columns of one length, and the epoch in which they did."""

    epoch: int
    slots: Int64s
    series: Sequence[Series]
    names: Int64s

    def only(self, wanted: NDArray[np.bool_]) -> "Active":
        """Some of them."""
        series = [self.series[row] for row in np.flatnonzero(wanted).tolist()]
        return Active(self.epoch, self.slots[wanted], series, self.names[wanted])


class Registry:
    """The active series (`model.seams.SeriesRegistry`). Changed on the writer thread only; queries may read.

    A slot may be given to another series as soon as `find` has answered: who goes on to look at samples by slot looks
    at `epoch` again afterwards.
    """

    def __init__(self, limits: SeriesLimits) -> None:
        self._lock = threading.RLock()
        self.state = State()
        self.index = Index(self._lock)
        self.epoch = 0
        self.now = 0
        self.series: list[Series | None] = []
        self.ids: Int64s = np.zeros(1024, np.int64)
        self.names: Int64s = np.zeros(1024, np.int64)
        """The number of the pair (`__name__`, ...) of each slot's series."""
        self.seen: Int64s = np.zeros(1024, np.int64)
        """When a slot last got a sample, by our clock (ms)."""
        self.active = 0
        self._limits = limits
        self._slots: dict[tuple[Labels, Kind], int] = {}
        self._free: list[int] = []
        self._next_id = 1
        self._new: list[int] = []
        self._minute = (0, 0)
        self.symbols = Symbols()
        self.watchers: list[Callable[[bool], None]] = []

    def begin(self, now: int) -> None:
        """A commit begins at `now` (ms)."""
        self.now = now
        if not 0 <= now - self._minute[0] < 60_000:  # below 0: the clock was put back
            self._minute = (now, 0)

    def propose(self, labels: Labels, kind: Kind, family: Family) -> int:
        """The slot of a series, made if it is new; PointRefused past a limit."""
        slot = self._slots.get((labels, kind))
        return self._make(labels, kind, family) if slot is None else slot

    def slot_of(self, labels: Labels, kind: Kind) -> int | None:
        """The slot of a series if it is active."""
        return self._slots.get((labels, kind))

    def describe(self, family: Family) -> None:
        """Keep what is known of a metric, told apart from its series; PointRefused past a limit."""
        if len(self.symbols.families) >= FAMILIES_MAX and not self.symbols.knows(family):
            raise PointRefused("max_families", f"more than {FAMILIES_MAX} metrics that were told of apart from samples")
        self.symbols.describe(family)

    def _make(self, labels: Labels, kind: Kind, family: Family) -> int:
        since, made = self._minute
        if self.active >= self._limits.active:
            raise PointRefused("max_series", f"more than MIRUBATO_MAX_SERIES={self._limits.active} active series")
        if made >= self._limits.new_per_minute:
            limit = self._limits.new_per_minute
            raise PointRefused(
                "max_new_series_per_minute", f"more than MIRUBATO_MAX_NEW_SERIES_PER_MINUTE={limit} new series"
            )
        self._minute = (since, made + 1)
        family = self.symbols.family_of(labels, kind, family)
        series = Series(self._next_id, self.symbols.interned(labels), kind, family)
        self._next_id += 1
        slot = self.enter(series)
        self._new.append(slot)
        return slot

    def enter(self, series: Series) -> int:
        """Give a series (new, or read from disk) a slot."""
        slot = self._free.pop() if self._free else len(self.series)
        if slot == len(self.series):
            self._grow(slot + 1)  # first: queries take no more of the columns than there are series
            self.series.append(series)
        else:
            self.series[slot] = series
        self.ids[slot] = series.id
        self.names[slot] = self.symbols.pair_id((NAME, metric_name(series.labels)))
        self.seen[slot] = self.now
        self._next_id = max(self._next_id, series.id + 1)
        self._slots[series.labels, series.kind] = slot
        self.active += 1
        self.index.add(slot, series.labels)
        return slot

    def _grow(self, size: int) -> None:
        if size > len(self.ids):
            self.ids = np.concatenate([self.ids, np.zeros(len(self.ids), np.int64)])
            self.names = np.concatenate([self.names, np.zeros(len(self.names), np.int64)])
            self.seen = np.concatenate([self.seen, np.zeros(len(self.seen), np.int64)])
            self.state.grow(len(self.ids))

    def reserve(self, id_: int) -> None:
        """An id that is on disk only, or was, must not be given again."""
        self._next_id = max(self._next_id, id_ + 1)

    @property
    def next_numbers(self) -> tuple[int, int, int]:
        """What the next series, pair and family will be called."""
        return self._next_id, len(self.symbols.pairs), len(self.symbols.families)

    def swept(self) -> None:
        """Series, pairs or families have gone from the disk: whoever remembers numbers forgets them."""
        self.epoch += 1

    def unsaved(self) -> list[tuple[int, Series]]:
        """Slots and series made since the last commit."""
        return [(slot, series) for slot in self._new if (series := self.series[slot]) is not None]

    def committed(self) -> None:
        """What was proposed and remembered is on disk."""
        for slots in self.state.touched():
            self.seen[slots] = self.now
        self.state.forget()
        self._tell(self.symbols.saved())
        self._new.clear()
        self._end_commit(kept=True)

    def _end_commit(self, *, kept: bool) -> None:
        for watcher in self.watchers:
            watcher(kept)

    def _tell(self, described: Collection[str]) -> None:
        """Give series the families that were described after them; `described` are the names of those."""
        for series in self.series if described else ():
            if series is not None and (series.family.type is MetricType.UNKNOWN or series.family.name in described):
                series.family = self.symbols.family_of(series.labels, series.kind, series.family)

    def undo(self) -> None:
        """The commit failed: new series go, and the state is what it was.

        The epoch rises even if none was new: what a decoder remembers of its last request, such as that it wrote
        `target_info`, is of a commit that never was.
        """
        self.epoch += 1
        self.state.undo()
        since, made = self._minute
        self._minute = (since, max(0, made - len(self._new)))
        if self._new:
            self.remove(self._new)
            self._new = []
        self._end_commit(kept=False)

    def idle(self, before: int) -> Int64s:
        """Slots of series without a sample since `before` (ms)."""
        size = len(self.series)
        return np.flatnonzero((self.ids[:size] != 0) & (self.seen[:size] < before))

    def remove(self, slots: Sequence[int]) -> None:
        """Drop series from memory, and let their slots be used again."""
        with self._lock:
            self.epoch += 1
            gone = [(slot, series) for slot in slots if (series := self.series[slot]) is not None]
            self.index.remove([(slot, series.labels) for slot, series in gone])
            for slot, series in gone:
                del self._slots[series.labels, series.kind]
                self.series[slot] = None
                self.state.clear(slot)
                self.ids[slot] = 0
            self._free += [slot for slot, _ in gone]
            self.active -= len(gone)

    def find(self, matchers: Sequence[Matcher]) -> Active:
        """The active series that fulfil every condition."""
        with self._lock:
            slots = self.index.find(matchers)
            slots = slots[self.ids[slots] != 0]
            found = [series for slot in slots.tolist() if (series := self.series[slot]) is not None]
            return Active(self.epoch, slots, found, self.names[slots])


class Symbols:
    """Label pairs and families, each kept once; numbers stand for them on disk."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = [_NO_PAIR]
        self.families: list[Family] = [_GONE]
        self._pair_ids: dict[Pair, int] = {}
        self._family_ids: dict[tuple[str, MetricType], int] = {}
        self._told: dict[str, Family] = {}
        """The family that came last of each name."""
        self._described: dict[int, str] = {}
        """Numbers and names of families that were described since the last commit."""
        self._saved = (1, 1)
        self._released: list[int] = []

    def interned(self, labels: Labels) -> Labels:
        """The same labels, made of pairs that are shared by all series."""
        return tuple(self.pairs[self.pair_id(pair)] for pair in labels)

    def labels(self, encoded: bytes) -> Labels:
        """The labels of a series on disk: the numbers of its pairs, 4 bytes each."""
        return tuple(self.pairs[number] for number in array("I", encoded))

    def holds(self, labels: Labels) -> bool:
        """Whether all of these, read from the disk, are there."""
        return not any(pair is _NO_PAIR for pair in labels)

    def pair_id_of(self, pair: Pair) -> int:
        """The number of a pair, 0 (which no series has) if it was never seen."""
        return self._pair_ids.get(pair, 0)

    def pair_id(self, pair: Pair) -> int:
        """The number of a pair, given if it is new."""
        number = self._pair_ids.get(pair)
        if number is None:
            number = self._pair_ids[pair] = len(self.pairs)
            self.pairs.append(pair)
        return number

    def family(self, family: Family) -> Family:
        """The family of this name and type; unit and help are those of whoever came first."""
        key = (family.name, family.type)
        number = self._family_ids.get(key)
        if number is None:
            number = self._family_ids[key] = len(self.families)
            self.families.append(family)
            self._tell(family)
        return self.families[number]

    def _tell(self, family: Family) -> None:
        if family.type is not MetricType.UNKNOWN or family.help or family.unit:
            self._told[family.name] = family

    def knows(self, family: Family) -> bool:
        """Whether there is one of its name and type."""
        return (family.name, family.type) in self._family_ids

    def describe(self, family: Family) -> None:
        """Keep a family that was told apart from its series; unit and help too where they were not known."""
        known = self.knows(family)
        before = self.family(family)
        if known and (before.help or before.unit or not (family.help or family.unit)):
            return
        number = self.family_id(family)
        self.families[number] = family
        self._described[number] = family.name
        self._tell(family)

    def family_of(self, labels: Labels, kind: Kind, family: Family) -> Family:
        """The family of a series; where its type is unknown, the one that was told of apart from it."""
        if family.type is MetricType.UNKNOWN:
            family = family_of(labels, kind, self._told)
        return self.family(family)

    def family_id(self, family: Family) -> int:
        """The number of a family that `family` has answered."""
        return self._family_ids[family.name, family.type]

    def unsaved(self) -> tuple[list[tuple[int, str, str]], list[tuple[int, Family]]]:
        """Pairs and families that are not on disk yet."""
        pairs, families = self._saved
        return (
            [(number, *pair) for number, pair in enumerate(self.pairs[pairs:], pairs) if pair is not _NO_PAIR],
            [
                *((number, self.families[number]) for number in self._described if number < families),
                *((number, one) for number, one in enumerate(self.families[families:], families) if one is not _GONE),
            ],
        )

    def saved(self) -> Collection[str]:
        """All are on disk. Answers the names of the families that were described since the last time."""
        described, self._described = set(self._described.values()), {}
        self._saved = (len(self.pairs), len(self.families))
        return described

    def restore(
        self, pairs: Iterable[tuple[int, str, str]], families: Iterable[tuple[int, Family]], ends: tuple[int, int]
    ) -> None:
        """Take over what is on disk, in the order of the numbers; what is missing was released.

        `ends`: numbers below these, of pairs and of families, are never given again.
        """
        for number, name, value in pairs:
            self.pairs += [_NO_PAIR] * (number - len(self.pairs))
            assert self.pair_id((sys.intern(name), value)) == number, number
        for number, family in families:
            self.families += [_GONE] * (number - len(self.families))
            self.family(family)
            assert self.family_id(family) == number, number
        self.pairs += [_NO_PAIR] * (ends[0] - len(self.pairs))
        self.families += [_GONE] * (ends[1] - len(self.families))
        self.saved()

    def release(self, pairs: Collection[int], families: Collection[int]) -> "Released":
        """Forget what no series has any more; what it answers can bring it back.

        The texts of the pairs stay until the next time: a query may have read numbers from the disk just before.
        """
        for number in self._released:
            self.pairs[number] = _NO_PAIR
        self._released = list(pairs)
        gone = Released({self.pairs[number]: number for number in pairs}, {n: self.families[n] for n in families})
        for pair in gone.pairs:
            del self._pair_ids[pair]
        for number, family in gone.families.items():
            del self._family_ids[family.name, family.type]
            self.families[number] = _GONE
            self._described.pop(number, None)
            if self._told.get(family.name) == family:
                del self._told[family.name]
        return gone

    def take_back(self, gone: "Released") -> None:
        """The commit that released them failed, and with it all that was given a new number since."""
        self._released = []
        for pair, number in gone.pairs.items():
            if pair in self._pair_ids:
                self.pairs[self._pair_ids[pair]] = _NO_PAIR
            self._pair_ids[pair] = number
        for number, family in gone.families.items():
            key = (family.name, family.type)
            if key in self._family_ids:
                self.families[self._family_ids[key]] = _GONE
            self._family_ids[key] = number
            self.families[number] = family
            self._tell(family)


@dataclass(frozen=True, slots=True)
class Released:
    """Pairs and families that are gone, with their numbers."""

    pairs: Mapping[Pair, int]
    families: Mapping[int, Family]
