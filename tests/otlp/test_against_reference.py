"""Whatever is sent, what Intake yields is what the reference holds, whichever way it was read."""

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings

from tests.otlp.apps import NOW, sequences
from tests.otlp.gate import Gate, answer
from tests.otlp.reference import Reference, Rules

RULES = Rules(labels=9, value_bytes=100)


def check(commits: Sequence[Sequence[bytes]], *, shapes: bool = True, layouts: bool = True) -> Gate:
    """Send everything to a gate and to the reference, and compare all they say and hold."""
    gate, reference = Gate(RULES, shapes=shapes, layouts=layouts), Reference(RULES)
    for bodies in commits:
        expected = [reference.take(body, NOW) for body in bodies]
        assert [answer(outcome) for outcome in gate.commit(bodies, NOW)] == expected
    assert gate.held.samples == reference.held.samples
    assert gate.held.natives == reference.held.natives
    assert sorted(gate.held.exemplars) == sorted(reference.held.exemplars)
    return gate


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(sequences())
def test_every_path_holds_what_the_reference_holds(commits: list[list[bytes]]) -> None:
    check(commits)
    check(commits, shapes=False)
    check(commits, shapes=False, layouts=False)
