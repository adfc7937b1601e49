"""The registry: labels -> slot, the inverted index, the state with its way back, slots and ids."""

from collections.abc import Sequence
from operator import itemgetter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.model.histogram import Histogram
from mirubato.model.labels import NAME, STALE_NAN, Family, Labels, MetricType, is_stale, labels_of
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.model.samples import NEVER, Kind
from mirubato.model.seams import PointRefused, Reason
from mirubato.storage.registry import Registry, SeriesLimits, State
from tests.storage.world import NOW, matches, named

LIMITS = SeriesLimits(1000, 1_000_000)
FAMILY = Family("m", MetricType.GAUGE)

label_sets = st.builds(
    lambda name, a, b: labels_of([(NAME, name), ("a", a), ("b", b)]),
    st.sampled_from(["up", "down"]),
    st.sampled_from(["", "x", "xy", "z\n"]),
    st.sampled_from(["", "x", "1"]),
)
matchers = st.builds(
    Matcher,
    st.sampled_from([NAME, "a", "b", "none"]),
    st.sampled_from([MatchOp.EQUAL, MatchOp.NOT_EQUAL]),
    st.sampled_from(["", "x", "xy", "up"]),
) | st.builds(
    Matcher,
    st.sampled_from([NAME, "a", "b", "none"]),
    st.sampled_from([MatchOp.REGEX, MatchOp.NOT_REGEX]),
    st.sampled_from(["", ".*", ".+", "x|1", "x.*", "up", "u", "z."]),
)


def registry(active: int = 1000, new_per_minute: int = 1_000_000) -> Registry:
    made = Registry(SeriesLimits(active, new_per_minute))
    made.begin(NOW)
    return made


def propose(to: Registry, labels: Labels, kind: Kind = Kind.FLOAT) -> int:
    return to.propose(labels, kind, FAMILY)


@given(
    st.lists(st.tuples(st.booleans(), label_sets), max_size=30),
    st.lists(matchers, max_size=3),
)
def test_the_index_after_any_changes(changes: Sequence[tuple[bool, Labels]], conditions: Sequence[Matcher]) -> None:
    tested, there = registry(), set[Labels]()
    for add, labels in changes:
        slot = propose(tested, labels)
        there.add(labels)
        if not add:
            tested.remove([slot])
            there.discard(labels)
    found = tested.find(conditions)
    assert found.slots.tolist() == sorted(found.slots.tolist())
    assert [tested.series[slot] for slot in found.slots.tolist()] == list(found.series)
    assert [tested.symbols.pairs[number] for number in found.names.tolist()] == [
        next(pair for pair in series.labels if pair[0] == NAME) for series in found.series
    ]
    expected = {labels for labels in there if all(matches(matcher, dict(labels)) for matcher in conditions)}
    assert {series.labels for series in found.series} == expected
    assert len(found.series) == len(expected)
    assert tested.active == len(there)
    assert tested.index.names() == sorted({name for labels in there for name, _ in labels})
    for name in (NAME, "a", "b", "none"):
        assert tested.index.values(name) == sorted({dict(labels)[name] for labels in there if name in dict(labels)})


def test_removing_many_at_once_leaves_the_others() -> None:
    tested = registry()
    slots = [propose(tested, named("m", number=str(number % 7), own=str(number))) for number in range(100)]
    tested.remove(slots[::3])
    left = tested.find([Matcher("number", MatchOp.EQUAL, "3")])
    assert left.slots.tolist() == [slot for slot in slots if slot % 7 == 3 and slot % 3]
    assert tested.index.values("own") == sorted(str(slot) for slot in slots if slot % 3)


def test_slots_are_used_again_and_ids_are_not() -> None:
    tested = registry()
    first = propose(tested, named("m", a="1"))
    old_id, epoch = int(tested.ids[first]), tested.epoch
    tested.state.last_value[first] = 7.0
    tested.remove([first])
    assert tested.epoch > epoch
    assert tested.ids[first] == 0
    second = propose(tested, named("m", a="2"))
    assert second == first
    assert tested.ids[second] != old_id
    assert tested.state.last_value[second] == 0.0
    assert tested.state.last_time[second] == NEVER


def test_the_kind_is_part_of_the_identity() -> None:
    tested = registry()
    floats, histograms = propose(tested, named("m")), propose(tested, named("m"), Kind.HISTOGRAM)
    assert floats != histograms
    tested.remove([floats])
    assert propose(tested, named("m"), Kind.HISTOGRAM) == histograms


def test_undo_takes_new_series_and_their_state_back() -> None:
    tested = registry()
    old = propose(tested, named("old"))
    tested.committed()
    epoch = tested.epoch
    new = propose(tested, named("new"))
    tested.undo()
    assert tested.epoch > epoch
    assert [series.labels for series in tested.find([]).series] == [named("old")]
    assert propose(tested, named("old")) == old
    assert propose(tested, named("newer")) == new
    assert [series.labels for _, series in tested.unsaved()] == [named("newer")]


def test_undo_raises_the_epoch_even_if_nothing_was_new() -> None:
    tested = registry()
    propose(tested, named("old"))
    tested.committed()
    epoch = tested.epoch
    propose(tested, named("old"))
    tested.undo()
    assert tested.epoch > epoch
    assert tested.active == 1


