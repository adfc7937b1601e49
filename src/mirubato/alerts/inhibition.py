"""Inhibition: while something is critical, its warnings keep still. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

_RANKS = {
    "critical": 4, "page": 4, "error": 3, "high": 3, "major": 3,
    "warning": 2, "warn": 2, "medium": 2, "minor": 2, "info": 1, "low": 1, "notice": 1,
}  # fmt: skip


class Firing(NamedTuple):
    """An alert that fires: what it is about is its rule's metric or name, and the labels of its series."""

    id: str
    severity: str
    subject: Any


def inhibited(firing: Sequence[Firing]) -> frozenset[str]:
    """Ids of the alerts about something of which a more severe alert fires; other words than the usual have no rank."""
    worst: dict[Any, int] = {}
    for alert in firing:
        rank = _RANKS.get(alert.severity.lower(), 0)
        worst[alert.subject] = max(worst.get(alert.subject, 0), rank)
    return frozenset(alert.id for alert in firing if 0 < _RANKS.get(alert.severity.lower(), 0) < worst[alert.subject])
