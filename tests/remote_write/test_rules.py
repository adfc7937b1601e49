"""What is judged series by series: labels, times, starts, native histograms, exemplars, limits."""

import math

import pytest

from mirubato.admission.labels import LabelLimits
from mirubato.model.labels import STALE_NAN, labels_of
from mirubato.model.samples import Kind
from mirubato.storage.registry import SeriesLimits
from tests.remote_write.encoding import (
    COUNTER,
    GAUGE,
    SUMMARY,
    V1,
    V2,
    Native,
    Sent,
    part,
    series,
    text,
    v1,
    v2,
)
from tests.remote_write.gate import DAY, ENCODERS, NOW, Gate, bits, texts

both = pytest.mark.parametrize("version", [V1, V2])
GOOD = series("good", (NOW, 1.0))
UP = ("__name__", "up")


def labels(name: str, **others: str) -> tuple[tuple[str, str], ...]:
    return labels_of([("__name__", name), *others.items()])


@both
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([("job", "a")], "without a metric name"),
        ([("__name__", ""), ("job", "a")], "without a metric name"),
        ([], "without a metric name"),
        ([UP, ("a", "1"), ("a", "2")], "label 'a' comes more than once"),
        ([UP, UP], "label '__name__' comes more than once"),
        ([UP, ("", "x")], "a label without a name"),
        ([UP, *((f"l{number}", "x") for number in range(64))], "MIRUBATO_MAX_LABELS=64"),
        ([UP, ("n" * 513, "x")], "MIRUBATO_MAX_LABEL_NAME_BYTES=512"),
        ([UP, ("n", "x" * 4097)], "MIRUBATO_MAX_LABEL_VALUE_BYTES=4096"),
    ],
)
def test_bad_labels_cost_their_own_series_only(version: str, bad: list[tuple[str, str]], reason: str) -> None:
    gate = Gate()
    wrong = Sent(bad, [(NOW, 1.0), (NOW + 1, 2.0)], [(NOW, Native())])
    outcome = gate.send(version, wrong, GOOD, wrong)
    assert (outcome.accepted, outcome.rejected) == (1, 6)
    assert [reason in said for said in texts(outcome)] == [True]
    assert gate.held.samples.keys() == {labels("good")}
    assert len(gate.registry.series) == 1


def test_labels_that_are_no_utf8() -> None:
    gate = Gate()
    for place in (b"\x0a\x01\xff\x12\x01x", b"\x0a\x01x\x12\x01\xff", b"\x0a\x01x\x12\x03\xed\xa0\x80"):
        sample = part(2, b"\x09" + bytes(8) + b"\x10" + b"\x80\xd0\x95\xff\xbc\x31")
        wrong = part(1, part(1, text(1, "__name__") + text(2, "up")) + part(1, place) + sample)
        (outcome,) = gate.commit((V1, wrong + v1(GOOD)))
        assert texts(outcome) == ["a label that is not valid UTF-8"]  # type: ignore[arg-type]
    symbols = b"".join(part(4, symbol) for symbol in (b"", b"__name__", b"up", b"\xff"))
    wrong = symbols + part(5, part(1, b"\1\2\3\3") + part(2, b"\x09" + bytes(8)))
    (outcome,) = gate.commit((V2, wrong))
    assert texts(outcome) == ["a label that is not valid UTF-8"]  # type: ignore[arg-type]
    assert len(gate.registry.series) == 1


@both
def test_order_of_labels_does_not_matter(version: str) -> None:
    gate = Gate()
    pairs = [("z", "1"), UP, ("a", ""), ("b", "2")]
    gate.send(version, Sent(pairs, [(NOW, 1.0)]), Sent(pairs[::-1], [(NOW + 1, 2.0)]))
    assert gate.held.samples == {labels("up", b="2", z="1"): {NOW: bits(1.0), NOW + 1: bits(2.0)}}


