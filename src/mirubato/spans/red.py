"""Rate, errors and durations of spans: the part of counting that every span goes through, vectorised."""

from collections.abc import Mapping

import numpy as np

from mirubato.limits import SPAN_EXEMPLAR_S
from mirubato.model.samples import Exemplar, Float64s, Int64s
from mirubato.model.spans import Span
from mirubato.spans.tables import Table

_NS_PER_MS = 1_000_000
CALLS, SQUARES = 0, 1
"""Columns of `catalog.spans`."""


def add_spans(table: Table, rows: Int64s, weights: Float64s, durations_s: Float64s) -> dict[int, int]:
    """Count spans, each in its row; answers the place of the slowest span of each row."""
    np.add.at(table.totals[:, CALLS], rows, weights)
    np.add.at(table.totals[:, SQUARES], rows, weights * weights)
    table.observe(rows, 0, durations_s, weights)
    order = np.argsort(durations_s, kind="stable")
    slowest = dict(zip(rows[order].tolist(), order.tolist(), strict=True))
    table.touched.update(slowest)
    return slowest


class Exemplars:
    """One for each row every SPAN_EXEMPLAR_S seconds."""

    def __init__(self) -> None:
        self._last_ms: dict[int, int] = {}

    def of(self, table: Table, slowest: Mapping[int, Span], now_ms: int) -> list[Exemplar]:
        """Exemplars of the rows whose turn it is: of the slowest span of each."""
        due = now_ms - SPAN_EXEMPLAR_S * 1000
        found = []
        for row, span in slowest.items():
            if self._last_ms.get(row, due) <= due:
                self._last_ms[row] = now_ms
                found.append(_exemplar(table, row, span))
        return found


def _exemplar(table: Table, row: int, span: Span) -> Exemplar:
    seconds = max(span.end_ns - span.start_ns, 0) / 1e9
    labels = (("span_id", span.span_id.hex()), ("trace_id", span.trace_id.hex()))
    return Exemplar(table.bucket_slot(row, 0, seconds), span.end_ns // _NS_PER_MS, seconds, labels)
