"""Sampling rates."""

import math

FULL_UP_TO = 100.0  # requests per minute of which all are kept
LOWEST_RATE = 0.01


def adaptive_sample_rate(requests_per_minute: float) -> float:
    """A share to keep, 0.01 to 1: `sqrt(100 / requests_per_minute)`.

    1 up to 100 requests a minute, 0.1 at 10,000, 0.01 from 1,000,000 on. It never rises with traffic, while the
    number of kept requests never falls: a busy hour is seen in at least as much detail as a quiet one.
    What is no number, or none above 0, gives 1.
    """
    if not isinstance(requests_per_minute, int | float) or not requests_per_minute > FULL_UP_TO:
        return 1.0
    return max(LOWEST_RATE, math.sqrt(FULL_UP_TO / requests_per_minute))
