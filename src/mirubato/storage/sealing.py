"""Sealing: unsealed samples become blocks, small blocks become larger ones. A thread of its own does the computing."""

import ctypes
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from mirubato.limits import BLOCK_VALUES_MAX, MERGE_RUNS, UNSEALED_LOADS_MAX
from mirubato.model.rollups import HOUR_MS
from mirubato.model.samples import Int64s, Kind
from mirubato.storage import snapshot
from mirubato.storage.blocks import (
    Block,
    DamagedBlock,
    build_blocks,
    build_histogram_blocks,
    checksum,
    read_block,
)
from mirubato.storage.recent import Chunk
from mirubato.storage.schema import FORMAT, open_reader
from mirubato.storage.store import SampleStore

_log = logging.getLogger(__name__)

_LIBC = ctypes.CDLL(None)
"""The C library in this process; only glibc has `malloc_trim`."""

# After a failure the next try waits for two ticks, and twice as long after each further one, up to this.
_RETRY_S_MAX = 60.0
# Ticks without retention after it has failed.
_SKIPPED_TICKS = 60

# The machine is idle when nothing was committed for this long; then less than a full load is worth sealing.
_IDLE_MS = 3_000
# Fewer samples than this for each series compress badly (10 need twice the bytes of 60).
_IDLE_SAMPLES_PER_SERIES = 8
_TICK_S = 1.0
# Free pages are left in the file for the batches to come; past the first bound, and when nothing came for a while,
# they go back to the disk down to the second.
_FREE_BYTES_MAX = 6 << 20
_FREE_BYTES_KEPT = 1 << 20
_TIDY_IDLE_MS = 5_000
_VACUUM_PAGES = 256


@dataclass(frozen=True, slots=True)
class SealSettings:
    """When to seal: samples in number (a native histogram counts as many as its memory would hold), age in ms."""

    samples: int
    interval: int


