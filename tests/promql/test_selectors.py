"""Selectors: what parses, what does not and where, and how matchers match."""

import contextlib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.errors import BadQuery
from mirubato.model.matchers import Matcher, MatchOp, match_all
from mirubato.promql.selectors import parse_matchers, parse_selector

SHORT = {"=": MatchOp.EQUAL, "!=": MatchOp.NOT_EQUAL, "=~": MatchOp.REGEX, "!~": MatchOp.NOT_REGEX}
QUERY_CHARS_MAX = 65_536


def shown(text: str) -> tuple[list[str], int | None]:
    """A parsed selector, each matcher as text."""
    selector = parse_selector(text)
    return [f"{one.name}{one.op}{one.value}" for one in selector.matchers], selector.range_ms


PARSED = [
    ("up", ["__name__=up"], None),
    ("  up\n", ["__name__=up"], None),
    ("job:http_requests:rate5m", ["__name__=job:http_requests:rate5m"], None),
    ("up{}", ["__name__=up"], None),
    ("up{job='a'}", ["__name__=up", "job=a"], None),
    ('up{job="a",}', ["__name__=up", "job=a"], None),
    ('{job="a"}', ["job=a"], None),
    ('up{a="1",b!="2",c=~"3|4",d!~"5.*"}', ["__name__=up", "a=1", "b!=2", "c=~3|4", "d!~5.*"], None),
    ('{__name__=~"a.*",__name__!="ab"}', ["__name__=~a.*", "__name__!=ab"], None),
    ('{"my.metric"}', ["__name__=my.metric"], None),
    ('{"my.metric","my.label"="x"}', ["__name__=my.metric", "my.label=x"], None),
    ("{'größe', `höhe`=~'1.5'}", ["__name__=größe", "höhe=~1.5"], None),
    ('{a="1", "up", b="2"}', ["a=1", "__name__=up", "b=2"], None),
    ("up[5m]", ["__name__=up"], 300_000),
    ("up [ 1h30m ]", ["__name__=up"], 5_400_000),
    ('up{a="b"}[1y]', ["__name__=up", "a=b"], 31_536_000_000),
    ("up[50ms]", ["__name__=up"], 50),
    (r'{a="\"\\\n\t\x41\u00e9\U0001F600\101"}', ['a="\\\n\tAé😀A'], None),
    (r"{a='\''}", ["a='"], None),
    (r"{a=`\n`}", [r"a=\n"], None),
    ('{a="}[5m],"}', ["a=}[5m],"], None),
    ("offset{by='sum'}", ["__name__=offset", "by=sum"], None),
]


@pytest.mark.parametrize(("text", "matchers", "range_ms"), PARSED)
def test_what_parses(text: str, matchers: list[str], range_ms: int | None) -> None:
    assert shown(text) == (matchers, range_ms)


REFUSED = [
    ("", "1:1: parse error: a selector needs a matcher that does not match the empty string"),
    ("{}", "1:1: parse error: a selector needs a matcher"),
    ('{a=""}', "1:1: parse error: a selector needs a matcher"),
    ('{a=~".*"}', "1:1: parse error: a selector needs a matcher"),
    ('{a!="b"}', "1:1: parse error: a selector needs a matcher"),
    ('{a!~"b"}', "1:1: parse error: a selector needs a matcher"),
    ("1+1", "1:1: parse error: unexpected character, found '1+1'"),
    ("up + up", "1:4: parse error: unexpected character, found '+ up'"),
    ("up up", "1:4: parse error: expected the end of a selector, found 'up'"),
    ("up\n{\n a b}", "3:4: parse error: expected =, !=, =~ or !~, found 'b'"),
    ("up{a}", "1:5: parse error: expected =, !=, =~ or !~, found '}'"),
    ("up{a=}", "1:6: parse error: expected a quoted value, found '}'"),
    ("up{a=b}", "1:6: parse error: expected a quoted value, found 'b'"),
    ("up{=}", "1:4: parse error: expected a label name, found '='"),
    ('up{a:b="c"}', "1:4: parse error: expected a label name, found 'a:b'"),
    ('up{a="b"', "1:9: parse error: expected , or }"),
    ('up{a="b" c="d"}', "1:10: parse error: expected , or }, found 'c'"),
    ('up{,a="b"}', "1:4: parse error: expected a label name, found ','"),
    ('up{a="b",,}', "1:10: parse error: expected a label name, found ','"),
    ('up{a="b}', "1:6: parse error: unexpected character, found '\"b}'"),
    ('up{a="b\n"}', "1:6: parse error: unexpected character"),
    (r'up{a="\q"}', "1:6: parse error: unknown escape sequence '\\\\q'"),
    (r'up{a="\ud800"}', "1:6: parse error: escape sequence '\\\\ud800' is no character"),
    (r'up{a="\U00110000"}', "1:6: parse error: escape sequence '\\\\U00110000' is no character"),
    ('up{a=~"("}', "1:7: parse error: no regular expression (RE2): missing ): ("),
    ('up{a=~"a)|(?:b"}', "1:7: parse error: no regular expression (RE2): unexpected ): a)|(?:b"),
    (r'up{a=~"(x)\\1"}', "1:7: parse error: no regular expression (RE2): invalid escape sequence"),
    ('up{a=~"(?=x)"}', "1:7: parse error: no regular expression (RE2): invalid perl operator"),
    ("up{a=~'\ud800'}", "1:7: parse error: no regular expression (RE2)"),
    ('up{"down"}', "1:4: parse error: the metric name is set twice"),
    ('up{__name__="down"}', "1:4: parse error: the metric name is set twice"),
    ('{"up","down"}', "1:7: parse error: the metric name is set twice"),
    ('{__name__="up","down"}', "1:16: parse error: the metric name is set twice"),
    ("up[0s]", "1:3: parse error: a range must be greater than 0"),
    ("up[5]", "1:3: parse error: '5' is no duration"),
    ("up[5m5h]", "1:3: parse error: '5m5h' is no duration"),
    ("up[300y]", "1:3: parse error: '300y' is longer than 292 years"),
    ("up[5m][5m]", "1:7: parse error: expected the end of a selector"),
    ("up[5m]{}", "1:7: parse error: expected the end of a selector"),
    ("rate(up[5m])", "1:5: parse error: unexpected character"),
    ("a" * (QUERY_CHARS_MAX + 1), f"1:{QUERY_CHARS_MAX}: parse error: longer than {QUERY_CHARS_MAX} characters"),
]


