"""What stops a measurement."""


class BenchError(Exception):
    """A measurement could not be taken; the message says why."""
