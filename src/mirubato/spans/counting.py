"""Read spans and logs -> samples of the series that count them. On the writer thread, where the totals live.

Increments are in the commit that acknowledges the request. All of one second are stamped with that second, so that of
each series one sample a second stays: the last write of a (series, second) wins.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mirubato.admission.columns import Decoded
from mirubato.model.seams import PointRefused, SeriesRegistry
from mirubato.model.spans import Span
from mirubato.spans import catalog
from mirubato.spans.calls import Call, Calls
from mirubato.spans.cloudflare import WorkerSpan
from mirubato.spans.log_reading import ReadLogs
from mirubato.spans.reading import ReadSpans
from mirubato.spans.red import Exemplars, add_spans
from mirubato.spans.seen import Seen
from mirubato.spans.tables import Layout, Table

_SECOND_MS = 1000
# A clock that was put back by more than this is believed; by less, the stamps wait for it.
_CLOCK_BACK_MS_MAX = 600_000


@dataclass(frozen=True, slots=True)
class CountSettings:
    """What counting asks of the settings."""

    bounds: tuple[float, ...]
    """Of histograms of durations, in seconds."""
    rows_per_service: int
    """Sets of labels of one service in one table; past it they share the row `overflow`."""
    dimensions: Sequence[str] = ()


@dataclass(slots=True)
class SpanCounts:
    """Since the start, for the gateway's own metrics."""

    duplicates: int = 0
    refused: int = 0
    """Spans and log records that no series could be made for."""
    sources: Counter[str] = field(default_factory=Counter)
    """Spans by who gave their weight."""


