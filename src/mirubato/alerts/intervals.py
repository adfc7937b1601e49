"""How well a share is known that was counted from sampled events."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mirubato.model.labels import Labels

PART = "mirubato_part"
"""The label that tells the parts of a `Sampled` apart in the answer of one query."""

# 95 %, two-sided.
_Z = 1.959964


class Interval(NamedTuple):
    """Bounds between which a value lies with a confidence of 95 %."""

    low: float
    high: float


class Sampled(NamedTuple):
    """What a share was counted from: the sum of all weights, and the mean weight (Σw²/Σw) of either kind of events."""

    total: float
    inside: float = 1.0
    """Of those that the share counts."""
    outside: float = 1.0


def sampled_of(found: Iterable[tuple[Labels, float]]) -> Mapping[Labels, Sampled]:
    """The answer of a rule's `sampling` query, by the labels that the rule's series have."""
    parts: dict[Labels, dict[str, float]] = {}
    for labels, value in found:
        series = tuple(pair for pair in labels if pair[0] != PART)
        parts.setdefault(series, {})[dict(labels).get(PART, "")] = value
    return {
        series: Sampled(some["total"], some.get("inside", 1.0), some.get("outside", 1.0))
        for series, some in parts.items()
        if "total" in some
    }


def interval_of(share: float, sampled: Sampled) -> Interval:
    """Where the share of the real events is. Events of weight 1 are all there, so of them nothing is unknown."""
    if not (0 <= share <= 1 and sampled.total > 0):
        return Interval(share, share)
    inside = _count(share * sampled.total, sampled.inside)
    outside = _count((1 - share) * sampled.total, sampled.outside)
    return Interval(_share(inside.low, outside.high), _share(inside.high, outside.low))


def _share(inside: float, outside: float) -> float:
    return inside / (inside + outside) if inside else 0.0


def _count(weights: float, mean: float) -> Interval:
    """How many real events there were, from the sum of the weights of those that were kept.

    The sum has the variance Σw(w-1); this is its score interval, which knows of something where nothing was kept: of
    events that are kept at 1 in 10, up to 35 may have passed unseen. Sources: D. G. Horvitz, D. J. Thompson, JASA 47
    (1952), for the variance; E. B. Wilson, JASA 22 (1927), for the form.
    """
    excess = max(0.0, mean - 1)
    middle = weights + excess * _Z * _Z / 2
    half = _Z * math.sqrt(excess * weights + (excess * _Z / 2) ** 2)
    return Interval(max(0.0, middle - half), middle + half)
