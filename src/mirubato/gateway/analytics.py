"""Joins the local Analytics Engine to the web port."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from starlette.routing import Route

from mirubato.analytics_engine.event_points import EventPoint
from mirubato.clock import now_ms
from mirubato.local_analytics.engine import LocalAnalytics
from mirubato.local_analytics.store import EventPointStore
from mirubato.web.analytics_sql import AnalyticsSql

_CLOSE_S = 2.0


class Analytics:
    """A part: event points as they came, and SQL over them."""

    def __init__(self, directory: Path, rows_max: int, pool: Executor) -> None:
        self.store = EventPointStore(directory, rows_max)
        self._engine = LocalAnalytics(self.store)
        self._pool = pool

    def routes(self) -> list[Route]:
        """The SQL API."""
        return AnalyticsSql(self._engine.answer, self._pool).routes()

    async def keep(self, dataset: str, points: Sequence[EventPoint]) -> None:
        """Write points; answers once they are on disk."""
        await asyncio.to_thread(self.store.write, dataset, points, now_ms())

    async def start(self) -> None:
        """The engine starts with the first statement."""

    async def stop(self) -> None:
        """End the engine, close the file."""
        await asyncio.to_thread(self._engine.close)
        await asyncio.to_thread(self.store.close, _CLOSE_S)
