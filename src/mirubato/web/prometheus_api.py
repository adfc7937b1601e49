"""The Prometheus HTTP API under /api/prometheus/api/v1. Source: prometheus, docs/querying/api.md."""

import logging
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.datastructures import FormData, QueryParams
from starlette.requests import Request
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
    """Query string and form as one: POST sends both."""

    def __init__(self, query: QueryParams, form: FormData | None) -> None:
        pairs = [*query.multi_items(), *(form.multi_items() if form else ())]
        self._pairs = [(name, value) for name, value in pairs if isinstance(value, str)]
        self.single: Mapping[str, str] = dict(reversed(self._pairs))

    def required(self, name: str) -> str:
        """A parameter that must be there."""
        if not self.single.get(name):
            raise BadQuery(f'invalid parameter "{name}": missing')
        return self.single[name]

    def all(self, name: str) -> list[str]:
        """All values of a repeated parameter."""
        return [value for key, value in self._pairs if key == name]


Endpoint = Callable[[Parameters], Coroutine[Any, Any, Any]]


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
            ("metadata", self._metadata, get),
            ("status/buildinfo", self._buildinfo, get),
        ]
        routes = [
            Route(f"{PREFIX}/{path}", self._enveloped(endpoint), methods=methods)
            for path, endpoint, methods in endpoints
        ]
        return [*routes, Route(f"{PREFIX}/label/{{name}}/values", self._label_values, methods=get)]

    def _enveloped(self, endpoint: Endpoint) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def answer(request: Request) -> Response:
            try:
                form = await request.form() if request.method == "POST" else None
                return envelope(await endpoint(Parameters(request.query_params, form)))
            except Exception as error:  # noqa: BLE001  (Grafana shows only what comes in the envelope)
                return failure(error)

        return answer

    def budget(self, parameters: Mapping[str, str]) -> QueryBudget:
        """A query's deadline and bounds; `timeout` may only shorten."""
        timeout = min(duration_ms(parameters, "timeout", self._limits.timeout), self._limits.timeout)
        return QueryBudget(monotonic_s() + timeout / 1000, self._limits.series, self._limits.samples)

    async def _query(self, parameters: Parameters) -> Any:
        query = parse_selector(parameters.required("query"))
        time = time_ms(parameters.single, "time", self._now())
        budget, most = self.budget(parameters.single), limit(parameters.single)
        if query.range_ms is not None:
            points = await offload(self._pool, raw_samples, self._selector, query, time, budget)
            return {"resultType": "matrix", "result": [_matrix_entry(one) for one in points[:most]]}
        steps = Steps(time, time, 1, _lookback(parameters))
        points = await offload(self._pool, at_steps, self._selector, query, steps, budget)
        return {"resultType": "vector", "result": [_vector_entry(one) for one in points[:most]]}

    async def _query_range(self, parameters: Parameters) -> Any:
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
        return {"resultType": "matrix", "result": [_matrix_entry(one) for one in points[:most]]}

    async def _series(self, parameters: Parameters) -> Any:
        if not parameters.all("match[]"):
            raise BadQuery("no match[] parameter provided")
        found = await self._matching(parameters)
        return [dict(labels) for labels in found[: limit(parameters.single)]]

    async def _labels(self, parameters: Parameters) -> Any:
        if not parameters.all("match[]"):
            return self._selector.label_names()[: limit(parameters.single)]
        found = await self._matching(parameters)
        return sorted({name for labels in found for name, _ in labels})[: limit(parameters.single)]

    async def _label_values(self, request: Request) -> Response:
        try:
            parameters, name = Parameters(request.query_params, None), unescaped_name(request.path_params["name"])
            most = limit(parameters.single)
            if not parameters.all("match[]"):
                return envelope(self._selector.label_values(name)[:most])
            found = await self._matching(parameters)
            return envelope(sorted({value for labels in found for label, value in labels if label == name})[:most])
        except Exception as error:  # noqa: BLE001  (as in `_enveloped`)
            return failure(error)

    async def _matching(self, parameters: Parameters) -> list[Labels]:
        start = time_ms(parameters.single, "start", 0)
        budget = self.budget(parameters.single)
        found: set[Labels] = set()
        for text in parameters.all("match[]"):
            found.update(await offload(self._pool, self._selector.series, parse_matchers(text), start, budget))
        return sorted(found)

    async def _metadata(self, parameters: Parameters) -> Any:
        wanted, most = parameters.single.get("metric"), limit(parameters.single)
        found: dict[str, list[dict[str, str]]] = {}
        for family in self._selector.families():
            if wanted in (None, "", family.name) and (most is None or len(found) < most or family.name in found):
                entry = {"type": family.type.value, "help": family.help, "unit": family.unit}
                found.setdefault(family.name, []).append(entry)
        return found

    async def _buildinfo(self, _: Parameters) -> Any:
        # No `features`: with them Grafana would take this for Mimir and look for a ruler.
        keys = ("revision", "branch", "buildUser", "buildDate", "goVersion")
        return {"version": "3.14.0", **dict.fromkeys(keys, ""), "application": f"mirubato {self._version}"}


def _lookback(parameters: Parameters) -> int:
    lookback = duration_ms(parameters.single, "lookback_delta", LOOKBACK_MS)
    if lookback <= 0:
        raise BadQuery('invalid parameter "lookback_delta": must be greater than 0')
    return lookback


def envelope(data: Any) -> Response:
    """Prometheus' success envelope."""
    return Response(orjson.dumps({"status": "success", "data": data}), media_type="application/json")


def failure(error: Exception) -> Response:
    """Prometheus' error envelope with its error types."""
    kind, status = next((kind, status) for class_, kind, status in _ERRORS if isinstance(error, class_))
    if kind == "internal":
        _log.exception("a query failed", exc_info=error)
    body = {"status": "error", "errorType": kind, "error": str(error)}
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
    if not name.startswith("U__"):
        return name
    parts = name.removeprefix("U__").replace("__", "\0").split("_")
    try:
        decoded = [part if index % 2 == 0 else chr(int(part, 16)) for index, part in enumerate(parts)]
    except (ValueError, OverflowError):
        return name
    return "".join(decoded).replace("\0", "_")
