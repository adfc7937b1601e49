"""Rollups equal what all samples give: whatever comes, late or early, with resets, and whenever retention runs."""

import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mirubato.model.histogram import Buckets, Histogram, ResetHint
from mirubato.model.rollups import DAY_MS, HOUR_MS, Borders, Use
from mirubato.model.samples import HistogramSample
from mirubato.storage import rollups
from mirubato.storage.blocks import decode_series
from mirubato.storage.retention import RetentionSettings, targets
from mirubato.storage.rollups import Rollups
from tests.storage.keeping import DAYS, FAR, HOURS, T0, Bucket, Kept, buckets, increase
from tests.storage.world import Request, named

RAW = RetentionSettings(6 * HOUR_MS, 3 * DAY_MS, 30 * DAY_MS)
SERIES = [named("c_total", host=host) for host in "abc"]

Samples = dict[int, float]

times = st.integers(1, 5 * HOUR_MS)
values = st.one_of(st.integers(0, 50).map(float), st.floats(0, 1e6))
samples = st.dictionaries(times, values, min_size=1, max_size=40)


def rolled(some: Samples, borders: Borders = HOURS) -> Rollups:
    ordered = sorted(some.items())
    owners = np.zeros(len(ordered), np.int64)
    return rollups.roll(owners, np.array([t for t, _ in ordered]), np.array([v for _, v in ordered]), borders)


def plain(found: Rollups) -> dict[int, tuple[float, ...]]:
    columns = zip(*(found.columns[name].tolist() for name in rollups.COLUMNS), strict=True)
    return dict(zip(found.ends.tolist(), columns, strict=True))


def wanted(some: Samples, step: int) -> dict[int, tuple[float, ...]]:
    return {end: bucket.columns() for end, bucket in buckets(some, step).items()}


def close(found: dict[int, tuple[float, ...]], expected: dict[int, tuple[float, ...]]) -> None:
    assert found.keys() == expected.keys()
    for end, columns in expected.items():
        assert found[end] == pytest.approx(columns, rel=1e-12, abs=1e-9), end


@given(samples)
def test_they_tell_of_the_samples(some: Samples) -> None:
    close(plain(rolled(some)), wanted(some, HOUR_MS))
    close(plain(rolled(some, DAYS)), wanted(some, DAY_MS))


@given(samples)
def test_days_of_hours_are_days_of_samples(some: Samples) -> None:
    close(plain(rollups.fold(rolled(some), DAYS)), wanted(some, DAY_MS))


@given(samples, st.lists(times, max_size=4))
def test_parts_that_follow_each_other_are_put_together(some: Samples, cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), FAR]
    parts = [{t: v for t, v in some.items() if low < t <= high} for low, high in pairwise(bounds)]
    found = rollups.fold(rollups.joined([rolled(part) for part in reversed(parts) if part]), HOURS)
    close(plain(found), wanted(some, HOUR_MS))


@given(st.lists(samples, min_size=1, max_size=4))
def test_bytes_and_back(series: list[Samples]) -> None:
    parts = [rolled(some) for some in series]
    whole = rollups.joined(
        [Rollups(part.owners + 3 * number + 1, part.ends, part.columns) for number, part in enumerate(parts)]
    )
    (block,) = rollups.build(whole)
    ids, counts = decode_series(block.series)
    back = rollups.decode(ids, counts, block.timestamps, block.content)
    assert back.owners.tolist() == whole.owners.tolist()
    assert back.ends.tolist() == whole.ends.tolist()
    for name in rollups.COLUMNS:
        assert back.columns[name].tolist() == whole.columns[name].tolist(), name
    some_columns = rollups.decode(ids, counts, block.timestamps, block.content, ("max", "last_time"))
    assert some_columns.columns["last_time"].tolist() == whole.columns["last_time"].tolist()
    assert set(some_columns.columns) == {"max", "last_time"}


@given(samples)
def test_what_stands_for_a_counter_grows_as_it_did(some: Samples) -> None:
    _, stamps, shown = rollups.points(rolled(some), Use.INCREASE)
    assert (np.diff(stamps) >= 0).all()
    for end, bucket in buckets(some, HOUR_MS).items():
        inside = [(t, v) for t, v in zip(stamps.tolist(), shown.tolist(), strict=True) if end - HOUR_MS < t <= end]
        assert increase(inside) == pytest.approx(increase(bucket.samples), rel=1e-9, abs=1e-6)


# --- native histograms ------------------------------------------------------------------------------------------------


def native(*counts: float) -> Histogram:
    return Histogram(sum(counts), 1.0, 0.0, 0.0, 0, Buckets(0, counts))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_thinned_histograms_keep_their_resets(steps: list[tuple[int, int]]) -> None:
    """Growth, and a fall of either bucket where a number is 0."""
    one, other, sent = 5.0, 5.0, []
    for number, (first, second) in enumerate(steps):
        one, other = (one + first if first else 0.0), (other + second if second else 0.0)
        sent.append(HistogramSample(1, 1 + number * 400_000, native(one, other)))
    kept = rollups.thin(sent, HOURS)
    assert [sample for sample in sent if sample in kept] == kept

    def grown(some: list[HistogramSample]) -> list[float]:
        total = np.zeros(2)
        for before, after in pairwise(some):
            reset = (after.histogram.positive.counts < before.histogram.positive.counts).any()
            total += after.histogram.positive.counts - (0 if reset else before.histogram.positive.counts)
        return total.tolist()

    assert grown(kept) == grown(sent)
    assert rollups.thin(kept, HOURS) == kept


