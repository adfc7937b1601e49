"""Values as Go prints them: `%v` and `printf`. Source: Go, fmt/print.go and fmt/format.go."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from mirubato.promql.numbers import go_g

_VERB = re.compile(r"%(?P<flags>[+\-# 0]*)(?P<width>[0-9]+|\*)?(?:\.(?P<precision>[0-9]*|\*))?(?P<verb>.?)", re.DOTALL)
_WIDTH_MAX = 1_000
_INTEGERS = {"d": "d", "x": "x", "X": "X", "o": "o", "b": "b"}


def shown(value: Any) -> str:
    """A value as `{{ value }}` and `%v` show it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return go_g(value)
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{shown(one)}' for key, one in sorted(value.items()))}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(shown, value))}]"
    return str(value)


def type_name(value: Any) -> str:
    """What Go would call its type."""
    names = {bool: "bool", int: "int", float: "float64", str: "string", type(None): "<nil>"}
    return names.get(type(value), type(value).__name__.lower())


def printf(form: str, *arguments: Any) -> str:
    """Go's Sprintf; what does not fit is told in the text, as in Go: `%!d(string=a)`."""
    rest = list(arguments)
    text = _VERB.sub(lambda match: _formatted(match, rest), form)
    if rest and not re.search(r"%[^%]*\*", form):
        extra = ", ".join(f"{type_name(one)}={shown(one)}" for one in rest)
        text += f"%!(EXTRA {extra})"
    return text


def _formatted(match: re.Match[str], rest: list[Any]) -> str:
    verb = match["verb"]
    if verb == "%":
        return "%"
    if not verb:
        return "%!(NOVERB)"
    width = _size(match["width"], rest)
    precision = _size(match["precision"], rest)
    if match["precision"] == "":
        precision = 0
    if not rest:
        return f"%!{verb}(MISSING)"
    value = rest.pop(0)
    text = _verb(verb, value, precision, match["flags"])
    return _padded(text, width, match["flags"], number=isinstance(value, int | float) and math.isfinite(value))


def _size(text: str | None, rest: list[Any]) -> int | None:
    if text == "*":
        text = str(rest.pop(0)) if rest else ""
    if not text:
        return None
    if int(text) > _WIDTH_MAX:
        raise ValueError(f"a width of more than {_WIDTH_MAX}")
    return int(text)


def _verb(verb: str, value: Any, precision: int | None, flags: str) -> str:
    text = _by_type(verb, value, precision, flags)
    if text is None:
        return f"%!{verb}({type_name(value)}={shown(value)})" if value is not None else f"%!{verb}(<nil>)"
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and verb not in "qUc"
        and not text.startswith("-")
    ):
        sign = "+" if "+" in flags else " " if " " in flags else ""
        return text if text.startswith("+") else sign + text
    return text


def _by_type(verb: str, value: Any, precision: int | None, flags: str) -> str | None:
    """None where the verb is not for such values."""
    if isinstance(value, bool):
        return shown(value) if verb in "tv" else None
    if isinstance(value, str):
        return _string(verb, value, precision, flags)
    if isinstance(value, float):
        return _float(verb, value, precision)
    if isinstance(value, int):
        return _integer(verb, value, flags)
    return _other(verb, value)


def _other(verb: str, value: Any) -> str | None:
    if value is None:
        return "<nil>" if verb == "v" else None
    if verb in ("v", "s"):
        return shown(value)
    return f"[{' '.join(quoted(shown(one)) for one in value)}]" if verb == "q" and isinstance(value, list) else None


def _string(verb: str, value: str, precision: int | None, flags: str) -> str | None:
    cut = value if precision is None else value[:precision]
    if verb in ("v", "s"):
        return quoted(cut) if verb == "v" and "#" in flags else cut
    if verb == "q":
        return f"`{cut}`" if "#" in flags and "`" not in cut else quoted(cut)
    if verb in ("x", "X"):
        text = cut.encode().hex()
        return text.upper() if verb == "X" else text
    return None


def _integer(verb: str, value: int, flags: str) -> str | None:
    if verb in _INTEGERS:
        prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags else ""
        digits = format(abs(value), _INTEGERS[verb])
        return f"{'-' if value < 0 else ''}{prefix}{digits}"
    if verb == "v":
        return str(value)
    if verb in ("c", "q", "U") and 0 <= value <= 0x10FFFF:
        return {"c": chr(value), "q": f"'{chr(value)}'", "U": f"U+{value:04X}"}[verb]
    return None


def _float(verb: str, value: float, precision: int | None) -> str | None:
    if verb not in "vgGfFeE":
        return None
    if not math.isfinite(value):
        return go_g(value)
    if verb in "fF":
        return f"{value:.{6 if precision is None else precision}f}"
    if verb in "eE":
        return f"{value:.{6 if precision is None else precision}{verb}}"
    text = go_g(value, precision if precision is None else max(precision, 1))
    return text.upper() if verb == "G" else text


def _padded(text: str, width: int | None, flags: str, *, number: bool) -> str:
    if width is None or len(text) >= width:
        return text
    if "-" in flags:
        return text.ljust(width)
    if "0" not in flags or not number:
        return text.rjust(width)
    return text[0] + text[1:].rjust(width - 1, "0") if text[0] in "+-" else text.rjust(width, "0")


def print_(*values: Any) -> str:
    """Go's Sprint: spaces between operands when neither is a string."""
    parts: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            parts.append(" ")
        parts.append("<nil>" if value is None else shown(value))
    return "".join(parts)


def println(*values: Any) -> str:
    """Go's Sprintln."""
    return " ".join("<nil>" if value is None else shown(value) for value in values) + "\n"


def quoted(text: str) -> str:
    """Go's `%q` of a string, for what people write: the escapes of JSON are Go's too, but for control characters."""
    return json.dumps(text, ensure_ascii=False)
