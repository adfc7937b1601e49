"""Charts of a report as SVG that stands in the page: bars of days, and the range of a projection. Pure."""

from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT, _FOOT, _LEFT = 720, 200, 24, 56
_COLORS = ("#3b6ea5", "#e08e45", "#5a9367", "#a65b8f", "#c8b23c", "#5fa8b5", "#b5544d", "#7b7b7b", "#8c6bb1", "#4d4d4d")


def color(number: int) -> str:
    """Of the series with this number."""
    return _COLORS[number % len(_COLORS)]


def stacked_bars(title: str, days: Sequence[str], series: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A bar for each day, of one part for each series; values in USD."""
    sums = [sum(values[number] for _, values in series) for number in range(len(days))]
    top = max([*sums, 0.0]) or 1.0
    step = (_WIDTH - _LEFT) / max(1, len(days))
    plot = _HEIGHT - _FOOT
    shapes = []
    for number, day in enumerate(days):
        bottom = float(plot)
        for which, (name, values) in enumerate(series):
            height = values[number] / top * (plot - 12)
            if height <= 0:
                continue
            bottom -= height
            told = escape(f"{day} {name}: {dollars(values[number])}")
            shapes.append(
                f'<rect x="{_LEFT + number * step + 1:.1f}" y="{bottom:.1f}" width="{max(1.0, step - 2):.1f}"'
                f' height="{height:.1f}" fill="{color(which)}"><title>{told}</title></rect>'
            )
        if number % 5 == 0:
            shapes.append(_text(_LEFT + (number + 0.5) * step, _HEIGHT - 8, day[5:], "middle"))
    shapes += [_text(_LEFT - 6, 16, dollars(top), "end"), _text(_LEFT - 6, plot, "$0", "end")]
    shapes.append(f'<line x1="{_LEFT}" y1="{plot}" x2="{_WIDTH}" y2="{plot}" stroke="currentColor" opacity=".4"/>')
    return _svg(title, _HEIGHT, shapes)


def range_bar(title: str, so_far: float, low: float, mid: float, high: float, budget: float | None) -> str:
    """What is spent, the range of what it will be, its middle, and a budget's mark."""
    top = max(high, so_far, budget or 0.0) * 1.05 or 1.0

    def across(value: float) -> float:
        return 8 + value / top * (_WIDTH - 16)

    width = max(2.0, across(high) - across(low))
    shapes = [
        (
            f'<rect x="{across(low):.1f}" y="24" width="{width:.1f}" height="28" fill="{color(0)}" opacity=".35">'
            f"<title>{dollars(low)} to {dollars(high)}</title></rect>"
        ),
        (
            f'<rect x="8" y="30" width="{max(1.0, across(so_far) - 8):.1f}" height="16" fill="{color(0)}">'
            f"<title>so far {dollars(so_far)}</title></rect>"
        ),
        f'<line x1="{across(mid):.1f}" y1="20" x2="{across(mid):.1f}" y2="56" stroke="currentColor" stroke-width="2"/>',
        _text(across(mid), 72, f"{dollars(mid)} projected", "end" if mid > top / 2 else "start"),
    ]
    if budget is not None:
        at = across(budget)
        shapes.append(f'<line x1="{at:.1f}" y1="12" x2="{at:.1f}" y2="60" stroke="#b5544d" stroke-dasharray="4 3"/>')
        shapes.append(_text(at, 10, f"budget {dollars(budget)}", "end" if budget > top / 2 else "start"))
    return _svg(title, 80, shapes)


def dollars(value: float) -> str:
    """`$1.23`; small sums with more digits."""
    return f"${value:,.2f}" if value >= 0.1 or not value else f"${value:.4f}"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="11" fill="currentColor">{escape(text)}</text>'
    )


def _svg(title: str, height: int, shapes: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}"'
        f' xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{"".join(shapes)}</svg>'
    )
