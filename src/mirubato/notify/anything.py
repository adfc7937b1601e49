"""Anything else that the library apprise speaks: Teams, Discord, Telegram, ntfy and a hundred more.

https://github.com/caronc/apprise/wiki; `pip install 'mirubato-monitoring[apprise]'`.
"""

import asyncio
import importlib
from dataclasses import dataclass, field
from typing import Any

from mirubato.limits import DELIVERY_S_MAX
from mirubato.notify.mail import render
from mirubato.notify.message import Message, Status
from mirubato.notify.receiver import Answer, Delivered, RetryLater


def apprise_of(url: str) -> Any:
    """The library's object for one of its addresses; ValueError if it knows none such, or is not installed."""
    try:
        library = importlib.import_module("apprise")
    except ImportError as error:
        raise ValueError("needs the library apprise: pip install 'mirubato-monitoring[apprise]'") from error
    out = library.Apprise()
    if not out.add(url):
        raise ValueError("is no address that apprise knows")
    return out


@dataclass(frozen=True, slots=True)
class Anything:
    """One address of apprise, which says yes or no, and not why."""

    apprise: Any = field(repr=False)

    async def send(self, message: Message, reference: str) -> Answer:  # noqa: ARG002  (nothing to edit)
        """Send title and text."""
        mail = render(message, "mirubato")
        kind = "success" if message.status is Status.RESOLVED else "failure"
        try:
            async with asyncio.timeout(DELIVERY_S_MAX):
                done = await self.apprise.async_notify(body=mail.text, title=mail.subject, notify_type=kind)
        except TimeoutError:
            return RetryLater(f"no answer within {DELIVERY_S_MAX:.0f} s")
        except Exception as error:  # noqa: BLE001  (a hundred plug-ins: what one raises is a delivery that failed)
            return RetryLater(type(error).__name__)  # its text may hold the address, which is a secret
        return Delivered() if done else RetryLater("apprise could not deliver it")
