"""Label matchers, as in a PromQL selector."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import re2

from mirubato.errors import BadQuery

# As Prometheus compiles them: a dot matches a line break too. Groups are not remembered: with ten thousand of them in
# 64 kB of pattern, RE2 copied them at every step and one match took minutes. Bad ones it would log.
_OPTIONS = re2.Options()
_OPTIONS.dot_nl = True
_OPTIONS.never_capture = True
_OPTIONS.log_errors = False

_CAPTURING = re2.Options()
_CAPTURING.log_errors = False

_GO_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "trailing \\": "trailing backslash at end of expression: ``",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}
"""What RE2 and Go call differently."""


class MatchOp(StrEnum):
    """The four ways to match a label."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; a label that is missing has the empty value. BadQuery for a bad regex."""

    name: str
    op: MatchOp
    value: str
    _regex: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.op in (MatchOp.REGEX, MatchOp.NOT_REGEX):
            try:
                object.__setattr__(self, "_regex", re2.compile(self.value, _OPTIONS))
            except (re2.error, UnicodeEncodeError) as error:
                raise BadQuery(f"error parsing regexp: {_reason(error)}") from error

    def matches(self, value: str) -> bool:
        """Whether a label of this value (empty if missing) fulfils the condition; regexes are anchored."""
        if self.op is MatchOp.EQUAL:
            return value == self.value
        if self.op is MatchOp.NOT_EQUAL:
            return value != self.value
        return (self._regex.fullmatch(value) is not None) == (self.op is MatchOp.REGEX)

    def matches_missing(self) -> bool:
        """Whether a series without the label fulfils the condition."""
        return self.matches("")


def capturing(pattern: str) -> Any:
    """A regex whose groups can be asked for, as `label_replace` does; BadQuery for a bad one."""
    try:
        return re2.compile(pattern, _CAPTURING)
    except (re2.error, UnicodeEncodeError) as error:
        raise BadQuery(f"error parsing regexp: {_reason(error)}") from error


def match_all(matchers: tuple[Matcher, ...], labels: Mapping[str, str]) -> bool:
    """Whether labels fulfil every condition."""
    return all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)


def _reason(error: Exception) -> str:
    """RE2's message, which comes as bytes, in the words of Go's regexp."""
    first = error.args[0] if error.args else b""
    if not isinstance(first, bytes):
        return str(error)
    what, colon, part = first.decode(errors="replace").partition(": ")
    shown = f": `{part}`" if colon else ""
    return _GO_WORDS.get(what, what) + shown