@both
def test_times_that_are_not_taken(version: str) -> None:
    gate = Gate()
    limits = {
        NOW - 7 * DAY - 1: "older than MIRUBATO_RETENTION_RAW",
        NOW + 600_001: "further ahead of the clock than MIRUBATO_FUTURE_MAX",
        -1: "before 1970",
        -(1 << 63): "before 1970",
        (1 << 63) - 1: "further ahead of the clock than MIRUBATO_FUTURE_MAX",
    }
    for time, reason in limits.items():
        outcome = gate.send(
            version, series("up", (time, 1.0), (NOW, 2.0)), Sent([("__name__", "n")], [], [(time, Native())])
        )
        assert (outcome.accepted, outcome.histograms) == (1, 0)
        assert sum(rejection.count for rejection in outcome.rejections) == 2
        assert set(texts(outcome)) == {reason}
    edges = gate.send(version, series("edge", (NOW - 7 * DAY, 1.0), (NOW + 600_000, 2.0)))
    assert (edges.accepted, edges.rejections) == (2, [])
    assert list(gate.held.samples[labels("up")]) == [NOW]


@both
def test_out_of_order_is_taken(version: str) -> None:
    gate = Gate()
    for time in (NOW, NOW - 5000, NOW + 1000, NOW - 100_000):
        assert gate.send(version, series("up", (time, float(time)))).rejections == []
    assert sorted(gate.held.samples[labels("up")]) == [NOW - 100_000, NOW - 5000, NOW, NOW + 1000]


class TestStarts:
    def test_a_counter_gets_a_zero_where_it_began_and_only_once(self) -> None:
        gate = Gate(zero_samples=True)
        began = NOW - 10_000
        for time in (NOW, NOW + 1000, NOW + 2000):
            gate.send(V2, series("c_total", (time, 5.0)).but(start=began, type=COUNTER))
        gate.send(V2, series("c_total", (NOW + 9000, 1.0)).but(start=NOW + 5000))  # it began anew
        held = {time: bits(value) for time, value in ((began, 0.0), (NOW, 5.0), (NOW + 1000, 5.0), (NOW + 2000, 5.0))}
        assert gate.held.samples[labels("c_total")] == held | {NOW + 5000: bits(0.0), NOW + 9000: bits(1.0)}

    @pytest.mark.parametrize(
        "one",
        [
            series("g", (NOW, 5.0)).but(type=GAUGE, start=NOW - 1000),
            series("s", (NOW, 5.0), quantile="0.5").but(type=SUMMARY, start=NOW - 1000),
            series("s", (NOW, 5.0), quantile="0.5").but(start=NOW - 1000),
            series("c", (NOW, STALE_NAN)).but(type=COUNTER, start=NOW - 1000),
            series("c", (NOW, 5.0)).but(type=COUNTER, start=NOW),
            series("c", (NOW, 5.0)).but(type=COUNTER, start=NOW + 1),
            series("c", (NOW, 5.0)).but(type=COUNTER, start=-5),
            series("c", (NOW, 5.0)).but(type=COUNTER, start=NOW - 8 * DAY),
        ],
    )
    def test_others_do_not(self, one: Sent) -> None:
        gate = Gate(zero_samples=True)
        assert gate.send(V2, one).rejections == []
        (times,) = gate.held.samples.values()
        assert list(times) == [NOW]

    def test_the_setting_turns_it_off(self) -> None:
        gate = Gate(zero_samples=False)
        gate.send(V2, series("c", (NOW, 5.0)).but(start=NOW - 1000))
        assert list(gate.held.samples[labels("c")]) == [NOW]

    def test_native_histograms_too_but_no_gauges(self) -> None:
        gate = Gate(zero_samples=True)
        some = Native(2.0, 3, positive={1: 2}, zero_threshold=0.5)
        gate.send(V2, Sent([("__name__", "h")], natives=[(NOW, some)], start=NOW - 1000))
        gate.send(V2, Sent([("__name__", "g")], natives=[(NOW, Native(hint=3))], start=NOW - 1000))
        began = gate.held.natives[labels("h")][NOW - 1000]
        assert began is not None
        assert (began.count, began.sum, began.schema, began.zero_threshold) == (0, 0, 3, 0.5)
        assert list(gate.held.natives[labels("g")]) == [NOW]


