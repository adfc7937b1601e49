"""The kept traces and error logs, and the deploy markers, as JSON."""

import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mirubato.errors import BadField, BadQuery, NotFound, code_of
from mirubato.limits import VERSION_CHARS_MAX
from mirubato.traces import answers, reading
from mirubato.traces.deploys import Deploys
from mirubato.traces.reading import LogFilter, TraceFilter
from mirubato.traces.store import TraceStore
from mirubato.web.offload import offload
from mirubato.web.parameters import TIME_MS_MAX, moment_ms

_LIMIT_DEFAULT, _LIMIT_MAX = 100, 1000
_WORDS_MAX = 10
_BODY_BYTES_MAX = 65_536
_FUTURE_MS_MAX = 600_000

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)?")
_UNITS_NS = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}
_SEVERITIES = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "warning": 13, "error": 17, "fatal": 21, "critical": 21}
_STATUSES = {"": None, "error": True, "ok": False}

_PROTOBUF = ("application/x-protobuf", "application/protobuf")

Handler = Callable[[Request], Awaitable[Response]]


class TracesApi:
    """GET /api/traces, /api/traces/{trace_id}, /api/logs; GET and POST /api/deploys."""

    def __init__(self, store: TraceStore, deploys: Deploys, pool: Executor, now: Callable[[], int]) -> None:
        self._store, self._deploys, self._pool, self._now = store, deploys, pool, now

    def routes(self) -> list[Route]:
        """For the web port."""
        return [
            Route("/api/traces", _answered(self._traces)),
            Route("/api/traces/{trace_id}", _answered(self._trace)),
            Route("/api/logs", _answered(self._logs)),
            Route("/api/deploys", _answered(self._deploys_between), methods=["GET"]),
            Route("/api/deploys", _answered(self._add_deploy), methods=["POST"]),
        ]

    async def _traces(self, request: Request) -> Response:
        wanted = trace_filter(request.query_params, self._now())
        rows = await offload(self._pool, self._store.read, lambda file: reading.find_traces(file, wanted))
        return _json({"traces": [answers.trace_row(row) for row in rows]})

    async def _trace(self, request: Request) -> Response:
        trace_id = _trace_id(request.path_params["trace_id"])
        form = _form(request)
        found = await offload(self._pool, self._store.read, lambda file: reading.find_trace(file, trace_id))
        if found is None:
            raise NotFound(f"no trace {trace_id.hex()} is kept")
        if form == "protobuf":
            content = await offload(self._pool, lambda: answers.to_otlp(found).SerializeToString())
            return Response(content, media_type=_PROTOBUF[0])
        if form == "otlp":
            return _json(await offload(self._pool, lambda: answers.otlp_json(answers.to_otlp(found))))
        return _json(await offload(self._pool, answers.waterfall, found))

    async def _logs(self, request: Request) -> Response:
        wanted = log_filter(request.query_params, self._now())
        rows = await offload(self._pool, self._store.read, lambda file: reading.find_logs(file, wanted))
        return _json({"logs": [answers.log_entry(row) for row in rows]})

    async def _deploys_between(self, request: Request) -> Response:
        asked, now = request.query_params, self._now()
        start, end = _moment(asked, "start", now), _moment(asked, "end", now)
        found = await offload(
            self._pool,
            lambda: self._deploys.between(
                -TIME_MS_MAX if start is None else start,
                TIME_MS_MAX if end is None else end,
                asked.get("service", ""),
                _limit(asked),
            ),
        )
        return _json({"deploys": [deploy.entry() for deploy in found]})

    async def _add_deploy(self, request: Request) -> Response:
        given, now = await _body(request), self._now()
        service, version = _text(given, "service_name"), _text(given, "version")
        time_ms = given.get("time_ms", now)
        if not isinstance(time_ms, int) or isinstance(time_ms, bool) or not 0 <= time_ms <= now + _FUTURE_MS_MAX:
            raise BadField("time_ms", "ms since 1970, no more than 10 minutes ahead of the clock")
        if unknown := given.keys() - {"service_name", "version", "time_ms"}:
            raise BadField(min(unknown), "no such field; there are service_name, version and time_ms")
        return _json((await self._deploys.add(service, version, time_ms)).entry(), 201)


