"""The customers: a steady stream of visits with the shape of a day, the same for the same seed."""

import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mirubato import clock
from mirubato.demo.day import Day
from mirubato.demo.surroundings import PRODUCTS, Surroundings

# More visits at once than this are left out, as customers who see a long queue leave.
_VISITS_AT_ONCE = 24
# A visit that is late by more than this (the machine was asleep) is left out instead of made up for in a burst.
_LATE_S = 5.0
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a customer to the shop's front door, `at_s` seconds after opening."""

    number: int
    at_s: float
    method: str
    path: str
    body: bytes | None = None


def visits(day: Day) -> Iterator[Visit]:
    """All visits from opening on, without end; the stream depends on `day` alone."""
    random_ = random.Random(day.seed)
    at_s = 0.0
    number = 0
    while True:
        # Thinning: arrivals at the peak's rate, of which the part that the hour calls for is kept.
        at_s += random_.expovariate(day.peak_rate)
        if random_.random() * day.peak_rate < day.rate(at_s):
            number += 1
            yield _visit(number, at_s, random_)


def _visit(number: int, at_s: float, random_: random.Random) -> Visit:
    kind = random_.random()
    product = random_.randint(1, PRODUCTS)
    if kind < 0.45:
        return Visit(number, at_s, "GET", "/products")
    if kind < 0.78:
        return Visit(number, at_s, "GET", f"/products/{product}")
    if kind < 0.80:
        return Visit(number, at_s, "GET", f"/products/{product + PRODUCTS}")  # a dead link: 404
    if kind < 0.88:
        return Visit(number, at_s, "GET", f"/orders/{max(1, number // 10 - product)}")
    return Visit(number, at_s, "POST", "/checkout", _cart(number, random_))


def _cart(number: int, random_: random.Random) -> bytes:
    products = random_.sample(range(1, PRODUCTS + 1), random_.choice((1, 1, 2, 3)))
    items = [{"product": product, "quantity": random_.choice((1, 1, 1, 2))} for product in products]
    return json.dumps({"cart": number, "payment": random_.choice(("card", "invoice")), "items": items}).encode()


class Customers:
    """Sends visits to the shop at `web_url`, each at its time and without waiting for the one before."""

    def __init__(self, web_url: str) -> None:
        self._web_url = web_url
        self._slots = threading.Semaphore(_VISITS_AT_ONCE)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def send_all(self, day: Day, opened_at_ms: int) -> None:
        """Send the visits of `day`, which began at `opened_at_ms` (ms since 1970); does not return."""
        with ThreadPoolExecutor(_VISITS_AT_ONCE) as pool:
            for visit in visits(day):
                wait_s = visit.at_s - (clock.now_ms() - opened_at_ms) / 1000
                if wait_s > 0:
                    time.sleep(wait_s)
                if wait_s > -_LATE_S and self._slots.acquire(blocking=False):
                    pool.submit(self._send, visit)

    def _send(self, visit: Visit) -> None:
        headers = {"Content-Type": "application/json"} if visit.body else {}
        request = urllib.request.Request(  # noqa: S310 - always http://127.0.0.1
            self._web_url + visit.path, data=visit.body, headers=headers, method=visit.method
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as response:
                response.read()
        except urllib.error.HTTPError as error:
            error.close()  # the shop counts its own failures
        except OSError as error:
            print(f"{visit.method} {visit.path}: {error}", flush=True)
        finally:
            self._slots.release()


def main() -> None:
    """The process of the customers; where the shop is and when it opened comes from the environment."""
    surroundings = Surroundings.from_environment()
    Customers(surroundings.web_url).send_all(surroundings.day, surroundings.opened_at_ms)


if __name__ == "__main__":
    main()
