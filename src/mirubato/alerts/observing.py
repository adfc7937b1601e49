"""What one evaluation of a rule means for its alerts: each series stepped, changes noted. Pure but for the memory."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from mirubato.alerts.remembered import Alert, Held, Memory, nameless
from mirubato.alerts.rules import Measured, NoData, Rule
from mirubato.alerts.step import Clocks, Phase, Seen, Transition, step
from mirubato.alerts.telling import changes_of_late
from mirubato.errors import QueryError
from mirubato.limits import SERIES_MISSED_MS_MAX
from mirubato.model.labels import Labels

LabelsOf = Callable[[Rule, Labels, float], Mapping[str, str]]
"""The labels of an alert: those of its series and of its rule, templates run, and `alertname`."""

_NO_SERIES: Labels = ()
"""What a rule that misses data is about when it has never seen a series."""


class Change(NamedTuple):
    """An alert as it is after a transition."""

    alert: Alert
    transition: Transition


def observe(
    memory: Memory, rule: Rule, measured: Sequence[Measured], now: int, labels_of: LabelsOf, *, grace: bool
) -> list[Change]:
    """Step every series of a rule that is known or active.

    With `grace` (right after a start) a series that a rule without a condition does not find keeps its state.
    QueryError where two series are one without their metric names.
    """
    known = memory.alerts.get(rule.id, {})
    found = {nameless(one.labels): one for one in measured}
    if len(found) < len(measured):
        raise QueryError("two series have the same labels but for their metric names: aggregate, or relabel one")
    misses = rule.no_data is NoData.ALERT and rule.condition is not None
    changes = []
    for series, one in found.items():
        if one.active or series in known or misses:
            alert = known.get(series) or Alert(rule.id, series, {})
            if (alert.value, alert.watched) != (one.value, misses):
                alert = replace(alert, value=one.value, watched=misses)
            seen = Seen.ACTIVE if one.active else Seen.CLEAR
            changes += _stepped(memory, rule, alert, seen, now, labels_of)
    nothing = _nothing(rule, grace=grace)
    missing = [alert for series, alert in known.items() if series not in found]
    if misses and not found and not missing:
        missing = [Alert(rule.id, _NO_SERIES, {}, value=math.nan, watched=True)]
    for alert in missing:
        if _is_over(alert, now) or (found and not alert.series):
            gone = replace(alert, watched=False)
            changes += _stepped(memory, rule, gone, Seen.CLEAR, now, labels_of)
        else:
            changes += _stepped(memory, rule, alert, nothing, now, labels_of)
    return changes


def _nothing(rule: Rule, *, grace: bool) -> Seen:
    """What it means that a series is not found."""
    if rule.condition is None:
        return Seen.NOTHING_KEEP if grace else Seen.CLEAR
    return {NoData.KEEP: Seen.NOTHING_KEEP, NoData.OK: Seen.CLEAR, NoData.ALERT: Seen.NOTHING_ALERT}[rule.no_data]


def _is_over(alert: Alert, now: int) -> bool:
    """Nobody waits for it: it was missed for so long that it will not come back, or its rule has never missed it."""
    if alert.state.phase is Phase.INACTIVE:
        return not alert.watched
    missed = alert.state.phase is Phase.NO_DATA and bool(alert.series)
    return missed and now - alert.state.fired_ms >= SERIES_MISSED_MS_MAX


def retire(memory: Memory, rule_id: str, now: int) -> list[Change]:
    """The rule is gone or disabled: its alerts are over."""
    changes = []
    for alert in list(memory.alerts.get(rule_id, {}).values()):
        changes += _stepped(memory, None, alert, Seen.CLEAR, now, None)
    if not memory.alerts.get(rule_id):
        memory.alerts.pop(rule_id, None)
    return changes


def _stepped(
    memory: Memory, rule: Rule | None, alert: Alert, seen: Seen, now: int, labels_of: LabelsOf | None
) -> list[Change]:
    clocks = Clocks(rule.for_ms, rule.keep_firing_for_ms) if rule else Clocks()
    state, transition = step(alert.state, seen, clocks, now)
    after = alert if state is alert.state else replace(alert, state=state)
    if transition is None:
        _keep(memory, rule, after, now)
        return []
    if transition.before is Phase.INACTIVE and rule and labels_of:
        after = replace(after, labels=labels_of(rule, alert.series, alert.value))
    if transition.before.fires != transition.after.fires:
        after = replace(after, changes=(*changes_of_late(alert, now), now))
        after = after if after.fires else _ceased(after, now)
    _keep(memory, rule, after, now)
    return [Change(after, transition)]


def _ceased(alert: Alert, now: int) -> Alert:
    """Over: people are still to be told if they know that it fired, or at the end of quiet hours."""
    if alert.told_ms or alert.held is Held.QUIET:
        return replace(alert, ended_ms=now)
    return replace(alert, held=Held.NOT, released="", group="", acknowledged_by="", comment="")


def _keep(memory: Memory, rule: Rule | None, alert: Alert, now: int) -> None:
    """Remember an alert for as long as there is something to remember of it."""
    owed = alert.told_ms or alert.held is Held.QUIET
    changes = changes_of_late(alert, now)
    if alert.state.phase is not Phase.INACTIVE or owed or (alert.watched and rule is not None) or changes:
        if len(changes) != len(alert.changes):
            alert = replace(alert, changes=tuple(changes))
        memory.put(alert)
    else:
        memory.alerts.get(alert.rule_id, {}).pop(alert.series, None)
