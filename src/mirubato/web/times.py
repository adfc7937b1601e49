"""Times as the answers have them."""

from datetime import UTC, datetime


def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 -> `2015-07-01T20:10:51.781Z`."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
