"""Who asks just now: what the doors find out and the rooms may look up, one for each request."""

from contextvars import ContextVar
from dataclasses import dataclass

from mirubato.access.metering import Meter
from mirubato.access.rules import allows
from mirubato.access.tokens import SCOPES


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was let in."""

    id: str
    name: str
    scopes: frozenset[str]
    expires_ms: int | None = None
    meter: Meter | None = None
    session: str | None = None
    """The digest of the session, for who came with a cookie."""


ANONYMOUS = Caller("", "anonymous", frozenset(SCOPES))
"""Anyone, where there are no tokens or none are asked for."""


@dataclass(slots=True)
class Visit:
    """One request."""

    request_id: str
    caller: Caller = ANONYMOUS


_CURRENT: ContextVar[Visit | None] = ContextVar("visit", default=None)


def begin(visit: Visit) -> None:
    """Make it the current one of this task."""
    _CURRENT.set(visit)


def current() -> Visit | None:
    """The current one; None outside of requests."""
    return _CURRENT.get()


def may(scope: str) -> bool:
    """Whether who asks just now may do what needs `scope`; true where nobody stands at the door."""
    visit = _CURRENT.get()
    return visit is None or allows(visit.caller.scopes, scope)


def charge(points: int) -> None:
    """Count stored points for whoever sent them."""
    visit = _CURRENT.get()
    if visit is not None and visit.caller.meter is not None:
        visit.caller.meter.charge(points)
