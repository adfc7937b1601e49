"""Copies of SQLite files that are in use: all of one moment, whole, checked, with a list of what they are.

The copy holds one read transaction for as long as it takes, so whoever writes goes on and does not make it start anew
(sqlite.org/backup.html, sqlite.org/isolation.html).
"""

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mirubato.errors import StorageFailed

MANIFEST = "manifest.json"
RESTORING = "restoring"
"""A directory that is in a data directory while a backup is brought into it: what is beside it may not be all."""

FORMAT = 1
"""Of the manifest; a newer one is refused."""

# 16 MiB of the 16 kB pages of samples.db: a step is short enough to tell how far it is.
_STEP_PAGES = 1024
_NAME = re.compile(r"[a-z0-9_-]{1,60}\.db")

Progress = Callable[[str, int, int], None]
"""Told the name of a file, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Copied:
    """One file of a backup."""

    name: str
    bytes: int
    sha256: str
    version: int
    """The schema's: SQLite's `user_version`."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds, and what made it when."""

    made_ms: int
    made_by: str
    files: Sequence[Copied]

    def text(self) -> str:
        """As JSON, for people too."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"


def read_manifest(text: str) -> Manifest:
    """The other way; StorageFailed for what is none, or of a newer version."""
    try:
        document = json.loads(text)
        version = document["format"]
        if isinstance(version, int) and version > FORMAT:
            raise StorageFailed(f"the backup was made by a newer version (format {version}, this one reads {FORMAT})")
        files = [_copied(one) for one in document["files"]]
        return Manifest(int(document["made_ms"]), str(document["made_by"]), files)
    except (ValueError, TypeError, KeyError) as error:
        raise StorageFailed(f"{MANIFEST} is no list of a backup: {error!r}") from error


def _copied(one: Mapping[str, Any]) -> Copied:
    """Names come from elsewhere: none may lead out of the directory."""
    found = Copied(str(one["name"]), int(one["bytes"]), str(one["sha256"]), int(one["version"]))
    if not _NAME.fullmatch(found.name):
        raise ValueError(f"{found.name[:80]!r} is no name of a file of ours")
    return found


def databases(directory: Path) -> list[Path]:
    """The SQLite files of a data directory."""
    return sorted(path for path in directory.glob("*.db") if _NAME.fullmatch(path.name))


def copy(sources: Sequence[Path], to: Path, progress: Progress) -> list[Copied]:
    """Copy files as they are now into the directory `to`; StorageFailed if one cannot be read or is broken."""
    try:
        with ExitStack() as stack:
            connections = [stack.enter_context(closing(_reading(path))) for path in sources]
            for path, connection in zip(sources, connections, strict=True):
                _copy(connection, to / path.name, progress)
    except sqlite3.Error as error:
        raise StorageFailed(f"the copy failed: {error}") from error
    return [inspect(to / path.name) for path in sources]


def _reading(path: Path) -> sqlite3.Connection:
    """A connection that sees the file as it is now, until it is closed."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=10)
    connection.execute("PRAGMA query_only=1")
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # only now the transaction has begun
    return connection


def _copy(source: sqlite3.Connection, to: Path, progress: Progress) -> None:
    with closing(sqlite3.connect(to, isolation_level=None)) as target:
        source.backup(
            target,
            pages=_STEP_PAGES,
            progress=lambda _, remaining, total: progress(to.name, total - remaining, total),
            sleep=0,
        )


def inspect(path: Path) -> Copied:
    """What a file is; StorageFailed if SQLite finds it broken."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)) as file:
            found = file.execute("PRAGMA integrity_check(1)").fetchone()
            (version,) = file.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise StorageFailed(f"{path} is no whole database: {error}") from error
    if found != ("ok",):
        raise StorageFailed(f"{path} is damaged: {found[0]}")
    return Copied(path.name, path.stat().st_size, sha256_of(path), version)


def sha256_of(path: Path) -> str:
    """Of a whole file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
