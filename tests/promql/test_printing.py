"""Expressions as text, in one line and in several."""

import pytest
from hypothesis import given

from mirubato.promql.parser import parse
from mirubato.promql.printing import pretty, to_text
from tests.promql.grammar import NUMBERS, OFFSETS, Grammar, expressions

SAME = [
    "up",
    'up{a="b",c!="d",e=~"f.*",g!~"h"}',
    '{__name__=~"u.*"}',
    '{"my label"="x"}',
    'up{a="say \\"hi\\"\\n\\\\ ü"}',
    "up[5m]",
    "up[1h30m] anchored @ 10.500 offset -5m",
    "up @ start() smoothed offset 1d",
    "up[5m:]",
    "up[5m:30s] @ end() offset 1w",
    "up[step() + 5m:min_of(1m, step())] offset -(range() / 2)",
    "up[(5m + 1m) * 2 ^ step()]",
    "-up",
    "--up",
    "-1 ^ 2",
    "(1 + 2) * 3",
    "1 == bool 2",
    "a </ 5",
    "a atan2 b",
    "a + on () b",
    "a + ignoring (x) b",
    'a + on (x, "y z") group_left (w) b',
    "a + ignoring () group_right () b",
    "a and on (x) b",
    "a + fill (0) b",
    "a + on (x) fill_left (-1.5) fill_right (1e+06) b",
    "sum(up)",
    'sum by (x, "y z") (up)',
    "sum without () (up)",
    "topk by (x) (3, up)",
    'count_values("v", up)',
    "time()",
    'label_join(up, "a", "-", "b", "c")',
    "1h30m",
    "-5m",
    "0.1",
    "+Inf",
    "NaN",
    "10000000000000000000000",
    "0.0000001",
]


@pytest.mark.parametrize("text", SAME)
def test_text_that_stays_as_it_is(text: str) -> None:
    assert to_text(parse(text)) == text
    assert pretty(parse(text)) == text


def test_braces_that_match_everything_stay() -> None:
    """Prometheus leaves them out, and what it writes does not parse."""
    assert to_text(parse("info(up, {})")) == "info(up, {})"


TIDIED = [
    (" up { } ", "up"),
    ("up{b='1',a=`2`,}", 'up{a="2",b="1"}'),
    ('{"up", a="b"}', '{__name__="up",a="b"}'),
    ("up[90m:60s] OFFSET 7d", "up[1h30m:1m] offset 1w"),
    ("up[0.5]", "up[500ms]"),
    ("up offset (5m)", "up offset 5m"),
    ("up offset -(5m + 1m)", "up offset -(5m + 1m)"),
    ("up[+(step())]", "up[(step())]"),
    ("up @ 1h", "up @ 3600.000"),
    ("SUM(up)BY(x,)", "sum by (x) (up)"),
    ("sum by () (up)", "sum(up)"),
    ("a AND b", "a and b"),
    ("a + ignoring() b", "a + b"),
    ("a + on(x) group_left b", "a + on (x) group_left () b"),
    ("a + fill_right(2) fill_left(2) b", "a + fill (2) b"),
    ("1 + on() a", "1 + a"),
    ("0x10+017", "16 + 15"),
    ("1e3", "1000"),
    ("- -2", "2"),
    ("-0", "-0"),
    ("90s", "1m30s"),
    ("12w6d", "90d"),
    ("2y", "2y"),
    ("1w1ms", "7d1ms"),
    ("0s", "0s"),
]


@pytest.mark.parametrize(("text", "tidied"), TIDIED)
def test_text_that_is_tidied(text: str, tidied: str) -> None:
    assert to_text(parse(text)) == tidied


A60 = "a" * 60
LAID_OUT = [
    (
        'sum by (service_name, http_route) (rate(http_server_request_duration_seconds_count{code=~"5.."}[5m])) / 2',
        """\
  sum by (service_name, http_route) (
    rate(http_server_request_duration_seconds_count{code=~"5.."}[5m])
  )
/
  2""",
    ),
    (
        "histogram_quantile(0.95, sum by (le, service_name) (rate(http_server_request_duration_seconds_bucket[5m])))",
        """\
histogram_quantile(
  0.95,
  sum by (le, service_name) (rate(http_server_request_duration_seconds_bucket[5m]))
)""",
    ),
    (
        "(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa > bool on (x) group_left (y) bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb)",
        """\
(
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
  > bool on (x) group_left (y)
    bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
)""",
    ),
    (
        f"-topk(5, -max_over_time(rate({A60}[5m])[1h:1m] offset 1d))",
        f"""\
-topk(
  5,
  -max_over_time(
rate({A60}[5m])[1h:1m] offset 1d
  )
)""",
    ),
]


@pytest.mark.parametrize(("text", "laid_out"), LAID_OUT, ids=[text[:12] for text, _ in LAID_OUT])
def test_what_is_longer_than_a_line_is_laid_out(text: str, laid_out: str) -> None:
    assert pretty(parse(text)) == laid_out


# As Prometheus writes it, `x offset (1m + 30s) @ 5 - y` is `x @ 5 offset (1m + 30s) - y`, whose duration has no end,
# and `Inf ^ 2` is `+Inf ^ 2`, in which the plus is a sign.
STABLE = Grammar(
    offsets=[offset for offset in OFFSETS if not offset.startswith("(")],
    numbers=[number for number in NUMBERS if number != "Inf"],
)


@given(expressions(STABLE))
def test_written_text_is_read_as_the_same(text: str) -> None:
    line = to_text(parse(text))
    assert to_text(parse(line)) == line
    assert to_text(parse(pretty(parse(text)))) == line
