"""Selectors: `name{label="value", ...}`, with a range or without; names of any letters in quotes."""

import re
from dataclasses import dataclass

from mirubato.config import parse_duration
from mirubato.errors import BadQuery
from mirubato.model.labels import NAME
from mirubato.model.matchers import Matcher, MatchOp

# Longer than any selector a person writes; a query of this size parses in 20 ms.
_QUERY_CHARS_MAX = 65_536

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
    | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<range>\[\s*[0-9a-z]+\s*\])
    | (?P<op>=~|!~|!=|=)
    | (?P<mark>[{},])
    )""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", '"': '"', "'": "'"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class VectorSelector:
    """What to select, and for a range vector how far back (ms)."""

    matchers: tuple[Matcher, ...]
    range_ms: int | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse_selector(text: str) -> VectorSelector:
    """A selector; BadQuery says where it ceases to be one."""
    if len(text) > _QUERY_CHARS_MAX:
        raise BadQuery(f"1:{_QUERY_CHARS_MAX}: parse error: longer than {_QUERY_CHARS_MAX} characters")
    return _Parser(text).selector()


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """A selector without a range, as `match[]` takes it."""
    selector = parse_selector(text)
    if selector.range_ms is not None:
        raise BadQuery(f"1:1: parse error: a range is not allowed here, found {text[:60]!r}")
    return selector.matchers


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._lexed()
        self._next = 0
        self._matchers: list[Matcher] = []
        self._named = False
        """Whether the metric name stands before the braces or by itself in them."""

    def selector(self) -> VectorSelector:
        token = self._take()
        if token.kind == "name":
            self._name(token, token.text)
            token = self._take()
        if token.kind == "{":
            self._braces()
            token = self._take()
        range_ms = None
        if token.kind == "range":
            range_ms = self._duration(token)
            token = self._take()
        if token.kind != "end":
            raise self._error(token, "expected the end of a selector")
        if all(matcher.matches_missing() for matcher in self._matchers):
            raise self._error(self._tokens[0], "a selector needs a matcher that does not match the empty string")
        return VectorSelector(tuple(self._matchers), range_ms)

    def _braces(self) -> None:
        token = self._take()
        while token.kind != "}":
            self._matcher(token)
            token = self._take()
            if token.kind == ",":
                token = self._take()
            elif token.kind != "}":
                raise self._error(token, "expected , or }")

    def _matcher(self, token: _Token) -> None:
        if token.kind not in ("name", "string") or (token.kind == "name" and ":" in token.text):
            raise self._error(token, "expected a label name")
        name = self._unquoted(token) if token.kind == "string" else token.text
        if token.kind == "string" and self._tokens[self._next].kind in (",", "}"):
            self._name(token, name)
            return
        operator, value = self._take(), self._take()
        if operator.kind != "op":
            raise self._error(operator, "expected =, !=, =~ or !~")
        if value.kind != "string":
            raise self._error(value, "expected a quoted value")
        if name == NAME and self._named:
            raise self._error(token, "the metric name is set twice")
        wanted = self._unquoted(value)
        try:
            self._matchers.append(Matcher(name, MatchOp(operator.text), wanted))
        except BadQuery as error:
            raise self._error(value, str(error)) from error

    def _name(self, token: _Token, name: str) -> None:
        """The metric name by itself: `name{...}` or `{"name", ...}`."""
        if self._named or any(matcher.name == NAME for matcher in self._matchers):
            raise self._error(token, "the metric name is set twice")
        self._named = True
        self._matchers.append(Matcher(NAME, MatchOp.EQUAL, name))

    def _duration(self, token: _Token) -> int:
        try:
            duration = parse_duration(token.text[1:-1].strip())
        except ValueError as error:
            raise self._error(token, str(error)) from error
        if not duration:
            raise self._error(token, "a range must be greater than 0")
        return duration

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _lexed(self) -> list[_Token]:
        tokens, at = [], 0
        while match := _TOKEN.match(self._text, at):
            assert match.lastgroup
            text = match[match.lastgroup]
            kind = text if match.lastgroup == "mark" else match.lastgroup
            tokens.append(_Token(kind, text, match.start(match.lastgroup)))
            at = match.end()
        rest = self._text[at:].lstrip()
        if rest:
            raise self._error(_Token("end", rest[:20], len(self._text) - len(rest)), "unexpected character")
        return [*tokens, _Token("end", "", len(self._text))]

    def _unquoted(self, token: _Token) -> str:
        if token.text[0] == "`":
            return token.text[1:-1]
        try:
            return _ESCAPE.sub(_unescaped, token.text[1:-1])
        except ValueError as error:
            raise self._error(token, str(error)) from error

    def _error(self, token: _Token, what: str) -> BadQuery:
        line = self._text.count("\n", 0, token.at) + 1
        column = token.at - (self._text.rfind("\n", 0, token.at) + 1) + 1
        found = f", found {token.text[:60]!r}" if token.text else ""
        hint = "only plain selectors are understood: no functions or operators"
        return BadQuery(f"{line}:{column}: parse error: {what}{found} ({hint})")


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "xuU" and len(code) > 1:
        return _character(int(code[1:], 16), match)
    if len(code) == 3:
        return _character(int(code, 8), match)
    if code not in _ESCAPES:
        raise ValueError(f"unknown escape sequence {match[0]!r}")
    return _ESCAPES[code]


def _character(number: int, match: re.Match[str]) -> str:
    if number > 0x10FFFF or 0xD800 <= number < 0xE000:
        raise ValueError(f"escape sequence {match[0]!r} is no character")
    return chr(number)
