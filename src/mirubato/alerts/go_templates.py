"""Go's text templates, as Prometheus' rules use them: text -> tree. Source: Go, text/template/parse.

What Go refuses when it parses is refused here: unknown functions, undefined variables, actions that are not closed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mirubato.limits import TEMPLATE_CHARS_MAX, TEMPLATE_NESTING_MAX


class TemplateError(Exception):
    """A template that does not parse, or that fails when it is run."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, number, boolean or nil."""

    value: Any


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`; `$` alone is what the template was given."""

    name: str


@dataclass(frozen=True, slots=True)
class Dot:
    """`.`, what is being looked at."""


@dataclass(frozen=True, slots=True)
class Function:
    """The name of a function, called with what follows it."""

    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Fields of something: `.Labels.job`, `$x.Value`, `(first ...).Labels`."""

    base: "Operand"
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pipe:
    """Commands, each of which gets what the one before it yields; and the variables that get the last."""

    commands: tuple[tuple["Operand", ...], ...]
    variables: tuple[str, ...] = ()
    assigns: bool = False
    """`=` and not `:=`: the variables are there already."""


Operand = Literal | Variable | Dot | Function | Chain | Pipe


@dataclass(frozen=True, slots=True)
class Text:
    """What stands outside of actions."""

    text: str


@dataclass(frozen=True, slots=True)
class Show:
    """`{{ pipe }}`."""

    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Branch:
    """`if`, `with` or `range`, with what is run, and what is run else."""

    word: str
    pipe: Pipe
    then: "Nodes"
    otherwise: "Nodes"


@dataclass(frozen=True, slots=True)
class Invoke:
    """`{{ template "name" pipe }}`."""

    name: str
    pipe: Pipe | None


@dataclass(frozen=True, slots=True)
class Leave:
    """`break` or `continue`."""

    word: str


Node = Text | Show | Branch | Invoke | Leave
Nodes = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A whole template, and those that it defines by name."""

    nodes: Nodes
    defined: Mapping[str, Nodes]


BUILT_IN = frozenset(
    (
        "and",
        "or",
        "not",
        "len",
        "index",
        "slice",
        "print",
        "printf",
        "println",
        "html",
        "js",
        "urlquery",
        "call",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "break",
        "continue",
    )
)
"""Functions of Go's own."""

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    |(?P<char>'(?:[^'\\\n]|\\.)+')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?))
    |(?P<field>\.[^\W\d]\w*)
    |(?P<variable>\$\w*)
    |(?P<word>[^\W\d]\w*)
    |(?P<sign>:=|=|\||\(|\)|,|\.)""",
    re.VERBOSE,
)
_SPACE = " \t\r\n"
_KEYWORDS = frozenset(("if", "else", "end", "range", "with", "define", "block", "template", "nil", "true", "false"))
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)")
_PARENTHESES = "parenthesized pipeline"
_PREDEFINED = ("$", "$labels", "$externalLabels", "$externalURL", "$value")


@lru_cache(maxsize=4096)
def parsed(text: str, functions: frozenset[str]) -> Template:
    """The tree of a template; `functions` are those that there are beside Go's own. TemplateError where it is none."""
    if len(text) > TEMPLATE_CHARS_MAX:
        raise TemplateError(f"longer than {TEMPLATE_CHARS_MAX} characters")
    return _Parser(_pieces(text), functions | BUILT_IN).template()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    spaced: bool
    """Whether there was space before it: `$x .Field` is two operands, `$x.Field` one."""


def _pieces(text: str) -> list[str | list[_Token]]:
    """Texts and actions in turn; comments are gone, and space is where a dash asks for it."""
    pieces: list[str | list[_Token]] = []
    at, trim = 0, False
    while True:
        start = text.find("{{", at)
        plain = text[at:] if start < 0 else text[at:start]
        plain = plain.lstrip(_SPACE) if trim else plain
        if start < 0:
            return [*pieces, plain]
        inside = start + 2
        if text.startswith("-", inside) and text[inside + 1 : inside + 2].isspace():
            plain, inside = plain.rstrip(_SPACE), inside + 1
        pieces.append(plain)
        tokens, at, trim = _action(text, inside)
        if tokens is not None:
            pieces.append(tokens)


def _action(text: str, at: int) -> tuple[list[_Token] | None, int, bool]:
    """The tokens from `at`, where the text goes on, and whether its space goes; None for a comment."""
    begun = at + len(text[at:]) - len(text[at:].lstrip())
    if text.startswith("/*", begun):
        end = text.find("*/", begun)
        closed = re.compile(r"\*/(\s-)?\}\}").match(text, end) if end >= 0 else None
        if closed is None:
            raise TemplateError("unclosed comment" if end < 0 else "comment ends before closing delimiter")
        return None, closed.end(), bool(closed[1])
    tokens: list[_Token] = []
    spaced = False
    while True:
        if text.startswith("}}", at):
            return tokens, at + 2, False
        if spaced and text.startswith("-}}", at):
            return tokens, at + 3, True
        match = _TOKEN.match(text, at)
        if match is None:
            raise TemplateError(_unlexed(text, at))
        at, kind = match.end(), str(match.lastgroup)
        if kind != "space":
            tokens.append(_Token(kind, match[0], spaced))
        spaced = kind == "space"


def _unlexed(text: str, at: int) -> str:
    if at >= len(text):
        return "unclosed action"
    return {'"': "unterminated quoted string", "`": "unterminated raw quoted string"}.get(
        text[at], f"unexpected {text[at]!r} in an action"
    )


