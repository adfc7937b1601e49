"""What must hold before a gateway is built: a data directory of its own; and who can reach an address."""

import fcntl
import ipaddress
import os
from pathlib import Path
from typing import TextIO

from mirubato.database.backup import RESTORING
from mirubato.errors import StorageFailed


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_whole(directory: Path) -> None:
    """StorageFailed if a restore into a data directory was cut off."""
    if (directory / RESTORING).exists():
        raise StorageFailed(f"a restore into data_dir {directory} was cut off: run `mirubato restore` again")


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
