"""Who is told what: of the alerts that changed, what is held back, and what goes into which group's message. Pure.

An alert is *owed* when it fires and people think that it does not, or the other way round. What is owed and not held
goes into the message of its group, at once or after `group_wait`; from then on people think what is true.

| held back   | when it fires                                    | when it ceases to fire                |
|-------------|--------------------------------------------------|---------------------------------------|
| silenced    | until the silence ends                           | told, if its firing was               |
| inhibited   | while an alert of a higher severity fires        | told, if its firing was               |
| quiet       | until the window ends, then it is in the digest  | told if its firing was, else digest   |
| flapping    | until it has not changed for FLAP_STABLE_MS      | the same                              |

It flaps from the fourth change within FLAP_WINDOW_MS on.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mirubato.alerts.inhibition import Firing, inhibited
from mirubato.alerts.outbox import DIGEST
from mirubato.alerts.quiet import QuietWindow, quiet
from mirubato.alerts.remembered import Alert, Group, Held, Memory
from mirubato.alerts.rules import Rule
from mirubato.alerts.silences import Silence
from mirubato.limits import FLAP_CHANGES_MAX, FLAP_STABLE_MS, FLAP_WINDOW_MS, NEW_GROUPS_PER_TICK_MAX
from mirubato.notify.message import Kind, Status


@dataclass(frozen=True, slots=True)
class Habits:
    """The settings of telling; ms."""

    group_wait_ms: int = 0
    repeat_interval_ms: int = 4 * 3_600_000
    group_by: Sequence[str] = ("alertname", "service_name")
    inhibit_by_severity: bool = True
    windows: Sequence[QuietWindow] = ()


@dataclass(frozen=True, slots=True)
class Owed:
    """One message that is to be sent: about a group, or, as a digest, about alerts of several."""

    kind: Kind
    status: Status
    group: Group
    alerts: Sequence[Alert]
    """Those that fire and then those that have ceased to."""


@dataclass(slots=True)
class _Turn:
    """One tick's work on a memory that may be changed."""

    memory: Memory
    rules: Mapping[str, Rule]
    silences: Sequence[Silence]
    habits: Habits
    channels: Callable[[Rule | None], Sequence[str]]
    now: int
    told: dict[str, list[Alert]] = field(default_factory=lambda: defaultdict(list))
    """Group key -> what fires and was told before."""
    ready: dict[str, list[Alert]] = field(default_factory=lambda: defaultdict(list))
    """Group key -> what is owed and not held."""
    digest: list[Alert] = field(default_factory=list)
    groups_made: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def tell(
    memory: Memory,
    rules: Mapping[str, Rule],
    silences: Sequence[Silence],
    habits: Habits,
    channels: Callable[[Rule | None], Sequence[str]],
    now: int,
) -> list[Owed]:
    """What is to be sent now; `memory` is changed as if it had been."""
    turn = _Turn(memory, rules, silences, habits, channels, now)
    kept_down = inhibited(_firing(turn)) if habits.inhibit_by_severity else frozenset[str]()
    for alert in memory.all():
        if alert.fires and alert.told_ms:
            turn.told[alert.group].append(alert)
        _sort(turn, alert, kept_down)
    owed = [_grouped(turn, key) for key in list(turn.ready) if _is_due(turn, memory.groups[key])]
    owed += _digests(turn)
    owed += _repeats(turn, kept_down)
    _forget(turn)
    return owed


def _firing(turn: _Turn) -> list[Firing]:
    return [
        Firing(alert.id, alert.labels.get("severity", ""), _subject(turn, alert))
        for alert in turn.memory.all()
        if alert.fires
    ]


def _subject(turn: _Turn, alert: Alert) -> tuple[object, ...]:
    """What an alert is about: the metric or the name, and the labels that its rule did not add."""
    rule = turn.rules.get(alert.rule_id)
    what = (rule.metric or rule.name) if rule else alert.labels.get("alertname", "")
    return what, tuple(pair for pair in alert.series if pair[0] != "severity")