class TestNatives:
    @both
    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (Native(schema=-5), "invalid schema"),
            (Native(schema=53), "invalid schema"),
            (Native(schema=-54), "invalid schema"),
            (Native(positive={1: 2}, count=1), "should equal"),
            (Native(positive={1: 2}, count=3), "should equal"),
            (Native(math.nan, positive={1: 2}, count=1), "should be at least"),
            (Native(positive={1: -2.0}, floats=True), "a bucket whose observation count is negative"),
            (Native(zero=-2.0, floats=True), "a bucket whose observation count is negative"),
            (Native(count=-2.0, floats=True), "observation count is negative"),
            (Native(positive={1: -2, 2: 3}), "a bucket whose observation count is negative"),
            (Native(schema=0, custom=[1.0]), "must not have custom bounds"),
            (Native(schema=-53, custom=[1.0, 1.0], positive={0: 1}), "strictly increasing"),
            (Native(schema=-53, custom=[1.0, math.nan]), "must not be NaN"),
            (Native(schema=-53, custom=[1.0, math.inf]), "must be finite"),
            (Native(schema=-53, custom=[1.0], positive={2: 1}), "custom bounds are too few"),
            (Native(schema=-53, custom=[1.0], positive={-1: 1, 0: 1}), "a span whose offset is negative"),
            (Native(schema=-53, custom=[1.0], negative={0: 1}), "must not have negative buckets"),
            (Native(schema=-53, custom=[1.0], zero=1), "zero count of 0"),
            (Native(schema=-53, custom=[1.0], zero_threshold=1), "zero threshold of 0"),
            (Native(positive={1 << 30: 1}), "beyond the range of float64"),
            (Native(positive={-(1 << 30): 1}), "beyond the range of float64"),
            (Native(schema=8, positive={0: 1, 30_000: 1}), "more than 20000 buckets"),
        ],
    )
    def test_wrong_ones(self, version: str, bad: Native, reason: str) -> None:
        gate = Gate()
        outcome = gate.send(version, Sent([("__name__", "h")], natives=[(NOW, bad), (NOW, Native(1.0))]), GOOD)
        assert (outcome.accepted, outcome.histograms, outcome.rejected) == (2, 1, 1)
        assert reason in texts(outcome)[0]

    @pytest.mark.parametrize(
        "spans",
        [
            part(11, b"\x08\x00\x10\x02"),  # two buckets, none given
            part(11, b"\x08\x00\x10\x01") + part(12, b"\x00\x00"),  # one bucket, two given
            part(11, b"\x08\x00\x10\x01") + part(11, b"\x08\x01\x10\x01") + part(12, b"\x00\x00"),  # back by one
            part(11, b"\x08\x00\x10\xff\xff\xff\xff\x0f") * 3,
        ],
    )
    def test_spans_that_do_not_fit(self, spans: bytes) -> None:
        message = part(4, spans + b"\x78" + b"\x80\xd0\x95\xff\xbc\x31")
        gate = Gate()
        (outcome,) = gate.commit((V1, part(1, part(1, text(1, "__name__") + text(2, "h")) + message)))
        assert "span" in texts(outcome)[0]  # type: ignore[arg-type]

    def test_finer_schemas_are_brought_to_ours(self) -> None:
        gate = Gate()
        gate.send(V2, Sent([("__name__", "h")], natives=[(NOW, Native(3.0, 10, positive={1: 1, 2: 1, 4: 1, 5: 2}))]))
        held = gate.held.natives[labels("h")][NOW]
        assert held is not None
        assert (held.schema, held.positive.offset, held.positive.counts.tolist()) == (8, 0, [3.0, 2.0])

    def test_the_bucket_of_infinity_is_taken(self) -> None:
        gate = Gate()
        assert gate.send(V2, Sent([("__name__", "h")], natives=[(NOW, Native(positive={1025: 1}))])).rejections == []
        assert gate.send(V2, Sent([("__name__", "h")], natives=[(NOW, Native(positive={1026: 1}))])).rejected == 1

    @both
    def test_a_sum_that_is_a_marker_ends_the_series(self, version: str) -> None:
        gate = Gate()
        gate.send(version, Sent([("__name__", "h")], natives=[(NOW, Native(1.0)), (NOW + 1, Native(STALE_NAN))]))
        assert gate.held.natives[labels("h")][NOW + 1] is None
        assert bool(gate.registry.state.stale[0])

    @both
    def test_a_float_marker_ends_a_series_of_histograms_only(self, version: str) -> None:
        gate = Gate()
        gate.send(version, Sent([("__name__", "h")], natives=[(NOW, Native(1.0))]))
        outcome = gate.send(version, series("h", (NOW + 1, STALE_NAN)))
        assert (outcome.accepted, outcome.rejections) == (1, [])
        assert gate.held.natives[labels("h")][NOW + 1] is None
        assert gate.held.samples == {}
        gate.send(version, series("h", (NOW + 2, 1.0)))
        gate.send(version, series("h", (NOW + 3, STALE_NAN)))
        assert gate.held.samples[labels("h")] == {NOW + 2: bits(1.0), NOW + 3: bits(STALE_NAN)}


