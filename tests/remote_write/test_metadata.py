"""Types, units and help texts: apart from the series (1.0), or with each (2.0), before the samples or after."""

import pytest

from mirubato.limits import FAMILIES_MAX
from mirubato.model.labels import Family, MetricType
from mirubato.model.samples import Kind
from mirubato.model.seams import Outcome
from tests.remote_write.encoding import (
    COUNTER,
    GAUGE,
    GAUGEHISTOGRAM,
    HISTOGRAM,
    INFO,
    STATESET,
    SUMMARY,
    V1,
    V2,
    Native,
    Sent,
    series,
    told,
    v1,
)
from tests.remote_write.gate import NOW, Gate, texts

SAMPLE = (NOW, 1.0)
CLASSIC = [
    series("h_bucket", SAMPLE, le="1"),
    series("h_bucket", SAMPLE, le="+Inf"),
    series("h_sum", SAMPLE),
    series("h_count", SAMPLE),
]
QUANTILES = [series("s", SAMPLE, quantile="0.5"), series("s_sum", SAMPLE), series("s_count", SAMPLE)]
UNFIT = [
    (series("h_bucket", SAMPLE), HISTOGRAM, "h"),  # no bound
    (series("h_bucket", SAMPLE, le="x"), HISTOGRAM, "h"),
    (series("h", SAMPLE), HISTOGRAM, "h"),
    (series("h_created", SAMPLE), HISTOGRAM, "h"),
    (series("s", SAMPLE), SUMMARY, "s"),
    (series("g_h", SAMPLE), GAUGEHISTOGRAM, "g_h"),
]


def tell(gate: Gate, *metadata: bytes) -> Outcome:
    (outcome,) = gate.commit((V1, v1(metadata=metadata)))
    assert isinstance(outcome, Outcome)
    return outcome


def types(gate: Gate, *sent: Sent) -> list[MetricType]:
    return [family.type for one in sent for family in gate.families(dict(one.labels)["__name__"])]


@pytest.mark.parametrize("before", [True, False])
def test_apart_from_the_series(before: bool) -> None:
    gate = Gate()
    sent = [series("c_total", SAMPLE), series("g", SAMPLE), *CLASSIC, *QUANTILES, series("x", SAMPLE)]
    metadata = [
        told("c_total", COUNTER, "What was counted", "things"),
        told("g", GAUGE),
        told("h", HISTOGRAM, "Long", "seconds"),
        told("s", SUMMARY),
    ]
    if before:
        assert tell(gate, *metadata).rejections == []
    gate.send(V1, *sent)
    if not before:
        tell(gate, *metadata)
    assert gate.families("c_total") == {Family("c_total", MetricType.COUNTER, "things", "What was counted")}
    assert gate.families("g") == {Family("g", MetricType.GAUGE)}
    for name in ("h_bucket", "h_sum", "h_count"):
        assert gate.families(name) == {Family("h", MetricType.HISTOGRAM, "seconds", "Long")}
    for name in ("s", "s_sum", "s_count"):
        assert gate.families(name) == {Family("s", MetricType.SUMMARY)}
    assert gate.families("x") == {Family("x", MetricType.UNKNOWN)}


def test_with_each_series() -> None:
    gate = Gate()
    long = {"type": HISTOGRAM, "help": "Long", "unit": "seconds"}
    gate.send(V2, series("c_total", SAMPLE).but(type=COUNTER, help="What"), *(one.but(**long) for one in CLASSIC))
    gate.send(V2, *(one.but(type=SUMMARY) for one in QUANTILES), series("i", SAMPLE).but(type=INFO))
    gate.send(V2, series("st", SAMPLE).but(type=STATESET))
    assert gate.families("c_total") == {Family("c_total", MetricType.COUNTER, "", "What")}
    assert gate.families("h_bucket") == {Family("h", MetricType.HISTOGRAM, "seconds", "Long")}
    assert types(gate, *CLASSIC[2:], *QUANTILES) == [MetricType.HISTOGRAM] * 2 + [MetricType.SUMMARY] * 3
    assert types(gate, series("i"), series("st")) == [MetricType.GAUGE] * 2


def test_it_may_come_when_the_series_are_known() -> None:
    gate = Gate()
    gate.send(V2, *CLASSIC)
    gate.send(V2, *(one.but(type=HISTOGRAM) for one in CLASSIC))
    assert types(gate, *CLASSIC[1:]) == [MetricType.HISTOGRAM] * 3
    gate.send(V2, *(one.but(type=HISTOGRAM, help="Later") for one in CLASSIC))
    assert gate.families("h_sum") == {Family("h", MetricType.HISTOGRAM, "", "Later")}


@pytest.mark.parametrize(("one", "type_", "name"), UNFIT)
def test_a_series_that_does_not_fit_its_type_has_none(one: Sent, type_: int, name: str) -> None:
    """The exposition asks each bucket for its bound."""
    gate = Gate()
    gate.send(V2, one.but(type=type_))
    tell(gate, told(name, type_))
    assert types(gate, one) == [MetricType.UNKNOWN]


def test_openmetrics_names_counters_without_total() -> None:
    gate = Gate()
    tell(gate, told("c", COUNTER, "What"))
    gate.send(V1, series("c_total", SAMPLE))
    assert gate.families("c_total") == {Family("c_total", MetricType.COUNTER, "", "What")}


def test_native_histograms_need_no_metadata_but_take_its_help() -> None:
    gate = Gate()
    gate.send(V1, Sent([("__name__", "n")], natives=[(NOW, Native())]))
    assert gate.families("n", Kind.HISTOGRAM) == {Family("n", MetricType.HISTOGRAM)}
    tell(gate, told("n", HISTOGRAM, "Help"))
    assert gate.families("n", Kind.HISTOGRAM) == {Family("n", MetricType.HISTOGRAM, "", "Help")}
    gate.send(V2, Sent([("__name__", "n_sum")], natives=[(NOW, Native())], type=HISTOGRAM, help="Other"))
    assert gate.families("n_sum", Kind.HISTOGRAM) == {Family("n_sum", MetricType.HISTOGRAM, "", "Other")}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (told("", COUNTER), "without the name"),
        (told("x" * 4097, COUNTER), "MIRUBATO_MAX_LABEL_VALUE_BYTES"),
        (told("x", COUNTER, unit="s" * 4097), "MIRUBATO_MAX_LABEL_VALUE_BYTES"),
    ],
)
def test_what_cannot_be_kept(metadata: bytes, reason: str) -> None:
    gate = Gate()
    outcome = tell(gate, metadata, told("good", COUNTER))
    assert (outcome.accepted, outcome.rejected) == (0, 1)
    assert reason in texts(outcome)[0]
    gate.send(V1, series("good", SAMPLE))
    assert types(gate, series("good")) == [MetricType.COUNTER]


def test_a_long_help_text_is_cut() -> None:
    gate = Gate()
    tell(gate, told("c", COUNTER, "x" * 10_000))
    gate.send(V1, series("c", SAMPLE))
    (family,) = gate.families("c")
    assert len(family.help) == 4096


def test_there_is_a_bound() -> None:
    gate = Gate()
    outcome = tell(gate, *(told(f"m{number}", COUNTER) for number in range(FAMILIES_MAX + 10)))
    assert outcome.rejected == 11  # the first is nobody's
    assert str(FAMILIES_MAX) in texts(outcome)[0]
    assert tell(gate, told("m1", COUNTER, "help")).rejections == []
