"""Email by SMTP, with STARTTLS where the server has it; a password never goes over a line in clear but to loopback."""

import asyncio
import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

import aiosmtplib

from mirubato.limits import DELIVERY_S_MAX
from mirubato.notify.chart import png
from mirubato.notify.mail import CHART_ID, domain_of, render
from mirubato.notify.message import Message
from mirubato.notify.receiver import Answer, Delivered, Refusal, RetryLater, scrubbed


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail goes: `smtp://user:password@host:port`, or `smtps://` for TLS from the first byte."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    tls: bool

    @classmethod
    def parsed(cls, url: str) -> "SmtpServer":
        """ValueError if it is no such address; the default ports are 25, 587 with a user, and 465."""
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("is no address such as smtp://user:password@host:587")
        tls = parts.scheme == "smtps"
        port = parts.port or (465 if tls else 587 if parts.username else 25)
        return cls(parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or ""), tls)

    @property
    def start_tls(self) -> bool | None:
        """Required (True), never (False), or if the server has it (None)."""
        if self.tls:
            return False
        return True if self.user and not _is_loopback(self.host) else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def email(message: Message, sender: str, recipients: tuple[str, ...]) -> EmailMessage:
    """The message as MIME: text, HTML, and the chart inside the HTML."""
    mail = render(message, domain_of(sender))
    out = EmailMessage()
    out["Subject"], out["From"], out["To"] = mail.subject, sender, ", ".join(recipients)
    out["Date"] = format_datetime(datetime.fromtimestamp(message.at_ms // 1000, UTC))
    out["Message-ID"] = mail.message_id
    out["In-Reply-To"] = out["References"] = mail.thread_id
    out["Auto-Submitted"] = "auto-generated"  # so that no out-of-office answers come back (RFC 3834)
    out.set_content(mail.text)
    out.add_alternative(mail.html, subtype="html")
    if message.chart is not None:
        html = out.get_payload()[1]  # type: ignore[index]
        html.add_related(png(message.chart), "image", "png", cid=f"<{CHART_ID}>")  # type: ignore[union-attr]
    return out


@dataclass(frozen=True, slots=True)
class SmtpMail:
    """Email from one sender to some recipients through one server."""

    server: SmtpServer
    sender: str
    recipients: tuple[str, ...]

    async def send(self, message: Message, reference: str) -> Answer:  # noqa: ARG002  (mail cannot be edited)
        """Hand the mail to the server: 4xx is not now, 5xx is no."""
        mail = email(message, self.sender, self.recipients)
        try:
            async with asyncio.timeout(DELIVERY_S_MAX):
                await self._sent(mail)
        except TimeoutError:
            return RetryLater(f"no answer within {DELIVERY_S_MAX:.0f} s")
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refused.code for refused in error.recipients]
            return self._no(f"recipients refused: {error}", max(codes, default=550))
        except aiosmtplib.SMTPResponseException as error:
            return self._no(f"SMTP {error.code}: {error.message}", error.code)
        except (aiosmtplib.SMTPException, OSError) as error:
            return RetryLater(self._scrubbed(f"{type(error).__name__}: {error}"))
        return Delivered()

    async def _sent(self, mail: EmailMessage) -> None:
        server = self.server
        await aiosmtplib.send(
            mail,
            sender=self.sender,
            recipients=list(self.recipients),
            hostname=server.host,
            port=server.port,
            username=server.user or None,
            password=server.password or None,
            use_tls=server.tls,
            start_tls=server.start_tls,
            timeout=DELIVERY_S_MAX,
        )

    def _no(self, problem: str, code: int) -> Answer:
        said = self._scrubbed(problem)
        return RetryLater(said) if 400 <= code < 500 else Refusal(said)

    def _scrubbed(self, problem: str) -> str:
        return scrubbed(problem, (self.server.password,))
