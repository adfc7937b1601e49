"""Secrets are in no log, no answer, no error, no text of the settings: all that comes out is searched for them."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirubato.access.redaction import CleanFormatter, Redactor
from mirubato.access.tokens import Wanted, mint
from mirubato.access.visits import Visit, begin
from mirubato.config import Config, load, secrets_of
from mirubato.errors import ConfigError
from tests.access.people import add_token
from tests.support.gateways import API, running
from tests.test_kill import Process

SECRET = "a-secret-0123456789-of-the-settings"
NAMES = ("MIRUBATO_TOKEN", "MIRUBATO_INGEST_TOKEN", "MIRUBATO_READ_TOKEN", "MIRUBATO_ADMIN_TOKEN")


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_token_is_blotted_out_wherever_it_stands(before: str, after: str) -> None:
    token, text = mint(Wanted(frozenset({"read"})), 0)
    cleaned = Redactor([SECRET]).clean(f"{before}{SECRET}{after} {text} ")
    assert SECRET not in cleaned
    assert text[-43:] not in cleaned
    assert token.id in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdefgh",
        "{'authorization': 'Basic abcdefgh'}",
        "x-api-key: abcdefgh",
        '{"x-api-key":"abcdefgh"}',
        "Cookie: abcdefgh",
        "smtp://user:abcdefgh@mail.example:587",
        "https://u:abcdefgh@example.com/x",
    ],
)
def test_what_stands_where_credentials_stand(text: str) -> None:
    assert "abcdefgh" not in Redactor().clean(text)


@pytest.mark.parametrize("text", ["http://127.0.0.1:4319/api", "a basic question", "the bearer of news", "12:30:45"])
def test_other_words_stay(text: str) -> None:
    assert Redactor().clean(text).split()[0] == text.split(maxsplit=1)[0]


def test_a_traceback_is_clean_and_a_line_has_the_id_of_its_request() -> None:
    begin(Visit("req-7"))
    try:
        raise ValueError(SECRET)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed with %s", (SECRET,), sys.exc_info())
    text = CleanFormatter(Redactor([SECRET])).format(record)
    assert SECRET not in text
    assert text.splitlines()[0].endswith("failed with *** [request req-7]")
    assert "ValueError: ***" in text


def test_settings_do_not_tell(tmp_path: Path) -> None:
    config = load(environ=dict.fromkeys(NAMES, SECRET))
    assert secrets_of(config) == [SECRET] * len(NAMES)
    assert SECRET not in repr(config)
    short = "too-short-secret"
    for name in NAMES[1:]:
        with pytest.raises(ConfigError) as refused:
            load(environ={name: short})
        assert short not in str(refused.value)
    assert secrets_of(Config()) == []


def test_a_gateway_tells_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All that a gateway answers and keeps, searched for each secret that it was given."""
    caplog.set_level(logging.DEBUG)
    answers = []
    with running(tmp_path / "data", admin_token=SECRET) as one:
        tokens = [add_token(one, scope) for scope in ("ingest", "read", "admin")]
        secrets = [SECRET, *(text[-43:] for text in tokens)]
        for text in (*tokens, SECRET, f"{SECRET}x"):
            for headers in ({"authorization": f"Bearer {text}"}, {"x-api-key": text}, {"cookie": text}):
                for path in ("/api/tokens", "/api/me", "/api/audit", "/api/health", "/metrics", f"{API}/status/config"):
                    reply = one.get(path, headers)
                    answers.append(f"{reply.headers} {reply.text}")
                answers.append(one.http.post(one.url("web_port", "/v1/metrics"), headers=headers).text)
                answers.append(one.http.post(one.url("web_port", "/api/alerts"), headers=headers).text)
        reply = one.http.post(one.url("web_port", "/api/login"), json={"token": tokens[1]})
        secrets.append(reply.cookies["mirubato_session"])
        answers.append(reply.text)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    assert [secret for secret in secrets if any(secret in answer for answer in answers)] == []
    assert [secret for secret in secrets if secret.encode() in kept] == []
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert [secret for secret in secrets if any(secret in line for line in ours)] == []


@pytest.mark.slow
def test_a_process_logs_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRUBATO_ADMIN_TOKEN", SECRET)
    process = Process(tmp_path / "data")
    try:
        url = f"http://127.0.0.1:{process.ports['web_port']}"
        done = subprocess.run(
            [sys.executable, "-m", "mirubato", "token", "create", "--scope", "read", "--url", url],
            capture_output=True,
            text=True,
            env={"MIRUBATO_TOKEN": SECRET, "PATH": ""},
            cwd=tmp_path,
            check=False,
        )
    finally:
        assert process.terminate() == 0
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "gateway.log").read_text(encoding="utf-8")
    assert "POST /api/tokens -> 201 [request " in log
    assert SECRET not in log + done.stderr
    assert done.stdout.strip()[-43:] not in log
