"""Sampler and processor: the decision, the weights, the errors, the bounds; and the counts over generated traffic."""

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, ParentBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, TraceState

from mirubato.sdk import keeping
from mirubato.sdk.drops import DROPPED
from mirubato.sdk.keeping import KeepingSpanProcessor
from mirubato.sdk.sampler import (
    BUSINESS,
    KEEP_REASON,
    RANDOM,
    WEIGHT,
    MirubatoSampler,
    probability,
    sampler_from_argument,
    threshold,
    without_th,
)

PICKED = RANDOM - 1  # R is as high as it can be
UNPICKED = RANDOM  # R is 0; the id is not
HALF = RANDOM // 2 + RANDOM // 4  # picked at 0.5, not at 0.1


class Seeded(IdGenerator):
    """Ids from a seed, or the trace id that is asked for."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.next_trace: int | None = None

    def generate_span_id(self) -> int:
        return self.random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        return self.next_trace or self.random.getrandbits(128) or 1


class Kept(SpanExporter):
    """What was exported."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS

    def weights(self) -> list[tuple[str, Any, Any]]:
        return [
            (one.name, (one.attributes or {}).get(WEIGHT), (one.attributes or {}).get(KEEP_REASON))
            for one in self.spans
        ]


class Service:
    """A tracer provider with the sampler and the processor."""

    def __init__(self, sampler: Any = None, seed: int = 1) -> None:
        self.kept, self.ids = Kept(), Seeded(seed)
        self.processor = KeepingSpanProcessor(SimpleSpanProcessor(self.kept))
        provider = TracerProvider(sampler or MirubatoSampler(), id_generator=self.ids, shutdown_on_exit=False)
        provider.add_span_processor(self.processor)
        self.tracer = provider.get_tracer("test")

    def root(self, trace_id: int, name: str = "root", **attributes: Any) -> trace.Span:
        self.ids.next_trace = trace_id
        return self.tracer.start_span(name, Context(), attributes=attributes)

    def under(self, parent: trace.Span, name: str = "child", **attributes: Any) -> trace.Span:
        return self.tracer.start_span(name, trace.set_span_in_context(parent, Context()), attributes=attributes)


def remote(trace_id: int, *, sampled: bool, state: dict[str, str] | None = None) -> NonRecordingSpan:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else 0)
    return NonRecordingSpan(SpanContext(trace_id, 7, True, flags, TraceState(list((state or {}).items()))))


@pytest.fixture(autouse=True)
def no_drops_before() -> Iterator[None]:
    DROPPED.forget()
    yield
    DROPPED.forget()


class TestSampler:
    @pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.5, 1.0])
    def test_it_picks_high_ids_and_says_the_chance(self, rate: float) -> None:
        sampler = MirubatoSampler(rate)
        least = threshold(rate)
        if rate:
            picked = sampler.should_sample(Context(), least + 5 * RANDOM, "x", attributes={"a": 1})
            assert picked.decision is Decision.RECORD_AND_SAMPLE
            assert picked.trace_state is not None
            assert probability(picked.trace_state) == pytest.approx(rate)
        if rate < 1:
            left = sampler.should_sample(Context(), least - 1 + 5 * RANDOM, "x", attributes={"a": 1})
            assert left.decision is Decision.RECORD_ONLY
            assert dict(left.attributes or {}) == {"a": 1}
            assert not left.trace_state

    def test_the_th_of_a_tenth(self) -> None:
        """What the SDK's own experimental sampler writes, too."""
        state = MirubatoSampler(0.1).should_sample(Context(), PICKED, "x").trace_state
        assert state is not None
        assert state.get("ot") == "th:e6666666666666"

    @pytest.mark.parametrize("sampled", [True, False])
    def test_a_parents_decision_and_tracestate_stay(self, sampled: bool) -> None:
        for trace_id in (PICKED, UNPICKED):
            parent = remote(trace_id, sampled=sampled, state={"vendor": "x", "ot": "th:8;rv:1"})
            result = MirubatoSampler().should_sample(trace.set_span_in_context(parent, Context()), trace_id, "x")
            assert result.decision is (Decision.RECORD_AND_SAMPLE if sampled else Decision.RECORD_ONLY)
            assert result.trace_state == parent.get_span_context().trace_state

    @pytest.mark.parametrize(("argument", "rate"), [(None, 0.1), ("", 0.1), ("0.25", 0.25), ("2", 0.1), ("lots", 0.1)])
    def test_the_argument_of_the_environment(self, argument: str | None, rate: float) -> None:
        assert sampler_from_argument(argument).success_rate == rate

    def test_tracestate(self) -> None:
        assert probability(TraceState([("ot", "rv:1;th:c")])) == 0.25
        assert probability(TraceState([("ot", "th:zz")])) is None
        assert probability(TraceState()) is None
        assert without_th(TraceState([("ot", "th:c"), ("v", "1")])).to_header() == "v=1"
        assert without_th(TraceState([("ot", "rv:1;th:c")])).get("ot") == "rv:1"


