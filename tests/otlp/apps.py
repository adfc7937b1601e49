"""Generated senders: resources, scopes and instruments that export again and again, as apps do, and oddly at times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar, Metric, ResourceMetrics, ScopeMetrics
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from tests.otlp.encoding import ALL_BACKWARDS, Style, encode, part

NOW = 1_700_000_000_000
"""The gateway's clock, ms."""
TURNS = 5
"""Exports of each sender."""
_STEP_NS = 10_000_000_000

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)


# --- attributes ------------------------------------------------------------------------------------------------------

_SCALARS = st.one_of(
    st.text(max_size=6).map(lambda text: AnyValue(string_value=text)),
    st.booleans().map(lambda flag: AnyValue(bool_value=flag)),
    INT64.map(lambda number: AnyValue(int_value=number)),
    st.floats().map(lambda number: AnyValue(double_value=number)),
    st.binary(max_size=4).map(lambda data: AnyValue(bytes_value=data)),
    st.just(AnyValue()),
    st.just(AnyValue(string_value_strindex=1)),
)
_KEYS = st.one_of(
    st.sampled_from(["a", "a.b", "a_b", "a-b", "http.method", "é", "1st", "_x", "__x", "le", "quantile", "job"]),
    st.sampled_from(["instance", "service.name", "service_name", "__name__", "..name.."]),
    st.text(min_size=1, max_size=3).map("k{}".format),
)
_BAD_KEYS = st.sampled_from(["", "__", "日本"])


def _containers(inner: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[AnyValue]:
    pairs = st.builds(lambda key, value: KeyValue(key=key, value=value), st.text(max_size=3), inner)
    return st.lists(inner, max_size=3).map(lambda values: AnyValue(array_value=ArrayValue(values=values))) | st.lists(
        pairs, max_size=3
    ).map(lambda values: AnyValue(kvlist_value=KeyValueList(values=values)))


ANY_VALUES = st.recursive(_SCALARS, _containers, max_leaves=6)
ATTRIBUTES = st.lists(
    st.builds(lambda key, value: KeyValue(key=key, value=value), _KEYS, ANY_VALUES)
    | st.builds(lambda key: KeyValue(key=key), _KEYS),
    max_size=4,
)
_BAD_ATTRIBUTES = st.builds(lambda key, value: [KeyValue(key=key, value=value)], _BAD_KEYS, ANY_VALUES)

RESOURCES = st.one_of(
    st.none(),
    st.builds(
        lambda identity, others: Resource(attributes=[*identity, *others]),
        st.lists(
            st.builds(
                lambda key, value: KeyValue(key=key, value=value),
                st.sampled_from(["service.name", "service.namespace", "service.instance.id"]),
                _SCALARS | st.sampled_from(["shop", "x"]).map(lambda text: AnyValue(string_value=text)),
            ),
            max_size=3,
        ),
        ATTRIBUTES | _BAD_ATTRIBUTES,
    ),
)
_SCOPES = st.one_of(
    st.none(),
    st.builds(lambda name, more: InstrumentationScope(name=name, attributes=more), st.text(max_size=3), ATTRIBUTES),
)


# --- instruments -----------------------------------------------------------------------------------------------------

KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


@dataclass(frozen=True)
class Instrument:
    """What stays the same from one export to the next."""

    name: str
    unit: str
    description: str
    kind: str
    temporality: int
    monotonic: bool
    integer: bool
    bounds: tuple[float, ...]
    """Of a histogram; of a summary its quantiles."""
    summed: bool
    extremes: bool
    sets: tuple[tuple[KeyValue, ...], ...]
    """Attributes of its points."""
    steady: bool
    """Whether every export is written with the same fields, so that its shape can be known."""


@dataclass(frozen=True)
class Source:
    """One resource with its instruments, by scope, and how it writes."""

    resource: Resource | None
    schema_url: str
    scopes: tuple[tuple[InstrumentationScope | None, tuple[Instrument, ...]], ...]
    style: Style


_RISING = st.lists(
    st.floats(-1e6, 1e6) | st.sampled_from([0.0, 5e-324, 0.1, 1.0, 1e21, 1e300]), unique=True, max_size=4
).map(sorted)
_NAMES = st.sampled_from(["x", "http.requests", "queue size", "é.m", "1x", "x.total", "size.ratio"])
_UNITS = st.sampled_from(["", "1", "s", "By", "{req}", "By/s", "ms"])


@st.composite
def instruments(draw: st.DrawFn, number: int, *, steady: bool, alone: bool) -> Instrument:
    kind = draw(st.sampled_from([*KINDS[:3], "summary"] if steady else KINDS))
    alone = alone or "histogram" in kind
    odd = not steady and draw(st.integers(0, 9)) == 0
    return Instrument(
        # The buckets of one delta histogram stay the same, and no other has a part in them: each is a series.
        name=draw(_NAMES) + (f".{number}" if alone else "") if not odd else draw(st.sampled_from(["", "日本"])),
        unit=draw(_UNITS),
        description=draw(st.sampled_from(["", "what it is"])),
        kind=kind,
        temporality=draw(st.sampled_from([0, 3]) if odd else st.sampled_from([1, 2])),
        monotonic=draw(st.booleans()),
        integer=draw(st.booleans()),
        bounds=tuple(draw(_RISING)),
        summed=draw(st.booleans()),
        extremes=draw(st.booleans()),
        sets=tuple(draw(_sets(steady=steady, alone=alone))),
        steady=steady,
    )


@st.composite
def _sets(draw: st.DrawFn, *, steady: bool, alone: bool) -> list[tuple[KeyValue, ...]]:
    sets = []
    for number in range(draw(st.integers(1, 3))):
        bad = not steady and draw(st.integers(0, 9)) == 0
        own = draw(_BAD_ATTRIBUTES if bad else ATTRIBUTES)
        # The same attributes twice are the same series twice: that is not often so.
        apart = number and (alone or draw(st.integers(0, 9)))
        sets.append((*own, *([KeyValue(key="set", value=AnyValue(int_value=number))] if apart else [])))
    return sets


@st.composite
def sources(draw: st.DrawFn, number: int, *, known: bool = False) -> Source:
    """A sender; the shape of one that is to be `known` is learned, whatever it has to say."""
    steady = known or draw(st.integers(0, 2)) > 0
    alone = known or (steady and draw(st.booleans()))
    scopes = []
    for scope in range(draw(st.integers(1, 2))):
        count = draw(st.integers(1, 2))
        first = 100 * number + 10 * scope
        group = [draw(instruments(first + index, steady=steady, alone=alone)) for index in range(count)]
        scopes.append((draw(_SCOPES), tuple(group)))
    backwards = draw(st.sampled_from(ALL_BACKWARDS))
    packed, zeros = steady or draw(st.booleans()), not steady and draw(st.booleans())
    style = Style(backwards, packed=packed, zeros=zeros)
    return Source(draw(RESOURCES), draw(st.sampled_from(["", "https://schema"])), tuple(scopes), style)


# --- exports ---------------------------------------------------------------------------------------------------------

_DOUBLES = st.floats() | st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, 1e300])
_COUNTS = st.integers(0, 40) | st.integers(0, 2**64 - 1)
_EXACT = st.integers(0, 40) | st.integers(0, 2**40)
"""Counts of which float64 holds every sum: there a merge of buckets does not depend on its order."""
_SOME = st.integers(1, 40) | st.integers(1, 2**64 - 1)


