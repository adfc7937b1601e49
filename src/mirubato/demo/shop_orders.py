"""shop-orders: takes orders, a Starlette application with an SQLite database and a queue; it has the incident."""

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mirubato.demo.day import draw
from mirubato.demo.serving import serve_asgi
from mirubato.demo.surroundings import Surroundings

_DECLINED = 0.03  # part of the payments that are declined: a 402, which is no failure of the service
_FAILURES, _FAILURES_IN_INCIDENT = 0.02, 0.35  # part of the orders that fail
_PAYMENT_S, _PAYMENT_IN_INCIDENT_S = 0.03, 1.2  # a payment takes half to one and a half of it
_PACKING_S, _PACKING_IN_INCIDENT_S = 0.15, 2.0  # time to pack one order
_WAITING_MAX = 1000  # orders in the queue
_KEPT = 5000  # orders in the database
# Rows that an order writes, if the shop were on Cloudflare's D1. In the incident each failed payment is tried again in
# a loop that writes down every try: the 50 million rows that the plan includes are soon gone, and the bill runs away.
_ROWS, _ROWS_OF_RETRIES = 5, 3_000_000

_log = logging.getLogger("shop.orders")


class PaymentError(Exception):
    """The payment provider did not answer."""


class Orders:
    """The database of the orders, made anew in `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        with self._cursor() as cursor:
            cursor.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY, total REAL, packed INTEGER DEFAULT 0)")

    def add(self, total: float) -> int:
        """Keep an order of `total` USD; its number. The oldest goes once there are too many."""
        with self._cursor() as cursor:
            cursor.execute("INSERT INTO orders (total) VALUES (?)", (total,))
            number = cursor.lastrowid or 0
            cursor.execute("DELETE FROM orders WHERE number <= ?", (number - _KEPT,))
        return number

    def pack(self, number: int) -> None:
        """Mark an order as packed."""
        with self._cursor() as cursor:
            cursor.execute("UPDATE orders SET packed = 1 WHERE number = ?", (number,))

    def order(self, number: int) -> dict[str, Any] | None:
        """One order, or None."""
        with self._cursor() as cursor:
            cursor.execute("SELECT number, total, packed FROM orders WHERE number = ?", (number,))
            row = cursor.fetchone()
        return dict(zip(("number", "total", "packed"), row, strict=True)) if row else None

    @contextmanager
    def _cursor(self) -> Iterator[sqlite3.Cursor]:
        with closing(sqlite3.connect(self._path)) as connection, connection, closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA synchronous = OFF")  # the orders are made anew at every start
            yield cursor


class OrderDesk:
    """Takes orders: payment, stock, database, and the queue of what is to be packed."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._catalog = httpx.Client(base_url=surroundings.catalog_url, timeout=5.0, trust_env=False)
        self.orders = Orders(surroundings.directory / "shop-orders.sqlite")
        self._to_pack: queue.Queue[int] = queue.Queue(_WAITING_MAX)
        meter = metrics.get_meter("shop.orders")
        self._placed = meter.create_counter("shop.orders.placed", description="Orders that were paid and taken")
        self._revenue = meter.create_counter("shop.revenue", unit="{USD}", description="Value of the orders taken")
        self._usage = meter.create_counter("resource.usage", description="Used of the cloud, by resource")
        meter.create_observable_gauge("queue_depth", [self._queue_depth], description="Orders waiting to be packed")

    def place(self, cart: dict[str, Any]) -> JSONResponse:
        """Take one order; blocks for as long as payment and catalog take."""
        self._usage.add(1, {"resource": "workers.requests"})
        try:
            if not self._pay(cart["cart"]):
                return JSONResponse({"error": "the payment was declined"}, 402)
            reservation = self._catalog.post("/reservations", json={"items": cart["items"]}).raise_for_status()
        except PaymentError as error:
            _log.error("cart %d: %s", cart["cart"], error)
            self._usage.add(_ROWS_OF_RETRIES if self._in_incident() else _ROWS, {"resource": "d1.rows_written"})
            return JSONResponse({"error": str(error)}, 503)
        except httpx.HTTPError as error:
            _log.error("cart %d: the catalog failed: %s", cart["cart"], error)
            return JSONResponse({"error": "the catalog failed"}, 502)
        return self._take(cart["payment"], reservation.json()["total"])

    def pack_for_ever(self) -> None:
        """Pack what is in the queue, one order after the other; slow while the incident lasts."""
        while True:
            number = self._to_pack.get()
            time.sleep(_PACKING_IN_INCIDENT_S if self._in_incident() else _PACKING_S)
            self.orders.pack(number)

    def _pay(self, cart: int) -> bool:
        seed = self._surroundings.day.seed
        trouble = self._in_incident()
        usual_s = _PAYMENT_IN_INCIDENT_S if trouble else _PAYMENT_S
        time.sleep(usual_s * (0.5 + draw(seed, "payment time", cart)))
        if draw(seed, "payment", cart) < (_FAILURES_IN_INCIDENT if trouble else _FAILURES):
            raise PaymentError("the payment provider does not answer")
        return draw(seed, "declined", cart) >= _DECLINED

    def _take(self, payment: str, total: float) -> JSONResponse:
        number = self.orders.add(total)
        self._usage.add(_ROWS, {"resource": "d1.rows_written"})
        try:
            self._to_pack.put_nowait(number)
        except queue.Full:
            _log.warning("order %d is not packed: too many are waiting", number)
        self._placed.add(1, {"payment": payment})
        self._revenue.add(total, {"payment": payment})
        return JSONResponse({"number": number, "total": total, "payment": payment}, 201)

    def _in_incident(self) -> bool:
        return self._surroundings.day.in_incident(self._surroundings.since_opening_s())

    def _queue_depth(self, _options: CallbackOptions) -> Iterator[Observation]:
        yield Observation(self._to_pack.qsize(), {"queue": "packing"})


def create_app(desk: OrderDesk) -> Starlette:
    """The application in front of the desk."""

    async def place(request: Request) -> JSONResponse:
        return await run_in_threadpool(desk.place, await request.json())

    async def order(request: Request) -> JSONResponse:
        number = request.path_params["number"]
        found = await run_in_threadpool(desk.orders.order, number)
        return JSONResponse(found) if found else JSONResponse({"error": f"there is no order {number}"}, 404)

    return Starlette(
        routes=[Route("/orders", place, methods=["POST"]), Route("/orders/{number:int}", order, methods=["GET"])]
    )


if __name__ == "__main__":
    order_desk = OrderDesk(Surroundings.from_environment())
    threading.Thread(target=order_desk.pack_for_ever, daemon=True).start()
    serve_asgi(create_app(order_desk))
