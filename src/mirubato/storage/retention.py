"""Retention: samples become hours, then days, then go, as the settings say; and what the disk may hold at most.

It runs on the sealer's thread, since both rewrite blocks, and in small steps, between which new samples are sealed.
"""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from mirubato.limits import MOVED_EXEMPLARS_MAX, RAW_MS_MIN
from mirubato.model.rollups import DAY_MS, HOUR_MS, Borders
from mirubato.storage.moving import Mover
from mirubato.storage.plain_rows import PlainRows
from mirubato.storage.schema import open_reader
from mirubato.storage.sealing import Sealer
from mirubato.storage.store import SampleStore
from mirubato.storage.sweeping import Sweeper

_log = logging.getLogger(__name__)

# A look at what is due costs nothing; the size of the file is looked at this often.
_SIZE_EVERY_MS = 60_000
# Of what is too much a sixteenth of the time that is there goes at once.
_SHARE = 16


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long samples, hours and days are kept (ms; 0: not at all), and the size of the file in bytes (0: any)."""

    raw: int
    hourly: int
    daily: int
    bytes_max: int = 0


@dataclass(frozen=True, slots=True)
class Targets:
    """What has to be at some time."""

    raw: int
    """Samples up to here are no samples any more."""
    step: int
    """What they become: HOUR_MS, DAY_MS, or 0: nothing."""
    borders: Borders
    hours: int
    """Hours up to here become days."""
    hours_gone: int
    days_gone: int
    """Hours, and days, up to these are gone."""


def targets(now: int, settings: RetentionSettings, borders: Borders, raw: int | None = None) -> Targets:
    """What the settings ask for at `now`; `raw`: samples up to there go in any case, for want of room. Pure."""
    raw_age, hourly, daily = settings.raw, settings.hourly, settings.daily
    step = HOUR_MS if hourly > raw_age else DAY_MS if daily > raw_age else 0
    unit = step or HOUR_MS
    raw = max(now - raw_age, raw or 0) // unit * unit
    to_days = daily > hourly
    hours = borders.hourly
    if step:
        borders = Borders(max(borders.raw, raw), borders.hourly)
    if to_days:
        hours = min(max(now - hourly, raw if step == DAY_MS else 0), borders.raw) // DAY_MS * DAY_MS
        borders = Borders(borders.raw, max(borders.hourly, min(hours, borders.raw)))
    days_gone = (now - daily) // DAY_MS * DAY_MS
    hours_gone = days_gone if to_days else (now - hourly) // HOUR_MS * HOUR_MS
    return Targets(raw, step, borders, max(hours, borders.hourly) if to_days else hours, hours_gone, days_gone)


class Retention:
    """Does what is due. `tick` comes every second or so; `run` does all of it at once."""

    def __init__(
        self, store: SampleStore, sealer: Sealer, settings: RetentionSettings, rows: PlainRows | None = None
    ) -> None:
        self._store, self._sealer, self._settings, self._rows = store, sealer, settings, rows
        self._mover, self._sweeper = Mover(store), Sweeper(store)
        self._done: Targets | None = None
        self._size_at = 0
        self.over_bytes = 0
        """By how much the file is larger than it may be, with nothing left that may go."""
        self.removed_series = 0
        self.steps = 0
        """Commits that moved or removed something."""

    def close(self) -> None:
        """Close what it reads with; the sealer's thread has ended."""
        if self._rows is not None:
            self._rows.close()

    def tick(self, now: int) -> None:
        """Do what has become due since the last time."""
        if targets(now, self._settings, self._store.kept.borders) != self._done:
            self.run(now)
        elif self._settings.bytes_max and not 0 <= now - self._size_at < _SIZE_EVERY_MS:
            self._bound_size(now)

    def run(self, now: int) -> None:
        """Do all that is due at `now` (ms), or stop between two steps when the sealer is to stop."""
        due = targets(now, self._settings, self._store.kept.borders)
        # What is in rows should be in blocks: all that is sealed later counts as late.
        self._seal(due.raw if self._rows is None else now // HOUR_MS * HOUR_MS)
        if self._rows is not None:
            self._rows.write(now)
        self._move(due)
        self._repeat(self._mover.compact)
        self._drop_exemplars(due.raw)
        if now // DAY_MS != self._store.kept.swept // DAY_MS and not self._sealer.stopping:
            self.removed_series += self._sweeper.sweep()
            self._mover.commit((), swept=now)
        self._bound_size(now)
        self._sealer.give_back()
        if not self._sealer.stopping:
            self._done = targets(now, self._settings, self._store.kept.borders)

    def _seal(self, until: int) -> None:
        """What goes must be in blocks: of two samples at one time the later write is known only there."""
        while any(chunk.time_low <= until for chunk in self._store.recent.chunks()) and not self._sealer.stopping:
            if not self._sealer.seal():
                return

    def _move(self, due: Targets) -> None:
        if due.borders != self._store.kept.borders:
            # First: from here on queries take the samples before it for hours, whether they are yet or not.
            self._mover.commit((), borders=due.borders)
        self._repeat(lambda: self._mover.roll_samples(due.raw, keep=bool(due.step)))
        self._repeat(lambda: self._mover.roll_hours(due.hours))
        self._repeat(lambda: self._mover.drop(HOUR_MS, due.hours_gone))
        self._repeat(lambda: self._mover.drop(DAY_MS, due.days_gone))

    def _repeat(self, step: Callable[[], bool]) -> None:
        while not self._sealer.stopping and step():
            self.steps += 1
            while self._sealer.due_now() and self._sealer.seal():
                pass

    def _drop_exemplars(self, until: int) -> None:
        self._repeat(lambda: self._drop_some_exemplars(until))

    def _drop_some_exemplars(self, until: int) -> bool:
        with closing(open_reader(self._store.path)) as connection:
            found = connection.execute(
                "SELECT rowid FROM exemplar WHERE timestamp <= ? LIMIT ?", (until, MOVED_EXEMPLARS_MAX)
            ).fetchall()
        if found:
            self._store.writer.call(
                lambda connection: connection.executemany("DELETE FROM exemplar WHERE rowid = ?", found)
            )
        return bool(found)

    # --- size ---------------------------------------------------------------------------------------------------------

    def _bound_size(self, now: int) -> None:
        """Past the bound go, in this order: exemplars, samples (oldest first; they become rollups), hours, days."""
        self._size_at = now
        bound = self._settings.bytes_max
        while bound and not self._sealer.stopping:
            surplus = self._store.writer.call(_used_bytes, transaction=False) - bound
            if surplus <= 0:
                self.over_bytes = 0
                break
            if not self._make_room(now):
                if not self.over_bytes:
                    _log.error("storage is %d bytes over MIRUBATO_MAX_STORAGE_BYTES, and nothing may go", surplus)
                self.over_bytes = surplus
                break
        if bound:
            self._sealer.give_back()

    def _make_room(self, now: int) -> bool:
        """Let the next portion go; False if there is nothing left that may."""
        if self._drop_some_exemplars(now + DAY_MS):
            return True
        due = targets(now, self._settings, self._store.kept.borders)
        unit = due.step or HOUR_MS
        newest = (now - RAW_MS_MIN) // unit * unit
        oldest = self._oldest("block")
        if oldest is not None and oldest <= newest:
            self._seal(raw := _first_part(oldest, newest, unit))
            self._move(targets(now, self._settings, self._store.kept.borders, raw))
            self._repeat(self._mover.compact)
            return True
        return self._drop_oldest_rollups()

    def _drop_oldest_rollups(self) -> bool:
        oldest = self._oldest("rollup")
        if oldest is None:
            return False
        borders = self._store.kept.borders
        until = _first_part(oldest, borders.raw, DAY_MS if oldest <= borders.hourly else HOUR_MS)
        self._repeat(lambda: self._mover.drop(DAY_MS, until))
        self._repeat(lambda: self._mover.drop(HOUR_MS, until))
        return True

    def _oldest(self, table: str) -> int | None:
        with closing(open_reader(self._store.path)) as connection:
            (oldest,) = connection.execute(f"SELECT min(time_low) FROM {table} WHERE format > 0").fetchone()  # noqa: S608
        return None if oldest is None else int(oldest)


def _first_part(oldest: int, newest: int, unit: int) -> int:
    """The end of the first sixteenth of a stretch, in whole units, one at least."""
    first = -(-oldest // unit) * unit
    return min(first + (newest - first) // _SHARE // unit * unit, newest)


def _used_bytes(connection: sqlite3.Connection) -> int:
    """What the file holds, without pages that are free."""
    page, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    return int(page * (pages - free))
