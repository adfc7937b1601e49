"""Tokens: what one looks like, what it may do, and how it is kept (never itself, only its SHA-256).

A token holds 256 random bits, so a plain hash is enough: the slow hashes of passwords protect what people can think of.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from mirubato.config import parse_duration
from mirubato.errors import BadRequest

INGEST, READ, ADMIN = "ingest", "read", "admin"
SCOPES = (INGEST, READ, ADMIN)
"""`ingest` sends telemetry, `read` asks, `admin` does both, changes things and makes tokens."""

_PREFIX = "mirubato_"
_ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # none that is read as another
_ID_LENGTH = 10
_SECRET_BYTES = 32
SHAPE = re.compile(rf"{_PREFIX}([{_ID_LETTERS}]{{{_ID_LENGTH}}})_([A-Za-z0-9_-]{{43}})")
"""What a token looks like, for those who look for leaked ones."""

_NAME = re.compile(r"[\w .:@/-]{1,80}")
_RATE = re.compile(r"([0-9]{1,12})([kM]?)/(s|min|day)")
_FACTORS = {"": 1, "k": 1000, "M": 1_000_000}


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much a token may do; None: as much as it likes."""

    requests_per_minute: int | None = None
    points_per_minute: int | None = None
    points_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept; times in ms."""

    id: str
    name: str
    scopes: frozenset[str]
    digest: str = field(repr=False)
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None
    allowance: Allowance = field(default_factory=Allowance)

    def live(self, now: int) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_ms is None and (self.expires_ms is None or now < self.expires_ms)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A token that somebody asks for."""

    scopes: frozenset[str]
    name: str = ""
    lifetime_ms: int | None = None
    allowance: Allowance = field(default_factory=Allowance)


def wanted_of(
    scopes: Iterable[str], name: str, expires: str | None, rate_limit: str | None, budgets: Iterable[str]
) -> Wanted:
    """What somebody wrote who wants a token; BadRequest says what of it cannot be."""
    try:
        lifetime = parse_duration(expires) if expires else None
    except ValueError as error:
        raise BadRequest(f"expires: {error}") from error
    if lifetime == 0:
        raise BadRequest("expires must be longer than 0")
    return Wanted(scopes_of(scopes), name_of(name), lifetime, allowance_of(rate_limit, budgets))


def mint(wanted: Wanted, now: int) -> tuple[Token, str]:
    """A new token, and its text, which nobody can find out again."""
    id_ = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
    text = f"{_PREFIX}{id_}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    expires = None if wanted.lifetime_ms is None else now + wanted.lifetime_ms
    name = wanted.name or "+".join(sorted(wanted.scopes))
    return Token(id_, name, wanted.scopes, digest_of(text), now, expires, allowance=wanted.allowance), text


def shown(token: Token, last_used_ms: int | None) -> dict[str, Any]:
    """A token as JSON: all but what it is known by."""
    return {
        "id": token.id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "created_ms": token.created_ms or None,
        "expires_ms": token.expires_ms,
        "revoked_ms": token.revoked_ms,
        "last_used_ms": last_used_ms,
        **asdict(token.allowance),
    }


def digest_of(secret: str) -> str:
    """The hex SHA-256 under which a token or session is known."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def scopes_of(words: Iterable[str]) -> frozenset[str]:
    """Scopes from words, each perhaps several with commas between; BadRequest names what is none."""
    found = {part.strip() for word in words for part in word.split(",") if part.strip()}
    strange = found - set(SCOPES)
    if strange or not found:
        told = f"{', '.join(sorted(strange))[:60]!r} is no scope; " if strange else ""
        raise BadRequest(f"{told}scopes are {', '.join(SCOPES)}")
    return frozenset(found)


def name_of(text: str) -> str:
    """A name that a table and a log can show."""
    if text and not _NAME.fullmatch(text):
        raise BadRequest("a name is at most 80 letters, digits, spaces and . : @ / _ -")
    return text


def allowance_of(rate_limit: str | None, budgets: Iterable[str]) -> Allowance:
    """From `600/min` (requests) and `100k/min`, `5M/day` (points); BadRequest for what is neither."""
    requests = None
    if rate_limit:
        requests, unit = _per(rate_limit, "rate_limit")
        if unit == "day":
            raise BadRequest("rate_limit is per s or min; what is per day is a budget")
    points: dict[str, int] = {}
    for budget in (part.strip() for word in budgets for part in word.split(",") if part.strip()):
        number, unit = _per(budget, "budget")
        points["day" if unit == "day" else "minute"] = number
    return Allowance(requests, points.get("minute"), points.get("day"))


def _per(text: str, what: str) -> tuple[int, str]:
    """A number per minute or per day, and which."""
    match = _RATE.fullmatch(text.strip())
    if not match or not int(match[1]):
        raise BadRequest(f"{what} {text[:40]!r} is not like 600/min, 10/s, 100k/min or 5M/day")
    return int(match[1]) * _FACTORS[match[2]] * (60 if match[3] == "s" else 1), match[3]
