"""What the house rules say of the source, held by reading it."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mirubato.config import describe, page

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "mirubato"
FUNCTION_LINES_MAX = 70
CLOCKS = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
# Run by a person or a process supervisor, or named to OpenTelemetry, not imported by another module.
_PROJECT = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
ENTRY_POINTS = {"mirubato.__main__"} | {
    name.partition(":")[0] for group in _PROJECT["entry-points"].values() for name in group.values()
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the source."""

    path: Path
    tree: ast.Module

    @property
    def name(self) -> str:
        """As it is imported."""
        parts = self.path.relative_to(SOURCE.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def room(self) -> str:
        """The first name below the package."""
        return self.path.relative_to(SOURCE).parts[0]

    def functions(self) -> Iterator[Function]:
        """All functions and methods, wherever they stand."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node

    def imported(self) -> Iterator[str]:
        """Full names of what is imported: modules, and names in modules."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}: a relative import"
                yield str(node.module)
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def where(self, node: ast.stmt | ast.expr) -> str:
        """For messages."""
        return f"{self.path.relative_to(ROOT)}:{node.lineno}"


def modules(directory: Path) -> list[Module]:
    """All that people wrote: what is generated follows rules of its own."""
    return [
        Module(path, ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(directory.rglob("*.py"))
        if not path.stem.endswith("_pb2")
    ]


MODULES = modules(SOURCE)
CODE = [*MODULES, *modules(ROOT / "tests"), *modules(ROOT / "bench")]


def test_there_is_something_to_look_at() -> None:
    assert {module.name for module in MODULES} >= {"mirubato", "mirubato.gateway", "mirubato.storage.store"}


def test_only_the_clock_reads_clocks() -> None:
    """What runs inside an app stands apart: it measures the app, and knows none of our rooms."""
    found = [
        module.where(node)
        for module in MODULES
        if module.name != "mirubato.clock" and module.room != "sdk"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr in CLOCKS.get(node.value.id, ())
    ]
    named = [module.name for module in MODULES if {f"time.{name}" for name in CLOCKS["time"]} & set(module.imported())]
    assert (found, named) == ([], [])


def test_who_opens_sqlite_files() -> None:
    """Others get a connection for the time of a call. The demo's shop has a database too, but it is an app like any."""
    texts = {module: module.path.read_text(encoding="utf-8") for module in MODULES}
    openers = {module.room for module, text in texts.items() if "sqlite3.connect(" in text}
    assert openers <= {"database", "storage", "traces", "demo"}


def test_imports_stand_at_the_top() -> None:
    hidden = [
        module.where(node)
        for module in CODE
        for function in module.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert hidden == []


def test_no_function_is_long() -> None:
    long = {
        module.where(function): length
        for module in CODE
        for function in module.functions()
        if (length := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert long == {}


def undocumented(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Public classes, functions and methods without a docstring; what is only declared (`...`) needs none."""
    for node in body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not (ast.get_docstring(node) or is_declaration(node)):
            yield node
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body)


def is_declaration(node: Function | ast.ClassDef) -> bool:
    return isinstance(node, Function) and isinstance(node.body[-1], ast.Expr) and ast.unparse(node.body[-1]) == "..."


def test_what_is_public_is_described() -> None:
    missing = [module.where(node) for module in MODULES for node in undocumented(module.tree.body)]
    missing += [str(module.path) for module in MODULES if not ast.get_docstring(module.tree)]
    assert missing == []


def test_every_module_is_used() -> None:
    """By another module, or, as the demo's services are, by the name that a process is started with."""
    used = {name for module in MODULES for name in module.imported()}
    texts = {module.name: module.path.read_text(encoding="utf-8") for module in MODULES}

    def started(name: str) -> bool:
        return any(f'"{name}' in text for other, text in texts.items() if other != name)

    names = {module.name for module in MODULES if module.path.name != "__init__.py"}
    assert {name for name in names - used - ENTRY_POINTS if not started(name)} == set()


def test_every_limit_is_used() -> None:
    (limits,) = [module for module in MODULES if module.name == "mirubato.limits"]
    declared = {
        target.id
        for node in limits.tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    used = {name.rpartition(".")[2] for module in MODULES for name in module.imported()}
    inside = {
        node.id for node in ast.walk(limits.tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert declared - used - inside == set()


def test_the_page_of_settings_is_current() -> None:
    written = (ROOT / "docs" / "SETTINGS.md").read_text(encoding="utf-8")
    assert written == page(), (
        "write it again: python -c 'from mirubato.config import page; print(page(), end=\"\")' > docs/SETTINGS.md"
    )


@pytest.mark.parametrize("variable", [variable for _, variable, *_ in describe()])
def test_every_setting_is_used(variable: str) -> None:
    """A setting that nothing reads is a promise that nobody keeps."""
    key = variable.removeprefix("MIRUBATO_").lower()
    readers = [
        module.name
        for module in MODULES
        if module.name != "mirubato.config"
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr == key)
        or (isinstance(node, ast.Constant) and node.value == key)
    ]
    assert readers
