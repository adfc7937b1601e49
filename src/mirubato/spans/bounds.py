"""Bucket bounds as text."""

from decimal import Decimal


def format_bound(bound: float) -> str:
    """A finite bucket bound as `le` has it in Prometheus' OTLP endpoint: never with an exponent."""
    return format(Decimal(repr(bound + 0.0)), "f").removesuffix(".0")
