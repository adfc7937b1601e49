"""Questions to a running gateway over its Prometheus API."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mirubato.errors import BadQuery, QueryError

# Longer than a gateway with the default settings lets a query take.
_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Reply:
    """The data of an answer, and what the user should know about it."""

    data: Any
    notes: Sequence[str] = ()


def ask(url: str, endpoint: str, asked: Mapping[str, str]) -> Reply:
    """Ask `endpoint` of the gateway at `url`, or of any Prometheus if the URL has a path to its API.

    BadQuery for what it does not understand, QueryError for what has no answer, OSError if nobody answers.
    """
    request = urllib.request.Request(_endpoint(url, endpoint), urllib.parse.urlencode(asked).encode())  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
            answer = _envelope(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            answer = _envelope(error.read())
    except urllib.error.URLError as error:
        raise OSError(f"no gateway answers at {url}: {error.reason}") from error
    if answer is None:
        raise OSError(f"what answers at {url} is no gateway")
    if answer["status"] != "success":
        raise (BadQuery if answer.get("errorType") == "bad_data" else QueryError)(str(answer.get("error")))
    return Reply(answer["data"], [*answer.get("warnings", ()), *answer.get("infos", ())])


def _endpoint(url: str, endpoint: str) -> str:
    base = url.rstrip("/")
    prefix = "" if urllib.parse.urlsplit(base).path else "/api/prometheus"
    return f"{base}{prefix}/api/v1/{endpoint}"


def _envelope(body: bytes) -> Any:
    """A JSON object with a `status`, or None."""
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and "status" in answer else None
