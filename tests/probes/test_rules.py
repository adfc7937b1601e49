"""The alert rules for probes: a rule file that the gateway takes, and each fires when it should."""

from pathlib import Path

import pytest

from mirubato.cli import main

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize(
    "arguments",
    [("check", HERE.parents[1] / "deploy" / "rules" / "probes.yaml"), ("test", HERE / "probe-rules.yaml")],
    ids=["check", "test"],
)
def test_rules(arguments: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", *map(str, arguments)]) == 0, capsys.readouterr()
