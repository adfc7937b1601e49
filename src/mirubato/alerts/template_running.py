"""Runs a template's tree: with data, functions and bounds -> text. Source: Go, text/template/exec.go."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mirubato.alerts.go_format import shown, type_name
from mirubato.alerts.go_templates import (
    Branch,
    Chain,
    Dot,
    Function,
    Invoke,
    Leave,
    Literal,
    Node,
    Nodes,
    Operand,
    Pipe,
    Show,
    Template,
    TemplateError,
    Text,
    Variable,
)
from mirubato.limits import TEMPLATE_CHARS_MAX, TEMPLATE_NESTING_MAX, TEMPLATE_STEPS_MAX

Functions = Mapping[str, Callable[..., Any]]


class _Left(Exception):
    """`break` or `continue`, on its way to its `range`."""

    def __init__(self, word: str) -> None:
        self.word = word


@dataclass(frozen=True, slots=True)
class Record:
    """Something with fields, as Go's struct: another name than those is an error."""

    fields: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{{{' '.join(map(shown, self.fields.values()))}}}"


class AnyMap(dict[str, Any]):
    """Go's `map[string]any`: a key that is missing shows as `<no value>`; in other maps it is an empty string."""


def run(template: Template, data: Any, variables: Mapping[str, Any], functions: Functions) -> str:
    """What a template yields; TemplateError where it fails or does not end within its bounds."""
    running = _Running(template.defined, functions, [("$", data), *variables.items()])
    running.nodes(template.nodes, data)
    return "".join(running.out)


