"""How many real spans one span stands for, and who says so."""

import re
from collections.abc import Iterable, Mapping
from enum import IntEnum

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from mirubato.limits import SPAN_WEIGHT_MAX
from mirubato.spans.attributes import number

WEIGHT = "mirubato.weight"
COUNTED = "mirubato.spans.counted"
"""Attribute of a resource: true says that its spans are counted elsewhere, as collector-config.yaml does it."""
WEIGHT_MARK = WEIGHT.encode()
"""What the bytes of a span hold if the sampler has given it a weight."""

# `th` of the `ot` member: the rejection threshold, 1 to 14 hex digits, trailing zeros left out
# (opentelemetry-specification, trace/tracestate-handling.md and tracestate-probability-sampling.md).
_THRESHOLD = re.compile(r"(?:^|,)\s*ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?=[;,\s]|$)")
_RANDOM = 1 << 56


class WeightSource(IntEnum):
    """Who gave a span its weight, in the order in which they are asked."""

    SAMPLER = 0
    """Its attribute `mirubato.weight`."""
    TRACESTATE = 1
    """`ot=th:` in its trace state."""
    HEAD_SAMPLING_RATE = 2
    """A rate that is configured for its service."""
    NONE = 3
    """Nobody: it stands for itself."""
    COUNTED = 4
    """Whoever sent it has counted it already, before sampling: 0."""

    @property
    def label(self) -> str:
        """As it stands in series."""
        return self.name.lower()


def sampler_weight(attributes: Iterable[KeyValue]) -> float | None:
    """What the sampler's attribute says; None where it says nothing that can be a weight."""
    for attribute in attributes:
        if attribute.key == WEIGHT:
            weight = number(attribute.value)
            return weight if weight is not None and 0 <= weight <= SPAN_WEIGHT_MAX else None
    return None


def threshold_weight(trace_state: str) -> float | None:
    """1 / P(kept) by the threshold in a trace state; None where there is none."""
    found = _THRESHOLD.search(trace_state)
    if found is None:
        return None
    weight = _RANDOM / (_RANDOM - int(found[1].ljust(14, "0"), 16))
    return weight if weight <= SPAN_WEIGHT_MAX else None


class HeadRates:
    """Rates of head sampling by service: `api=0.05`, and `*=0.1` for all others."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        self._rates = rates

    def weight(self, *services: str) -> float | None:
        """1 / rate of the first of some names that has one, else of `*`; None where nothing is configured."""
        rate = next((self._rates[name] for name in (*services, "*") if name in self._rates), None)
        return None if rate is None else 1 / rate
