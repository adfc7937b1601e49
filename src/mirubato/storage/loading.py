"""Opening a samples file: symbols, active series, their state and the unsealed batches come back into memory."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mirubato.errors import StorageFailed
from mirubato.limits import ACTIVE_SERIES_MS
from mirubato.model.labels import Family, MetricType, is_stale
from mirubato.model.samples import Batch, Floats, HistogramSample, Int64s, Kind, Starts, no_starts
from mirubato.storage import codec
from mirubato.storage.recent import Recent
from mirubato.storage.registry import Registry, Series
from mirubato.storage.schema import BATCH_FORMAT
from mirubato.storage.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class _Unsealed:
    """A batch row; its series are places among the ids of all series, and slots later."""

    seq: int
    floats: Floats
    starts: Starts
    histograms: Sequence[HistogramSample]


def load(connection: sqlite3.Connection, registry: Registry, recent: Recent, now: int) -> tuple[int, bool]:
    """Fill `registry` and `recent`; answers the next sequence number, and whether some series are on disk only."""
    next_series, next_pair, next_family = connection.execute(
        "SELECT next_series, next_pair, next_family FROM retention"
    ).fetchone()
    _load_symbols(connection, registry, next_pair, next_family)
    registry.reserve(next_series - 1)
    ids = np.array([id_ for (id_,) in connection.execute("SELECT id FROM series ORDER BY id")], np.int64)
    rows = connection.execute("SELECT seq, format, columns, starts, histograms FROM batch ORDER BY seq")
    batches = [_decode(ids, *row) for row in rows]
    content = connection.execute("SELECT content FROM snapshot").fetchone()
    snapshot = Snapshot(content[0]) if content else None
    wanted = np.zeros(len(ids), np.bool_)
    for batch in batches:
        wanted[batch.floats.series] = True
        wanted[[sample.series for sample in batch.histograms]] = True
    if snapshot is not None:
        wanted[_places(ids, snapshot.ids[snapshot.seen >= now - ACTIVE_SERIES_MS])] = True
    registry.begin(now)
    slots = _enter(connection, registry, wanted)
    if snapshot is not None:
        snapshot.restore(registry, slots[_places(ids, snapshot.ids)])
    for batch in batches:
        _replay(registry, recent, batch, slots, now)
    (sealed,) = connection.execute("SELECT max(seq_high) FROM block").fetchone()
    last = max(batches[-1].seq if batches else 0, sealed or 0)
    return last + 1, not wanted.all()


def _load_symbols(connection: sqlite3.Connection, registry: Registry, next_pair: int, next_family: int) -> None:
    families = connection.execute("SELECT id, name, type, unit, help FROM family ORDER BY id")
    registry.symbols.restore(
        connection.execute("SELECT id, name, value FROM label_pair ORDER BY id"),
        [(number, Family(name, MetricType(type_), unit, help_)) for number, name, type_, unit, help_ in families],
        (next_pair, next_family),
    )


def _places(ids: Int64s, wanted: Int64s) -> Int64s:
    """Where `wanted` stand in the rising `ids`."""
    places = np.searchsorted(ids, wanted)
    if len(places) and (places.max() == len(ids) or (ids[places] != wanted).any()):
        raise StorageFailed("there are samples of series that it does not know")
    return places


def _decode(
    ids: Int64s, seq: int, format_: int, columns: bytes, starts: bytes | None, histograms: bytes | None
) -> _Unsealed:
    if format_ != BATCH_FORMAT:
        raise StorageFailed(f"batch {seq} has the unknown format {format_}")
    floats = codec.decode_batch(columns)
    floats = Floats(_places(ids, floats.series), floats.timestamps, floats.values)
    begun = no_starts()
    if starts:
        series, start_ms = codec.decode_pairs(starts)
        begun = Starts(_places(ids, series), start_ms)
    return _Unsealed(seq, floats, begun, _decode_histograms(ids, histograms) if histograms else ())


def _decode_histograms(ids: Int64s, data: bytes) -> Sequence[HistogramSample]:
    series, times, content = codec.unpack(data)
    places = _places(ids, np.frombuffer(series, np.int64))
    return codec.decode_histograms(content, places.tolist(), np.frombuffer(times, np.int64).tolist())


def _enter(connection: sqlite3.Connection, registry: Registry, wanted: np.typing.NDArray[np.bool_]) -> Int64s:
    """Enter the series that are wanted; answers the slots of all, -1 where a series stays on disk."""
    slots = np.full(len(wanted), -1, np.int64)
    rows = connection.execute("SELECT id, kind, family, pairs FROM series ORDER BY id")
    for place, (is_wanted, (id_, kind, family, pairs)) in enumerate(zip(wanted.tolist(), rows, strict=True)):
        if is_wanted:
            labels = registry.symbols.labels(pairs)
            if not registry.symbols.holds(labels):
                raise StorageFailed(f"series {id_} has labels that are gone, the file may be damaged")
            known = registry.symbols.family_of(labels, Kind(kind), registry.symbols.families[family])
            slots[place] = registry.enter(Series(id_, labels, Kind(kind), known))
        else:
            registry.reserve(id_)
    return slots


def _replay(registry: Registry, recent: Recent, batch: _Unsealed, slots: Int64s, now: int) -> None:
    """Apply an unsealed batch to the state again; it may be in the snapshot already, which changes nothing."""
    state, floats = registry.state, batch.floats
    floats.series[:] = slots[floats.series]
    state.note(floats.series, floats.timestamps, floats.values, is_stale(floats.values))
    state.last_start[slots[batch.starts.series]] = batch.starts.start_ms
    registry.seen[floats.series] = now
    again = []
    for sample in batch.histograms:
        slot = int(slots[sample.series])
        again.append(HistogramSample(slot, sample.timestamp, sample.histogram, sample.stale))
        state.note_histogram(slot, sample.timestamp, None if sample.stale else sample.histogram)
        registry.seen[slot] = now
    recent.append(batch.seq, Batch(floats, no_starts(), again), now)
