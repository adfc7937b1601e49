"""How commands reach a gateway: its address, the token that it wants, the certificate that it shows."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from mirubato.checkups.certificates import trusting
from mirubato.config import Config, address
from mirubato.errors import Internal, MirubatoError, Unauthenticated

_TIMEOUT_S = 30
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  (where to go, not where to listen)


def base_url(config: Config, web_port: int) -> str:
    """Where the gateway of these settings serves the web."""
    scheme = "https" if config.tls_cert else "http"
    return f"{scheme}://{address(_ANY.get(config.host, config.host), web_port)}"


def prepare(config: Config, url: str) -> None:
    """Let every urllib request of this process to `url` carry the token, and trust the certificate of the settings.

    The commands ask with plain urllib, so this is said once and not by each of them.
    """
    handlers: list[urllib.request.BaseHandler] = [_Token(config.token, url)]
    if config.tls_cert is not None:
        handlers.append(urllib.request.HTTPSHandler(context=trusting(config.tls_cert)))
    urllib.request.install_opener(urllib.request.build_opener(*handlers))


class _Token(urllib.request.BaseHandler):
    """Adds the token to requests to one server, and to no other that it may redirect to."""

    def __init__(self, token: str, url: str) -> None:
        self._token, self._where = token, urlsplit(url).netloc

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """As urllib calls it before it sends."""
        if self._token and urlsplit(request.full_url).netloc == self._where:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        return request

    https_request = http_request


@dataclass(frozen=True, slots=True)
class Reply:
    """A status and the JSON of its body, None where there is none."""

    status: int
    document: Any


def call(method: str, url: str, document: Any = None) -> Reply:
    """Ask an API of the gateway; MirubatoError with its message for an error, OSError if nobody answers."""
    body = None if document is None else json.dumps(document).encode()
    headers = {"Content-Type": "application/json"} if body else {}
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return Reply(answer.status, _document(answer))
    except urllib.error.HTTPError as error:
        with error:
            raise _error(error.code, _document(error)) from error
    except urllib.error.URLError as error:
        raise OSError(f"no gateway answers at {url}: {error.reason}") from error


def _document(answer: HTTPResponse | urllib.error.HTTPError) -> Any:
    body = answer.read()
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


def _error(status: int, document: Any) -> MirubatoError:
    message = document.get("message") if isinstance(document, dict) else None
    told = str(message or f"the gateway answered {status}")
    return Unauthenticated(f"{told} (MIRUBATO_TOKEN)") if status in (401, 403) else Internal(told)