def trace_filter(asked: Mapping[str, str], now: int) -> TraceFilter:
    """What a query string asks; BadField for what cannot be."""
    status = asked.get("status", "").lower()
    if status not in _STATUSES:
        raise BadField("status", "is error or ok")
    least, most = _duration_ns(asked, "min_duration"), _duration_ns(asked, "max_duration")
    if least is not None and most is not None and most < least:
        raise BadField("max_duration", "is less than min_duration")
    start, end = _range(asked, now)
    return TraceFilter(
        _limit(asked), start, end, asked.get("service", ""), _STATUSES[status], least, most, _words(asked)
    )


def log_filter(asked: Mapping[str, str], now: int) -> LogFilter:
    """The same for logs."""
    severity = asked.get("severity", "").lower()
    number = _SEVERITIES.get(severity) or (int(severity) if severity.isdecimal() and len(severity) < 3 else 0)
    if severity and not 1 <= number <= 24:
        raise BadField("severity", "is trace, debug, info, warn, error, fatal, or a number from 1 to 24")
    start, end = _range(asked, now)
    return LogFilter(_limit(asked), start, end, asked.get("service", ""), number or None, _words(asked))


def _answered(handler: Handler) -> Handler:
    """What was wrong with a request, as JSON with the field."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except BadField as error:
            return _json({"code": code_of(error), "message": str(error), "field": error.field}, 400)
        except NotFound as error:
            return _json({"code": code_of(error), "message": str(error)}, 404)

    return answer


def _json(data: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(data), status, media_type="application/json")


def _range(asked: Mapping[str, str], now: int) -> tuple[int | None, int | None]:
    start, end = _moment(asked, "start", now), _moment(asked, "end", now)
    if start is not None and end is not None and end < start:
        raise BadField("end", "is before start")
    return start, end


def _moment(asked: Mapping[str, str], name: str, now: int) -> int | None:
    """Relative (`1h`), unix seconds or RFC 3339 -> ms."""
    if not asked.get(name):
        return None
    try:
        return moment_ms(asked, name, 0, now)
    except BadQuery as error:
        raise BadField(name, "is no time such as 1h, 1764000000 or 2026-11-24T12:00:00Z") from error


def _duration_ns(asked: Mapping[str, str], name: str) -> int | None:
    """`150ms`, `1.5s`, or seconds as a number -> ns."""
    text = asked.get(name, "")
    if not text:
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadField(name, "is no duration such as 150ms, 1.5s or 2m; a number is seconds")
    return min(round(float(match[1]) * _UNITS_NS[match[2] or "s"]), (1 << 63) - 1)


def _limit(asked: Mapping[str, str]) -> int:
    text = asked.get("limit") or str(_LIMIT_DEFAULT)
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= _LIMIT_MAX):
        raise BadField("limit", f"is a number from 1 to {_LIMIT_MAX}")
    return int(text)


def _words(asked: Mapping[str, str]) -> list[str]:
    words = asked.get("q", "").lower().split()
    if len(words) > _WORDS_MAX:
        raise BadField("q", f"has more than {_WORDS_MAX} words")
    return words


def _trace_id(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 16:
        raise BadField("trace_id", "has 32 hexadecimal digits")
    return found


def _form(request: Request) -> str:
    """`json`, `otlp` (JSON as OTLP has it) or `protobuf`: by `format`, else by `Accept`."""
    asked, accept = request.query_params.get("format", ""), request.headers.get("accept", "")
    if asked:
        if asked not in ("json", "otlp", "protobuf"):
            raise BadField("format", "is json, otlp or protobuf")
        return asked
    if any(kind in accept for kind in _PROTOBUF):
        return "protobuf"
    return "otlp" if "otlp" in accept else "json"


async def _body(request: Request) -> dict[str, Any]:
    """A JSON object of a bounded size."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _BODY_BYTES_MAX:
            raise BadField("", f"the body is larger than {_BODY_BYTES_MAX} bytes")
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadField("", f"the body is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise BadField("", "the body is an object with service_name and version")
    return given


def _text(given: Mapping[str, Any], name: str) -> str:
    text = given.get(name)
    if not isinstance(text, str) or not text.strip() or len(text) > VERSION_CHARS_MAX:
        raise BadField(name, f"is a text of 1 to {VERSION_CHARS_MAX} characters")
    return text
