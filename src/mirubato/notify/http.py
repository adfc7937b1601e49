"""HTTP to receivers: one request, its answer as delivered, retry later or refused. URLs are secrets."""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from mirubato.clock import now_ms
from mirubato.limits import DELIVERY_ANSWER_BYTES_MAX, DELIVERY_S_MAX
from mirubato.notify.receiver import Answer, Delivered, Refusal, RetryLater, scrubbed

# It logs each request with its URL, which for Slack and PagerDuty's kind is the secret itself.
logging.getLogger("httpx").setLevel(logging.WARNING)

_AGAIN = frozenset((408, 425, 429))
_SECRET_CHARS_MIN = 8


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, the body cut at a bound."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, or None if it is no JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


@dataclass(frozen=True, slots=True)
class Poster:
    """Posts JSON with one client that all receivers share."""

    client: httpx.AsyncClient

    async def post(
        self,
        url: str,
        body: Any,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: tuple[str, ...] = (),
        read: Callable[[Reply], Answer] | None = None,
    ) -> Answer:
        """Post `body` as JSON; `read` judges a 2xx that says more in its body."""
        secrets = (*secrets, *secrets_of(url))
        sent = {"content-type": "application/json", "user-agent": "mirubato-monitoring"} | dict(headers or {})
        try:
            async with asyncio.timeout(DELIVERY_S_MAX):
                reply = await self._exchanged(url, orjson.dumps(body), sent)
        except TimeoutError:
            return RetryLater(f"no answer within {DELIVERY_S_MAX:.0f} s")
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            return Refusal(scrubbed(f"the address cannot be used: {error}", secrets))
        except httpx.HTTPError as error:
            return RetryLater(scrubbed(f"{type(error).__name__}: {error}", secrets))
        return judged(reply, secrets, read, now_ms())

    async def _exchanged(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        async with self.client.stream("POST", url, content=body, headers=headers) as response:
            content = b""
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) >= DELIVERY_ANSWER_BYTES_MAX:
                    break
            return Reply(response.status_code, response.headers, content)


def judged(reply: Reply, secrets: tuple[str, ...], read: Callable[[Reply], Answer] | None, now: int) -> Answer:
    """2xx is yes, 408, 425, 429 and 5xx are not now, all else is no."""
    if 200 <= reply.status < 300:
        return read(reply) if read else Delivered()
    said = reply.body[:200].decode(errors="replace").strip()
    problem = scrubbed(f"HTTP {reply.status}{f': {said}' if said else ''}", secrets)
    if reply.status in _AGAIN or reply.status >= 500:
        return RetryLater(problem, retry_after_s(reply.headers.get("retry-after", ""), now))
    return Refusal(problem)


def retry_after_s(text: str, now: int) -> float | None:
    """The header Retry-After (RFC 9110, 10.2.3): seconds or a date; None for neither."""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        when: datetime = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - now / 1000)


def secrets_of(url: str) -> tuple[str, ...]:
    """What must not be shown of a URL: all of it, its path and query and their longer parts, who stands before it."""
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    pieces = [piece for piece in re.split(r"[/?&=]", path) if len(piece) >= _SECRET_CHARS_MIN]
    shown = (url, path if len(path) > 1 else "", parts.username or "", parts.password or "", *pieces)
    return tuple(secret for secret in shown if secret)


def below(base: str, path: str) -> str:
    """`path` under a base address, unless that ends with it already."""
    base = base.rstrip("/")
    return base if base.endswith(path) else base + path