class TestKeeping:
    def test_successes_by_the_trace_id_alone(self) -> None:
        service = Service()
        service.root(PICKED, "picked").end()
        service.root(UNPICKED, "left").end()
        assert service.kept.weights() == [("picked", pytest.approx(10), "sampled")]
        context = service.kept.spans[0].get_span_context()
        assert context is not None
        assert context.trace_state.get("ot") == "th:e6666666666666"

    @pytest.mark.parametrize("trace_id", [PICKED, UNPICKED])
    def test_every_error_weighs_one_and_has_no_th(self, trace_id: int) -> None:
        service = Service()
        span = service.root(trace_id, "failed", route="/a")
        span.add_event("what happened")
        span.set_status(Status(StatusCode.ERROR))
        span.end()
        assert service.kept.weights() == [("failed", 1, "error")]
        (kept,) = service.kept.spans
        context = kept.get_span_context()
        assert context is not None
        assert context.trace_flags & TraceFlags.SAMPLED
        assert not context.trace_state
        assert (kept.attributes or {})["route"] == "/a"
        assert [event.name for event in kept.events] == ["what happened"]
        assert span.get_span_context().trace_flags & TraceFlags.SAMPLED == (trace_id == PICKED)

    def test_an_error_brings_its_local_trace(self) -> None:
        service = Service()
        root = service.root(UNPICKED)
        service.under(root, "before").end()
        failed = service.under(root, "failed")
        failed.set_status(StatusCode.ERROR)
        failed.end()
        service.under(root, "after").end()
        root.end()
        assert service.kept.weights() == [
            ("before", 0, "context"),
            ("failed", 1, "error"),
            ("after", 0, "context"),
            ("root", 0, "context"),
        ]
        assert len(service.processor.held) == 0

    def test_a_trace_without_an_error_leaves_nothing(self) -> None:
        service = Service()
        root = service.root(UNPICKED)
        service.under(root).end()
        assert len(service.processor.held) == 1
        root.end()
        assert len(service.processor.held) == 0
        assert not service.kept.spans
        assert not DROPPED

    @pytest.mark.parametrize(("trace_id", "expected"), [(PICKED, 2), (HALF, 2), (UNPICKED, None)])
    def test_business_spans_have_a_rate_of_their_own(self, trace_id: int, expected: float | None) -> None:
        service = Service()
        root = service.root(trace_id)
        span = service.under(root, "signup")
        span.set_attribute(BUSINESS, True)
        span.end()
        root.end()
        weights = [(weight, reason) for name, weight, reason in service.kept.weights() if name == "signup"]
        assert weights == ([(expected, "business")] if expected else [])

    def test_a_remote_parent_of_unknown_chance_gives_no_weight(self) -> None:
        service = Service()
        service.under(remote(UNPICKED, sampled=True), "unknown").end()
        service.under(remote(UNPICKED, sampled=True, state={"ot": "th:c"}), "known").end()
        service.under(remote(UNPICKED, sampled=True), "signup", **{BUSINESS: True}).end()
        assert service.kept.weights() == [("unknown", None, None), ("known", 4, "sampled"), ("signup", 0, "context")]

    def test_dropped_attributes_are_still_told(self) -> None:
        service = Service()
        many: dict[str, Any] = {f"a{number}": number for number in range(130)}
        span = service.root(UNPICKED, "root", **many)
        span.set_status(StatusCode.ERROR)
        span.end()
        assert service.kept.spans[0].dropped_attributes == 2
        assert '"mirubato.weight": 1' in service.kept.spans[0].to_json()

    def test_the_buffer_is_bounded_and_says_what_it_lost(self) -> None:
        service = Service()
        root = service.root(UNPICKED)
        for _ in range(keeping.MAX_SPANS_PER_TRACE + 10):
            service.under(root).end()
        assert DROPPED["context_spans"] == 10
        root.end()
        roots = [service.root(RANDOM * number) for number in range(1, keeping.MAX_TRACES + 101)]
        for one in roots:
            service.under(one).end()
            service.under(one).end()
        assert len(service.processor.held) == 2 * keeping.MAX_TRACES
        assert DROPPED["context_spans"] == 10 + 200
        for one in roots:
            one.end()
        assert len(service.processor.held) == 0


