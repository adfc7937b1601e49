"""The mirror of state.db on D1, as a part: a thread that keeps up, and catches up when D1 was away."""

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from mirubato.clock import monotonic_s, now_ms
from mirubato.config import Config
from mirubato.database.d1 import D1, D1Refused, D1Unavailable, Place
from mirubato.database.mirror import Mirror, is_empty, restore
from mirubato.database.schema import migrate_on
from mirubato.database.state import StateStore
from mirubato.errors import MirubatoError, StorageFailed

_log = logging.getLogger(__name__)

# D1's REST API has 1,200 calls in 5 minutes for all that a user does; the mirror takes at most 3 a second.
_CALL_EVERY_S = 1 / 3
_PAUSE_S = (1.0, 60.0)
_REFUSED_PAUSE_S = 300.0
_STOP_S = 2.0


class Mirroring:
    """Rows go to D1 every `d1_mirror_interval`; an empty state.db is filled from there before anything else starts."""

    def __init__(self, state: StateStore, config: Config) -> None:
        self._state, self._config = state, config
        self.on_usage: Callable[[str, int], None] = lambda *_: None
        """Told `rows_read` or `rows_written`, and how many; from the mirror's thread."""
        self._d1 = D1(place(config, config.d1_database_id), self._paced)
        self._mirror: Mirror | None = None
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="d1-mirror", daemon=True)
        self._last_call_s = 0.0
        self.problem = ""
        """Why the mirror does not keep up; empty if it does."""

    def restored(self) -> int:
        """Fill an empty state.db; answers how many rows came. StorageFailed if D1 cannot be asked."""
        if not is_empty(self._state):
            return 0
        try:
            migrate_on(self._d1)
            rows = restore(self._state, self._d1)
        except MirubatoError as error:
            raise StorageFailed(
                f"state.db is empty and could not be restored from D1 ({error});"
                " to begin without what was mirrored, unset MIRUBATO_D1_DATABASE_ID once"
            ) from error
        if rows:
            _log.info("state.db was empty: %d rows came back from D1", rows)
        return rows

    def health(self) -> Mapping[str, Any]:
        """How far the mirror is behind."""
        if self._mirror is None:
            return {"behind_changes": None, "behind_s": None, "problem": self.problem or "not set up yet"}
        behind = self._mirror.behind()
        seconds = 0.0 if behind.since_ms is None else max(now_ms() - behind.since_ms, 0) / 1000
        return {"behind_changes": behind.changes, "behind_s": round(seconds, 1), "problem": self.problem}

    async def start(self) -> None:
        """Restore if need be, then keep up."""
        await asyncio.to_thread(self.restored)
        self._thread.start()

    async def stop(self) -> None:
        """One last step, if it is quick."""
        self._leave.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, _STOP_S)
        self._d1.close()

    def _paced(self, name: str, quantity: int) -> None:
        self.on_usage(name, quantity)
        if name == "rows_read":
            early_s = self._last_call_s + _CALL_EVERY_S - monotonic_s()
            if early_s > 0:
                self._leave.wait(early_s)
            self._last_call_s = monotonic_s()

    def _serve(self) -> None:
        failures = 0
        while not self._leave.is_set():
            try:
                pause_s = self._keep_up()
                failures, self.problem = 0, ""
            except D1Unavailable as error:
                failures, self.problem = failures + 1, str(error)
                pause_s = max(error.retry_after_s, _backoff_s(failures))
            except (D1Refused, StorageFailed) as error:
                if str(error) != self.problem:
                    _log.error("the mirror on D1 stands still: %s", error)
                self.problem, pause_s = str(error), _REFUSED_PAUSE_S
            self._leave.wait(pause_s)
        self._last_step()

    def _keep_up(self) -> float:
        """One step; answers how long to wait for the next."""
        if self._mirror is None:
            migrate_on(self._d1)
            mirror = Mirror(self._state, self._d1, self._config.d1_database_id)
            mirror.set_up()
            self._mirror = mirror
        return 0.0 if self._mirror.step() and self._mirror.behind().changes else self._config.d1_mirror_interval / 1000

    def _last_step(self) -> None:
        try:
            if self._mirror is not None and not self.problem:
                self._mirror.step()
        except MirubatoError as error:
            _log.warning("what was not mirrored yet is mirrored at the next start: %s", error)


def _backoff_s(failures: int) -> float:
    """Full jitter: gateways that failed together do not come back together."""
    first, longest = _PAUSE_S
    return random.uniform(first / 2, min(first * 2**failures, longest))  # noqa: S311


def place(config: Config, database: str) -> Place:
    """Where a database is, by the settings."""
    return Place(config.cloudflare_api_url, config.cloudflare_account_id, database, config.cloudflare_api_token)
