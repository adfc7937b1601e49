"""The doorkeeper's book: who may come in, in memory, read again from state.db when somebody has changed it there.

`mirubato token` writes to state.db while the gateway runs, so the book is compared with it every second.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from mirubato.access import ledger
from mirubato.access.ledger import Session
from mirubato.access.metering import DAY_MS, Meter, Usage
from mirubato.access.tokens import SHAPE, Token, digest_of
from mirubato.access.visits import Caller
from mirubato.database.state import StateStore
from mirubato.errors import Unauthenticated
from mirubato.limits import KNOWN_HEADERS_MAX


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may come in without a token."""

    loopback: bool
    """Nobody from elsewhere can reach the ports: without any token, all is open."""
    allow_anonymous: bool


@dataclass(slots=True)
class _Book:
    """What state.db and the settings say."""

    tokens: Sequence[Token] = ()
    sessions: Sequence[Session] = ()
    known: list[tuple[Token, Caller]] = field(default_factory=list)
    """All that were not revoked."""
    by_id: dict[str, list[tuple[Token, Caller]]] = field(default_factory=dict)
    by_session: dict[str, Caller] = field(default_factory=dict)
    by_header: dict[bytes | str, Caller] = field(default_factory=dict)
    """What was found before, by the header as it came: a look-up instead of a parse and a hash on each request."""


class Keeper:
    """Knows callers by their secrets. Lookups are the event loop's; `refresh` and `keep_usage` block."""

    def __init__(self, state: StateStore, fixed: Sequence[Token], policy: Policy, now: int) -> None:
        """`fixed` are tokens that the settings give."""
        self._state, self.fixed, self.policy = state, list(fixed), policy
        self._meters: dict[str, Meter] = {}
        self._book = _Book()
        self.refresh(now)

    @property
    def open(self) -> bool:
        """Whether anyone may do anything: it was allowed, or there are no tokens and only this machine gets here."""
        policy = self.policy
        return policy.allow_anonymous or (policy.loopback and not self._book.known)

    def has_live_token(self, now: int) -> bool:
        """Whether anybody could come in with a token."""
        return any(token.live(now) for token in self._book.tokens)

    def by_secret(self, secret: str, now: int) -> Caller:
        """Who has this token; Unauthenticated if nobody, or not any more."""
        digest = digest_of(secret)
        shaped = SHAPE.fullmatch(secret)
        # A token of ours says its id; one of the settings may be any text, and there are at most three of those.
        candidates = self._book.by_id.get(shaped[1] if shaped else "", ())
        matching = [caller for token, caller in candidates if hmac.compare_digest(token.digest, digest)]
        return self._valid(matching[0] if matching else None, now)

    def by_session(self, secret: str, now: int) -> Caller:
        """Who has this session."""
        return self._valid(self._book.by_session.get(digest_of(secret)), now)

    def remembered(self, header: bytes | str) -> Caller | None:
        """Who came with exactly this header before; whether that still holds is `check`'s."""
        return self._book.by_header.get(header)

    def remember(self, header: bytes | str, caller: Caller) -> None:
        """So that the next request costs less."""
        known = self._book.by_header
        if len(known) >= KNOWN_HEADERS_MAX:
            known.clear()
        known[header] = caller

    @staticmethod
    def check(caller: Caller, now: int) -> None:
        """Unauthenticated once a token or session has expired."""
        if caller.expires_ms is not None and now >= caller.expires_ms:
            what = "the session" if caller.session else f"token {caller.name!r}"
            raise Unauthenticated(f"{what} has expired")

    def _valid(self, caller: Caller | None, now: int) -> Caller:
        if caller is None:
            raise Unauthenticated("this token or session is not known here, or it was revoked")
        self.check(caller, now)
        return caller

    def refresh(self, now: int) -> bool:
        """Read the book again; answers whether it has changed."""
        tokens = [*self.fixed, *self._state.read(ledger.tokens)]
        sessions = self._state.read(ledger.sessions)
        if (tokens, sessions) == (self._book.tokens, self._book.sessions):
            return False
        self._book = self._read(tokens, sessions, now)
        return True

    def _read(self, tokens: Sequence[Token], sessions: Sequence[Session], now: int) -> _Book:
        used = self._state.read(lambda file: ledger.usage_of_day(file, now // DAY_MS))
        book = _Book(tokens, sessions)
        callers = {}
        for token in tokens:
            if token.revoked_ms is None:
                caller = callers[token.id] = self._caller(token, used.get(token.id), now)
                book.known.append((token, caller))
                book.by_id.setdefault("" if token in self.fixed else token.id, []).append((token, caller))
        for session in sessions:
            holder = callers.get(session.token)
            if holder is not None:
                book.by_session[session.digest] = _through_session(holder, session)
        return book

    def _caller(self, token: Token, used: Usage | None, now: int) -> Caller:
        meter = self._meters.get(token.id)
        if meter is None:
            meter = Meter(token.name, token.allowance, used or Usage(now // DAY_MS), now)
            self._meters[token.id] = meter
        return Caller(token.id, token.name, token.scopes, token.expires_ms, meter)

    def keep_usage(self) -> None:
        """Write what was counted since the last time."""
        used = {id_: meter.usage for id_, meter in list(self._meters.items()) if meter.dirty}
        for id_ in used:
            self._meters[id_].dirty = False
        if used:
            self._state.write(lambda file: ledger.keep_usage(file, used))


def _through_session(holder: Caller, session: Session) -> Caller:
    ends = session.expires_ms if holder.expires_ms is None else min(session.expires_ms, holder.expires_ms)
    return Caller(holder.id, holder.name, holder.scopes, ends, holder.meter, session.digest)
