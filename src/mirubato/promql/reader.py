"""Reading tokens one by one, and saying what was not expected where. Source of the words: prometheus, parse.go."""

from typing import Final, NoReturn

from mirubato.errors import BadQuery
from mirubato.promql.lexer import EOF, ERROR, Token, described, tokens

Part = tuple[str, str]
"""What is being read, and what was expected in it, in the words of an error; both may be empty."""

ANYWHERE: Final[Part] = ("", "")


def position(text: str, at: int) -> str:
    """`line:column` of the character at `at`, from 1; columns count bytes of UTF-8, as Prometheus' do."""
    if not text:
        return "unknown position"
    line_start = text.rfind("\n", 0, at) + 1
    column = len(text[line_start:at].encode(errors="surrogatepass")) + 1
    return f"{text.count(chr(10), 0, at) + 1}:{column}"


class Reader:
    """The tokens of a text: `token` is the next one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self.part = ANYWHERE
        """What a token that cannot be here is said to be in."""
        self.token = next(self._tokens)
        self.taken = self.token
        """The token that was read last."""

    def take(self) -> Token:
        """The next token; it is read."""
        self.taken = token = self.token
        if token.kind != EOF:
            self.token = next(self._tokens)
        return token

    def expect(self, kind: str, part: Part | None = None) -> Token:
        """The next token if it is of this kind, else BadQuery."""
        if self.token.kind != kind:
            self.unexpected(part)
        return self.take()

    def look(self) -> str:
        """The kind of the next token; BadQuery if it is none.

        Prometheus' parser looks ahead before some decisions and not before others: which of two errors it tells
        depends on that.
        """
        if self.token.kind == ERROR:
            self.unexpected()
        return self.token.kind

    def unexpected(self, part: Part | None = None) -> NoReturn:
        """BadQuery: the next token cannot be here."""
        if self.token.kind == ERROR:
            self.fail(self.token.at, self.token.text)
        within, expected = part or self.part
        where = f" in {within}" if within else ""
        wanted = f", expected {expected}" if expected else ""
        self.fail(self.token.at, f"unexpected {described(self.token)}{where}{wanted}")

    def fail(self, at: int, what: str) -> NoReturn:
        """BadQuery with this position."""
        raise parse_error(self._text, at, what)


def parse_error(text: str, at: int, what: str) -> BadQuery:
    """Why `text` is no expression."""
    return BadQuery(f"{position(text, at)}: parse error: {what}")
