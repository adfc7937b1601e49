"""How matchers match, and what is no regular expression."""

import time

import pytest

from mirubato.errors import BadQuery
from mirubato.model.matchers import Matcher, MatchOp, match_all

MATCHES = [
    ("=", "a", ["a"]),
    ("=", "", ["", None]),
    ("!=", "a", ["b", "ab", "a\nb", "é", "", None]),
    ("!=", "", ["a", "b", "ab", "a\nb", "é"]),
    ("=~", "a", ["a"]),
    ("=~", "a|b", ["a", "b"]),
    ("=~", "a.?b", ["ab", "a\nb"]),
    ("=~", "", ["", None]),
    ("=~", ".*", ["a", "b", "ab", "a\nb", "é", "", None]),
    ("=~", ".+", ["a", "b", "ab", "a\nb", "é"]),
    ("=~", "(?i)A", ["a"]),
    ("=~", ".", ["a", "b", "é"]),
    ("=~", r"\pL", ["a", "b", "é"]),
    ("=~", "^a$", ["a"]),
    ("!~", "a|b", ["ab", "a\nb", "é", "", None]),
    ("!~", ".+", ["", None]),
    ("!~", ".*", []),
]
VALUES = ["a", "b", "ab", "a\nb", "é", "", None]


@pytest.mark.parametrize(("op", "value", "expected"), MATCHES)
def test_matching(op: str, value: str, expected: list[str | None]) -> None:
    """Regular expressions are RE2's, match the whole value, and a missing label is an empty one."""
    matcher = Matcher("x", MatchOp(op), value)
    found = [text for text in VALUES if match_all((matcher,), {} if text is None else {"x": text})]
    assert found == [text for text in VALUES if text in expected]
    assert matcher.matches_missing() == ("" in expected)


WRONG = [
    ("(", "missing closing ): `(`"),
    ("[a", "missing closing ]: `[a`"),
    ("a)|(?:b", "unexpected ): `a)|(?:b`"),
    ("a\\", "trailing backslash at end of expression: ``"),
    ("*a", "missing argument to repetition operator: `*`"),
    ("a**", "invalid nested repetition operator: `**`"),
    ("a{1001}", "invalid repeat count: `{1001}`"),
    ("(?=x)", "invalid or unsupported Perl syntax: `(?=`"),
    (r"(x)\1", r"invalid escape sequence: `\1`"),
    ("[b-a]", "invalid character class range: `b-a`"),
]


@pytest.mark.parametrize(("regex", "told"), WRONG)
def test_what_is_no_regular_expression(regex: str, told: str) -> None:
    """In the words of Go, which Prometheus' users know."""
    with pytest.raises(BadQuery) as refused:
        Matcher("x", MatchOp.REGEX, regex)
    assert str(refused.value) == f"error parsing regexp: {told}"


def test_what_utf_8_cannot_say_is_no_regular_expression() -> None:
    with pytest.raises(BadQuery, match="error parsing regexp"):
        Matcher("x", MatchOp.NOT_REGEX, "\ud800")


@pytest.mark.parametrize("regex", ["(?:a?){400}a{400}(x+x+)+y", "(a*)*" * 10_000])
def test_a_regular_expression_takes_linear_time(regex: str) -> None:
    began = time.process_time()
    matcher = Matcher("x", MatchOp.REGEX, regex)
    assert not matcher.matches("a" * 400 + "x" * 4000)
    assert time.process_time() - began < 2.0
