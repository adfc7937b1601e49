"""A request with something wrong in it is refused if the official classes refuse it, and else read as they read it."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirubato.errors import BadRequest
from tests.otlp.encoding import Style, encode
from tests.otlp.gate import Gate, answer
from tests.otlp.mutations import mutated
from tests.otlp.reference import Held, Labels, Reference, Rules
from tests.otlp.requests import NOW, decoded, everything, request

RULES = Rules()
STYLES = [Style(), Style(backwards="points"), Style(backwards="everything"), Style(zeros=True)]


def body_of(turn: int, style: Style) -> bytes:
    """An export of everything in some style."""
    return encode(decoded(request(*everything(turn))), style)


class Victim:
    """A gate that knows the shapes of a request, and gets mutations of the next one, which it never commits."""

    def __init__(self, style: Style, *, shapes: bool = True) -> None:
        self._style, self._with_shapes = style, shapes
        self.next = body_of(5, style)
        self._seen = Reference(RULES)
        for turn in range(1, 5):
            self._seen.take(body_of(turn, style), NOW)
        self._warm()

    def _warm(self) -> None:
        self.gate = Gate(RULES, shapes=self._with_shapes)
        for turn in range(1, 5):
            self.gate.commit([body_of(turn, self._style)], NOW)
        self._epoch = self.gate.registry.epoch

    def check(self, body: bytes) -> bool:
        """Compare what is made of a body with the reference; whether it is a request at all."""
        if self.gate.registry.epoch != self._epoch:  # it made series, and the undo has cost all that was known
            self._warm()
        held, answers = self.gate.attempt([body], NOW, forget=False)
        reference = self._seen.branch()
        try:
            expected = reference.take(body, NOW)
        except DecodeError:
            assert isinstance(answers[0], BadRequest), answers[0]
            assert held == Held()
            return False
        assert answer(answers[0]) == expected
        assert without_info(held) == without_info(reference.held)
        return True


def without_info(held: Held) -> Held:
    """When target_info is due depends on requests that were never committed."""

    def told(labels: Labels) -> bool:
        return dict(labels)["__name__"] == "target_info"

    samples = {labels: rows for labels, rows in held.samples.items() if not told(labels)}
    return Held(samples, held.natives, sorted(held.exemplars))


@pytest.fixture(name="victims", scope="module")
def all_victims() -> list[Victim]:
    return [Victim(style, shapes=shapes) for style in STYLES for shapes in (True, False)]


# Nobody writes the flags where they are zero: that is no plain form.
@pytest.mark.parametrize(("style", "hits"), list(zip(STYLES, (2, 2, 2, 0), strict=True)))
def test_the_request_itself(style: Style, hits: int) -> None:
    victim = Victim(style)
    before = victim.gate.shapes.hits
    assert victim.check(victim.next)
    assert victim.gate.shapes.hits - before == hits


@pytest.mark.parametrize("number", [0, 1])
def test_every_truncation(victims: list[Victim], number: int) -> None:
    victim = victims[2 * number]
    whole = [size for size in range(len(victim.next)) if victim.check(victim.next[:size])]
    assert whole[0] == 0
    assert len(whole) == 2  # nothing, and the first resource alone


@pytest.mark.parametrize("flip", [0x01, 0x80])
def test_every_byte_flipped(victims: list[Victim], flip: int) -> None:
    victim = victims[0]
    for at in range(len(victim.next)):
        victim.check(victim.next[:at] + bytes([victim.next[at] ^ flip]) + victim.next[at + 1 :])


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_changes(victims: list[Victim], data: st.DataObject) -> None:
    victim = data.draw(st.sampled_from(victims))
    victim.check(data.draw(mutated(victim.next)))
