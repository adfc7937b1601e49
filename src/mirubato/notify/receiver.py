"""What every receiver is: a message goes in, and one of three answers comes back."""

from dataclasses import dataclass
from typing import Protocol

from mirubato.notify.message import Message


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver said yes. `reference` is what a later message of the same thread may edit in place."""

    reference: str = ""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """It did not answer, or said not now; `after_s` is how long it asked to wait, None if it did not say."""

    problem: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """It said no, and would say no again: a bad address, a revoked key."""

    problem: str


Answer = Delivered | RetryLater | Refusal


class Receiver(Protocol):
    """One way to people. Never raises for what the world does."""

    async def send(self, message: Message, reference: str) -> Answer:
        """Deliver; `reference` is that of the thread's last delivery, or empty. Within DELIVERY_S_MAX seconds."""
        ...


def scrubbed(text: str, secrets: tuple[str, ...]) -> str:
    """A sentence for logs and answers, without the secrets that a library or a server may have put into it."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "***")
    return text[:300]
