"""Event points -> what was measured: the way back, exact but for what the slots cannot hold.

Not held: nanoseconds (times are milliseconds), the types of attributes (they come back as text, as labels are), minimum
and maximum, exemplars, descriptions, and integers beyond 2^53. Of a point that was cut, the attributes that gave way.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from mirubato.analytics_engine.event_points import EventPoint
from mirubato.analytics_engine.layout import DOUBLES, EVENT, FRAME, FURTHER, Layout
from mirubato.errors import BadRequest


@dataclass(frozen=True)
class Reading:
    """One OTLP data point as it was written, or a part of one.

    `value` is of gauges, updowns and counters. Histograms have `count`, `total` (the sum) and `buckets`: observations
    by upper bound, not accumulated, without the one that has no bound (it holds what is left of `count`). Exponential
    ones have `scale`, `zero_count`, and buckets by ("p" or "n", number); p3 reaches from base^3 to base^4, where base
    is 2^(2^-scale). `cut` is the hash of a series of which something was cut off. `is_further`: these are only
    further buckets of a histogram whose first ones, with the count, are in another point.
    """

    metric: str
    kind: str
    unit: str
    attributes: Mapping[str, str]
    resource: Mapping[str, str]
    scope: tuple[str, ...]
    time_ms: int
    start_ms: int
    value: float = 0.0
    count: float = 0.0
    total: float = 0.0
    scale: int = 0
    zero_count: float = 0.0
    buckets: Mapping[float | tuple[str, int], float] = field(default_factory=dict)
    cut: str = ""
    is_further: bool = False


def is_metric(point: EventPoint, layout: Layout) -> bool:
    """Whether an exporter wrote this point, by any version of the layout. Events of `track` are no metrics."""
    tag, kind = ([*point.blobs, None, None, None])[1:3]
    return (tag or "").startswith(f"{layout.name}/") and kind != EVENT


def read(point: EventPoint, layout: Layout) -> Reading:
    """What one point says; BadRequest if it is of another layout, of no known kind, or not as one was written."""
    try:
        frame = [blob or "" for blob in point.blobs[: len(FRAME)]]
        metric, tag, kind, unit, _, _, shape, rest = frame
        if tag != layout.tag:
            raise BadRequest(f"event point: it is of the layout {tag}, not {layout.tag}")
        named = dict(zip(DOUBLES[kind], point.doubles, strict=False))
        attributes, resource, scope, cut = _who(point, layout, frame, json.loads(rest or "{}"))
        whole = Reading(
            metric, kind, unit, attributes, resource, scope, int(named["time_ms"]), int(named["start_ms"]), cut=cut
        )
        return _with_values(whole, named, shape, point.doubles[len(DOUBLES[kind]) :])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRequest(f"event point: not one that an exporter writes: {error}") from error


def _who(
    point: EventPoint, layout: Layout, frame: list[str], rest: Mapping[str, object]
) -> tuple[dict[str, str], dict[str, str], tuple[str, ...], str]:
    metric, _, _, _, service, instance, _, _ = frame
    slotted = {name: blob for name, blob in zip(layout.slots(metric), point.blobs[len(FRAME) :], strict=False) if blob}
    free, of_resource, scope = rest.get("a", {}), rest.get("r", {}), rest.get("s", [])
    if not isinstance(free, dict) or not isinstance(of_resource, dict) or not isinstance(scope, list):
        raise BadRequest("event point: its rest is not one that an exporter writes")
    resource = {"service.name": service, "service.instance.id": instance}
    resource = {name: text for name, text in resource.items() if text}
    for name, text in of_resource.items():
        resource[name] = slotted.pop(name) if text is None else text
    return {**slotted, **free}, resource, tuple(scope), str(rest.get("cut", ""))


def _with_values(whole: Reading, named: Mapping[str, float], shape: str, doubles: tuple[float, ...]) -> Reading:
    if whole.kind not in {"histogram", "exponential"}:
        return replace(whole, value=named["value"])
    is_further, shape = shape.startswith(FURTHER), shape.removeprefix(FURTHER)
    whole = replace(whole, count=named["count"], total=named["sum"], is_further=is_further)
    if whole.kind == "histogram":
        return replace(whole, buckets=dict(zip(map(float, shape.split()), doubles, strict=True)))
    scale, *names = shape.split()
    buckets: dict[float | tuple[str, int], float] = {
        (name[0], int(name[1:])): count for name, count in zip(names, doubles, strict=True)
    }
    return replace(whole, zero_count=named["zero_count"], scale=int(scale), buckets=buckets)


def joined(readings: Iterable[Reading]) -> list[Reading]:
    """The readings with the further parts of split histograms put to their first ones, in the order of those.

    Rows come back in any order. A part that finds no first one to belong to stands behind all others, by itself.
    """
    whole: list[Reading] = []
    at: dict[object, list[int]] = {}
    further = []
    for reading in readings:
        if reading.is_further:
            further.append(reading)
            continue
        at.setdefault(_series_and_time(reading), []).append(len(whole))
        whole.append(reading)
    for part in further:
        places = at.get(_series_and_time(part), [])
        # Two collections can share a millisecond: then it belongs to one that has not these buckets yet.
        place = next((n for n in places if not part.buckets.keys() & whole[n].buckets.keys()), None)
        if place is None:
            whole.append(part)
        else:
            whole[place] = replace(whole[place], buckets={**whole[place].buckets, **part.buckets})
    return whole


def _series_and_time(reading: Reading) -> object:
    return (
        (reading.metric, reading.kind, reading.unit, reading.scope, reading.scale, reading.cut),
        (reading.start_ms, reading.time_ms),
        tuple(sorted(reading.attributes.items())),
        tuple(sorted(reading.resource.items())),
    )
