"""Prometheus' envelope, for answers and for errors. Source: prometheus, docs/querying/api.md."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response

from mirubato.errors import BadQuery, QueryError, QueryLimit, QueryTimeout

_log = logging.getLogger(__name__)

TRUNCATED = "results truncated due to limit"

# Prometheus' words and status for each class of error; the first that fits counts.
_ERRORS: tuple[tuple[type[Exception], str, int], ...] = (
    (BadQuery, "bad_data", 400),
    (QueryLimit, "execution", 422),
    (QueryTimeout, "timeout", 503),
    (QueryError, "execution", 422),
    (Exception, "internal", 500),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The `data` of an answer, and what the user should know about it."""

    data: Any
    warnings: Sequence[str] = ()
    infos: Sequence[str] = ()


def cut(entries: Sequence[Any], most: int | None) -> Answer:
    """The first entries, and Prometheus' warning if there are more."""
    if most is None or len(entries) <= most:
        return Answer(entries)
    return Answer(entries[:most], [TRUNCATED])


def envelope(answer: Answer) -> Response:
    """A success."""
    body: dict[str, Any] = {"status": "success", "data": answer.data}
    if answer.warnings:
        body["warnings"] = answer.warnings
    if answer.infos:
        body["infos"] = answer.infos
    return Response(orjson.dumps(body), media_type="application/json")


def failure(error: Exception) -> Response:
    """What went wrong, with Prometheus' type and status; our own mistakes are logged."""
    kind, status = next((kind, status) for class_, kind, status in _ERRORS if isinstance(error, class_))
    if kind == "internal":
        _log.exception("a query failed", exc_info=error)
    return refusal(kind, str(error), status)


def refusal(kind: str, message: str, status: int) -> Response:
    """An error of a type and a status."""
    body = {"status": "error", "errorType": kind, "error": message}
    return Response(orjson.dumps(body), status, media_type="application/json")
