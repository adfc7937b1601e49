"""Posts event points to a gateway or a relay Worker, from a thread of its own, with the standard library alone."""

import json
import logging
import os
import random
import threading
import urllib.error
import urllib.parse
import urllib.request
import weakref
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Final, Self

from opentelemetry import context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

from mirubato.analytics_engine.event_points import EventPoint, Limits, current_limits, problem
from mirubato.clock import monotonic_s, now_ms

_log = logging.getLogger(__name__)

PATH = "/api/event-points"
DEFAULT_ENDPOINT = "http://127.0.0.1:4319"
DEFAULT_DATASET = "mirubato_metrics"
_ANSWER_BYTES_MAX = 1 << 20
_TRY_AGAIN = {408, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """How much is kept and how long it is tried: points and seconds.

    `first_pause_s` doubles up to `pause_max_s`; the pause taken is a random part of it. A server's Retry-After goes
    before it, up to `retry_after_max_s`. A batch is given up `try_for_s` after its first try.
    """

    queue_points: int = 20_000
    request_timeout_s: float = 10.0
    first_pause_s: float = 0.5
    pause_max_s: float = 30.0
    retry_after_max_s: float = 300.0
    try_for_s: float = 300.0


@dataclass(frozen=True)
class _Answer:
    """`again_s` is what the server asks for, 0 where it does not; None means not to try again."""

    problem: str = ""
    again_s: float | None = None
    rejected: int = 0


class HttpWriter:
    """Takes points without waiting and posts them in order, at most one invocation's worth in a request.

    What is sent twice after a lost answer is counted twice by Analytics Engine: it knows no request's identity. The
    thread starts with the first point; after a fork the child starts empty, the parent still has what waited.
    `counts`: `written`, `retries`, and `dropped_queue_full`, `dropped_past_limit`, `dropped_closed`, `dropped_refused`
    (the server will not take them), `dropped_rejected` (it took their neighbours), `dropped_given_up`.
    """

    def __init__(
        self,
        url: str,
        *,
        dataset: str = DEFAULT_DATASET,
        token: str = "",
        limits: Limits | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._url = _with_path(url)
        self._dataset = dataset
        self._token = token
        self._limits = limits or current_limits()
        self._patience = patience or Patience()
        self._reset()
        _ALIVE.add(self)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """MIRUBATO_ENDPOINT, MIRUBATO_DATASET, and MIRUBATO_TOKEN or the file MIRUBATO_TOKEN_FILE."""
        url = environment.get("MIRUBATO_ENDPOINT") or DEFAULT_ENDPOINT
        try:
            _with_path(url)
        except ValueError as error:  # an app starts with a wrong setting too
            _log.error("MIRUBATO_ENDPOINT: %s; %s is used", error, DEFAULT_ENDPOINT)
            url = DEFAULT_ENDPOINT
        return cls(
            url,
            dataset=environment.get("MIRUBATO_DATASET") or DEFAULT_DATASET,
            token=_token(environment),
        )

    def forget(self) -> None:
        """Start empty, as a child does after a fork: its parent has the points, and the thread."""
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[EventPoint] = deque()
        self._sending = 0
        self._thread: threading.Thread | None = None
        self._closed = False
        self._stop_at = float("inf")  # on the clock of `monotonic_s`
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> Counter[str]:
        """What became of the points so far."""
        with self._changed:
            return Counter(self._counts)

    def write(self, points: Sequence[EventPoint]) -> None:
        """Check the points and queue them; what the limits or the queue do not hold is counted."""
        good = [point for point in points if not problem(point, self._limits)]
        with self._changed:
            self._count("dropped_past_limit", len(points) - len(good))
            if self._closed:
                self._count("dropped_closed", len(good))
                return
            room = max(self._patience.queue_points - len(self._waiting) - self._sending, 0)
            self._count("dropped_queue_full", len(good) - room)
            self._waiting.extend(good[:room])
            if good and self._thread is None:
                self._start()
            self._changed.notify_all()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="mirubato-event-points", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # an interpreter that is shutting down, or one without threads
            self._count("dropped_closed", len(self._waiting))
            self._waiting.clear()
            return
        self._thread = thread

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is answered or dropped; False after `timeout_s`, and then it goes on in the background."""
        with self._changed:
            return self._changed.wait_for(self._is_idle, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Flush; what is not answered after `timeout_s` is dropped and counted. A request under way is not awaited."""
        with self._changed:
            self._closed = True
            self._stop_at = min(self._stop_at, monotonic_s() + timeout_s)
            self._changed.notify_all()
            done = self._changed.wait_for(self._is_idle, timeout_s)
            self._count("dropped_closed", len(self._waiting))
            self._waiting.clear()
            self._changed.notify_all()
            return done

    def _is_idle(self) -> bool:
        return not self._waiting and not self._sending

    def _count(self, name: str, number: int) -> None:
        if number > 0:
            with self._changed:
                self._counts[name] += number

    def _work(self) -> None:
        """The thread: one batch after the other, until closed and empty."""
        context.attach(context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003 - OTel's signature
        while batch := self._next_batch():
            outcome, rejected = self._deliver(batch)
            with self._changed:
                self._count(outcome, len(batch) - rejected)
                self._count("dropped_rejected", rejected)
                self._sending = 0
                self._changed.notify_all()

    def _next_batch(self) -> list[EventPoint]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            size = min(len(self._waiting), self._limits.points_per_invocation)
            batch = [self._waiting.popleft() for _ in range(size)]
            self._sending = len(batch)
            return batch

    def _deliver(self, batch: Sequence[EventPoint]) -> tuple[str, int]:
        """Try until there is an answer or no time; (what to count, how many of them were rejected)."""
        body = encode(self._dataset, batch)
        give_up_at = monotonic_s() + self._patience.try_for_s
        pause_s = self._patience.first_pause_s
        while True:
            answer = self._answer_to(body)
            if not answer.problem:
                return "written", min(answer.rejected, len(batch))
            if answer.again_s is None:
                _log.warning("%d event points refused: %s", len(batch), answer.problem)
                return "dropped_refused", 0
            wait_s = min(answer.again_s, self._patience.retry_after_max_s) or _part_of(pause_s)
            if not self._waited(wait_s, give_up_at):
                _log.warning("%d event points given up: %s", len(batch), answer.problem)
                return "dropped_given_up", 0
            self._count("retries", 1)
            pause_s = min(2 * pause_s, self._patience.pause_max_s)

    def _waited(self, wait_s: float, give_up_at: float) -> bool:
        """Wait; False if the time of the batch or of the writer would be over then, at once."""
        until = monotonic_s() + wait_s
        with self._changed:
            while until <= min(give_up_at, self._stop_at):
                left_s = until - monotonic_s()
                if left_s <= 0:
                    return True
                self._changed.wait(left_s)
        return False

    def _answer_to(self, body: bytes) -> _Answer:
        left_s = max(self._stop_at - monotonic_s(), 0.1)
        try:
            with _OPENER.open(self._request(body), timeout=min(self._patience.request_timeout_s, left_s)) as reply:
                return _Answer(rejected=_rejected(reply.read(_ANSWER_BYTES_MAX)))
        except urllib.error.HTTPError as error:
            with error:
                return _refusal(error)
        except (OSError, HTTPException) as error:
            return _Answer(f"{self._url}: {error}", again_s=0.0)

    def _request(self, body: bytes) -> urllib.request.Request:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would make a GET of the POST, and its 200 would say that points are written which are not."""

    def redirect_request(self, *_: object) -> None:
        """Leave it as the error it is."""


_OPENER: Final = urllib.request.build_opener(_NoRedirects)
_ALIVE: Final["weakref.WeakSet[HttpWriter]"] = weakref.WeakSet()


def _after_fork() -> None:
    for writer in _ALIVE:
        writer.forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


def encode(dataset: str, points: Sequence[EventPoint]) -> bytes:
    """The body of `POST /api/event-points`."""
    rows = [
        {
            "timestamp_ms": point.timestamp_ms,
            "index": point.index,
            "blobs": point.blobs,
            "doubles": point.doubles,
            "sample_interval": point.sample_interval,
        }
        for point in points
    ]
    return json.dumps({"dataset": dataset, "points": rows}, separators=(",", ":"), allow_nan=False).encode()


def _with_path(url: str) -> str:
    """The address to post to: a base gets the path. ValueError if it is not one of HTTP."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError(f"{url!r} is no http:// or https:// address")
    return url if parts.path.endswith(PATH) else url.rstrip("/") + PATH


def _token(environment: Mapping[str, str]) -> str:
    file = environment.get("MIRUBATO_TOKEN_FILE")
    if not file:
        return environment.get("MIRUBATO_TOKEN", "")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        _log.error("MIRUBATO_TOKEN_FILE: %s", error)
        return ""


def _part_of(pause_s: float) -> float:
    """Full jitter: writers that failed together do not come back together."""
    return pause_s * random.random()  # noqa: S311


def _rejected(body: bytes) -> int:
    """How many points the server did not take, by its answer's `rejected`."""
    try:
        answer = json.loads(body or b"{}")
    except ValueError:
        return 0
    rejected = answer.get("rejected", []) if isinstance(answer, dict) else []
    return len(rejected) if isinstance(rejected, list) else 0


def _refusal(error: urllib.error.HTTPError) -> _Answer:
    try:
        text = error.read(500).decode(errors="replace")
    except (OSError, HTTPException):
        text = ""
    again_s = _retry_after_s(error.headers.get("Retry-After", "")) if error.code in _TRY_AGAIN else None
    return _Answer(f"HTTP {error.code} {text}", again_s)


def _retry_after_s(value: str) -> float:
    """Seconds from the header's number or date; 0 if it says nothing that can be read."""
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(value).timestamp() - now_ms() / 1000, 0.0)
    except (ValueError, TypeError):
        return 0.0
