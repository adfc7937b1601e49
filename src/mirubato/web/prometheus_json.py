"""Results as the Prometheus API writes them, without a Python object for each value: 60,000 of them take 7 ms.

Source: prometheus, web/api/v1/json_codec.go and util/jsonutil/marshal.go.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import orjson

from mirubato.model.histogram import Histogram
from mirubato.model.labels import Labels, format_value
from mirubato.model.samples import Exemplar
from mirubato.promql.values import Points

# Values whose texts are made in one go: those of so many stay in the cache, and each go costs little beside them.
_VALUES_AT_ONCE = 8_192

_PLAIN_IN_GO = frozenset(("+16", "+17", "+18", "+19", "+20"))


def vector(series: Sequence[Points]) -> orjson.Fragment:
    """Each series with its one value or histogram."""
    texts = iter(value_texts([value for one in series for value in one.values]))
    return _list(f"{_metric(one.labels)},{_instant(one, texts)}}}" for one in series)


def _instant(one: Points, texts: Iterator[str]) -> str:
    if one.histograms:
        return f'"histogram":{_histogram_point(one.histogram_times[0], one.histograms[0])}'
    return f'"value":[{time_text(one.times[0])},"{next(texts)}"]'


def matrix(series: Sequence[Points]) -> orjson.Fragment:
    """Each series with its values, its histograms, or both."""
    rows = _Rows()
    size = max(1, _VALUES_AT_ONCE // max(1, max((len(one.values) for one in series), default=0)))
    return _list(entry for at in range(0, len(series), size) for entry in rows.entries(series[at : at + size]))


def scalar(one: Points) -> orjson.Fragment:
    """One time and value."""
    return orjson.Fragment(f'[{time_text(one.times[0])},"{format_value(one.values[0])}"]')


def string(text: str, time: int) -> orjson.Fragment:
    """One time (ms) and a text."""
    return orjson.Fragment(f"[{time_text(time)},{orjson.dumps(text).decode()}]")


class _Rows:
    """Rows of values. Whole ones share their times, which are written out once."""

    def __init__(self) -> None:
        self._times: Sequence[int] | None = None
        self._pieces: list[str] = []
        """What stands before each value, and room for the value behind it."""

    def entries(self, series: Sequence[Points]) -> Iterator[str]:
        """Some series, whose values are turned into text at once."""
        texts, at = value_texts(list(chain.from_iterable(one.values for one in series))), 0
        for one in series:
            end = at + len(one.values)
            yield f"{_metric(one.labels)}{self._values(one.times, texts[at:end])}{_histograms(one)}}}"
            at = end

    def _values(self, times: Sequence[int], texts: Sequence[str]) -> str:
        """`,"values":[[1435781451.781,"1"],...]`, or nothing."""
        if not times:
            return ""
        if times is not self._times:
            self._times = times
            self._pieces = [""] * (2 * len(times))
            self._pieces[0::2] = [f'"],[{time_text(time)},"' for time in times]
            self._pieces[0] = self._pieces[0][3:]
        self._pieces[1::2] = texts
        return f',"values":[{"".join(self._pieces)}"]]'


def value_texts(values: Sequence[float]) -> list[str]:
    """Each value as `format_value` writes it; orjson does it for all at once, and its other forms are mended."""
    dumped = orjson.dumps(values)[1:-1].decode()
    if not dumped:
        return []
    texts = f"{dumped},".replace(".0,", ",").split(",")
    texts.pop()
    if "e" in dumped or "n" in dumped:
        texts = [
            _mended(text, value) if "e" in text or text == "null" else text
            for value, text in zip(values, texts, strict=True)
        ]
    return texts


def _mended(text: str, value: float) -> str:
    """orjson has exponents from 1e16 (Go: 1e21) and of one digit, and `null` for NaN and infinities."""
    mantissa, _, power = text.partition("e")
    if power in ("-7", "-8", "-9"):
        return f"{mantissa}e-0{power[1]}"
    return text if len(power) >= 3 and power not in _PLAIN_IN_GO else format_value(value)


def time_text(time: int) -> str:
    """Ms -> seconds with as many decimals as are needed."""
    seconds, ms = divmod(abs(time), 1000)
    sign = "-" if time < 0 else ""
    return f"{sign}{seconds}.{ms:03d}".rstrip("0") if ms else f"{sign}{seconds}"


def _metric(labels: Labels) -> str:
    return f'{{"metric":{orjson.dumps(dict(labels)).decode()}'


def _histograms(one: Points) -> str:
    if not one.histograms:
        return ""
    shown = map(_histogram_point, one.histogram_times, one.histograms)
    return f',"histograms":[{",".join(shown)}]'


def _histogram_point(time: int, histogram: Histogram) -> str:
    return f"[{time_text(time)},{orjson.dumps(histogram_json(histogram)).decode()}]"


def histogram_json(histogram: Histogram) -> dict[str, Any]:
    """A native histogram: buckets that hold something, each [rule, left, right, count].

    Rules (api.md): 0 open left, 1 open right, 2 open both, 3 closed both.
    """
    buckets = [
        [rule, format_value(left), format_value(right), format_value(count)]
        for rule, left, right, count in histogram.bounded_buckets()
        if count
    ]
    shown: dict[str, Any] = {"count": format_value(histogram.count), "sum": format_value(histogram.sum)}
    return shown | ({"buckets": buckets} if buckets else {})


def exemplar_json(exemplar: Exemplar) -> dict[str, Any]:
    """An exemplar with its labels, such as `trace_id`."""
    return {
        "labels": dict(exemplar.labels),
        "value": format_value(exemplar.value),
        "timestamp": orjson.Fragment(time_text(exemplar.timestamp)),
    }


def _list(entries: Iterable[str]) -> orjson.Fragment:
    return orjson.Fragment(f"[{','.join(entries)}]")
