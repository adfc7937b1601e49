"""Lists of labels: matchers in braces, and names in the parentheses after `by`, `on` and the like.

Source: prometheus, promql/parser/generated_parser.y (`label_matchers`, `grouping_labels`).
"""

from typing import Final

from mirubato.errors import BadQuery
from mirubato.model.labels import NAME
from mirubato.model.matchers import Matcher, MatchOp
from mirubato.promql.lexer import IDENTIFIER, KEYWORDS, METRIC_IDENTIFIER, STRING
from mirubato.promql.literals import quoted, unquote
from mirubato.promql.reader import Part, Reader

_MATCH_OPS = {op.value: op for op in MatchOp}
_NAME_KINDS = (KEYWORDS - {"without"}) | {IDENTIFIER, METRIC_IDENTIFIER}

_OPENING: Final[Part] = ("grouping opts", '"("')
_NAME: Final[Part] = ("grouping opts", "label")
_AFTER_NAME: Final[Part] = ("grouping opts", '"," or ")"')
_MATCHER: Final[Part] = ("label matching", 'identifier or "}"')
_OPERATOR: Final[Part] = ("label matching", "label matching operator")
_VALUE: Final[Part] = ("label matching", "string")
_AFTER_MATCHER: Final[Part] = ("label matching", '"," or "}"')


def matchers(reader: Reader) -> list[Matcher]:
    """`{a="b", "name", ...}`; the brace is the next token."""
    reader.take()
    found = []
    while reader.token.kind != "}":
        found.append(_matcher(reader))
        if reader.token.kind != ",":
            break
        reader.take()
    reader.expect("}", _AFTER_MATCHER)
    return found


def _matcher(reader: Reader) -> Matcher:
    label = reader.token
    if label.kind == STRING:
        reader.take()
        name = unquote(label.text)
        if reader.token.kind not in _MATCH_OPS:
            return Matcher(NAME, MatchOp.EQUAL, name)
    else:
        name = reader.expect(IDENTIFIER, _MATCHER).text
    op = _MATCH_OPS.get(reader.token.kind)
    if op is None:
        reader.unexpected(_OPERATOR)
    reader.take()
    value = unquote(reader.expect(STRING, _VALUE).text)
    try:
        return Matcher(name, op, value)
    except BadQuery as error:
        reader.fail(label.at, str(error))


def label_names(reader: Reader) -> tuple[str, ...]:
    """`(a, "b", ...)`; BadQuery if that is not what comes."""
    reader.expect("(", _OPENING)
    found = []
    while reader.token.kind != ")":
        found.append(_label_name(reader))
        if reader.token.kind != ",":
            break
        reader.take()
    reader.expect(")", _AFTER_NAME)
    return tuple(found)


def _label_name(reader: Reader) -> str:
    token = reader.token
    if token.kind in _NAME_KINDS:
        return reader.take().text
    reader.expect(STRING, _NAME)
    try:
        name = unquote(token.text, "strict")
    except UnicodeDecodeError:
        name = ""
    if not name:
        reader.fail(token.at, f"invalid label name for grouping: {quoted(unquote(token.text))}")
    return name
