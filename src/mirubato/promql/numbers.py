"""Numbers and strings in messages, as Go writes them."""

import math
from decimal import Decimal

from mirubato.model.labels import format_value


def go_g(value: float, digits: int | None = None) -> str:
    """A number as Go's `%g` writes it: the shortest form, or so many significant digits."""
    if not math.isfinite(value):
        return format_value(value)
    number = Decimal(f"{value:.{digits}g}" if digits is not None else repr(value)).normalize()
    power = number.adjusted()
    if -5 < power < (digits or 6):
        return f"{number:f}"
    mantissa = number.scaleb(-power).normalize()
    return f"{mantissa:f}e{power:+03d}"


def quoted(text: str) -> str:
    """A string as Go's `%q` writes it, but that letters stay letters."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
