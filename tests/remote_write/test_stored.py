"""Whatever series a request holds, in either version: what is committed is exactly them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mirubato.model.histogram import CUSTOM_SCHEMA, Histogram, ResetHint
from mirubato.model.labels import STALE_NAN_BITS, Labels, labels_of
from tests.remote_write.encoding import V1, V2, Native, Sent
from tests.remote_write.gate import NOW, Gate, bits, from_bits, sparse

NAMES = ["a", "b", "le", "job", "ünïcode", "with space"]
VALUES = st.one_of(
    st.integers(0, (1 << 64) - 1).map(from_bits),
    st.floats(),
    st.sampled_from([0.0, -0.0, from_bits(STALE_NAN_BITS), float("inf"), float("nan")]),
)
TIMES = st.integers(NOW - 86_400_000, NOW + 600_000)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
COUNTS = st.dictionaries(st.integers(-60, 60), st.integers(0, 1 << 40), max_size=6)


@st.composite
def labelled(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Labels in any order, some of them empty."""
    labels = draw(st.dictionaries(st.sampled_from(NAMES), TEXTS | st.just(""), max_size=4))
    pairs = [*labels.items(), ("__name__", draw(st.sampled_from(["up", "x:y", "ä.b", "z"])))]
    return draw(st.permutations(pairs))


@st.composite
def natives(draw: st.DrawFn) -> Native:
    """Integer and float histograms, exponential and custom."""
    floats, total = draw(st.booleans()), draw(st.floats(allow_nan=False))
    hint = draw(st.integers(0, 3))
    if draw(st.booleans()):
        bounds = sorted(draw(st.sets(st.integers(-1000, 1000), max_size=5)))
        counts = draw(st.dictionaries(st.integers(0, len(bounds)), st.integers(0, 1000)))
        return Native(total, CUSTOM_SCHEMA, positive=counts, hint=hint, custom=bounds, floats=floats)
    threshold = draw(st.floats(0, 1))
    zero, schema = draw(st.integers(0, 1 << 40)), draw(st.integers(-4, 8))
    positive, negative = (
        {key >> max(0, -schema): count for key, count in draw(COUNTS).items()} for _ in ("positive", "negative")
    )
    return Native(total, schema, zero, threshold, positive, negative, hint=hint, floats=floats)


@st.composite
def sent(draw: st.DrawFn) -> Sent:
    """A series with something in it."""
    one = Sent(
        draw(labelled()),
        draw(st.lists(st.tuples(TIMES, VALUES), max_size=3)),
        draw(st.lists(st.tuples(TIMES, natives()), max_size=2)),
        draw(st.lists(st.tuples(TIMES, VALUES, labelled()), max_size=2)),
        type=draw(st.integers(0, 7)),
        help=draw(TEXTS),
        unit=draw(st.sampled_from(["", "seconds"])),
    )
    return one if one.samples or one.natives else one.but(samples=[(NOW, 1.0)])


def expected(native: Native) -> Histogram:
    """The histogram that is meant: Prometheus' bucket i is our i - 1, but for custom ones."""
    count = native.zero + sum(sum((side or {}).values()) for side in (native.positive, native.negative))
    return Histogram(
        float(count),
        native.sum,
        float(native.zero),
        native.zero_threshold,
        native.schema,
        hint=ResetHint(native.hint),
        custom_bounds=tuple(map(float, native.custom)),
    )


def shifted(side: dict[int, float], native: Native) -> dict[int, float]:
    shift = 0 if native.schema == CUSTOM_SCHEMA else 1
    return {index - shift: count for index, count in side.items() if count}


class Meant:
    """What should be held."""

    def __init__(self) -> None:
        self.samples: dict[Labels, dict[int, int]] = {}
        self.natives: dict[Labels, dict[int, Native | None]] = {}
        self.exemplars: list[tuple[Labels, int, int, Labels]] = []

    def take(self, one: Sent) -> int:
        """One series; answers how many native histograms that makes."""
        labels = labels_of(one.labels)
        markers = 0
        for time, value in one.samples:
            if labels in self.natives and labels not in self.samples and bits(value) == STALE_NAN_BITS:
                self.natives[labels][time] = None  # all that can end here are histograms
                markers += 1
        for time, value in one.samples if markers < len(one.samples) else ():
            if not (markers and bits(value) == STALE_NAN_BITS):
                self.samples.setdefault(labels, {})[time] = bits(value)
        for time, native in one.natives:
            self.natives.setdefault(labels, {})[time] = native
        self.exemplars += [(labels, time, bits(value), labels_of(own)) for time, value, own in one.exemplars]
        return markers + len(one.natives)


@given(st.lists(st.lists(sent(), min_size=1, max_size=4), min_size=1, max_size=3), st.sampled_from([V1, V2]))
@settings(max_examples=150, deadline=None)
def test_what_is_sent_is_held(requests: list[list[Sent]], version: str) -> None:
    gate, meant = Gate(), Meant()
    for request in requests:
        outcome = gate.send(version, *request)
        histograms = sum(meant.take(one) for one in request)
        assert (outcome.rejections, outcome.histograms) == ([], histograms)
        assert outcome.accepted == sum(len(one.samples) + len(one.natives) for one in request)
        assert outcome.exemplars == sum(len(one.exemplars) for one in request)
    assert (gate.held.samples, gate.held.exemplars) == (meant.samples, meant.exemplars)
    assert gate.held.natives.keys() == meant.natives.keys()
    for labels, natives_ in meant.natives.items():
        held = gate.held.natives[labels]
        assert held.keys() == natives_.keys()
        for time, native in natives_.items():
            if native is None:
                assert held[time] is None
            else:
                check(held[time], native)


def check(found: Histogram | None, native: Native) -> None:
    """A held histogram is the one that was sent."""
    assert found is not None
    want = expected(native)
    scalars = ("count", "sum", "zero_count", "zero_threshold", "schema", "hint", "custom_bounds")
    assert [getattr(found, name) for name in scalars] == [getattr(want, name) for name in scalars]
    assert sparse(found.positive) == shifted(dict(native.positive or {}), native)
    assert sparse(found.negative) == shifted(dict(native.negative or {}), native)
