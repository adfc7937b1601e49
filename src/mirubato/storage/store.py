"""The samples file: what is committed to it, and what is waiting to be sealed."""

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mirubato.database.writer import Writer
from mirubato.errors import StorageFailed
from mirubato.limits import ACTIVE_SERIES_MS, EXEMPLARS_MAX
from mirubato.model.samples import Batch, Exemplar
from mirubato.storage import codec
from mirubato.storage.kept import Kept, read_kept
from mirubato.storage.loading import load
from mirubato.storage.recent import Recent
from mirubato.storage.registry import Registry, SeriesLimits
from mirubato.storage.schema import BATCH_FORMAT, open_samples

_log = logging.getLogger(__name__)

FILE = "samples.db"


class SampleStore:
    """One samples.db: the registry, the unsealed samples, and the thread that writes."""

    def __init__(self, directory: Path, limits: SeriesLimits, now: int) -> None:
        """Open or make the file under `directory`; StorageFailed if that cannot be."""
        self.path = (directory / FILE).absolute()
        self.registry = Registry(limits)
        self.recent = Recent()
        self.archived: bool
        """Whether some series are on disk only."""
        self.kept: Kept
        """How far retention has come; changed on the writer thread."""
        self.watched: frozenset[str] = frozenset()
        """Metrics whose hours and days are also rows in state.db."""
        self.damaged: set[tuple[str, int]] = set()
        """(table, id) of blocks whose bytes are not what was written."""
        self.last_commit = 0
        self.healthy = True
        connection = open_samples(self.path)
        try:
            self._next_seq, self.archived = load(connection, self.registry, self.recent, now)
            self.kept = read_kept(connection)
        except Exception as error:  # a damaged file can raise anything
            connection.close()
            reason = str(error) or type(error).__name__
            raise StorageFailed(f"{self.path} cannot be read, it may be damaged: {reason}") from error
        self.writer = Writer(connection, "samples-writer")

    def write(self, connection: sqlite3.Connection, batch: Batch) -> int:
        """Put a batch and the series it made into the open transaction; answers its sequence number."""
        _insert_series(connection, self.registry)
        seq = self._next_seq
        if len(batch):
            self._next_seq += 1
            connection.execute(
                "INSERT INTO batch (seq, format, samples, columns, starts, histograms) VALUES (?, ?, ?, ?, ?, ?)",
                (seq, BATCH_FORMAT, len(batch), *_encode(self.registry, batch)),
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
        """Let series that have been idle for an hour go from memory; on the writer thread. Answers how many.

        Series with unsealed samples stay, however old those are: a chunk knows its series by slot only.
        """
        idle = self.registry.idle(now - ACTIVE_SERIES_MS)
        if not len(idle):
            return 0
        pinned = np.zeros(len(self.registry.series), np.bool_)
        for chunk in self.recent.chunks():
            for part in tuple(chunk.parts):
                pinned[part.series] = True
            pinned[[sample.series for sample in chunk.histograms]] = True
        gone: list[int] = idle[~pinned[idle]].tolist()
        if gone:
            self.archived = True  # first: a query looks for them in one place or the other
            self.registry.remove(gone)
        return len(gone)

    def report_damage(self, table: str, id_: int, error: Exception) -> None:
        """Remember (and say once) that a block cannot be read; from any thread."""
        if (table, id_) not in self.damaged:
            self.damaged.add((table, id_))
            _log.error("%s: %s %d is damaged and left out: %s", self.path, table, id_, str(error) or repr(error))

    def bytes(self) -> int:
        """Size of the file and its log."""
        return sum(path.stat().st_size for path in self.path.parent.glob(f"{self.path.name}*"))

    def close(self, timeout_s: float) -> bool:
        """Commit what is queued and close the file; False if that took too long."""
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
            "INSERT OR REPLACE INTO family (id, name, type, unit, help) VALUES (?, ?, ?, ?, ?)",
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
