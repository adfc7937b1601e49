"""A matrix of the Prometheus API as lines in a terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import plotext

from mirubato.terminal.tables import series_text

SERIES_MAX = 12
"""More lines than that cannot be told apart."""

_COLORS = (4, 1, 2, 5, 3, 6, 12, 9, 10, 13, 11, 14)
_MARKS = "abcdefghijkl"
_TICKS = 5
# Beyond, the library's arithmetic overflows.
_DRAWN_MAX = 1e300
_COLUMNS_MIN, _LINES = 40, 20


@dataclass(frozen=True, slots=True)
class Frame:
    """What a plot shows: from when to when (Unix seconds), how often, how wide it is, and whether it has colours."""

    start: float
    end: float
    step: float
    columns: int
    colors: bool


def plot(series: Sequence[Any], frame: Frame) -> str:
    """Up to SERIES_MAX series as lines, and below them what each is, with its newest value."""
    shown = series[:SERIES_MAX]
    figure = plotext
    figure.clear_figure()
    figure.limit_size(False, False)  # noqa: FBT003  (its own arguments: columns, lines)
    figure.plotsize(max(_COLUMNS_MIN, frame.columns), _LINES)
    figure.theme("clear")
    for index, one in enumerate(shown):
        times, values = _gaps(one.get("values", ()), frame.step)
        marker = "hd" if frame.colors else _MARKS[index]
        figure.plot(times, values, color=_COLORS[index], marker=marker)
    figure.xlim(frame.start, frame.end)
    ticks = [frame.start + (frame.end - frame.start) * number / (_TICKS - 1) for number in range(_TICKS)]
    figure.xticks(ticks, [_tick(tick, frame) for tick in ticks])
    drawn: str = figure.build()
    lines = [drawn if frame.colors else figure.uncolorize(drawn)]
    return "\n".join([lines[0].rstrip("\n"), *_legend(shown, colors=frame.colors)])


def _gaps(samples: Sequence[Any], step: float) -> tuple[list[float], list[float]]:
    """Times and values; where steps are missing, something that is not drawn."""
    times: list[float] = []
    values: list[float] = []
    for time, text in samples:
        if times and time - times[-1] > 1.5 * step:
            times.append(times[-1] + step)
            values.append(math.nan)
        value = float(text)
        times.append(time)
        values.append(value if abs(value) < _DRAWN_MAX else math.nan)
    return times, values


def _tick(time: float, frame: Frame) -> str:
    moment = datetime.fromtimestamp(time, UTC).astimezone()
    length = frame.end - frame.start
    if length <= 300:
        return moment.strftime("%H:%M:%S")
    return moment.strftime("%H:%M" if length <= 86_400 else "%m-%d %H:%M")


def _legend(series: Sequence[Any], *, colors: bool) -> list[str]:
    """Each line's sign, the labels in which it differs from the others, and its newest value."""
    common = set.intersection(*(set(one["metric"].items()) for one in series)) if len(series) > 1 else set()
    lines = []
    for index, one in enumerate(series):
        sign = f"\x1b[38;5;{_COLORS[index]}m▬▬\x1b[0m" if colors else _MARKS[index]
        newest = one["values"][-1][1] if one.get("values") else "native histograms, which are not drawn"
        lines.append(f"{sign} {series_text(_without(one['metric'], common))}  {newest}")
    return lines


def _without(labels: Mapping[str, str], common: set[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if (name, value) not in common or name == "__name__"}
