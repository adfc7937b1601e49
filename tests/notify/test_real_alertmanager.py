"""A real Alertmanager takes our alerts, and hands them on to a webhook.

Skipped where there is none: `scripts/alertmanager` builds one, Debian's `prometheus-alertmanager` brings one.
"""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from mirubato.config import Config
from mirubato.notify.message import Kind, Message, Status
from mirubato.notify.receiver import Delivered
from tests.notify.messages import alert, message
from tests.notify.test_sending import sent
from tests.support.receiving import receiving

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 30


def binary() -> str:
    """What scripts/alertmanager has built, or the machine's own."""
    built = subprocess.run(
        [ROOT / "scripts" / "alertmanager", "--no-build"], capture_output=True, text=True, check=False
    )
    found = built.stdout.strip() or shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if not found:
        pytest.skip(f"no Alertmanager: {built.stderr.strip()}")
    return found


@contextmanager
def alertmanager(directory: Path, hook: str) -> Iterator[str]:
    """A server that sends everything to one webhook at once; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    route = {"receiver": "hook", "group_wait": "100ms", "group_interval": "100ms", "group_by": ["alertname"]}
    settings = {"route": route, "receivers": [{"name": "hook", "webhook_configs": [{"url": hook}]}]}
    (directory / "settings.yml").write_text(json.dumps(settings))  # JSON is YAML
    command = [
        binary(), f"--config.file={directory / 'settings.yml'}", f"--storage.path={directory}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield ready(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


def ready(url: str) -> str:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/-/ready").status_code == 200:
                return url
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("Alertmanager did not start")


def now(some: Message, **fields: Any) -> Message:
    """A message of this moment: Alertmanager drops what has ended long ago."""
    at = time.time_ns() // 1_000_000
    alerts = tuple(replace(one, starts_ms=at - 1000, ends_ms=one.ends_ms and at) for one in some.alerts)
    return replace(some, at_ms=at, alerts=alerts, expires_ms=at + 3_600_000, **fields)


def test_fire_and_resolve(tmp_path: Path) -> None:
    over = replace(alert(), status=Status.RESOLVED, ends_ms=1)
    with receiving() as hook, alertmanager(tmp_path, hook.url("/")) as url:
        settings = replace(Config(), alertmanager_url=url)
        assert sent(settings, "alertmanager", now(message())) == [Delivered()]
        fired = hook.next().body
        assert (fired["status"], fired["alerts"][0]["labels"]["service_name"]) == ("firing", "api")
        (active,) = httpx.get(f"{url}/api/v2/alerts").json()
        assert active["annotations"]["mirubato_id"] == alert().id
        ended = now(message(alerts=(over,), firing=0, resolved=1), status=Status.RESOLVED)
        assert sent(settings, "alertmanager", ended) == [Delivered()]
        assert hook.next().body["status"] == "resolved"
        assert sent(settings, "alertmanager", now(message(), kind=Kind.TEST)) == [Delivered()]
        assert hook.next().body["alerts"][0]["labels"]["test"] == "true"
