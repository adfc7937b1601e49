"""The command line of the benchmark."""

import argparse
import shlex
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.machine import commit, machine, today
from bench.parts import (
    alerts,
    append,
    decode,
    disk,
    event_points,
    in_app,
    ingest,
    kill,
    query,
    spans,
    start,
    visible,
    year,
)
from bench.peers import GATEWAY_COMMAND, gateway
from bench.plan import Plan, progress
from bench.tables import Section, write

PARTS: dict[str, Callable[[Plan], Section]] = {
    "decode": decode.run,
    "append": append.run,
    "ingest": ingest.run,
    "visible": visible.run,
    "query": query.run,
    "disk": disk.run,
    "kill": kill.run,
    "start": start.run,
    "alerts": alerts.run,
    "in_app": in_app.run,
    "event_points": event_points.run,
    "spans": spans.run,
    "year": year.run,
}
DESCRIPTION = "Measures the gateway against its targets; bench/README.md says how."
EPILOG = """Load goes to 127.0.0.1 only. All parts take about 27 minutes with 3 rounds, with --quick about 4.
Exit status: 0 every target was reached, 1 some were not or a part could not be measured, 2 bad usage."""


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    out = argparse.ArgumentParser(prog="scripts/bench", description=DESCRIPTION, epilog=EPILOG)
    out.formatter_class = argparse.RawDescriptionHelpFormatter
    out.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all of them")
    out.add_argument("--quick", action="store_true", help="one round, smaller sets, no gzip")
    out.add_argument("--rounds", type=int, help="how often each case is measured; medians are shown (3)")
    out.add_argument("--write", action="store_true", help="put the tables into bench/RESULTS.md")
    out.add_argument("--work", type=Path, help="where the data goes: a directory on the disk to measure")
    command = "what stands before `gateway` to start another build (this one: python -m mirubato)"
    out.add_argument("--command", default=shlex.join(GATEWAY_COMMAND), help=command)
    return out


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The parsed arguments; ends with status 2 when they are wrong."""
    form = parser()
    parsed = form.parse_args(given)
    unknown = [name for name in parsed.parts if name not in PARTS]
    if unknown:
        form.error(f"unknown part {unknown[0]!r}; there are {', '.join(PARTS)}")
    if parsed.rounds is not None and parsed.rounds < 1:
        form.error("--rounds must be at least 1")
    if parsed.work is not None and not parsed.work.is_dir():
        form.error(f"--work {parsed.work} is not a directory")
    return parsed


def provenance(plan: Plan) -> str:
    """Date, commit and machine of a section."""
    rounds = "1 round, --quick" if plan.quick else f"{plan.rounds} rounds"
    return f"{today()}, commit {commit()}, {rounds}; {machine(plan.work)}."


def measure(plan: Plan, names: Sequence[str]) -> tuple[list[tuple[str, str]], int]:
    """Run the parts and print their tables; (name, markdown) of each, and how many targets were missed."""
    done: list[tuple[str, str]] = []
    missed = 0
    for name in names:
        began = time.monotonic()
        try:
            section = PARTS[name](plan)
        except BenchError as error:
            progress(f"{name} could not be measured: {error}")
            missed += 1
            continue
        done.append((name, section.markdown(provenance(plan))))
        missed += section.missed
        print(f"\n{done[-1][1]}\n", flush=True)
        progress(f"{name} took {time.monotonic() - began:.0f} s")
    return done, missed


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status. SIGTERM ends what was started, as Ctrl-C does."""
    options = arguments(given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = [name for name in PARTS if name in options.parts] if options.parts else list(PARTS)
    rounds = options.rounds or (1 if options.quick else 3)
    with tempfile.TemporaryDirectory(prefix="mirubato-bench-", dir=options.work) as work:
        server = gateway(tuple(shlex.split(options.command)))
        sections, missed = measure(Plan(server, Path(work), rounds, options.quick), names)
    if options.write:
        write(sections, list(PARTS))
    progress("All targets were reached." if not missed else f"{missed} targets were not reached.")
    return 1 if missed else 0
