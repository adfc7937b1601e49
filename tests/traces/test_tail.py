"""The tail decision: whatever the order of arrival, an error trace is kept whole, as far as the bounds allow."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.limits import SPANS_PER_TRACE_MAX, WAITING_SPAN_BYTES
from mirubato.model.spans import Span
from mirubato.traces.tail import Batch, Cause, Tail
from tests.traces.some import NOW_MS, SHOP, TAIL, span, trace_id


def tail(**settings: Any) -> Tail:
    return Tail(replace(TAIL, **settings))


def names(batch: Batch) -> list[str]:
    return [one.name for one in batch.spans]


class TestErrors:
    def test_what_waited_comes_with_the_error_and_what_is_late_too(self) -> None:
        one, trace = tail(), trace_id()
        assert one.decide([span(trace, "first"), span(trace_id(), "other")], NOW_MS).spans == []
        batch = one.decide([span(trace, "bad", error=True)], NOW_MS + 1000)
        assert (names(batch), batch.causes) == (["first", "bad"], {trace: Cause.ERROR})
        late = one.decide([span(trace, "late")], NOW_MS + 3_600_000)
        assert (names(late), late.begun) == (["late"], set())

    def test_after_the_decision_what_waited_is_gone(self) -> None:
        one, trace = tail(decision_ms=1000), trace_id()
        one.decide([span(trace, "early")], NOW_MS)
        batch = one.decide([span(trace, "bad", error=True)], NOW_MS + 1000)
        assert names(batch) == ["bad"]
        assert (one.counts.forgotten, one.waiting_bytes) == (1, 0)

    def test_an_error_makes_a_sampled_trace_one(self) -> None:
        one, trace = tail(sample_rate=1.0), trace_id()
        assert one.decide([span(trace)], NOW_MS).causes == {trace: Cause.SAMPLED}
        assert one.decide([span(trace, error=True)], NOW_MS).causes == {trace: Cause.ERROR}
        assert one.decide([span(trace)], NOW_MS).causes == {trace: Cause.ERROR}

    def test_what_could_not_be_written_waits_again(self) -> None:
        one, trace = tail(), trace_id()
        one.decide([span(trace, "first")], NOW_MS)
        bad = span(trace, "bad", error=True)
        one.give_back(one.decide([bad], NOW_MS), NOW_MS)
        assert Counter(names(one.decide([bad], NOW_MS))) == {"first": 1, "bad": 2}


class TestSlowAndSampled:
    def test_slow(self) -> None:
        one, trace = tail(), trace_id()
        one.decide([span(trace, "child", took_ms=999)], NOW_MS)
        assert names(one.decide([span(trace, "root", took_ms=1000)], NOW_MS)) == ["child", "root"]

    def test_what_a_sampler_has_picked(self) -> None:
        one, trace = tail(), trace_id()
        assert one.decide([span(trace, weight=10)], NOW_MS).causes == {trace: Cause.SAMPLED}

    def test_the_rate_is_of_trace_ids(self) -> None:
        chance, one = random.Random(1), tail(sample_rate=0.1, per_minute=10_000)
        kept = sum(bool(one.decide([span(chance.randbytes(16))], NOW_MS).spans) for _ in range(5000))
        assert kept == pytest.approx(500, abs=100)
        assert one.decide([span(trace_id(picked=True))], NOW_MS).spans

    @pytest.mark.parametrize("one", [{"weight": 10.0}, {"took_ms": 2000}])
    def test_so_many_in_a_minute(self, one: dict[str, Any]) -> None:
        some = tail(per_minute=3)
        spans = [span(trace_id(), **one) for _ in range(5)]
        assert some.decide(spans, NOW_MS).spans == spans[:3]
        assert names(some.decide([span(spans[4].trace_id, error=True)], NOW_MS)) == ["GET /", "GET /"]
        assert len(some.decide([span(trace_id(), **one)], NOW_MS + 60_000).spans) == 1


class TestBounds:
    def test_the_oldest_trace_goes_first(self) -> None:
        size = WAITING_SPAN_BYTES * 2 + len(span(trace_id()).message) + len(SHOP.resource) + len(SHOP.scope)
        one, traces = tail(buffer_bytes=20 * size), [trace_id() for _ in range(25)]
        for trace in traces:
            one.decide([span(trace)], NOW_MS)
        assert (len(one), one.waiting_bytes, one.counts.pushed_out) == (20, 20 * size, 5)
        assert len(one.decide([span(traces[4], error=True)], NOW_MS).spans) == 1
        assert len(one.decide([span(traces[5], error=True)], NOW_MS).spans) == 2

    def test_what_spans_share_is_counted_once(self) -> None:
        one, shared, trace = tail(), replace(SHOP, resource=bytes(1000)), trace_id()
        one.decide([span(trace, of=shared) for _ in range(10)], NOW_MS)
        assert one.waiting_bytes < 11 * WAITING_SPAN_BYTES + 10 * 200 + 1100
        one.decide([span(trace, of=replace(shared, resource=bytes(100_000))) for _ in range(3)], NOW_MS)
        assert one.waiting_bytes > 300_000

    def test_one_trace_that_never_ends_pushes_nobody_out(self) -> None:
        one, endless, other = tail(buffer_bytes=100_000), trace_id(), trace_id()
        one.decide([span(other, "first")], NOW_MS)
        for _ in range(1000):
            one.decide([span(endless)], NOW_MS)
        assert one.counts.overflowing > 900
        assert names(one.decide([span(other, "bad", error=True)], NOW_MS)) == ["first", "bad"]

    def test_nor_is_it_kept_without_end(self) -> None:
        one, endless = tail(), trace_id()
        one.remember(endless, Cause.SLOW, SPANS_PER_TRACE_MAX)
        assert one.decide([span(endless)] * 3, NOW_MS).spans == []
        assert one.decide([span(endless, error=True)] * 3, NOW_MS).causes == {endless: Cause.ERROR}
        assert one.counts.overflowing == 5

    def test_a_flood_of_traces_that_never_end(self) -> None:
        one = tail(buffer_bytes=1 << 20)
        for step in range(50):
            one.decide([span(trace_id()) for _ in range(512)], NOW_MS + step)
            assert one.waiting_bytes <= 1 << 20
        assert one.counts.pushed_out + len(one) == 50 * 512


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[list[Span]], set[bytes]]:
    """Requests with the spans of a few traces in any order, and which traces have an error."""
    traces = [trace_id() for _ in range(draw(st.integers(1, 5)))]
    spans = [
        span(trace, f"{number}", error=draw(st.sampled_from((False, False, False, True))))
        for trace in traces
        for number in range(draw(st.integers(1, 8)))
    ]
    spans = draw(st.permutations(spans))
    requests, at = [], 0
    while at < len(spans):
        size = draw(st.integers(1, 6))
        requests.append(spans[at : at + size])
        at += size
    return requests, {one.trace_id for one in spans if one.error}


@given(arrivals())
def test_within_the_bounds_each_error_trace_is_whole(given_: tuple[list[list[Span]], set[bytes]]) -> None:
    requests, failed = given_
    one, kept = tail(), Counter[bytes]()
    for number, spans in enumerate(requests):
        batch = one.decide(spans, NOW_MS + number)
        kept.update(each.span_id for each in batch.spans)
        assert set(batch.causes) == {each.trace_id for each in batch.spans}
    assert kept == Counter(each.span_id for spans in requests for each in spans if each.trace_id in failed)


@given(arrivals(), st.integers(4, 40), st.lists(st.integers(0, 1500), min_size=60, max_size=60))
def test_beyond_the_bounds_nothing_is_lost_uncounted(
    given_: tuple[list[list[Span]], set[bytes]], room: int, pauses: list[int]
) -> None:
    """Small buffers, and pauses around the decision time; what comes after a trace's first error is always kept."""
    requests, _ = given_
    one = tail(buffer_bytes=room * WAITING_SPAN_BYTES, decision_ms=1000)
    now, arrived, failed, kept, owed = NOW_MS, 0, set[bytes](), Counter[bytes](), Counter[bytes]()
    for spans, pause in zip(requests, pauses, strict=False):
        now, arrived = now + pause, arrived + len(spans)
        for each in spans:
            failed |= {each.trace_id} if each.error else set()
            owed.update([each.span_id] if each.trace_id in failed else [])
        kept.update(each.span_id for each in one.decide(spans, now).spans)
        counts, waiting = one.counts, sum(len(trace.spans) for trace in one._waiting.values())
        assert one.waiting_bytes <= room * WAITING_SPAN_BYTES
        assert one.waiting_bytes == sum(trace.bytes for trace in one._waiting.values())
        assert arrived == counts.kept + counts.forgotten + counts.pushed_out + counts.overflowing + waiting
        assert counts.kept == kept.total()
    assert owed <= kept
    assert max(kept.values(), default=1) == 1
