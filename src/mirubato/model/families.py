"""The family of a series whose sender told its metric's type apart from it, or not at all."""

from collections.abc import Mapping
from dataclasses import replace

from mirubato.model.labels import Family, Labels, MetricType, metric_name
from mirubato.model.samples import Kind

PARTS = {MetricType.HISTOGRAM: ("_bucket", "_count", "_sum"), MetricType.SUMMARY: ("_count", "_sum")}
"""What the names of a family's float series end with, beside the family's own name."""


def family_of(labels: Labels, kind: Kind, told: Mapping[str, Family]) -> Family:
    """The family among `told` (by name) that a series belongs to; one of unknown type if there is none.

    A series that only has the name of a part is none: a bucket has a bound in `le`, a quantile one in `quantile`.
    """
    name = metric_name(labels)
    unknown = Family(name, MetricType.UNKNOWN)
    own = told.get(name, unknown)
    if kind is Kind.HISTOGRAM:
        return own if own.type is MetricType.HISTOGRAM else Family(name, MetricType.HISTOGRAM)
    if own.type not in PARTS and own.type is not MetricType.UNKNOWN:
        return own
    if own.type is MetricType.SUMMARY and _has_bound(labels, "quantile"):
        return own
    return _by_part(name, labels, told) or (own if own.type is MetricType.UNKNOWN else unknown)


def _by_part(name: str, labels: Labels, told: Mapping[str, Family]) -> Family | None:
    """The family whose name is a part of the series' name."""
    base, _, end = name.rpartition("_")
    family = told.get(base)
    if family is None:
        return None
    if family.type is MetricType.COUNTER and end == "total":
        return replace(family, name=name)  # OpenMetrics names counters without it
    if f"_{end}" in PARTS.get(family.type, ()) and (end != "bucket" or _has_bound(labels, "le")):
        return family
    return None


def _has_bound(labels: Labels, name: str) -> bool:
    """Whether a label is a number."""
    try:
        float(dict(labels).get(name, ""))
    except ValueError:
        return False
    return True
