"""Who stands before the doors: each request is let in or refused here, before anything of its body is read."""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import grpc.aio
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from mirubato.access import ledger
from mirubato.access.gate import Gate
from mirubato.access.keeper import Keeper, Policy
from mirubato.access.ledger import Change
from mirubato.access.redaction import Redactor
from mirubato.access.tokens import ADMIN, Token, digest_of
from mirubato.checkups.finding import Finding
from mirubato.checkups.rounds import check_elsewhere, check_here
from mirubato.clock import now_ms
from mirubato.config import Config, secrets_of
from mirubato.database.state import FILE, StateStore
from mirubato.errors import ConfigError, MirubatoError, code_of
from mirubato.gateway.ground import is_loopback
from mirubato.gateway.guards import GrpcGuard, HttpGuard
from mirubato.otlp.signals import Signal
from mirubato.receiver.grpc_door import SERVICES
from mirubato.receiver.http_door import PATHS
from mirubato.web.access_api import AccessApi
from mirubato.web.doctor_api import DoctorApi
from mirubato.web.http_server import AsgiApp
from mirubato.web.own_metrics import OwnMetrics

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
# Usage is written down each fifth time: an fsync, and a row to mirror, for who was last used when.
_LOOKS_PER_KEEPING = 5
_SIGNALS = PATHS | {f"/{service}/Export": signal for signal, service in SERVICES.items()}


def check_host(config: Config) -> None:
    """ConfigError if others could reach a gateway that knows nobody: the first token comes before the first start."""
    if config.allow_anonymous or is_loopback(config.host) or fixed_tokens(config):
        return
    if _has_token(config) if (config.data_dir / FILE).is_file() else config.d1_database_id:
        return  # an empty disk is filled from D1, tokens too; if there are none, nobody is let in
    raise ConfigError(
        f"host {config.host} can be reached from other machines, and there is no token: make one first with"
        f" `mirubato token create --scope admin --data-dir {config.data_dir}` (or set MIRUBATO_ADMIN_TOKEN),"
        " or start with --allow-anonymous if everyone there may read and write"
    )


def _has_token(config: Config) -> bool:
    state = StateStore(config.data_dir)
    try:
        now = now_ms()
        return any(token.live(now) for token in state.read(ledger.tokens))
    finally:
        state.close(1)


def fixed_tokens(config: Config) -> list[Token]:
    """Those that the settings give: they hold as long as they are set."""
    given = {"ingest": config.ingest_token, "read": config.read_token, ADMIN: config.admin_token}
    return [
        Token(f"setting-{scope}-{digest_of(text)[:8]}", f"{scope}_token", frozenset({scope}), digest_of(text), 0)
        for scope, text in given.items()
        if text
    ]


class Guarding:
    """The gate, what stands at each door, and the record of changes. A Part of the gateway."""

    def __init__(self, config: Config, state: StateStore) -> None:
        policy = Policy(is_loopback(config.host), config.allow_anonymous)
        self.keeper = Keeper(state, fixed_tokens(config), policy, now_ms())
        self._gate = Gate(self.keeper, config.allowed_hosts, config.cors_origins)
        self._config, self._state, self._origins = config, state, config.cors_origins
        self._refused: Counter[tuple[str, str]] = Counter()
        self._tell: Callable[[str, Signal, int, MirubatoError], None] | None = None
        self._task: asyncio.Task[None] | None = None

    def http(self, app: AsgiApp) -> AsgiApp:
        """An HTTP application behind the gate."""
        guarded = HttpGuard(app, self._gate, self.record, self._count)
        if not self._origins:
            return guarded
        return CORSMiddleware(
            guarded,
            allow_origins=list(self._origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            allow_credentials="*" not in self._origins,
            expose_headers=["x-request-id", "retry-after"],
        )

    def grpc(self) -> Sequence["grpc.aio.ServerInterceptor[bytes, bytes]"]:
        """What stands before the calls of gRPC."""
        return [GrpcGuard(self._gate, self._count)]

    def routes(self) -> list[Route]:
        """Logging in, tokens, and what was changed."""
        access = AccessApi(self._state, self.keeper, self.refresh, now_ms)
        return [*access.routes(), *DoctorApi(self._looked).routes()]

    def _looked(self) -> list[Finding]:
        """What the doctor says of this gateway, without its secrets."""
        now, redactor = now_ms(), Redactor(secrets_of(self._config))
        found = [*check_here(self._config, now), *check_elsewhere(self._config, now)]
        return [replace(one, message=redactor.clean(one.message)) for one in found]

    def measure(self, metrics: OwnMetrics) -> None:
        """Refusals on /metrics."""
        metrics.counter(
            "mirubato.refused.requests",
            "",
            "Requests that were not let in, by door and reason",
            lambda: [
                (count, {"door": door, "reason": reason}) for (door, reason), count in list(self._refused.items())
            ],
        )

    async def record(self, change: Change) -> None:
        """Write a change down before it is answered. A disk that says no must not undo what was done."""
        _log.info("%s: %s %s -> %d", change.actor, change.action, change.target, change.status)
        try:
            await asyncio.to_thread(self._state.write, lambda file: ledger.record(file, change))
        except MirubatoError as error:
            _log.error("a change was not recorded: %s", error)

    async def start(self) -> None:
        """Begin to follow what others write to state.db."""
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Write down what was counted."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self.keeper.keep_usage)

    async def _follow(self) -> None:
        for look in itertools.count(1):
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self.refresh()
                if look % _LOOKS_PER_KEEPING == 0:
                    await asyncio.to_thread(self.keeper.keep_usage)
            except Exception:  # noqa: BLE001  (the next second tries again, with what was known before)
                _log.exception("looking for changed tokens failed")

    async def refresh(self) -> None:
        """Look now."""
        await asyncio.to_thread(self.keeper.refresh, now_ms())

    def tell(self, refused: Callable[[str, Signal, int, MirubatoError], None]) -> None:
        """Who shall know of telemetry that was not let in: the page says why nothing comes."""
        self._tell = refused

    def _count(self, door: str, path: str, error: MirubatoError) -> None:
        self._refused[door, code_of(error)] += 1
        signal = _SIGNALS.get(path)
        if signal is not None and self._tell is not None:
            self._tell(door, signal, 0, error)
