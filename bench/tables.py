"""Numbers with their targets, tables of them, and the results file."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
SECTION = re.compile(r"^## (\w+):.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
PREFACE = """# Results

Written by `scripts/bench --write`; how it is measured: [README.md](README.md). Each part names its commit.
"""


@dataclass(frozen=True)
class Target:
    """The most that a number may be."""

    most: float
    unit: str = ""

    def met(self, value: float) -> bool:
        """Whether the value, as precise as it is shown, is small enough."""
        return value <= self.most

    def verdict(self, value: float) -> str:
        """For a table's cell."""
        return f"≤ {self.most:g}{self.unit}: {'reached' if self.met(value) else 'not reached'}"


@dataclass
class Table:
    """Rows of text under a heading."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Append a row."""
        row = tuple(str(cell) for cell in cells)
        assert len(row) == len(self.columns)
        self.rows.append(row)

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        rule = tuple("-" * width for width in widths)
        return "\n".join(_line(row, widths) for row in (self.columns, rule, *self.rows))


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"


@dataclass
class Section:
    """What one part of the benchmark found."""

    name: str
    title: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missed: int = 0

    def judge(self, value: float, target: Target | None) -> str:
        """The verdict for a cell; a miss is counted."""
        if target is None:
            return ""
        self.missed += not target.met(value)
        return target.verdict(value)

    def judge_zero(self, count: int) -> str:
        """The count for a cell; anything but zero is a miss."""
        self.missed += count > 0
        return f"{count}"

    def table(self, *columns: str) -> Table:
        """A new table of this section."""
        self.tables.append(Table(columns))
        return self.tables[-1]

    def markdown(self, provenance: str) -> str:
        """The section as it stands in the results file."""
        parts = [f"## {self.name}: {self.title}", provenance, *map(str, self.tables), *self.notes]
        return "\n\n".join(part for part in parts if part)


def merged(text: str, sections: Sequence[tuple[str, str]], order: Sequence[str]) -> str:
    """The results file with these (name, markdown) sections instead of the old ones of the same name."""
    both = {found[1]: found[0].strip() for found in SECTION.finditer(text)} | dict(sections)
    return "\n\n".join([PREFACE.strip(), *(both[name] for name in order if name in both)]) + "\n"


def write(sections: Sequence[tuple[str, str]], order: Sequence[str], path: Path = RESULTS) -> None:
    """Replace the sections in the results file; those of the parts that did not run stay."""
    path.write_text(merged(path.read_text() if path.exists() else "", sections, order))
