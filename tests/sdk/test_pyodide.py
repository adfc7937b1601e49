"""A Python Worker: the monitor in Pyodide, where no thread can start, writes to the binding of each invocation.

Cloudflare's runtime cannot start a Python Worker without its download of Pyodide, so this is plain Pyodide on Node with
a binding of our own. `scripts/pyodide` fetches it; MIRUBATO_FETCH_PYODIDE=0 skips this instead, as does a machine
without Node.
"""

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from mirubato.analytics_engine.event_points import EventPoint, current_limits, problem
from mirubato.analytics_engine.layout import default_layout
from mirubato.analytics_engine.reading import read

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
WORKER = """
from mirubato import create_monitor

def on_fetch(env, request):
    monitor = create_monitor(env, request)
    monitor.track_request(200, 12.5, {"path": "/score/{id}"})
    monitor.track_business("signup", 2)
    monitor.track("render", {"ms": 3.5, "pages": 2}, {"kind": "pdf"})
    monitor.flush()

on_fetch
"""


@pytest.fixture(scope="module")
def home() -> str:
    """Where Pyodide is."""
    look = ["--no-fetch"] if os.environ.get("MIRUBATO_FETCH_PYODIDE") == "0" else []
    found = subprocess.run([ROOT / "scripts/pyodide", *look], capture_output=True, text=True, check=False, timeout=120)
    if found.returncode == 3:
        pytest.skip(found.stderr.strip())
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_each_invocation_writes_what_it_measured(home: str) -> None:
    command: list[str | Path] = [
        "node",
        ROOT / "tests/sdk/pyodide/worker.mjs",
        home,
        sysconfig.get_paths()["purelib"],
        ROOT / "src",
    ]
    done = subprocess.run([*command, WORKER], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    invocations = json.loads(done.stdout)
    assert len(invocations) == 2
    for method, written in zip(("GET", "POST"), invocations, strict=True):
        points = [
            EventPoint(0, one["indexes"][0], tuple(one["blobs"]), tuple(map(float, one["doubles"]))) for one in written
        ]
        assert [problem(point, current_limits()) for point in points] == [None] * len(points)
        by_kind = {(point.blobs[0], point.blobs[2]): point for point in points}
        event = by_kind["render", "event"]
        assert (event.blobs[6], event.doubles[1:]) == ("ms pages", (1.0, 3.5, 2.0))
        request = read(by_kind["http.server.request.duration", "histogram"], default_layout())
        # Deltas: the second invocation has only its own.
        assert (request.count, request.attributes["http.request.method"]) == (1, method)
        assert request.resource["service.name"] == "edge"
        assert read(by_kind["business.signup", "counter"], default_layout()).value == 2
