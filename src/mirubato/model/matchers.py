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
                raise BadQuery(f"no regular expression (RE2): {_reason(error)}") from error

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


def match_all(matchers: tuple[Matcher, ...], labels: Mapping[str, str]) -> bool:
    """Whether labels fulfil every condition."""
    return all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)


def _reason(error: Exception) -> str:
    """RE2's message, which comes as bytes."""
    first = error.args[0] if error.args else b""
    return first.decode(errors="replace") if isinstance(first, bytes) else str(error)
