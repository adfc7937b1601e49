"""Real servers that say yes, no, not now, or nothing at all."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from mirubato.config import Config
from mirubato.errors import ConfigError
from mirubato.notify import http, smtp
from mirubato.notify.channels import Channels, shown
from mirubato.notify.http import Poster, retry_after_s
from mirubato.notify.message import Kind, Message
from mirubato.notify.receiver import Answer, Delivered, Refusal, RetryLater
from tests.notify.messages import AT, message, resolved
from tests.support.receiving import HttpReceiver, Reply, receiving

# What apprise imports warns of its own removal from Python 3.13, where it is not imported.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")


def sent(settings: Config, channel: str, *messages: Message) -> list[Answer]:
    """Each message to a channel, each with the reference of the one before."""

    async def all_sent() -> list[Answer]:
        async with httpx.AsyncClient() as client:
            receiver = Channels(settings, Poster(client)).find(channel)
            assert receiver is not None
            answers: list[Answer] = []
            reference = ""
            for one in messages:
                answers.append(await receiver.send(one, reference))
                reference = getattr(answers[-1], "reference", "")
            return answers

    return asyncio.run(all_sent())


def config(**settings: Any) -> Config:
    return replace(Config(), **settings)


@pytest.fixture(scope="module")
def server() -> Iterator[HttpReceiver]:
    with receiving() as one:
        yield one


@pytest.fixture(autouse=True)
def well(server: HttpReceiver) -> None:
    server.requests.clear()
    server.answer = lambda _: Reply()


SECRET = "T0SECRET"
HTTP_CHANNELS: dict[str, Callable[[str], Config]] = {
    "slack": lambda url: config(slack_webhook_url=f"{url}/services/{SECRET}"),
    "pagerduty": lambda url: config(pagerduty_key=SECRET, pagerduty_url=url),
    "email": lambda url: config(email_api_key=SECRET, email_api_url=url, email_to=("a@example.com",)),
    "webhook": lambda url: config(webhook_url=f"{url}/{SECRET}"),
    "alertmanager": lambda url: config(alertmanager_url=url),
    "mine": lambda url: config(channels=(f"mine={url}/{SECRET}?a={SECRET}",)),
}
each_channel = pytest.mark.parametrize("channel", HTTP_CHANNELS)
PATHS = {"slack": f"/services/{SECRET}", "pagerduty": "/v2/enqueue", "email": "/emails", "webhook": f"/{SECRET}",
         "alertmanager": "/api/v2/alerts", "mine": f"/{SECRET}?a={SECRET}"}  # fmt: skip


@each_channel
def test_yes(channel: str, server: HttpReceiver) -> None:
    assert sent(HTTP_CHANNELS[channel](server.url()), channel, message(), resolved()) == [Delivered(), Delivered()]
    assert [request.path for request in server.requests] == [PATHS[channel]] * 2
    assert server.requests[0].headers["content-type"] == "application/json"


ANSWERS = [
    (Reply(429, b"slow down", {"retry-after": "7"}), RetryLater("HTTP 429: slow down", 7.0)),
    (Reply(503, b"", {"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}), RetryLater("HTTP 503", 30.0)),
    (Reply(500, b"oh no"), RetryLater("HTTP 500: oh no")),
    (Reply(404, b"no_service"), Refusal("HTTP 404: no_service")),
    (Reply(302, b"", {"location": "http://elsewhere"}), Refusal("HTTP 302")),
    (Reply(400, f"bad key {SECRET}".encode()), Refusal("HTTP 400: bad key ***")),
]


@pytest.mark.parametrize(("reply", "answer"), ANSWERS, ids=lambda one: str(getattr(one, "status", "")))
def test_no_and_not_now(
    reply: Reply,
    answer: Answer,
    server: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(http, "now_ms", lambda: AT)
    server.answer = lambda _: reply
    with caplog.at_level(logging.INFO):
        assert sent(HTTP_CHANNELS["pagerduty"](server.url()), "pagerduty", message()) == [answer]
    assert SECRET not in caplog.text


@each_channel
def test_hanging(channel: str, server: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "DELIVERY_S_MAX", 0.1)
    server.answer = lambda _: Reply(hang=True)
    (answer,) = sent(HTTP_CHANNELS[channel](server.url()), channel, message())
    assert isinstance(answer, RetryLater)


def problem(answer: Answer) -> str:
    assert not isinstance(answer, Delivered)
    return answer.problem


def test_nobody_there_and_a_certificate_that_nobody_knows(caplog: pytest.LogCaptureFixture) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with caplog.at_level(logging.DEBUG, "mirubato"), receiving(context) as tls:
        (untrusted,) = sent(HTTP_CHANNELS["slack"](tls.url(scheme="https")), "slack", message())
    (nobody,) = sent(HTTP_CHANNELS["slack"](tls.url()), "slack", message())
    for answer in (untrusted, nobody):
        assert isinstance(answer, RetryLater)
        assert SECRET not in answer.problem
    assert "certificate" in problem(untrusted)
    assert SECRET not in caplog.text


def test_slack_edits_in_place(server: HttpReceiver) -> None:
    settings = config(slack_bot_token="xoxb-1", slack_channel="#alerts", slack_api_url=server.url("/api"))
    server.answer = lambda _: Reply(body=b'{"ok": true, "channel": "C1", "ts": "17.5"}')
    repeat = replace(message(), kind=Kind.REPEAT)
    assert sent(settings, "slack", message(), resolved(), repeat)[0] == Delivered("C1:17.5")
    assert [one.path for one in server.requests] == [
        "/api/chat.postMessage",
        "/api/chat.update",
        "/api/chat.postMessage",
    ]
    first, edit, _ = server.requests
    assert first.headers["authorization"] == "Bearer xoxb-1"
    assert (first.body["channel"], edit.body["channel"], edit.body["ts"]) == ("#alerts", "C1", "17.5")


def test_slack_posts_anew_where_it_cannot_edit(server: HttpReceiver) -> None:
    settings = config(slack_bot_token="x", slack_channel="#a", slack_api_url=server.url())
    gone, fine = (
        Reply(body=b'{"ok": false, "error": "message_not_found"}'),
        Reply(body=b'{"ok": true, "channel": "C", "ts": "2"}'),
    )
    server.answer = lambda one: gone if one.path.endswith("update") else fine
    assert sent(settings, "slack", message(), resolved()) == [Delivered("C:2"), Delivered("C:2")]


@pytest.mark.parametrize(
    ("error", "kind"), [("channel_not_found", Refusal), ("ratelimited", RetryLater), ("invalid_auth", Refusal)]
)
def test_slack_says_no_inside_a_200(error: str, kind: type, server: HttpReceiver) -> None:
    settings = config(slack_bot_token="x", slack_channel="#a", slack_api_url=server.url())
    server.answer = lambda _: Reply(body=b'{"ok": false, "error": "%s"}' % error.encode())
    (answer,) = sent(settings, "slack", message())
    assert isinstance(answer, kind)
    assert error in problem(answer)


def test_the_mail_api_knows_a_repeat(server: HttpReceiver) -> None:
    sent(HTTP_CHANNELS["email"](server.url()), "email", message(), message())
    first, second = server.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == "m1"
    assert first.headers["authorization"] == f"Bearer {SECRET}"
    assert first.body["headers"]["Message-ID"] == second.body["headers"]["Message-ID"]
    assert first.body["to"] == ["a@example.com"]


def test_apprise(server: HttpReceiver) -> None:
    settings = config(channels=(f"mine=json://127.0.0.1:{server.port}/hook",))
    assert sent(settings, "mine", message()) == [Delivered()]
    assert "High Error Rate" in server.requests[0].body["title"]
    server.answer = lambda _: Reply(500)
    assert isinstance(sent(settings, "mine", resolved())[0], RetryLater)


def test_apprise_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise ImportError

    monkeypatch.setattr("mirubato.notify.anything.importlib.import_module", missing)
    with pytest.raises(ConfigError, match=r"mirubato-monitoring\[apprise\]"):
        Channels(config(channels=("x=ntfy://topic",)), Poster(httpx.AsyncClient()))


BAD_CHANNELS = ["nameless", "x=", "x=nosuchscheme://SECRET", "x=slack:#alerts", "x=mailto:a@b.c", "x=https:///SECRET"]


@pytest.mark.parametrize("text", BAD_CHANNELS)
def test_a_bad_channel_is_told_at_the_start_without_its_secret(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Channels(config(channels=(text,)), Poster(httpx.AsyncClient()))
    assert "SECRET" not in str(refused.value)


def test_a_bad_smtp_address_is_told_at_the_start() -> None:
    with pytest.raises(ConfigError, match="MIRUBATO_SMTP_URL"):
        Channels(config(smtp_url="http://SECRET", email_to=("a@b.c",)), Poster(httpx.AsyncClient()))


def test_a_rule_may_name_an_address_itself(server: HttpReceiver) -> None:
    assert sent(config(), server.url("/x"), message()) == [Delivered()]
    assert sent(config(), f"slack+{server.url('/y')}", message()) == [Delivered()]
    assert [request.path for request in server.requests] == ["/x", "/y"]
    channels = Channels(config(), Poster(httpx.AsyncClient()))
    assert (channels.find("nosuch"), channels.find("nosuch://x")) == (None, None)
    assert shown("slack+https://hooks/SECRET") == "slack+https:***"


@pytest.mark.parametrize(("text", "seconds"), [("5", 5.0), ("-1", 0.0), ("", None), ("soon", None)])
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after_s(text, AT) == seconds


# --- SMTP -------------------------------------------------------------------------------------------------------------


class Postbox:
    """Takes mail, or answers what it is told to."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.answer = "250 OK"

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:
        self.mails.append(envelope)
        return self.answer


