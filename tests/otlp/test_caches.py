"""What is remembered is bounded, goes when slots may have died, and never changes what is answered."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mirubato.model.histogram import Histogram
from mirubato.otlp import shapes as shapes_module
from mirubato.otlp import streams as streams_module
from mirubato.otlp.fields import map_fields
from mirubato.otlp.shapes import Shapes
from tests.otlp.gate import Gate, answer
from tests.otlp.reference import Reference, Rules
from tests.otlp.requests import (
    DELTA,
    NOW,
    counter,
    entry,
    everything,
    exponential,
    gauge,
    histogram,
    labelled,
    point,
    request,
)

RULES = Rules()


def agree(gate: Gate, bodies: list[bytes]) -> None:
    """Send requests to a gate and to a reference; all that is held must be the same."""
    reference = Reference(RULES)
    for body in bodies:
        (outcome,) = gate.commit([body], NOW)
        assert answer(outcome) == reference.take(body, NOW)
    assert without_info(gate.held.samples) == without_info(reference.held.samples)


def without_info(samples: dict[Any, Any]) -> dict[Any, Any]:
    """A forgotten resource is told of again, sooner than it had to be."""
    return {labels: rows for labels, rows in samples.items() if ("__name__", "target_info") not in labels}


def many_resources(turns: int, count: int, name: str = "x") -> Iterator[bytes]:
    """Exports of several resources, in turns."""
    for turn in range(turns):
        time = NOW - 1000 + turn
        for number in range(count):
            resource = {"service.name": "shop", "service.instance.id": str(number)}
            yield request(counter(name, point({"k": "v"}, as_int=turn, time=time)), resource=resource)


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_attribute_caches_start_anew_when_they_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "ATTRIBUTE_CACHE_ENTRIES_MAX", 20)
    gate = Gate(RULES)
    largest = 0
    for body in many_resources(4, 30):
        agree_one(gate, body)
        largest = max(largest, len(gate.decoder._streams._resources))
    assert 4 <= largest <= 20
    assert gate.shapes.hits == 0  # they went with the streams that they hold
    assert len(gate.shapes._shapes) <= 20


def agree_one(gate: Gate, body: bytes) -> None:
    """One request is taken whole."""
    (outcome,) = gate.commit([body], NOW)
    assert answer(outcome).rejected == {}


def test_caches_that_start_anew_answer_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "ATTRIBUTE_CACHE_ENTRIES_MAX", 20)
    agree(Gate(RULES), list(many_resources(6, 5)))


@pytest.mark.parametrize("what", ["resource", "scope", "metric", "attributes"])
def test_long_keys_count_as_many_entries(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "ATTRIBUTE_CACHE_ENTRIES_MAX", 1000)
    gate = Gate(RULES)
    kept = 0
    for number in range(60):
        long = f"{number}" + "x" * 30_000
        resource = {"service.name": "s", "a": long} if what == "resource" else {"service.name": "s"}
        metric = gauge(long if what == "metric" else "x", point({"k": long} if what == "attributes" else {}, as_int=1))
        gate.commit([request(entry(metric, resource=resource, scope=long if what == "scope" else ""))], NOW)
        streams = gate.decoder._streams
        metrics = sum(len(one._metrics) for one in streams._resources.values())
        kept = max(kept, len(streams._resources), len(streams._scopes), metrics)
    assert kept <= (1 if what == "attributes" else 12)  # attributes of that length are refused, and not kept at all


def test_shapes_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(RULES)
    bodies = list(many_resources(4, 10))
    for body in bodies[:30]:
        agree_one(gate, body)
    one = next(iter(gate.shapes._shapes.values()))[0].nbytes
    assert gate.shapes._bytes == 10 * one
    monkeypatch.setattr(shapes_module, "SHAPE_CACHE_BYTES_MAX", 4 * one)
    gate = Gate(RULES)
    agree(gate, bodies + list(many_resources(8, 2, "y")))
    assert gate.shapes._bytes <= 4 * one
    assert gate.shapes._bytes == sum(shape.nbytes for group in gate.shapes._shapes.values() for shape in group)


def test_the_least_recently_used_shape_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(RULES)
    a, b, c = (request(gauge("x", point(as_int=1)), resource={"service.name": name}) for name in "abc")
    for body in (a, b, a, b):
        agree_one(gate, body)
    one = next(iter(gate.shapes._shapes.values()))[0].nbytes
    monkeypatch.setattr(shapes_module, "SHAPE_CACHE_BYTES_MAX", 2 * one)
    for body in (a, c, c):  # `b` is the older one of two when `c` comes
        agree_one(gate, body)
    hits = gate.shapes.hits
    agree_one(gate, b)
    assert gate.shapes.hits == hits
    agree_one(gate, a)
    agree_one(gate, c)
    assert gate.shapes.hits == hits + 2


def test_orders_of_one_export_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes_module, "SHAPES_PER_KEY_MAX", 2)
    gate = Gate(RULES)
    metrics = [gauge(name, point(as_int=1)) for name in "abc"]
    orders = [request(entry(*metrics[turn:], *metrics[:turn])) for turn in range(3)]
    agree(gate, [order for order in orders for _ in range(3)])
    assert [len(group) for group in gate.shapes._shapes.values()] == [2]
    hits = gate.shapes.hits
    agree(gate, [orders[0]])
    assert gate.shapes.hits == hits
    agree(gate, orders[1:])
    assert gate.shapes.hits == hits + 2


def test_sightings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes_module, "SHAPE_SIGHTINGS_MAX", 3)
    gate = Gate(RULES)
    for body in many_resources(3, 4):  # each is forgotten before it comes again
        agree_one(gate, body)
    assert len(gate.shapes._sightings) == 3
    assert not gate.shapes._shapes


def test_what_cannot_be_learned_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0
    made = Shapes._made

    def counted(self: Shapes, *arguments: Any) -> Any:
        nonlocal tried
        tried += 1
        return made(self, *arguments)

    monkeypatch.setattr(Shapes, "_made", counted)
    agree(Gate(RULES), [request(gauge("x", point(as_int=1), point(as_int=2)))] * 9)
    assert tried == 1


def test_what_is_left_out_reads_as_zero_whatever_came_before() -> None:
    long = entry(gauge("x" * 200, *(point({"n": str(number)}, as_int=-1) for number in range(20))))
    empty = entry(
        histogram("h", point(bucket_counts=[0, 0], explicit_bounds=[1.0], sum=0.0)),
        counter("c", point(as_int=0, start=0)),
    )
    gate = Gate(RULES)
    agree(gate, [request(long, empty)] * 6)
    assert gate.shapes.hits == 8
    assert gate.held.samples[labelled("h_count")][NOW] == 0


def test_a_map_of_fields_that_reads_otherwise_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: Any) -> Any:
        found = map_fields(*arguments)
        return found and replace(found, slots=found.slots[::-1])

    monkeypatch.setattr(shapes_module, "map_fields", wrong)
    gate = Gate(RULES)
    agree(gate, [request(gauge("x", point({"n": "1"}, as_int=1), point({"n": "2"}, as_int=2)))] * 5)
    assert gate.shapes.hits == 0


def test_layouts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "LAYOUTS_IN_ALL_MAX", 3)
    monkeypatch.setattr(streams_module, "LAYOUTS_MAX", 2)
    bodies = []
    for turn in range(3):
        for size in range(6):
            bounds = [float(bound) for bound in range(size)]
            one = point(bucket_counts=[1] * (size + 1), explicit_bounds=bounds, count=size + 1, time=NOW - 50 + turn)
            bodies.append(request(histogram("h", one)))
    gate = Gate(RULES, shapes=False)
    agree(gate, bodies)
    (layouts,) = gate.decoder._streams._layouts.values()
    assert len(layouts) == 3
    (resource,) = gate.decoder._streams._resources.values()
    (metric,) = resource._metrics.values()
    assert len(metric.known) == 2


# --- slots that die --------------------------------------------------------------------------------------------------


def state_of(gate: Gate) -> list[Any]:
    """All that the registry knows of what came last."""
    state = gate.registry.state
    columns = (state.last_time, state.last_start, state.last_value, state.stale)
    return [*(column.copy() for column in columns), dict(state.histograms)]


def same(left: list[Any], right: list[Any]) -> bool:
    """Whether two states are equal to the bit."""
    return all(
        one == other if isinstance(one, dict) else np.array_equal(one.view(np.uint8), other.view(np.uint8))
        for one, other in zip(left, right, strict=True)
    )


def a_commit(turn: int) -> list[bytes]:
    """Requests with everything that changes the state."""
    time = NOW - 40 + 10 * turn
    native: dict[str, Any] = {"count": 3, "positive": {"bucket_counts": [turn, 1]}}
    more = entry(
        exponential("e", point(time=time, start=time - 10, **native), temporality=DELTA),
        gauge("g", point(flags=1, time=time) if turn % 2 else point(as_int=turn, time=time)),
        counter("d", point(as_int=1, time=time, start=time - 10), temporality=DELTA),
    )
    return [request(*everything(turn)), request(more), request(*everything(turn))]


def test_a_failed_commit_changes_nothing() -> None:
    gate, other = Gate(RULES), Gate(RULES)
    for turn in (1, 2, 3):
        gate.commit(a_commit(turn), NOW)
        other.commit(a_commit(turn), NOW)
    before, series = state_of(gate), gate.registry.active
    gate.attempt([*a_commit(4), *a_commit(5)], NOW)
    assert same(state_of(gate), before)
    assert gate.registry.active == series
    again = [answer(one) for one in gate.commit(a_commit(4), NOW)]
    assert again == [answer(one) for one in other.commit(a_commit(4), NOW)]
    assert without_info(gate.held.samples) == without_info(other.held.samples)


def test_a_failed_commit_that_made_series() -> None:
    gate = Gate(RULES)
    for turn in (1, 2, 3):
        gate.commit(a_commit(turn), NOW)
    before, epoch, series = state_of(gate), gate.registry.epoch, gate.registry.active
    new = request(gauge("new", point(as_int=1)), exponential("n", point(count=1), temporality=DELTA))
    gate.attempt([new, *a_commit(4)], NOW)
    assert same(state_of(gate), before)
    assert gate.registry.epoch > epoch
    assert gate.registry.active == series
    hits = gate.shapes.hits
    other = request(gauge("other", point(as_int=7)))  # takes the slot of what was undone
    outcomes = gate.commit([other, new, *a_commit(4)], NOW)
    assert [answer(one).rejected for one in outcomes] == [{}] * 5
    assert gate.shapes.hits == hits  # all was forgotten
    assert gate.held.samples[labelled("other")].keys() == gate.held.samples[labelled("new")].keys() == {NOW}


def test_target_info_of_a_failed_commit_is_written_again() -> None:
    gate = Gate(RULES)
    first, second, third = (request(gauge("x", point(as_int=1, time=NOW - ago))) for ago in (90_000, 20_000, 10_000))
    gate.commit([first], NOW)
    gate.attempt([second], NOW)
    gate.commit([third], NOW)
    (times,) = (rows.keys() for labels, rows in gate.held.samples.items() if ("__name__", "target_info") in labels)
    assert times == {NOW - 90_000, NOW - 10_000}


def test_series_that_are_evicted_are_made_anew() -> None:
    gate = Gate(RULES)
    bodies = [request(gauge("x", point(as_int=turn, time=NOW - 10 + turn))) for turn in range(8)]
    for body in bodies[:4]:
        gate.commit([body], NOW)
    assert gate.shapes.hits == 2
    (outcome,) = gate.commit([request(gauge("y", point(as_int=1)))], NOW + 10)
    gate.registry.remove(gate.registry.idle(NOW + 5).tolist())
    assert [dict(one.labels)["__name__"] for one in gate.registry.series if one] == ["y"]
    for body in reversed(bodies[4:]):
        gate.commit([body], NOW + 20)
    assert gate.shapes.hits == 4
    assert gate.held.samples[labelled("x")].keys() == set(range(NOW - 10, NOW - 2))
    assert answer(outcome).accepted == 1


def test_a_total_of_deltas_ends_with_its_series() -> None:
    gate = Gate(RULES)

    def export(value: int, ago: int) -> bytes:
        one = point(as_int=value, time=NOW - ago, start=NOW - ago - 10)
        native = point(count=value, time=NOW - ago, start=NOW - ago - 10)
        return request(entry(counter("x", one, temporality=DELTA), exponential("e", native, temporality=DELTA)))

    gate.commit([export(5, 30)], NOW)
    gate.registry.remove(gate.registry.idle(NOW + 1).tolist())
    gate.commit([export(2, 10)], NOW)
    slots = {dict(one.labels)["__name__"]: slot for slot, one in enumerate(gate.registry.series) if one}
    state = gate.registry.state
    assert state.last_value[slots["x_total"]] == 2
    assert isinstance(state.histograms[slots["e"]], Histogram)
    assert state.histograms[slots["e"]].count == 2


def test_the_starts_of_a_commit_bring_the_state_back() -> None:
    gate, replayed = Gate(RULES), Gate(RULES)
    for turn in (1, 2, 3):
        for each in (gate, replayed):
            each.registry.begin(NOW)
        batch, _ = gate.intake.prepare(a_commit(turn), NOW)
        gate.registry.committed()
        for slot in range(replayed.registry.active, len(gate.registry.series)):
            found = gate.registry.series[slot]
            assert found is not None
            assert replayed.registry.propose(found.labels, found.kind, found.family) == slot
        replayed.registry.state.last_start[batch.starts.series] = batch.starts.start_ms
    assert np.array_equal(replayed.registry.state.last_start, gate.registry.state.last_start)
    assert gate.registry.state.last_start.any()
