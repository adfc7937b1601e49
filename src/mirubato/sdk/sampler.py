"""Which traces are kept: a decision by the trace id, the same in every service.

A head sampler cannot know errors, so what it does not pick is recorded nevertheless (RECORD_ONLY), and
`mirubato.sdk.keeping` exports the errors of it. R and T are those of OpenTelemetry's consistent probability sampling:
R is the last 56 bits of the trace id, and a trace is picked where R >= T = (1 - p) * 2^56.
"""

from collections.abc import Sequence
from functools import lru_cache

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceFlags, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from mirubato.sdk.drops import say

WEIGHT = "mirubato.weight"  # span attribute: how many spans this one stands for
KEEP_REASON = "mirubato.keep_reason"
BUSINESS = "mirubato.business"  # span attribute, true for a span that the business counts
SUCCESS_RATE = 0.1
BUSINESS_RATE = 0.5
RANDOM = 2**56
RANDOM_MASK = RANDOM - 1


def threshold(probability: float) -> int:
    """T of a probability in [0, 1]: 0 picks all, 2^56 nothing."""
    return RANDOM - round(probability * RANDOM)  # not (1 - p) * 2^56: a float close to 2^56 is off by up to 4


def th(of: int) -> str:
    """T as tracestate has it: 14 hexadecimal digits without the zeros at the end."""
    return f"{of:014x}".rstrip("0") or "0"


@lru_cache(maxsize=256)
def _parsed(ot: str) -> float | None:
    for part in ot.split(";"):
        name, _, digits = part.partition(":")
        if name == "th" and 0 < len(digits) <= 14:
            try:
                return (RANDOM - int(digits.ljust(14, "0"), 16)) / RANDOM or None
            except ValueError:
                return None
    return None


def probability(state: TraceState) -> float | None:
    """With which probability the trace was picked, from `ot=th:...`; None when that is not known."""
    ot = state.get("ot") if state else None
    return None if ot is None else _parsed(ot)


def without_th(state: TraceState) -> TraceState:
    """The tracestate without `th`, which a span must not carry that was kept for another reason."""
    ot = state.get("ot") if state else None
    if ot is None:
        return state
    rest = ";".join(part for part in ot.split(";") if not part.startswith("th:"))
    return state.update("ot", rest) if rest else state.delete("ot")


class MirubatoSampler(Sampler):
    """Picks `success_rate` of the traces, `business_rate` of those whose root span starts with `mirubato.business`.

    A parent's decision stands, and so does its tracestate. `mirubato.sdk.keeping` exports the errors.
    """

    def __init__(self, success_rate: float = SUCCESS_RATE, business_rate: float = BUSINESS_RATE) -> None:
        if not (0 <= success_rate <= 1 and 0 <= business_rate <= 1):
            raise ValueError(f"rates are between 0 and 1, not {success_rate} and {business_rate}")
        self.success_rate, self.business_rate = success_rate, business_rate
        self._success = _root(success_rate)
        self._business = _root(business_rate)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,  # noqa: ARG002 - the SDK's signature, here and below
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,  # noqa: ARG002 - the SDK never gives it; the parent has it
    ) -> SamplingResult:
        """RECORD_AND_SAMPLE for what is picked, RECORD_ONLY for the rest; never DROP."""
        parent = get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            if parent.trace_flags & TraceFlags.SAMPLED:
                return _picked(attributes, parent.trace_state, probability(parent.trace_state))
            return SamplingResult(Decision.RECORD_ONLY, attributes, parent.trace_state)
        least, state, rate = self._business if attributes and attributes.get(BUSINESS) is True else self._success
        if trace_id & RANDOM_MASK >= least:
            return _picked(attributes, state, rate)
        return SamplingResult(Decision.RECORD_ONLY, attributes)

    def get_description(self) -> str:
        """For logs."""
        return f"MirubatoSampler{{success={self.success_rate:g},business={self.business_rate:g}}}"


def _root(rate: float) -> tuple[int, TraceState, float]:
    least = threshold(rate)
    return least, TraceState([("ot", f"th:{th(least)}")]), rate


def _picked(attributes: Attributes, state: TraceState, chance: float | None) -> SamplingResult:
    """Sampled, with the weight of its chance if that is known.

    From the start of the span: a copy at its end would cost four times as much.
    """
    if chance is not None:
        attributes = {**(attributes or {}), WEIGHT: 1 / chance, KEEP_REASON: "sampled"}
    return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)


def sampler_from_argument(argument: str | None) -> MirubatoSampler:
    """The sampler of `OTEL_TRACES_SAMPLER=mirubato`; `OTEL_TRACES_SAMPLER_ARG` is the success rate, 0.1 when unset."""
    if argument is None or not argument.strip():
        return MirubatoSampler()
    try:
        return MirubatoSampler(float(argument))
    except ValueError:
        say(f"OTEL_TRACES_SAMPLER_ARG must be a rate between 0 and 1, not {argument!r}; {SUCCESS_RATE} is taken")
        return MirubatoSampler()
