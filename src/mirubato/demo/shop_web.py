"""shop-web: the front door, a Flask application that asks the catalog and the orders service over HTTP."""

import logging
from typing import Any

import httpx
from flask import Flask, request
from opentelemetry import metrics

from mirubato.demo.serving import serve_wsgi
from mirubato.demo.surroundings import Surroundings

# Longer than an order takes on a bad day, most of the time; the rest becomes a 504.
_TIMEOUT_S = 1.5
_CART_VALUE_BUCKETS = (10, 20, 50, 100, 150, 200, 300, 500)  # USD

_log = logging.getLogger("shop.web")

Answer = tuple[dict[str, Any], int]


def create_app(catalog_url: str, orders_url: str) -> Flask:
    """The application; both addresses without a trailing slash."""
    app = Flask("shop-web")
    catalog = httpx.Client(base_url=catalog_url, timeout=_TIMEOUT_S, trust_env=False)
    orders = httpx.Client(base_url=orders_url, timeout=_TIMEOUT_S, trust_env=False)
    cart_value = metrics.get_meter("shop.web").create_histogram(
        "shop.cart.value",
        unit="{USD}",
        description="Value of a cart at checkout",
        explicit_bucket_boundaries_advisory=_CART_VALUE_BUCKETS,
    )

    @app.get("/products")
    def products() -> Answer:
        return _pass_on(catalog.get("/products"))

    @app.get("/products/<int:number>")
    def product(number: int) -> Answer:
        return _pass_on(catalog.get(f"/products/{number}"))

    @app.get("/orders/<int:number>")
    def order(number: int) -> Answer:
        return _pass_on(orders.get(f"/orders/{number}"))

    @app.post("/checkout")
    def checkout() -> Answer:
        answer, status = _pass_on(orders.post("/orders", json=request.get_json()))
        if "total" in answer:
            cart_value.record(answer["total"], {"payment": answer["payment"]})
        return answer, status

    app.register_error_handler(httpx.TimeoutException, _too_late)
    app.register_error_handler(httpx.TransportError, _unreachable)
    return app


def _pass_on(response: httpx.Response) -> Answer:
    """The other service's answer; its failure is a 502 of ours."""
    if response.status_code >= 500:
        _log.warning("%s answered %d", response.request.url.path, response.status_code)
        return {"error": "something went wrong, please try again"}, 502
    return response.json(), response.status_code


def _too_late(error: httpx.TimeoutException) -> Answer:
    _log.warning("%s took longer than %.1f s", error.request.url.path, _TIMEOUT_S)
    return {"error": "this takes too long, please try again"}, 504


def _unreachable(error: httpx.TransportError) -> Answer:
    _log.warning("%s: %s", error.request.url.path, error)
    return {"error": "something went wrong, please try again"}, 502


if __name__ == "__main__":
    surroundings = Surroundings.from_environment()
    serve_wsgi(create_app(surroundings.catalog_url, surroundings.orders_url))
