"""Which service calls which: the client's span of a call and the server's, paired by trace and parent.

One half waits for the other for CALL_WAIT_MS, among at most WAITING_CALLS_MAX. A client's half stays that long even
when it has met a server: a message may have several consumers. Time is an argument.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from mirubato.limits import CALL_WAIT_MS, WAITING_CALLS_MAX
from mirubato.model.spans import Span

_Value = TypeVar("_Value")

_SERVERS_PER_CALL_MAX = 100
"""Consumers of one message; only a broken sender has more."""

_CALLED, _CALLING = (2, 5), (3, 4)  # server and consumer; client and producer


class Call(NamedTuple):
    """One call between two services: seconds as each side saw them, None from the side that was not seen.

    The weight is the larger of both: samplers that decide by trace id keep both halves as often as the rarer one.
    """

    client: str
    server: str
    failed: bool
    weight: float
    client_s: float | None
    server_s: float | None


class _Half(NamedTuple):
    service: str
    failed: bool
    weight: float
    duration_ns: int
    since_ms: int


@dataclass(slots=True)
class _Client:
    half: _Half
    peer: str
    """What it says it calls, for servers that send no spans."""
    met: bool = False


_Servers = tuple[_Half, ...]


class Calls:
    """The halves that wait. The last commit can be taken back; one thread at a time."""

    def __init__(self) -> None:
        self._clients: OrderedDict[bytes, _Client] = OrderedDict()
        """By trace id and the id of the client's span."""
        self._servers: OrderedDict[bytes, _Servers] = OrderedDict()
        """By trace id and parent id."""
        self._before: list[tuple[bytes, _Client | None, _Servers | None]] = []
        """What was there under each key that was changed since the last commit."""
        self.unpaired = 0
        """Halves that waited in vain, since the start."""

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    def pair(self, spans: Iterable[Span], peers: Mapping[bytes, str], now_ms: int) -> list[Call]:
        """The calls that spans make whole, and those that have waited long enough; `peers` by span id."""
        found: list[Call] = []
        clients, servers, before = self._clients, self._servers, self._before
        for span in spans:
            kind = span.kind
            if kind in _CALLED:
                if not span.parent_id:
                    continue
                key = span.trace_id + span.parent_id
                half = _Half(span.service, span.error, span.weight, span.end_ns - span.start_ns, now_ms)
                client = clients.get(key)
                if client is not None:
                    client.met = True  # stays so if this is taken back: then it comes again
                    found.append(_call(client.half, half))
                    continue
                waiting = servers.get(key)
                before.append((key, None, waiting))
                servers[key] = (half,) if waiting is None else (*waiting[-_SERVERS_PER_CALL_MAX:], half)
            elif kind in _CALLING:
                key = span.trace_id + span.span_id
                half = _Half(span.service, span.error, span.weight, span.end_ns - span.start_ns, now_ms)
                found += self._meet(key, _Client(half, peers.get(span.span_id, "")))
        return [*found, *self.expire(now_ms)]

    def _meet(self, key: bytes, client: _Client) -> list[Call]:
        """A client's half, and the servers that have waited for it."""
        waiting = self._servers.pop(key, ())
        self._before.append((key, self._clients.get(key), waiting or None))
        client.met = bool(waiting)
        self._clients[key] = client
        return [_call(client.half, server) for server in waiting]

    def expire(self, now_ms: int) -> list[Call]:
        """Let go of what has waited long enough; calls of clients that named a server which sends no spans."""
        before, found = now_ms - CALL_WAIT_MS, []
        while self._clients and self._is_over(next(iter(self._clients.values())).half.since_ms, before):
            key, client = self._clients.popitem(last=False)
            self._before.append((key, client, self._servers.get(key)))
            half = client.half
            if client.peer and not client.met:
                found.append(Call(half.service, client.peer, half.failed, half.weight, _seconds(half), None))
            elif not client.met:
                self.unpaired += 1
        while self._servers and self._is_over(next(iter(self._servers.values()))[0].since_ms, before):
            key, servers = self._servers.popitem(last=False)
            self._before.append((key, self._clients.get(key), servers))
            self.unpaired += len(servers)
        return found

    def _is_over(self, since_ms: int, before_ms: int) -> bool:
        # A clock that was put back makes nothing wait for hours.
        return since_ms <= before_ms or since_ms > before_ms + 2 * CALL_WAIT_MS or len(self) > WAITING_CALLS_MAX

    def committed(self) -> None:
        """What came since the last time is on disk."""
        self._before.clear()

    def undo(self) -> None:
        """It is not: all is as it was before, but for the order in which it expires."""
        while self._before:
            key, client, servers = self._before.pop()
            _put(self._clients, key, client)
            _put(self._servers, key, servers)


def _put(waiting: "OrderedDict[bytes, _Value]", key: bytes, value: _Value | None) -> None:
    if value is None:
        waiting.pop(key, None)
    else:
        waiting[key] = value


def _seconds(half: _Half) -> float:
    return max(half.duration_ns, 0) / 1e9


def _call(client: _Half, server: _Half) -> Call:
    weight = max(client.weight, server.weight)
    return Call(
        client.service, server.service, client.failed or server.failed, weight, _seconds(client), _seconds(server)
    )
