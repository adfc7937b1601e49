"""A file that cannot be used: a clear sentence with its path, and no trace of the attempt."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirubato.errors import StorageFailed
from mirubato.model.histogram import Buckets, Histogram
from mirubato.storage import schema
from mirubato.storage.schema import FORMAT, open_samples
from tests.storage.world import NOW, Request, World, named, one

PAGE = 16384


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that a store has left: blocks, a snapshot, unsealed batches."""
    directory = tmp_path_factory.mktemp("used")
    histogram = Histogram(1.0, 1.0, 0.0, 0.0, 3, Buckets(1, (1.0,)))
    with World(directory) as world:
        for number in range(60):
            floats = [(named("up", number=f"{number}{'x' * 300}"), NOW + time, 1.5 * time) for time in range(20)]
            world.append(Request(floats, [(named("latency"), NOW + number, histogram)]))
            if number == 40:
                world.sealer.seal()
    return directory


@pytest.fixture
def directory(used: Path, tmp_path: Path) -> Path:
    return shutil.copytree(used, tmp_path / "data")


def refusal(directory: Path) -> str:
    """What is said when a directory cannot be used; it is free again afterwards, and no thread is left."""
    threads = threading.active_count()
    with pytest.raises(StorageFailed) as caught:
        World(directory)
    assert threading.active_count() == threads
    return str(caught.value)


def change(sql: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(sql)

    return damage


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // PAGE // 2 * PAGE)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"This is a letter to my aunt, and no database. " * 4)


def overwrite_pages(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(b"\xff" * (path.stat().st_size - PAGE))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "another file": (overwrite, "file is not a database"),
    "cut in half": (truncate, "malformed"),
    "pages": (overwrite_pages, "malformed"),
    "a newer format": (
        change(f"PRAGMA user_version={FORMAT + 1}"),
        f"written by a newer version (format {FORMAT + 1}, this one reads {FORMAT})",
    ),
    "a batch": (change("UPDATE batch SET columns = x'00'"), "may be damaged"),
    "runs of a batch": (
        # 16 bytes of lengths, where each of twenty runs begins, and then the length of the first
        change(
            "UPDATE batch SET columns = CAST(substr(columns, 1, 176) || x'ffffff7f' || substr(columns, 181) AS BLOB)"
        ),
        "runs of 2147483666 numbers for 20 samples",
    ),
    "a batch of a newer format": (change(f"UPDATE batch SET format = {FORMAT + 1}"), f"unknown format {FORMAT + 1}"),
    "histograms of a batch": (change("UPDATE batch SET histograms = substr(histograms, 1, 9)"), "may be damaged"),
    "the snapshot": (change("UPDATE snapshot SET content = x'0100000000'"), "may be damaged"),
    "bytes of the snapshot": (change("UPDATE snapshot SET content = zeroblob(length(content))"), "may be damaged"),
    "a lost series": (change("DELETE FROM series WHERE id = 3"), "series that it does not know"),
    "the last series": (change("DELETE FROM series WHERE id > 50"), "series that it does not know"),
    "a lost label": (change("DELETE FROM label_pair WHERE id = 2"), "may be damaged"),
    "an unknown type": (change("UPDATE family SET type = 'colour'"), "may be damaged"),
    "an unknown kind": (change("UPDATE series SET kind = 9"), "may be damaged"),
    "another table of this name": (change("ALTER TABLE batch RENAME COLUMN starts TO begun"), "starts"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file(directory: Path, damage: str) -> None:
    function, words = DAMAGES[damage]
    function(directory / "samples.db")
    said = refusal(directory)
    assert str(directory / "samples.db") in said
    assert words in said


def test_repaired_it_opens(directory: Path, used: Path) -> None:
    overwrite(directory / "samples.db")
    refusal(directory)
    shutil.copy(used / "samples.db", directory)
    with World(directory) as world:
        assert len(world.select()) == 61


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=40)), min_size=1, max_size=5))
def test_random_damage_opens_or_is_refused(used: Path, tmp_path: Path, damages: list[tuple[float, bytes]]) -> None:
    directory = tmp_path / "data"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(used, directory)
    path = directory / "samples.db"
    content = bytearray(path.read_bytes())
    for place, noise in damages:
        at = int(place * len(content))
        content[at : at + len(noise)] = noise
    path.write_bytes(content)
    try:
        World(directory).close()
    except StorageFailed as error:
        said = str(error)
    else:
        said = str(path)
    assert str(path) in said


# The directory. -----------------------------------------------------------------------------------------------------


def test_a_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    with World(tmp_path / "a" / "b") as world:
        world.append(one("up"))
    assert (tmp_path / "a" / "b" / "samples.db").is_file()


def test_a_file_in_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    path = tmp_path / "data"
    assert refusal(path) == f"cannot open {path}/samples.db: [Errno 17] File exists: '{path}'"
    assert refusal(path / "b") == f"cannot open {path}/b/samples.db: [Errno 20] Not a directory: '{path}/b'"


def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "samples.db").mkdir()
    assert str(tmp_path / "samples.db") in refusal(tmp_path)


READ_ONLY = """
import os, sys
from pathlib import Path
from mirubato.errors import StorageFailed
from mirubato.storage.registry import SeriesLimits
from mirubato.storage.store import SampleStore
if os.geteuid() == 0:
    os.setuid(65534)  # permissions do not bind the superuser
try:
    SampleStore(Path("data"), SeriesLimits(1, 1), 0)
except StorageFailed as error:
    print(error)
"""


@pytest.mark.parametrize("present", [True, False])
def test_a_read_only_directory(directory: Path, present: bool) -> None:
    if not present:
        for file in directory.iterdir():
            file.unlink()
    directory.chmod(0o555)
    directory.parent.chmod(0o755)
    arguments = [sys.executable, "-c", READ_ONLY]
    done = subprocess.run(arguments, cwd=directory.parent, capture_output=True, text=True, check=True, timeout=30)
    directory.chmod(0o755)
    assert f"{directory / 'samples.db'}: " in done.stdout


def test_a_file_system_without_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite does not say no: it answers with the journal mode that it has instead."""
    real_connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *_, **__: real_connect(":memory:", isolation_level=None))
    with pytest.raises(StorageFailed, match="this file system cannot hold a database with a write-ahead log"):
        open_samples(tmp_path / "samples.db")


def test_how_the_file_is_set_up(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        settings_of = {
            name: world.pragma(name)
            for name in ("page_size", "auto_vacuum", "synchronous", "wal_autocheckpoint", "user_version")
        }
        assert settings_of == {
            "page_size": PAGE,
            "auto_vacuum": 2,  # incremental
            "synchronous": 2,  # full: a commit is an fsync
            "wal_autocheckpoint": 256,
            "user_version": FORMAT,
        }
        with closing(schema.open_reader(world.store.path)) as reader, pytest.raises(sqlite3.OperationalError):
            reader.execute("DELETE FROM series")
