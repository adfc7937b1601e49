"""Whatever is sent, what Intake yields is what the reference holds, whichever way it was read."""

from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirubato.errors import BadRequest
from mirubato.model.seams import Outcome
from mirubato.otlp.rows import Rows
from tests.otlp.apps import NOW, TURNS, sequences
from tests.otlp.encoding import parts_of
from tests.otlp.gate import Gate, answer
from tests.otlp.mutations import mutated
from tests.otlp.reference import Answer, Reference, Rules
from tests.otlp.requests import everything, request

TIGHT = Rules(labels=9, value_bytes=100)


def moderately(examples: int) -> settings:
    """Settings of a property whose examples are large."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, suppress_health_check=slow)


def taken(reference: Reference, body: bytes) -> Answer | None:
    """The reference's answer; None if it is no request."""
    try:
        return reference.take(body, NOW)
    except DecodeError:
        return None


def given_back(outcome: Outcome | Exception) -> Answer | None:
    """A gate's answer in the same words."""
    return None if isinstance(outcome, BadRequest) else answer(outcome)


def check(commits: Sequence[Sequence[bytes]], rules: Rules, *, shapes: bool = True, layouts: bool = True) -> Gate:
    """Send everything to a gate and to the reference, and compare all they say and hold."""
    gate, reference = Gate(rules, shapes=shapes, layouts=layouts), Reference(rules)
    for bodies in commits:
        expected = [taken(reference, body) for body in bodies]
        assert [given_back(outcome) for outcome in gate.commit(bodies, NOW)] == expected
    assert gate.held.samples == reference.held.samples
    assert gate.held.natives == reference.held.natives
    assert sorted(gate.held.exemplars) == sorted(reference.held.exemplars)
    return gate


@moderately(120)
@given(sequences())
def test_every_path_holds_what_the_reference_holds(commits: list[list[bytes]]) -> None:
    check(commits, TIGHT)
    check(commits, TIGHT, shapes=False)
    check(commits, TIGHT, shapes=False, layouts=False)


@moderately(30)
@given(sequences(), st.booleans())
def test_without_zero_samples(commits: list[list[bytes]], shapes: bool) -> None:
    check(commits, Rules(zero_samples=False, promoted=("service.name", "a.b", "k")), shapes=shapes)


@moderately(30)
@given(sequences(known=True))
def test_shapes_are_known_from_the_third_time_on(commits: list[list[bytes]]) -> None:
    gate = check(commits, Rules())
    exports = sum(len(parts_of(body, 1)) for bodies in commits for body in bodies)
    assert gate.shapes.hits == exports * (TURNS - 2) // TURNS


@moderately(80)
@given(sequences(), st.data())
def test_changed_requests_among_others(commits: list[list[bytes]], data: st.DataObject) -> None:
    last = commits.pop()
    changed = [data.draw(mutated(body)) for body in last]
    check([*commits, changed, last], TIGHT)


def test_layouts_are_known_from_the_second_time_on(monkeypatch: pytest.MonkeyPatch) -> None:
    by_layout = 0
    add_known = Rows.add_known

    def counted(rows: Rows, layout: Any, points: Sequence[bytes], *rest: Any) -> None:
        nonlocal by_layout
        by_layout += len(points)
        add_known(rows, layout, points, *rest)

    monkeypatch.setattr(Rows, "add_known", counted)
    check([[request(*everything(turn))] for turn in range(1, 5)], Rules(), shapes=False)
    assert by_layout == 3 * 7  # numbers and histograms of the second, third and fourth export
