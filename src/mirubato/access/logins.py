"""Sessions of the page: how one is made, and how often somebody may try."""

import secrets

from mirubato.access.ledger import Session
from mirubato.access.metering import Bucket
from mirubato.access.tokens import digest_of
from mirubato.errors import LimitReached
from mirubato.limits import LOGIN_ADDRESSES_MAX, LOGINS_PER_MINUTE, SESSION_MS


def new_session(token: str, now: int) -> tuple[Session, str]:
    """A session for the token with the id `token`, and what goes into the cookie."""
    secret = secrets.token_urlsafe(32)
    return Session(digest_of(secret), token, now, now + SESSION_MS), secret


class Attempts:
    """Counts attempts to log in, by address; one list is bounded, and forgets all when it is full."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}

    def count(self, address: str, now: int) -> None:
        """LimitReached for one attempt too many."""
        if len(self._buckets) >= LOGIN_ADDRESSES_MAX:
            self._buckets.clear()
        bucket = self._buckets.setdefault(address, Bucket(LOGINS_PER_MINUTE, now))
        wait = bucket.wait_ms(now)
        if wait:
            told = f"more than {LOGINS_PER_MINUTE} attempts to log in within a minute"
            raise LimitReached(told, -(-wait // 1000))
        bucket.take(1)
