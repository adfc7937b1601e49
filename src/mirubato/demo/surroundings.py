"""What a process of the shop must know about the others: it travels in SHOP_... environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mirubato import clock
from mirubato.demo.day import Day

# Products in the assortment, numbered from 1.
PRODUCTS = 40


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Addresses of the services, the day they live in, and when it began (ms since 1970)."""

    web_url: str
    orders_url: str
    catalog_url: str
    directory: Path
    opened_at_ms: int
    day: Day = field(default_factory=Day)

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads."""
        return {
            "SHOP_WEB_URL": self.web_url,
            "SHOP_ORDERS_URL": self.orders_url,
            "SHOP_CATALOG_URL": self.catalog_url,
            "SHOP_DIRECTORY": str(self.directory),
            "SHOP_OPENED_AT_MS": str(self.opened_at_ms),
            "SHOP_SEED": str(self.day.seed),
            "SHOP_DAY_S": str(self.day.length_s),
            "SHOP_MEAN_RATE": str(self.day.mean_rate),
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Surroundings":
        """Read the variables; KeyError when one is missing."""
        return cls(
            web_url=environment["SHOP_WEB_URL"],
            orders_url=environment["SHOP_ORDERS_URL"],
            catalog_url=environment["SHOP_CATALOG_URL"],
            directory=Path(environment["SHOP_DIRECTORY"]),
            opened_at_ms=int(environment["SHOP_OPENED_AT_MS"]),
            day=Day(
                int(environment["SHOP_SEED"]),
                float(environment["SHOP_DAY_S"]),
                float(environment["SHOP_MEAN_RATE"]),
            ),
        )

    def since_opening_s(self) -> float:
        """Seconds since the shop opened."""
        return (clock.now_ms() - self.opened_at_ms) / 1000
