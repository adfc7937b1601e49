"""What the gateway itself uses of the cloud, counted where it is used: rows on D1, reads of Analytics Engine."""

import threading

from mirubato.costs.ledger import hour_of
from mirubato.costs.prices import Meter
from mirubato.costs.usage import Source, Usage

_SCRIPT = "(this gateway)"


class OwnUsage:
    """Adds up until somebody takes it; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[tuple[int, Meter, str], float] = {}

    def add(self, product: str, meter: str, quantity: float, now: int, label: str = "") -> None:
        """Count usage of `product.meter` at `now` (ms), such as the rows that an answer of `d1` tells of."""
        key = (hour_of(now), Meter(product, meter), label)
        with self._lock:
            self._sums[key] = self._sums.get(key, 0.0) + quantity

    def taken(self) -> list[Usage]:
        """What has been added since the last time."""
        with self._lock:
            sums, self._sums = self._sums, {}
        return [
            Usage(hour, meter, quantity, Source.OWN, _SCRIPT, label)
            for (hour, meter, label), quantity in sums.items()
            if quantity
        ]
