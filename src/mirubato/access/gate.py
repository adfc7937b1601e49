"""The gate: a request's method, path and headers -> who it is, or why not. No sockets; time is an argument."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from mirubato.access.credentials import secret_of_authorization, secret_of_key
from mirubato.access.keeper import Keeper
from mirubato.access.rules import ANYONE, SAFE_METHODS, allows, needed, sends
from mirubato.access.tokens import INGEST
from mirubato.access.visits import ANONYMOUS, Caller
from mirubato.errors import Forbidden, MirubatoError, Unauthenticated

COOKIE = "mirubato_session"

NOBODY = Caller("", "nobody", frozenset())
"""Who gave no token where tokens are asked for: for what is open to anyone."""

_HINT = "send `Authorization: Bearer <token>` or `x-api-key`; `mirubato token create` makes one"


@dataclass(slots=True)
class Asked:
    """What the gate looks at of an HTTP request; a header that is not there is None."""

    method: str
    path: str
    host: str | None = None
    origin: str | None = None
    fetch_site: str | None = None
    authorization: bytes | None = None
    api_key: bytes | None = None
    cookie: bytes | None = None


class Gate:
    """Lets in, or raises Unauthenticated, Forbidden or LimitReached."""

    def __init__(self, keeper: Keeper, allowed_hosts: Iterable[str], origins: Iterable[str]) -> None:
        """`allowed_hosts`: names beside this machine's own; `origins`: pages elsewhere that may send changes."""
        self._keeper = keeper
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._origins = frozenset(origins)

    def admit(self, asked: Asked, now: int) -> Caller:
        """Who sends an HTTP request and may; its token's limits are counted."""
        scope = needed(asked.method, asked.path)
        caller = self._caller(asked, now, scope)
        if asked.method not in SAFE_METHODS and (caller.session or not caller.id):
            self._check_origin(asked, required=caller.session is not None)
        if not allows(caller.scopes, scope):
            raise Forbidden(f"token {caller.name!r} may {_listed(caller.scopes)}; this needs {scope}")
        if caller.meter is not None:
            caller.meter.admit(now, sends=sends(asked.path))
        return caller

    def admit_call(self, authorization: str | None, api_key: str | None, now: int) -> Caller:
        """Who makes a gRPC call, which sends telemetry."""
        caller = self._sender(authorization, api_key, now)
        if not allows(caller.scopes, INGEST):
            raise Forbidden(f"token {caller.name!r} may {_listed(caller.scopes)}; this needs {INGEST}")
        if caller.meter is not None:
            caller.meter.admit(now, sends=True)
        return caller

    def _sender(self, authorization: str | None, api_key: str | None, now: int) -> Caller:
        try:
            return self._by_headers(api_key, authorization, now)
        except MirubatoError:
            if self._keeper.open:
                return ANONYMOUS
            raise

    def _caller(self, asked: Asked, now: int, scope: str) -> Caller:
        """By a token, by a session, or nobody in particular."""
        try:
            if asked.api_key is None and asked.authorization is None:
                return self._by_cookie(asked.cookie, now)
            return self._by_headers(asked.api_key, asked.authorization, now)
        except Unauthenticated:
            if self._keeper.open:
                self._check_host(asked.host)
                return ANONYMOUS
            if scope == ANYONE:
                return NOBODY
            raise

    def _by_headers(self, api_key: bytes | str | None, authorization: bytes | str | None, now: int) -> Caller:
        given, read = (authorization, secret_of_authorization) if api_key is None else (api_key, secret_of_key)
        if given is None:
            raise Unauthenticated(f"a token is needed: {_HINT}")
        caller = self._keeper.remembered(given)
        if caller is None:
            caller = self._found(given, read, now)
        self._keeper.check(caller, now)
        return caller

    def _found(self, given: bytes | str, read: Callable[[str], str], now: int) -> Caller:
        text = given.decode("latin-1") if isinstance(given, bytes) else given
        caller = self._keeper.by_secret(read(text), now)
        self._keeper.remember(given, caller)
        return caller

    def _by_cookie(self, cookie: bytes | None, now: int) -> Caller:
        secret = session_of(cookie) if cookie else None
        if not secret:
            raise Unauthenticated(f"a token is needed: {_HINT}")
        return self._keeper.by_session(secret, now)

    def _check_host(self, host: str | None) -> None:
        """Against DNS rebinding: a page from elsewhere can point its own name at this machine, and is then let in."""
        policy = self._keeper.policy
        if policy.allow_anonymous or host is None or is_local(host) or _name(host) in self._hosts:
            return
        raise Forbidden(
            f"the Host header {host[:60]!r} is not of this machine: use its address, make a token, or list the name in"
            " allowed_hosts (MIRUBATO_ALLOWED_HOSTS)"
        )

    def _check_origin(self, asked: Asked, *, required: bool) -> None:
        """Against pages from elsewhere that send what the user's browser is let in for (CSRF)."""
        origin = asked.origin
        if asked.fetch_site == "same-origin" or (origin is None and not required):
            return
        if origin is not None and (origin in self._origins or _netloc(origin) == (asked.host or "-").lower()):
            return
        if "*" in self._origins and not required:  # a cookie is the user's, and not every page's to use
            return
        raise Forbidden(
            f"the Origin {(origin or 'none')[:60]!r} is not the page of this gateway: send a token, or list it in"
            " cors_origins (MIRUBATO_CORS_ORIGINS)"
        )


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _listed(scopes: frozenset[str]) -> str:
    return " and ".join(sorted(scopes)) or "do nothing"


def session_of(cookie: bytes) -> str | None:
    """The session's secret in a Cookie header."""
    for pair in cookie.decode("latin-1").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return None


@lru_cache(maxsize=256)
def is_local(host: str) -> bool:
    """Whether a Host header is an address, or a name that nobody elsewhere can have, so no page stands under it.

    Those are names without a dot, and those below two domains that are nobody's (RFC 6761; ICANN reserved `.internal`,
    in which containers find their host).
    """
    name = _name(host)
    if "." not in name or name.endswith((".localhost", ".internal")):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    """Without the port and the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()
