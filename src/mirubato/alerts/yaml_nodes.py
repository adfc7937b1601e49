"""YAML as nodes that know where they stand: what a mistake is told with. A scalar is the text that was written."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from mirubato.config import parse_duration

# The parser in C takes a tenth of the time, where PyYAML was built with it.
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class Problem(NamedTuple):
    """What is wrong in a file, and where; line and column count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


@dataclass
class Reading:
    """One file as it is read, and what was wrong with it."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def root(self, text: str) -> yaml.Node | None:
        """The first document; None where there is none, or where it is no YAML."""
        try:
            root: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            lines = text.count("\n") + 1  # the parser in C tells of a line after the last one
            place = (min(mark.line + 1, lines), mark.column + 1) if mark else (1, 1)
            what = ", ".join(part for part in (error.context, error.problem) if part)
            self.problems.append(Problem(self.file, *place, f"no YAML: {what}"))
            return None
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            self.problems.append(Problem(self.file, 1, 1, f"no YAML: {error}"))
            return None
        return root

    def wrong(self, node: yaml.Node, message: str) -> None:
        """Note a problem at a node."""
        mark = node.start_mark
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, message))

    def entries(self, node: yaml.Node | None, what: str, known: Any = None) -> dict[str, yaml.Node]:
        """The keys and values of a mapping, merged ones too; nothing at all is an empty one."""
        if node is None or is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, f"{what} must be a mapping")
            return {}
        found: dict[str, yaml.Node] = {}
        merged: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if key.tag == "tag:yaml.org,2002:merge":
                merged |= self._merged(value, what)
            elif known is not None and name not in known:
                self.wrong(key, f"{what} has no field {name!r}; there are {', '.join(sorted(known))}")
            elif name in found:
                self.wrong(key, f"{name!r} stands twice in {what}")
            else:
                found[name] = value
        return {**merged, **found}

    def _merged(self, node: yaml.Node, what: str) -> dict[str, yaml.Node]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, yaml.Node] = {}
        for part in reversed(parts):
            merged |= self.entries(part, what)
        return merged

    def items(self, node: yaml.Node | None, what: str) -> list[yaml.Node]:
        """The elements of a list; nothing at all is an empty one."""
        if node is None or is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.wrong(node, f"{what} must be a list")
            return []
        return list(node.value)

    def text(self, node: yaml.Node | None, what: str) -> str:
        """A scalar as it was written; nothing at all is an empty text."""
        if node is None or is_null(node):
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self.wrong(node, f"{what} must be a text")
            return ""
        return str(node.value)

    def texts(self, node: yaml.Node | None, what: str) -> dict[str, str]:
        """A mapping of texts."""
        return {name: self.text(value, f"{what} {name!r}") for name, value in self.entries(node, what).items()}

    def duration(self, node: yaml.Node | None, what: str, default: int = 0) -> int:
        """`5m` -> ms; `0` needs no unit."""
        return self._parsed(node, what, default, lambda text: 0 if text == "0" else parse_duration(text))

    def whole(self, node: yaml.Node | None, what: str) -> int:
        """A whole number, 0 where there is none."""
        return self._parsed(node, what, 0, int)

    def _parsed(self, node: yaml.Node | None, what: str, default: int, parse: Callable[[str], int]) -> int:
        text = self.text(node, what)
        if not text or node is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.wrong(node, f"{what}: {error}")
            return default


def is_null(node: yaml.Node) -> bool:
    """Whether nothing, or `null`, stands there."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def line_of(node: yaml.Node) -> int:
    """Where it begins, counted from 1."""
    return int(node.start_mark.line) + 1
