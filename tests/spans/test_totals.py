"""The totals beside the samples: failed commits, evictions, repeats, idle rows, the limit of series. Time is given."""

import random

import pytest

from mirubato.admission.columns import Decoded
from mirubato.admission.rules import TimeBounds, admit
from mirubato.limits import SPAN_SERIES_IDLE_MS
from mirubato.model.labels import metric_name
from mirubato.model.seams import Outcome
from mirubato.spans.counting import Counting, CountSettings
from mirubato.spans.reading import ReadSettings, ReadSpans, SpanReader
from mirubato.storage.registry import Registry, SeriesLimits
from tests.spans.making import span, traces

NOW_MS = 1_795_000_000_400
BOUNDS = TimeBounds(7 * 86_400_000, 600_000, zero_samples=True)


class World:
    """A registry and what counts into it; `commit` does what the appender does, with or without success."""

    def __init__(self, series: int = 10_000) -> None:
        self.registry = Registry(SeriesLimits(series, 10_000))
        self.counting = Counting(self.registry, CountSettings((0.05, 1.0), 100))
        self.reader = SpanReader(ReadSettings(BOUNDS.retention, BOUNDS.future, {}))
        self.samples: dict[tuple[str, int], float] = {}

    def read(self, *names: str, now: int = NOW_MS, service: str = "shop") -> ReadSpans:
        """A request of one span for each name."""
        body = traces([span(name, ended_ns=now * 10**6) for name in names], service).SerializeToString()
        return self.reader.read(body, now)

    def commit(self, *decoded: Decoded, now: int = NOW_MS, works: bool = True) -> list[Outcome]:
        """Admit and commit; of a failed commit nothing is left."""
        batch, outcomes = admit(decoded, self.registry.state, BOUNDS, now)
        if not works:
            self.registry.undo()
            return outcomes
        for slot, time, value in zip(batch.floats.series, batch.floats.timestamps, batch.floats.values, strict=True):
            series = self.registry.series[int(slot)]
            assert series is not None
            self.samples[metric_name(series.labels) + dict(series.labels).get("le", ""), int(time)] = float(value)
        self.registry.committed()
        return outcomes

    def count(self, *requests: ReadSpans, now: int = NOW_MS, works: bool = True) -> list[Outcome]:
        """All in one commit."""
        self.registry.begin(now)
        return self.commit(*map(self.counting.spans, requests), now=now, works=works)

    def repeat(self, now: int) -> int:
        """Repeat the totals; how many samples that made."""
        before = len(self.samples)
        self.registry.begin(now)
        self.commit(self.counting.repeat(now), now=now)
        return len(self.samples) - before

    def calls(self) -> list[float]:
        """The samples of `calls_total`, in order of time."""
        return [value for (name, _), value in sorted(self.samples.items()) if name == "traces_span_metrics_calls_total"]


def test_requests_of_one_second_and_one_commit_make_one_sample() -> None:
    world = World()
    world.count(world.read("a"), world.read("a"), world.read("a", "a", now=NOW_MS + 500))
    world.count(world.read("a", now=NOW_MS + 599), now=NOW_MS + 599)
    world.count(world.read("a", now=NOW_MS + 600), now=NOW_MS + 600)
    assert world.calls() == [0, 5, 6]


def test_a_new_series_begins_with_a_zero() -> None:
    world = World()
    world.count(world.read("a"))
    times = [time for name, time in sorted(world.samples) if name == "traces_span_metrics_calls_total"]
    assert times == [1_794_999_970_000, 1_795_000_000_000]


def test_what_a_failed_commit_counted_is_counted_when_it_comes_again() -> None:
    world = World()
    first, second = world.read("a", "b"), world.read("a")
    world.count(first)
    world.count(second, works=False)
    world.count(second)
    world.count(second)  # now it is a duplicate
    assert world.calls()[-1] == 2
    third = world.read("new")
    world.count(third, works=False)
    world.count(world.read("other"))  # another commit between, which must not make the lost one count as kept
    world.count(third, now=NOW_MS + 1000)
    assert world.registry.active == 4 * 7 + 1


@pytest.mark.parametrize("seed", range(20))
def test_any_mix_of_failures_duplicates_and_evictions_counts_each_span_once(seed: int) -> None:
    rng, world, now = random.Random(seed), World(), NOW_MS
    waiting = [world.read(*rng.choices("abc", k=rng.randint(1, 5))) for _ in range(20)]
    acknowledged: list[ReadSpans] = []
    while waiting:
        some = [waiting.pop() for _ in range(min(len(waiting), rng.randint(1, 3)))]
        again = rng.sample(acknowledged, min(len(acknowledged), rng.randint(0, 2)))
        works = rng.random() < 0.6
        world.count(*some, *again, now=now, works=works)
        (acknowledged if works else waiting).extend(some)
        rng.shuffle(waiting)
        if rng.random() < 0.2:
            world.registry.epoch += 1  # as an eviction of other series does
        if rng.random() < 0.3:
            world.repeat(now)
        now += rng.randint(0, 3000)
    (total,) = [
        sum(
            float(world.registry.state.last_value[slot])
            for slot, one in enumerate(world.registry.series)
            if one is not None and metric_name(one.labels) == "traces_span_metrics_calls_total"
        )
    ]
    assert total == sum(len(read.spans) for read in acknowledged)


def test_totals_are_repeated_while_a_series_is_in_use_and_then_forgotten() -> None:
    world = World()
    world.count(world.read("a"))
    assert world.repeat(NOW_MS + 10_000) == 8  # calls, squares, three buckets, count, sum; and the source
    assert world.repeat(NOW_MS + SPAN_SERIES_IDLE_MS - 1000) == 8
    assert world.repeat(NOW_MS + SPAN_SERIES_IDLE_MS + 1000) == 0
    assert world.counting.rows == 0
    later = NOW_MS + SPAN_SERIES_IDLE_MS + 60_000
    world.count(world.read("a", now=later), now=later)
    assert world.calls()[-1] == 2  # it goes on where it was


def test_a_clock_that_is_put_back_loses_nothing() -> None:
    world = World()
    world.count(world.read("a"), now=NOW_MS)
    world.count(world.read("a", now=NOW_MS - 5000), now=NOW_MS - 5000)
    assert world.calls()[-1] == 2
    assert world.registry.state.last_value.max() == 2


def test_past_the_limit_of_series_spans_are_rejected_with_the_reason() -> None:
    world = World(series=8)
    world.count(world.read("a"))
    (outcome,) = world.count(world.read("a", "b", "b"))
    assert (outcome.accepted, outcome.rejected) == (1, 2)
    assert "MIRUBATO_MAX_SERIES=8" in outcome.rejections[0].reason.text


def test_what_has_no_series_does_not_keep_the_others_from_being_repeated() -> None:
    world = World(series=8)
    world.count(world.read("a"))
    world.count(world.read("b"))
    world.registry.epoch += 1
    assert world.repeat(NOW_MS + 10_000) == 8
    assert world.counting.rows == 2
