"""What a sender tells of its metrics -> families."""

from mirubato.admission.labels import LabelLimits
from mirubato.model.families import PARTS
from mirubato.model.labels import NAME, Family, MetricType
from mirubato.model.seams import PointRefused

# The numbers are the same in both versions. Of gauge histograms (4) no text format knows; they are of unknown type.
NOT_TOLD, COUNTER, HISTOGRAM, SUMMARY = 0, 1, 3, 5
_TYPES = {
    COUNTER: MetricType.COUNTER,
    2: MetricType.GAUGE,
    HISTOGRAM: MetricType.HISTOGRAM,
    SUMMARY: MetricType.SUMMARY,
    6: MetricType.GAUGE,  # info: a gauge that is 1
    7: MetricType.GAUGE,  # state set: gauges that are 0 or 1
}


def family_of_texts(name: bytes, type_: int, unit: bytes, help_: bytes, limits: LabelLimits) -> Family:
    """The family of this name; a help text is cut, PointRefused for anything else that cannot be kept."""
    try:
        name_text, unit_text, help_text = name.decode(), unit.decode(), help_.decode()
    except UnicodeDecodeError as error:
        raise PointRefused("invalid", "metadata that is not valid UTF-8") from error
    if not name:
        raise PointRefused("invalid", "metadata without the name of a metric")
    limits.check([(NAME, name_text), ("unit", unit_text)], 1)
    return Family(name_text, _TYPES.get(type_, MetricType.UNKNOWN), unit_text, help_text[: limits.value_bytes])


def family_name(series_name: str, type_: int, *, native: bool) -> str:
    """The name of the family of a series that comes with its type."""
    if native:
        return series_name
    for end in PARTS.get(_TYPES.get(type_, MetricType.UNKNOWN), ()):
        if series_name.endswith(end):
            return series_name.removesuffix(end)
    return series_name
