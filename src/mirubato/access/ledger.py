"""Tokens, sessions, usage and the record of changes in state.db: each function is one transaction or one look."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mirubato.access.metering import Usage
from mirubato.access.tokens import Allowance, Token
from mirubato.errors import NotFound
from mirubato.limits import AUDIT_ENTRIES_MAX


@dataclass(frozen=True, slots=True)
class Session:
    """Who logged in on the page: known by the digest of what is in the cookie."""

    digest: str
    token: str
    created_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Change:
    """Who did what, when, from where, and how it was answered."""

    at_ms: int
    actor: str
    action: str
    target: str
    status: int
    address: str = ""
    request_id: str = ""


def tokens(file: sqlite3.Connection) -> list[Token]:
    """All tokens, the revoked ones too, oldest first."""
    return [_token(row) for row in file.execute("SELECT * FROM token ORDER BY created_ms, id")]


def _token(row: sqlite3.Row) -> Token:
    allowance = Allowance(row["requests_per_minute"], row["points_per_minute"], row["points_per_day"])
    return Token(
        row["id"],
        row["name"],
        frozenset(row["scopes"].split(",")),
        row["digest"],
        row["created_ms"],
        row["expires_ms"],
        row["revoked_ms"],
        allowance,
    )


def add_token(file: sqlite3.Connection, token: Token, change: Change | None = None) -> None:
    """Keep a new token, and `change` as what is written down of it."""
    if change is not None:
        record(file, change)
    allowance = token.allowance
    file.execute(
        "INSERT INTO token (id, name, scopes, digest, created_ms, expires_ms, revoked_ms, requests_per_minute,"
        " points_per_minute, points_per_day) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            token.id,
            token.name,
            ",".join(sorted(token.scopes)),
            token.digest,
            token.created_ms,
            token.expires_ms,
            token.revoked_ms,
            allowance.requests_per_minute,
            allowance.points_per_minute,
            allowance.points_per_day,
        ),
    )


def find_token(file: sqlite3.Connection, which: str) -> Token:
    """The token with the id `which`, or the only one of that name, of those that were not revoked; or NotFound."""
    live = [token for token in tokens(file) if token.revoked_ms is None]
    found = [token for token in live if token.id == which] or [token for token in live if token.name == which]
    if len(found) != 1:
        told = "several tokens have this name: say which by its id" if found else "no token has this id or name"
        raise NotFound(told)
    return found[0]


def revoke_token(file: sqlite3.Connection, token: Token, now: int, change: Change | None = None) -> None:
    """Revoke a token and end its sessions, and write `change` down."""
    if change is not None:
        record(file, change)
    file.execute("UPDATE token SET revoked_ms = ? WHERE id = ?", (now, token.id))
    file.execute("DELETE FROM session WHERE token = ?", (token.id,))


def sessions(file: sqlite3.Connection) -> list[Session]:
    """All sessions, ended ones too until `add_session` clears them away."""
    rows = file.execute("SELECT digest, token, created_ms, expires_ms FROM session ORDER BY digest")
    return [Session(*row) for row in rows]


def add_session(file: sqlite3.Connection, session: Session) -> None:
    """Keep a new session; those that are over go."""
    file.execute("DELETE FROM session WHERE expires_ms <= ?", (session.created_ms,))
    file.execute(
        "INSERT INTO session (digest, token, created_ms, expires_ms) VALUES (?, ?, ?, ?)",
        (session.digest, session.token, session.created_ms, session.expires_ms),
    )


def end_session(file: sqlite3.Connection, digest: str) -> None:
    """Log out."""
    file.execute("DELETE FROM session WHERE digest = ?", (digest,))


def usage_of_day(file: sqlite3.Connection, day: int) -> dict[str, Usage]:
    """What each token has used on a day."""
    rows = file.execute("SELECT token, day, requests, points, last_used_ms FROM token_usage WHERE day = ?", (day,))
    return {token: Usage(*rest) for token, *rest in rows}


def last_used(file: sqlite3.Connection) -> dict[str, int]:
    """When each token was last used, ms."""
    return dict(tuple(row) for row in file.execute("SELECT token, max(last_used_ms) FROM token_usage GROUP BY token"))


def keep_usage(file: sqlite3.Connection, used: Mapping[str, Usage]) -> None:
    """Write what is counted in memory; one row for each token and day."""
    file.executemany(
        "INSERT INTO token_usage (token, day, requests, points, last_used_ms) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (token, day) DO UPDATE SET requests = excluded.requests, points = excluded.points,"
        " last_used_ms = excluded.last_used_ms",
        [(token, one.day, one.requests, one.points, one.last_used_ms) for token, one in used.items()],
    )


def record(file: sqlite3.Connection, change: Change) -> None:
    """Write down one change; the oldest go past AUDIT_ENTRIES_MAX."""
    cursor = file.execute(
        "INSERT INTO audit (at_ms, actor, action, target, status, address, request_id) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            change.at_ms,
            change.actor,
            change.action,
            change.target,
            change.status,
            change.address,
            change.request_id,
        ),
    )
    file.execute("DELETE FROM audit WHERE id <= ?", ((cursor.lastrowid or 0) - AUDIT_ENTRIES_MAX,))


def changes(file: sqlite3.Connection, most: int) -> Sequence[Change]:
    """The newest changes, newest first."""
    rows: Iterable[sqlite3.Row] = file.execute(
        "SELECT at_ms, actor, action, target, status, address, request_id FROM audit ORDER BY id DESC LIMIT ?", (most,)
    )
    return [Change(*row) for row in rows]
