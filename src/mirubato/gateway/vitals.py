"""The gateway's own metrics as series of its own, for rules about its health."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from mirubato.alerts.seams import RuleSource
from mirubato.alerts.writing import Written, columns_of, size_of
from mirubato.clock import now_ms
from mirubato.errors import MirubatoError
from mirubato.gateway.alerting import Commit
from mirubato.model.labels import NAME, labels_of
from mirubato.model.seams import SeriesRegistry
from mirubato.web.own_metrics import OwnMetrics

_log = logging.getLogger(__name__)

_OWN = "mirubato_"


class Vitals:
    """Writes what /metrics shows, as often as rules are evaluated, as long as a rule reads some of it.

    Without such a rule it would be a hundred series that nobody asked for; a Prometheus can scrape them, too.
    """

    def __init__(
        self,
        own: OwnMetrics,
        rules: RuleSource,
        registry: SeriesRegistry,
        commit: Commit,
        interval_ms: int,
        healthy: Callable[[], bool],
    ) -> None:
        self._own, self._rules, self._registry, self._commit = own, rules, registry, commit
        self._interval_s = interval_ms / 1000
        self._writing: asyncio.Task[None] | None = None
        own.gauge("mirubato.healthy", "", "1 if what is sent can be stored", lambda: [(int(healthy()), {})])

    async def start(self) -> None:
        """Look from now on whether a rule reads them."""
        self._writing = asyncio.create_task(self._write())

    async def stop(self) -> None:
        """Write no more."""
        if self._writing:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            try:
                if self._wanted():
                    samples = await asyncio.to_thread(self._samples)
                    await self._commit(partial(columns_of, samples, self._registry), size_of(samples))
            except MirubatoError as error:  # a disk that is full says so itself; then there is no data, which alerts
                _log.warning("the gateway's own metrics could not be stored: %s", error)
            except Exception:  # noqa: BLE001  (the next time tries again)
                _log.exception("the gateway's own metrics could not be stored")
            await asyncio.sleep(self._interval_s)

    def _wanted(self) -> bool:
        return any(_OWN in rule.query for group in self._rules.groups() for rule in group.rules)

    def _samples(self) -> list[Written]:
        now = now_ms()
        return [
            Written(labels_of({**labels, NAME: name, "job": "mirubato"}.items()), now, value)
            for name, labels, value in self._own.samples()
            if name.startswith(_OWN)
        ]
