"""The samples file: what is committed to it, how it is opened again, what is waiting to be sealed."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mirubato.database import Writer
from mirubato.limits import ACTIVE_SERIES_MS, EXEMPLARS_MAX
from mirubato.model.labels import Family, MetricType, is_stale
from mirubato.model.samples import Batch, Exemplar, Floats, HistogramSample, Kind, Starts, no_starts
from mirubato.storage import codec
from mirubato.storage.recent import Recent
from mirubato.storage.registry import Registry, Series, SeriesLimits
from mirubato.storage.schema import FORMAT, open_samples
from mirubato.storage.snapshot import Snapshot

FILE = "samples.db"


class SampleStore:
    """One samples.db: the registry, the unsealed samples, and the thread that writes."""

    def __init__(self, directory: Path, limits: SeriesLimits, now: int) -> None:
        """Open or make the file under `directory`; StorageFailed if that cannot be."""
        directory.mkdir(parents=True, exist_ok=True)
        self.path = (directory / FILE).absolute()
        self.registry = Registry(limits)
        self.recent = Recent()
        self.archived = False
        """Whether some series are on disk only."""
        self.last_commit = 0
        self.healthy = True
        connection = open_samples(self.path)
        self._next_seq = _load(connection, self, now)
        self.writer = Writer(connection, "samples-writer")

    def write(self, connection: sqlite3.Connection, batch: Batch) -> int:
        """Put a batch and the series it made into the open transaction; answers its sequence number."""
        _insert_series(connection, self.registry)
        seq = self._next_seq
        if len(batch):
            self._next_seq += 1
            connection.execute(
                "INSERT INTO batch (seq, format, samples, columns, starts, histograms) VALUES (?, ?, ?, ?, ?, ?)",
                (seq, FORMAT, len(batch), *_encode(self.registry, batch)),
            )
        if batch.exemplars:
            _insert_exemplars(connection, self.registry, batch.exemplars)
        return seq

    def committed(self, seq: int, batch: Batch, now: int) -> None:
        """The batch is on disk: let queries see it."""
        if len(batch):
            self.recent.append(seq, batch, now)
        self.registry.committed()
        self.last_commit, self.healthy = now, True

    def failed(self) -> None:
        """The transaction was rolled back."""
        self.registry.undo()
        self.healthy = False

    def evict(self, now: int) -> int:
        """Let series that have been idle for an hour go from memory; on the writer thread. Answers how many."""
        chunks = self.recent.chunks()
        before = min([now - ACTIVE_SERIES_MS, *(chunk.since for chunk in chunks)])
        gone = self.registry.evict(before)
        self.archived = self.archived or gone > 0
        return gone

    def close(self, timeout_s: float) -> bool:
        """Commit what is queued and close the file."""
        return self.writer.close(timeout_s)


def _encode(registry: Registry, batch: Batch) -> tuple[bytes, bytes | None, bytes | None]:
    floats, starts = batch.floats, batch.starts
    columns = codec.encode_batch(registry.ids[floats.series], floats.timestamps, floats.values)
    begun = codec.encode_pairs(registry.ids[starts.series], starts.start_ms) if len(starts.series) else None
    if not batch.histograms:
        return columns, begun, None
    series = np.array([registry.ids[sample.series] for sample in batch.histograms], np.int64)
    times = np.array([sample.timestamp for sample in batch.histograms], np.int64)
    content = codec.encode_histograms(batch.histograms)
    return columns, begun, codec.pack([series.tobytes(), times.tobytes(), content])


def _insert_series(connection: sqlite3.Connection, registry: Registry) -> None:
    made = registry.unsaved()
    symbols = registry.symbols
    # Numbers first: packing the labels gives no new ones, since `propose` has seen them all.
    rows = [
        (
            series.id,
            int(registry.names[slot]),
            int(series.kind),
            symbols.family_id(series.family),
            np.array([symbols.pair_id(pair) for pair in series.labels], np.uint32).tobytes(),
        )
        for slot, series in made
    ]
    pairs, families = symbols.unsaved()
    if pairs:
        connection.executemany("INSERT INTO label_pair (id, name, value) VALUES (?, ?, ?)", pairs)
    if families:
        connection.executemany(
            "INSERT INTO family (id, name, type, unit, help) VALUES (?, ?, ?, ?, ?)",
            [(number, family.name, family.type, family.unit, family.help) for number, family in families],
        )
    if rows:
        connection.executemany("INSERT INTO series (id, name, kind, family, pairs) VALUES (?, ?, ?, ?, ?)", rows)


def _insert_exemplars(connection: sqlite3.Connection, registry: Registry, exemplars: Sequence[Exemplar]) -> None:
    connection.executemany(
        "INSERT INTO exemplar (series, timestamp, value, labels) VALUES (?, ?, ?, ?)",
        [
            (
                int(registry.ids[exemplar.series]),
                exemplar.timestamp,
                exemplar.value,
                codec.encode_labels(exemplar.labels),
            )
            for exemplar in exemplars
        ],
    )
    connection.execute("DELETE FROM exemplar WHERE rowid <= (SELECT max(rowid) FROM exemplar) - ?", (EXEMPLARS_MAX,))


def _load(connection: sqlite3.Connection, store: SampleStore, now: int) -> int:
    """Bring back symbols, active series, their state and the unsealed batches; answers the next sequence number."""
    registry = store.registry
    families = connection.execute("SELECT id, name, type, unit, help FROM family ORDER BY id")
    registry.symbols.restore(
        connection.execute("SELECT id, name, value FROM label_pair ORDER BY id"),
        [(number, Family(name, MetricType(type_), unit, help_)) for number, name, type_, unit, help_ in families],
    )
    row = connection.execute("SELECT content FROM snapshot").fetchone()
    snapshot = Snapshot(row[0]) if row else None
    batches = list(connection.execute("SELECT seq, format, columns, starts, histograms FROM batch ORDER BY seq"))
    decoded = [(row[0], *_decode(*row[1:])) for row in batches]
    slot_of = _load_series(
        connection, store, snapshot, [(floats, histograms) for _, floats, _, histograms in decoded], now
    )
    if snapshot is not None:
        snapshot.restore(registry, slot_of)
    for seq, floats, starts, histograms in decoded:
        _replay(store, seq, floats, starts, histograms, slot_of, now)
    (sealed,) = connection.execute("SELECT max(seq_high) FROM block").fetchone()
    last = max(batches[-1][0] if batches else 0, sealed or 0)
    return last + 1


def _decode(
    format_: int, columns: bytes, starts: bytes | None, histograms: bytes | None
) -> tuple[Floats, Starts, list[HistogramSample]]:
    """A batch row; `series` are ids."""
    assert format_ == FORMAT, format_
    begun = Starts(*codec.decode_pairs(starts)) if starts else no_starts()
    if histograms is None:
        return codec.decode_batch(columns), begun, []
    series, times, content = codec.unpack(histograms)
    samples = codec.decode_histograms(
        content, np.frombuffer(series, np.int64).tolist(), np.frombuffer(times, np.int64).tolist()
    )
    return codec.decode_batch(columns), begun, samples


def _load_series(
    connection: sqlite3.Connection,
    store: SampleStore,
    snapshot: Snapshot | None,
    batches: Sequence[tuple[Floats, list[HistogramSample]]],
    now: int,
) -> dict[int, int]:
    """Enter the series that are active or have unsealed samples; answers id -> slot."""
    wanted: set[int] = set()
    for floats, histograms in batches:
        wanted.update(np.unique(floats.series).tolist())
        wanted.update(sample.series for sample in histograms)
    if snapshot is not None:
        wanted.update(snapshot.ids[snapshot.seen >= now - ACTIVE_SERIES_MS].tolist())
    registry, slot_of = store.registry, {}
    registry.begin(now)
    for id_, kind, family, pairs in connection.execute("SELECT id, kind, family, pairs FROM series"):
        if id_ not in wanted:
            store.archived = True
            registry.reserve(id_)
            continue
        labels = registry.symbols.labels(pairs)
        slot_of[id_] = registry.enter(Series(id_, labels, Kind(kind), registry.symbols.families[family]))
    return slot_of


def _replay(
    store: SampleStore,
    seq: int,
    floats: Floats,
    starts: Starts,
    histograms: Sequence[HistogramSample],
    slot_of: dict[int, int],
    now: int,
) -> None:
    """Apply an unsealed batch to the state again; it may be in the snapshot already, which changes nothing."""
    state = store.registry.state
    slots = np.array([slot_of[id_] for id_ in floats.series.tolist()], np.int64)
    state.note(slots, floats.timestamps, floats.values, is_stale(floats.values))
    begun = np.array([slot_of[id_] for id_ in starts.series.tolist()], np.int64)
    state.last_start[begun] = starts.start_ms
    again = []
    for sample in histograms:
        slot = slot_of[sample.series]
        again.append(HistogramSample(slot, sample.timestamp, sample.histogram, sample.stale))
        state.note_histogram(slot, sample.timestamp, None if sample.stale else sample.histogram)
    store.recent.append(seq, Batch(Floats(slots, floats.timestamps, floats.values), no_starts(), again), now)