def _sort(turn: _Turn, alert: Alert, kept_down: frozenset[str]) -> None:
    """Whether one alert is owed, held, or released into the digest."""
    if alert.fires == bool(alert.told_ms):
        _settle(turn, alert)
        return
    held = _why_held(turn, alert, kept_down)
    if held is not alert.held:
        alert = replace(alert, held=held, released=alert.released if held else alert.held.value)
        turn.memory.put(alert)
    if held:
        return
    if alert.fires and alert.released == Held.QUIET:
        turn.digest.append(alert)
        return
    alert = _with_group(turn, alert)
    turn.ready[alert.group].append(alert)


def _settle(turn: _Turn, alert: Alert) -> None:
    """People think what is true; but what came and went in quiet hours waits for their end."""
    if alert.held is Held.QUIET and not alert.fires:
        if not quiet(turn.habits.windows, alert.labels, turn.now):
            turn.digest.append(alert)
    elif alert.held:
        turn.memory.put(replace(alert, held=Held.NOT, released=""))


def _why_held(turn: _Turn, alert: Alert, kept_down: frozenset[str]) -> Held:
    if damped(alert, turn.now):
        return Held.FLAPPING
    if not alert.fires:
        return Held.NOT
    if any(silence.holds(alert.labels, turn.now) for silence in turn.silences):
        return Held.SILENCED
    if alert.id in kept_down:
        return Held.INHIBITED
    return Held.QUIET if quiet(turn.habits.windows, alert.labels, turn.now) else Held.NOT


def changes_of_late(alert: Alert, now: int) -> Sequence[int]:
    """The times within FLAP_WINDOW_MS."""
    return [at for at in alert.changes if at > now - FLAP_WINDOW_MS]


def damped(alert: Alert, now: int) -> bool:
    """Whether it has changed so often that people are told only once it keeps still."""
    changes = changes_of_late(alert, now)
    return len(changes) > FLAP_CHANGES_MAX and now - changes[-1] < FLAP_STABLE_MS


def _with_group(turn: _Turn, alert: Alert) -> Alert:
    """The alert in its group, which is made if it is new. An alert that was told stays where it was told."""
    if alert.group in turn.memory.groups:
        return alert
    rule = turn.rules.get(alert.rule_id)
    key, labels = group_key(alert, turn.habits.group_by)
    if key not in turn.memory.groups:
        turn.groups_made[alert.rule_id] += 1
        if turn.groups_made[alert.rule_id] > NEW_GROUPS_PER_TICK_MAX:  # a flood is one message
            key, labels = group_key(alert, ("alertname",))
    if key not in turn.memory.groups:
        turn.memory.groups[key] = Group(key, tuple(turn.channels(rule)), labels, alert.rule_id, turn.now)
    alert = replace(alert, group=key)
    turn.memory.put(alert)
    return alert


def group_key(alert: Alert, group_by: Sequence[str]) -> tuple[str, Mapping[str, str]]:
    """The key and labels of an alert's group; by `alertname` means by rule, as two rules may share a name."""
    labels = {name: alert.labels[name] for name in group_by if alert.labels.get(name)}
    rule = [alert.rule_id] if "alertname" in group_by else []
    return "/".join([*rule, *(f"{name}={value}" for name, value in sorted(labels.items()))]) or "all", labels


def _is_due(turn: _Turn, group: Group) -> bool:
    """A new group waits for more of its alerts; one that has spoken does not."""
    return bool(group.last_ms) or turn.now >= group.opened_ms + turn.habits.group_wait_ms


