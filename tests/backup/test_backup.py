"""Backup and restore through the command line: a directory, an S3 store, and all that can be wrong with a copy."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from moto.server import ThreadedMotoServer

from mirubato.cli import main
from mirubato.database.backup import MANIFEST, read_manifest
from mirubato.errors import StorageFailed
from mirubato.gateway.composer import Gateway
from tests.access.people import add_token, refresh
from tests.support.doors import HTTP
from tests.support.gateways import Running, config, running
from tests.support.requests import gauge, metrics, now_ms, number

VALUES = {f"r{room}": float(room) for room in range(50)}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 store with an empty bucket `backups`, which the settings name; answers its address."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    settings = {"ENDPOINT": url, "REGION": "us-east-1", "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}
    for name, value in settings.items():
        monkeypatch.setenv(f"MIRUBATO_S3_{name}", value)
    httpx.post(f"{url}/moto-api/reset")  # its buckets outlive a server, in this process
    httpx.put(f"{url}/backups").raise_for_status()
    yield url
    server.stop()


def fill(one: Running) -> None:
    body = metrics(gauge("kept", *(number(value, room=room) for room, value in VALUES.items())))
    assert HTTP.export(one, "metrics", body).code == 0


def found(one: Running) -> dict[str, float]:
    return {
        sample["metric"]["room"]: float(sample["value"][1])
        for sample in one.api("query", query="kept", time=now_ms() / 1000)["result"]
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that no gateway uses any more."""
    directory = tmp_path_factory.mktemp("prepared")
    with running(directory) as one:
        fill(one)
    return directory


@pytest.fixture
def data(tmp_path: Path, prepared: Path) -> Path:
    """The same, of each test its own."""
    return Path(shutil.copytree(prepared, tmp_path / "data"))


