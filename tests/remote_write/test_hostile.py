"""Requests that nobody sends by accident."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirubato.errors import BadRequest, TooLarge
from mirubato.limits import REMOTE_WRITE_ENTRIES_MAX
from mirubato.model.seams import Outcome
from tests.remote_write.encoding import V1, V2, Native, Sent, packed, part, series, text, v1, v2, varint
from tests.remote_write.gate import ENCODERS, NOW, Gate, texts

both = pytest.mark.parametrize("version", [V1, V2])
GOOD = series("good", (NOW, 1.0))
WHOLE = [
    encode(
        GOOD.but(exemplars=[(NOW, 1.0, [("trace_id", "x")])], type=1, help="what", start=NOW - 5),
        Sent([("__name__", "h")], natives=[(NOW, Native(5.0, positive={1: 2, 9: 1}, negative={3: 1}))]),
    )
    for encode in (v1, v2)
]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Random bytes, or a request with some bytes changed or cut."""
    body = bytearray(draw(st.one_of(st.binary(max_size=40), st.sampled_from(WHOLE))))
    for at, value in draw(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=3)):
        if at < len(body):
            body[at] = value
    return bytes(body[: draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))])


@given(bodies(), st.sampled_from([V1, V2]))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_answered_and_leave_a_gate_that_works(body: bytes, version: str) -> None:
    gate = Gate(zero_samples=True)
    first, second = gate.commit((version, body), (version, ENCODERS[version](GOOD)))
    assert isinstance(first, Outcome | BadRequest)
    if isinstance(first, Outcome):
        assert first.accepted >= first.histograms >= 0
    assert isinstance(second, Outcome)
    assert second.rejections == []


@both
@pytest.mark.parametrize(
    "body", [b"\xff", b"\x0a\x05abc", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0b"]
)
def test_what_is_no_message_is_refused(version: str, body: bytes) -> None:
    assert isinstance(Gate().refused(version, body), BadRequest)


def test_the_other_version_is_not_taken_for_an_empty_request() -> None:
    for version, body in ((V1, v2(GOOD)), (V2, v1(GOOD)), (V2, part(4, b""))):
        assert "without time series" in str(Gate().refused(version, body))


@both
def test_an_empty_request_is_fine(version: str) -> None:
    assert Gate().send(version) == Outcome() if version == V1 else True
    assert Gate().commit((version, b"")) == [Outcome()]


@pytest.mark.parametrize(
    ("version", "body"),
    [
        (V1, b"\x0a\x00" * (REMOTE_WRITE_ENTRIES_MAX + 1)),
        (V2, b"\x2a\x00" * (REMOTE_WRITE_ENTRIES_MAX + 1)),
        (V1, b"\x1a\x00" * (REMOTE_WRITE_ENTRIES_MAX + 1)),
        *((V1, part(1, part(field, b"") * REMOTE_WRITE_ENTRIES_MAX)) for field in (2, 3, 4)),
        *((V2, part(5, part(field, b"") * REMOTE_WRITE_ENTRIES_MAX)) for field in (2, 3, 4)),
    ],
    ids=range(9),
)
def test_too_much_in_one_request_is_refused(version: str, body: bytes) -> None:
    began = time.process_time()
    error = Gate().refused(version, body)
    assert isinstance(error, TooLarge)
    assert str(REMOTE_WRITE_ENTRIES_MAX) in str(error)
    assert time.process_time() - began < 2


def test_a_million_spans_are_not_looked_at() -> None:
    for field in (8, 11):
        one = part(1, part(1, text(1, "__name__") + text(2, "h")) + part(4, part(field, b"\x10\x01") * 1_000_000))
        (outcome,) = Gate().commit((V1, one))
        assert isinstance(outcome, Outcome)
        assert "buckets" in texts(outcome)[0]


@both
def test_a_million_labels_are_not_looked_at(version: str) -> None:
    label = part(1, text(1, "a") + text(2, "b"))
    if version == V1:
        body = part(1, label * 1_000_000)
    else:
        body = text(4, "") + text(4, "a") + part(5, packed(1, [b"\1\1"] * 1_000_000))
    began = time.process_time()
    outcome, other = Gate().commit((version, body), (version, ENCODERS[version](GOOD)))
    assert time.process_time() - began < 2
    assert isinstance(outcome, Outcome)
    assert other == Outcome(accepted=1)
    assert texts(outcome) == ["1000000 labels, more than MIRUBATO_MAX_LABELS=64"]


@pytest.mark.parametrize(
    ("refs", "reason"),
    [
        ([1, 2, 9, 2], "beyond the symbols"),
        ([1, 2, (1 << 32) - 1, 2], "beyond the symbols"),
        ([1, 2, 3], "do not come in pairs"),
        ([0, 0], "a label without a name"),
        ([], "without a metric name"),
    ],
)
def test_references_that_lead_nowhere(refs: list[int], reason: str) -> None:
    gate = Gate()
    symbols = b"".join(text(4, symbol) for symbol in ("", "__name__", "up", "a"))
    sample = part(2, b"\x10" + varint(NOW))
    wrong = symbols + part(5, packed(1, map(varint, refs)) + sample) + part(5, packed(1, [b"\1\2"]) + sample)
    (outcome,) = gate.commit((V2, wrong))
    assert isinstance(outcome, Outcome)
    assert (outcome.accepted, outcome.rejected) == (1, 1)
    assert reason in texts(outcome)[0]


@pytest.mark.parametrize("metadata", [b"\x18\x09", b"\x20\x09", b"\x08", b"\x18\x02\x20\xff\xff\xff\xff\x0f"])
def test_metadata_that_cannot_be_read_does_not_hurt_its_samples(metadata: bytes) -> None:
    symbols = b"".join(text(4, symbol) for symbol in ("", "__name__", "up"))
    one = part(5, packed(1, [b"\1\2"]) + part(2, b"\x10" + varint(NOW)) + part(5, metadata))
    (outcome,) = Gate().commit((V2, symbols + one + one))
    assert isinstance(outcome, Outcome)
    assert (outcome.accepted, outcome.rejected) == (2, 1)
    assert "metadata that cannot be read" in texts(outcome)[0]


def test_a_bad_request_leaves_the_others_of_its_commit_alone() -> None:
    gate = Gate()
    first, bad, last = gate.commit((V1, v1(GOOD)), (V2, b"\xff"), (V2, v2(GOOD.but(samples=[(NOW + 1, 2.0)]))))
    assert isinstance(bad, BadRequest)
    assert [one.accepted for one in (first, last) if isinstance(one, Outcome)] == [1, 1]


def test_two_labels_are_not_one_that_has_their_bytes() -> None:
    gate = Gate()
    gate.send(V1, Sent([("__name__", "a"), ("b", "c")], [(NOW, 1.0)]))
    merged = part(1, text(1, "__name__") + text(2, "a") + text(1, "b") + text(2, "c"))  # protobuf: the last counts
    (outcome,) = gate.commit((V1, part(1, merged + part(2, b"\x10" + varint(NOW)))))
    assert isinstance(outcome, Outcome)
    assert (outcome.accepted, outcome.rejected) == (0, 1)
