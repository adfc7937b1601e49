"""Answers of the Prometheus API as text with aligned columns."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mirubato.model.labels import NAME


def table(series: Sequence[Any]) -> str:
    """A vector: a column for each label, and the values at the right."""
    names = sorted({name for one in series for name in one["metric"]}, key=lambda name: (name != NAME, name))
    rows = [
        [*(one["metric"].get(name, "") for name in names), value_text(one.get("value", one.get("histogram"))[1])]
        for one in series
    ]
    return aligned([*("metric" if name == NAME else name for name in names), "value"], rows)


def listing(series: Sequence[Any]) -> str:
    """A matrix: the samples of each series below its name."""
    blocks = []
    for one in series:
        samples = sorted([*one.get("values", ()), *one.get("histograms", ())], key=lambda sample: float(sample[0]))
        lines = [f"  {time_text(time)}  {value_text(value)}" for time, value in samples]
        blocks.append("\n".join([series_text(one["metric"]), *lines]))
    return "\n".join(blocks)


def series_text(labels: Mapping[str, str]) -> str:
    """`name{label="value"}`."""
    pairs = ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items()) if name != NAME)
    return f"{labels.get(NAME, '')}{{{pairs}}}" if pairs or NAME not in labels else labels[NAME]


def value_text(value: Any) -> str:
    """A number, or of a native histogram what is shortest."""
    return value if isinstance(value, str) else f"count {value['count']}, sum {value['sum']}"


def time_text(seconds: float) -> str:
    """Local time, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their heads, the last one at the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = []
    for cells in (heads, *rows):
        left = [cell.ljust(width) for cell, width in zip(cells[:-1], widths[:-1], strict=True)]
        lines.append("  ".join([*left, cells[-1].rjust(widths[-1])]))
    return "\n".join(lines)
