"""Channels: the names in `notification_channels`, and the receiver behind each."""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from mirubato.config import Config
from mirubato.errors import ConfigError
from mirubato.notify.alertmanager import Alertmanager
from mirubato.notify.anything import Anything, apprise_of
from mirubato.notify.http import Poster
from mirubato.notify.mail_api import ApiMail
from mirubato.notify.pagerduty import PagerDuty
from mirubato.notify.receiver import Receiver
from mirubato.notify.slack import SlackBot, SlackWebhook
from mirubato.notify.smtp import SmtpMail, SmtpServer
from mirubato.notify.webhook import Webhook

_LOOKS = "slack+https://..., slack:#channel, pagerduty:KEY, mailto:a@b.c, https://..., alertmanager+http://..."


class Channels:
    """The receivers of one gateway, by the name of their channel."""

    def __init__(self, settings: Config, poster: Poster) -> None:
        """ConfigError, without the secret, for an address that cannot be used."""
        self._settings, self._poster = settings, poster
        try:
            self.named = {name: one for name, one in _usual(settings, poster).items() if one is not None}
        except ValueError as error:
            raise ConfigError(f"smtp_url (MIRUBATO_SMTP_URL) {error}") from error
        for text in settings.channels:
            name, equals, target = text.partition("=")
            if not (name and equals and target):
                raise ConfigError(f"channels (MIRUBATO_CHANNELS): each is name=address, such as name={_LOOKS}")
            try:
                self.named[name] = _receiver(name, target, settings, poster)
            except ValueError as error:
                raise ConfigError(f"channels (MIRUBATO_CHANNELS): {name!r} {error}") from error

    def find(self, channel: str) -> Receiver | None:
        """The receiver of a name; a rule may also name an address itself. None: there is no such channel."""
        if channel in self.named or ":" not in channel:
            return self.named.get(channel)
        try:
            return _receiver(shown(channel), channel, self._settings, self._poster)
        except ValueError:
            return None


def shown(channel: str) -> str:
    """A channel for logs and answers: of an address, which may hold a secret anywhere, only the scheme."""
    scheme, colon, _ = channel.partition(":")
    return f"{scheme}:***" if colon else channel


def _usual(settings: Config, poster: Poster) -> dict[str, Receiver | None]:
    """The channels that have settings of their own. A bot token goes before a webhook, as it can do more."""
    return {
        "slack": _slack(settings, settings.slack_channel, poster),
        "pagerduty": PagerDuty(poster, settings.pagerduty_key, settings.pagerduty_url)
        if settings.pagerduty_key
        else None,
        "email": _email(settings, settings.email_to, poster) if settings.email_to else None,
        "webhook": Webhook(poster, settings.webhook_url) if settings.webhook_url else None,
        "alertmanager": Alertmanager(poster, settings.alertmanager_url) if settings.alertmanager_url else None,
    }


def _slack(settings: Config, channel: str, poster: Poster) -> Receiver | None:
    if settings.slack_bot_token and channel:
        return SlackBot(poster, settings.slack_bot_token, channel, settings.slack_api_url)
    return SlackWebhook(poster, settings.slack_webhook_url) if settings.slack_webhook_url else None


def _email(settings: Config, recipients: tuple[str, ...], poster: Poster) -> Receiver | None:
    """By SMTP where there is a server, else by the API; the sender defaults to the first recipient."""
    sender = settings.email_from or recipients[0]
    if settings.smtp_url:
        return SmtpMail(SmtpServer.parsed(settings.smtp_url), sender, recipients)
    if settings.email_api_key:
        return ApiMail(poster, settings.email_api_key, sender, recipients, settings.email_api_url)
    return None


def _receiver(name: str, target: str, settings: Config, poster: Poster) -> Receiver:
    """The receiver behind an address; ValueError says what it lacks."""
    scheme, _, rest = target.partition(":")
    kind, _, inner = scheme.partition("+")
    if inner in ("http", "https") and kind in _OVER_HTTP:
        return _OVER_HTTP[kind](poster, _checked(f"{inner}:{rest}"), name)
    match scheme:
        case "http" | "https":
            return Webhook(poster, _checked(target), name)
        case "pagerduty":
            return PagerDuty(poster, rest.lstrip("/"), settings.pagerduty_url)
        case "slack" if rest.startswith("#"):
            return _needed(_slack(settings, rest, poster), "needs SLACK_BOT_TOKEN")
        case "mailto":
            recipients = tuple(one.strip() for one in rest.split("+and+"))
            return _needed(_email(settings, recipients, poster), "needs MIRUBATO_SMTP_URL or EMAIL_API_KEY")
    return Anything(apprise_of(target))


_OVER_HTTP: Mapping[str, Callable[[Poster, str, str], Receiver]] = {
    "slack": lambda poster, url, _: SlackWebhook(poster, url),
    "alertmanager": lambda poster, url, _: Alertmanager(poster, url),
    "webhook": Webhook,
}
"""What stands before `+http://` or `+https://`, and the receiver with poster, address and name."""


def _needed(receiver: Receiver | None, what: str) -> Receiver:
    if receiver is None:
        raise ValueError(what)
    return receiver


def _checked(address: str) -> str:
    if not urlsplit(address).hostname:
        raise ValueError("has no host in its address")
    return address
