"""The words of a PromQL text, one after another, until it ends or ceases to be words.

Source: prometheus, promql/parser/lex.go, whose words the errors are.
"""

import re
import string
from collections.abc import Iterator
from typing import Final, NamedTuple

from mirubato.promql.expressions import AGGREGATIONS, EXPERIMENTAL_AGGREGATIONS
from mirubato.promql.literals import quoted, quoted_character

# Kinds of tokens; every other kind is the keyword in small letters or the mark itself. `end` is a keyword.
IDENTIFIER: Final = "IDENTIFIER"
METRIC_IDENTIFIER: Final = "METRIC_IDENTIFIER"
NUMBER: Final = "NUMBER"
DURATION: Final = "DURATION"
STRING: Final = "STRING"
EOF: Final = "EOF"
ERROR: Final = "ERROR"

AGGREGATION_WORDS = AGGREGATIONS | EXPERIMENTAL_AGGREGATIONS
OPERATOR_WORDS = frozenset(("and", "or", "unless", "atan2"))
_MATCHING_WORDS = ("bool", "on", "ignoring", "group_left", "group_right", "fill", "fill_left", "fill_right")
MODIFIERS = frozenset((*_MATCHING_WORDS, "by", "without", "offset", "smoothed", "anchored"))
QUERY_WORDS = frozenset(("start", "end", "step", "range", "max_of", "min_of"))
"""Words that stand for a property of the query, or for a function, before a parenthesis."""
KEYWORDS = AGGREGATION_WORDS | OPERATOR_WORDS | MODIFIERS | QUERY_WORDS

