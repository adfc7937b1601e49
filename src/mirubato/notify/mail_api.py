"""Email by an HTTP API: Resend's POST /emails, https://resend.com/docs/api-reference/emails/send-email."""

import base64
from dataclasses import dataclass
from typing import Any

from mirubato.notify.chart import png
from mirubato.notify.http import Poster, below
from mirubato.notify.mail import CHART_ID, domain_of, render
from mirubato.notify.message import Message
from mirubato.notify.receiver import Answer


def body(message: Message, sender: str, recipients: tuple[str, ...]) -> dict[str, Any]:
    """The request's JSON; the chart is an attachment that the HTML shows."""
    mail = render(message, domain_of(sender))
    headers = {"Message-ID": mail.message_id, "In-Reply-To": mail.thread_id, "References": mail.thread_id}
    out: dict[str, Any] = {
        "from": sender,
        "to": list(recipients),
        "subject": mail.subject,
        "text": mail.text,
        "html": mail.html,
        "headers": headers,
    }
    if message.chart is not None:
        content = base64.b64encode(png(message.chart)).decode()
        out["attachments"] = [
            {"filename": "chart.png", "content": content, "content_type": "image/png", "content_id": CHART_ID}
        ]
    return out


@dataclass(frozen=True, slots=True)
class ApiMail:
    """Email from one sender to some recipients, with a key of the API."""

    poster: Poster
    key: str
    sender: str
    recipients: tuple[str, ...]
    url: str = "https://api.resend.com"

    async def send(self, message: Message, reference: str) -> Answer:  # noqa: ARG002  (mail cannot be edited)
        """Post the mail; the API takes one idempotency key once in 24 hours."""
        headers = {"authorization": f"Bearer {self.key}", "idempotency-key": message.id}
        mail = body(message, self.sender, self.recipients)
        return await self.poster.post(below(self.url, "/emails"), mail, headers=headers, secrets=(self.key,))
