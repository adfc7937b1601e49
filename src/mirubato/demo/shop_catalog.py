"""shop-catalog: products and their stock, a Flask application with an SQLite database."""

import itertools
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from flask import Flask, request
from opentelemetry import metrics

from mirubato.demo.day import draw
from mirubato.demo.serving import serve_wsgi
from mirubato.demo.surroundings import PRODUCTS, Surroundings

_FAILURES = 0.02  # part of the requests that fail, as if a query met a lock
_STOCK = 200  # pieces of a product when it is restocked
_PAGE = 20  # products on a page

_log = logging.getLogger("shop.catalog")

Answer = tuple[dict[str, Any], int]


class Catalog:
    """The database of the products, made anew in `path`."""

    def __init__(self, path: Path, seed: int) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        with self._cursor() as cursor:
            cursor.execute("CREATE TABLE product (number INTEGER PRIMARY KEY, name TEXT, price REAL, stock INTEGER)")
            cursor.executemany("INSERT INTO product VALUES (?, ?, ?, ?)", _assortment(seed))

    def page(self) -> list[dict[str, Any]]:
        """The first products by price in USD."""
        with self._cursor() as cursor:
            cursor.execute("SELECT number, name, price FROM product ORDER BY price LIMIT ?", (_PAGE,))
            return [{"number": row[0], "name": row[1], "price": row[2]} for row in cursor.fetchall()]

    def product(self, number: int) -> dict[str, Any] | None:
        """One product, or None."""
        with self._cursor() as cursor:
            cursor.execute("SELECT number, name, price, stock FROM product WHERE number = ?", (number,))
            row = cursor.fetchone()
        return dict(zip(("number", "name", "price", "stock"), row, strict=True)) if row else None

    def reserve(self, items: Sequence[dict[str, int]]) -> tuple[float, int]:
        """Take the items from the stock, restock what runs out; their price in USD and how many were restocked."""
        total, restocked = 0.0, 0
        with self._cursor() as cursor:
            for item in items:
                taken = (item["quantity"], item["product"])
                cursor.execute("UPDATE product SET stock = stock - ? WHERE number = ?", taken)
                cursor.execute("SELECT price, stock FROM product WHERE number = ?", (item["product"],))
                price, stock = cursor.fetchone()
                total += price * item["quantity"]
                if stock < 0:
                    cursor.execute("UPDATE product SET stock = ? WHERE number = ?", (_STOCK, item["product"]))
                    restocked += 1
        return round(total, 2), restocked

    @contextmanager
    def _cursor(self) -> Iterator[sqlite3.Cursor]:
        with closing(sqlite3.connect(self._path)) as connection, connection, closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA synchronous = OFF")  # the assortment is made anew at every start
            yield cursor


def _assortment(seed: int) -> list[tuple[int, str, float, int]]:
    return [
        (number, f"Print no. {number}", round(8 + 90 * draw(seed, "price", number), 2), _STOCK)
        for number in range(1, PRODUCTS + 1)
    ]


def create_app(catalog: Catalog, seed: int) -> Flask:
    """The application on top of the database."""
    app = Flask("shop-catalog")
    numbers = itertools.count()
    restocked = metrics.get_meter("shop.catalog").create_counter(
        "shop.products.restocked", description="Products whose stock ran out and was filled up"
    )

    @app.before_request
    def fail_now_and_then() -> Answer | None:
        if draw(seed, "catalog", next(numbers)) >= _FAILURES:
            return None
        _log.error("%s: database is locked", request.path)
        return {"error": "database is locked"}, 500

    @app.get("/products")
    def products() -> Answer:
        return {"products": catalog.page()}, 200

    @app.get("/products/<int:number>")
    def product(number: int) -> Answer:
        found = catalog.product(number)
        return (found, 200) if found else ({"error": f"there is no product {number}"}, 404)

    @app.post("/reservations")
    def reserve() -> Answer:
        total, filled = catalog.reserve(request.get_json()["items"])
        if filled:
            restocked.add(filled)
        return {"total": total}, 201

    return app


if __name__ == "__main__":
    surroundings = Surroundings.from_environment()
    database = Catalog(surroundings.directory / "shop-catalog.sqlite", surroundings.day.seed)
    serve_wsgi(create_app(database, surroundings.day.seed))