@pytest.mark.parametrize(("series", "refused"), [(4, 0), (5, 0), (6, 1)])
def test_active_series_have_a_limit(series: int, refused: int) -> None:
    tested = registry(active=5)
    reasons = proposals(tested, series)
    assert [reason.code for reason in reasons] == ["max_series"] * refused
    assert all("MIRUBATO_MAX_SERIES=5" in reason.text for reason in reasons)
    propose(tested, named("m", number="0"))  # what is there stays welcome


@pytest.mark.parametrize(("series", "refused"), [(4, 0), (5, 0), (6, 1)])
def test_new_series_per_minute_have_a_limit(series: int, refused: int) -> None:
    tested = registry(new_per_minute=5)
    reasons = proposals(tested, series)
    assert [reason.code for reason in reasons] == ["max_new_series_per_minute"] * refused
    assert all("MIRUBATO_MAX_NEW_SERIES_PER_MINUTE=5" in reason.text for reason in reasons)


@pytest.mark.parametrize(("later", "refused"), [(0, 1), (59_999, 1), (60_000, 0), (-1, 0)])
def test_a_minute_later_there_is_room_again(later: int, refused: int) -> None:
    tested = registry(new_per_minute=5)
    proposals(tested, 5)
    tested.committed()
    tested.begin(NOW + later)
    assert len(proposals(tested, 6)) == refused


def test_series_of_a_failed_commit_do_not_count_for_the_minute() -> None:
    tested = registry(new_per_minute=5)
    proposals(tested, 5)
    tested.undo()
    assert proposals(tested, 5) == []


def test_evicted_series_make_room() -> None:
    tested = registry(active=5)
    proposals(tested, 5)
    tested.remove([2])
    assert proposals(tested, 6) == proposals(tested, 6) != []


def proposals(to: Registry, series: int) -> list[Reason]:
    reasons = []
    for number in range(series):
        try:
            propose(to, named("m", number=str(number)))
        except PointRefused as refused:
            reasons.append(refused.reason)
    return reasons


def test_more_slots_than_the_arrays_begin_with() -> None:
    tested = registry(active=10_000)
    slots = [propose(tested, named("m", number=str(number))) for number in range(3000)]
    assert slots == list(range(3000))
    assert tested.ids[:3000].tolist() == list(range(1, 3001))
    assert (tested.state.last_time[:3000] == NEVER).all()
    assert tested.seen[2999] == NOW


# State. -------------------------------------------------------------------------------------------------------------

notes = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 9) | st.none()), min_size=1, max_size=6),
    max_size=6,
)


@given(notes)
def test_state_keeps_the_newest_and_of_two_at_one_time_the_later(
    batches: list[list[tuple[int, int, int | None]]],
) -> None:
    state, model = State(), dict[int, tuple[int, bool, float]]()
    for batch in batches:
        note(state, batch)
        for slot in {slot for slot, _, _ in batch}:
            last_time, stale, last_value = model.get(slot, (NEVER, False, 0.0))
            # sorted is stable: of two samples at one time the later write is the last
            new = sorted(
                (sample[1:] for sample in batch if sample[0] == slot and sample[1] >= last_time), key=itemgetter(0)
            )
            live = [float(value) for _, value in new if value is not None]
            time, newest = new[-1] if new else (last_time, None if stale else 0)
            model[slot] = (time, newest is None, live[-1] if live else last_value)
    assert {slot: shown_of(state, slot) for slot in model} == model


@given(notes, notes)
def test_state_can_be_taken_back(
    before: list[list[tuple[int, int, int | None]]], after: list[list[tuple[int, int, int | None]]]
) -> None:
    state = State()
    for batch in before:
        note(state, batch)
    state.forget()
    kept = [shown_of(state, slot) for slot in range(4)]
    for batch in after:
        state.remember(np.array([slot for slot, _, _ in batch]))
        note(state, batch)
    state.undo()
    assert [shown_of(state, slot) for slot in range(4)] == kept


def note(state: State, batch: Sequence[tuple[int, int, int | None]]) -> None:
    values = np.array([STALE_NAN if value is None else value for _, _, value in batch], np.float64)
    stale = is_stale(values)
    slots, times = np.array([slot for slot, _, _ in batch]), np.array([time for _, time, _ in batch])
    state.note(slots, times, values, stale if stale.any() else None)


def shown_of(state: State, slot: int) -> tuple[int, bool, float]:
    return int(state.last_time[slot]), bool(state.stale[slot]), float(state.last_value[slot])


def test_state_of_native_histograms() -> None:
    state = State()
    first, second = Histogram(1.0, 1.0, 1.0, 0.0, 0), Histogram(2.0, 2.0, 2.0, 0.0, 0)
    state.note_histogram(3, 10, first)
    state.note_histogram(3, 9, second)
    assert state.histograms[3] == first
    state.remember_histogram(3)
    state.note_histogram(3, 10, second)
    state.remember_histogram(4)
    state.note_histogram(4, 10, second)
    state.remember_histogram(3)
    state.note_histogram(3, 11, None)
    assert (state.histograms[3], bool(state.stale[3])) == (second, True)
    state.undo()
    assert state.histograms == {3: first}
    assert (int(state.last_time[3]), bool(state.stale[3])) == (10, False)
    assert state.last_time[4] == NEVER
