"""All checks that need no gateway, in the order in which one thing rests on another."""

from collections.abc import Iterator

from mirubato.checkups.elsewhere import check_cloudflare, check_receivers
from mirubato.checkups.finding import Finding
from mirubato.checkups.here import check_clock, check_disk, check_settings, check_tls
from mirubato.config import Config


def check_here(config: Config, now_ms: int) -> Iterator[Finding]:
    """What this machine shows."""
    yield from check_settings(config, now_ms)
    yield from check_disk(config)
    yield from check_clock(now_ms)
    yield from check_tls(config, now_ms)


def check_elsewhere(config: Config, now_ms: int) -> Iterator[Finding]:
    """What others answer; it may wait some seconds for each."""
    yield from check_receivers(config)
    yield from check_cloudflare(config, now_ms)