_OPERATOR_MARKS = frozenset(
    ["+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">=", "</", ">/", "=~", "!~", "@"]
)
_KIND_OF_WORD = {word: word for word in KEYWORDS} | {"inf": NUMBER, "nan": NUMBER}
_TITLES = {
    IDENTIFIER: "identifier",
    METRIC_IDENTIFIER: "metric identifier",
    NUMBER: "number",
    DURATION: "duration",
    STRING: "string",
}


class Token(NamedTuple):
    """A word: its kind, what was written (of an ERROR: what is wrong), and the position of its first character."""

    kind: str
    text: str
    at: int

    @property
    def end(self) -> int:
        """The position after its last character."""
        return self.at + len(self.text)


def described(token: Token) -> str:
    """A token as errors show it: `identifier "foo"`, `<op:+>`, `end of input`."""
    kind, text = token.kind, token.text
    if kind == EOF:
        return "end of input"
    if kind in (IDENTIFIER, METRIC_IDENTIFIER):
        return f"{_TITLES[kind]} {quoted(text)}"
    if kind in MODIFIERS:
        return f"<{text}>"
    if kind in _OPERATOR_MARKS or kind in OPERATOR_WORDS:
        return f"<op:{text}>"
    if kind in AGGREGATION_WORDS:
        return f"<aggr:{text}>"
    shown = quoted(text) if len(text.encode(errors="replace")) <= 10 else quoted(text[:10]) + "..."
    return f"{_TITLES[kind]} {shown}" if kind in _TITLES else shown


# Quantifiers are possessive: nothing is gone back over, so that time is linear in the text.
_SPACE = r"(?:[ \t\n\r]++|\#[^\r\n]*+)*+"
_NUMBER = r"""
    (?P<number>(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+(?![0-9A-Za-z_.]))
  | (?P<duration>[0-9]++(?:ms|[smhdwy])(?:[0-9]++(?:ms|[smhdw]))*+(?![0-9A-Za-z_]))"""
_ESCAPE = r"""\\(?:[abfnrtv\\]|[0-3][0-7]{2}|x[0-9a-fA-F]{2}|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}
  |U00(?:10|0[1-9a-fA-F])[0-9a-fA-F]{4}|U0000(?![dD][89a-fA-F])[0-9a-fA-F]{4})"""
_STRING = rf"""
    (?P<string>"(?:[^"\\\n\ufffd\ud800-\udfff]++|\\"|{_ESCAPE})*+"
  | '(?:[^'\\\n\ufffd\ud800-\udfff]++|\\'|{_ESCAPE})*+' | `[^`\ufffd\ud800-\udfff]*+`)"""
_QUERY_WORD = r"(?P<query_word>(?i:step|range|max_of|min_of)(?![a-zA-Z_]))"
_MARK = r",*%+\-^/@(){]|==|!=|<[=/]?+|>[=/]?+|=(?!~)"

_PLAIN = re.compile(
    rf"{_SPACE}(?:(?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*+)|(?P<mark>[\[\]{_MARK})|{_NUMBER}|{_STRING})", re.VERBOSE
)
_IN_BRACES = re.compile(
    rf"{_SPACE}(?:(?P<name>[a-zA-Z_][a-zA-Z0-9_]*+)|(?P<mark>=~|!~|!=|=|,|}})|{_STRING})", re.VERBOSE
)
_AFTER_BRACKET = re.compile(rf"[ \t\n\r]*+(?:{_NUMBER}|(?P<mark>[\](),*%+\-^/:])|{_QUERY_WORD})", re.VERBOSE)
_IN_BRACKETS = re.compile(rf"{_SPACE}(?:{_NUMBER}|(?P<mark>[:\]{_MARK})|{_QUERY_WORD}|{_STRING})", re.VERBOSE)
"""After the first number in brackets."""
_BLANK = re.compile(_SPACE, re.VERBOSE)
_BLANK_AFTER_BRACKET = re.compile(r"[ \t\n\r]*+")
_BEFORE_PARENTHESIS = re.compile(r"[ \t\n\r]*+\(")


def tokens(text: str) -> Iterator[Token]:
    """The tokens; the last is EOF, or an ERROR if the text goes on with what is no token."""
    lexer = _Lexer(text)
    at = 0
    while True:
        match = lexer.pattern.match(text, at)
        if match is None:
            token = lexer.unusual(at)
        else:
            kind = match.lastgroup
            assert kind
            start, at = match.span(kind)
            token = lexer.token(kind, text[start:at], start)
        yield token
        if token.kind in (EOF, ERROR):
            return
        at = token.end


class _Lexer:
    """What is open, and so which pattern is next."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.pattern = _PLAIN
        self._parentheses = 0
        self._in_brackets = False
        self._colon = False
        """Whether there was a colon in these brackets."""
        self._any_number = False
        """Whether there was a number in any brackets: lex.go never forgets it."""

    def token(self, kind: str, text: str, at: int) -> Token:
        """What a pattern has found."""
        if kind == "mark":
            return (text in "()[]{}:" and self._opened_or_closed(text, at)) or Token(text, text, at)
        if kind == "word":
            return Token(self._kind_of(text, at), text, at)
        if kind == "name":
            return Token(IDENTIFIER, text, at)
        if kind == "string":
            return Token(STRING, text, at)
        if kind == "query_word":
            return Token(text.lower(), text, at)
        self._number_seen()
        return Token(NUMBER if kind == "number" else DURATION, text, at)

    def unusual(self, at: int) -> Token:
        """The end, an unusual number, or what is wrong."""
        blank = _BLANK_AFTER_BRACKET if self.pattern is _AFTER_BRACKET else _BLANK
        found = blank.match(self._text, at)
        assert found
        at = found.end()
        if at == len(self._text):
            return self._end(at)
        character, following = self._text[at], self._text[at + 1 : at + 2]
        if self.pattern is not _IN_BRACES and (_digit(character) or (character == "." and _digit(following))):
            self._number_seen()
            return _unusual_number(self._text, at)
        if self.pattern is not _AFTER_BRACKET and character in "\"'`":
            return Token(ERROR, _why_no_string(self._text, at), at)
        return Token(ERROR, self._why_unexpected(character, following), at)

    def _kind_of(self, word: str, at: int) -> str:
        kind = _KIND_OF_WORD.get(word.lower())
        if kind is None:
            return METRIC_IDENTIFIER if ":" in word else IDENTIFIER
        if kind.startswith("fill") and not _BEFORE_PARENTHESIS.match(self._text, at + len(word)):
            return IDENTIFIER
        return kind

    def _number_seen(self) -> None:
        if self.pattern is _AFTER_BRACKET:
            self.pattern = _IN_BRACKETS
            self._any_number = True

    def _opened_or_closed(self, mark: str, at: int) -> Token | None:
        """Remember it; an ERROR if it may not be here."""
        if mark == "(":
            self._parentheses += 1
        elif mark == ")":
            self._parentheses -= 1
            if self._parentheses < 0:
                return Token(ERROR, "unexpected right parenthesis ')'", at + 1)
        elif mark == "{":
            self.pattern = _IN_BRACES
        elif mark == "}":
            self.pattern = _IN_BRACKETS if self._in_brackets else _PLAIN
        elif mark == "[":
            self.pattern, self._in_brackets, self._colon = _AFTER_BRACKET, True, False
        elif mark == "]":
            if not self._in_brackets:
                return Token(ERROR, "unexpected right bracket ']'", at)
            self.pattern, self._in_brackets = _PLAIN, False
        else:
            return self._second_or_early_colon(at)
        return None

    def _second_or_early_colon(self, at: int) -> Token | None:
        before, self._colon = self._colon, True
        if self.pattern is _IN_BRACKETS:
            return Token(ERROR, "unexpected colon ':'", at) if before else None
        if not self._any_number:
            return Token(ERROR, "unexpected colon before duration in duration expression", at + 1)
        return Token(ERROR, "unexpected repeated colon in duration expression", at + 1) if before else None

    def _end(self, at: int) -> Token:
        if self.pattern is _IN_BRACES:
            return Token(ERROR, "unexpected end of input inside braces", at)
        if self.pattern is _AFTER_BRACKET:
            return Token(ERROR, "unexpected end of input in duration expression", at)
        if self._parentheses:
            return Token(ERROR, "unclosed left parenthesis", at)
        if self._in_brackets:
            return Token(ERROR, "unclosed left bracket", at)
        return Token(EOF, "", at)

    def _why_unexpected(self, character: str, following: str) -> str:
        shown = quoted_character(character)
        if self.pattern is _AFTER_BRACKET:
            return f"unexpected character in duration expression: {shown}"
        if self.pattern is _IN_BRACES:
            if character == "!":
                return f"unexpected character after '!' inside braces: {quoted_character(following)}"
            return "unexpected left brace '{'" if character == "{" else f"unexpected character inside braces: {shown}"
        if character in "=!":
            return f"unexpected character after '{character}': {quoted_character(following)}"
        if self._in_brackets and character == "[":
            return "unexpected left bracket '['"
        expected = ", expected ':'" if self._in_brackets and _alpha(character) else ""
        return f"unexpected character: {shown}{expected}"


def _digit(character: str) -> bool:
    return "0" <= character <= "9"


def _alpha(character: str) -> bool:
    return character == "_" or (character.isascii() and character.isalpha())


def _alphanumeric(character: str) -> bool:
    return _alpha(character) or _digit(character)


_AFTER_NUMBER = re.compile(r"[smhdwy]s?+(?:[0-9]++[smhdw]s?+)*+")
_DIGITS = re.compile(r"[0-9]*+")
_HEX_DIGITS = re.compile(r"[0-9a-fA-F]*+")


def _unusual_number(text: str, at: int) -> Token:
    """A number or duration that is none of the usual ones, or an error."""
    whole, end = _scan_number(text, at)
    if whole:
        return Token(NUMBER, text[at:end], at)
    rest = _AFTER_NUMBER.match(text, end)
    if rest:
        end = _run(_DIGITS, text, rest.end())
        if end == rest.end():
            if not _alphanumeric(text[end : end + 1]):
                return Token(DURATION, text[at:end], at)
            end += 1
    return Token(ERROR, f"bad number or duration syntax: {quoted(text[at:end])}", at)


def _scan_number(text: str, at: int) -> tuple[bool, int]:
    """Whether there is a number, and where it ends or ceases to be one; step by step as lex.go's `scanNumber`."""
    end = at + (text[at] == "0")
    hexadecimal = end > at and text[end : end + 1] in ("x", "X")
    if hexadecimal:
        end += 1 + (text[end + 1 : end + 2] == "_")
    digits = _HEX_DIGITS if hexadecimal else _DIGITS
    end += text[end : end + 1] == "."
    end = min(end + 1, _run(digits, text, end))
    seen = ""
    while mark := text[end : end + 1].lower():
        if mark not in "._e":
            run = _run(digits, text, end)
            if run == end:
                break
            end = run
            continue
        end += 1
        if mark != "_" and mark in seen:
            return False, end
        seen += mark
        if mark == "e":
            end += text[end : end + 1] in ("+", "-")
        following = text[end : end + 1]
        if following and following in ("_." if mark == "." else "_.eE"):
            return False, end + 1
        if hexadecimal if mark == "." else not following:
            return False, end
    return not _alphanumeric(text[end : end + 1]), end


def _run(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a pattern that matches everywhere ends."""
    match = pattern.match(text, at)
    assert match
    return match.end()


_CODE_DIGITS = {"x": 2, "u": 4, "U": 8}


def _why_no_string(text: str, start: int) -> str:
    """What is wrong with the string that begins here."""
    quote, at = text[start], start + 1
    while at < len(text):
        character = text[at]
        if character == "\ufffd" or "\ud800" <= character <= "\udfff":
            return "invalid UTF-8 rune"
        if quote != "`" and character == "\n":
            break
        if quote != "`" and character == "\\":
            reason = _why_no_escape(text, at + 1, quote)
            if reason:
                return reason
            at += 1
        at += 1
    return "unterminated raw string" if quote == "`" else "unterminated quoted string"


def _why_no_escape(text: str, at: int, quote: str) -> str:
    """What is wrong with an escape sequence, whose backslash is before `at`; nothing if it is right."""
    kind = text[at : at + 1]
    if not kind:
        return "escape sequence not terminated"
    if kind in "abfnrtv\\" + quote:
        return ""
    if "0" <= kind <= "7":
        return _why_no_code(text, at, 3, 8)
    if kind in _CODE_DIGITS:
        return _why_no_code(text, at + 1, _CODE_DIGITS[kind], 16)
    return f"unknown escape sequence {_code_point(kind)}"


def _why_no_code(text: str, at: int, length: int, base: int) -> str:
    digits = text[at : at + length]
    for digit in digits:
        if digit not in string.hexdigits or int(digit, 16) >= base:
            return f"illegal character {_code_point(digit)} in escape sequence"
    if len(digits) < length:
        return "escape sequence not terminated"
    code = int(digits, base)
    if code > (0x10FFFF if length > 3 else 255) or 0xD800 <= code < 0xE000:
        return "escape sequence is an invalid Unicode code point"
    return ""


def _code_point(character: str) -> str:
    """`U+0071 'q'`."""
    shown = f" '{character}'" if character.isprintable() else ""
    return f"U+{ord(character):04X}{shown}"
