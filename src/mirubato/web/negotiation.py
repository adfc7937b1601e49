"""Which of the two text formats a scraper wants. Source: prometheus/docs, instrumenting/content_negotiation.md."""

from dataclasses import dataclass

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# Schemes under which our names stay as they are: they are made of letters, digits and underscores. `dots` would double
# each underscore, and is answered with another scheme.
_ESCAPING = {"allow-utf-8": "allow-utf-8", "underscores": "underscores", "values": "values"}


@dataclass(frozen=True, slots=True)
class Format:
    """One of the two formats, and the content type to answer with."""

    openmetrics: bool
    content_type: str


def negotiate(accept: str) -> Format:
    """The format for an Accept header: OpenMetrics where it is asked for by name and at least as much as plain text.

    As RFC 9110 has it, a wildcard speaks only for what no narrower range names.
    """
    wanted: dict[str, tuple[float, str]] = {}
    for part in accept.split(","):
        kind, *options = (piece.strip() for piece in part.split(";"))
        told = {name.strip().lower(): value.strip() for name, _, value in (one.partition("=") for one in options)}
        asked = _quality(told.get("q", "1")), told.get("escaping", "")
        wanted[kind.lower()] = max(asked, wanted.get(kind.lower(), asked))
    openmetrics, escaping = wanted.get("application/openmetrics-text", (0.0, ""))
    plain = next((wanted[kind][0] for kind in ("text/plain", "text/*", "*/*") if kind in wanted), 0.0)
    if not openmetrics or plain > openmetrics:
        return Format(openmetrics=False, content_type=TEXT)
    suffix = f"; escaping={_ESCAPING.get(escaping, 'underscores')}" if escaping else ""
    return Format(openmetrics=True, content_type=OPENMETRICS + suffix)


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return min(quality, 1.0) if quality > 0 else 0.0