class TestExemplars:
    @both
    def test_by_themselves_they_belong_to_the_series(self, version: str) -> None:
        gate = Gate()
        gate.send(version, GOOD, Sent([("__name__", "h")], natives=[(NOW, Native(1.0))]))
        example = [(NOW, 0.5, [("trace_id", "abc")])]
        outcome = gate.send(
            version, GOOD.but(samples=[], exemplars=example), Sent([("__name__", "h")], (), (), example)
        )
        assert (outcome.accepted, outcome.exemplars, outcome.rejections) == (0, 2, [])
        assert [one[0] for one in gate.held.exemplars] == [labels("good"), labels("h")]
        assert len(gate.registry.series) == 2

    @both
    @pytest.mark.parametrize(
        ("pairs", "reason"),
        [([("a", "1"), ("a", "2")], "more than once"), ([("", "1")], "without a name"), ([("a", "x" * 5000)], "4096")],
    )
    def test_bad_ones_do_not_hurt_their_sample(self, version: str, pairs: list[tuple[str, str]], reason: str) -> None:
        gate = Gate()
        outcome = gate.send(version, GOOD.but(exemplars=[(NOW, 1.0, pairs), (NOW, 2.0, [])]))
        assert (outcome.accepted, outcome.exemplars, outcome.rejected) == (1, 1, 1)
        assert texts(outcome)[0].startswith("exemplar left out: ")
        assert reason in texts(outcome)[0]

    @both
    def test_those_out_of_bounds_are_not_counted_as_written(self, version: str) -> None:
        gate = Gate()
        times = (NOW - 8 * DAY, NOW, NOW + DAY)
        assert gate.send(version, GOOD.but(exemplars=[(time, 1.0, []) for time in times])).exemplars == 1


@both
def test_a_series_with_nothing_in_it_is_rejected(version: str) -> None:
    outcome = Gate().send(version, GOOD, Sent([UP]))
    assert (outcome.accepted, texts(outcome)) == (1, ["TimeSeries must contain at least one sample or histogram"])


@both
def test_limits_of_series(version: str) -> None:
    gate = Gate(limits=SeriesLimits(active=2, new_per_minute=100))
    sent = [series(f"m{number}", (NOW, 1.0), (NOW + 1, 1.0)) for number in range(3)]
    for again in range(2):  # those that are there go on
        outcome = gate.send(version, *sent, Sent([("__name__", "h")], natives=[(NOW, Native())]))
        assert (outcome.accepted, outcome.rejected, outcome.histograms) == (4, 3, 0), again
        assert all("MIRUBATO_MAX_SERIES=2" in said for said in texts(outcome))


@both
def test_what_was_learned_is_forgotten_with_a_failed_commit(version: str) -> None:
    gate = Gate()
    body = ENCODERS[version](GOOD)
    gate.commit((version, body), fails=True)
    assert gate.series("good") == []
    gate.commit((version, body))
    gate.commit((version, body))
    assert len(gate.series("good")) == 1


def test_both_versions_are_the_same_series() -> None:
    gate = Gate()
    gate.commit((V1, v1(GOOD)), (V2, v2(GOOD.but(samples=[(NOW + 1, 2.0)]))))
    assert gate.held.samples == {labels("good"): {NOW: bits(1.0), NOW + 1: bits(2.0)}}
    assert len(gate.series("good", Kind.FLOAT)) == 1


@both
def test_a_small_limit_of_labels(version: str) -> None:
    gate = Gate(labels=LabelLimits(2, 512, 4096))
    assert gate.send(version, series("m", (NOW, 1.0), a="1")).rejections == []
    assert "MIRUBATO_MAX_LABELS=2" in texts(gate.send(version, series("m", (NOW, 1.0), a="1", b="2")))[0]
