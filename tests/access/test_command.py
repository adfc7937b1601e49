"""`mirubato token`, on state.db while a gateway runs and over its API."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mirubato.access import ledger
from mirubato.access.tokens import SHAPE
from mirubato.cli import main
from mirubato.gateway import guarding
from tests.access.people import add_token
from tests.support.gateways import Running, running

SOON_S = 10


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def soon(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def created(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["token", "create", "--data-dir", "data", *arguments]) == 0
    text = capsys.readouterr().out.strip()
    assert SHAPE.fullmatch(text)
    return text


def status(one: Running, text: str) -> int:
    return one.get("/metrics", {"authorization": f"Bearer {text}"}).status_code


def test_a_running_gateway_sees_what_the_command_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarding, "_LOOKS_PER_KEEPING", 1)
    with running(tmp_path / "data") as one:
        created(capsys, "--scope", "admin")
        text = created(capsys, "--scope", "read", "--name", "grafana")
        soon(lambda: one.get("/metrics").status_code == 401)
        soon(lambda: status(one, text) == 200)
        soon(lambda: "grafana" in last_used(capsys))
        assert main(["token", "revoke", "grafana", "--data-dir", "data"]) == 0
        soon(lambda: status(one, text) == 401)
        made = one.gateway.state.read(lambda file: ledger.changes(file, 10))
    assert [change.action for change in made] == ["token revoke", "token create", "token create"]
    assert all(change.actor.startswith("terminal:") for change in made)


def last_used(capsys: pytest.CaptureFixture[str]) -> set[str]:
    capsys.readouterr()
    assert main(["token", "list", "--data-dir", "data", "--json"]) == 0
    return {token["name"] for token in json.loads(capsys.readouterr().out) if token["last_used_ms"]}


def test_before_the_first_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "list", "--data-dir", "data"]) == 0
    assert not Path("data").exists()
    text = created(capsys, "--scope", "ingest,read", "--expires", "90d", "--budget", "1k/min", "--rate-limit", "5/s")
    with running(tmp_path / "data", host="0.0.0.0") as one:
        assert status(one, text) == 200
    capsys.readouterr()
    assert main(["token", "list", "--data-dir", "data"]) == 0
    told = capsys.readouterr().out
    assert "ingest,read" in told
    assert "300 requests/min, 1000 points/min" in told
    assert text not in told


def test_over_the_api(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path / "data") as one:
        url = one.url("web_port").rstrip("/")
        monkeypatch.setenv("MIRUBATO_TOKEN", add_token(one, "read"))
        assert main(["token", "list", "--url", url]) == 1
        assert "this needs admin (MIRUBATO_TOKEN)" in capsys.readouterr().err
        monkeypatch.setenv("MIRUBATO_TOKEN", add_token(one, "admin"))
        assert main(["token", "create", "--scope", "ingest", "--name", "far", "--url", url, "--json"]) == 0
        made = json.loads(capsys.readouterr().out)
        assert status(one, made["token"]) == 403
        assert main(["token", "list", "--url", url]) == 0
        assert "far" in capsys.readouterr().out
        assert main(["token", "revoke", made["id"], "--url", url]) == 0
        assert status(one, made["token"]) == 401
        assert main(["token", "revoke", made["id"], "--url", url]) == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["create", "--scope", "all"], 2),
        (["create", "--scope", "read", "--expires", "soon"], 2),
        (["create", "--scope", "read", "--budget", "much"], 2),
        (["create", "--scope", "read", "--rate-limit", "5/day"], 2),
        (["revoke", "nobody"], 1),
        (["list", "--url", "http://127.0.0.1:1"], 1),
    ],
)
def test_what_cannot_be(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", *arguments]) == code
    assert capsys.readouterr().err.startswith("mirubato: ")


@pytest.mark.parametrize("arguments", [[], ["create"], ["revoke"], ["nonsense"]])
def test_bad_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["token", *arguments])
    assert left.value.code == 2


def test_names_that_are_not_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        created(capsys, "--scope", "read", "--name", "twin")
    assert main(["token", "revoke", "twin", "--data-dir", "data"]) == 1
    assert "say which by its id" in capsys.readouterr().err
