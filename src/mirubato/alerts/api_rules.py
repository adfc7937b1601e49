"""Rules as the API has them: JSON -> Rule, each mistake with the field that it is in."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mirubato.alerts.builtins import BUILT_INS, Meaning, Scope, meaning
from mirubato.alerts.checking import check_expression, template_problem
from mirubato.alerts.rules import FROM_API, Condition, NoData, Rule
from mirubato.config import parse_duration
from mirubato.errors import BadField, BadQuery
from mirubato.limits import RULE_INTERVAL_MS_MIN

WINDOW_MINUTES_DEFAULT = 5
_WINDOW_MINUTES_MAX = 366 * 24 * 60
_NAME_CHARS_MAX = 200
_TEXT_CHARS_MAX = 10_000
_ENTRIES_MAX = 50
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

FIELDS = frozenset(
    (
        "name",
        "metric",
        "expr",
        "condition",
        "threshold",
        "window_minutes",
        "severity",
        "notification_channels",
        "for",
        "keep_firing_for",
        "no_data",
        "labels",
        "annotations",
        "filter",
        "interval",
        "limit",
        "enabled",
        "group",
        "use_interval",
    )
)
"""What a rule of the API may say."""

_RATIOS = ("error_rate", "success_rate")


def rule_from(body: Mapping[str, Any], rule_id: str, source: str = FROM_API) -> Rule:
    """The rule that a JSON object describes; BadField names what is wrong with it."""
    unknown = sorted(body.keys() - FIELDS)
    if unknown:
        raise BadField(unknown[0], f"no such field; there are {', '.join(sorted(FIELDS))}")
    _check_conflicts(body)
    scope = Scope(_window_ms(body), _texts(body, "filter"))
    asked = _meaning(body, scope)
    condition, threshold = _condition(body)
    _check_possible(body, condition, threshold)
    severity = _text(body, "severity", "warning")
    return Rule(
        id=rule_id,
        name=_name(body),
        query=asked.query,
        condition=condition,
        threshold=threshold,
        for_ms=_duration(body, "for"),
        keep_firing_for_ms=_duration(body, "keep_firing_for"),
        interval_ms=_interval(body),
        labels={"severity": severity, **_templates(body, "labels")},
        annotations=_templates(body, "annotations"),
        severity=severity,
        channels=_channels(body),
        no_data=_no_data(body),
        source=source,
        group=_text(body, "group", FROM_API),
        enabled=_flag(body, "enabled"),
        limit=_limit(body),
        sampling=asked.sampling,
        use_interval=_flag(body, "use_interval"),
        unit=asked.unit,
        metric=_text(body, "metric", ""),
        window_ms=scope.window_ms,
    )


def _check_conflicts(body: Mapping[str, Any]) -> None:
    if ("metric" in body) == ("expr" in body):
        both = "metric" in body
        raise BadField("metric", "give either metric or expr" + (", not both" if both else ""))
    if "metric" in body:
        for needed in ("condition", "threshold"):
            if needed not in body:
                raise BadField(needed, "missing: a rule with a metric compares it to a threshold")
    elif ("condition" in body) != ("threshold" in body):
        missing = "threshold" if "condition" in body else "condition"
        raise BadField(missing, "missing: condition and threshold go together")
    elif "condition" not in body and body.get("no_data") not in (None, "ok"):
        raise BadField("no_data", "needs a condition: a bare expr that answers nothing is not active, as in Prometheus")


def _meaning(body: Mapping[str, Any], scope: Scope) -> Meaning:
    if "metric" in body:
        metric = _text(body, "metric", "")
        asked = meaning(metric, scope)
    else:
        if scope.filter:
            raise BadField("filter", "goes with metric; in an expr, write the matchers into its selectors")
        asked = Meaning(_text(body, "expr", ""))
    field = "metric" if "metric" in body else "expr"
    try:
        check_expression(asked.query)
    except BadQuery as error:
        raise BadField(field, str(error)) from error
    return asked


def _name(body: Mapping[str, Any]) -> str:
    name = _text(body, "name", "").strip()
    if not name:
        raise BadField("name", "missing")
    if len(name) > _NAME_CHARS_MAX:
        raise BadField("name", f"longer than {_NAME_CHARS_MAX} characters")
    return name


def _condition(body: Mapping[str, Any]) -> tuple[Condition | None, float]:
    if "condition" not in body:
        return None, 0.0
    try:
        condition = Condition(body["condition"])
    except ValueError as error:
        raise BadField("condition", f"must be one of {', '.join(Condition)}") from error
    threshold = body["threshold"]
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
        raise BadField("threshold", "must be a number")
    return condition, float(threshold)


def _check_possible(body: Mapping[str, Any], condition: Condition | None, threshold: float) -> None:
    """A threshold in the wrong unit, or one that nothing can pass, is found now and not in the next outage."""
    if body.get("metric") not in _RATIOS:
        return
    if not 0 <= threshold <= 1:
        raise BadField(
            "threshold", f"{body['metric']} is between 0 and 1: write {threshold / 100:g} for {threshold:g} %"
        )
    never = (condition is Condition.GREATER_THAN and threshold == 1) or (
        condition is Condition.LESS_THAN and threshold == 0
    )
    if never:
        raise BadField("threshold", f"{body['metric']} is never {condition} {threshold:g}")


def _window_ms(body: Mapping[str, Any]) -> int:
    minutes = body.get("window_minutes", WINDOW_MINUTES_DEFAULT)
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes <= _WINDOW_MINUTES_MAX:
        raise BadField("window_minutes", "must be a number of minutes above 0, up to a year")
    return max(1000, round(minutes * 60_000))


def _duration(body: Mapping[str, Any], field: str) -> int:
    """`5m`, or a number of seconds."""
    given = body.get(field, 0)
    try:
        if isinstance(given, str):
            return parse_duration(given)
        if not isinstance(given, bool) and isinstance(given, int | float) and 0 <= given < 1e9:
            return round(given * 1000)
    except ValueError as error:
        raise BadField(field, str(error)) from error
    raise BadField(field, "must be a duration such as 5m, or seconds")


def _interval(body: Mapping[str, Any]) -> int:
    interval = _duration(body, "interval")
    if 0 < interval < RULE_INTERVAL_MS_MIN:
        raise BadField("interval", f"shorter than {RULE_INTERVAL_MS_MIN // 1000} s")
    return interval


def _no_data(body: Mapping[str, Any]) -> NoData:
    try:
        return NoData(body.get("no_data", NoData.KEEP))
    except ValueError as error:
        raise BadField("no_data", f"must be one of {', '.join(NoData)}") from error


def _channels(body: Mapping[str, Any]) -> Sequence[str]:
    channels = body.get("notification_channels", ())
    if not isinstance(channels, list | tuple) or not all(isinstance(one, str) and one for one in channels):
        raise BadField("notification_channels", 'must be a list of channels, such as ["slack", "email"]')
    if len(channels) > _ENTRIES_MAX:
        raise BadField("notification_channels", f"more than {_ENTRIES_MAX}")
    return tuple(dict.fromkeys(channels))


def _text(body: Mapping[str, Any], field: str, default: str) -> str:
    text = body.get(field, default)
    if not isinstance(text, str):
        raise BadField(field, "must be a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadField(field, "is no Unicode text") from error
    return text


def _flag(body: Mapping[str, Any], field: str) -> bool:
    given = body.get(field, True)
    if not isinstance(given, bool):
        raise BadField(field, "must be true or false")
    return given


def _limit(body: Mapping[str, Any]) -> int:
    limit = body.get("limit", 0)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise BadField("limit", "must be a whole number, 0 for the default")
    return limit


def _texts(
    body: Mapping[str, Any], field: str, is_name: Callable[[str], Any] = _LABEL_NAME.fullmatch
) -> dict[str, str]:
    """A JSON object of names and texts; numbers and switches are texts too, as in YAML."""
    given = body.get(field, {})
    if not isinstance(given, Mapping) or len(given) > _ENTRIES_MAX:
        raise BadField(field, f"must be an object of at most {_ENTRIES_MAX} names and texts")
    for name, text in given.items():
        if not is_name(name) or name == "__name__":
            raise BadField(f"{field}.{name[:60]}", "is no label name")
        _text({f"{field}.{name}": text}, f"{field}.{name}", "")
        if len(text) > _TEXT_CHARS_MAX:
            raise BadField(f"{field}.{name}", f"longer than {_TEXT_CHARS_MAX} characters")
    return dict(given)


def _templates(body: Mapping[str, Any], field: str) -> dict[str, str]:
    texts = _texts(body, field)
    for name, text in texts.items():
        if problem := template_problem(text):
            raise BadField(f"{field}.{name}", problem)
    return texts


def masked(channel: str) -> str:
    """A channel as it may be shown: of a URL, which may hold a secret anywhere, only the scheme."""
    scheme, separator, _ = channel.partition("://")
    return f"{scheme}://***" if separator else channel


def warnings(rule: Rule, known: Callable[[str], bool], names: Sequence[str]) -> list[str]:
    """What is allowed and yet looks like a mistake; `known` says whether a metric has ever had a sample."""
    found = [f"no series of {name} has been seen yet" for name in names if not known(name)]
    if rule.metric == "response_time_p95" and 0 < rule.threshold < 1:
        found.append(f"threshold: response_time_p95 is in milliseconds; {rule.threshold:g} of them is very short")
    if rule.metric in BUILT_INS and rule.condition in (Condition.EQUAL, Condition.NOT_EQUAL):
        found.append(f"condition: a measured {rule.metric} is hardly ever exactly {rule.threshold:g}")
    return found
