"""The Prometheus HTTP API under /api/prometheus/api/v1. Source: prometheus, docs/querying/api.md."""

import logging
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mirubato.clock import monotonic_s
from mirubato.errors import BadQuery, QueryError, QueryLimit, QueryTimeout
from mirubato.limits import LOOKBACK_MS
from mirubato.model.histogram import Histogram
from mirubato.model.labels import Labels, format_value
from mirubato.model.seams import Selector
from mirubato.promql.query import Points, QueryBudget, Steps, at_steps, raw_samples
from mirubato.promql.selectors import parse_matchers, parse_selector
from mirubato.web.offload import offload
from mirubato.web.parameters import duration_ms, limit, time_ms

_log = logging.getLogger(__name__)

# 64 kB of query, or some thousand match[].
_FORM_BYTES_MAX = 1 << 20

_ESCAPED_NAME = re.compile(r"(?:[^_]|__|_[0-9a-fA-F]{1,6}_)*")
_ESCAPED_PART = re.compile(r"__|_([0-9a-fA-F]{1,6})_")

PREFIX = "/api/prometheus/api/v1"

# Prometheus' words and status for each class of error; the first that fits counts.
_ERRORS: tuple[tuple[type[Exception], str, int], ...] = (
    (BadQuery, "bad_data", 400),
    (QueryLimit, "execution", 422),
    (QueryTimeout, "timeout", 503),
    (QueryError, "execution", 422),
    (Exception, "internal", 500),
)


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """Settings of a query: timeout in ms, series and samples in number."""

    timeout: int
    series: int
    samples: int


class Parameters:
    """What a request asks: its form first, then its query string, as in Go; and what stood in its path."""

    def __init__(self, pairs: Sequence[tuple[str, str]], path: Mapping[str, str]) -> None:
        self._pairs, self.path = pairs, path
        self.single: Mapping[str, str] = dict(reversed(pairs))

    def required(self, name: str) -> str:
        """A parameter that must be there."""
        if not self.single.get(name):
            raise BadQuery(f'invalid parameter "{name}": missing')
        return self.single[name]

    def all(self, name: str) -> list[str]:
        """All values of a repeated parameter."""
        return [value for key, value in self._pairs if key == name]


async def _parameters(request: Request) -> Parameters:
    form: list[tuple[str, str]] = []
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method == "POST" and kind == "application/x-www-form-urlencoded":
        form = parse_qsl((await _body(request)).decode(errors="replace"), keep_blank_values=True)
    return Parameters([*form, *request.query_params.multi_items()], request.path_params)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _FORM_BYTES_MAX:
            raise BadQuery(f"the form is larger than {_FORM_BYTES_MAX} bytes")
    return bytes(body)


@dataclass(frozen=True, slots=True)
class Answer:
    """The `data` of an answer, and what the user should know about it."""

    data: Any
    warnings: Sequence[str] = ()


Endpoint = Callable[[Parameters], Coroutine[Any, Any, Answer]]


class PrometheusApi:
    """Endpoints over a selector; each query runs in a thread of `pool`."""

    def __init__(
        self, selector: Selector, pool: Executor, limits: QueryLimits, now: Callable[[], int], version: str
    ) -> None:
        self._selector, self._pool, self._limits = selector, pool, limits
        self._now, self._version = now, version

    def routes(self) -> list[Route]:
        """All routes with their methods."""
        both, get = ["GET", "POST"], ["GET"]
        endpoints: list[tuple[str, Endpoint, list[str]]] = [
            ("query", self._query, both),
            ("query_range", self._query_range, both),
            ("series", self._series, both),
            ("labels", self._labels, both),
            ("label/{name}/values", self._label_values, get),
            ("metadata", self._metadata, get),
            ("status/buildinfo", self._buildinfo, get),
        ]
        return [
            Route(f"{PREFIX}/{path}", self._enveloped(endpoint), methods=methods)
            for path, endpoint, methods in endpoints
        ]

    def _enveloped(self, endpoint: Endpoint) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def answer(request: Request) -> Response:
            try:
                return envelope(await endpoint(await _parameters(request)))
            except ClientDisconnect:
                return Response(status_code=499)
            except Exception as error:  # noqa: BLE001  (Grafana shows only what comes in the envelope)
                return failure(error)

        return answer

    def budget(self, parameters: Mapping[str, str]) -> QueryBudget:
        """A query's deadline and bounds; `timeout` may only shorten."""
        timeout = min(duration_ms(parameters, "timeout", self._limits.timeout), self._limits.timeout)
        return QueryBudget(monotonic_s() + timeout / 1000, self._limits.series, self._limits.samples)

    async def _query(self, parameters: Parameters) -> Answer:
        query = parse_selector(parameters.required("query"))
        time = time_ms(parameters.single, "time", self._now())
        budget, most = self.budget(parameters.single), limit(parameters.single)
        if query.range_ms is not None:
            points = await offload(self._pool, raw_samples, self._selector, query, time, budget)
            return _result("matrix", points, most, _matrix_entry)
        steps = Steps(time, time, 1, _lookback(parameters))
        points = await offload(self._pool, at_steps, self._selector, query, steps, budget)
        return _result("vector", points, most, _vector_entry)

    async def _query_range(self, parameters: Parameters) -> Answer:
        query = parse_selector(parameters.required("query"))
        if query.range_ms is not None:
            raise BadQuery(
                'invalid parameter "query": invalid expression type "range vector" for range query,'
                " must be Scalar or instant Vector"
            )
        for name in ("start", "end", "step"):
            parameters.required(name)
        single = parameters.single
        start, end = time_ms(single, "start", 0), time_ms(single, "end", 0)
        steps = Steps(start, end, duration_ms(single, "step"), _lookback(parameters))
        budget, most = self.budget(single), limit(single)
        points = await offload(self._pool, at_steps, self._selector, query, steps, budget)
        return _result("matrix", points, most, _matrix_entry)

    async def _series(self, parameters: Parameters) -> Answer:
        if not parameters.all("match[]"):
            raise BadQuery("no match[] parameter provided")
        found = await self._matching(parameters)
        return _cut([dict(labels) for labels in found], limit(parameters.single))

    async def _labels(self, parameters: Parameters) -> Answer:
        most = limit(parameters.single)
        if not parameters.all("match[]"):
            return _cut(await offload(self._pool, self._selector.label_names), most)
        found = await self._matching(parameters)
        return _cut(sorted({name for labels in found for name, _ in labels}), most)

    async def _label_values(self, parameters: Parameters) -> Answer:
        name, most = unescaped_name(parameters.path["name"]), limit(parameters.single)
        if not parameters.all("match[]"):
            return _cut(await offload(self._pool, self._selector.label_values, name), most)
        found = await self._matching(parameters)
        return _cut(sorted({value for labels in found for label, value in labels if label == name}), most)

    async def _matching(self, parameters: Parameters) -> list[Labels]:
        start = time_ms(parameters.single, "start", 0)
        budget = self.budget(parameters.single)
        found: set[Labels] = set()
        for text in parameters.all("match[]"):
            found.update(await offload(self._pool, self._selector.series, parse_matchers(text), start, budget))
        return sorted(found)

    async def _metadata(self, parameters: Parameters) -> Answer:
        wanted, most = parameters.single.get("metric"), limit(parameters.single)
        found: dict[str, list[dict[str, str]]] = {}
        for family in await offload(self._pool, self._selector.families):
            if wanted in (None, "", family.name) and (most is None or len(found) < most or family.name in found):
                entry = {"type": family.type.value, "help": family.help, "unit": family.unit}
                found.setdefault(family.name, []).append(entry)
        return Answer(found)

    async def _buildinfo(self, _: Parameters) -> Answer:
        # No `features`: with them Grafana would take this for Mimir and look for a ruler.
        keys = ("revision", "branch", "buildUser", "buildDate", "goVersion")
        return Answer({"version": "3.14.0", **dict.fromkeys(keys, ""), "application": f"mirubato {self._version}"})


