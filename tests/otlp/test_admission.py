"""The rules at their edges: time bounds, totals of differences, the zeros that begin streams, exact counts."""

import math
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from mirubato.model.labels import STALE_NAN_BITS
from mirubato.model.seams import Outcome
from tests.otlp.gate import Gate, answer, texts
from tests.otlp.reference import Answer, Rules, bits
from tests.otlp.requests import (
    DELTA,
    NOW,
    NS,
    START,
    counter,
    entry,
    exponential,
    gauge,
    histogram,
    labelled,
    point,
    request,
    summary,
)

RULES = Rules()
OLDEST, NEWEST = NOW - RULES.retention, NOW + RULES.future


_NUMBERS = {bits(float(number)): float(number) for number in range(-50, 200)}


def held(gate: Gate, name: str, attributes: dict[str, str] | None = None) -> dict[int, float]:
    """The samples of a series of the shop by time; the numbers are small and whole."""
    rows = gate.held.samples.get(labelled(name, attributes), {})
    return {time: _NUMBERS[value] for time, value in rows.items()}


def commit(gate: Gate, *metrics: Metric) -> Answer:
    """One request in a commit of its own."""
    (outcome,) = gate.commit([request(entry(*metrics))], NOW)
    return answer(outcome)


def said(gate: Gate, *metrics: Metric) -> str:
    """What is said about one request."""
    (outcome,) = gate.commit([request(entry(*metrics))], NOW)
    return "; ".join(texts(outcome))


