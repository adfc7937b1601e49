"""A small line chart as PNG: mail programs show PNG, and few of them SVG. Pure: values in, bytes out."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from mirubato.notify.message import Chart

WIDTH, HEIGHT = 480, 120
_PAD = 6
_BACKGROUND, _LINE, _THRESHOLD = (255, 255, 255), (21, 94, 239), (217, 45, 32)

Pixels = NDArray[np.uint8]


def png(chart: Chart) -> bytes:
    """The values in blue, the threshold as a dashed red line; the axis begins at 0 unless a value is below it."""
    values = np.array([np.nan if value is None else value for value in chart.values], np.float64)
    values[~np.isfinite(values)] = np.nan
    pixels = np.full((HEIGHT, WIDTH, 3), _BACKGROUND, np.uint8)
    known = [*values[np.isfinite(values)].tolist(), *([chart.threshold] if chart.threshold is not None else [])]
    low, high = min([0.0, *known]), max([0.0, *known])
    span = (high - low) or 1.0
    rows = (HEIGHT - 1 - _PAD) - (values - low) / span * (HEIGHT - 1 - 2 * _PAD)
    if chart.threshold is not None:
        row = round(float((HEIGHT - 1 - _PAD) - (chart.threshold - low) / span * (HEIGHT - 1 - 2 * _PAD)))
        pixels[row, np.arange(WIDTH) % 8 < 5] = _THRESHOLD
    _draw(pixels, rows)
    return _encoded(pixels)


def _draw(pixels: Pixels, rows: NDArray[np.float64]) -> None:
    """A line two pixels wide through the points, broken at gaps; a lone point is a dot."""
    columns = np.linspace(_PAD, WIDTH - 1 - _PAD, max(len(rows), 2))[: len(rows)]
    for index in np.flatnonzero(np.isfinite(rows)).tolist():
        after = index + 1 if index + 1 < len(rows) and np.isfinite(rows[index + 1]) else index
        steps = int(max(abs(columns[after] - columns[index]), abs(rows[after] - rows[index]))) + 2
        xs = np.linspace(columns[index], columns[after], steps).round().astype(int)
        ys = np.linspace(rows[index], rows[after], steps).round().astype(int)
        pixels[ys, xs] = pixels[np.minimum(ys + 1, HEIGHT - 1), xs] = _LINE


def _encoded(pixels: Pixels) -> bytes:
    """PNG (ISO/IEC 15948) of 8-bit RGB, without a filter."""
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
