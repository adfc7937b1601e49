"""Warnings and infos about a query, in Prometheus' words and with the place in its text.

Source: prometheus, util/annotations/annotations.go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mirubato.promql.expressions import Span
from mirubato.promql.native_histograms import Note, Notify
from mirubato.promql.numbers import go_g
from mirubato.promql.reader import position

# More of a kind are counted and not shown (web/api/v1/api.go).
_SHOWN_MAX = 10


@dataclass(slots=True)
class _Forced:
    """What had to be mended before quantiles: the first and last step, the bounds between, the largest difference."""

    low_ms: int
    high_ms: int
    lowest: float
    highest: float
    difference: float
    count: int = 1


@dataclass(slots=True)
class Annotations:
    """Gathers what the user should know; the same thing said of two places is kept once, at the later one."""

    text: str
    _warnings: dict[str, Span] = field(default_factory=dict)
    _infos: dict[str, Span] = field(default_factory=dict)
    _forced: dict[Span, _Forced] = field(default_factory=dict)

    def warn(self, message: str, span: Span) -> None:
        """A result may be wrong or missing."""
        self._warnings[f"PromQL warning: {message}"] = span

    def info(self, message: str, span: Span) -> None:
        """A result may not be what was meant."""
        self._infos[f"PromQL info: {message}"] = span

    def notify(self, span: Span, *, metric: str = "", operator: str = "") -> Notify:
        """Takes what operations on native histograms have to tell about a metric or an operator."""

        def note(what: Note) -> None:
            (self.warn if what.warning else self.info)(what.text(metric=metric, operator=operator), span)

        return note

    def forced_monotonicity(
        self, span: Span, times: Sequence[int], lowest: float, highest: float, difference: float
    ) -> None:
        """Buckets had to be mended at these steps (ms) between two bounds, by at most `difference`."""
        found = _Forced(min(times), max(times), lowest, highest, difference, len(times))
        known = self._forced.setdefault(span, found)
        if known is not found:
            known.low_ms, known.high_ms = min(known.low_ms, found.low_ms), max(known.high_ms, found.high_ms)
            known.lowest, known.highest = min(known.lowest, lowest), max(known.highest, highest)
            known.difference = max(known.difference, difference)
            known.count += found.count

    def warnings(self) -> list[str]:
        """All warnings, a bounded number of them."""
        return _cut(self._placed(self._warnings), "warning")

    def infos(self) -> list[str]:
        """All infos, a bounded number of them."""
        forced = [self._forced_text(span, one) for span, one in self._forced.items()]
        return _cut([*self._placed(self._infos), *forced], "info")

    def _placed(self, told: Mapping[str, Span]) -> list[str]:
        return [f"{message} ({position(self.text, span[0])})" for message, span in told.items()]

    def _forced_text(self, span: Span, forced: _Forced) -> str:
        begin, end = (
            datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            for ms in (forced.low_ms, forced.high_ms)
        )
        return (
            "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see"
            " https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile), from buckets"
            f" {go_g(forced.lowest)} to {go_g(forced.highest)}, with a max diff of {go_g(forced.difference, 2)}, over"
            f" {forced.count} samples from {begin} to {end} ({position(self.text, span[0])})"
        )


def _cut(texts: list[str], kind: str) -> list[str]:
    if len(texts) <= _SHOWN_MAX:
        return texts
    return [*texts[:_SHOWN_MAX], f"{len(texts) - _SHOWN_MAX} more {kind} annotations omitted"]
