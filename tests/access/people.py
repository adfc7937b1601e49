"""Who comes to the doors: one of each kind, with the headers that they send."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from mirubato.access import ledger
from mirubato.access.gate import COOKIE
from mirubato.access.logins import new_session
from mirubato.access.tokens import Allowance, Wanted, mint
from tests.support.gateways import Running

DAY_MS = 86_400_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def add_token(one: Running, *scopes: str, age_ms: int = 0, lifetime_ms: int | None = None, **limits: int) -> str:
    """Make a token as `mirubato token create` does, and let the gateway see it at once."""
    wanted = Wanted(frozenset(scopes), "-".join(scopes), lifetime_ms, Allowance(**limits))
    token, text = mint(wanted, now_ms() - age_ms)
    one.gateway.state.write(lambda file: ledger.add_token(file, token))
    refresh(one)
    return text


def refresh(one: Running) -> None:
    one.gateway.guarding.keeper.refresh(now_ms())


def id_of(text: str) -> str:
    return text.split("_")[1]


def revoke(one: Running, text: str) -> None:
    token = one.gateway.state.read(lambda file: ledger.find_token(file, id_of(text)))
    one.gateway.state.write(lambda file: ledger.revoke_token(file, token, now_ms()))
    refresh(one)


def log_in(one: Running, text: str) -> str:
    """A session for the holder of a token; answers the Cookie header."""
    session, secret = new_session(id_of(text), now_ms())
    one.gateway.state.write(lambda file: ledger.add_session(file, session))
    refresh(one)
    return f"{COOKIE}={secret}"


@dataclass(frozen=True)
class Person:
    """Sends these headers, and may do this."""

    name: str
    headers: Mapping[str, str]
    scopes: frozenset[str] = field(default_factory=frozenset)
    known: bool = True

    def __str__(self) -> str:
        return self.name


def people(one: Running) -> list[Person]:
    """Everyone there is; the gateway asks for tokens from then on."""
    texts = {scope: add_token(one, scope) for scope in ("ingest", "read", "admin")}
    both = add_token(one, "ingest", "read")
    expired = add_token(one, "admin", age_ms=2 * DAY_MS, lifetime_ms=DAY_MS)
    revoked = add_token(one, "admin")
    revoke(one, revoked)
    origin = {"origin": one.url("web_port")}

    def holder(name: str, text: str, *scopes: str) -> Person:
        return Person(name, {"authorization": f"Bearer {text}"}, frozenset(scopes))

    def unknown(name: str, **headers: str) -> Person:
        return Person(name, {key.replace("_", "-"): value for key, value in headers.items()}, known=False)

    return [
        unknown("nobody"),
        unknown("garbage", authorization="Bearer garbage"),
        unknown("guess", x_api_key=f"{texts['admin'][:-1]}!"),
        unknown("expired", authorization=f"Bearer {expired}"),
        unknown("revoked", authorization=f"Bearer {revoked}"),
        unknown("stale-cookie", cookie=f"{COOKIE}=gone"),
        *(holder(scope, text, scope) for scope, text in texts.items()),
        holder("ingest+read", both, "ingest", "read"),
        Person("read-by-cookie", {"cookie": log_in(one, texts["read"]), **origin}, frozenset({"read"})),
        Person("admin-by-cookie", {"cookie": log_in(one, texts["admin"]), **origin}, frozenset({"admin"})),
    ]
