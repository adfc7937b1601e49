"""The functions of Prometheus' templates, and those of Go's own. Source: prometheus, template/template.go."""

import ipaddress
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any
from urllib.parse import quote_plus, urlsplit

import re2

from mirubato.alerts.go_format import print_, printf, println, type_name
from mirubato.alerts.template_running import AnyMap, Record, truth
from mirubato.config import parse_duration
from mirubato.limits import TEMPLATE_CHARS_MAX
from mirubato.model.labels import Labels
from mirubato.promql.numbers import go_g

Ask = Callable[[str], Sequence[tuple[Labels, float]]]
"""PromQL -> the samples that it answers, at the time of the evaluation; QueryError where it does not."""

_LARGE = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_LARGE_1024 = ("", "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_SMALL = ("", "m", "u", "n", "p", "f", "a", "z", "y")
# As Go has them: `gt` is what is not `le`, so that it holds for NaN.
_COMPARES: Mapping[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": lambda left, right: not left <= right,
    "ge": lambda left, right: not left < right,
}
_NS = 1_000_000_000


def functions(ask: Ask, now_ms: int, external_url: str) -> dict[str, Callable[..., Any]]:
    """All functions that a template of a rule may call, but for `and` and `or`, which are part of running it."""
    own: dict[str, Callable[..., Any]] = {
        "query": lambda text: _query(ask, text),
        "now": lambda: now_ms / 1000,
        "externalURL": lambda: external_url,
        "pathPrefix": lambda: urlsplit(external_url).path,
    }
    return own | _PLAIN


def _query(ask: Ask, text: str) -> list[Record]:
    if not isinstance(text, str):
        raise TypeError(text)
    return [Record({"Labels": dict(labels), "Value": value}) for labels, value in ask(text)]


# --- of Prometheus ----------------------------------------------------------------------------------------------------


def to_float(value: Any) -> float:
    """A number, or the number that a text is."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"can't convert {type_name(value)} to float")
    try:
        return float(value)
    except ValueError as error:
        raise ValueError(f'strconv.ParseFloat: parsing "{value}": invalid syntax') from error


def humanize(given: Any) -> str:
    """Four digits and a metric prefix: `1.235k`, `12m`."""
    value = to_float(given)
    if value == 0 or not math.isfinite(value):
        return go_g(value, 4)
    return _scaled_down(value, 1000, _LARGE) if abs(value) >= 1 else _scaled_up(value)


def humanize1024(given: Any) -> str:
    """Four digits and a binary prefix: `1.5ki`."""
    value = to_float(given)
    if abs(value) <= 1 or not math.isfinite(value):
        return go_g(value, 4)
    return _scaled_down(value, 1024, _LARGE_1024)


def _scaled_down(value: float, step: int, prefixes: Sequence[str]) -> str:
    prefix = ""
    for prefix in prefixes:
        if abs(value) < step or prefix == prefixes[-1]:
            break
        value /= step
    return go_g(value, 4) + prefix


def _scaled_up(value: float) -> str:
    prefix = ""
    for prefix in _SMALL:
        if abs(value) >= 1 or prefix == _SMALL[-1]:
            break
        value *= 1000
    return go_g(value, 4) + prefix


def humanize_duration(given: Any) -> str:
    """Seconds as `1d 2h 3m 4s`, or with four digits below a minute."""
    value = to_float(given)
    if not math.isfinite(value):
        return go_g(value, 4)
    if value == 0:
        return f"{go_g(value, 4)}s"
    if abs(value) < 1:
        return f"{_scaled_up(value)}s"
    sign, value = ("-", -value) if value < 0 else ("", value)
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    return f"{sign}{minutes}m {seconds}s" if minutes else f"{sign}{go_g(value, 4)}s"


def humanize_percentage(given: Any) -> str:
    """A ratio as percents with four digits."""
    return f"{go_g(to_float(given) * 100, 4)}%"


def humanize_timestamp(given: Any) -> str:
    """Unix seconds as Go prints a time."""
    value = to_float(given)
    return go_time(value) if math.isfinite(value) else go_g(value, 4)


def go_time(seconds: float) -> str:
    """`2006-01-02 15:04:05.999 +0000 UTC`; ValueError beyond what int64 nanoseconds hold."""
    nanoseconds = seconds * _NS
    if not abs(nanoseconds) <= 2**63:
        raise ValueError(f"{go_g(seconds)} cannot be represented as a nanoseconds timestamp since it overflows int64")
    ms = int(nanoseconds) // 1_000_000
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    fraction = f".{ms % 1000:03d}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


def go_duration(given: Any) -> str:
    """Seconds as Go prints a duration: `1h0m5.5s`, `12ms`."""
    nanoseconds = int(to_float(given) * _NS)
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < _NS:
        for size, unit in ((1_000_000, "ms"), (1_000, "µs"), (1, "ns")):
            if rest >= size:
                return f"{sign}{_decimal(rest, size)}{unit}"
        return "0s"
    minutes, seconds = divmod(rest, 60 * _NS)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(seconds, _NS)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    return f"{whole}.{str(rest).zfill(len(str(size)) - 1)}".rstrip("0").rstrip(".")


def first(vector: list[Record]) -> Record:
    """The first sample."""
    if not vector:
        raise ValueError("first() called on vector with no elements")
    return vector[0]


def sort_by_label(name: str, vector: list[Record]) -> list[Record]:
    """Samples by the value of a label."""
    return sorted(vector, key=lambda one: str(one.fields["Labels"].get(name, "")))


def re_replace_all(pattern: str, replacement: str, text: str) -> str:
    """RE2, with `$1` and `${name}` in the replacement."""
    if len(text) * max(1, len(replacement)) > TEMPLATE_CHARS_MAX * 100:
        raise ValueError("too much text to replace in")
    regex = _regex(pattern)
    pieces, at = [], 0
    for match in regex.finditer(text):
        pieces += [text[at : match.start()], _expanded(replacement, match)]
        at = match.end()
    return "".join([*pieces, text[at:]])


_REFERENCE = re2.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")


def _expanded(replacement: str, match: Any) -> str:
    def group(reference: Any) -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        try:
            return match[int(name) if name.isdecimal() else name] or ""
        except (IndexError, KeyError):
            return ""

    return str(_REFERENCE.sub(group, replacement))


def matches(pattern: str, text: str) -> bool:
    """Whether RE2 finds the pattern anywhere."""
    return _regex(pattern).search(text) is not None


def _regex(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"error parsing regexp: {error}") from error


def title(text: str) -> str:
    """Each word with a capital; the other letters as they are."""
    return "".join(
        letter.upper() if letter.isalpha() and not (at and (text[at - 1].isalnum() or text[at - 1] in "'_")) else letter
        for at, letter in enumerate(text)
    )


def strip_port(address: str) -> str:
    """`host:port` without the port."""
    host, port = _host_and_port(address)
    return address if port is None else host


def strip_domain(address: str) -> str:
    """`host.domain:port` without the domain; numeric addresses stay."""
    host, port = _host_and_port(address)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        short = host.split(".")[0]
        return f"{short}:{port}" if port else short
    return address


def _host_and_port(address: str) -> tuple[str, str | None]:
    """The port is None where there is none (Go's SplitHostPort)."""
    host, separator, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], port
    if not separator or ":" in host or "[" in host or "]" in host:
        return address, None
    return host, port


def parse_duration_s(text: str) -> float:
    """`1h30m` -> seconds; a minus sign before it is taken."""
    sign = -1 if text.startswith("-") else 1
    return sign * parse_duration(text.removeprefix("-")) / 1000


def _graph_link(expr: str, tab: int) -> str:
    return f"/graph?g0.expr={quote_plus(expr)}&g0.tab={tab}"


# --- of Go ------------------------------------------------------------------------------------------------------------


def _comparable(left: Any, right: Any) -> None:
    if type(left) is not type(right) and not (left is None or right is None):
        raise ValueError("incompatible types for comparison")


def _equal(first_: Any, *others: Any) -> bool:
    if not others:
        raise ValueError("missing argument for comparison")
    for other in others:
        _comparable(first_, other)
        if isinstance(first_, Mapping | list):
            raise ValueError("non-comparable type")
    return any(first_ == other for other in others)


def _ordered(name: str) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        _comparable(left, right)
        if not isinstance(left, int | float | str) or isinstance(left, bool):
            raise ValueError("invalid type for comparison")
        return _COMPARES[name](left, right)

    return compare


def _index(of: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(of, Mapping):
            of = of.get(key, None if isinstance(of, AnyMap) else "")
        elif isinstance(of, list | str) and isinstance(key, int):
            if not 0 <= key < len(of):
                raise ValueError(f"index out of range: {key}")
            of = of.encode()[key] if isinstance(of, str) else of[key]
        else:
            raise ValueError(f"can't index item of type {type_name(of)}")
    return of


def _slice(of: Any, *bounds: int) -> Any:
    if not isinstance(of, str | list):
        raise ValueError(f"can't slice item of type {type_name(of)}")
    low, high = (*bounds, len(of))[:2] if len(bounds) != 1 else (bounds[0], len(of))
    if not bounds:
        low, high = 0, len(of)
    if not 0 <= low <= high <= len(of):
        raise ValueError(f"invalid slice index: {low} > {high}")
    return of[low:high]


def _strings(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that takes texts and nothing else."""

    def checked(*arguments: Any) -> Any:
        for one in arguments:
            if not isinstance(one, str):
                raise ValueError(f"wrong type for value; expected string; got {type_name(one)}")
        return function(*arguments)

    return checked


def _of_sample(take: Callable[[Record], Any]) -> Callable[[Any], Any]:
    def checked(sample: Any) -> Any:
        if not isinstance(sample, Record):
            raise ValueError(f"wrong type for value; expected sample; got {type_name(sample)}")
        return take(sample)

    return checked


_PLAIN: dict[str, Callable[..., Any]] = {
    "first": first,
    "value": _of_sample(lambda sample: sample.fields["Value"]),
    "label": lambda name, sample: sample.fields["Labels"].get(name, ""),
    "strvalue": _of_sample(lambda sample: sample.fields["Labels"].get("__value__", "")),
    "sortByLabel": sort_by_label,
    "args": lambda *given: AnyMap({f"arg{index}": one for index, one in enumerate(given)}),
    "humanize": humanize,
    "humanize1024": humanize1024,
    "humanizeDuration": humanize_duration,
    "humanizePercentage": humanize_percentage,
    "humanizeTimestamp": humanize_timestamp,
    "toTime": lambda given: go_time(to_float(given)),
    "toDuration": go_duration,
    "parseDuration": _strings(parse_duration_s),
    "reReplaceAll": _strings(re_replace_all),
    "match": _strings(matches),
    "title": _strings(title),
    "toUpper": _strings(str.upper),
    "toLower": _strings(str.lower),
    "safeHtml": _strings(str),
    "stripPort": _strings(strip_port),
    "stripDomain": _strings(strip_domain),
    "graphLink": _strings(lambda expr: _graph_link(expr, 0)),
    "tableLink": _strings(lambda expr: _graph_link(expr, 1)),
    "urlQueryEscape": _strings(quote_plus),
    "not": lambda value: not truth(value),
    "len": len,
    "index": _index,
    "slice": _slice,
    "print": print_,
    "printf": printf,
    "println": println,
    "html": lambda *given: escape(print_(*given)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "urlquery": lambda *given: quote_plus(print_(*given)),
    "js": lambda *given: print_(*given).replace("\\", "\\\\").replace("'", "\\'").replace('"', '\\"'),
    "eq": _equal,
    "ne": lambda left, right: not _equal(left, right),
    **{name: _ordered(name) for name in _COMPARES},
}

NAMES = frozenset(_PLAIN) | {"query", "now", "externalURL", "pathPrefix", "and", "or"}
"""What a template may call."""
