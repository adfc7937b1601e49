"""The rules of one gateway: where they come from, and the reading doors over them."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor

from starlette.routing import Route

from mirubato.alerts.book import RuleBook
from mirubato.alerts.seams import AlertsEngine
from mirubato.clock import monotonic_s, now_ms
from mirubato.config import Config
from mirubato.database.state import StateStore
from mirubato.model.seams import Selector
from mirubato.promql.query import QueryBudget
from mirubato.web.alerts_api import AlertsApi
from mirubato.web.prometheus_rules import Rules

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0
"""How soon a rule file that changed is read again."""


class Ruling:
    """The rule book, and a look at its files every few seconds (`gateway.composer.Part`)."""

    def __init__(self, config: Config, state: StateStore) -> None:
        self._config = config
        self.book = RuleBook(state, config.rule_files)
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what a mirror has brought back, and look at the files from now on."""
        await asyncio.to_thread(self.book.load)
        self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Look no more."""
        if self._looking:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def routes(self, engine: AlertsEngine, selector: Selector, pool: Executor) -> list[Route]:
        """/api/alerts and /api/silences."""
        interval = self._config.evaluation_interval
        return AlertsApi(self.book, engine, selector, pool, self.budget(), now_ms, interval).routes()

    def prometheus(self, engine: AlertsEngine | None) -> Rules:
        """`rules` and `alerts` of the Prometheus API."""
        return Rules(self.book.groups, engine, self._config.evaluation_interval)

    def budget(self) -> Callable[[], QueryBudget]:
        """The bounds of one query of a rule, as the settings have them."""
        config = self._config
        return lambda: QueryBudget(
            monotonic_s() + config.query_timeout / 1000, config.max_query_series, config.max_query_samples
        )

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await asyncio.to_thread(self.book.refresh)
            except Exception:  # noqa: BLE001  (the next look tries again)
                _log.exception("reading the rule files failed")
