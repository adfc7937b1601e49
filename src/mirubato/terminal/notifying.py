"""`mirubato notify test CHANNEL`: a marked test from here, with the settings as they are; no gateway is needed."""

import argparse
import asyncio
import json
import sys

import httpx

from mirubato import config
from mirubato.alerts.desk import outcome
from mirubato.alerts.messages import Speaker
from mirubato.clock import now_ms
from mirubato.config import Config
from mirubato.limits import DELIVERY_S_MAX
from mirubato.notify.channels import Channels
from mirubato.notify.http import Poster
from mirubato.notify.receiver import Answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One command so far."""
    commands = parser.add_subparsers(required=True, metavar="test")
    test = commands.add_parser("test", help="send a marked test message to a channel")
    test.add_argument(
        "channel", metavar="CHANNEL", help="slack, pagerduty, email, webhook, alertmanager, or one of yours"
    )
    test.add_argument("--json", action="store_true", help="print JSON")
    config.add_flags(test)
    test.set_defaults(run=_test)


def _test(arguments: argparse.Namespace) -> int:
    """Status 1 if it did not arrive, or there is no such channel."""
    names, answer = asyncio.run(_sent(config.load(arguments), arguments.channel))
    if answer is None:
        known = ", ".join(names) or "none: docs/ALERTS.md says how to set one up"
        print(f"mirubato: there is no channel {arguments.channel!r}; there are: {known}", file=sys.stderr)
        return 1
    said = outcome(answer)
    if arguments.json:
        print(json.dumps({"channel": arguments.channel, **said}))
    else:
        print(f"{arguments.channel}: {'delivered' if said['ok'] else said['error']}")
    return 0 if said["ok"] else 1


async def _sent(settings: Config, channel: str) -> tuple[list[str], Answer | None]:
    """The channels that there are, and what the receiver said."""
    async with httpx.AsyncClient(timeout=DELIVERY_S_MAX) as client:
        channels = Channels(settings, Poster(client))
        receiver = channels.find(channel)
        if receiver is None:
            return sorted(channels.named), None
        speaker = Speaker(settings.external_url, settings.alert_repeat_interval, lambda *_: {})
        return [], await receiver.send(speaker.test(None, channel, now_ms()), "")
