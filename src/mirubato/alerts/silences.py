"""Silences: matchers, from when until when, who and why. The JSON is Alertmanager's, or shorter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mirubato.config import parse_duration
from mirubato.errors import BadField, BadQuery
from mirubato.limits import SILENCE_MATCHERS_MAX, SILENCE_NOTICE_MS, SILENCE_TEXT_CHARS_MAX
from mirubato.model.labels import NAME
from mirubato.model.matchers import Matcher, MatchOp, match_all
from mirubato.promql.parser import parse_matchers

_OPS = {
    (False, True): MatchOp.EQUAL,
    (False, False): MatchOp.NOT_EQUAL,
    (True, True): MatchOp.REGEX,
    (True, False): MatchOp.NOT_REGEX,
}
"""(isRegex, isEqual) -> operator."""


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence; times in ms. It holds from its start up to, not including, its end."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_ms: int
    ends_ms: int
    author: str
    comment: str
    announced: bool = False
    """Whether its end has been."""

    def holds(self, labels: Mapping[str, str], now: int) -> bool:
        """Whether messages about an alert with these labels are held back."""
        return self.starts_ms <= now < self.ends_ms and match_all(self.matchers, labels)

    def state(self, now: int) -> str:
        """Alertmanager's words."""
        if now >= self.ends_ms:
            return "expired"
        return "active" if now >= self.starts_ms else "pending"

    def to_announce(self, now: int) -> bool:
        """Whether its end is near: SILENCE_NOTICE_MS before, of short ones when a quarter is left."""
        notice = min(SILENCE_NOTICE_MS, (self.ends_ms - self.starts_ms) // 4)
        return not self.announced and self.ends_ms - notice <= now < self.ends_ms

    def expired(self, now: int) -> "Silence":
        """Ended now; one that has not begun never does."""
        return replace(self, starts_ms=min(self.starts_ms, now), ends_ms=min(self.ends_ms, now))


def to_json(silence: Silence, now: int) -> dict[str, Any]:
    """As the API has it."""
    return {
        "id": silence.id,
        "status": {"state": silence.state(now)},
        "matchers": matchers_to_json(silence.matchers),
        "startsAt": _text(silence.starts_ms),
        "endsAt": _text(silence.ends_ms),
        "createdBy": silence.author,
        "comment": silence.comment,
    }


def matchers_to_json(matchers: Sequence[Matcher]) -> list[dict[str, Any]]:
    """Alertmanager's form."""
    said = {op: key for key, op in _OPS.items()}
    return [
        {"name": one.name, "value": one.value, "isRegex": said[one.op][0], "isEqual": said[one.op][1]}
        for one in matchers
    ]


def from_json(body: Mapping[str, Any], id_: str, now: int) -> Silence:
    """What the API was sent: `matchers` (objects or texts), `startsAt` (now), `endsAt` or `duration`, `createdBy`,
    `comment`. BadField names what cannot be."""
    matchers = matchers_from_json(body.get("matchers"))
    starts = _time(body, "startsAt", now) if body.get("startsAt") else now
    ends = starts + _duration(body["duration"]) if body.get("duration") else _time(body, "endsAt", now)
    if ends <= starts:
        raise BadField("endsAt", "must be after startsAt")
    if ends <= now:
        raise BadField("endsAt", "must be in the future")
    author = _words(body, "createdBy") or _words(body, "author")
    return Silence(id_, matchers, starts, ends, author, _words(body, "comment"))


def matchers_from_json(given: Any) -> tuple[Matcher, ...]:
    """BadField for none, for what is no matcher, and for matchers that all of the world fulfils."""
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not given:
        raise BadField("matchers", 'give at least one, such as {"name": "service_name", "value": "api"}')
    if len(given) > SILENCE_MATCHERS_MAX:
        raise BadField("matchers", f"more than {SILENCE_MATCHERS_MAX}")
    try:
        matchers = tuple(matcher for one in given for matcher in _matchers(one))
    except BadQuery as error:
        raise BadField("matchers", str(error)) from error
    if all(matcher.matches_missing() for matcher in matchers):
        raise BadField("matchers", "at least one must not match the empty value, or this silences everything")
    return matchers


def _matchers(one: Any) -> tuple[Matcher, ...]:
    if isinstance(one, str):
        return matchers_from_text(one)
    if not isinstance(one, dict):
        raise BadField("matchers", 'each is an object with name and value, or a text such as service_name="api"')
    name, value = one.get("name"), one.get("value")
    if not isinstance(name, str) or not name or not isinstance(value, str):
        raise BadField("matchers", "each needs a name and a value, both texts")
    op = _OPS[bool(one.get("isRegex", False)), bool(one.get("isEqual", True))]
    return (Matcher(name, op, value),)


def matchers_from_text(text: str) -> tuple[Matcher, ...]:
    """`service_name="api", severity=~"warn.*"`, with or without braces and quotes; BadQuery for what is none."""
    inner = text.strip().removeprefix("{").removesuffix("}")
    name, equals, value = inner.partition("=")
    if equals and '"' not in inner and "," not in inner and not name.endswith(("!", "=")) and not value.startswith("~"):
        inner = f'{name}="{value}"'
    # One that matches something stands behind them, for without it PromQL takes no `severity!="critical"` alone.
    *matchers, _ = parse_matchers(f'{{{inner}, alertname=~".+"}}' if inner.strip() else "")
    if any(matcher.name == NAME for matcher in matchers):
        raise BadQuery("an alert has no __name__: match alertname")
    return tuple(matchers)


def _time(body: Mapping[str, Any], key: str, now: int) -> int:
    given = body.get(key)
    if isinstance(given, int | float) and not isinstance(given, bool):
        return int(given * 1000)
    if not isinstance(given, str):
        raise BadField(key, "a time is missing: RFC 3339, Unix seconds, or `duration` such as 2h")
    try:
        when = datetime.fromisoformat(given)
        return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise BadField(key, f"{given[:60]!r} is no time of RFC 3339 (now it is {_text(now)})") from error


def _duration(given: Any) -> int:
    try:
        return parse_duration(str(given))
    except ValueError as error:
        raise BadField("duration", str(error)) from error


def _words(body: Mapping[str, Any], key: str) -> str:
    given = body.get(key, "")
    if not isinstance(given, str) or len(given) > SILENCE_TEXT_CHARS_MAX:
        raise BadField(key, f"must be a text of at most {SILENCE_TEXT_CHARS_MAX} characters")
    return given


def _text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
