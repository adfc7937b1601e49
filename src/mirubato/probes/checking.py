"""One check of one address: a GET on a new connection, as somebody would who comes for the first time."""

import asyncio
import ssl
from dataclasses import dataclass

import httpx

from mirubato.clock import monotonic_s
from mirubato.limits import PROBE_BODY_BYTES_MAX, PROBE_REDIRECTS_MAX
from mirubato.probes.targets import Target

_ERROR_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one check."""

    time_ms: int
    """Its place in time: when it was due."""
    success: bool
    """A status from 200 to 299 at the end of the redirects, within the time, over TLS that holds."""
    duration_s: float
    status: int
    """0 if there was no answer."""
    certificate_expiry_s: float | None
    """When the server's own certificate ends, in s since 1970; None without TLS, or if TLS failed."""
    error: str
    """Empty for a success."""


class Checker:
    """Checks addresses. The trusted authorities are certifi's and the system's, or those of SSL_CERT_FILE."""

    def __init__(self, timeout_s: float, version: str) -> None:
        self._timeout_s = timeout_s
        self._headers = {"user-agent": f"mirubato-probe/{version}", "accept": "*/*"}
        self._tls = httpx.create_ssl_context()
        self._tls.load_default_certs()

    async def check(self, target: Target, time_ms: int) -> Result:
        """Never raises for what the network does; ends within the timeout."""
        began = monotonic_s()
        try:
            async with asyncio.timeout(self._timeout_s):
                status, expiry = await self._got(target)
        except httpx.ConnectTimeout:
            error = f"no connection within {self._timeout_s / 2:g} s"
        except TimeoutError:
            error = f"no answer within {self._timeout_s:g} s"
        except httpx.TooManyRedirects:
            error = f"more than {PROBE_REDIRECTS_MAX} redirects"
        except (httpx.UnsupportedProtocol, httpx.InvalidURL):
            error = "redirects to what is no http:// or https:// address"
        except (httpx.HTTPError, ssl.SSLError, OSError, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"[:_ERROR_CHARS_MAX]
        else:
            error = "" if 200 <= status < 300 else f"HTTP {status}"
            return Result(time_ms, not error, monotonic_s() - began, status, expiry, error)
        return Result(time_ms, False, monotonic_s() - began, 0, None, error)  # noqa: FBT003  (a record's field)

    async def _got(self, target: Target) -> tuple[int, float | None]:
        """Status and end of the certificate, once the body has come, or as much of it as is read."""
        async with (
            httpx.AsyncClient(
                verify=self._tls,
                # Well before all time is up: httpcore leaves a connection open that is cancelled in its handshake.
                timeout=httpx.Timeout(None, connect=self._timeout_s / 2),
                follow_redirects=True,
                max_redirects=PROBE_REDIRECTS_MAX,
                headers=self._headers,
            ) as client,
            client.stream("GET", target.url) as response,
        ):
            expiry = _expiry(response)
            read = 0
            async for part in response.aiter_raw():  # not unpacked: a bomb would stay small
                read += len(part)
                if read >= PROBE_BODY_BYTES_MAX:
                    break
            return response.status_code, expiry


def _expiry(response: httpx.Response) -> float | None:
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    certificate = tls.getpeercert() if tls is not None else None
    return float(ssl.cert_time_to_seconds(certificate["notAfter"])) if certificate else None