@contextmanager
def smtp_server(**options: Any) -> Iterator[tuple[Postbox, int]]:
    class Free(Controller):
        def _trigger_server(self) -> None:  # aiosmtpd asks its fixed port; ours is free
            sockets: Any = self.server
            self.port = sockets.sockets[0].getsockname()[1]
            super()._trigger_server()  # type: ignore[no-untyped-call]

    box = Postbox()
    controller = Free(box, hostname="127.0.0.1", port=0, **options)
    controller.start()
    try:
        yield box, controller.port
    finally:
        controller.stop()


def by_smtp(port: int, user: str = "", **settings: Any) -> Config:
    who = f"{user}@" if user else ""
    return config(smtp_url=f"smtp://{who}127.0.0.1:{port}", email_to=("a@example.com", "b@example.com"), **settings)


def test_smtp() -> None:
    with smtp_server() as (box, port):
        assert sent(by_smtp(port, email_from="Mirubato <m@example.com>"), "email", message()) == [Delivered()]
    (mail,) = box.mails
    assert mail.rcpt_tos == ["a@example.com", "b@example.com"]
    assert mail.mail_from == "m@example.com"
    assert b"Message-ID: <m1@example.com>" in mail.content
    assert b"image/png" in mail.content


@pytest.mark.parametrize(("said", "kind"), [("451 later", RetryLater), ("554 no", Refusal)])
def test_smtp_says_no(said: str, kind: type) -> None:
    with smtp_server() as (box, port):
        box.answer = said
        (answer,) = sent(by_smtp(port), "email", message())
    assert isinstance(answer, kind)
    assert said[4:] in problem(answer)