@pytest.mark.parametrize(("text", "told"), REFUSED)
def test_what_is_refused_and_where(text: str, told: str) -> None:
    with pytest.raises(BadQuery) as refused:
        parse_selector(text)
    assert str(refused.value).startswith(told)


def test_match_takes_no_range() -> None:
    assert parse_matchers("up") == (Matcher("__name__", MatchOp.EQUAL, "up"),)
    with pytest.raises(BadQuery, match="1:1: parse error: a range is not allowed here"):
        parse_matchers("up[5m]")


TOKENS = st.sampled_from([*"{},=~!\"'`[]\\ \n", "up", "__name__", "5m", '"a"', "=~", "!=", "(", "é", "\\x", "\\u00e9"])


@given(st.one_of(st.text(max_size=50), st.lists(TOKENS, max_size=30).map("".join)))
def test_any_text_parses_or_is_refused_with_line_and_column(text: str) -> None:
    try:
        parse_selector(text)
    except BadQuery as refused:
        where = re.match(r"(\d+):(\d+): parse error: ", str(refused))
        assert where
        line, column = int(where[1]), int(where[2])
        assert 1 <= line <= text.count("\n") + 1
        assert 1 <= column <= len(text.split("\n")[line - 1]) + 1


@given(st.dictionaries(st.text(min_size=1), st.tuples(st.sampled_from(list(SHORT)), st.text()), min_size=1))
def test_any_name_and_value_can_be_asked_for(conditions: dict[str, tuple[str, str]]) -> None:
    """Quoted as JSON is (less its surrogates), every text comes through unchanged."""
    plain = {name: (op if op in ("=", "!=") else "=", value) for name, (op, value) in conditions.items()}
    body = ",".join(f"{quoted(name)}{op}{quoted(value)}" for name, (op, value) in plain.items())
    matchers = parse_matchers(f'{{{body},"the end"="x"}}')
    assert [(one.name, str(one.op), one.value) for one in matchers[:-1]] == [
        (name, op, value) for name, (op, value) in plain.items()
    ]


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


LONG = [
    "a" * 65_000,
    " " * 65_000 + "!",
    '{a="' + "b" * 65_000,
    '{a="' + "\\" * 65_000,
    "{" + 'a="b",' * 10_000 + "}",
    "{" + "'a'='b'," * 8_000,
    "{" * 65_000,
    "[" * 65_000,
    "[5m]" * 16_000,
    '"",' * 20_000,
    "`" * 65_000,
    "\n" * 65_000 + "?",
    "up[" + "9" * 65_000 + "m]",
    '{a=~"' + "(a*)*" * 10_000 + '"}',
]


@pytest.mark.parametrize("text", LONG, ids=[text[:8].strip() or "blank" for text in LONG])
def test_64_kb_take_no_time(text: str) -> None:
    """Anything that is not linear takes minutes for this; a slow machine takes a second."""
    began = time.process_time()
    with contextlib.suppress(BadQuery):
        for matcher in parse_selector(text).matchers:
            matcher.matches("ab" * 1000)
    assert time.process_time() - began < 2.0


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
    matcher = Matcher("x", SHORT[op], value)
    found = [text for text in VALUES if match_all((matcher,), {} if text is None else {"x": text})]
    assert found == [text for text in VALUES if text in expected]
    assert matcher.matches_missing() == ("" in expected)


def test_a_regular_expression_takes_linear_time() -> None:
    matcher = Matcher("x", MatchOp.REGEX, "(?:a?){400}a{400}(x+x+)+y")
    began = time.process_time()
    assert not matcher.matches("a" * 400 + "x" * 4000)
    assert time.process_time() - began < 2.0
