"""The gate without sockets: hosts, origins, and any header at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirubato.access import ledger
from mirubato.access.gate import Asked, Gate, is_local, session_of
from mirubato.access.keeper import Keeper, Policy
from mirubato.access.rules import ANYONE, needed
from mirubato.access.tokens import Token, Wanted, mint
from mirubato.access.visits import ANONYMOUS
from mirubato.database.state import StateStore
from mirubato.errors import Forbidden, Unauthenticated
from mirubato.limits import KNOWN_HEADERS_MAX

NOW = 1_795_000_000_000
LOOPBACK = Policy(loopback=True, allow_anonymous=False)
ANYBODY = Policy(loopback=False, allow_anonymous=True)
ELSEWHERE = Policy(loopback=False, allow_anonymous=False)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore(tmp_path)
    yield store
    store.close(5)


def keeper(state: StateStore, policy: Policy) -> Keeper:
    return Keeper(state, [], policy, NOW)


def made(state: StateStore, *scopes: str, lifetime_ms: int | None = None) -> tuple[Token, str]:
    token, text = mint(Wanted(frozenset(scopes), "", lifetime_ms), NOW)
    state.write(lambda file: ledger.add_token(file, token))
    return token, text


class TestWithoutTokens:
    def test_this_machine_may_do_everything(self, state: StateStore) -> None:
        gate = Gate(keeper(state, LOOPBACK), (), ())
        for method, path in (("GET", "/metrics"), ("POST", "/v1/metrics"), ("DELETE", "/api/tokens/x")):
            assert gate.admit(Asked(method, path, host="127.0.0.1:4319"), NOW) is ANONYMOUS
        assert gate.admit_call(None, None, NOW) is ANONYMOUS

    def test_credentials_that_nobody_asked_for_do_not_matter(self, state: StateStore) -> None:
        gate = Gate(keeper(state, LOOPBACK), (), ())
        assert gate.admit(Asked("GET", "/metrics", authorization=b"Digest x"), NOW) is ANONYMOUS
        assert gate.admit_call("Bearer x", None, NOW) is ANONYMOUS

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:4319", "127.0.0.1.evil.example", "evil.example."])
    @pytest.mark.parametrize("path", ["/", "/api/health", "/api/metrics", "/v1/metrics"])
    def test_a_name_that_is_not_ours(self, state: StateStore, host: str, path: str) -> None:
        with pytest.raises(Forbidden, match="MIRUBATO_ALLOWED_HOSTS"):
            Gate(keeper(state, LOOPBACK), (), ()).admit(Asked("GET", path, host=host), NOW)

    def test_a_name_that_was_listed(self, state: StateStore) -> None:
        gate = Gate(keeper(state, LOOPBACK), ["Mon.Example"], ())
        assert gate.admit(Asked("GET", "/metrics", host="mon.example:80"), NOW) is ANONYMOUS

    def test_anybody_may_mean_any_name(self, state: StateStore) -> None:
        assert Gate(keeper(state, ANYBODY), (), ()).admit(Asked("GET", "/metrics", host="a.b"), NOW) is ANONYMOUS

    def test_without_permission_from_elsewhere(self, state: StateStore) -> None:
        gate = Gate(keeper(state, ELSEWHERE), (), ())
        with pytest.raises(Unauthenticated, match="a token is needed"):
            gate.admit(Asked("GET", "/metrics", host="127.0.0.1"), NOW)

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://[", "http://127.0.0.1:1", ""])
    def test_a_change_that_another_page_sends(self, state: StateStore, origin: str) -> None:
        gate = Gate(keeper(state, LOOPBACK), (), ())
        for path in ("/api/alerts", "/v1/metrics"):
            with pytest.raises(Forbidden, match="MIRUBATO_CORS_ORIGINS"):
                gate.admit(Asked("POST", path, host="127.0.0.1:4319", origin=origin), NOW)

    @pytest.mark.parametrize(
        ("origin", "site"), [("http://127.0.0.1:4319", None), ("http://proxy.example", "same-origin"), (None, None)]
    )
    def test_a_change_that_our_page_sends(self, state: StateStore, origin: str | None, site: str | None) -> None:
        asked = Asked("POST", "/api/alerts", host="127.0.0.1:4319", origin=origin, fetch_site=site)
        assert Gate(keeper(state, LOOPBACK), (), ()).admit(asked, NOW) is ANONYMOUS

    @pytest.mark.parametrize("origins", [["http://app.example"], ["*"]])
    def test_a_page_that_was_listed(self, state: StateStore, origins: list[str]) -> None:
        asked = Asked("POST", "/v1/metrics", host="127.0.0.1:4319", origin="http://app.example")
        assert Gate(keeper(state, LOOPBACK), (), origins).admit(asked, NOW) is ANONYMOUS


class TestWithTokens:
    def test_the_last_one_that_expires_opens_nothing(self, state: StateStore) -> None:
        _, text = made(state, "read", lifetime_ms=1000)
        gate = Gate(keeper(state, LOOPBACK), (), ())
        asked = Asked("GET", "/metrics", authorization=f"Bearer {text}".encode())
        assert gate.admit(asked, NOW).name == "read"
        for _ in range(2):
            with pytest.raises(Unauthenticated, match="token 'read' has expired"):
                gate.admit(asked, NOW + 1000)
        with pytest.raises(Unauthenticated):
            gate.admit(Asked("GET", "/metrics"), NOW + 1000)

    def test_the_last_one_that_is_revoked_opens_this_machine_again(self, state: StateStore) -> None:
        token, _ = made(state, "read")
        book = keeper(state, LOOPBACK)
        assert not book.open
        state.write(lambda file: ledger.revoke_token(file, token, NOW))
        assert book.refresh(NOW)
        assert not book.refresh(NOW)
        assert book.open

    def test_what_is_remembered_is_bounded_and_forgotten_with_a_change(self, state: StateStore) -> None:
        token, text = made(state, "read")
        book = keeper(state, LOOPBACK)
        gate = Gate(book, (), ())
        for spaces in range(KNOWN_HEADERS_MAX + 5):
            gate.admit(Asked("GET", "/metrics", authorization=b"Bearer " + b" " * spaces + text.encode()), NOW)
        assert len(book._book.by_header) <= KNOWN_HEADERS_MAX
        state.write(lambda file: ledger.revoke_token(file, token, NOW))
        made(state, "admin")
        book.refresh(NOW)
        with pytest.raises(Unauthenticated, match="not known here"):
            gate.admit(Asked("GET", "/metrics", authorization=f"Bearer {text}".encode()), NOW)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(authorization=st.none() | st.binary(), api_key=st.none() | st.binary(), cookie=st.none() | st.binary())
    def test_nobody_gets_in_with_any_headers(
        self, state: StateStore, authorization: bytes | None, api_key: bytes | None, cookie: bytes | None
    ) -> None:
        if not state.read(ledger.tokens):
            made(state, "admin")
        gate = Gate(keeper(state, LOOPBACK), (), ())
        asked = Asked("GET", "/metrics", authorization=authorization, api_key=api_key, cookie=cookie)
        with pytest.raises(Unauthenticated):
            gate.admit(asked, NOW)
        texts = [None if raw is None else raw.decode("latin-1") for raw in (authorization, api_key)]
        with pytest.raises(Unauthenticated):
            gate.admit_call(texts[0], texts[1], NOW)

    def test_a_digest_is_no_token(self, state: StateStore) -> None:
        """Who reads state.db cannot come in with what stands there."""
        token, _ = made(state, "admin")
        gate = Gate(keeper(state, LOOPBACK), (), ())
        for secret in (token.digest, token.id, f"mirubato_{token.id}_{'A' * 43}"):
            with pytest.raises(Unauthenticated):
                gate.admit(Asked("GET", "/metrics", api_key=secret.encode()), NOW)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "X"]), path=st.text(max_size=40).map("/{}".format)
)
def test_what_is_open_is_short(method: str, path: str) -> None:
    """No path that is made up needs nothing, but for files of the page and the probes."""
    if needed(method, path) == ANYONE:
        assert method == "GET"
        assert path == "/" or path.startswith("/assets/") or (path.count("/") == 1 and "." in path)


@given(st.text(max_size=40))
def test_any_host_is_local_or_not(host: str) -> None:
    assert is_local(host) in (True, False)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("a.localhost:1", True),
        ("127.0.0.1:4319", True),
        ("[::1]:4319", True),
        ("[::1]", True),
        ("192.0.2.1", True),
        ("gateway:4318", True),
        ("host.docker.internal:4318", True),
        ("internal.evil.example", False),
        ("a.b", False),
        ("localhost.evil.example", False),
        ("1.2.3.4.5", False),
    ],
)
def test_hosts(host: str, local: bool) -> None:
    assert is_local(host) is local


@given(st.binary(max_size=100))
def test_any_cookie_has_a_session_or_none(cookie: bytes) -> None:
    session_of(cookie)


def test_a_session_among_cookies() -> None:
    assert session_of(b"a=b; mirubato_session=x=y; c=d") == "x=y"
    assert session_of(b"xmirubato_session=x") is None