@st.composite
def points(draw: st.DrawFn, instrument: Instrument, attributes: Sequence[KeyValue], turn: int) -> dict[str, Any]:
    """The fields of one data point of export number `turn`."""
    fields = draw(_VALUES[instrument.kind](instrument))
    time = NOW * 1_000_000 - 8 * _STEP_NS + turn * _STEP_NS
    start = time - _STEP_NS if instrument.temporality == 1 else NOW * 1_000_000 - 9 * _STEP_NS
    fields |= {"attributes": attributes, "time_unix_nano": time, "start_time_unix_nano": start}
    if not instrument.steady and draw(st.integers(0, 3)) == 0:
        fields |= draw(_oddities(instrument.kind, time, start))
    return fields


@st.composite
def _oddities(draw: st.DrawFn, kind: str, time: int, start: int) -> dict[str, Any]:
    """What a point may have otherwise than usual."""
    retention, future = 7 * 86_400_000_000_000, 600_000_000_000
    edges = [NOW * 1_000_000 - retention + off for off in (-1, 0)] + [
        NOW * 1_000_000 + future + off for off in (0, 999_999, 1_000_000)
    ]
    choices: list[st.SearchStrategy[dict[str, Any]]] = [
        st.just({"flags": 1}),
        st.just({"flags": 2}),
        st.sampled_from([0, time - _STEP_NS, time - 3 * _STEP_NS, 2**64 - 1, *edges]).map(
            lambda at: {"time_unix_nano": at}
        ),
        st.sampled_from([0, 1, time, time + 1, start - _STEP_NS, start + 1_000_000]).map(
            lambda at: {"start_time_unix_nano": at}
        ),
    ]
    if kind != "summary":
        choices.append(_EXEMPLARS)
    if kind in {"gauge", "sum"}:
        choices.append(st.just({"as_int": None, "as_double": None}))
    if kind == "histogram":
        choices.append(st.just({"bucket_counts": [1]}))
        choices.append(st.sampled_from([[2.0, 1.0], [1.0, 1.0], [float("nan")], [float("inf")]]).map(_with_bounds))
    return draw(st.one_of(choices))


def _with_bounds(bounds: list[float]) -> dict[str, Any]:
    return {"explicit_bounds": bounds, "bucket_counts": [1] * (len(bounds) + 1)}


