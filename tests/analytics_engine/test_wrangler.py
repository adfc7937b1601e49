"""worker/wrangler.jsonc as Cloudflare's own tool reads it. Skipped where there is no wrangler (400 MB with its Node).

`npm install wrangler node@22` in a directory, and its node_modules/.bin at the front of PATH, is enough.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

WORKER = Path(__file__).resolve().parents[2] / "worker"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("wrangler") is None, reason="no wrangler on the path"),
]


def test_the_relay_would_be_deployed_with_its_binding(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "CI": "1", "WRANGLER_SEND_METRICS": "false"}
    command = ["wrangler", "deploy", "--dry-run", "--outdir", str(tmp_path / "out")]
    done = subprocess.run(
        command, cwd=WORKER, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    (line,) = [line for line in told.splitlines() if "env.ANALYTICS" in line]
    assert "mirubato_metrics" in line
    assert "Analytics Engine Dataset" in line
    # A key that it does not know is only warned of.
    assert "Unexpected fields" not in told
    assert (tmp_path / "out" / "relay.js").is_file()