class Sealer:
    """Watches a store, seals and merges. Everything it changes goes through the store's writer.

    `then` is what else its thread is for (retention), at a time in ms: both rewrite blocks, so one waits for the other.
    """

    def __init__(
        self,
        store: SampleStore,
        settings: SealSettings,
        now: Callable[[], int],
        then: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._store, self._settings, self._now, self.then = store, settings, now, then
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, name="sealer", daemon=True)
        self.sealed_samples = 0
        self.blocks_written = 0
        self._tidy = True
        self._merged = False
        """Whether nothing was sealed since there was nothing to merge."""
        self._skipped = 0
        self.failures = 0
        """How often it has failed since it last did not."""

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Finish what is being sealed, then end."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def stopping(self) -> bool:
        """Whether what is under way should end at the next occasion."""
        return self._stop.is_set()

    def due_now(self) -> bool:
        """Whether there is something to seal."""
        return self.due(self._now())

    def nudge(self) -> None:
        """Look now, not at the next tick."""
        self._wake.set()

    def full(self) -> bool:
        """Whether a load of samples waits."""
        return self._store.recent.weight >= self._settings.samples

    def behind(self) -> bool:
        """Whether so much waits that nothing more should come."""
        return self._store.recent.weight >= UNSEALED_LOADS_MAX * self._settings.samples

    def due(self, now: int) -> bool:
        """Whether there is something to seal at `now`: a full load, an old one, or a fair one while idle."""
        chunks = self._store.recent.chunks()
        if not chunks:
            return False
        age = now - chunks[0].since
        if self.full() or age >= self._settings.interval:
            return True
        idle = now - self._store.last_commit >= _IDLE_MS and age >= self._settings.interval // 60
        return idle and self._store.recent.samples >= _IDLE_SAMPLES_PER_SERIES * max(self._store.registry.active, 1000)

    def seal(self) -> int:
        """Turn what is unsealed now into blocks; answers how many samples went."""
        writer = self._store.writer
        closed = _load_of(writer.call(lambda _: self._store.recent.close(), transaction=False), self._settings.samples)
        if not closed:
            return 0
        blocks = _blocks_of(closed, self._store.registry.ids, self._store.registry.names)
        low, high = closed[0].seq_low, closed[-1].seq_high
        late = _late(closed, self._store)

        def commit(connection: sqlite3.Connection) -> None:
            # Delete first: the blocks then take the pages that the batches leave, and the file does not grow.
            connection.execute("DELETE FROM batch WHERE seq <= ?", (high,))
            insert_blocks(connection, blocks, low, high)
            connection.executemany("INSERT OR IGNORE INTO late (name, hour) VALUES (?, ?)", late)
            connection.execute(
                "INSERT OR REPLACE INTO snapshot (id, content) VALUES (1, ?)",
                (snapshot.encode(self._store.registry),),
            )

        writer.call(commit, lambda: self._store.recent.drop(closed))
        writer.call(_checkpoint, transaction=False)
        samples = sum(chunk.size + len(chunk.histograms) for chunk in closed)
        self.sealed_samples += samples
        self.blocks_written += len(blocks)
        self._tidy = self._merged = False
        return samples

    def merge(self) -> int:
        """Merge the small runs of one metric into one run; answers how many runs went into it."""
        with closing(open_reader(self._store.path)) as connection:
            runs = find_runs(connection)
            if not runs:
                self._merged = True
                return 0
            try:
                blocks = _merged(connection, runs)
            except DamagedBlock as damage:
                self._set_aside(damage)
                return len(runs)
        first, last = runs[0], runs[-1]

        def commit(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM block WHERE kind = ? AND name = ? AND seq_low >= ? AND seq_high <= ? AND format > 0",
                (first.kind, first.name, first.seq_low, last.seq_high),
            )
            insert_blocks(connection, blocks, first.seq_low, last.seq_high)

        self._store.writer.call(commit)
        self._tidy = False
        return len(runs)

    def _set_aside(self, damage: DamagedBlock) -> None:
        """A damaged block stays where it is, marked so that nothing is made of it any more."""
        self._store.report_damage("block", damage.id, damage)
        self._store.writer.call(
            lambda connection: connection.execute("UPDATE block SET format = -format WHERE id = ?", (damage.id,))
        )

    def tidy(self) -> None:
        """Give disk back: empty the log into the file, and many free pages to the disk. For idle times."""
        self._tidy, call = True, self._store.writer.call
        self.give_back()
        call(_checkpoint, transaction=False)
        _give_memory_back()

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(_TICK_S)
            self._wake.clear()
            try:
                self._work()
                self.failures = 0
            except Exception:  # noqa: BLE001  it will try again; unsealed samples stay where they are
                self.failures += 1
                pause = min(_TICK_S * 2.0 ** min(self.failures, 10), _RETRY_S_MAX)
                _log.exception("sealing failed, %d times in a row; next try in %.0f s", self.failures, pause)
                self._stop.wait(pause)  # and not for a nudge: requests that wait nudge all the time

    def _work(self) -> None:
        while not self._stop.is_set() and self.due(self._now()):
            self.seal()
        while not self._stop.is_set() and not self._merged and not self.due(self._now()) and self.merge():
            pass
        if not self._stop.is_set() and not self.due(self._now()):
            self._do_the_rest()
        if not self._tidy and not self._stop.is_set() and self._now() - self._store.last_commit >= _TIDY_IDLE_MS:
            self.tidy()

    def _do_the_rest(self) -> None:
        """Call `then`; where that fails, sealing goes on, and it is called again after a minute."""
        self._skipped = max(self._skipped - 1, 0)
        if self._skipped:
            return
        try:
            self.then(self._now())
        except Exception:  # noqa: BLE001  sealing must not wait for what can wait
            self._skipped = _SKIPPED_TICKS
            _log.exception("retention failed")

    def give_back(self) -> None:
        """Give free pages to the disk, some at a time, while commits go on."""
        call = self._store.writer.call
        if call(_free_bytes, transaction=False) > _FREE_BYTES_MAX:
            while call(_vacuum, transaction=False) and not self._stop.is_set():
                pass
            call(_checkpoint, transaction=False)


