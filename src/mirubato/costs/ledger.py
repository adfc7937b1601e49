"""What of the costs is kept in state.db: usage by the hour, how much of each hour was seen, budgets, the journal."""

import itertools
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mirubato.costs.periods import DAY_MS, HOUR_MS
from mirubato.costs.prices import Meter
from mirubato.costs.usage import Source, Usage, summed
from mirubato.database.state import StateStore

# Thirteen months: this month of last year stays comparable.
_KEPT_MS = 400 * DAY_MS

_USES_SINCE = "costs.metric_uses_since"

_USAGE = "INSERT INTO cost_usage (hour, product, meter, script, label, source, quantity) VALUES (?, ?, ?, ?, ?, ?, ?)"
_COVERAGE = (
    "INSERT INTO cost_coverage (hour, source, dataset, seen, note) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (hour, source, dataset) DO UPDATE SET seen = excluded.seen, note = excluded.note"
)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of an hour (0 to 1) a source has seen of a dataset; `note` says why it is not all."""

    hour: int
    source: Source
    dataset: str
    seen: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A stage of a budget that was crossed (at ms), and what came of it."""

    period: str
    product: str
    stage: str
    at: int
    outcome: str
    content: str


class Ledger:
    """The tables `cost_...`. All methods block."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._versions: dict[int, int] = {}
        self._writes = itertools.count(1)

    def version(self, day: int) -> int:
        """A number that rises with each write about the day that begins at `day` (ms)."""
        return self._versions.get(day, 0)

    def _changed(self, hours: Iterable[int]) -> None:
        for day in {hour // DAY_MS * DAY_MS for hour in hours}:
            self._versions[day] = next(self._writes)

    def replace(
        self, covered: Sequence[Coverage], meters: Mapping[str, Sequence[Meter]], rows: Sequence[Usage]
    ) -> None:
        """Put the usage of some hours in place of what is there, so that an hour can be collected again.

        `meters` are those that a dataset tells of.
        """

        rows = summed(rows)
        if self._is_there(covered, meters, rows):
            return

        def write(connection: sqlite3.Connection) -> None:
            for one in covered:
                for meter in meters[one.dataset]:
                    connection.execute(
                        "DELETE FROM cost_usage WHERE hour = ? AND product = ? AND meter = ? AND source = ?",
                        (one.hour, meter.product, meter.name, one.source),
                    )
                connection.execute(_COVERAGE, (one.hour, one.source, one.dataset, one.seen, one.note))
            connection.executemany(_USAGE, [_columns(row) for row in rows])

        self._state.write(write)
        self._changed(one.hour for one in covered)

    def _is_there(
        self, covered: Sequence[Coverage], meters: Mapping[str, Sequence[Meter]], rows: Sequence[Usage]
    ) -> bool:
        """Whether nothing would change: every row that is written costs where state.db is mirrored."""
        if not covered:
            return True
        start, end = min(one.hour for one in covered), max(one.hour for one in covered) + 1
        told = {meter for some in meters.values() for meter in some}
        source = covered[0].source
        kept = [row for row in self.usage(start, end) if row.source is source and row.meter in told]
        return set(kept) == set(rows) and set(covered) <= set(self.coverage(start, end))

    def add(self, rows: Sequence[Usage]) -> None:
        """Add to what is there: for quantities that are counted here and nowhere else."""
        if not rows:
            return
        statement = (
            f"{_USAGE} ON CONFLICT (hour, product, meter, script, label, source)"
            " DO UPDATE SET quantity = quantity + excluded.quantity"
        )
        self._state.write(lambda connection: connection.executemany(statement, [_columns(row) for row in rows]))
        self._changed(row.hour for row in rows)

    def note_coverage(self, covered: Sequence[Coverage]) -> None:
        """Remember what was seen, or why it was not; usage stays as it is."""
        self._state.write(
            lambda connection: connection.executemany(
                _COVERAGE, [(one.hour, one.source, one.dataset, one.seen, one.note) for one in covered]
            )
        )
        self._changed(one.hour for one in covered)

    def usage(self, start: int, end: int) -> list[Usage]:
        """What there is of the hours from `start` to before `end` (ms), of all sources."""
        rows = self._state.read(
            lambda connection: connection.execute(
                "SELECT * FROM cost_usage WHERE hour >= ? AND hour < ?", (start, end)
            ).fetchall()
        )
        return [
            Usage(
                row["hour"],
                Meter(row["product"], row["meter"]),
                row["quantity"],
                Source(row["source"]),
                row["script"],
                row["label"],
            )
            for row in rows
        ]

    def coverage(self, start: int, end: int) -> list[Coverage]:
        """What was seen of the hours from `start` to before `end` (ms)."""
        rows = self._state.read(
            lambda connection: connection.execute(
                "SELECT * FROM cost_coverage WHERE hour >= ? AND hour < ? ORDER BY hour", (start, end)
            ).fetchall()
        )
        return [Coverage(row["hour"], Source(row["source"]), row["dataset"], row["seen"], row["note"]) for row in rows]

    def budgets(self) -> dict[str, Decimal]:
        """USD a period by product; '' is all products together."""
        rows = self._state.read(lambda connection: connection.execute("SELECT * FROM cost_budget").fetchall())
        return {row["product"]: Decimal(row["usd"]) for row in rows}

    def set_budgets(self, budgets: Mapping[str, Decimal | None], now: int) -> None:
        """Set those that are given; None takes one away."""

        def write(connection: sqlite3.Connection) -> None:
            for product, usd in budgets.items():
                connection.execute("DELETE FROM cost_budget WHERE product = ?", (product,))
                if usd is not None:
                    connection.execute("INSERT INTO cost_budget VALUES (?, ?, ?)", (product, str(usd), now))

        self._state.write(write)

    def journal(self, crossing: Crossing) -> bool:
        """Write down a crossing, or what came of it; whether it is the first time in the period."""

        def write(connection: sqlite3.Connection) -> bool:
            key = (crossing.period, crossing.product, crossing.stage)
            known = connection.execute(
                "SELECT 1 FROM cost_journal WHERE period = ? AND product = ? AND stage = ?", key
            ).fetchone()
            connection.execute(
                "INSERT INTO cost_journal VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (period, product, stage) DO UPDATE SET outcome = excluded.outcome,"
                " content = excluded.content",
                (*key, crossing.at, crossing.outcome, crossing.content),
            )
            return known is None

        return self._state.write(write)

    def crossings(self, most: int = 100) -> list[Crossing]:
        """The newest crossings, newest first."""
        rows = self._state.read(
            lambda connection: connection.execute(
                "SELECT * FROM cost_journal ORDER BY at DESC LIMIT ?", (most,)
            ).fetchall()
        )
        return [
            Crossing(row["period"], row["product"], row["stage"], row["at"], row["outcome"], row["content"])
            for row in rows
        ]

    def metric_uses(self) -> dict[str, int]:
        """When (ms) each metric was last asked for."""
        rows = self._state.read(lambda connection: connection.execute("SELECT * FROM cost_metric_use").fetchall())
        return {row["metric"]: row["at"] for row in rows}

    def note_metric_uses(self, uses: Mapping[str, int]) -> None:
        """Keep when (ms) metrics were asked for."""
        statement = "INSERT INTO cost_metric_use VALUES (?, ?) ON CONFLICT (metric) DO UPDATE SET at = excluded.at"
        self._state.write(lambda connection: connection.executemany(statement, list(uses.items())))

    def uses_known_since(self, now: int) -> int:
        """When (ms) it began to be remembered what metrics are asked for: now, if it has not yet."""

        def write(connection: sqlite3.Connection) -> int:
            connection.execute(
                "INSERT INTO remembered VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (_USES_SINCE, str(now))
            )
            (content,) = connection.execute("SELECT content FROM remembered WHERE name = ?", (_USES_SINCE,)).fetchone()
            return int(content)

        return self._state.write(write)

    def forget(self, now: int) -> None:
        """Let go of what is too old."""

        def write(connection: sqlite3.Connection) -> None:
            for table in ("cost_usage", "cost_coverage"):
                connection.execute(f"DELETE FROM {table} WHERE hour < ?", (now - _KEPT_MS,))  # noqa: S608
            connection.execute("DELETE FROM cost_metric_use WHERE at < ?", (now - _KEPT_MS,))

        self._state.write(write)


def _columns(row: Usage) -> tuple[int, str, str, str, str, str, float]:
    return row.hour, row.meter.product, row.meter.name, row.script, row.label, row.source, row.quantity


def hour_of(time_ms: int) -> int:
    """The beginning of the hour that a time is in."""
    return time_ms // HOUR_MS * HOUR_MS
