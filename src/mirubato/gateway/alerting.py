"""Joins the alerts to the rooms around them: rules, samples, state.db, receivers; ticks, and sends what is owed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx

from mirubato.admission.columns import Decoded
from mirubato.alerts.delivery import Deliverer
from mirubato.alerts.desk import Desk
from mirubato.alerts.details import Details
from mirubato.alerts.engine import Engine, Joined
from mirubato.alerts.evaluation import Bounds, Evaluating
from mirubato.alerts.expansion import expand
from mirubato.alerts.messages import Speaker
from mirubato.alerts.outbox import receivers_owed
from mirubato.alerts.quiet import parse_quiet_hours
from mirubato.alerts.remembered import Alert
from mirubato.alerts.rules import Rule, samples
from mirubato.alerts.seams import RuleSource
from mirubato.alerts.telling import Habits
from mirubato.alerts.writing import Written, columns_of, size_of
from mirubato.clock import now_ms
from mirubato.config import Config
from mirubato.database.state import StateStore
from mirubato.errors import ConfigError
from mirubato.gateway.knowing import Known
from mirubato.gateway.tracing import Tracing
from mirubato.limits import DELIVERY_S_MAX
from mirubato.model.labels import Labels
from mirubato.model.seams import Selector, SeriesRegistry
from mirubato.notify.channels import Channels, shown
from mirubato.notify.http import Poster
from mirubato.notify.message import Message
from mirubato.notify.receiver import Answer
from mirubato.promql.query import instant
from mirubato.web.own_metrics import OwnMetrics

_log = logging.getLogger(__name__)

_WRITE_S_MAX = 10.0
_LAST_TICK_S = 1.0

Commit = Callable[[Callable[[], Decoded], int], Awaitable[Any]]
"""Commits what a function answers on the writer thread, for a request of so many bytes."""


class Around(NamedTuple):
    """The rooms that alerts are joined to."""

    state: StateStore
    rules: RuleSource
    selector: Selector
    registry: SeriesRegistry
    commit: Commit


def habits_of(config: Config) -> Habits:
    """How people are told; ConfigError for quiet hours that cannot be read."""
    try:
        windows = parse_quiet_hours(config.quiet_hours)
    except ValueError as error:
        raise ConfigError(f"quiet_hours (MIRUBATO_QUIET_HOURS): {error}") from error
    return Habits(
        config.alert_group_wait,
        config.alert_repeat_interval,
        config.alert_group_by,
        config.alert_inhibit_by_severity,
        windows,
    )


class Alerting:
    """A part of the gateway (`gateway.composer.Part`); `desk` is what the web asks."""

    def __init__(self, config: Config, around: Around, tracing: Tracing) -> None:
        """ConfigError for settings of channels or quiet hours that cannot be used."""
        self._config, self._around = config, around
        self._client = httpx.AsyncClient(timeout=DELIVERY_S_MAX)
        self._channels = Channels(config, Poster(self._client))
        self._bounds = Bounds(config.query_timeout / 1000, config.max_query_series, config.max_query_samples)
        self._deliverer = Deliverer(around.state, self._channels.find, now_ms)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        # One thread: rules are evaluated one after another, and a query of a user never waits for all of them.
        self._pool = ThreadPoolExecutor(1, "alerts")
        known = Known(tracing)
        joined = Joined(
            state=around.state,
            rules=around.rules,
            evaluating=Evaluating(around.selector, self._bounds),
            details=Details(around.selector, self._bounds, known.last_deploy, known.failed_traces),
            speaker=Speaker(config.external_url, config.alert_repeat_interval, self._annotations),
            labels_of=lambda rule, series, value: dict(self._expanded(rule, series, value).labels),
            write=self._write,
            owed=self._wake,
            channels=config.default_channels or tuple(self._channels.named),
        )
        self.engine = Engine(joined, habits_of(config), config.evaluation_interval)
        self.desk = Desk(self.engine, self._send_test, now_ms)

    def _write(self, some: Sequence[Written]) -> None:
        """Put samples of rules on disk and wait for it; from the thread of the tick."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._committed(some), self._loop).result(_WRITE_S_MAX)

    async def _committed(self, some: Sequence[Written]) -> None:
        await self._around.commit(lambda: columns_of(some, self._around.registry), size_of(some))

    async def start(self) -> None:
        """Take up what the last process knew and owed, and begin to tick."""
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(self._pool, self.engine.load, now_ms())
        await self._deliverer.start()
        self._task = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Let a tick come to its end, if it takes no longer than a second: the next process does the rest again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await asyncio.wait([asyncio.get_running_loop().run_in_executor(self._pool, int)], timeout=_LAST_TICK_S)
        await self._deliverer.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        await self._client.aclose()

    async def _tick(self) -> None:
        assert self._loop is not None
        while True:
            try:
                await self._loop.run_in_executor(self._pool, self.engine.tick, now_ms())
                wait_ms = self.engine.next_ms(now_ms()) - now_ms()
            except Exception:  # noqa: BLE001  (the next slot does the same work again)
                _log.exception("a tick of the alerts failed")
                wait_ms = self._config.evaluation_interval
            await asyncio.sleep(max(0, wait_ms) / 1000)

    def _wake(self) -> None:
        """From the thread of the tick, or of a user's act."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._deliverer.wake)

    def _expanded(self, rule: Rule, series: Labels, value: float) -> Any:
        now = now_ms()
        return expand(
            rule, series, value, lambda text: self._ask(text, now), now_ms=now, external_url=self._config.external_url
        )

    def _annotations(self, rule: Rule | None, alert: Alert) -> Mapping[str, str]:
        if rule is None or not rule.annotations:
            return {}
        try:
            annotations: Mapping[str, str] = self._expanded(rule, alert.series, alert.value).annotations
        except Exception as error:  # noqa: BLE001  (whatever a template finds, the page goes out)
            _log.exception("the annotations of %s could not be made", rule.name)
            return {"description": f"<error expanding template: {type(error).__name__}>"}
        return annotations

    def _ask(self, text: str, now: int) -> Sequence[tuple[Labels, float]]:
        """The `query` of templates."""
        return samples(instant(self._around.selector, text, now, self._bounds.budget(1.0)))

    def _send_test(self, channel: str, message: Message) -> Answer | None:
        """From a thread of the web's pool."""
        receiver = self._channels.find(channel)
        if receiver is None or self._loop is None:
            return None
        return asyncio.run_coroutine_threadsafe(receiver.send(message, ""), self._loop).result(2 * DELIVERY_S_MAX)

    def measure(self, metrics: OwnMetrics) -> None:
        """Evaluations, messages by receiver and outcome, what is owed."""
        evaluating, ended = self.engine.joined.evaluating, self._deliverer.ended
        metrics.counter("mirubato.rule.evaluations", "", "Rules evaluated", lambda: [(evaluating.evaluations, {})])
        metrics.counter("mirubato.rule.failures", "", "Evaluations that failed", lambda: [(evaluating.failures, {})])
        metrics.counter(
            "mirubato.rule.missed.slots", "", "Times at which nothing was evaluated", lambda: [(self.engine.missed, {})]
        )
        metrics.gauge(
            "mirubato.alerts.firing", "", "Alerts that fire",
            lambda: [(sum(alert.fires for alert in self.engine.memory.all()), {})],
        )  # fmt: skip
        metrics.counter(
            "mirubato.notifications", "", "Messages by receiver and how their delivery ended",
            lambda: [(count, {"receiver": shown(who), "result": how}) for (who, how), count in list(ended.items())],
        )  # fmt: skip
        metrics.counter(
            "mirubato.notification.retries", "", "Attempts that did not come through",
            lambda: [(count, {"receiver": shown(who)}) for who, count in list(self._deliverer.retried.items())],
        )  # fmt: skip
        metrics.gauge(
            "mirubato.notifications.owed", "", "Messages that wait for their receiver",
            lambda: [(number, {"receiver": shown(who)}) for who, number in self._owed().items()],
        )  # fmt: skip

    def health(self) -> Mapping[str, Any]:
        """What fires, what waits for a receiver, and what went wrong with each receiver within a day."""
        return {
            "firing": sum(alert.fires for alert in self.engine.memory.all()),
            "failing_rules": sum(bool(one.error) for one in list(self.engine.joined.evaluating.health.values())),
            "owed_messages": {shown(who): number for who, number in self._owed().items()},
            "receivers_in_trouble": {shown(who): problem for who, problem in self.desk.troubles().items()},
        }

    def _owed(self) -> Mapping[str, int]:
        return self._around.state.read(receivers_owed)
