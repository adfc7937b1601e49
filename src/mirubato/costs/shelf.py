"""Where reports are kept: a directory, or a bucket of R2 or any other S3 store. All methods block."""

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from mirubato.errors import ConfigError, NotFound, StorageFailed

CONTENT_TYPES = {"html": "text/html; charset=utf-8", "json": "application/json", "csv": "text/csv; charset=utf-8"}

_NAME = re.compile(r"costs-[0-9]{4}-[0-9]{2}\.(?:html|json|csv)")


@dataclass(frozen=True, slots=True)
class Kept:
    """A report that is kept: its size in bytes, and when (ms) it was written."""

    name: str
    size: int
    written: int


class Shelf(Protocol):
    """Puts reports away and finds them again; StorageFailed if that cannot be."""

    def put(self, name: str, body: bytes) -> None:
        """Write or replace."""
        ...

    def get(self, name: str) -> bytes:
        """The content; NotFound if there is none."""
        ...

    def names(self) -> Sequence[Kept]:
        """All there are, the newest month first."""
        ...


def checked(name: str) -> str:
    """A name that a report may have, or NotFound."""
    if not _NAME.fullmatch(name):
        raise NotFound(f"there is no report {name[:60]!r}")
    return name


class Directory:
    """Reports as files."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, name: str, body: bytes) -> None:
        """Write beside, then rename: a reader sees all or nothing."""
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            draft = self._path / f".{name}.tmp"
            draft.write_bytes(body)
            draft.replace(self._path / name)
        except OSError as error:
            raise StorageFailed(f"the report cannot be written: {error}") from error

    def get(self, name: str) -> bytes:
        """Read the file."""
        try:
            return (self._path / checked(name)).read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"there is no report {name!r}") from error
        except OSError as error:
            raise StorageFailed(f"the report cannot be read: {error}") from error

    def names(self) -> Sequence[Kept]:
        """The files that are reports."""
        found = []
        for file in self._path.glob("costs-*"):
            if _NAME.fullmatch(file.name):
                status = file.stat()
                found.append(Kept(file.name, status.st_size, status.st_mtime_ns // 1_000_000))
        return sorted(found, key=lambda one: one.name, reverse=True)


class Bucket:
    """Reports as objects below a prefix, through the library `obstore`."""

    def __init__(self, store: Any, obstore: Any, prefix: str) -> None:
        self._store, self._obstore, self._prefix = store, obstore, prefix

    def put(self, name: str, body: bytes) -> None:
        """One PUT."""
        self._call("written", lambda: self._obstore.put(self._store, self._key(name), body))

    def get(self, name: str) -> bytes:
        """One GET."""
        key = self._key(checked(name))
        return bytes(self._call("read", lambda: self._obstore.get(self._store, key).bytes()))

    def names(self) -> Sequence[Kept]:
        """All pages of a listing."""
        pages = self._call("listed", lambda: list(self._obstore.list(self._store, self._prefix or None)))
        found = []
        for entry in (entry for page in pages for entry in page):
            name = entry["path"].rpartition("/")[2]
            moment: datetime = entry["last_modified"]
            if _NAME.fullmatch(name):
                found.append(Kept(name, entry["size"], int(moment.astimezone(UTC).timestamp() * 1000)))
        return sorted(found, key=lambda one: one.name, reverse=True)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _call(self, what: str, work: Any) -> Any:
        try:
            return work()
        except FileNotFoundError as error:
            raise NotFound("there is no such report in the bucket") from error
        except Exception as error:  # whatever the library calls it, the bucket is the matter
            # The library has some twenty kinds, and their text may hold the request with its signature.
            raise StorageFailed(f"the reports' bucket cannot be {what}: {type(error).__name__}") from error


def shelf_of(where: str, directory: Path, access: Mapping[str, str]) -> Shelf:
    """`where` is empty (files in `directory`) or `s3://bucket/prefix`; `access` as `S3Store` takes it.

    ConfigError for anything else, or where the library is missing.
    """
    if not where:
        return Directory(directory)
    match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,62})(?:/([^?#]*))?", where)
    if not match:
        raise ConfigError("report_store (MIRUBATO_REPORT_STORE) must be empty or s3://bucket/prefix")
    try:
        obstore = importlib.import_module("obstore")
        stores = importlib.import_module("obstore.store")
    except ImportError as error:
        raise ConfigError("report_store needs pip install 'mirubato-monitoring[s3]'") from error
    given: dict[str, Any] = {name: value for name, value in access.items() if value}
    if given.get("endpoint", "").startswith("http://"):
        given["client_options"] = {"allow_http": True}
    return Bucket(stores.S3Store(match[1], **given), obstore, (match[2] or "").strip("/"))
