"""Where reports are kept: a directory, and a bucket of a real S3 server."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mirubato.costs.shelf import Shelf, shelf_of
from mirubato.errors import ConfigError, NotFound, StorageFailed

moto = pytest.importorskip("moto.server", reason="moto, a real S3 server, is not installed")
pytest.importorskip("obstore", reason="obstore is not installed")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    assert httpx.put(f"{url}/reports").status_code == 200
    yield url
    server.stop()


@pytest.fixture(params=["directory", "bucket"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    if request.param == "directory":
        return shelf_of("", tmp_path / "reports", {})
    return bucket(request.getfixturevalue("s3"), f"s3://reports/{tmp_path.name}")


def bucket(endpoint: str, where: str) -> Shelf:
    access = {"endpoint": endpoint, "region": "us-east-1", "access_key_id": "key", "secret_access_key": "secret"}
    return shelf_of(where, Path("/nowhere"), access)


class TestShelves:
    def test_put_get_names(self, shelf: Shelf) -> None:
        assert list(shelf.names()) == []
        shelf.put("costs-2026-10.html", b"<html>")
        shelf.put("costs-2026-11.csv", b"day\n")
        shelf.put("costs-2026-11.csv", b"day,product\n")
        assert shelf.get("costs-2026-11.csv") == b"day,product\n"
        assert [(kept.name, kept.size) for kept in shelf.names()] == [
            ("costs-2026-11.csv", 12),
            ("costs-2026-10.html", 6),
        ]

    @pytest.mark.parametrize("name", ["costs-2026-01.html", "../state.db", "/etc/passwd", ""])
    def test_what_is_not_there(self, shelf: Shelf, name: str) -> None:
        with pytest.raises(NotFound):
            shelf.get(name)


class TestBuckets:
    def test_more_than_one_page(self, s3: str) -> None:
        one = bucket(s3, "s3://reports/many")
        for year in range(2000, 2011):
            for month in range(1, 13):
                one.put(f"costs-{year}-{month:02}.json", b"{}")
        assert len(one.names()) == 132

    def test_a_bucket_that_is_not_there(self, s3: str) -> None:
        with pytest.raises((StorageFailed, NotFound)):
            bucket(s3, "s3://elsewhere").put("costs-2026-10.html", b"")

    @pytest.mark.parametrize("where", ["reports", "s3://", "s3://UPPER", "https://s3", "s3://reports?x=1"])
    def test_what_is_no_place(self, where: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="MIRUBATO_REPORT_STORE"):
            shelf_of(where, tmp_path, {})


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed):
        shelf_of("", tmp_path / "file" / "reports", {}).put("costs-2026-10.html", b"")