_EXEMPLARS = st.lists(
    st.builds(
        lambda value, at, ids, filtered: Exemplar(
            **value, time_unix_nano=at, trace_id=ids[0], span_id=ids[1], filtered_attributes=filtered
        ),
        st.one_of(
            _DOUBLES.map(lambda number: {"as_double": number}),
            INT64.map(lambda number: {"as_int": number}),
            st.just({}),
        ),
        st.sampled_from([0, NOW * 1_000_000, NOW * 1_000_000 - 10**9]),
        st.sampled_from([(b"", b""), (bytes(16), bytes(8)), (b"t" * 16, b"s" * 8), (b"t" * 15, b"s" * 9)]),
        ATTRIBUTES | _BAD_ATTRIBUTES,
    ),
    min_size=1,
    max_size=2,
).map(lambda exemplars: {"exemplars": exemplars})


def _number_values(instrument: Instrument) -> st.SearchStrategy[dict[str, Any]]:
    if instrument.integer:
        return INT64.map(lambda number: {"as_int": number})
    return _DOUBLES.map(lambda number: {"as_double": number})


@st.composite
def _histogram_values(draw: st.DrawFn, instrument: Instrument) -> dict[str, Any]:
    fields: dict[str, Any] = {"count": draw(_SOME if instrument.steady else _COUNTS)}
    size = len(instrument.bounds) + 1
    if instrument.bounds or instrument.extremes:
        fields["bucket_counts"] = draw(st.lists(_COUNTS, min_size=size, max_size=size))
        fields["explicit_bounds"] = instrument.bounds
    if instrument.summed:
        fields["sum"] = draw(_DOUBLES)
    if instrument.extremes:
        fields |= {"min": draw(_DOUBLES), "max": draw(_DOUBLES)}
    return fields


@st.composite
def _exponential_values(draw: st.DrawFn, instrument: Instrument) -> dict[str, Any]:
    sides = st.builds(
        lambda offset, counts: {"offset": offset, "bucket_counts": counts},
        st.integers(-30, 30) | st.integers(-3000, 3000) | st.sampled_from([-(2**31), 2**31 - 9]),
        st.lists(_EXACT, max_size=5),
    )
    fields: dict[str, Any] = {
        "count": draw(_COUNTS),
        "scale": draw(st.integers(-4, 10) | st.integers(-5, 20) | st.just(2**31 - 1)),
        "zero_count": draw(_COUNTS),
        "positive": draw(sides),
        "negative": draw(sides),
    }
    return fields | ({"sum": draw(_DOUBLES)} if instrument.summed else {})


@st.composite
def _summary_values(draw: st.DrawFn, instrument: Instrument) -> dict[str, Any]:
    some = _DOUBLES.filter(bool) if instrument.steady else _DOUBLES
    values = [{"quantile": quantile, "value": draw(some)} for quantile in instrument.bounds]
    return {"count": draw(_SOME if instrument.steady else _COUNTS), "sum": draw(some), "quantile_values": values}


_VALUES = {
    "gauge": _number_values,
    "sum": _number_values,
    "histogram": _histogram_values,
    "exponential_histogram": _exponential_values,
    "summary": _summary_values,
}


@st.composite
def metrics(draw: st.DrawFn, instrument: Instrument, turn: int) -> Metric:
    data: dict[str, Any] = {"data_points": [draw(points(instrument, one, turn)) for one in instrument.sets]}
    if instrument.kind in {"sum", "histogram", "exponential_histogram"}:
        data["aggregation_temporality"] = instrument.temporality
    if instrument.kind == "sum":
        data["is_monotonic"] = instrument.monotonic
    fields: dict[str, Any] = {"name": instrument.name, "unit": instrument.unit, instrument.kind: data}
    return Metric(description=instrument.description, **fields)


@st.composite
def exports(draw: st.DrawFn, source: Source, turn: int) -> bytes:
    """A `resource_metrics` entry of a request, framed."""
    message = ResourceMetrics(resource=source.resource, schema_url=source.schema_url)
    for scope, group in source.scopes:
        made = [draw(metrics(instrument, turn)) for instrument in group]
        message.scope_metrics.append(ScopeMetrics(scope=scope, metrics=made))
    return part(1, encode(message, source.style))


@st.composite
def sequences(draw: st.DrawFn, *, known: bool = False) -> list[list[bytes]]:
    """What some senders export, turn by turn, as requests that share commits."""
    senders = [draw(sources(number, known=known)) for number in range(draw(st.integers(1, 2)))]
    requests: list[bytes] = []
    for turn in range(TURNS):
        entries = [draw(exports(sender, turn)) for sender in senders]
        requests += [b"".join(entries)] if draw(st.booleans()) else entries
    commits: list[list[bytes]] = []
    for request in requests:
        if commits and draw(st.integers(0, 3)) == 0:
            commits[-1].append(request)
        else:
            commits.append([request])
    return commits


def decoded(body: bytes) -> ExportMetricsServiceRequest:
    """A request as the official class reads it."""
    return ExportMetricsServiceRequest.FromString(body)