@pytest.mark.parametrize("dest", ["copy", "deep/below/copy", "s3://backups/2026-11-24", "s3://backups"])
def test_what_was_backed_up_while_in_use_comes_back(
    tmp_path: Path, dest: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    if dest.startswith("s3"):
        request.getfixturevalue("store")
    with running(tmp_path / "data") as one:
        fill(one)
        text = add_token(one, "read")
        assert main(["backup", dest, "--data-dir", "data"]) == 0
        HTTP.export(one, "metrics", metrics(gauge("later", number(1.0))))
    told = capsys.readouterr().out
    assert "samples.db" in told
    assert "state.db" in told
    assert main(["restore", dest, "--data-dir", "new"]) == 0
    assert not (tmp_path / "new" / "restoring").exists()
    with running(tmp_path / "new") as again:
        refresh(again)
        assert again.get("/metrics").status_code == 401
        again.http.headers["x-api-key"] = text
        assert found(again) == VALUES
        assert again.api("query", query="later")["result"] == []


def test_the_list_of_a_backup(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", "copy", "--data-dir", "data", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    manifest = read_manifest((tmp_path / "copy" / MANIFEST).read_text(encoding="utf-8"))
    assert [one["name"] for one in told["files"]] == [one.name for one in manifest.files]
    assert {"samples.db", "state.db"} <= {one.name for one in manifest.files}
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {MANIFEST, *(one.name for one in manifest.files)}
    assert not list(tmp_path.glob("*.partial"))


def break_bytes(copy: Path) -> None:
    path = copy / "samples.db"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(copy: Path) -> None:
    path = copy / "samples.db"
    path.write_bytes(path.read_bytes()[:-1])


def lose(copy: Path) -> None:
    (copy / "state.db").unlink()


def change(copy: Path, **values: Any) -> None:
    document = json.loads((copy / MANIFEST).read_text(encoding="utf-8"))
    document |= values.pop("top", {})
    (samples,) = [one for one in document["files"] if one["name"] == "samples.db"]
    samples |= values
    (copy / MANIFEST).write_text(json.dumps(document), encoding="utf-8")


WRONG: list[tuple[Callable[[Path], object], str]] = [
    (break_bytes, "size or SHA-256 differs"),
    (cut, "size or SHA-256 differs"),
    (lose, "state.db cannot be copied"),
    (lambda copy: (copy / MANIFEST).unlink(), "holds no backup"),
    (lambda copy: (copy / MANIFEST).write_bytes(b"\xff"), "holds no backup"),
    (lambda copy: (copy / MANIFEST).write_text("{}"), "is no list of a backup"),
    (lambda copy: change(copy, name="../samples.db"), "is no name of a file of ours"),
    (lambda copy: change(copy, name="/etc/passwd"), "is no name of a file of ours"),
    (lambda copy: change(copy, version=99), "was written by a newer version"),
    (lambda copy: change(copy, version=0), "another schema version"),
    (lambda copy: change(copy, top={"format": 2}), "made by a newer version"),
]


@pytest.mark.parametrize(("spoil", "told"), WRONG)
def test_a_spoilt_backup_is_refused_and_leaves_nothing(
    data: Path, tmp_path: Path, spoil: Callable[[Path], None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", "copy", "--data-dir", "data"]) == 0
    spoil(tmp_path / "copy")
    assert main(["restore", "copy", "--data-dir", "new"]) == 1
    assert told in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"gateway.lock"}


def test_a_damaged_file_is_not_backed_up(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a page that SQLite itself finds wrong."""
    with closing(sqlite3.connect(data / "samples.db")) as file:
        (root,) = file.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'label_pair'").fetchone()
        (size,) = file.execute("PRAGMA page_size").fetchone()
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (data / "samples.db").open("r+b") as raw:
        raw.seek((root - 1) * size)
        raw.write(b"\xff" * 64)
    assert main(["backup", "copy", "--data-dir", "data"]) == 1
    assert "samples.db" in capsys.readouterr().err
    assert not Path("copy").exists()
    assert not Path("copy.partial").exists()


class TestPlaces:
    def test_a_backup_overwrites_nothing(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("copy").mkdir()
        assert main(["backup", "copy", "--data-dir", "data"]) == 0
        assert main(["backup", "copy", "--data-dir", "data"]) == 1
        assert "is not empty" in capsys.readouterr().err
        assert main(["backup", str(data / "samples.db"), "--data-dir", "data"]) == 1

    def test_a_restore_overwrites_nothing(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["backup", "copy", "--data-dir", "data"]) == 0
        assert main(["restore", "copy", "--data-dir", "data"]) == 1
        assert "holds" in capsys.readouterr().err

    def test_not_into_a_directory_in_use(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with running(tmp_path / "data"):
            assert main(["backup", "copy", "--data-dir", "data"]) == 0
            assert main(["restore", "copy", "--data-dir", "data"]) == 1
        assert "in use by another gateway" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "code", "told"),
        [
            (["backup", "copy", "--data-dir", "nothing"], 1, "holds no data"),
            (["restore", "nothing", "--data-dir", "new"], 1, "holds no backup"),
            (["backup", "ftp://x/y", "--data-dir", "data"], 2, "neither a directory nor s3://"),
            (["backup", "s3:///y", "--data-dir", "data"], 2, "the bucket is missing"),
        ],
    )
    def test_what_cannot_be(
        self, data: Path, arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(arguments) == code
        assert told in capsys.readouterr().err

    def test_a_bucket_overwrites_nothing_and_must_be_there(
        self, data: Path, store: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["backup", "s3://backups/one", "--data-dir", "data"]) == 0
        assert main(["backup", "s3://backups/one", "--data-dir", "data"]) == 1
        assert "is there already" in capsys.readouterr().err
        assert main(["backup", "s3://gone/one", "--data-dir", "data"]) == 1
        assert "s3://gone/one" in capsys.readouterr().err
        assert main(["restore", "s3://backups/two", "--data-dir", "new"]) == 1
        assert "holds no backup" in capsys.readouterr().err
        assert not (data / "backup.partial").exists()

    def test_without_the_library(
        self, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def missing(name: str) -> Any:
            raise ImportError(name)

        monkeypatch.setattr("mirubato.terminal.depots.importlib.import_module", missing)
        assert main(["backup", "s3://backups/one", "--data-dir", "data"]) == 2
        assert "pip install 'mirubato-monitoring[s3]'" in capsys.readouterr().err


def test_a_restore_that_was_cut_off_must_be_finished(data: Path, tmp_path: Path) -> None:
    assert main(["backup", "copy", "--data-dir", "data"]) == 0
    new = tmp_path / "new"
    (new / "restoring").mkdir(parents=True)
    (new / "samples.db").write_bytes((tmp_path / "copy" / "samples.db").read_bytes())
    with pytest.raises(StorageFailed, match="run `mirubato restore` again"):
        Gateway(config(new))
    assert main(["restore", "copy", "--data-dir", "new"]) == 0
    with running(new) as again:
        assert found(again) == VALUES
