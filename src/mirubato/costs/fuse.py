"""The fuse: the user's webhook, called once a budget's last stage is reached. A dry run unless told otherwise.

The call is written down as owed before it is made and as done after it was answered, so that a crash may repeat it and
never loses it; it carries the same id each time.
"""

import json
import logging
from collections.abc import Sequence

import httpx

from mirubato.costs.answer import budget_json
from mirubato.costs.budgets import STAGES, Standing
from mirubato.costs.ledger import Crossing, Ledger
from mirubato.costs.periods import HOUR_MS

_log = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_GIVE_UP_MS = 24 * HOUR_MS

OWED, DRY_RUN, DONE, RULES, GAVE_UP = "owed", "dry run", "called", "left to alert rules", "gave up"


class Fuse:
    """Acts on crossed stages: once for each budget, stage and period."""

    def __init__(self, ledger: Ledger, client: httpx.AsyncClient, url: str, *, dry_run: bool) -> None:
        self._ledger, self._client, self._url, self._dry_run = ledger, client, url, dry_run

    def crossed(self, budgets: Sequence[Standing], period: str, now: int) -> list[Crossing]:
        """Write down what was crossed for the first time; answers what is owed. Blocks."""
        known = {(one.period, one.product, one.stage): one for one in self._ledger.crossings()}
        owed = []
        for budget in budgets:
            for stage in STAGES[: budget.stage]:
                crossing = known.get((period, budget.product, stage))
                if crossing is None:
                    crossing = self._new(budget, stage, period, now)
                    self._ledger.journal(crossing)
                    _log.warning("budget %s: %s reached (%s)", budget.product or "all", stage, crossing.outcome)
                if crossing.outcome.startswith(OWED):
                    owed.append(crossing)
        return owed

    def _new(self, budget: Standing, stage: str, period: str, now: int) -> Crossing:
        outcome = RULES
        if stage == STAGES[-1]:
            outcome = OWED if self._url and not self._dry_run else DRY_RUN if self._url else "no webhook is set"
        content = {
            "id": f"{period}/{budget.product or 'all'}/{stage}",
            "stage": stage,
            "period": period,
            "dry_run": self._dry_run,
            **budget_json(budget),
        }
        return Crossing(period, budget.product, stage, now, outcome, json.dumps(content))

    async def call(self, crossing: Crossing, now: int) -> Crossing:
        """Call the webhook; what came of it. Only an answer below 300 is a yes."""
        try:
            reply = await self._client.post(
                self._url,
                content=crossing.content,
                headers={"content-type": "application/json", "idempotency-key": json.loads(crossing.content)["id"]},
                timeout=_TIMEOUT_S,
            )
            outcome = f"{DONE}: HTTP {reply.status_code}" if reply.is_success else f"{OWED}: HTTP {reply.status_code}"
        except httpx.HTTPError as error:
            outcome = f"{OWED}: {type(error).__name__}"
        if outcome.startswith(OWED) and now - crossing.at > _GIVE_UP_MS:
            outcome = f"{GAVE_UP} after a day ({outcome})"
        return Crossing(crossing.period, crossing.product, crossing.stage, crossing.at, outcome, crossing.content)
