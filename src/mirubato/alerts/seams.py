"""What the halves of this room ask of each other, and what the web asks of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mirubato.alerts.rules import Group, Rule


class RuleSource(Protocol):
    """What the scheduler reads. Its answers are snapshots; it may be asked at every tick, from any thread."""

    @property
    def revision(self) -> int:
        """Rises whenever `groups` answers something new."""
        ...

    def groups(self) -> Sequence[Group]:
        """All groups, of files and of the API, in which something is enabled; only enabled rules are in them."""
        ...


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """One alert that is not inactive. Times are ms since 1970."""

    id: str
    """Of this rule and these labels: the dedup key of its messages too."""
    rule_id: str
    state: str
    """`pending`, `firing`, or `no_data`."""
    labels: Mapping[str, str]
    """All of them, `alertname` too."""
    annotations: Mapping[str, str]
    value: float
    active_since_ms: int
    """Since when its condition has held."""
    firing_since_ms: int | None = None
    keep_firing_since_ms: int | None = None
    """Since when it fires only because of `keep_firing_for`."""
    silenced_by: Sequence[str] = ()
    """Ids of the silences that hold its messages back."""
    acknowledged_by: str = ""


@dataclass(frozen=True, slots=True)
class RuleHealth:
    """How the last evaluation of a rule went."""

    last_evaluation_ms: int
    duration_s: float
    error: str = ""
    """Empty: it went well."""
    found: int = 0
    """Series that its query found."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One change of state of one alert."""

    at_ms: int
    alert_id: str
    rule_id: str
    rule_name: str
    labels: Mapping[str, str]
    before: str
    after: str
    """`pending`, `firing`, `inactive`, `no_data`."""
    value: float
    annotations: Mapping[str, str] = field(default_factory=dict)


class AlertsEngine(Protocol):
    """What became of the rules; asked in threads of the pool, so it may wait for the disk."""

    def active(self, rule_id: str | None = None) -> Sequence[ActiveAlert]:
        """All alerts that are not inactive, or those of one rule."""
        ...

    def health(self, rule_id: str) -> RuleHealth | None:
        """How the newest evaluation of an alert or recording rule went; None before the first."""
        ...

    def history(self, start_ms: int, end_ms: int, rule_id: str | None = None) -> Sequence[HistoryEntry]:
        """Changes of state in a time range, newest first, at most a few thousand."""
        ...

    def messages(self, start_ms: int, end_ms: int) -> Mapping[str, int]:
        """How many messages each rule (by id) has sent in a time range."""
        ...

    def silences(self) -> Sequence[Mapping[str, Any]]:
        """All that are not long expired, as the API's JSON has them."""
        ...

    def add_silence(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one from the API's JSON, or change the one whose `id` it names; BadField for what cannot be."""
        ...

    def expire_silence(self, silence_id: str) -> bool:
        """End it now; False if there is none."""
        ...

    def acknowledge(self, some_id: str, by: str, comment: str) -> int:
        """Acknowledge one alert, or all firing ones of one rule; how many that were."""
        ...

    def send_test(self, rule: Rule) -> Sequence[Mapping[str, Any]]:
        """Send a marked test message to each channel of a rule: `channel`, `ok`, and `error` where it failed."""
        ...
