"""Tokens and the headers that they come in: what is made is read, what is not is refused, nothing is repeated."""

import base64
import re
import string
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mirubato.access.credentials import secret_of_authorization, secret_of_key
from mirubato.access.tokens import SHAPE, Allowance, allowance_of, digest_of, mint, name_of, scopes_of, shown, wanted_of
from mirubato.errors import BadRequest, Unauthenticated
from mirubato.limits import SECRET_CHARS_MAX

NOW = 1_795_000_000_000
SCOPE_SETS = st.sets(st.sampled_from(["ingest", "read", "admin"]), min_size=1)
PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=100)


class TestMaking:
    @given(scopes=SCOPE_SETS, lifetime=st.none() | st.integers(1, 10**12))
    def test_what_is_made_has_the_shape_and_is_known_by_its_hash_only(self, scopes: set[str], lifetime: Any) -> None:
        wanted = wanted_of(scopes, "", None if lifetime is None else f"{lifetime}ms", None, [])
        token, text = mint(wanted, NOW)
        found = SHAPE.fullmatch(text)
        assert found is not None
        assert (found[1], token.digest, token.scopes) == (token.id, digest_of(text), frozenset(scopes))
        assert token.expires_ms == (None if lifetime is None else NOW + lifetime)
        assert text not in repr(token) + str(shown(token, None))
        assert token.digest not in repr(token) + str(shown(token, None))

    def test_no_two_are_the_same(self) -> None:
        wanted = wanted_of(["read"], "", None, None, [])
        made = [mint(wanted, NOW) for _ in range(1000)]
        assert len({text for _, text in made}) == len({token.id for token, _ in made}) == 1000

    @pytest.mark.parametrize("words", [[], [""], ["write"], ["read,write"], ["READ"], ["read;admin"]])
    def test_what_is_no_scope(self, words: list[str]) -> None:
        with pytest.raises(BadRequest, match="scopes are ingest, read, admin"):
            scopes_of(words)

    def test_scopes_may_be_listed_in_one_word(self) -> None:
        assert scopes_of(["ingest, read", "read"]) == {"ingest", "read"}

    @pytest.mark.parametrize(
        ("rate", "budgets", "expected"),
        [
            (None, [], Allowance()),
            ("600/min", [], Allowance(600)),
            ("10/s", [], Allowance(600)),
            (None, ["100k/min"], Allowance(None, 100_000)),
            (None, ["100k/min,5M/day"], Allowance(None, 100_000, 5_000_000)),
            ("1/min", ["2/min", "3/day"], Allowance(1, 2, 3)),
            (None, ["10/s"], Allowance(None, 600)),
        ],
    )
    def test_limits(self, rate: str | None, budgets: list[str], expected: Allowance) -> None:
        assert allowance_of(rate, budgets) == expected

    @pytest.mark.parametrize("text", ["0/min", "x", "600", "600/h", "-1/min", "1.5/min", "600/day", "1e9/min", "٣/min"])
    def test_what_is_no_rate(self, text: str) -> None:
        with pytest.raises(BadRequest, match="rate_limit"):
            allowance_of(text, [])

    @given(st.text(max_size=30))
    def test_any_text_is_a_budget_or_not(self, text: str) -> None:
        try:
            allowance = allowance_of(None, [text])
        except BadRequest:
            return
        assert all(value is None or value > 0 for value in (allowance.points_per_minute, allowance.points_per_day))

    @pytest.mark.parametrize("name", ["a\nb", "x" * 81, "<b>", '"'])
    def test_what_is_no_name(self, name: str) -> None:
        with pytest.raises(BadRequest, match="a name is"):
            name_of(name)

    @pytest.mark.parametrize("expires", ["soon", "0s", "-1d"])
    def test_what_is_no_lifetime(self, expires: str) -> None:
        with pytest.raises(BadRequest, match="expires"):
            wanted_of(["read"], "", expires, None, [])


class TestHeaders:
    @given(secret=PRINTABLE, scheme=st.sampled_from(["Bearer", "bearer", "BEARER"]), gap=st.sampled_from([" ", "  "]))
    def test_bearer(self, secret: str, scheme: str, gap: str) -> None:
        assert secret_of_authorization(f"{scheme}{gap}{secret}") == secret

    @given(secret=PRINTABLE, user=st.text(string.ascii_letters, max_size=20))
    def test_basic_has_it_as_password(self, secret: str, user: str) -> None:
        header = "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
        assert secret_of_authorization(header) == secret

    @given(secret=PRINTABLE)
    def test_a_key_is_nothing_else(self, secret: str) -> None:
        assert secret_of_key(f" {secret} ") == secret

    @given(header=st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
    @example("Basic ====")
    @example("Basic Og==")
    @example("Basic /w==")
    @example("Bearer")
    @example("Bearer ")
    @example("")
    def test_any_header_is_read_or_refused_and_never_repeated(self, header: str) -> None:
        try:
            secret, told = secret_of_authorization(header), ""
        except Unauthenticated as error:
            secret, told = "refused", str(error)
        assert [word for word in re.findall(r"\S{12,}", header) if word in told] == []
        assert 0 < len(secret) <= SECRET_CHARS_MAX

    def test_one_that_is_too_long(self) -> None:
        for read, header in ((secret_of_authorization, "Bearer " + "x" * 513), (secret_of_key, "x" * 513)):
            with pytest.raises(Unauthenticated, match="longer than 512"):
                read(header)