def _late(chunks: Sequence[Chunk], store: SampleStore) -> list[tuple[int, int]]:
    """(name, hour) of samples that came after their hour was put into rows (`storage.plain_rows`)."""
    frontier = store.kept.rows_hourly
    late: set[tuple[int, int]] = set()
    for chunk in chunks:
        if chunk.time_low > frontier:
            continue
        floats = chunk.floats()
        rows = np.flatnonzero(floats.timestamps <= frontier)
        pairs = np.stack([store.registry.names[floats.series[rows]], -(-floats.timestamps[rows] // HOUR_MS) * HOUR_MS])
        late.update(zip(*np.unique(pairs, axis=1).tolist(), strict=True))
    text = store.registry.symbols.pairs
    return [(name, hour) for name, hour in sorted(late) if text[name][1] in store.watched]


def _load_of(chunks: Sequence[Chunk], samples: int) -> Sequence[Chunk]:
    """The oldest chunks that make a load: sorting takes 60 bytes a sample, so no more than one at a time."""
    taken = 0
    for index, chunk in enumerate(chunks):
        if taken >= samples:
            return chunks[:index]
        taken += chunk.weight
    return chunks


def _blocks_of(chunks: Sequence[Chunk], ids: Int64s, names: Int64s) -> list[Block]:
    floats = [chunk.floats() for chunk in chunks]
    histograms = [sample for chunk in chunks for sample in chunk.histograms]
    blocks = build_blocks(
        np.concatenate([part.series for part in floats]),
        np.concatenate([part.timestamps for part in floats]),
        np.concatenate([part.values for part in floats]),
        ids,
        names,
    )
    return blocks + (build_histogram_blocks(histograms, ids, names) if histograms else [])


def insert_blocks(connection: sqlite3.Connection, blocks: Sequence[Block], seq_low: int, seq_high: int) -> None:
    """Put blocks made of the batches from `seq_low` to `seq_high` into the open transaction."""
    connection.executemany(
        "INSERT INTO block (format, kind, name, seq_low, seq_high, time_low, time_high, samples, series, timestamps,"
        " content, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                FORMAT,
                int(block.kind),
                block.name,
                seq_low,
                seq_high,
                block.time_low,
                block.time_high,
                block.samples,
                block.series,
                block.timestamps,
                block.content,
                checksum(block.series, block.timestamps, block.content),
            )
            for block in blocks
        ],
    )


@dataclass(frozen=True, slots=True)
class Run:
    """All blocks of one metric that were made of the same batches."""

    kind: int
    name: int
    seq_low: int
    seq_high: int
    samples: int


def find_runs(connection: sqlite3.Connection) -> list[Run]:
    """Neighbouring runs of one metric and about one size, the first that are worth merging.

    Only neighbours in the order of the batches may merge, or "the last write wins" would be lost; only runs of about
    one size, so that each sample is written again once for each MERGE_RUNS-fold growth; and only runs that are
    smaller than a block, because larger ones have nothing to gain.
    """
    rows = connection.execute(
        "SELECT kind, name, seq_low, seq_high, sum(samples) FROM block WHERE format > 0"
        " GROUP BY kind, name, seq_low, seq_high ORDER BY kind, name, seq_low"
    )
    for _, group in groupby((Run(*row) for row in rows), key=lambda run: (run.kind, run.name)):
        found = _mergeable(list(group))
        if found:
            return found
    return []


def _mergeable(runs: Sequence[Run]) -> list[Run]:
    for begin in range(len(runs) - MERGE_RUNS + 1):
        window = runs[begin : begin + MERGE_RUNS]
        sizes = [run.samples for run in window]
        if max(sizes) <= min(MERGE_RUNS * min(sizes), BLOCK_VALUES_MAX):
            return list(window)
    return []


def _merged(connection: sqlite3.Connection, runs: Sequence[Run]) -> list[Block]:
    """One run of several: decode, put one after the other in their order, and build again."""
    first, last = runs[0], runs[-1]
    rows = connection.execute(
        "SELECT id, series, timestamps, content, checksum FROM block WHERE kind = ? AND name = ? AND seq_low >= ?"
        " AND seq_high <= ? AND format > 0 ORDER BY seq_low, id",
        (first.kind, first.name, first.seq_low, last.seq_high),
    ).fetchall()
    decoded = [read_block(Kind(first.kind), *row) for row in rows]
    ids, flat = np.unique(np.concatenate([block.owners for block in decoded]), return_inverse=True)
    names = np.full(len(ids), first.name)
    if first.kind == Kind.HISTOGRAM:
        samples = [sample for block in decoded for sample in block.histograms]
        places = zip(samples, flat.tolist(), strict=True)
        return build_histogram_blocks([replace(sample, series=place) for sample, place in places], ids, names)
    times = np.concatenate([block.timestamps for block in decoded])
    return build_blocks(flat, times, np.concatenate([block.values for block in decoded]), ids, names)


def _give_memory_back() -> None:
    """glibc keeps what sealing has freed, 20 MB and more. For idle times: after each load it costs a third of the
    sealing in page faults."""
    trim = getattr(_LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)


def _checkpoint(connection: sqlite3.Connection) -> None:
    """As far as queries under way allow: to wait for them would make all commits wait."""
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout=0")
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.execute(f"PRAGMA busy_timeout={patience}")


def _free_bytes(connection: sqlite3.Connection) -> int:
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(page * free)


def _vacuum(connection: sqlite3.Connection) -> bool:
    """Give some free pages back; whether there are more."""
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    surplus = (_free_bytes(connection) - _FREE_BYTES_KEPT) // page
    if surplus <= 0:  # to vacuum 0 pages means to vacuum all
        return False
    # `execute` would stop after one page, with an fsync for each (0.13 ms); a script runs to its end (0.015 ms a page).
    connection.executescript(f"PRAGMA incremental_vacuum({min(surplus, _VACUUM_PAGES)});")
    return bool(surplus > _VACUUM_PAGES)
