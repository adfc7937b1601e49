"""OpenTelemetry's names -> Prometheus' names: metrics, units, labels, and who sent them.

The rules are those of a Prometheus server (3.16) with its default settings, so that dashboards and alerts
written for its OTLP endpoint work here unchanged: `translation_strategy: UnderscoreEscapingWithSuffixes`,
`label_name_underscore_sanitization: true` and `label_name_preserve_multiple_underscores: true`
(prometheus:config/config.go `DefaultOTLPConfig`), carried out by prometheus/otlptranslator 1.0.0.

Where that server differs from the specification (opentelemetry-specification:specification/compatibility/
prometheus_and_openmetrics.md), the server wins: it keeps several underscores in a label name, knows `KBy` but
not `kBy`, and says `tibibytes`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

# UCUM codes of the unit before the slash; any other stays as it is (otlptranslator's `unitMap`).
_UNITS: Final[Mapping[str, str]] = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",  # should be "tebibytes"; the name that Prometheus stores has the slip in it
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
    "1": "",
}
# ... and of the unit after it (`perUnitMap`): here `m` is a minute, not a meter.
_PER_UNITS: Final[Mapping[str, str]] = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "mo": "month",
    "y": "year",
}

_WORD: Final = re.compile(r"[a-zA-Z0-9:]+")
_BETWEEN_WORDS: Final = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_IN_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")

# What Go's strings.TrimSpace trims. Python's strip() would also take U+001C to U+001F.
_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)

# Names come from outside: a cache holds at most 4,096 of 256 characters (2 MB), longer ones are made anew.
_CACHED_NAMES_MAX: Final = 4096
_CACHED_CHARS_MAX: Final = 256
# Characters of a refused name that its error quotes.
_QUOTED_CHARS_MAX: Final = 80


def metric_name(name: str, unit: str, *, monotonic: bool, gauge: bool) -> str:
    """The Prometheus name of a metric: `http.server.duration` in `ms` -> `http_server_duration_milliseconds`.

    `monotonic` is true for monotonic sums only, `gauge` for gauges only; any other sum is neither.
    ValueError if nothing is left. What the suffixes add counts: an empty name in `s` becomes `seconds`.
    Source: prometheus/otlptranslator 1.0.0, metric_namer.go `normalizeName`.
    """
    if len(name) + len(unit) > _CACHED_CHARS_MAX:
        return _metric_name(name, unit, monotonic, gauge)
    return _cached_metric_name(name, unit, monotonic, gauge)


def _metric_name(name: str, unit: str, monotonic: bool, gauge: bool) -> str:  # noqa: FBT001
    words = _WORD.findall(name)
    words += _unit_words(unit, beside=words)
    if monotonic:
        words = _moved_to_the_end("total", words)
    if gauge and unit == "1":
        # Gauges only: too many counters of things are declared with the unit "1", and a count is no ratio.
        words = _moved_to_the_end("ratio", words)
    if not words:
        raise ValueError(f"metric name {name[:_QUOTED_CHARS_MAX]!r} has no letter, digit or colon")
    joined = "_".join(words)
    return f"_{joined}" if joined[0].isdigit() else joined


_cached_metric_name = lru_cache(maxsize=_CACHED_NAMES_MAX)(_metric_name)


def _unit_words(unit: str, *, beside: list[str]) -> list[str]:
    """What the unit adds to a name made of the words `beside`.

    Only the unit before the slash is left out when the name has it: words have no underscore in them, so
    `per_second` is never found among them, and `rate_per_second` in `1/s` gets a second `per_second`.
    """
    main, per = unit_suffixes(unit)
    if main in beside:
        main = ""
    per = "" if per == "per_" else per.removesuffix("_")
    if per:
        main = main.removesuffix("_")
    return [word for word in (main, per) if word]


def _moved_to_the_end(suffix: str, words: list[str]) -> list[str]:
    return [word for word in words if word != suffix] + [suffix]


def unit_suffixes(unit: str) -> tuple[str, str]:
    """A UCUM unit in words, before and after its first slash: `By/s` -> (`bytes`, `per_second`).

    An annotation in braces empties its side: `{request}/s` -> (``, `per_second`). A side may end in `_`.
    Source: prometheus/otlptranslator 1.0.0, unit_namer.go `buildUnitSuffixes` and `cleanUpUnit`.
    """
    main, _, per = unit.partition("/")
    per_word = _unit_word(per, _PER_UNITS)
    return _cleaned(_unit_word(main, _UNITS)), _cleaned(f"per_{per_word}") if per_word else ""


def _unit_word(unit: str, words: Mapping[str, str]) -> str:
    code = unit.strip(_SPACE)
    return "" if "{" in code or "}" in code else words.get(code, code)


def _cleaned(unit: str) -> str:
    return _BETWEEN_WORDS.sub("_", unit).removeprefix("_")


def prometheus_unit(unit: str) -> str:
    """The unit as metadata and OpenMetrics' `# UNIT` name it: `By/s` -> `bytes_per_second`, `1` -> ``.

    OpenMetrics wants names to end in their unit; here it may stand in the middle, so the caller has to look.
    Source: prometheus/otlptranslator 1.0.0, unit_namer.go `UnitNamer.Build`.
    """
    return "_".join(suffix for suffix in unit_suffixes(unit) if suffix).removesuffix("_")


def label_name(key: str) -> str:
    """The label of an attribute: `http.method` -> `http_method`, `1st` -> `key_1st`, `_x` -> `key_x`.

    Every invalid character becomes one underscore, and none is merged with its neighbour. A name that starts
    with two underscores gets no `key`. ValueError for an empty key and for one that becomes `__`, `___`, ...
    Source: prometheus/otlptranslator 1.0.0, label_namer.go, with the defaults of prometheus:config/config.go.
    """
    return _label_name(key) if len(key) > _CACHED_CHARS_MAX else _cached_label_name(key)


def _label_name(key: str) -> str:
    name = _NOT_IN_LABEL.sub("_", key)
    if name[:1].isdigit():
        return f"key_{name}"
    if name.startswith("_") and not name.startswith("__"):
        return f"key{name}"
    if not name.strip("_"):
        raise ValueError(f"attribute key {key[:_QUOTED_CHARS_MAX]!r} has no letter or digit")
    return name


_cached_label_name = lru_cache(maxsize=_CACHED_NAMES_MAX)(_label_name)


def job_and_instance(resource: Mapping[str, str]) -> tuple[str, str]:
    """`job` and `instance` of everything that a resource sent; each "" where the resource does not say.

    `resource` maps attribute keys to their text (`attributes.attribute_text`); of a repeated key the first
    counts. A namespace counts even if it is empty, but not without a service name.
    Source: prometheus:storage/remote/otlptranslator/prometheusremotewrite, `setResourceContext`.
    """
    service, namespace = resource.get("service.name"), resource.get("service.namespace")
    instance = resource.get("service.instance.id", "")
    if service is None:
        return "", instance
    return service if namespace is None else f"{namespace}/{service}", instance
