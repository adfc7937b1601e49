"""How far retention has come: one row of samples.db, and what of it is in memory."""

import sqlite3
from dataclasses import dataclass

from mirubato.model.rollups import Borders


@dataclass(frozen=True, slots=True)
class Kept:
    """What a query must know of retention; `version` rises with each of its commits that moves samples."""

    version: int
    borders: Borders
    rows_hourly: int
    """Up to when (ms) the hours of chosen metrics are rows in state.db; their samples that come later are `late`."""
    rows_daily: int
    swept: int
    """When (ms) series without data were last looked for."""


def read_kept(connection: sqlite3.Connection) -> Kept:
    """What the file says."""
    version, raw, hourly, rows_hourly, rows_daily, swept = connection.execute(
        "SELECT version, raw, hourly, rows_hourly, rows_daily, swept FROM retention"
    ).fetchone()
    return Kept(version, Borders(raw, hourly), rows_hourly, rows_daily, swept)


def write_kept(connection: sqlite3.Connection, kept: Kept) -> None:
    """Put it into the open transaction."""
    connection.execute(
        "UPDATE retention SET version = ?, raw = ?, hourly = ?, rows_hourly = ?, rows_daily = ?, swept = ?",
        (kept.version, kept.borders.raw, kept.borders.hourly, kept.rows_hourly, kept.rows_daily, kept.swept),
    )
