"""Deploy markers: a version of a service that was not running before. In state.db, for as long as that is.

While old and new instances run side by side, both versions are seen again and again, and that is one deploy. A version
that comes back after a while is a deploy too: a rollback. The first version ever seen of a service is none.
"""

import asyncio
import hashlib
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mirubato.database.state import StateStore
from mirubato.errors import StorageFailed
from mirubato.limits import DEPLOYS_MAX, DEPLOYS_PER_HOUR_MAX, SERVICE_VERSIONS_MAX, VERSION_CHARS_MAX

_log = logging.getLogger(__name__)

# A version that was not seen for so long does not run any more. Instances send every minute at least.
_GONE_MS = 5 * 60_000
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Deploy:
    """One marker."""

    id: str
    service: str
    version: str
    previous: str
    """The version seen last before it; empty if none is known."""
    time_ms: int
    source: str
    """`spans`, `metrics` or `api`."""

    def entry(self) -> dict[str, Any]:
        """As JSON, in the words of POST /api/deploys."""
        return {
            "id": self.id,
            "service_name": self.service,
            "version": self.version,
            "previous_version": self.previous,
            "time_ms": self.time_ms,
            "source": self.source,
        }


class Deploys:
    """Sees versions and answers what was deployed. `see` belongs to one event loop, all else to any thread."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()
        """(service, version) -> ms; the one seen last is the last."""
        self._newest: dict[str, str] = {}
        """Service -> the version that came last."""
        self._recent: dict[str, list[int]] = {}
        """Times of the markers of the last hour, by service: a version that is another in each span must not fill
        state.db."""

    def load(self) -> None:
        """Know the versions that state.db knows; before the first one is seen."""
        self._state.read(self._load)

    async def see(self, versions: Iterable[tuple[str, str]], now_ms: int, source: str) -> None:
        """(service, version) pairs that something says it is just now; what is new is on disk when this answers."""
        new = [deploy for pair in versions if (deploy := self._judge(pair, now_ms, source)) is not None]
        if not new:
            return
        try:
            await asyncio.to_thread(self._state.write, lambda connection: _insert(connection, new))
        except StorageFailed as error:  # what is seen goes on; the next span of that version tries again
            _log.warning("deploy markers could not be stored: %s", error)
            for deploy in new:
                self._seen.pop((deploy.service, deploy.version), None)
                self._newest[deploy.service] = deploy.previous

    async def add(self, service: str, version: str, time_ms: int) -> Deploy:
        """A deploy that somebody tells of; told twice, it is one. On disk when this answers."""
        previous = self._newest.get(service, "")
        deploy = _deploy(service, version, previous if previous != version else "", time_ms, "api")
        await asyncio.to_thread(self._state.write, lambda connection: _insert(connection, [deploy]))
        self._note(deploy.service, deploy.version, time_ms)
        return deploy

    def between(self, start_ms: int, end_ms: int, service: str = "", limit: int = 1000) -> Sequence[Deploy]:
        """The markers of a range, both ends included, oldest first; of more than `limit` the newest."""
        rows = self._state.read(
            lambda connection: connection.execute(
                "SELECT id, service, version, previous, time_ms, source FROM deploy"
                " WHERE time_ms BETWEEN ? AND ? AND (service = ? OR ? = '') ORDER BY time_ms DESC, id LIMIT ?",
                (start_ms, end_ms, service, service, limit),
            ).fetchall()
        )
        return [Deploy(*row) for row in reversed(rows)]

    async def save(self) -> None:
        """Keep on disk when each version was last seen, and let the oldest of too many go; for once a minute."""
        rows = [(service, version, seen) for (service, version), seen in self._seen.items()]
        await asyncio.to_thread(self._state.write, lambda connection: _tidy(connection, rows))

    def _load(self, connection: sqlite3.Connection) -> None:
        for service, version, seen in connection.execute(
            "SELECT service, version, seen_ms FROM service_version ORDER BY seen_ms"
        ):
            self._note(service, version, seen)

    def _judge(self, pair: tuple[str, str], now_ms: int, source: str) -> Deploy | None:
        service, version = pair[0][:VERSION_CHARS_MAX], pair[1][:VERSION_CHARS_MAX]
        seen = self._seen.get((service, version))
        previous = self._newest.get(service)
        if seen is not None and (now_ms - seen < _GONE_MS or previous == version):
            self._seen[service, version] = max(seen, now_ms)
            self._seen.move_to_end((service, version))
            return None
        self._note(service, version, now_ms)
        if previous is None or not self._has_room(service, now_ms):
            return None
        return _deploy(service, version, previous, now_ms, source)

    def _note(self, service: str, version: str, seen_ms: int) -> None:
        self._seen[service, version] = seen_ms
        self._seen.move_to_end((service, version))
        self._newest[service] = version
        while len(self._seen) > SERVICE_VERSIONS_MAX:
            (gone, old), _ = self._seen.popitem(last=False)
            if self._newest.get(gone) == old:
                del self._newest[gone]

    def _has_room(self, service: str, now_ms: int) -> bool:
        recent = [time for time in self._recent.pop(service, ()) if time > now_ms - _HOUR_MS]
        room = len(recent) < DEPLOYS_PER_HOUR_MAX
        self._recent[service] = [*recent, now_ms] if room else recent
        if len(self._recent) > SERVICE_VERSIONS_MAX:
            self._recent.clear()
        return room


def _deploy(service: str, version: str, previous: str, time_ms: int, source: str) -> Deploy:
    """The id is made of what it says: a deploy that is told twice is one."""
    id_ = hashlib.sha256(f"{service}\0{version}\0{time_ms}".encode()).hexdigest()[:16]
    return Deploy(id_, service, version, previous, time_ms, source)


def _insert(connection: sqlite3.Connection, deploys: Sequence[Deploy]) -> None:
    connection.executemany(
        "INSERT INTO deploy (id, service, version, previous, time_ms, source) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO NOTHING",
        [(one.id, one.service, one.version, one.previous, one.time_ms, one.source) for one in deploys],
    )
    _save(connection, [(one.service, one.version, one.time_ms) for one in deploys])


def _tidy(connection: sqlite3.Connection, rows: Sequence[tuple[str, str, int]]) -> None:
    _save(connection, rows)
    connection.execute(
        "DELETE FROM service_version WHERE seen_ms <"
        " (SELECT seen_ms FROM service_version ORDER BY seen_ms DESC LIMIT 1 OFFSET ?)",
        (SERVICE_VERSIONS_MAX,),
    )
    connection.execute(
        "DELETE FROM deploy WHERE time_ms < (SELECT time_ms FROM deploy ORDER BY time_ms DESC LIMIT 1 OFFSET ?)",
        (DEPLOYS_MAX,),
    )


def _save(connection: sqlite3.Connection, rows: Sequence[tuple[str, str, int]]) -> None:
    connection.executemany(
        "INSERT INTO service_version (service, version, seen_ms) VALUES (?, ?, ?)"
        " ON CONFLICT (service, version) DO UPDATE SET seen_ms = max(seen_ms, excluded.seen_ms)",
        rows,
    )
