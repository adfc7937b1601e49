"""Joins the probes to the samples that they become, and to the web."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.routing import Route

from mirubato.admission.columns import Decoded
from mirubato.clock import now_ms
from mirubato.config import Config
from mirubato.model.seams import Outcome, SeriesRegistry
from mirubato.probes.checking import Checker, Result
from mirubato.probes.rounds import Rounds, Standing
from mirubato.probes.samples import decoded
from mirubato.probes.targets import Target
from mirubato.web.own_metrics import OwnMetrics
from mirubato.web.probes_api import ProbesApi, entries

Commit = Callable[[Callable[[], Decoded], int], Awaitable[Outcome]]

# What four samples take, about: the commit is sized by it.
_RESULT_BYTES = 100


class Probing:
    """A part of the gateway."""

    def __init__(
        self, config: Config, targets: Sequence[Target], registry: SeriesRegistry, commit: Commit, version: str
    ) -> None:
        timeout_s = min(config.probe_timeout, config.probe_interval) / 1000
        self._registry, self._commit = registry, commit
        self._rounds = Rounds(targets, config.probe_interval, Checker(timeout_s, version).check, self._write, now_ms)

    def routes(self) -> list[Route]:
        """For the web port."""
        return ProbesApi(self._rounds.standings).routes()

    def entries(self, _start_ms: int, _end_ms: int) -> list[dict[str, Any]]:
        """The last results, for the dashboard, whatever its range."""
        return entries(self._rounds.standings)

    def measure(self, metrics: OwnMetrics) -> None:
        """Checks, and what did not happen."""
        standings = self._rounds.standings

        def counter(name: str, description: str, count: Callable[[Standing], int]) -> None:
            metrics.counter(
                name,
                "",
                description,
                lambda: [
                    (count(one), {"service_name": one.target.name, "target": one.target.instance}) for one in standings
                ],
            )

        counter("mirubato.probes.checks", "Checks of addresses", lambda one: one.checks)
        counter("mirubato.probes.missed", "Slots that passed without a check", lambda one: one.missed)
        counter("mirubato.probes.unwritten", "Results that could not be stored", lambda one: one.unwritten)

    async def start(self) -> None:
        """Begin to check."""
        await self._rounds.start()

    async def stop(self) -> None:
        """End."""
        await self._rounds.stop()

    async def _write(self, target: Target, result: Result) -> None:
        await self._commit(lambda: decoded(self._registry, target, result), _RESULT_BYTES)
