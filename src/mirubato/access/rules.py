"""Which scope a request needs: one table, and what is not in it is guarded by its method."""

import re

from mirubato.access.tokens import ADMIN, INGEST, READ

ANYONE = "anyone"
"""Not even a token is needed."""
ANY_TOKEN = "any token"  # noqa: S105  (the name of a rule)
"""A token, whatever its scopes."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

OPEN_PATHS = frozenset({"/", "/-/healthy", "/-/ready", "/api/health"})
# The page's own files: those at the top have a dot in their name, which no API has.
_PAGE_FILE = re.compile(r"/(?:assets/.*|[^/]+\.[A-Za-z0-9]+)")

_PROMETHEUS = "/api/prometheus/"
_SENDING = frozenset({"/api/event-points", f"{_PROMETHEUS}api/v1/write"})
_ADMIN_ALWAYS = ("/api/tokens", "/api/audit")
# Questions that are too long for a URL.
_ASKING = re.compile(
    rf"{_PROMETHEUS}api/v1/.*|/client/v4/accounts/[^/]+/analytics_engine/sql|/api/alerts/backtest|/api/costs/what-if"
)

_FIXED = {
    ("POST", "/api/login"): ANYONE,
    ("POST", "/api/logout"): ANYONE,
    ("POST", "/api/deploys"): INGEST,
    ("GET", "/api/me"): ANY_TOKEN,
    ("HEAD", "/api/me"): ANY_TOKEN,
}


def needed(method: str, path: str) -> str:
    """A scope, ANY_TOKEN or ANYONE. New paths need `read` for GET and `admin` for all else."""
    if sends(path):
        return INGEST
    fixed = _FIXED.get((method, path))
    if fixed is not None:
        return fixed
    if path.startswith(_ADMIN_ALWAYS):
        return ADMIN
    if method in SAFE_METHODS:
        return ANYONE if path in OPEN_PATHS or _PAGE_FILE.fullmatch(path) else READ
    return READ if _ASKING.fullmatch(path) else ADMIN


def sends(path: str) -> bool:
    """Whether telemetry is sent there."""
    return path.startswith("/v1/") or path in _SENDING


def allows(scopes: frozenset[str], scope: str) -> bool:
    """Whether who has `scopes` may do what needs `scope`; `admin` may do everything."""
    return scope in scopes or ADMIN in scopes or scope in (ANYONE, ANY_TOKEN)