@dataclass
class _Parser:
    pieces: Sequence[str | list[_Token]]
    functions: frozenset[str]
    at: int = 0
    variables: list[str] = field(default_factory=lambda: list(_PREDEFINED))
    defined: dict[str, Nodes] = field(default_factory=dict)
    ranges: int = 0
    depth: int = 0

    def template(self) -> Template:
        nodes, end = self._nodes(top=True)
        if end:
            raise TemplateError(f"unexpected {{{{{end[0].text}}}}}")
        return Template(nodes, self.defined)

    def _nodes(self, *, top: bool = False) -> tuple[Nodes, list[_Token]]:
        """What comes up to `end` or `else`, and the tokens of that; the variables declared in it end with it."""
        self.depth += 1
        if self.depth > TEMPLATE_NESTING_MAX:
            raise TemplateError(f"actions are nested more than {TEMPLATE_NESTING_MAX} deep")
        known = len(self.variables)
        nodes: list[Node] = []
        while self.at < len(self.pieces):
            piece = self.pieces[self.at]
            self.at += 1
            if isinstance(piece, str):
                nodes += [Text(piece)] if piece else []
            elif piece and piece[0].text in ("end", "else") and piece[0].kind == "word":
                del self.variables[known:]
                self.depth -= 1
                return tuple(nodes), piece
            else:
                nodes += self._node(piece)
        if not top:
            raise TemplateError("unexpected EOF: an action has no {{end}}")
        return tuple(nodes), []

    def _node(self, tokens: list[_Token]) -> list[Node]:
        word = tokens[0].text if tokens and tokens[0].kind == "word" else ""
        match word:
            case "if" | "with" | "range":
                return [self._branch(word, tokens[1:])]
            case "define" | "block":
                return self._define(word, tokens[1:])
            case "template":
                return [self._invoke(tokens[1:])]
            case "break" | "continue" if len(tokens) == 1:
                if not self.ranges:
                    raise TemplateError(f"{{{{{word}}}}} outside {{{{range}}}}")
                return [Leave(word)]
        return [Show(self._pipe(tokens, "command"))]

    def _branch(self, word: str, tokens: list[_Token]) -> Branch:
        known = len(self.variables)
        pipe = self._pipe(tokens, word)
        self.ranges += word == "range"
        then, end = self._nodes()
        self.ranges -= word == "range"
        otherwise: Nodes = ()
        if end[0].text == "else":
            if len(end) > 1 and end[1].text == word and word != "range":
                otherwise = (self._branch(word, end[2:]),)
            elif len(end) > 1:
                raise TemplateError(f"unexpected <{end[1].text}> in else")
            else:
                otherwise, end = self._nodes()
                if end[0].text == "else":
                    raise TemplateError("expected end; found {{else}}")
        del self.variables[known:]
        return Branch(word, pipe, then, otherwise)

    def _define(self, word: str, tokens: list[_Token]) -> list[Node]:
        if not tokens or tokens[0].kind != "string":
            raise TemplateError(f"{word} needs a name in quotes")
        name = str(_unquoted(tokens[0].text))
        invoke = Invoke(name, self._pipe(tokens[1:], "block")) if word == "block" else None
        outer, self.variables = self.variables, ["$"]
        nodes, end = self._nodes()
        self.variables = outer
        if end[0].text != "end":
            raise TemplateError(f"unexpected {{{{{end[0].text}}}}} in {word} clause")
        self.defined[name] = nodes
        return [invoke] if invoke else []

    def _invoke(self, tokens: list[_Token]) -> Invoke:
        if not tokens or tokens[0].kind != "string":
            raise TemplateError("template needs a name in quotes")
        pipe = self._pipe(tokens[1:], "template") if tokens[1:] else None
        return Invoke(str(_unquoted(tokens[0].text)), pipe)

    # --- pipelines ----------------------------------------------------------------------------------------------------

    def _pipe(self, tokens: list[_Token], context: str) -> Pipe:
        names, assigns, tokens = self._declared(tokens, context)
        pipe = self._commands(_Tokens(tokens), context)
        if not assigns:
            self.variables += names
        return Pipe(pipe, tuple(names), assigns)

    def _declared(self, tokens: list[_Token], context: str) -> tuple[list[str], bool, list[_Token]]:
        """Variables before `:=` or `=`; `range` takes two of them."""
        kinds = [token.text if token.kind == "sign" else token.kind for token in tokens[:4]]
        for count, shape in ((1, ["variable"]), (2, ["variable", ",", "variable"])):
            sign = len(shape)
            if kinds[:sign] == shape and kinds[sign : sign + 1] in ([":="], ["="]):
                if count == 2 and context != "range":
                    raise TemplateError(f"too many declarations in {context}")
                names = [token.text for token in tokens[:sign] if token.kind == "variable"]
                assigns = kinds[sign] == "="
                for name in names if assigns else ():
                    self._check_variable(name)
                return names, assigns, tokens[sign + 1 :]
        return [], False, tokens

    def _commands(self, tokens: "_Tokens", context: str) -> tuple[tuple[Operand, ...], ...]:
        commands: list[tuple[Operand, ...]] = []
        while True:
            command = self._command(tokens)
            if not command:
                raise TemplateError(f"missing value for {context}")
            if commands and not isinstance(command[0], Function | Chain | Variable):
                raise TemplateError("non executable command in pipeline")
            commands.append(command)
            if not tokens.take("|"):
                break
        if tokens.left and not (context == _PARENTHESES and tokens.next_is(")")):
            raise TemplateError(f"unexpected <{tokens.left[0].text}> in {context}")
        return tuple(commands)

    def _command(self, tokens: "_Tokens") -> tuple[Operand, ...]:
        operands: list[Operand] = []
        while tokens.left and not tokens.next_is("|") and not tokens.next_is(")"):
            if operands and not tokens.left[0].spaced:
                raise TemplateError(f"unexpected <{tokens.left[0].text}> in operand")
            operands.append(self._operand(tokens))
        return tuple(operands)

    def _operand(self, tokens: "_Tokens") -> Operand:
        base = self._term(tokens)
        fields = []
        while tokens.left and tokens.left[0].kind == "field" and not tokens.left[0].spaced:
            fields.append(tokens.left.pop(0).text[1:])
        if not fields:
            return base
        if isinstance(base, Literal):
            raise TemplateError("a constant has no fields")
        return Chain(base.base, base.fields + tuple(fields)) if isinstance(base, Chain) else Chain(base, tuple(fields))

    def _term(self, tokens: "_Tokens") -> Operand:
        token = tokens.left.pop(0)
        match token.kind:
            case "string" | "char" | "number":
                return Literal(_number(token.text) if token.kind == "number" else _unquoted(token.text))
            case "field":
                return Chain(Dot(), (token.text[1:],))
            case "variable":
                self._check_variable(token.text)
                return Variable(token.text)
            case "word":
                return self._word(token.text)
        if token.text == ".":
            return Dot()
        if token.text == "(":
            return self._parenthesized(tokens)
        raise TemplateError(f"unexpected <{token.text}> in operand")

    def _parenthesized(self, tokens: "_Tokens") -> Pipe:
        self.depth += 1
        if self.depth > TEMPLATE_NESTING_MAX:
            raise TemplateError(f"parentheses are nested more than {TEMPLATE_NESTING_MAX} deep")
        commands = self._commands(tokens, _PARENTHESES)
        self.depth -= 1
        if not tokens.take(")"):
            raise TemplateError("unclosed left paren")
        return Pipe(commands)

    def _word(self, word: str) -> Operand:
        if word in ("true", "false"):
            return Literal(word == "true")
        if word == "nil":
            return Literal(None)
        if word in _KEYWORDS:
            raise TemplateError(f"unexpected <{word}> in operand")
        if word not in self.functions:
            raise TemplateError(f'function "{word}" not defined')
        return Function(word)

    def _check_variable(self, name: str) -> None:
        if name not in self.variables:
            raise TemplateError(f'undefined variable "{name}"')


