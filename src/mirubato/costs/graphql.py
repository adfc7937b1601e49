"""Cloudflare's GraphQL analytics: usage of an account, read in pages, slowly enough for its rate limit.

Source: developers.cloudflare.com/analytics/graphql-api (limits, errors, settings node). The token needs the permission
`Account Analytics: Read` and no other.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from mirubato.costs.datasets import Dataset
from mirubato.costs.periods import DAY_MS, HOUR_MS
from mirubato.costs.usage import Usage
from mirubato.errors import MirubatoError

# 300 queries in 5 minutes for a user: two thirds of it leave room for whoever else uses the account.
_QUERIES_MAX = 200
_WINDOW_S = 300.0
_TIMEOUT_S = 30.0
_TRIES = 4
_FIRST_PAUSE_S = 2.0
_PAUSE_S_MAX = 60.0
# Until the settings node says otherwise.
_PAGE_ROWS = 10_000
_ANSWER_BYTES_MAX = 64 << 20


class UsageUnknown(MirubatoError):
    """Cloudflare did not tell; the message says why, without the token."""


class TokenRefused(UsageUnknown):
    """The token is not valid (any more), or may not read account analytics."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where to ask, about which account, with which token."""

    url: str
    id: str
    token: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one dataset allows: ms back from now, ms in one query, rows in one answer; and whether it is there."""

    enabled: bool = True
    back: int = 31 * DAY_MS
    width: int = 31 * DAY_MS
    rows: int = _PAGE_ROWS


class Pace:
    """At most so many calls in a sliding window; whoever would be more waits."""

    def __init__(
        self,
        monotonic_s: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        most: int = _QUERIES_MAX,
        window_s: float = _WINDOW_S,
    ) -> None:
        self._now, self._most, self._window_s = monotonic_s, most, window_s
        self.sleep = sleep
        self._calls: deque[float] = deque()

    async def turn(self) -> None:
        """Wait for a place in the window and take it."""
        while True:
            now = self._now()
            while self._calls and self._calls[0] <= now - self._window_s:
                self._calls.popleft()
            if len(self._calls) < self._most:
                self._calls.append(now)
                return
            await self.sleep(self._calls[0] + self._window_s - now)


class Analytics:
    """The usage of one account."""

    def __init__(self, account: Account, client: httpx.AsyncClient, pace: Pace) -> None:
        self._account, self._client, self._pace = account, client, pace
        self._bounds: dict[str, Bounds] = {}

    async def bounds(self, datasets: Sequence[Dataset]) -> Mapping[str, Bounds]:
        """What each dataset allows, asked once; UsageUnknown if that cannot be had."""
        if not self._bounds:
            nodes = " ".join(f"{one.node} {{ enabled maxDuration maxPageSize notOlderThan }}" for one in datasets)
            settings = (await self._asked(f"settings {{ {nodes} }}")).get("settings") or {}
            self._bounds = {one.node: _bounds(settings.get(one.node) or {}) for one in datasets}
        return self._bounds

    async def usage(self, dataset: Dataset, start: int, end: int, bounds: Bounds) -> list[Usage]:
        """Usage of the hours from `start` to before `end` (ms); UsageUnknown if any part of it cannot be had."""
        found: list[Usage] = []
        pending = list(reversed(list(_windows(start, end, bounds.width))))
        while pending:
            begin, until = pending.pop()
            rows = await self._page(dataset, begin, until, bounds.rows)
            if len(rows) < bounds.rows:
                found += [usage for row in rows for usage in _read(dataset, row)]
                continue
            # A full page is cut off somewhere: each half by itself.
            step = DAY_MS if dataset.by_day else HOUR_MS
            middle = begin + (until - begin) // step // 2 * step
            if middle == begin:
                raise UsageUnknown(
                    f"{dataset.node} has more than {bounds.rows} rows for one {'day' if dataset.by_day else 'hour'}"
                )
            pending += [(middle, until), (begin, middle)]
        return found

    async def _page(self, dataset: Dataset, start: int, end: int, rows: int) -> Sequence[Mapping[str, Any]]:
        name, written = ("date", _day) if dataset.by_day else ("datetime", _time)
        stretch = f'{{{name}_geq: "{written(start)}", {name}_lt: "{written(end)}"}}'
        arguments = f"limit: {rows}, filter: {stretch}, orderBy: [{dataset.time_dimension}_ASC]"
        found = (await self._asked(f"{dataset.node}({arguments}) {{ {dataset.selection()} }}")).get(dataset.node)
        if not isinstance(found, list):
            raise UsageUnknown(f"the answer has no {dataset.node}")
        return found

    async def _asked(self, selection: str) -> Mapping[str, Any]:
        """What the answer says of the account; tried again where that may help.

        Without variables: their types (`string`, `Time`, `Date`) are not the same in all of Cloudflare's examples.
        """
        account = json.dumps(self._account.id)
        document = {"query": f"{{ viewer {{ accounts(filter: {{accountTag: {account}}}) {{ {selection} }} }} }}"}
        pause = _FIRST_PAUSE_S
        for attempt in range(1, _TRIES + 1):
            await self._pace.turn()
            try:
                return await self._once(document)
            except _AgainLater as later:
                if attempt == _TRIES:
                    raise UsageUnknown(str(later)) from later
                await self._pace.sleep(min(max(pause, later.after_s), _PAUSE_S_MAX))
                pause *= 2
        raise AssertionError("unreachable")

    async def _once(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        headers = {"authorization": f"Bearer {self._account.token}"}
        try:
            reply = await self._client.post(
                f"{self._account.url}/graphql", json=document, headers=headers, timeout=_TIMEOUT_S
            )
        except httpx.HTTPError as error:
            raise _AgainLater(f"Cloudflare's API does not answer: {type(error).__name__}") from error
        if reply.status_code in (401, 403):
            raise TokenRefused(
                f"Cloudflare refuses the token (HTTP {reply.status_code}): it needs Account Analytics: Read"
            )
        if reply.status_code == 429 or reply.status_code >= 500:
            raise _AgainLater(f"Cloudflare's API answers HTTP {reply.status_code}", _retry_after(reply))
        return _account_of(reply)


class _AgainLater(MirubatoError):
    """The same query may succeed later; not before `after_s` seconds."""

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


def _retry_after(reply: httpx.Response) -> float:
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isdigit() else 0.0


def _account_of(reply: httpx.Response) -> Mapping[str, Any]:
    """The one account in an answer. GraphQL tells its errors with status 200."""
    try:
        answer = reply.json()
        errors = answer.get("errors") or []
        if errors:
            raise _error(errors)
        (account,) = answer["data"]["viewer"]["accounts"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageUnknown(
            f"Cloudflare's answer (HTTP {reply.status_code}) cannot be read: {type(error).__name__}"
        ) from error
    if not isinstance(account, dict):
        raise UsageUnknown("Cloudflare's answer has no account")
    return account


def _error(errors: Sequence[Any]) -> MirubatoError:
    message = "; ".join(str(one.get("message", one)) for one in errors)[:300]
    words = message.lower()
    codes = {str((one.get("extensions") or {}).get("code", "")) for one in errors}
    if "authz" in codes or "authn" in codes or "not authorized" in words or "authentication error" in words:
        return TokenRefused(f"Cloudflare refuses the token: {message}")
    if "budget" in codes or "rate limit" in words or "limit reached" in words or "quota" in words:
        return _AgainLater(f"Cloudflare's rate limit: {message}")
    return UsageUnknown(f"Cloudflare answers: {message}")


def _bounds(settings: Mapping[str, Any]) -> Bounds:
    usual = Bounds()
    return Bounds(
        settings.get("enabled") is not False,
        _positive(settings.get("notOlderThan"), usual.back // 1000) * 1000,
        max(DAY_MS, _positive(settings.get("maxDuration"), usual.width // 1000) * 1000 // DAY_MS * DAY_MS),
        min(_PAGE_ROWS, _positive(settings.get("maxPageSize"), _PAGE_ROWS)),
    )


def _positive(value: Any, usual: int) -> int:
    return value if isinstance(value, int) and value > 0 else usual


def _windows(start: int, end: int, width: int) -> Iterator[tuple[int, int]]:
    while start < end:
        yield start, min(end, start + width)
        start += width


def _read(dataset: Dataset, row: Mapping[str, Any]) -> Iterator[Usage]:
    """The usage of one row; UsageUnknown if it is not as documented."""
    try:
        text = row["dimensions"][dataset.time_dimension]
        moment = datetime.fromisoformat(text)
        yield from dataset.read(int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000), row)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageUnknown(f"a row of {dataset.node} cannot be read: {type(error).__name__}") from error


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(time_ms: int) -> str:
    return _time(time_ms)[:10]


async def sleep(seconds: float) -> None:
    """As `asyncio.sleep`; what `Pace` is given outside tests."""
    await asyncio.sleep(seconds)
