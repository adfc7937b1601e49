"""Cloudflare D1 over its REST API: batches of statements, within its documented limits.

Sources: developers.cloudflare.com/d1/platform/limits (100 parameters and 100,000 bytes a statement, 30 s),
d1/observability/debug-d1 (which errors to try again), fundamentals/api/reference/limits (1,200 requests in 5 minutes).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx

from mirubato.errors import MirubatoError

PARAMETERS_MAX = 100
STATEMENT_BYTES_MAX = 100_000
VALUE_BYTES_MAX = 2_000_000
_TIMEOUT_S = 30.0
_AGAIN_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524))
# Documented as safe to try again where statements are idempotent, or as load that goes away.
_AGAIN_TEXTS = (
    "D1 DB reset because its code was updated",
    "caused object to be reset",
    "Network connection lost",
    "Cannot resolve D1 DB due to transient issue",
    "Can't read from request stream",
    "D1 DB is overloaded",
    "storage operation exceeded timeout",
)


class D1Refused(MirubatoError):
    """D1 will not do it: a wrong statement, token or database."""


class D1Unavailable(MirubatoError):
    """The same may work in `retry_after_s` seconds (0: D1 did not say)."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Statement(NamedTuple):
    """SQL with `?` for each parameter."""

    sql: str
    parameters: Sequence[Any] = ()


class Answer(NamedTuple):
    """Rows by column, and what the statement cost."""

    rows: Sequence[Mapping[str, Any]]
    rows_read: int
    rows_written: int


@dataclass(frozen=True, slots=True)
class Place:
    """Base address of the API, account, database and token."""

    url: str
    account: str
    database: str
    token: str


class D1:
    """One database; `run` waits for the answer. Not for several threads at once."""

    def __init__(self, place: Place, on_usage: Callable[[str, int], None] = lambda *_: None) -> None:
        """`on_usage` is told `rows_read` and `rows_written`, and how many."""
        base = place.url.rstrip("/")
        self._url = f"{base}/accounts/{place.account}/d1/database/{place.database}/query"
        self._client = httpx.Client(timeout=_TIMEOUT_S, headers={"authorization": f"Bearer {place.token}"})
        self._on_usage = on_usage

    def run(self, statements: Sequence[Statement]) -> list[Answer]:
        """An answer for each statement, in order. D1Unavailable, D1Refused; some may have been run all the same."""
        batch = [{"sql": one.sql, "params": list(one.parameters)} for one in statements]
        try:
            reply = self._client.post(self._url, json={"batch": batch})
        except httpx.HTTPError as error:
            raise D1Unavailable(f"D1 cannot be reached: {type(error).__name__}") from error
        document = _document(reply)
        if reply.status_code != 200 or not document.get("success"):
            raise _problem(reply, document)
        answers = [_answer(one) for one in document.get("result") or []]
        if len(answers) != len(statements):
            raise D1Unavailable(f"D1 answered {len(answers)} of {len(statements)} statements")
        for name in ("rows_read", "rows_written"):
            self._on_usage(name, sum(getattr(one, name) for one in answers))
        return answers

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _document(reply: httpx.Response) -> Mapping[str, Any]:
    try:
        document = reply.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _answer(result: Mapping[str, Any]) -> Answer:
    meta = result.get("meta") or {}
    return Answer(result.get("results") or [], int(meta.get("rows_read") or 0), int(meta.get("rows_written") or 0))


def _problem(reply: httpx.Response, document: Mapping[str, Any]) -> MirubatoError:
    errors = document.get("errors") or []
    told = "; ".join(str(one.get("message", ""))[:300] for one in errors if isinstance(one, dict))
    message = f"D1 answered {reply.status_code}: {told or 'no reason'}"
    if reply.status_code in _AGAIN_STATUSES or any(text in told for text in _AGAIN_TEXTS):
        return D1Unavailable(message, _seconds(reply.headers.get("retry-after", "")))
    return D1Refused(message)


def _seconds(text: str) -> float:
    try:
        return max(float(text), 0.0)
    except ValueError:
        return 0.0
