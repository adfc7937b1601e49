"""What is told to people: one message about one group of alerts, and how it travels through the outbox as JSON."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson


class Kind(StrEnum):
    """Why a message is sent."""

    ALERT = "alert"
    REPEAT = "repeat"
    """Nothing has changed, but the alerts still fire."""
    DIGEST = "digest"
    """What happened in quiet hours, told after them."""
    NOTICE = "notice"
    """About the alerting itself: a silence that is about to end."""
    TEST = "test"


class Status(StrEnum):
    """Of a message, or of one alert in it."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class AlertNote:
    """One alert as a message tells it; times in ms."""

    id: str
    """Visible in every channel, the same in every message about this firing."""
    fingerprint: str
    """Of the labels: 16 hex digits."""
    group: str
    status: Status
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    value: str
    """With its unit."""
    starts_ms: int
    ends_ms: int = 0
    """0 while it fires."""
    note: str = ""
    """What else to know: that it was silenced until now, that it flaps."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A line over the range of the message: values at even steps (None: a gap), and the threshold."""

    values: Sequence[float | None]
    threshold: float | None
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message about one group of alerts; times in ms."""

    id: str
    """The same at every attempt, so that a repeat after a crash is known as one."""
    kind: Kind
    status: Status
    group: str
    """What the deduplication key is made of: the same for as long as the group exists."""
    thread: str
    """The group and when it began to fire: what is edited in place, or answered in a thread."""
    title: str
    severity: str
    at_ms: int
    condition: str = ""
    """Such as `error_rate > 5 %`."""
    alerts: Sequence[AlertNote] = ()
    firing: int = 0
    resolved: int = 0
    """Alerts in all, which may be more than are listed."""
    group_labels: Mapping[str, str] = field(default_factory=dict)
    facts: Sequence[tuple[str, str]] = ()
    """Name and sentence: the same hour last week, what differs most, the last deploy."""
    traces: Sequence[str] = ()
    link: str = ""
    external_url: str = ""
    expires_ms: int = 0
    """When a receiver that hears nothing more may take the alerts for over."""
    chart: Chart | None = None

    @property
    def more(self) -> int:
        """Alerts that are not listed."""
        return max(0, self.firing + self.resolved - len(self.alerts))

    @property
    def dedup_key(self) -> str:
        """At most 255 characters, as PagerDuty wants it."""
        return dedup_key(self.group)

    @property
    def headline(self) -> str:
        """One line of plain text."""
        return f"{_word(self)} {self.title}"


def dedup_key(group: str) -> str:
    """What a receiver tells incidents apart by."""
    return f"mirubato-{hashlib.sha256(group.encode()).hexdigest()[:32]}"


def _word(message: Message) -> str:
    match message.kind:
        case Kind.TEST:
            return "[TEST]"
        case Kind.DIGEST:
            return "[QUIET HOURS]"
        case Kind.NOTICE:
            return "[NOTICE]"
    count = message.resolved if message.status is Status.RESOLVED else message.firing
    return f"[{message.status.upper()}:{count}]" if count > 1 else f"[{message.status.upper()}]"


def to_json(message: Message) -> str:
    """As the outbox keeps it."""
    return orjson.dumps(asdict(message)).decode()


def from_json(text: str) -> Message:
    """Back from the outbox."""
    data: dict[str, Any] = orjson.loads(text)
    chart = data.pop("chart")
    alerts = tuple(AlertNote(**one | {"status": Status(one["status"])}) for one in data.pop("alerts"))
    facts = tuple((name, text) for name, text in data.pop("facts"))
    return Message(
        **data | {"kind": Kind(data["kind"]), "status": Status(data["status"]), "traces": tuple(data["traces"])},
        alerts=alerts,
        facts=facts,
        chart=Chart(**chart) if chart else None,
    )


def rfc3339(time_ms: int) -> str:
    """`2026-11-24T18:00:00.000Z`."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec='milliseconds')[:-6]}Z"


def clock_time(time_ms: int) -> str:
    """`2026-11-24 18:00:05 UTC`, for people."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration_text(duration_ms: int) -> str:
    """`45s`, `12m`, `3h 5m`, `2d 4h`: two parts at most."""
    seconds = max(0, duration_ms) // 1000
    parts = [(seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), 3)
    shown = [f"{number}{unit}" for number, unit in parts[first : first + 2] if number]
    return " ".join(shown) or "0s"


def summary(alert: AlertNote) -> str:
    """One line about one alert: its own summary, or its labels."""
    said = alert.annotations.get("summary") or alert.annotations.get("description")
    return said or label_text(alert.labels) or alert.id


def label_text(labels: Mapping[str, str]) -> str:
    """`service_name=api, route=/x`, without what the title says already."""
    hidden = ("alertname", "severity")
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in hidden)


def common(mappings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What all of some mappings agree on."""
    if not mappings:
        return {}
    first, *others = mappings
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
