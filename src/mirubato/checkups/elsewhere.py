"""What `mirubato doctor` finds out by asking others: a running gateway, receivers of alerts, Cloudflare's API.

Nothing is sent that anybody would see: receivers are only connected to.
"""

import json
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from mirubato.checkups.finding import Finding, ok, problem
from mirubato.config import Config

_TIMEOUT_S = 5
_CLOCK_OFF_S = 30
_PORTS = {"https": 443, "http": 80, "smtp": 587, "smtps": 465}
_ADDRESS = re.compile(r"(?:https?|smtps?)://\S+")


def check_gateway(url: str) -> Iterator[Finding]:
    """How a running gateway says it is."""
    try:
        status, answer, _ = _asked(f"{url}/api/health")
    except OSError as error:
        yield problem(
            "gateway", f"none answers at {url}: {error}", "start it (`mirubato gateway`), or correct web_port"
        )
        return
    told = answer.get("status") if isinstance(answer, dict) else None
    if status == 200 and told == "ok":
        yield ok("gateway", f"the one at {url} is well")
    else:
        yield problem("gateway", f"the one at {url} answers {status}, {told or 'no gateway'}", "look into its log")


def receivers(config: Config) -> Mapping[str, str]:
    """The address of each thing that the settings say messages go to."""
    named = {
        "slack": config.slack_webhook_url or (config.slack_api_url if config.slack_bot_token else ""),
        "pagerduty": config.pagerduty_url if config.pagerduty_key else "",
        "email": config.smtp_url or (config.email_api_url if config.email_api_key else ""),
        "webhook": config.webhook_url,
        "alertmanager": config.alertmanager_url,
        "the fuse of costs": config.cost_fuse_url,
        "the report store": config.s3_endpoint if config.report_store else "",
        "clickhouse": config.clickhouse_url,
    }
    for channel in config.channels:
        name, _, target = channel.partition("=")
        found = _ADDRESS.search(target)
        named[name] = found[0] if found else ""
    return {name: url for name, url in named.items() if url}


def check_receivers(config: Config) -> Iterator[Finding]:
    """Whether each can be reached from here; its address may hold secrets and is not told."""
    for name, url in receivers(config).items():
        reason = _unreachable(url)
        if reason is None:
            yield ok("receivers", f"{name} can be reached; `mirubato notify test` sends something there")
        else:
            told = f"{name} cannot be reached: {reason}"
            yield problem("receivers", told, "correct its address, or let this machine out to it (firewall, DNS)")


def _unreachable(url: str) -> str | None:
    """Why not; None: a connection was made, and TLS agreed on where the address wants that."""
    try:
        parts = urlsplit(url)
        where = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
        with socket.create_connection(where, _TIMEOUT_S) as plain:
            if parts.scheme in ("https", "smtps"):
                ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname).close()
    except ssl.SSLError as error:
        return f"TLS: {error.reason or error}"
    except (OSError, ValueError, KeyError) as error:
        return str(getattr(error, "strerror", None) or error)
    return None


def check_cloudflare(config: Config, now_ms: int) -> Iterator[Finding]:
    """Whether the token is alive and may do what the settings ask of it, and whether our clocks agree."""
    if not (config.cloudflare_api_token and config.cloudflare_account_id):
        return
    base, account = config.cloudflare_api_url.rstrip("/"), config.cloudflare_account_id
    bearer = {"authorization": f"Bearer {config.cloudflare_api_token}"}
    try:
        yield from _token(base, account, bearer, now_ms)
        yield from _analytics(base, account, bearer)
        if config.d1_database_id:
            yield from _d1(f"{base}/accounts/{account}/d1/database/{config.d1_database_id}", bearer)
    except OSError as error:
        yield problem("cloudflare", f"its API cannot be reached: {error}", "let this machine out to api.cloudflare.com")


def _token(base: str, account: str, bearer: Mapping[str, str], now_ms: int) -> Iterator[Finding]:
    """Tokens of a user and of an account are verified at different addresses."""
    date = None
    for path in ("user", f"accounts/{account}"):
        status, answer, date = _asked(f"{base}/{path}/tokens/verify", bearer)
        if status == 200 and _result(answer).get("status") == "active":
            yield ok("cloudflare", "the token is active")
            break
    else:
        yield problem("cloudflare", "the token is not active", "make one at dash.cloudflare.com/profile/api-tokens")
    if date is not None and abs(parsedate_to_datetime(date).timestamp() - now_ms / 1000) > _CLOCK_OFF_S:
        off = parsedate_to_datetime(date).timestamp() - now_ms / 1000
        yield problem("clock", f"Cloudflare's differs by {off:.0f} s", "set the clock (timedatectl set-ntp true)")


def _analytics(base: str, account: str, bearer: Mapping[str, str]) -> Iterator[Finding]:
    asked = {"query": f'{{ viewer {{ accounts(filter: {{accountTag: "{account}"}}) {{ __typename }} }} }}'}
    status, answer, _ = _asked(f"{base}/graphql", bearer, asked)
    if status == 200 and isinstance(answer, dict) and not answer.get("errors"):
        yield ok("cloudflare", "the token may read the account's analytics")
    else:
        fix = "give the token Account > Account Analytics > Read, for this account"
        yield problem("cloudflare", "the token may not read the account's analytics: costs stay empty", fix)


def _d1(database: str, bearer: Mapping[str, str]) -> Iterator[Finding]:
    status, answer, _ = _asked(database, bearer)
    if status == 200:
        told = "the D1 database is there; whether the token may write there shows only when it does"
        yield ok("cloudflare", told)
    elif status == 404:
        yield problem("cloudflare", "there is no D1 database of this id", "correct d1_database_id (wrangler d1 list)")
    else:
        fix = "give the token Account > D1 > Edit, for this account"
        yield problem("cloudflare", f"the D1 database cannot be read ({status}): {_errors(answer)}", fix)


def _result(answer: Any) -> Mapping[str, Any]:
    found = answer.get("result") if isinstance(answer, dict) else None
    return found if isinstance(found, dict) else {}


def _errors(answer: Any) -> str:
    found = answer.get("errors") if isinstance(answer, dict) else None
    messages = [str(one.get("message")) for one in found or () if isinstance(one, dict)]
    return "; ".join(messages)[:200] or "no reason given"


def _asked(url: str, headers: Mapping[str, str] | None = None, document: Any = None) -> tuple[int, Any, str | None]:
    """Status, JSON and Date of an answer, whatever the status; OSError if there is none."""
    body = None if document is None else json.dumps(document).encode()
    given = {**(headers or {}), **({"content-type": "application/json"} if body else {})}
    request = urllib.request.Request(url, body, given)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
            return reply.status, _json(reply.read()), reply.headers.get("date")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _json(error.read()), error.headers.get("date")
    except urllib.error.URLError as error:
        raise OSError(str(error.reason)) from error


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