def within(estimate: float, truth: float, variance: float) -> bool:
    """Whether an unbiased estimate lies in its 99.99 % interval."""
    return abs(estimate - truth) <= 3.9 * math.sqrt(variance) + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_weighted_counts_are_true_counts(seed: int) -> None:
    """A front service calls a back service; both sample by themselves what a third one sends with its own decision."""
    traffic = random.Random(seed)
    front, back = Service(seed=seed), Service(seed=seed + 100)
    true: Counter[tuple[str, bool]] = Counter()
    errors: set[int] = set()

    def ended(span: Any, name: str, share: float) -> None:
        if failed := traffic.random() < share:
            span.set_status(StatusCode.ERROR)
            errors.add(span.get_span_context().span_id)
        span.end()
        true[name, failed] += 1

    for _ in range(4000):
        if traffic.random() < 0.3:
            trace_id = traffic.getrandbits(128)
            picked = trace_id % RANDOM >= threshold(0.25)
            parent = remote(trace_id, sampled=picked, state={"ot": "th:c"} if picked else None)
            request = front.under(parent, "front")
        else:
            request = front.root(0, "front")
        query = front.under(request, "query")
        ended(query, "query", 0.01)
        if traffic.random() < 0.2:
            signup = front.under(request, "signup", **{BUSINESS: True})
            ended(signup, "signup", 0.02)
        called = request.get_span_context()
        over_the_wire = NonRecordingSpan(
            SpanContext(called.trace_id, called.span_id, True, called.trace_flags, called.trace_state)
        )
        served = back.under(over_the_wire, "back")
        ended(served, "back", 0.05)
        ended(request, "front", 0.03)

    estimate: Counter[tuple[str, bool]] = Counter()
    variance: Counter[tuple[str, bool]] = Counter()
    kept = front.kept.spans + back.kept.spans
    for span in kept:
        weight: Any = (span.attributes or {})[WEIGHT]
        key = (span.name, span.status.status_code is StatusCode.ERROR)
        estimate[key] += weight
        variance[key] += weight * (weight - 1) if weight else 0
    contexts = [span.get_span_context() for span in kept if span.status.status_code is StatusCode.ERROR]
    assert {one.span_id for one in contexts if one} == errors, "every error, and each once"
    assert len(contexts) == len(errors)
    for key, truth in true.items():
        if key[1]:
            assert estimate[key] == truth
        else:
            assert within(estimate[key], truth, variance[key]), (key, estimate[key], truth)
    assert not any(one.trace_state.get("ot") for one in contexts if one)
    assert not DROPPED


def test_services_agree_on_the_traces() -> None:
    ids = [random.Random(3).getrandbits(128) for _ in range(1000)]
    one, other = Service(), Service()
    for trace_id in ids:
        one.root(trace_id).end()
        other.root(trace_id).end()
    traces = [[span.context.trace_id for span in service.kept.spans] for service in (one, other)]
    assert traces[0] == traces[1]


def test_under_another_sampler_errors_weigh_one_and_the_rest_passes() -> None:
    service = Service(ParentBased(ALWAYS_ON))
    root = service.root(UNPICKED, "ok")
    failed = service.under(root, "failed")
    failed.set_status(StatusCode.ERROR)
    failed.end()
    root.end()
    assert service.kept.weights() == [("failed", 1, "error"), ("ok", None, None)]
