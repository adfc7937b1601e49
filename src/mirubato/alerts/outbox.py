"""The outbox in state.db: a message is owed to a receiver until it says yes, says no for good, or time is up."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mirubato.notify.message import Message, from_json, to_json

DIGEST = "digest/"
"""How the group of a digest begins; it speaks of alerts of many groups."""


class Done(StrEnum):
    """How a delivery can end; the words are on disk."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one receiver; times in ms."""

    receiver: str
    rule_id: str
    message: Message
    created_ms: int
    due_ms: int
    attempts: int = 0
    problem: str = ""
    """Of the last attempt."""


def insert(connection: sqlite3.Connection, deliveries: Iterable[Delivery]) -> None:
    """Owe them."""
    connection.executemany(
        "INSERT OR IGNORE INTO delivery"
        " (id, receiver, rule_id, alert_group, thread, created_ms, due_ms,"
        "  attempts, state, done_ms, problem, reference, message)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 0, 'owed', 0, '', '', ?)",
        [
            (one.message.id, one.receiver, one.rule_id, one.message.group, one.message.thread, one.created_ms,
             one.due_ms, to_json(one.message))
            for one in deliveries
        ],
    )  # fmt: skip


def owed(connection: sqlite3.Connection, receiver: str, most: int) -> Sequence[Delivery]:
    """What may be sent to a receiver now or soon, oldest first: of each group only the first, and a digest by itself.

    A resolve that overtook the page after it, or was overtaken by one, would leave the receiver with what is not true.
    """
    rows = connection.execute(
        "SELECT * FROM delivery WHERE state = 'owed' AND receiver = ? ORDER BY created_ms, rowid LIMIT ?",
        (receiver, most),
    )
    first: dict[str, sqlite3.Row] = {}
    for row in rows:
        digest = row["alert_group"].startswith(DIGEST)
        if not (digest and first):
            first.setdefault(row["alert_group"], row)
        if digest:
            break
    return [
        Delivery(
            row["receiver"], row["rule_id"], from_json(row["message"]), row["created_ms"], row["due_ms"],
            row["attempts"], row["problem"],
        )
        for row in first.values()
    ]  # fmt: skip


def receivers_owed(connection: sqlite3.Connection) -> Mapping[str, int]:
    """Receiver -> how many messages are owed to it."""
    rows = connection.execute(
        "SELECT receiver, count(*) AS number FROM delivery WHERE state = 'owed' GROUP BY receiver"
    )
    return {row["receiver"]: row["number"] for row in rows}


def reference(connection: sqlite3.Connection, receiver: str, thread: str) -> str:
    """What the newest delivery of a thread left to edit; empty if nothing."""
    row = connection.execute(
        "SELECT reference FROM delivery WHERE receiver = ? AND thread = ? AND state = 'delivered' AND reference != ''"
        " ORDER BY done_ms DESC, rowid DESC LIMIT 1",
        (receiver, thread),
    ).fetchone()
    return str(row["reference"]) if row else ""


def finish(
    connection: sqlite3.Connection, delivery: Delivery, done: Done, now: int, problem: str, left: str = ""
) -> None:
    """Record how a delivery ended; `left` is its reference."""
    connection.execute(
        "UPDATE delivery SET state = ?, done_ms = ?, problem = ?, reference = ?, attempts = attempts + 1"
        " WHERE id = ? AND receiver = ?",
        (done.value, now, problem, left, delivery.message.id, delivery.receiver),
    )


def postpone(connection: sqlite3.Connection, delivery: Delivery, due_ms: int, problem: str) -> None:
    """Record an attempt that did not come through, and when the next one is due."""
    connection.execute(
        "UPDATE delivery SET due_ms = ?, problem = ?, attempts = attempts + 1 WHERE id = ? AND receiver = ?",
        (due_ms, problem, delivery.message.id, delivery.receiver),
    )


def counts_by_rule(connection: sqlite3.Connection, start_ms: int, end_ms: int) -> Mapping[str, int]:
    """Rule id -> messages made in a time range, one to several receivers counted once."""
    rows = connection.execute(
        "SELECT rule_id, count(DISTINCT id) AS number FROM delivery WHERE created_ms BETWEEN ? AND ? GROUP BY rule_id",
        (start_ms, end_ms),
    )
    return {row["rule_id"]: row["number"] for row in rows}


def troubles(connection: sqlite3.Connection, since_ms: int) -> Mapping[str, str]:
    """Receiver -> its newest problem, of messages that are owed or were not delivered since a time."""
    rows = connection.execute(
        "SELECT receiver, problem FROM delivery"
        " WHERE problem != '' AND (state = 'owed' OR (state != 'delivered' AND done_ms >= ?)) ORDER BY created_ms",
        (since_ms,),
    )
    return {row["receiver"]: row["problem"] for row in rows}
