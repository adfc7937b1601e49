"""The same samples and the same expressions, given to our engine and to Prometheus': the same answers.

`MIRUBATO_EXAMPLES=5000` looks at that many instead of the same 300 of every run. The generators leave out where we
differ knowingly:

- `predict_linear` of a subquery with an `@` answers nothing in Prometheus 3.14.
- `ts_of_last_over_time` of subquery steps before 1970 is 0 there.
- A float and a histogram with the same labels at one time are an error here; Prometheus lets them pass.
- Which of equal elements `topk`, `bottomk` and `limitk` take depends on their order, and on the heap that they are in.
- The last digit of a sine is another in Go and in C, and so is the label that `count_values` makes of it.
- The sum of nothing but -0 is -0 here and 0 there, which only a division by it or atan2 shows.
- Which year NaN is in depends on the processor that Prometheus runs on.
"""

import os
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from mirubato.errors import BadQuery
from mirubato.promql.parser import parse
from mirubato.promql.printing import pretty, to_text
from tests.promql import grammar, queries, script
from tests.promql.answers import Answer, Question, differences
from tests.promql.memory import Ours
from tests.promql.oracle import Oracle

EXAMPLES = int(os.environ.get("MIRUBATO_EXAMPLES", "0"))
SETTINGS = settings(
    max_examples=EXAMPLES or 300,
    # Every run looks at the same examples, so that a difference in the last of many digits, which a comparison or a
    # floor makes large, fails no run by chance. Whoever asks for more gets others each time.
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
PER_DATA = 4
"""Questions about one set of data: loading it costs as much as asking one."""
TOLERANCE = 1e-9

SECONDS_MS = 1000
QUESTIONS = st.builds(
    lambda text, start, step, count, lookback: Question(
        text, start * SECONDS_MS, (start + step * count) * SECONDS_MS, step * SECONDS_MS, lookback * SECONDS_MS
    ),
    queries.expressions(),
    start=st.integers(-30, queries.LAST_S),
    step=st.sampled_from([0, 0, 15, 20, 60, 7]),
    count=st.integers(0, 12),
    lookback=st.sampled_from([300, 300, 300, 60, 16]),
)


@SETTINGS
@given(queries.data(), st.lists(QUESTIONS, min_size=PER_DATA, max_size=PER_DATA))
def test_same_answers(oracle: Oracle, data: str, questions: list[Question]) -> None:
    (load,) = script.parse(data)
    assert isinstance(load, script.Load)
    ours = Ours()
    oracle.clear()
    for engine in (ours, oracle):
        engine.load(load.stored())
    note(data)
    for question in questions:
        mine, theirs = (_without_known(engine.ask(question), question.text) for engine in (ours, oracle))
        found = differences(mine, theirs, TOLERANCE)
        if found:
            pytest.fail(f"{question}\n" + "\n".join(found))


_TYPES = re.compile(r'(?<=for binary operator )("[^"]*"): .*(?= \()')


def _without_known(answer: Answer, text: str) -> Answer:
    """Less what differs in annotations, knowingly.

    Prometheus makes up a warning inside histogram_count and its kin (see test_upstream), and of several infos on the
    types that a binary operator met at one step, it keeps the last.
    """
    warnings = [
        one
        for one in answer.warnings
        if "histogram_" not in text or "conflicting counter resets during histogram aggregation" not in one
    ]
    return replace(answer, warnings=warnings, infos=sorted({_TYPES.sub(r"\1", one) for one in answer.infos}))


INSERTED = [
    *"()[]{},=+-:#@ \n\u00e9'",
    "=~",
    "by",
    "on",
    "bool",
    "offset",
    "5m",
    "1",
    '"x"',
    "start()",
    "group_left",
    "fill",
]
EDITS = st.tuples(st.sampled_from(["keep", "insert", "delete", "cut"]), st.integers(0, 200), st.sampled_from(INSERTED))


def edited(text: str, edit: tuple[str, int, str]) -> str:
    """The text with a small mistake in it, or as it was."""
    how, at, what = edit
    at %= len(text) + 1
    match how:
        case "insert":
            return text[:at] + what + text[at:]
        case "delete":
            return text[:at] + text[at + 1 :]
        case "cut":
            return text[:at]
    return text


@SETTINGS
@given(grammar.expressions(), EDITS)
def test_same_reading(oracle: Oracle, text: str, edit: tuple[str, int, str]) -> None:
    """The same is accepted, printed alike; what is refused is refused in the same words at the same place."""
    text = edited(text, edit)
    assert reading(text) == oracle.parsed(text)


def reading(text: str) -> tuple[str, str] | str:
    """How we write the expression, on one line and over many; or why it is none."""
    try:
        expr = parse(text)
    except BadQuery as refused:
        return str(refused)
    return to_text(expr), pretty(expr)
