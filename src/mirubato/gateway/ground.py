"""What must hold before a gateway is built: a host that it may listen on, a data directory of its own."""

import fcntl
import ipaddress
import os
from pathlib import Path
from typing import TextIO

from mirubato.config import Config
from mirubato.errors import ConfigError, StorageFailed


def check_host(config: Config) -> None:
    """ConfigError if others could reach a gateway that asks nobody who they are."""
    if not (_is_loopback(config.host) or config.allow_anonymous):
        raise ConfigError(
            f"host {config.host} can be reached from other machines, and there are no tokens yet:"
            " start with --allow-anonymous if everyone there may read and write"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def lock(directory: Path) -> TextIO:
    """Hold a data directory for this process, until the file is closed; StorageFailed if another has it."""
    path = directory / "gateway.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StorageFailed(f"data_dir cannot be used: {error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read() or "unknown"
        file.close()
        raise StorageFailed(f"data_dir {directory} is in use by another gateway (process {holder})") from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
