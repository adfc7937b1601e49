"""The shop's day: how busy it is when, and when its orders service is in trouble. Pure: time is an argument."""

import math
import random
from dataclasses import dataclass

# The shop opens at nine, so that a demo starts with something to see and not in the quiet of the night.
OPENING_HOUR = 9
# One incident a day: it begins between these parts of the day after opening, and lasts this part of a day.
_INCIDENT_EARLIEST = 0.20
_INCIDENT_LATEST = 0.30
_INCIDENT_LENGTH = 0.20


def draw(*what: object) -> float:
    """A number in [0, 1) that depends on the arguments alone: the same seed gives the same shop."""
    return random.Random("/".join(map(str, what))).random()


@dataclass(frozen=True, slots=True)
class Day:
    """A day that repeats itself every `length_s` seconds, with `mean_rate` requests/s on average."""

    seed: int = 1
    length_s: float = 300.0
    mean_rate: float = 16.0

    def rate(self, at_s: float) -> float:
        """Expected requests/s, `at_s` seconds after opening: a quiet night, a peak before noon, one in the evening."""
        angle = 2 * math.pi * (OPENING_HOUR / 24 + at_s / self.length_s)
        return self.mean_rate * (1 - 0.6 * math.cos(angle) - 0.25 * math.cos(2 * angle))

    @property
    def peak_rate(self) -> float:
        """The largest value of `rate`, in requests/s."""
        return self.mean_rate * 1.43

    def incident(self, number: int) -> tuple[float, float]:
        """Begin and end of the incident of day `number` (0 is the first), in seconds after the first opening."""
        part = _INCIDENT_EARLIEST + (_INCIDENT_LATEST - _INCIDENT_EARLIEST) * draw(self.seed, "incident", number)
        begin = (number + part) * self.length_s
        return begin, begin + _INCIDENT_LENGTH * self.length_s

    def in_incident(self, at_s: float) -> bool:
        """Whether the orders service is in trouble `at_s` seconds after opening."""
        begin, end = self.incident(math.floor(at_s / self.length_s))
        return begin <= at_s < end
