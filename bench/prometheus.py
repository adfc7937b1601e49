"""The reading side: the gateway's health, and plain selectors through its Prometheus API."""

import contextlib
import http.client
from collections.abc import Iterator
from typing import TypedDict, cast
from urllib.parse import urlencode

import orjson

from bench.errors import BenchError

PATH = "/api/prometheus/api/v1/query"
TIMEOUT_S = 60.0
Sample = tuple[float, str]


class Series(TypedDict, total=False):
    """One entry of an instant vector (`value`) or of a matrix (`values`)."""

    metric: dict[str, str]
    value: Sample
    values: list[Sample]


class Api:
    """One kept-alive connection to the gateway's web port."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def get(self, path: str) -> bytes:
        """The body of a 200 answer."""
        try:
            self.connection.request("GET", path)
            response = self.connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"GET {path}: {error}") from error
        if response.status != 200:
            raise BenchError(f"GET {path} answered {response.status}: {body[:300]!r}")
        return body

    def query(self, expression: str, at_s: float | None = None) -> list[Series]:
        """An instant query; without a time it is the server's present."""
        parameters = {"query": expression} | ({} if at_s is None else {"time": f"{at_s:.3f}"})
        answer = orjson.loads(self.get(f"{PATH}?{urlencode(parameters)}"))
        return cast("list[Series]", answer["data"]["result"])

    def unsealed_samples(self) -> int:
        """How many committed samples are not in blocks yet."""
        return int(orjson.loads(self.get("/api/health"))["storage"]["unsealed_samples"])


@contextlib.contextmanager
def api(port: int) -> Iterator[Api]:
    """An `Api`, closed at the end."""
    opened = Api(port)
    try:
        yield opened
    finally:
        opened.connection.close()
