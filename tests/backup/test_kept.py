"""Data directories of earlier versions, kept as they were: this version opens them, and answers what they answered.

`kept/format-N.tar.gz` is a data directory, `format-N.answers.json.gz` what the version that wrote it answered.
"""

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from mirubato.cli import main
from tests.support.gateways import Running, running

KEPT = Path(__file__).parent / "kept"
FORMATS = sorted(path.name.removesuffix(".tar.gz") for path in KEPT.glob("*.tar.gz"))
START_S, STEP_S = 1_795_000_000, 15
END_S = START_S + 200 * STEP_S
RATES = "rate(kept_requests_total[5m]) or rate(kept_hits_total[5m]) or histogram_quantile(0.9, kept_native)"
# Its samples are of 2026 and must never be too old.
FOR_EVER_MS = 50 * 365 * 86_400_000


def extracted(name: str, to: Path) -> Path:
    with tarfile.open(KEPT / f"{name}.tar.gz") as archive:
        archive.extractall(to, filter="data")
    return to / "data"


def answers(one: Running) -> dict[str, Any]:
    found = one.api("query", query='{__name__=~".+"}[2h]', time=END_S)["result"]
    return {
        "samples": sorted(found, key=lambda series: sorted(series["metric"].items())),
        "rates": one.api("query_range", query=RATES, start=START_S, end=END_S, step=60)["result"],
        "exemplars": one.api("query_exemplars", query="kept_requests_total", start=START_S - 60, end=END_S),
    }


def settings() -> dict[str, Any]:
    return {"retention_raw": FOR_EVER_MS, "seal_interval": FOR_EVER_MS}


def test_there_are_some() -> None:
    assert "format-1" in FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_it_answers_as_it_did(tmp_path: Path, name: str) -> None:
    expected = json.loads(gzip.decompress((KEPT / f"{name}.answers.json.gz").read_bytes()))
    data = extracted(name, tmp_path)
    with running(data, **settings()) as one:
        assert answers(one) == expected
        one.gateway.sealer.seal()
        assert answers(one) == expected
    with running(data, **settings()) as again:
        assert answers(again) == expected


@pytest.mark.parametrize("name", FORMATS)
def test_it_is_backed_up_and_restored_without_being_opened(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = json.loads(gzip.decompress((KEPT / f"{name}.answers.json.gz").read_bytes()))
    monkeypatch.chdir(tmp_path)
    data = extracted(name, tmp_path)
    assert main(["backup", "copy", "--data-dir", str(data)]) == 0
    assert main(["restore", "copy", "--data-dir", "new"]) == 0
    with running(tmp_path / "new", **settings()) as one:
        assert answers(one) == expected
