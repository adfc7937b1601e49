"""Prometheus' own test scripts, read where Go keeps its modules, against our engine.

They are written for a Prometheus with a feature on that is off by default (names are removed late), and for a store
that finds resets of native histograms as it writes them. So Prometheus' engine, as a server has it by default, is asked
as well: where it does not answer as the script says, we must answer as it does.
"""

from pathlib import Path

import pytest

from tests.promql import script
from tests.promql.answers import differences
from tests.promql.memory import Ours
from tests.promql.oracle import Oracle, prometheus

TOLERANCE = 1e-9

SCRIPTS = {
    # Number of evaluations, and of those in which the default Prometheus answers otherwise.
    "aggregators": (160, 0),
    "at_modifier": (71, 0),
    "collision": (2, 0),
    "duration_expression": (59, 0),
    "extended_vectors": (169, 0),
    "fill-modifier": (46, 0),
    "functions": (431, 0),
    "histograms": (185, 12),
    "info": (42, 0),
    "limit": (37, 0),
    "literals": (25, 0),
    "name_label_dropping": (30, 8),
    "native_histograms": (522, 22),
    "operators": (213, 0),
    "range_queries": (18, 1),
    "selectors": (31, 0),
    "staleness": (17, 0),
    "subquery": (34, 0),
    "trig_functions": (19, 0),
}
LEFT_OUT = {
    "start_timestamps": "start times count for rates only behind a feature flag that is off by default",
    "type_and_unit": "labels for type and unit are behind a feature flag that is off by default",
}
_ON_THE_FLY = (
    "no warning of conflicting counter resets: inside histogram_count and its kin Prometheus reads no buckets, and what"
    " does that (HistogramStatsIterator) makes up the hints that conflict; outside of them it does not warn either"
)
KNOWN = {
    ("aggregators", 481): "a message shows a byte that is no UTF-8 as U+FFFD, not as \\xc5",
    **{("native_histograms", line): _ON_THE_FLY for line in (1857, 1862, 1867, 1872, 1947, 1951, 1955)},
}
"""(script, line) -> why we answer otherwise."""


@pytest.fixture(scope="module")
def scripts() -> Path:
    return Path(prometheus("upstream")) / "promql" / "promqltest" / "testdata"


def test_no_script_is_forgotten(scripts: Path) -> None:
    assert {one.stem for one in scripts.glob("*.test")} == {*SCRIPTS, *LEFT_OUT}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name: str, scripts: Path, oracle: Oracle) -> None:
    commands = script.parse((scripts / f"{name}.test").read_text(encoding="utf-8"))
    ours, wrong, otherwise = Ours(), [], 0
    for (wanted, found), (_, not_theirs) in zip(script.run(ours, commands), script.run(oracle, commands), strict=True):
        otherwise += not_theirs is not None
        problem = _unlike(ours, oracle, wanted) if not_theirs else found or _unlike_pinned(ours, oracle, wanted)
        if (problem is None) == ((name, wanted.line) in KNOWN):
            wrong.append(f"line {wanted.line}: {wanted.question.text}\n    {problem or 'is no longer wrong'}")
    assert not wrong, f"{len(wrong)} of {SCRIPTS[name][0]}\n" + "\n".join(wrong)
    evaluations = sum(isinstance(one, script.Eval) for one in commands)
    assert (evaluations, otherwise) == SCRIPTS[name]


def _unlike(ours: Ours, oracle: Oracle, wanted: script.Eval) -> str | None:
    found = differences(ours.ask(wanted.question), oracle.ask(wanted.question), TOLERANCE)
    return "; ".join(found) or None


def _unlike_pinned(ours: Ours, oracle: Oracle, wanted: script.Eval) -> str | None:
    """With `@` everywhere, an instant query must have the same answer at any time."""
    time = wanted.question.start
    text = "" if wanted.question.step else oracle.pinned(wanted.question.text, time)
    found = [script.problem_at(ours, wanted, text, other) for other in (0, 10 * time + 1000)] if text else []
    return next((f"as {text}: {one}" for one in found if one), None)
