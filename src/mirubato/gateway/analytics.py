"""Joins the local Analytics Engine to the web port."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Executor

from starlette.routing import Route

from mirubato.analytics_engine.event_points import EventPoint
from mirubato.clock import now_ms
from mirubato.config import Config
from mirubato.errors import MirubatoError
from mirubato.local_analytics.clickhouse import ClickHouse, Shipper
from mirubato.local_analytics.engine import LocalAnalytics
from mirubato.local_analytics.store import EventPointStore
from mirubato.web.analytics_sql import AnalyticsSql

_log = logging.getLogger(__name__)

_CLOSE_S = 2.0
_SHIP_EVERY_S = 1.0
_PAUSE_S_MAX = 60.0


class Analytics:
    """A part: event points as they came, and SQL over them."""

    def __init__(self, config: Config, pool: Executor) -> None:
        self.store = EventPointStore(config.data_dir, config.max_event_points)
        self._clickhouse = _clickhouse(config)
        self._engine = LocalAnalytics(self.store, self._clickhouse)
        self._pool = pool
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._ship, name="event-points-shipper", daemon=True)
        self.problem = ""
        """Why nothing is shipped to ClickHouse; empty if it is, or need not be."""

    def routes(self) -> list[Route]:
        """The SQL API."""
        return AnalyticsSql(self._engine.answer, self._pool).routes()

    async def keep(self, dataset: str, points: Sequence[EventPoint]) -> None:
        """Write points; answers once they are on disk."""
        await asyncio.to_thread(self.store.write, dataset, points, now_ms())

    async def start(self) -> None:
        """Ship to ClickHouse where there is one; the engine starts with the first statement."""
        if self._clickhouse is not None:
            self._thread.start()

    async def stop(self) -> None:
        """End the engine, close the file."""
        self._leave.set()
        if self._clickhouse is not None:
            await asyncio.to_thread(self._thread.join, _CLOSE_S)
            self._clickhouse.close()
        await asyncio.to_thread(self._engine.close)
        await asyncio.to_thread(self.store.close, _CLOSE_S)

    def _ship(self) -> None:
        """What cannot be shipped now waits in the file, up to `max_event_points` rows."""
        assert self._clickhouse is not None
        shipper = Shipper(self.store, self._clickhouse)
        pause_s = _SHIP_EVERY_S
        while not self._leave.wait(pause_s):
            try:
                while shipper.step() and not self._leave.is_set():
                    pass
                pause_s, self.problem = _SHIP_EVERY_S, ""
            except MirubatoError as error:
                if not self.problem:
                    _log.warning("event points wait for ClickHouse: %s", error)
                self.problem = str(error)
                pause_s = min(pause_s * 2, _PAUSE_S_MAX)


def _clickhouse(config: Config) -> ClickHouse | None:
    if not config.clickhouse_url:
        return None
    return ClickHouse(
        config.clickhouse_url, config.clickhouse_database, config.clickhouse_user, config.clickhouse_password
    )
