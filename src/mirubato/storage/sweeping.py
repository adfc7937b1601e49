"""Sweeping: series of which no sample, rollup or exemplar is left go, and with them the labels that only they had."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing

import numpy as np

from mirubato.database.writer import Errand
from mirubato.limits import SWEPT_SERIES_MAX
from mirubato.model.families import PARTS
from mirubato.model.labels import NAME
from mirubato.model.samples import Int64s
from mirubato.storage import snapshot
from mirubato.storage.blocks import decode_series
from mirubato.storage.registry import Registry, Released
from mirubato.storage.schema import open_reader
from mirubato.storage.store import SampleStore


class Sweeper:
    """Looks through the whole file; on the thread that merges and moves, so nothing moves meanwhile."""

    def __init__(self, store: SampleStore) -> None:
        self._store = store

    def sweep(self) -> int:
        """Let everything go that nothing needs; answers how many series that were."""
        removed = 0
        with closing(open_reader(self._store.path)) as connection:
            names = [name for (name,) in connection.execute("SELECT DISTINCT name FROM series")]
            exemplars = {id_ for (id_,) in connection.execute("SELECT DISTINCT series FROM exemplar")}
        for name in names:
            dead = self._dead(name, exemplars)
            for first in range(0, len(dead), SWEPT_SERIES_MAX):
                removed += self._remove(dead[first : first + SWEPT_SERIES_MAX])
        self._release()
        return removed

    def _dead(self, name: int, exemplars: Collection[int]) -> list[int]:
        """The series of a metric that have nothing; those that are active do not count, and may have come since."""
        with closing(open_reader(self._store.path)) as connection:
            ids = np.array([row[0] for row in connection.execute("SELECT id FROM series WHERE name = ?", (name,))])
            held: list[Int64s] = []
            for table in ("block", "rollup"):
                rows = connection.execute(f"SELECT id, series FROM {table} WHERE name = ?", (name,))  # noqa: S608
                for id_, series in rows:
                    try:
                        held.append(decode_series(series)[0])
                    except Exception as error:  # noqa: BLE001  a damaged block: whose it is cannot be known
                        self._store.report_damage(table, id_, error)
                        return []
        dead = np.setdiff1d(ids, np.concatenate([*held, np.empty(0, np.int64)]))
        return [id_ for id_ in dead.tolist() if id_ not in exemplars]

    def _remove(self, ids: Collection[int]) -> int:
        """In one commit; ids that are active stay. The snapshot must not name what is gone."""
        registry = self._store.registry

        def run(connection: sqlite3.Connection) -> int:
            active = set(registry.ids[: len(registry.series)].tolist())
            gone = [(id_,) for id_ in ids if id_ not in active]
            if gone:
                connection.executemany("DELETE FROM series WHERE id = ?", gone)
                connection.execute(
                    "INSERT OR REPLACE INTO snapshot (id, content) VALUES (1, ?)", (snapshot.encode(registry),)
                )
                _keep_numbers(connection, registry)
            return len(gone)

        return self._store.writer.call(run, registry.swept)

    def _release(self) -> None:
        """Labels and families that no series has."""
        with closing(open_reader(self._store.path)) as connection:
            connection.execute("BEGIN")  # one moment for all
            (newest,) = connection.execute("SELECT max(id) FROM series").fetchone()
            pairs = {number for (number,) in connection.execute("SELECT id FROM label_pair")}
            families = dict(connection.execute("SELECT id, name FROM family"))
            used_pairs, used_families = _used(connection.execute("SELECT pairs, family FROM series"))
            names = {value for (value,) in connection.execute("SELECT value FROM label_pair WHERE name = ?", (NAME,))}
            connection.execute("COMMIT")
        released = pairs - used_pairs
        text = self._store.registry.symbols.pairs
        names -= {text[number][1] for number in released if text[number][0] == NAME}
        gone = {number for number, name in families.items() if number not in used_families and not _told(name, names)}
        if released or gone:
            release = _Release(self._store.registry, released, gone, newest or 0)
            self._store.writer.submit(release)
            release.result()


def _used(rows: Iterable[tuple[bytes, int]]) -> tuple[set[int], set[int]]:
    """Numbers of the pairs and families of some series."""
    packed, families = [], set()
    for pairs, family in rows:
        packed.append(pairs)
        families.add(family)
    return set(np.unique(np.frombuffer(b"".join(packed), np.uint32)).tolist()), families


def _told(name: str, metrics: Collection[str]) -> bool:
    """Whether a family may describe one of these metrics: series may have come before it."""
    endings = {"", "_total", *(ending for parts in PARTS.values() for ending in parts)}
    return any(name + ending in metrics for ending in endings)


def _keep_numbers(connection: sqlite3.Connection, registry: Registry) -> None:
    """What was removed may have had the highest numbers: they are not given again after a restart."""
    connection.execute(
        "UPDATE retention SET next_series = ?, next_pair = ?, next_family = ?",
        registry.next_numbers,
    )


class _Release(Errand[None]):
    """Forgets pairs and families in memory while its transaction is open: what follows in it may need them anew."""

    def __init__(self, registry: Registry, pairs: Collection[int], families: Collection[int], newest: int) -> None:
        super().__init__(self._run, registry.swept, transaction=True)
        self._registry, self._pairs, self._families, self._newest = registry, pairs, families, newest
        self._released: Released | None = None

    def _run(self, connection: sqlite3.Connection) -> None:
        since = connection.execute("SELECT pairs, family FROM series WHERE id > ?", (self._newest,))
        used_pairs, used_families = _used(since)
        pairs, families = set(self._pairs) - used_pairs, set(self._families) - used_families
        self._released = self._registry.symbols.release(pairs, families)
        connection.executemany("DELETE FROM label_pair WHERE id = ?", _rows(pairs))
        connection.executemany("DELETE FROM family WHERE id = ?", _rows(families))
        _keep_numbers(connection, self._registry)

    def failed(self, error: Exception) -> None:
        """Nothing was released."""
        if self._released is not None:
            self._registry.symbols.take_back(self._released)
        super().failed(error)


def _rows(numbers: Iterable[int]) -> Iterator[tuple[int]]:
    return ((number,) for number in numbers)