def test_gauges_of_histograms_have_no_resets() -> None:
    gauges = [
        HistogramSample(1, 1 + at, Histogram(count, 1.0, 0.0, 0.0, 0, Buckets(0, [count]), hint=ResetHint.GAUGE))
        for at, count in enumerate((5.0, 3.0, 4.0, 1.0))
    ]
    assert rollups.thin(gauges, HOURS) == [gauges[0], gauges[-1]]


# --- what is due ------------------------------------------------------------------------------------------------------

ages = st.sampled_from(
    [0, HOUR_MS // 2, HOUR_MS, 5 * HOUR_MS, DAY_MS, 3 * DAY_MS, 7 * DAY_MS, 30 * DAY_MS, 400 * DAY_MS]
)


@given(ages, ages, ages, st.lists(st.integers(0, 500 * DAY_MS), min_size=1, max_size=5))
def test_borders_only_rise_and_are_whole(raw: int, hourly: int, daily: int, clock: list[int]) -> None:
    rules, borders = RetentionSettings(raw, hourly, daily), Borders()
    for passed in clock:  # the clock may also be put back
        now = T0 + passed
        due = targets(now, rules, borders)
        assert due.borders.raw >= borders.raw
        assert due.borders.hourly >= borders.hourly
        assert due.raw <= now - raw
        if due.step:
            assert due.borders.raw % HOUR_MS == 0
            assert due.raw <= due.borders.raw
            assert due.borders.hourly < 0 or due.borders.hourly % DAY_MS == 0
        if due.step == DAY_MS:
            assert due.raw <= due.borders.hourly
        borders = due.borders


# --- the whole store --------------------------------------------------------------------------------------------------


class Machine(RuleBasedStateMachine):
    """Samples that admission would take (not older than the raw retention), and everything that may happen to them."""

    @initialize()
    def open(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self.world = Kept(Path(self._directory.name) / "data", RAW)
        self.copies = 0
        self.sent: dict[int, Samples] = {number: {} for number in range(len(SERIES))}

    @rule(
        batch=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6 * HOUR_MS - 1), values), min_size=1, max_size=20)
    )
    def append(self, batch: list[tuple[int, int, float]]) -> None:
        floats = [(SERIES[number], self.world.now - age, value) for number, age, value in batch]
        self.world.append(Request(floats))
        for number, age, value in batch:
            self.sent[number][self.world.now - age] = value

    @rule(passed=st.integers(1, 20 * HOUR_MS))
    def wait(self, passed: int) -> None:
        self.world.now += passed

    @rule()
    def seal(self) -> None:
        self.world.sealer.seal()

    @rule()
    def merge(self) -> None:
        self.world.merge()

    @rule()
    def keep(self) -> None:
        self.world.keep()

    @rule()
    def evict(self) -> None:
        self.world.evict()

    @rule()
    def reopen(self) -> None:
        self.world = self.world.reopened()

    @rule()
    def die(self) -> None:
        self.copies += 1
        copy = Path(self._directory.name) / f"copy{self.copies}"
        self.world.copied(copy).close()
        self.world.close()
        self.world = self.world.again(copy)

    @invariant()
    @precondition(lambda self: hasattr(self, "world"))
    def nothing_is_lost_or_doubled(self) -> None:
        found = self.world.rollups(DAYS)
        gone = (self.world.now - RAW.daily) // DAY_MS * DAY_MS
        for number, labels in enumerate(SERIES):
            expected = {end: one for end, one in wanted(self.sent[number], DAY_MS).items() if end > gone}
            close({end: one for end, one in found.get(labels, {}).items() if end > gone}, expected)

    @rule(back=st.integers(0, 60))
    def ask(self, back: int) -> None:
        """At the end of an hour that is hours still, or samples: what PromQL says of it."""
        borders = self.world.store.kept.borders
        end = self.world.now // HOUR_MS * HOUR_MS - back * HOUR_MS
        if end - HOUR_MS < max(borders.hourly, 0) or end > borders.raw:
            return
        answers = {name: self.world.values(f"{name}(c_total[1h])", end) for name in FUNCTIONS}
        for number, labels in enumerate(SERIES):
            hours = buckets(self.sent[number], HOUR_MS)
            bucket = hours.get(end)
            for name, function in FUNCTIONS.items():
                answer = answers[name].get(labels if name == "last_over_time" else labels[1:])
                if bucket is None:
                    assert answer is None, (name, end)
                else:
                    assert answer == pytest.approx(function(bucket, hours.get(end - HOUR_MS)), rel=1e-9, abs=1e-6), name

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            self._directory.cleanup()


def _increase(bucket: Bucket, before: Bucket | None) -> float:
    return increase((*(before.samples[-1:] if before else ()), *bucket.samples))


FUNCTIONS: dict[str, Callable[[Bucket, Bucket | None], float]] = {
    "increase": _increase,
    "rate": lambda bucket, before: _increase(bucket, before) / 3600,
    "avg_over_time": lambda bucket, _: sum(v for _, v in bucket.samples) / len(bucket.samples),
    "sum_over_time": lambda bucket, _: sum(v for _, v in bucket.samples),
    "count_over_time": lambda bucket, _: len(bucket.samples),
    "min_over_time": lambda bucket, _: min(v for _, v in bucket.samples),
    "max_over_time": lambda bucket, _: max(v for _, v in bucket.samples),
    "last_over_time": lambda bucket, _: bucket.samples[-1][1],
}


def test_whatever_happens_the_rollups_are_right() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