@dataclass
class _Running:
    defined: Mapping[str, Nodes]
    functions: Functions
    variables: list[tuple[str, Any]]
    out: list[str] = field(default_factory=list)
    size: int = 0
    steps: int = 0
    depth: int = 0

    def nodes(self, nodes: Nodes, dot: Any) -> None:
        known = len(self.variables)
        for node in nodes:
            self._step()
            self._node(node, dot)
        del self.variables[known:]

    def _node(self, node: Node, dot: Any) -> None:
        match node:
            case Text():
                self._write(node.text)
            case Show():
                value = self.pipe(node.pipe, dot)
                if not node.pipe.variables:
                    self._write(shown(value))
            case Branch():
                known = len(self.variables)
                self._branch(node, dot)
                del self.variables[known:]
            case Invoke():
                self._invoke(node, dot)
            case Leave():
                raise _Left(node.word)

    def _step(self) -> None:
        self.steps += 1
        if self.steps > TEMPLATE_STEPS_MAX:
            raise TemplateError(f"more than {TEMPLATE_STEPS_MAX} steps")

    def _write(self, text: str) -> None:
        self.size += len(text)
        if self.size > TEMPLATE_CHARS_MAX:
            raise TemplateError(f"yields more than {TEMPLATE_CHARS_MAX} characters")
        self.out.append(text)

    def _invoke(self, node: Invoke, dot: Any) -> None:
        if node.name not in self.defined:
            raise TemplateError(f'template "{node.name}" not defined')
        given = self.pipe(node.pipe, dot) if node.pipe else None
        self.depth += 1
        if self.depth > TEMPLATE_NESTING_MAX:
            raise TemplateError(f"templates call each other more than {TEMPLATE_NESTING_MAX} deep")
        outer, self.variables = self.variables, [("$", given)]
        self.nodes(self.defined[node.name], given)
        self.variables = outer
        self.depth -= 1

    def _branch(self, node: Branch, dot: Any) -> None:
        if node.word == "range":
            self._range(node, dot)
            return
        value = self.pipe(node.pipe, dot)
        if truth(value):
            self.nodes(node.then, value if node.word == "with" else dot)
        else:
            self.nodes(node.otherwise, dot)

    def _range(self, node: Branch, dot: Any) -> None:
        over = self.pipe(Pipe(node.pipe.commands), dot)
        names, known, empty = node.pipe.variables, len(self.variables), True
        for key, value in _elements(over):
            empty = False
            self._step()
            self._bind(names, (value,) if len(names) == 1 else (key, value), assigns=node.pipe.assigns)
            try:
                self.nodes(node.then, value)
            except _Left as left:
                if left.word == "break":
                    break
            finally:
                del self.variables[known:]
        if empty:
            self.nodes(node.otherwise, dot)

    def _bind(self, names: Sequence[str], values: Sequence[Any], *, assigns: bool) -> None:
        for name, value in zip(names, values, strict=False):
            if assigns:
                at = max(index for index, (known, _) in enumerate(self.variables) if known == name)
                self.variables[at] = (name, value)
            else:
                self.variables.append((name, value))

    # --- values -------------------------------------------------------------------------------------------------------

    def pipe(self, pipe: Pipe, dot: Any) -> Any:
        value: tuple[Any, ...] = ()
        for command in pipe.commands:
            value = (self._command(command, dot, value),)
        self._bind(pipe.variables, value, assigns=pipe.assigns)
        return value[0]

    def _command(self, command: Sequence[Operand], dot: Any, piped: tuple[Any, ...]) -> Any:
        self._step()
        head, *rest = command
        if isinstance(head, Function):
            return self._call(head.name, rest, dot, piped)
        if rest or piped:
            raise TemplateError("can't give argument to non-function")
        return self._value(head, dot)

    def _value(self, operand: Operand, dot: Any) -> Any:
        match operand:
            case Literal():
                return operand.value
            case Dot():
                return dot
            case Variable():
                return next(value for name, value in reversed(self.variables) if name == operand.name)
            case Function():
                return self._call(operand.name, (), dot, ())
            case Pipe():
                return self.pipe(operand, dot)
            case Chain():
                value = self._value(operand.base, dot)
                for name in operand.fields:
                    value = _field(value, name)
                return value

    def _call(self, name: str, operands: Sequence[Operand], dot: Any, piped: tuple[Any, ...]) -> Any:
        if name in ("and", "or"):
            return self._logical(name, operands, dot, piped)
        arguments = [*(self._value(operand, dot) for operand in operands), *piped]
        function = self.functions.get(name)
        if function is None:
            raise TemplateError(f'function "{name}" not defined')
        try:
            value = function(*arguments)
        except (TypeError, ValueError, OverflowError, LookupError, AttributeError) as error:
            raise TemplateError(f"error calling {name}: {_reason(error, name, arguments)}") from error
        if isinstance(value, str) and len(value) > TEMPLATE_CHARS_MAX:
            raise TemplateError(f"{name} yields more than {TEMPLATE_CHARS_MAX} characters")
        return value

    def _logical(self, name: str, operands: Sequence[Operand], dot: Any, piped: tuple[Any, ...]) -> Any:
        """`and` and `or` look no further than they must."""
        value = None
        for operand in operands:
            value = self._value(operand, dot)
            if truth(value) == (name == "or"):
                return value
        return piped[0] if piped else value


def _reason(error: Exception, name: str, arguments: Sequence[Any]) -> str:
    """What Python says of a call with too few arguments, or of a wrong type, in other words."""
    if isinstance(error, ValueError | OverflowError):
        return str(error)
    kinds = ", ".join(type_name(one) for one in arguments)
    return f"{name} does not take ({kinds})"


def truth(value: Any) -> bool:
    """Whether Go's templates take a value for true: not zero, not empty; a record always is."""
    return True if isinstance(value, Record) else bool(value)


def _elements(over: Any) -> Iterator[tuple[Any, Any]]:
    """Key and value of each element; maps by key, a number counts from 0."""
    if isinstance(over, Mapping):
        yield from sorted(over.items())
    elif isinstance(over, list | tuple):
        yield from enumerate(over)
    elif isinstance(over, int) and not isinstance(over, bool):
        yield from ((number, number) for number in range(over))
    elif over is not None:
        raise TemplateError(f"range can't iterate over {shown(over)}")


def _field(value: Any, name: str) -> Any:
    if isinstance(value, Record):
        if name not in value.fields:
            raise TemplateError(f"can't evaluate field {name}")
        return value.fields[name]
    if isinstance(value, AnyMap):
        return value.get(name)
    if isinstance(value, Mapping):
        return value.get(name, "")
    if value is None:
        raise TemplateError(f"nil data; no entry for key {name!r}")
    raise TemplateError(f"can't evaluate field {name} in type {type_name(value)}")