def test_smtp_with_starttls_and_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    asked = []

    def authenticator(*arguments: Any) -> AuthResult:
        data = arguments[-1]
        assert isinstance(data, LoginPassword)
        asked.append((data.login, data.password))
        return AuthResult(success=data.password == b"p@ss", handled=False)

    options: dict[str, Any] = {"tls_context": theirs, "require_starttls": True, "authenticator": authenticator}
    with smtp_server(**options) as (box, port):
        (untrusted,) = sent(by_smtp(port, "ann:p%40ss"), "email", message())
        assert isinstance(untrusted, RetryLater)
        assert "p@ss" not in untrusted.problem
        authority.configure_trust(ours)
        monkeypatch.setattr(ssl, "create_default_context", lambda *_, **__: ours)
        assert sent(by_smtp(port, "ann:p%40ss"), "email", message()) == [Delivered()]
        (wrong,) = sent(by_smtp(port, "ann:wrong"), "email", message())
    assert set(asked) == {(b"ann", b"p@ss"), (b"ann", b"wrong")}
    assert isinstance(wrong, Refusal)
    assert len(box.mails) == 1


def test_smtp_with_nobody_there_or_nobody_who_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with smtp_server() as (_, port):
        pass
    assert isinstance(sent(by_smtp(port), "email", message())[0], RetryLater)
    monkeypatch.setattr(smtp, "DELIVERY_S_MAX", 0.2)

    async def to_one_that_hangs() -> Answer:
        left = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()
            left.set()

        listening = await asyncio.start_server(silent, "127.0.0.1", 0)
        async with listening, httpx.AsyncClient() as client:
            receiver = Channels(by_smtp(listening.sockets[0].getsockname()[1]), Poster(client)).find("email")
            assert receiver is not None
            answer = await receiver.send(message(), "")
            await left.wait()
        return answer

    assert isinstance(asyncio.run(to_one_that_hangs()), RetryLater)


def test_a_password_never_goes_in_clear() -> None:
    url = smtp.SmtpServer.parsed
    assert url("smtp://a:b@mail.example.com").start_tls is True
    assert url("smtp://a:b@localhost:25").start_tls is None
    assert url("smtps://mail.example.com").start_tls is False
    assert [url(text).port for text in ("smtp://h", "smtp://a@h", "smtps://h", "smtp://h:99")] == [25, 587, 465, 99]
