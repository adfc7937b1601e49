"""What is remembered of alerts and groups between ticks and restarts; records, changed by replacing them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mirubato.alerts.step import NEW, State
from mirubato.model.labels import NAME, Labels


class Held(StrEnum):
    """Why people have not been told of an alert that fires."""

    NOT = ""
    SILENCED = "silenced"
    INHIBITED = "inhibited"
    QUIET = "quiet"
    FLAPPING = "flapping"


@dataclass(frozen=True, slots=True)
class Alert:
    """One series of one rule; times in ms, 0 where there is none."""

    rule_id: str
    series: Labels
    """As the query answered them, without the metric name: with the rule, what the alert is known by."""
    labels: Mapping[str, str]
    """All that messages and matchers see: the series', the rule's, `alertname`."""
    state: State = NEW
    value: float = 0.0
    told_ms: int = 0
    """When people were told that it fires; 0 while they think that it does not."""
    held: Held = Held.NOT
    released: str = ""
    """What held it back until now, for the first message after."""
    group: str = ""
    changes: Sequence[int] = ()
    """When it began or ceased to fire, of late: what flapping is judged by."""
    ended_ms: int = 0
    """When it ceased to fire, while people have still to be told."""
    acknowledged_by: str = ""
    comment: str = ""
    watched: bool = False
    """Whether its rule misses it when it is not found (`no_data: alert`)."""

    @property
    def id(self) -> str:
        """16 hex digits of the rule and the series: the same whenever it fires, over restarts."""
        return alert_id(self.rule_id, self.series)

    @property
    def fires(self) -> bool:
        """Whether it does, or does not."""
        return self.state.phase.fires


@dataclass(frozen=True, slots=True)
class Group:
    """Alerts that share messages; from the first one that is to be told until all are told to be over."""

    key: str
    channels: Sequence[str]
    labels: Mapping[str, str]
    rule_id: str
    opened_ms: int
    last_ms: int = 0
    """When its newest message was made."""
    acknowledged: bool = False
    """Whether its newest message said so."""

    @property
    def thread(self) -> str:
        """This opening of the group: messages of one thread belong together for people."""
        return hashlib.sha256(f"{self.key} {self.opened_ms}".encode()).hexdigest()[:16]


@dataclass(slots=True)
class Memory:
    """All of it. A tick works on a copy, which takes the place of this one once it is on disk."""

    alerts: dict[str, dict[Labels, Alert]] = field(default_factory=dict)
    """Rule id -> series -> alert."""
    groups: dict[str, Group] = field(default_factory=dict)

    def copy(self) -> "Memory":
        """One that can be changed, the inner dictionaries too."""
        return Memory({rule: dict(alerts) for rule, alerts in self.alerts.items()}, dict(self.groups))

    def all(self) -> list[Alert]:
        """Every alert that is remembered."""
        return [alert for alerts in self.alerts.values() for alert in alerts.values()]

    def put(self, alert: Alert) -> None:
        """Keep the new record of an alert."""
        self.alerts.setdefault(alert.rule_id, {})[alert.series] = alert


def alert_id(rule_id: str, series: Labels) -> str:
    """See `Alert.id`."""
    text = "\x00".join([rule_id, *(f"{name}\x01{value}" for name, value in series)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def nameless(labels: Labels) -> Labels:
    """Labels without the metric name, which an alert does not have."""
    return tuple(pair for pair in labels if pair[0] != NAME)
