"""`mirubato backup DEST` while a gateway runs, and `mirubato restore SRC` where none has run yet."""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from mirubato import config
from mirubato.clock import now_ms
from mirubato.config import Config
from mirubato.database import state
from mirubato.database.backup import (
    MANIFEST,
    RESTORING,
    Copied,
    Manifest,
    copy,
    databases,
    inspect,
    read_manifest,
    sha256_of,
    sync,
)
from mirubato.errors import StorageFailed
from mirubato.storage import schema as samples
from mirubato.storage.store import FILE as SAMPLES
from mirubato.terminal.depots import Depot, depot
from mirubato.traces import schema as traces
from mirubato.traces.store import FILE as TRACES


def add_backup_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `mirubato backup`."""
    parser.add_argument("dest", metavar="DEST", help="a directory that is not there yet, or s3://bucket/prefix")
    parser.add_argument("--json", action="store_true", help="print the list of what was copied")
    config.add_flags(parser)


def add_restore_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `mirubato restore`."""
    parser.add_argument("src", metavar="SRC", help="what DEST was for backup")
    parser.add_argument("--json", action="store_true", help="print the list of what was restored")
    config.add_flags(parser)


def backup(arguments: argparse.Namespace, settings: Config, version: str) -> int:
    """Copy all databases of the data directory as they are now."""
    sources = databases(settings.data_dir)
    if not sources:
        raise StorageFailed(f"data_dir {settings.data_dir} holds no data")
    place = depot(arguments.dest, settings)
    place.check_free()
    stage = place.stage()
    try:
        _check_room(stage, sum(path.stat().st_size for path in sources))
        files = copy(sources, stage, _progress)
        manifest = Manifest(now_ms(), version, files)
        (stage / MANIFEST).write_text(manifest.text(), encoding="utf-8")
        place.keep(stage, [*(one.name for one in files), MANIFEST])
    except BaseException:  # also when it is interrupted: a half is worth nothing
        shutil.rmtree(stage, ignore_errors=True)
        raise
    _tell(manifest, f"backed up to {arguments.dest}", as_json=arguments.json)
    return 0


def restore(arguments: argparse.Namespace, settings: Config) -> int:
    """Bring a backup into an empty data directory; the caller holds its lock."""
    data, stage = settings.data_dir, settings.data_dir / RESTORING
    place = depot(arguments.src, settings)
    manifest = read_manifest(place.text(MANIFEST))
    for one in manifest.files:
        _check_version(one)
    unfinished = stage.is_dir()  # an earlier restore was cut off: what is there came from it
    there = [path.name for path in databases(data)]
    if there and not unfinished:
        raise StorageFailed(f"data_dir {data} holds {', '.join(there)} already: restore into one that is empty")
    stage.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        _check_room(stage, sum(one.bytes for one in manifest.files))
        for one in manifest.files:
            _bring(place, one, stage)
    except BaseException:  # also Ctrl-C: half of a backup must not look like data
        if not unfinished:
            shutil.rmtree(stage, ignore_errors=True)
        raise
    for one in manifest.files:
        (stage / one.name).replace(data / one.name)
    sync(data)
    stage.rmdir()
    _tell(manifest, f"restored to {data}", as_json=arguments.json)
    return 0


def _bring(place: Depot, one: Copied, stage: Path) -> None:
    """One file, checked for being what was backed up."""
    path = stage / one.name
    place.fetch(one.name, path)
    path.chmod(0o600)
    if (path.stat().st_size, sha256_of(path)) != (one.bytes, one.sha256):
        raise StorageFailed(f"{one.name} is not what was backed up: its size or SHA-256 differs from the manifest's")
    if inspect(path).version != one.version:
        raise StorageFailed(f"{one.name} has another schema version than the manifest says")
    sync(path)
    _progress(one.name, 1, 1)


def known_versions() -> Mapping[str, int]:
    """The newest schema of each file that this version reads."""
    return {SAMPLES: samples.FORMAT, TRACES: traces.FORMAT, state.FILE: state.migrations()[-1].version}


def _check_version(one: Copied) -> None:
    known = known_versions().get(one.name)
    if known is not None and one.version > known:
        raise StorageFailed(
            f"{one.name} was written by a newer version (schema {one.version}, this one knows {known}):"
            " install that version first"
        )


def _check_room(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise StorageFailed(f"{directory} has {free} bytes free, and {needed} are needed")


def _progress(name: str, done: int, total: int) -> None:
    """A line that changes, for who looks; one for each file otherwise."""
    share = 100 * done // max(total, 1)
    if sys.stderr.isatty():
        print(f"\r{name} {share:3d} %", end="\n" if done >= total else "", file=sys.stderr, flush=True)
    elif done >= total:
        print(f"{name} done", file=sys.stderr)


def _tell(manifest: Manifest, what: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(manifest)))
        return
    for one in manifest.files:
        print(f"{one.name}  {one.bytes} bytes  schema {one.version}  sha256 {one.sha256[:16]}...")
    print(what)