@dataclass
class _Tokens:
    """What is left of an action."""

    left: list[_Token]

    def next_is(self, sign: str) -> bool:
        return bool(self.left) and self.left[0].kind == "sign" and self.left[0].text == sign

    def take(self, sign: str) -> bool:
        taken = self.next_is(sign)
        if taken:
            self.left.pop(0)
        return taken


def _number(text: str) -> int | float:
    text = text.replace("_", "")
    try:
        if text.lstrip("+-")[:2].lower() in ("0x", "0b", "0o"):
            return int(text, 0)
        return int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError as error:
        raise TemplateError(f"bad number syntax: {text!r}") from error


def _unquoted(text: str) -> str | int:
    """A string, or of a character its number."""
    if text[0] == "`":
        return text[1:-1]
    plain = _ESCAPE.sub(lambda match: _escaped(match[1]), text[1:-1])
    if text[0] == '"':
        return plain
    if len(plain) != 1:
        raise TemplateError(f"malformed character constant: {text}")
    return ord(plain)


def _escaped(escape: str) -> str:
    if escape[0] in "xuU" and len(escape) > 1:
        code = int(escape[1:], 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise TemplateError(f"bad escape \\{escape}")
        return chr(code)
    if len(escape) == 3:
        return chr(int(escape, 8))
    if escape in "\"'\\":
        return escape
    if escape not in _ESCAPES:
        raise TemplateError(f"bad escape \\{escape} in a quoted string")
    return _ESCAPES[escape]
