"""Where backups lie: a directory, or a bucket of a store that speaks S3."""

import importlib
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from mirubato.config import Config
from mirubato.database.backup import MANIFEST, sync
from mirubato.errors import ConfigError, StorageFailed


class Depot(Protocol):
    """One backup, there or to be."""

    def check_free(self) -> None:
        """StorageFailed if something is there already."""
        ...

    def stage(self) -> Path:
        """A new directory to make the backup in."""
        ...

    def keep(self, stage: Path, names: Sequence[str]) -> None:
        """Take the files; the manifest last, so that it is there only where all else is."""
        ...

    def text(self, name: str) -> str:
        """A small file; StorageFailed if it is not there."""
        ...

    def fetch(self, name: str, to: Path) -> None:
        """Copy a file to `to`."""
        ...


def depot(where: str, settings: Config) -> Depot:
    """From a path or `s3://bucket/prefix`, whose store the settings s3_... name."""
    if not where.startswith("s3://"):
        if "://" in where:
            raise ConfigError(f"{where[:60]!r} is neither a directory nor s3://bucket/prefix")
        return DirectoryDepot(Path(where))
    parts = urlsplit(where)
    if not parts.netloc:
        raise ConfigError("s3://bucket/prefix: the bucket is missing")
    return S3Depot(parts.netloc, parts.path.strip("/"), settings)


class DirectoryDepot:
    """It appears as a whole: it is made beside, and then renamed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check_free(self) -> None:
        """An empty directory will do."""
        if self._path.exists() and (not self._path.is_dir() or any(self._path.iterdir())):
            raise StorageFailed(f"{self._path} is there already and is not empty: each backup has a place of its own")

    def stage(self) -> Path:
        """What an earlier attempt left is thrown away."""
        stage = self._path.with_name(f"{self._path.name}.partial")
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True, mode=0o700)
        return stage

    def keep(self, stage: Path, names: Sequence[str]) -> None:
        """Rename it."""
        for name in names:
            sync(stage / name)
        sync(stage)
        stage.replace(self._path)
        sync(self._path.absolute().parent)

    def text(self, name: str) -> str:
        """A small file."""
        try:
            return (self._path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StorageFailed(f"{self._path} holds no backup: {error}") from error

    def fetch(self, name: str, to: Path) -> None:
        """Copy it."""
        try:
            shutil.copyfile(self._path / name, to)
        except OSError as error:
            raise StorageFailed(f"{name} cannot be copied from {self._path}: {error}") from error


class S3Depot:
    """Objects below a prefix, through the library `obstore`."""

    def __init__(self, bucket: str, prefix: str, settings: Config) -> None:
        try:
            self._obstore = importlib.import_module("obstore")
            stores = importlib.import_module("obstore.store")
        except ImportError as error:
            raise ConfigError("s3:// needs pip install 'mirubato-monitoring[s3]'") from error
        self._where, self._prefix, self._scratch = f"s3://{bucket}/{prefix}", prefix, settings.data_dir
        self._store = self._told(lambda: stores.S3Store(bucket, **_access(settings)))

    def check_free(self) -> None:
        """Nothing may be below the prefix."""
        pages = self._told(lambda: self._obstore.list(self._store, self._prefix or None, chunk_size=1))
        if self._told(lambda: next(iter(pages), ())):
            raise StorageFailed(f"{self._where} is there already: each backup has a place of its own")

    def stage(self) -> Path:
        """On the disk of the data, which has room for a copy if any has."""
        stage = self._scratch / "backup.partial"
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True, mode=0o700)
        return stage

    def keep(self, stage: Path, names: Sequence[str]) -> None:
        """Send them, and look whether they have arrived whole."""
        for name in sorted(names, key=lambda name: name == MANIFEST):
            key, path = self._key(name), stage / name
            self._told(partial(self._obstore.put, self._store, key, path))
            arrived = self._told(partial(self._obstore.head, self._store, key))["size"]
            if arrived != path.stat().st_size:
                raise StorageFailed(f"{self._where}: of {name} only {arrived} bytes have arrived")
        shutil.rmtree(stage, ignore_errors=True)

    def text(self, name: str) -> str:
        """A small file."""
        content = bytes(self._told(lambda: self._obstore.get(self._store, self._key(name)).bytes()))
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise StorageFailed(f"{self._where} holds no backup: {error}") from error

    def fetch(self, name: str, to: Path) -> None:
        """Download it, a piece at a time."""
        with to.open("wb") as file:
            for piece in self._told(lambda: self._obstore.get(self._store, self._key(name)).stream()):
                file.write(piece)

    def _told(self, work: Callable[[], Any]) -> Any:
        """Call the library; what goes wrong is StorageFailed."""
        try:
            return work()
        except FileNotFoundError as error:
            raise StorageFailed(f"{self._where} holds no backup, or the bucket is not there") from error
        except Exception as error:  # whatever the library calls it, the bucket is the matter
            # The library has some twenty kinds, and their text may hold the request with its signature.
            raise StorageFailed(f"{self._where} cannot be used: {type(error).__name__}") from error

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name


def _access(settings: Config) -> dict[str, Any]:
    """What is set of the store; the library takes the rest from AWS_... variables."""
    given: dict[str, Any] = {
        "endpoint": settings.s3_endpoint,
        "region": settings.s3_region,
        "access_key_id": settings.s3_access_key_id,
        "secret_access_key": settings.s3_secret_access_key,
    }
    given = {name: value for name, value in given.items() if value}
    if settings.s3_endpoint.startswith("http://"):
        given["client_options"] = {"allow_http": True}
    return given