def _lookback(parameters: Parameters) -> int:
    lookback = duration_ms(parameters.single, "lookback_delta", LOOKBACK_MS)
    if lookback <= 0:
        raise BadQuery('invalid parameter "lookback_delta": must be greater than 0')
    return lookback


def _cut(entries: Sequence[Any], most: int | None) -> Answer:
    """The first entries, and Prometheus' warning if there are more."""
    if most is None or len(entries) <= most:
        return Answer(entries)
    return Answer(entries[:most], ["results truncated due to limit"])


def _result(kind: str, points: Sequence[Points], most: int | None, entry: Callable[[Points], Any]) -> Answer:
    shown = _cut(points, most)
    return Answer({"resultType": kind, "result": [entry(one) for one in shown.data]}, shown.warnings)


def envelope(answer: Answer) -> Response:
    """Prometheus' success envelope."""
    body: dict[str, Any] = {"status": "success", "data": answer.data}
    if answer.warnings:
        body["warnings"] = answer.warnings
    return Response(orjson.dumps(body), media_type="application/json")


def failure(error: Exception) -> Response:
    """Prometheus' error envelope with its error types."""
    kind, status = next((kind, status) for class_, kind, status in _ERRORS if isinstance(error, class_))
    if kind == "internal":
        _log.exception("a query failed", exc_info=error)
    return refusal(kind, str(error), status)


def refusal(kind: str, message: str, status: int) -> Response:
    """Prometheus' error envelope."""
    body = {"status": "error", "errorType": kind, "error": message}
    return Response(orjson.dumps(body), status, media_type="application/json")


def _vector_entry(points: Points) -> dict[str, Any]:
    time = points.times[0] / 1000
    if points.histograms:
        return {"metric": dict(points.labels), "histogram": [time, histogram_json(points.histograms[0])]}
    return {"metric": dict(points.labels), "value": [time, format_value(points.values[0])]}


def _matrix_entry(points: Points) -> dict[str, Any]:
    times = [time / 1000 for time in points.times]
    if points.histograms:
        shown = [[time, histogram_json(one)] for time, one in zip(times, points.histograms, strict=True)]
        return {"metric": dict(points.labels), "histograms": shown}
    values = [[time, format_value(value)] for time, value in zip(times, points.values, strict=True)]
    return {"metric": dict(points.labels), "values": values}


def histogram_json(histogram: Histogram) -> dict[str, Any]:
    """A native histogram as the API shows it: buckets that hold something, each [rule, left, right, count].

    Rules (api.md): 0 open left, 1 open right, 3 closed both.
    """
    buckets = [
        [rule, format_value(left), format_value(right), format_value(count)]
        for rule, left, right, count in histogram.bounded_buckets()
        if count
    ]
    shown: dict[str, Any] = {"count": format_value(histogram.count), "sum": format_value(histogram.sum)}
    return shown | ({"buckets": buckets} if buckets else {})


def unescaped_name(name: str) -> str:
    """A label name in a path: `U__` begins one that is escaped by the `values` scheme (escaping_schemes.md)."""
    rest = name.removeprefix("U__")
    if rest == name or not _ESCAPED_NAME.fullmatch(rest):
        return name
    try:
        return _ESCAPED_PART.sub(lambda match: chr(int(match[1], 16)) if match[1] else "_", rest)
    except ValueError:
        return name  # beyond Unicode
