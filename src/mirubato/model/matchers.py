"""Label matchers, as in a PromQL selector."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import re2

from mirubato.errors import BadQuery


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
                object.__setattr__(self, "_regex", re2.compile(f"(?s:{self.value})"))
            except re2.error as error:
                raise BadQuery(f"bad regular expression {self.value!r} for label {self.name!r}: {error}") from error

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