# --- time bounds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time_ns", "code"),
    [
        (OLDEST * NS - 1, "too_old"),
        (OLDEST * NS, None),
        (NOW * NS, None),
        (NEWEST * NS, None),
        (NEWEST * NS + NS - 1, None),
        (NEWEST * NS + NS, "too_far_ahead"),
        (0, "too_old"),
        (2**64 - 1, "too_far_ahead"),
    ],
)
@pytest.mark.parametrize("kind", [gauge, counter, histogram, summary, exponential])
def test_time_bounds(kind: Any, time_ns: int, code: str | None) -> None:
    one = point(count=1) if kind in (histogram, summary, exponential) else point(as_int=1)
    one["time_unix_nano"] = time_ns
    gate = Gate(Rules(zero_samples=False))
    got = commit(gate, kind("x", one))
    assert (got.accepted, got.rejected) == ((0, {code: 1}) if code else (1, {}))
    times: set[int] = set()
    for rows in gate.held.samples.values():
        times |= rows.keys()
    for ends in gate.held.natives.values():
        times |= ends.keys()
    assert times == (set() if code else {time_ns // NS})


def test_reasons_name_the_setting() -> None:
    gate = Gate(RULES)
    assert said(gate, gauge("x", point(as_int=1, time=OLDEST - 1))) == "older than MIRUBATO_RETENTION_RAW"
    assert "MIRUBATO_FUTURE_MAX" in said(gate, gauge("x", point(as_int=1, time=NEWEST + 1)))


@pytest.mark.parametrize(("time", "kept"), [(OLDEST - 1, 0), (OLDEST, 1), (NEWEST, 1), (NEWEST + 1, 0), (0, 0)])
def test_exemplars_have_the_same_bounds(time: int, kept: int) -> None:
    gate = Gate(RULES)
    exemplar = {"as_int": 5, "time_unix_nano": time * NS}
    assert commit(gate, gauge("x", point(as_int=1, exemplars=[exemplar]))) == Answer(1)
    assert len(gate.held.exemplars) == kept


@pytest.mark.parametrize(
    ("value", "le"),
    [(0.5, "1"), (1.0, "1"), (1.5, "2"), (2.0, "2"), (9.0, "+Inf"), (math.inf, "+Inf"), (-1.0, "1"), (math.nan, "1")],
)
def test_exemplars_belong_to_the_bucket_of_their_value(value: float, le: str) -> None:
    gate = Gate(RULES)
    exemplar = {"as_double": value, "time_unix_nano": NOW * NS}
    one = point(bucket_counts=[1, 1, 1], explicit_bounds=[1.0, 2.0], count=3, exemplars=[exemplar])
    commit(gate, histogram("h", one))
    assert [labels for labels, *_ in gate.held.exemplars] == [labelled("h_bucket", {"le": le})]


# --- exact counts ----------------------------------------------------------------------------------------------------


def test_requests_of_one_commit_are_counted_apart() -> None:
    old: dict[str, Any] = {"time": OLDEST - 1}
    new: dict[str, Any] = {"time": NOW}
    buckets: dict[str, Any] = {"bucket_counts": [1, 1, 1], "explicit_bounds": [1.0, 2.0], "count": 3, "sum": 2.0}
    bodies = [
        request(entry(gauge("x", point({"n": "1"}, as_int=1, **old), point({"n": "2"}, as_int=2, **new)))),
        request(entry(histogram("h", point(**buckets, **new), point({"n": "3"}, **buckets, **old)))),
        b"",
        request(entry(counter("d", point(as_int=-1), temporality=DELTA), gauge("y", point(as_int=1), point()))),
        request(entry(exponential("e", point(count=1, **old), point({"n": "5"}, count=1, time=NEWEST + 1)))),
        request(entry(gauge("x", point(as_int=1, **old)), gauge("", point(as_int=1), point(as_int=2)))),
    ]
    outcomes = [answer(outcome) for outcome in Gate(RULES).commit(bodies, NOW)]
    assert [(one.accepted, dict(one.rejected)) for one in outcomes] == [
        (1, {"too_old": 1}),
        (1, {"too_old": 1}),
        (0, {}),
        (1, {"invalid": 2}),
        (0, {"too_old": 1, "too_far_ahead": 1}),
        (0, {"too_old": 1, "invalid": 2}),
    ]


def test_of_two_samples_of_one_time_the_later_stands() -> None:
    gate = Gate(RULES)
    twice = request(entry(gauge("x", point(as_int=1), point(as_double=2.0)), gauge("x", point(as_int=3))))
    gate.commit([twice, twice, twice, twice], NOW)
    assert held(gate, "x") == {NOW: 3.0}
    gate.commit([twice], NOW)
    assert gate.shapes.hits == 0  # the order within a shape is not that of arrival


@pytest.mark.parametrize("last", [True, False])
def test_order_counts_among_resources_too(last: bool) -> None:
    nobody: dict[str, str] = {}
    plain = entry(gauge("x", point(as_int=1)), resource=nobody)
    more = entry(gauge("x", point(as_int=2, exemplars=[{}])), resource=nobody)  # never of a known shape
    gate = Gate(RULES)
    for _ in range(3):
        gate.commit([request(plain)], NOW)
    gate.commit([request(more, plain) if last else request(plain, more)], NOW)
    assert gate.shapes.hits == 2
    assert gate.held.samples[(("__name__", "x"),)] == {NOW: bits(1 if last else 2)}


# --- where streams begin ---------------------------------------------------------------------------------------------

Export = tuple[int, int, int]
"""(start, time, value); times before NOW in ms."""


@pytest.mark.parametrize(
    ("exports", "zeros"),
    [
        ([(100, 50, 1)], [100]),
        ([(100, 50, 1), (100, 40, 2)], [100]),
        ([(50, 50, 1)], []),
        ([(50, 50, 1), (50, 40, 2)], []),
        ([(40, 50, 1)], []),
        ([(NOW, 50, 1)], []),
        ([(RULES.retention + 1, 50, 1)], []),
        ([(RULES.retention, 50, 1)], [RULES.retention]),
        ([(100, 50, 1), (45, 40, 1)], [100, 45]),
        ([(100, 50, 1), (50, 40, 1)], [100]),
        ([(100, 50, 1), (60, 40, 1)], [100]),
        ([(100, 50, 1), (45, 40, 1), (100, 30, 9)], [100, 45]),
        ([(100, 50, 1), (45, 40, 1), (35, 30, 1)], [100, 45, 35]),
        ([(NOW, 50, 1), (45, 40, 2)], [45]),
        ([(60, 50, 1), (100, 80, 1)], [60]),
        ([(40, 50, 1), (40, 30, 2)], []),  # it began after its first sample, or says so
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_zeros_of_counters(exports: list[Export], zeros: list[int], together: bool) -> None:
    gate = Gate(RULES)
    bodies = [
        request(counter("x", point(as_int=value, time=NOW - time, start=NOW - start))) for start, time, value in exports
    ]
    for bodies_ in [bodies] if together else [[body] for body in bodies]:
        assert [answer(outcome) for outcome in gate.commit(bodies_, NOW)] == [Answer(1)] * len(bodies_)
    expected = {NOW - zero: 0.0 for zero in zeros} | {NOW - time: float(value) for _, time, value in exports}
    assert held(gate, "x_total") == expected


def test_a_start_that_is_the_time_adds_no_row() -> None:
    gate = Gate(RULES)
    gate.registry.begin(NOW)
    batch, _ = gate.intake.prepare([request(counter("x", point(as_int=1, start=NOW)), resource={})], NOW)
    assert len(batch) == 1


def test_zeros_only_where_something_counts_up() -> None:
    gate = Gate(RULES)
    commit(gate, gauge("g", point(as_int=1)), counter("u", point(as_int=1), monotonic=False))
    assert held(gate, "g") == held(gate, "u") == {NOW: 1.0}


def test_zeros_of_histograms_and_summaries() -> None:
    gate = Gate(RULES)
    quantiles = [{"quantile": 0.5, "value": 7.0}]
    commit(
        gate,
        histogram("h", point(bucket_counts=[1, 2], explicit_bounds=[1.0], count=3, sum=4.0)),
        summary("s", point(count=3, sum=4.0, quantile_values=quantiles)),
        exponential("e", point(scale=3, zero_threshold=0.5, count=2, positive={"bucket_counts": [2]})),
    )
    assert held(gate, "h_bucket", {"le": "1"}) == {START: 0.0, NOW: 1.0}
    assert held(gate, "h_bucket", {"le": "+Inf"}) == held(gate, "h_count") == {START: 0.0, NOW: 3.0}
    assert held(gate, "s_count") == {START: 0.0, NOW: 3.0}
    assert held(gate, "h_sum") == held(gate, "s_sum") == {START: 0.0, NOW: 4.0}
    assert held(gate, "s", {"quantile": "0.5"}) == {NOW: 7.0}
    zero = gate.held.natives[labelled("e")][START]
    assert zero is not None
    assert (zero.count, zero.schema, zero.zero_threshold, zero.positive) == (0.0, 3, 0.5, {})


def test_no_zeros_where_the_setting_says_so() -> None:
    gate = Gate(Rules(zero_samples=False))
    commit(gate, counter("x", point(as_int=1)), exponential("e", point(count=1)))
    assert held(gate, "x_total") == {NOW: 1.0}
    assert list(gate.held.natives[labelled("e")]) == [NOW]


def test_a_refused_first_delta_begins_nothing() -> None:
    gate = Gate(RULES)
    commit(gate, counter("x", point(as_int=-1), temporality=DELTA))
    assert held(gate, "x_total") == {}


# --- differences -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exports", "codes", "totals"),
    [
        ([(90, 80, 1), (80, 70, 2), (70, 60, 3)], "...", {90: 0, 80: 1, 70: 3, 60: 6}),
        ([(90, 80, 1), (60, 50, 2)], "..", {90: 0, 80: 1, 50: 3}),  # a gap adds on
        ([(90, 80, 1), (85, 70, 2)], "..", {90: 0, 80: 1, 70: 3}),  # so does an overlap
        ([(90, 80, 1), (90, 80, 1)], "..", {90: 0, 80: 1}),
        ([(90, 80, 1), (80, 70, 2), (80, 70, 2), (70, 60, 3)], "....", {90: 0, 80: 1, 70: 3, 60: 6}),
        ([(90, 80, 1), (80, 70, 2), (90, 80, 1)], "..x", {90: 0, 80: 1, 70: 3}),
        ([(90, 80, 1), (85, 81, 2)], ".x", {90: 0, 80: 1}),
        ([(90, 80, 1), (85, 80, 2)], ".x", {90: 0, 80: 1}),  # of one millisecond, but it begins within the last
        ([(90, 80, 1), (80, 80, 2)], "..", {90: 0, 80: 3}),  # the same millisecond, behind the last
        ([(90, 80, 1), (80, 80, 2), (80, 80, 2)], "...", {90: 0, 80: 3}),
        ([(NOW, 80, 1), (NOW, 70, 2), (NOW, 70, 2)], "...", {80: 1, 70: 3}),  # no start times
        ([(NOW, 80, 1), (80, 70, 2)], "..", {80: 1, 70: 3}),  # it has begun: no zero
        ([(90, 80, 1), (NOW, 70, 2), (NOW, 70, 2)], "...", {90: 0, 80: 1, 70: 3}),
        ([(70, 60, 1), (90, 80, 2)], ".x", {70: 0, 60: 1}),
    ],
)
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("native", [False, True])
def test_deltas_become_totals(
    exports: list[Export], codes: str, totals: dict[int, int], together: bool, native: bool
) -> None:
    gate, bodies = Gate(RULES), []
    for start, time, value in exports:
        when: dict[str, Any] = {"time": NOW - time, "start": NOW - start}
        one = point(count=value, **when) if native else point(as_int=value, **when)
        bodies.append(request((exponential if native else counter)("x", one, temporality=DELTA)))
    outcomes: list[Outcome | Exception] = []
    for some in [bodies] if together else [[body] for body in bodies]:
        outcomes += gate.commit(some, NOW)
    assert [answer(outcome).rejected for outcome in outcomes] == [_CODES[code] for code in codes]
    expected = {NOW - time: float(total) for time, total in totals.items()}
    natives = gate.held.natives.get(labelled("x"), {})
    counts = {time: one.count for time, one in natives.items() if one}
    assert (counts if native else held(gate, "x_total")) == expected


_CODES: dict[str, dict[str, int]] = {".": {}, "x": {"out_of_order": 1}}


@pytest.mark.parametrize("together", [True, False])
def test_a_negative_delta_is_left_out_of_the_total(together: bool) -> None:
    gate = Gate(RULES)
    points = [point(as_int=value, time=NOW - at, start=NOW - at - 10) for at, value in ((30, 1), (20, -1), (10, 1))]
    bodies = [request(counter("x", one, temporality=DELTA)) for one in points]
    for some in [bodies] if together else [[body] for body in bodies]:
        gate.commit(some, NOW)
    assert held(gate, "x_total") == {NOW - 40: 0, NOW - 30: 1, NOW - 10: 2}


def test_deltas_that_may_fall() -> None:
    gate = Gate(RULES)
    for time, value in ((30, 5.0), (20, -7.0), (10, 3.0)):
        one = point(as_double=value, time=NOW - time, start=NOW - time - 10)
        assert commit(gate, counter("x", one, temporality=DELTA, monotonic=False)) == Answer(1)
    assert held(gate, "x") == {NOW - 30: 5.0, NOW - 20: -2.0, NOW - 10: 1.0}


@pytest.mark.parametrize("together", [True, False])
def test_a_total_beyond_the_numbers_is_infinite(together: bool) -> None:
    gate = Gate(RULES)
    points = [point(as_double=1e308, time=NOW - ago, start=NOW - ago - 10) for ago in (30, 20, 10)]
    bodies = [request(counter("x", one, temporality=DELTA)) for one in points]
    for some in [bodies] if together else [[body] for body in bodies]:
        assert [answer(outcome) for outcome in gate.commit(some, NOW)] == [Answer(1)] * len(some)
    assert gate.held.samples[labelled("x_total")][NOW - 10] == bits(math.inf)


def test_deltas_of_histograms() -> None:
    gate = Gate(RULES)
    for time, total in ((30, 1.5), (20, math.nan), (20, math.nan), (10, -0.5), (25, 9.0)):
        one = point(
            bucket_counts=[1, 2],
            explicit_bounds=[1.0],
            count=3,
            sum=total,
            time=NOW - time,
            start=NOW - time - 10,
        )
        got = commit(gate, histogram("h", one, temporality=DELTA))
        assert got.rejected == ({"out_of_order": 1} if time == 25 else {})
    assert held(gate, "h_bucket", {"le": "1"}) == {NOW - 40: 0, NOW - 30: 1, NOW - 20: 2, NOW - 10: 3}
    assert held(gate, "h_count") == {NOW - 40: 0, NOW - 30: 3, NOW - 20: 6, NOW - 10: 9}
    # A sum that is no number would stay so for ever: it is left out.
    sums = gate.held.samples[labelled("h_sum")]
    assert sums == {NOW - 40: bits(0), NOW - 30: bits(1.5), NOW - 10: bits(1.0)}


def test_natives_add_at_the_coarser_scale() -> None:
    gate = Gate(RULES)
    first = point(scale=2, count=4, sum=1.5, zero_count=1, positive={"offset": 3, "bucket_counts": [1, 2]})
    negative = {"offset": 5, "bucket_counts": [2]}
    more: dict[str, Any] = {"count": 2, "sum": 2.0, "zero_threshold": 0.25, "negative": negative}
    second = point(time=NOW + 10, start=NOW, scale=1, **more)
    commit(gate, exponential("x", first, temporality=DELTA), exponential("x", second, temporality=DELTA))
    total = gate.held.natives[labelled("x")][NOW + 10]
    assert total is not None
    assert (total.count, total.sum, total.zero_count, total.zero_threshold, total.schema) == (6, "3.5", 1, 0.25, 1)
    assert (total.positive, total.negative) == ({1: 1.0, 2: 2.0}, {5: 2.0})


# --- ends ------------------------------------------------------------------------------------------------------------


def test_no_recorded_value_ends_all_series_of_a_point() -> None:
    gate = Gate(RULES)
    buckets: dict[str, Any] = {"bucket_counts": [1, 1], "explicit_bounds": [1.0], "count": 2, "sum": 1.0, "flags": 1}
    quantiles = [{"quantile": 0.5, "value": 1.0}]
    got = commit(
        gate,
        gauge("g", point(flags=1)),
        counter("c", point(flags=3, as_int=5), temporality=DELTA),
        histogram("h", point(**buckets), temporality=DELTA),
        summary("s", point(flags=1, quantile_values=quantiles)),
        exponential("e", point(flags=1, scale=-9)),
    )
    assert got == Answer(5)
    named = {labels: rows for labels, rows in gate.held.samples.items() if ("__name__", "target_info") not in labels}
    assert len(named) == 9
    assert all(rows == {NOW: STALE_NAN_BITS} for rows in named.values())
    assert gate.held.natives == {labelled("e"): {NOW: None}}


def test_a_delta_goes_on_after_an_end() -> None:
    gate = Gate(RULES)
    exports: list[tuple[int, dict[str, Any]]] = [(30, {"as_int": 5}), (20, {"flags": 1}), (10, {"as_int": 2})]
    for time, fields in exports:
        one = point(time=NOW - time, start=NOW - time - 10, **fields)
        assert commit(gate, counter("x", one, temporality=DELTA)) == Answer(1)
    rows = gate.held.samples[labelled("x_total")]
    assert rows == {NOW - 40: bits(0), NOW - 30: bits(5), NOW - 20: STALE_NAN_BITS, NOW - 10: bits(7)}


@pytest.mark.parametrize("kind", [counter, exponential])
def test_an_end_has_no_start(kind: Any) -> None:
    gate = Gate(RULES)
    fields: dict[str, Any] = {"as_int": 1} if kind is counter else {"count": 1}
    when: dict[str, Any] = {"time": NOW - 20, "start": NOW - 30}
    assert commit(gate, kind("x", point(flags=1, **when), temporality=DELTA)).rejected == {}
    # It is no repeat of the end, and it began before the end.
    assert commit(gate, kind("x", point(**fields, **when), temporality=DELTA)).rejected == {"out_of_order": 1}


def test_a_value_that_is_the_staleness_marker_is_one() -> None:
    gate = Gate(RULES)
    body = bytearray(request(gauge("x", point(as_double=1.0))))
    at = bytes(body).index(bits(1.0).to_bytes(8, "little"))
    body[at : at + 8] = STALE_NAN_BITS.to_bytes(8, "little")
    gate.commit([bytes(body)], NOW)
    slot = next(slot for slot, one in enumerate(gate.registry.series) if one and one.labels == labelled("x"))
    assert gate.registry.state.stale[slot]
