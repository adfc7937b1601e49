"""`mirubato doctor`: each thing that can be wrong is made wrong, and the finding says it with its fix."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from mirubato.checkups import here
from mirubato.cli import main
from tests.access.people import add_token
from tests.support.gateways import running

ACCOUNT, DATABASE, TOKEN = "a" * 32, "d1-id", "cloudflare-token-0123456789"
LISTENING = ("grpc_port", "otlp_http_port", "web_port")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in LISTENING:
        monkeypatch.setenv(f"MIRUBATO_{name.upper()}", "0")
    # What this machine's own clock and disk are like is not what is tested.
    monkeypatch.setattr(here, "_unsynchronised", lambda: False)
    monkeypatch.setattr(here, "_file_system", lambda _: "ext4")


class Doctor:
    """Runs the command with settings as variables."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str, **settings: str) -> tuple[int, list[dict[str, str]]]:
        """The exit status, and what is not ok."""
        for name, value in settings.items():
            self._monkeypatch.setenv(name if name.isupper() else f"MIRUBATO_{name.upper()}", value)
        self._capsys.readouterr()
        status = main(["doctor", "--json", *arguments])
        told = json.loads(self._capsys.readouterr().out)
        assert told["ok"] is (status == 0)
        self.all: list[dict[str, str]] = told["findings"]
        assert all(bool(one["fix"]) == (one["status"] != "ok") for one in self.all)
        return status, [one for one in self.all if one["status"] != "ok"]

    def only(self, *arguments: str, **settings: str) -> tuple[int, str, str, str]:
        """The one thing that is not ok."""
        status, (one,) = self(*arguments, **settings)
        return status, one["check"], one["status"], one["message"]


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(monkeypatch, capsys)


