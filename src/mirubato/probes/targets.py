"""What is probed: addresses from the settings, and what of them may be shown. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx

from mirubato.errors import ConfigError

_SETTING = "probes (MIRUBATO_PROBES)"


@dataclass(frozen=True, slots=True)
class Target:
    """One address."""

    name: str
    """`service_name` of its series: what the setting says, else the host."""
    instance: str
    """The URL without what may be a secret: user, password, query, fragment."""
    url: httpx.URL = field(repr=False)


def targets_of(entries: Iterable[str]) -> list[Target]:
    """`https://host/path` or `name=https://host/path` each; ConfigError, without the address, for what is neither."""
    targets = [_target(entry) for entry in entries]
    for (name, instance), count in Counter((one.name, one.instance) for one in targets).items():
        if count > 1:
            raise ConfigError(f"{_SETTING}: {count} of them are {name} {instance} but for their query: write name=URL")
    return targets


def _target(entry: str) -> Target:
    before, equals, after = entry.partition("=")
    name, address = (before.strip(), after.strip()) if equals and "://" not in before else ("", entry)
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise ConfigError(f"{_SETTING}: {name or 'one'} is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"{_SETTING}: {name or 'one'} is no http:// or https:// address")
    return Target(name or url.host, str(url.copy_with(username=None, password=None, query=None, fragment=None)), url)
