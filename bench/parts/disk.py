"""Bytes on disk after an hour of data, once sealed."""

import time
from pathlib import Path

from bench.hour import load_hour
from bench.plan import SEAL_SOON, Plan, progress
from bench.processes import running
from bench.prometheus import api
from bench.tables import Section, Target

SEALED = Target(5, " B")
STABLE_S, TIMEOUT_S = 8.0, 60.0

Sizes = dict[str, int]


def sizes(data: Path) -> Sizes:
    """Bytes of each file in the data directory."""
    return {str(p.relative_to(data)): p.stat().st_size for p in sorted(data.rglob("*")) if p.is_file()}


def wait_stable(data: Path) -> Sizes:
    """The sizes once they have not changed for 8 s, or after 60 s."""
    deadline = time.monotonic() + TIMEOUT_S
    known, since = sizes(data), time.monotonic()
    while time.monotonic() < min(deadline, since + STABLE_S):
        time.sleep(0.5)
        now = sizes(data)
        if now != known:
            known, since = now, time.monotonic()
    return known


def run(plan: Plan) -> Section:
    """An hour of 10,000 series, then wait until the directory's size is stable."""
    progress("disk")
    gateway = plan.gateway.with_environment(**SEAL_SOON)
    with running(gateway, plan.fresh("disk")) as server:
        points = load_hour(plan, server)
        acknowledged = sizes(server.data)
        stable = wait_stable(server.data)
        with api(server.ports["web_port"]) as client:
            unsealed = client.unsealed_samples()
    moments = {"at the last reply": acknowledged, "once sealed": stable, "after SIGTERM": sizes(server.data)}
    return report(points, moments, unsealed)


def report(points: int, moments: dict[str, Sizes], unsealed: int) -> Section:
    """The table."""
    section = Section("disk", f"bytes a point, {points / 1e6:.1f} M points of 10,000 series every 10 s")
    table = section.table("when", "all files, B a point", "target", "without the WAL, B a point", "target ")
    for when, files in moments.items():
        main = {name: size for name, size in files.items() if not name.endswith(("-wal", "-shm"))}
        per_point = [round(sum(part.values()) / points, 2) for part in (files, main)]
        judged = SEALED if when == "once sealed" else None
        cells = [(f"{value:.2f}", section.judge(value, judged)) for value in per_point]
        table.add(when, *cells[0], *cells[1])
    large = {name: size for name, size in moments["once sealed"].items() if size > 100_000}
    names = ", ".join(f"`{name}` {size / 1e6:.1f} MB" for name, size in large.items())
    section.notes = [f"Files once sealed: {names}; {unsealed:,} samples not sealed."]
    return section