def test_a_healthy_machine(doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor() == (0, [])
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert told.endswith("nothing is wrong\n")
    assert not Path("mirubato-data").exists()


CONTRADICTIONS = [
    ({"host": "0.0.0.0", "allow_anonymous": "true", "tls_cert": ""}, 0, "access", "may read and write"),
    ({"host": "0.0.0.0"}, 1, "access", "it will not start"),
    ({"cors_origins": "*"}, 0, "access", "any page"),
    ({"web_port": "45001", "grpc_port": "45001"}, 1, "settings", "are the same"),
    ({"email_to": "a@b.example"}, 1, "settings", "nothing that sends"),
    ({"EMAIL_API_KEY": "re_1"}, 1, "settings", "to nobody"),
    ({"SLACK_BOT_TOKEN": "xoxb-1"}, 1, "settings", "no channel"),
    ({"PAGERDUTY_KEY": "short"}, 0, "keys", "32 characters"),
    ({"SLACK_BOT_TOKEN": "nonsense", "slack_channel": "#a"}, 0, "keys", "xoxb-"),
    ({"d1_database_id": "x"}, 1, "settings", "nothing will be mirrored"),
    ({"cloudflare_account_id": "x"}, 1, "settings", "only one is set"),
    ({"rule_files": "nothing/*.yaml"}, 1, "settings", "nothing is at nothing/*.yaml"),
    ({"report_store": "s3://reports"}, 1, "settings", "no key for it"),
    ({"grpc_port": "x"}, 1, "settings", "'x' is no whole number"),
    ({"tls_cert": "cert.pem"}, 1, "tls", "only one is set"),
    ({"tls_cert": "gone.pem", "tls_key": "gone.pem"}, 1, "tls", "gone.pem"),
]


@pytest.mark.parametrize(("settings", "status", "check", "told"), CONTRADICTIONS)
def test_settings(
    doctor: Doctor,
    settings: dict[str, str],
    status: int,
    check: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mirubato.checkups.elsewhere._unreachable", lambda _: None)
    found_status, found = doctor(**settings)
    assert found_status == status
    assert any(one["check"] == check and told in one["message"] for one in found), found


def test_a_token_is_enough_to_be_reached(doctor: Doctor, tmp_path: Path) -> None:
    with running(tmp_path / "data") as one:
        add_token(one, "admin")
    status, found = doctor("--data-dir", "data", host="0.0.0.0")
    assert (status, [one["message"].split(":")[0] for one in found]) == (0, ["host 0.0.0.0 without TLS"])


def test_a_taken_port(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = doctor.only(web_port=str(port))
    assert found == (1, "ports", "problem", f"web_port: cannot listen on 127.0.0.1:{port}: Address already in use")


class TestDisk:
    def test_one_that_is_full(self, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
        for free, status in ((10 << 20, "problem"), (500 << 20, "warning")):
            monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
            assert doctor.only()[1:3] == ("disk", status)

    def test_one_that_cannot_be_written_to(self, doctor: Doctor) -> None:
        assert doctor.only("--data-dir", "/proc/mirubato")[1:3] == ("disk", "problem")

    def test_one_that_is_far_away(self, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(here, "_file_system", lambda _: "nfs4")
        assert "is on nfs4" in doctor.only()[3]


class TestClock:
    def test_one_that_is_far_off(self, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mirubato.terminal.doctor.now_ms", lambda: 86_400_000)
        assert doctor.only()[1:3] == ("clock", "problem")

    def test_one_that_nobody_keeps_right(self, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(here, "_unsynchronised", lambda: True)
        assert doctor.only()[:3] == (0, "clock", "warning")


class TestCertificate:
    @pytest.mark.parametrize(
        ("days", "status", "told"), [(-1, "problem", "expired"), (5, "warning", "good for"), (90, "ok", "good for")]
    )
    def test_how_long_it_is_good(self, doctor: Doctor, tmp_path: Path, days: int, status: str, told: str) -> None:
        ends = datetime.now(UTC) + timedelta(days=days, hours=1)
        issued = trustme.CA().issue_cert("a.example", not_after=ends)
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        issued.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        for blob in issued.cert_chain_pems:
            blob.write_to_path(str(cert), append=True)
        doctor(tls_cert=str(cert), tls_key=str(key))
        (found,) = [one for one in doctor.all if one["check"] == "tls"]
        assert (found["status"], told in found["message"]) == (status, True)

    def test_a_key_that_everybody_can_read(self, doctor: Doctor, tmp_path: Path) -> None:
        issued = trustme.CA().issue_cert("a.example")
        issued.cert_chain_pems[0].write_to_path("cert.pem")
        issued.private_key_pem.write_to_path("key.pem")
        Path("key.pem").chmod(0o644)
        assert "everybody here can read" in doctor.only(tls_cert="cert.pem", tls_key="key.pem")[3]


class TestGateway:
    def test_one_that_runs(self, doctor: Doctor, tmp_path: Path) -> None:
        with running(tmp_path / "data") as one:
            add_token(one, "admin")
            assert doctor("--data-dir", "data") == (0, [])
            assert any(found["message"].endswith("is well") for found in doctor.all)
            assert doctor("--url", one.url("web_port")) == (0, [])

    def test_one_that_cannot_store(self, doctor: Doctor, tmp_path: Path) -> None:
        with running(tmp_path / "data") as one:
            one.gateway.store.healthy = False
            assert doctor.only("--data-dir", "data")[1:3] == ("gateway", "problem")

    def test_one_that_was_killed(self, doctor: Doctor, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "gateway.json").write_text('{"pid": 1, "web_port": 1}', encoding="utf-8")
        assert "none answers" in doctor.only("--data-dir", "data")[3]


class Stub(BaseHTTPRequestHandler):
    """Answers what the test has laid out, for the token that it expects."""

    answers: Mapping[str, tuple[int, Any]]
    seen: list[str]

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.seen.append(f"{self.command} {self.path}")
        right = self.headers.get("authorization") == f"Bearer {TOKEN}"
        status, document = self.answers.get(self.path, (404, {})) if right else (401, {})
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_request(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def stub(answers: Mapping[str, tuple[int, Any]]) -> Iterator[tuple[str, list[str]]]:
    """A server; answers its address and what was asked."""
    seen: list[str] = []
    handler = type("Handler", (Stub,), {"answers": answers, "seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
        server.shutdown()
        thread.join()


class TestCloudflare:
    WELL: Mapping[str, tuple[int, Any]] = {
        "/user/tokens/verify": (200, {"result": {"status": "active"}}),
        "/graphql": (200, {"data": {"viewer": {"accounts": []}}, "errors": None}),
        f"/accounts/{ACCOUNT}/d1/database/{DATABASE}": (200, {"result": {}}),
    }

    def ask(self, doctor: Doctor, token: str = TOKEN, **answers: tuple[int, Any] | None) -> tuple[int, list[str]]:
        paths = {"verify": "/user/tokens/verify", "graphql": "/graphql"}
        paths |= {"d1": f"/accounts/{ACCOUNT}/d1/database/{DATABASE}", "own": f"/accounts/{ACCOUNT}/tokens/verify"}
        changed = {paths[name]: answer for name, answer in answers.items() if answer}
        with stub({**self.WELL, **changed}) as (url, _):
            status, found = doctor(
                cloudflare_api_url=url,
                cloudflare_api_token=token,
                cloudflare_account_id=ACCOUNT,
                d1_database_id=DATABASE,
            )
        assert not any(token in str(one) for one in doctor.all)
        return status, [one["message"] for one in found]

    def test_a_token_that_may_all(self, doctor: Doctor) -> None:
        assert self.ask(doctor) == (0, [])

    def test_a_token_of_the_account(self, doctor: Doctor) -> None:
        own = (200, {"result": {"status": "active"}})
        assert self.ask(doctor, verify=(401, {}), own=own) == (0, [])

    def test_a_token_that_is_none(self, doctor: Doctor) -> None:
        status, told = self.ask(doctor, token="another-token-0123456789")
        assert (status, told[0]) == (1, "the token is not active")

    def test_a_token_without_analytics(self, doctor: Doctor) -> None:
        status, told = self.ask(doctor, graphql=(200, {"data": None, "errors": [{"message": "not authorized"}]}))
        assert (status, told) == (1, ["the token may not read the account's analytics: costs stay empty"])

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ((403, {"errors": [{"message": "Authentication error"}]}), "(403): Authentication error"),
            ((404, {}), "no D1 database of this id"),
        ],
    )
    def test_a_token_without_d1(self, doctor: Doctor, answer: tuple[int, Any], message: str) -> None:
        status, (told,) = self.ask(doctor, d1=answer)
        assert (status, message in told) == (1, True)

    def test_an_api_that_cannot_be_reached(self, doctor: Doctor) -> None:
        settings = {"cloudflare_api_token": TOKEN, "cloudflare_account_id": ACCOUNT}
        assert "cannot be reached" in doctor.only(cloudflare_api_url="http://127.0.0.1:1", **settings)[3]

    def test_a_clock_that_differs(self, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
        ahead = datetime.now(UTC).timestamp() + 3600
        monkeypatch.setattr("mirubato.terminal.doctor.now_ms", lambda: int(ahead * 1000))
        status, told = self.ask(doctor)
        assert (status, told[0].startswith("Cloudflare's differs by -3")) == (1, True)


class TestReceivers:
    SECRET_PATH = "/services/T0/B0/verysecret"

    def settings(self, url: str) -> dict[str, str]:
        return {
            "SLACK_WEBHOOK_URL": f"{url}{self.SECRET_PATH}",
            "PAGERDUTY_KEY": "k" * 32,
            "pagerduty_url": url,
            "email_to": "a@b.example",
            "EMAIL_API_KEY": "re_0123456789",
            "email_api_url": url,
            "webhook_url": f"{url}/hook",
            "channels": f"team=slack+{url}/services/x",
        }

    def test_all_can_be_reached_and_nothing_is_sent(self, doctor: Doctor) -> None:
        with stub({}) as (url, seen):
            assert doctor(**self.settings(url)) == (0, [])
        assert seen == []
        assert len([one for one in doctor.all if one["check"] == "receivers"]) == 5

    def test_none_can_be_reached_and_no_secret_is_told(self, doctor: Doctor) -> None:
        status, found = doctor(**self.settings("http://127.0.0.1:1"))
        assert (status, len(found), {one["check"] for one in found}) == (1, 5, {"receivers"})
        assert "verysecret" not in str(doctor.all)

    def test_tls_that_fails(self, doctor: Doctor) -> None:
        with stub({}) as (url, _):
            told = doctor.only(webhook_url=url.replace("http://", "https://"))[3]
        assert told.startswith("webhook cannot be reached: TLS")


def test_the_page_is_told_the_same(tmp_path: Path) -> None:
    with running(tmp_path / "data", webhook_url="http://127.0.0.1:1/verysecret") as one:
        told = one.get("/api/doctor").json()
    (found,) = [check for check in told["checks"] if check["check"] == "receivers"]
    assert (told["ok"], found["status"], "verysecret" in str(told)) == (False, "problem", False)