def _grouped(turn: _Turn, key: str) -> Owed:
    """The message of a group in which something has changed; everyone in it is told now."""
    group = turn.memory.groups[key]
    ready = {alert.id: alert for alert in turn.ready[key]}
    firing = [alert for alert in [*ready.values(), *turn.told[key]] if alert.fires]
    over = [alert for alert in ready.values() if not alert.fires]
    for alert in ready.values():
        _mark_told(turn, alert)
    turn.memory.groups[key] = replace(group, last_ms=turn.now, acknowledged=False)
    status = Status.FIRING if firing else Status.RESOLVED
    return Owed(Kind.ALERT, status, group, [*firing, *over])


def _mark_told(turn: _Turn, alert: Alert) -> None:
    if alert.fires:
        turn.memory.put(replace(alert, told_ms=turn.now, held=Held.NOT, released=""))
    else:
        turn.memory.put(
            replace(alert, told_ms=0, held=Held.NOT, released="", ended_ms=0, acknowledged_by="", comment="")
        )


def _digests(turn: _Turn) -> list[Owed]:
    """One message for each set of channels: what fired in quiet hours, and what still does."""
    by_channels: dict[Sequence[str], list[Alert]] = defaultdict(list)
    for alert in turn.digest:
        held = _with_group(turn, alert) if alert.fires else alert
        by_channels[tuple(turn.channels(turn.rules.get(alert.rule_id)))].append(held)
        _mark_told(turn, held)
        if alert.fires:
            turn.memory.groups[held.group] = replace(turn.memory.groups[held.group], last_ms=turn.now)
    return [_digest(turn, channels, alerts) for channels, alerts in by_channels.items()]


def _digest(turn: _Turn, channels: Sequence[str], alerts: Sequence[Alert]) -> Owed:
    firing = [alert for alert in alerts if alert.fires]
    over = [alert for alert in alerts if not alert.fires]
    group = Group(f"{DIGEST}{','.join(channels)}", channels, {}, alerts[0].rule_id, turn.now)
    return Owed(Kind.DIGEST, Status.FIRING if firing else Status.RESOLVED, group, [*firing, *over])


def _repeats(turn: _Turn, kept_down: frozenset[str]) -> list[Owed]:
    """Groups not heard of for `repeat_interval`, unless all that fires in them is acknowledged or held."""
    late = [group for group in turn.memory.groups.values() if _is_late(turn, group)]
    owed = []
    for group in late:
        firing = [
            alert
            for alert in turn.told[group.key]
            if not alert.acknowledged_by and not _why_held(turn, alert, kept_down)
        ]
        if firing:
            owed.append(Owed(Kind.REPEAT, Status.FIRING, group, firing))
            turn.memory.groups[group.key] = replace(group, last_ms=turn.now)
    return owed


def _is_late(turn: _Turn, group: Group) -> bool:
    return bool(group.last_ms) and turn.now - group.last_ms >= turn.habits.repeat_interval_ms


def _forget(turn: _Turn) -> None:
    """Groups in which nothing is told to fire any more, and nothing waits to be told."""
    used = {alert.group for alert in turn.memory.all() if alert.told_ms or alert.fires}
    for key in [key for key in turn.memory.groups if key not in used]:
        del turn.memory.groups[key]


def acknowledged(memory: Memory, some_id: str, by: str, comment: str, now: int) -> tuple[int, list[Owed]]:
    """Acknowledge one alert, or all of a rule, that fire: how many, and what their groups' channels are told."""
    chosen = [alert for alert in memory.all() if alert.fires and some_id in (alert.id, alert.rule_id)]
    for alert in chosen:
        memory.put(replace(alert, acknowledged_by=by, comment=comment))
    owed = []
    for key in {alert.group for alert in chosen if alert.told_ms and alert.group in memory.groups}:
        firing = [alert for alert in memory.all() if alert.group == key and alert.told_ms and alert.fires]
        if all(alert.acknowledged_by for alert in firing):
            memory.groups[key] = replace(memory.groups[key], last_ms=now, acknowledged=True)
            owed.append(Owed(Kind.ALERT, Status.ACKNOWLEDGED, memory.groups[key], firing))
    return len(chosen), owed