class Counting:
    """The totals of everything that is counted from spans and logs. One thread at a time."""

    def __init__(self, registry: SeriesRegistry, settings: CountSettings) -> None:
        self._registry, self._rows_per_service = registry, settings.rows_per_service
        self._tables: list[Table] = []
        catalog.check_dimensions(settings.dimensions)
        self._spans = self._table(catalog.spans(settings.dimensions, settings.bounds))
        self._sources = self._table(catalog.SOURCES)
        self._workers = self._table(catalog.workers(settings.dimensions))
        self._durations = self._table(catalog.worker_durations(settings.bounds))
        self._cpu = self._table(catalog.worker_cpu())
        self._uses = {name: self._table(layout) for name, layout in catalog.uses().items()}
        self._graph = self._table(catalog.calls(settings.bounds))
        self._logs = self._table(catalog.LOGS)
        self._log_fields = self._table(catalog.LOG_FIELDS)
        self._seen, self.calls, self._exemplars = Seen(), Calls(), Exemplars()
        self._epoch, self._stamp_ms = registry.epoch, 0
        self.counts = SpanCounts()
        registry.watchers.append(self._commit_ended)

    def _table(self, layout: Layout) -> Table:
        table = Table(layout, self._registry, self._rows_per_service)
        self._tables.append(table)
        return table

    @property
    def rows(self) -> int:
        """Sets of labels in use."""
        return sum(len(table) for table in self._tables)

    @property
    def overflows(self) -> int:
        """Items that were counted under `overflow`, since the start."""
        return sum(table.overflows for table in self._tables)

    def spans(self, read: ReadSpans) -> Decoded:
        """Count the spans of one request that have not been counted before."""
        self._begin(read.now_ms)
        decoded = Decoded(len(read.spans) + read.rejected.total(), rejected=Counter(read.rejected))
        fresh = self._seen.fresh(read.identities)
        self.counts.duplicates += len(read.spans) - len(fresh)
        self._count_spans(read, fresh, decoded)
        self._count_sources(read, fresh, decoded)
        self._count_workers(read, fresh, decoded)
        self._count_calls(self._paired(read, fresh), decoded)
        self._finish(decoded)
        return decoded

    def logs(self, read: ReadLogs) -> Decoded:
        """Count the records of one request."""
        self._begin(read.now_ms)
        decoded = Decoded(len(read.logs) + read.rejected.total(), rejected=Counter(read.rejected))
        for key, weight in zip(read.keys, read.weights, strict=True):
            try:
                self._logs.add(key, (weight, weight * weight), self._stamp_ms)
            except PointRefused as refused:
                self._reject(refused, decoded)
        for key, value, weight in read.fields:
            try:
                self._log_fields.add_value(key, 0, value, weight, self._stamp_ms)
            except PointRefused as refused:
                _warn(refused, decoded)
        self._finish(decoded)
        return decoded

    def repeat(self, now_ms: int) -> Decoded:
        """The totals of all that has counted lately, again: as a scrape would find them, changed or not."""
        self._begin(now_ms)
        decoded = Decoded()
        self._count_calls(self.calls.expire(now_ms), decoded)
        self._finish(decoded)
        for table in self._tables:
            rows = table.live(self._stamp_ms)
            if len(rows):
                decoded.columns.append(table.columns(rows, self._stamp_ms))
        return decoded

    def _begin(self, now_ms: int) -> None:
        stamp = now_ms // _SECOND_MS * _SECOND_MS
        if stamp >= self._stamp_ms or self._stamp_ms - stamp > _CLOCK_BACK_MS_MAX:
            self._stamp_ms = stamp
        if self._epoch != self._registry.epoch:
            self._epoch = self._registry.epoch
            for table in self._tables:
                table.distrust()

    def _commit_ended(self, kept: bool) -> None:  # noqa: FBT001  (a seam with one argument)
        if kept:
            self._seen.committed()
            self.calls.committed()
        else:
            self._seen.undo()
            self.calls.undo()

    def _finish(self, decoded: Decoded) -> None:
        for table in self._tables:
            columns = table.taken(self._stamp_ms)
            if columns is not None:
                decoded.columns.append(columns)

    def _reject(self, refused: PointRefused, decoded: Decoded) -> None:
        decoded.rejected[refused.reason] += 1
        self.counts.refused += 1

    def _count_spans(self, read: ReadSpans, fresh: Sequence[int], decoded: Decoded) -> None:
        """Calls, durations, exemplars. What has weight 0 was kept, and another stands for it."""
        rows, places = self._rows_of(read, fresh, decoded)
        if not rows:
            return
        weights = np.array(read.weights)[places]
        durations_s = np.maximum(np.array(read.durations_ns, np.int64)[places], 0) / 1e9
        slowest = add_spans(self._spans, np.array(rows, np.int64), weights, durations_s)
        spans = {row: read.spans[places[index]] for row, index in slowest.items()}
        decoded.exemplars += self._exemplars.of(self._spans, spans, read.now_ms)

    def _rows_of(self, read: ReadSpans, fresh: Sequence[int], decoded: Decoded) -> tuple[list[int], Sequence[int]]:
        """The rows of the spans that count, and the places of these."""
        everything = len(fresh) == len(read.spans) and all(read.weights)
        places = fresh if everything else [place for place in fresh if read.weights[place]]
        keys = read.keys if everything else [read.keys[place] for place in places]
        rows = self._spans.known(keys)
        if -1 not in rows:
            return rows, places
        found: list[tuple[int, int]] = []
        for row, place, key in zip(rows, places, keys, strict=True):
            try:
                found.append((self._spans.row(key, self._stamp_ms) if row < 0 else row, place))
            except PointRefused as refused:
                self._reject(refused, decoded)
        return [row for row, _ in found], [place for _, place in found]

    def _count_sources(self, read: ReadSpans, fresh: Sequence[int], decoded: Decoded) -> None:
        keys, sources = read.keys, read.sources
        found = Counter([(keys[place][0], sources[place]) for place in fresh])
        for (service, source), count in found.items():
            self.counts.sources[source.label] += count
            self._add(self._sources, (service, source.label), (count,), decoded)

    def _paired(self, read: ReadSpans, fresh: Sequence[int]) -> list[Call]:
        new = fresh if isinstance(fresh, range) else set(fresh)
        return self.calls.pair([read.spans[place] for place in read.calls if place in new], read.peers, read.now_ms)

    def _count_workers(self, read: ReadSpans, fresh: Sequence[int], decoded: Decoded) -> None:
        if not read.workers:
            return
        for place in fresh:
            worker, span = read.workers.get(place), read.spans[place]
            if worker is not None and span.weight:
                self._count_worker(span, worker, read.keys[place][4:], decoded)

    def _count_worker(self, span: Span, worker: WorkerSpan, dimensions: tuple[str, ...], decoded: Decoded) -> None:
        weight, ran, stamp = span.weight, worker.invocation, self._stamp_ms
        script = (span.service, worker.script)
        for use in worker.uses:
            self._add(self._uses[use.table], (*script, *use.labels), [weight * one for one in use.amounts], decoded)
        if ran is None:
            return
        both = (weight, weight * weight)
        amounts = both + both if ran.failed else both
        self._add(self._workers, (*script, ran.trigger, ran.outcome, *dimensions), amounts, decoded)
        wall_s = max(span.end_ns - span.start_ns, 0) / 1e9 if ran.wall_s is None else ran.wall_s
        times = ((self._durations, wall_s), (self._cpu, ran.cpu_s))
        try:
            for table, seconds in times:
                if seconds is not None:
                    table.add_value((*script, ran.trigger), 0, seconds, weight, stamp)
        except PointRefused as refused:
            _warn(refused, decoded)

    def _count_calls(self, calls: Iterable[Call], decoded: Decoded) -> None:
        for call in calls:
            if not call.weight:
                continue
            key, both = (call.client, call.server), (call.weight, call.weight * call.weight)
            self._add(self._graph, key, both + both if call.failed else both, decoded)
            try:
                for index, seconds in enumerate((call.server_s, call.client_s)):
                    if seconds is not None:
                        self._graph.add_value(key, index, seconds, call.weight, self._stamp_ms)
            except PointRefused as refused:
                _warn(refused, decoded)

    def _add(self, table: Table, key: tuple[str, ...], amounts: Sequence[float], decoded: Decoded) -> None:
        """Add to a row; where its series cannot be made, the sender is told."""
        try:
            table.add(key, amounts, self._stamp_ms)
        except PointRefused as refused:
            _warn(refused, decoded)


def _warn(refused: PointRefused, decoded: Decoded) -> None:
    """Say once why something of a request is not counted everywhere."""
    warning = f"not all series made of it could be written: {refused}"
    if warning not in decoded.warnings:
        decoded.warnings.append(warning)
