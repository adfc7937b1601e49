"""What is on disk of alerts: their state, each change, groups, silences. One tick is one transaction."""

import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mirubato.alerts.outbox import Delivery, insert
from mirubato.alerts.remembered import Alert, Group, Held, Memory
from mirubato.alerts.seams import HistoryEntry
from mirubato.alerts.silences import Silence, matchers_from_json, matchers_to_json
from mirubato.alerts.step import Phase, State
from mirubato.limits import HISTORY_ENTRIES_MAX

LAST_TICK = "last_alerts_tick_ms"


@dataclass(slots=True)
class Entry:
    """What one tick, or one act of a user, puts on disk: all of it or nothing."""

    at_ms: int
    changes: list[HistoryEntry] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    """New, or as they are now."""


def write(connection: sqlite3.Connection, entry: Entry, before: Memory, after: Memory) -> None:
    """Put a tick on disk: the entry, and what differs between two memories."""
    _write_alerts(connection, before, after)
    _write_groups(connection, before, after)
    connection.executemany(
        "INSERT INTO alert_change (at_ms, alert_id, rule_id, rule_name, labels, before, after, value, annotations)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [_change_row(change) for change in entry.changes],
    )
    insert(connection, entry.deliveries)
    for silence in entry.silences:
        connection.execute(
            "INSERT OR REPLACE INTO silence (id, matchers, starts_ms, ends_ms, author, comment, announced)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                silence.id, json.dumps(matchers_to_json(silence.matchers)), silence.starts_ms, silence.ends_ms,
                silence.author, silence.comment, int(silence.announced),
            ),
        )  # fmt: skip
    connection.execute("INSERT OR REPLACE INTO remembered (name, content) VALUES (?, ?)", (LAST_TICK, str(entry.at_ms)))


def _write_alerts(connection: sqlite3.Connection, before: Memory, after: Memory) -> None:
    """Only what has another record: the value of an alert that goes on is not worth a write."""
    changed, gone = [], []
    for rule_id in before.alerts.keys() | after.alerts.keys():
        old, new = before.alerts.get(rule_id, {}), after.alerts.get(rule_id, {})
        changed += [alert for series, alert in new.items() if not _same(old.get(series), alert)]
        gone += [alert.id for series, alert in old.items() if series not in new]
    connection.executemany(
        "INSERT OR REPLACE INTO alert (id, rule_id, series, labels, phase, value, memory) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [_alert_row(alert) for alert in changed],
    )
    connection.executemany("DELETE FROM alert WHERE id = ?", [(id_,) for id_ in gone])


def _same(old: Alert | None, new: Alert) -> bool:
    if old is new:
        return True
    return old is not None and old.state == new.state and _memory(old) == _memory(new) and old.labels == new.labels


def _memory(alert: Alert) -> dict[str, Any]:
    """What has no column of its own."""
    return {
        "told_ms": alert.told_ms, "held": alert.held.value, "released": alert.released, "group": alert.group,
        "changes": list(alert.changes), "ended_ms": alert.ended_ms, "acknowledged_by": alert.acknowledged_by,
        "comment": alert.comment,
        "watched": alert.watched,
    }  # fmt: skip


def _alert_row(alert: Alert) -> tuple[Any, ...]:
    state = asdict(alert.state)
    phase = state.pop("phase").value
    memory = json.dumps(_memory(alert) | {"state": state})
    return (
        alert.id, alert.rule_id, json.dumps(alert.series), json.dumps(dict(alert.labels)), phase, _real(alert.value),
        memory,
    )  # fmt: skip


def _real(value: float) -> float | None:
    """SQLite has no NaN."""
    return None if math.isnan(value) else value


def _from_real(value: float | None) -> float:
    return math.nan if value is None else value


def _write_groups(connection: sqlite3.Connection, before: Memory, after: Memory) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO alert_group (id, content) VALUES (?, ?)",
        [
            (key, json.dumps(asdict(group)))
            for key, group in after.groups.items()
            if before.groups.get(key) is not group
        ],
    )
    gone = before.groups.keys() - after.groups.keys()
    connection.executemany("DELETE FROM alert_group WHERE id = ?", [(key,) for key in gone])


def _change_row(change: HistoryEntry) -> tuple[Any, ...]:
    return (
        change.at_ms, change.alert_id, change.rule_id, change.rule_name, json.dumps(dict(change.labels)),
        change.before, change.after, _real(change.value), json.dumps(dict(change.annotations)),
    )  # fmt: skip


def read_memory(connection: sqlite3.Connection) -> Memory:
    """What the last process knew."""
    memory = Memory()
    for row in connection.execute("SELECT * FROM alert"):
        memory.put(_alert(row))
    for row in connection.execute("SELECT id, content FROM alert_group"):
        memory.groups[row["id"]] = Group(**json.loads(row["content"]))
    return memory


def _alert(row: sqlite3.Row) -> Alert:
    told: dict[str, Any] = json.loads(row["memory"])
    state = State(phase=Phase(row["phase"]), **told.pop("state"))
    series = tuple((name, value) for name, value in json.loads(row["series"]))
    return Alert(
        row["rule_id"], series, json.loads(row["labels"]), state, _from_real(row["value"]),
        **told | {"held": Held(told["held"]), "changes": tuple(told["changes"])},
    )  # fmt: skip


def read_last_tick(connection: sqlite3.Connection) -> int:
    """When the last tick of any process was, ms; 0 where there was none."""
    row = connection.execute("SELECT content FROM remembered WHERE name = ?", (LAST_TICK,)).fetchone()
    return int(row["content"]) if row else 0


def read_silences(connection: sqlite3.Connection, since_ms: int) -> list[Silence]:
    """Those that end after a time (ms)."""
    rows = connection.execute("SELECT * FROM silence WHERE ends_ms > ? ORDER BY ends_ms DESC", (since_ms,))
    return [
        Silence(
            row["id"], matchers_from_json(json.loads(row["matchers"])), row["starts_ms"], row["ends_ms"],
            row["author"], row["comment"], bool(row["announced"]),
        )
        for row in rows
    ]  # fmt: skip


def read_history(
    connection: sqlite3.Connection, start_ms: int, end_ms: int, rule_id: str | None
) -> Sequence[HistoryEntry]:
    """Changes in a range of time, both ends included, newest first; at most HISTORY_ENTRIES_MAX."""
    of_rule = "" if rule_id is None else " AND rule_id = :rule"
    rows = connection.execute(
        f"SELECT * FROM alert_change WHERE at_ms BETWEEN :start AND :end{of_rule} ORDER BY id DESC LIMIT :most",  # noqa: S608
        {"start": start_ms, "end": end_ms, "rule": rule_id, "most": HISTORY_ENTRIES_MAX},
    )
    return [_history_entry(row) for row in rows]


def _history_entry(row: sqlite3.Row) -> HistoryEntry:
    return HistoryEntry(
        row["at_ms"], row["alert_id"], row["rule_id"], row["rule_name"], json.loads(row["labels"]),
        row["before"], row["after"], _from_real(row["value"]), json.loads(row["annotations"]),
    )  # fmt: skip


def prune(connection: sqlite3.Connection, before_ms: int) -> None:
    """Forget what is older than a time: changes, silences that ended, deliveries that are done."""
    connection.execute("DELETE FROM alert_change WHERE at_ms < ?", (before_ms,))
    connection.execute("DELETE FROM silence WHERE ends_ms < ?", (before_ms,))
    connection.execute("DELETE FROM delivery WHERE created_ms < ? AND state != 'owed'", (before_ms,))
