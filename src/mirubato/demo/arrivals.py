"""What has arrived in the gateway, asked at its web port and shown in the terminal."""

import http.client
import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from mirubato import clock

_TIMEOUT_S = 3.0
_FIRST_EVERY_S = 0.5  # between two readings until there is something to show
_EVERY_S = 2.0  # and from then on
_EVERY_LOGGED_S = 5.0  # and where each is a few more lines of a log
_WINDOW_S = 20.0  # a rate is taken between two readings that are at most so far apart
_HEADINGS = ("service", "series", "requests/s", "failed", "mean time")

# How each convention names the histogram of a server's requests, the label of the status, and a second in its unit.
_CONVENTIONS = (
    ("http_server_request_duration_seconds", "http_response_status_code", 1.0),
    ("http_server_duration_milliseconds", "http_status_code", 1000.0),
)


Sample = tuple[Mapping[str, str], float]
Instance = tuple[str, str]  # a service, and which of its processes


@dataclass(slots=True)
class Requests:
    """Requests that a service has served, those of them that failed (5xx), and the time they took, in seconds."""

    all: float = 0.0
    failed: float = 0.0
    time_s: float = 0.0

    def __add__(self, other: "Requests") -> "Requests":
        return Requests(self.all + other.all, self.failed + other.failed, self.time_s + other.time_s)

    def __sub__(self, earlier: "Requests") -> "Requests":
        return Requests(self.all - earlier.all, self.failed - earlier.failed, self.time_s - earlier.time_s)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the gateway held `at_s` (monotonic seconds)."""

    at_s: float
    series: Mapping[str, int]  # by service
    requests: Mapping[Instance, Requests]  # since it started; an instance without HTTP is missing
    values: Mapping[str, float] = field(default_factory=dict)  # sums of the business metrics that are shown


_BUSINESS = {"shop_orders_placed_total": "orders placed", "queue_depth": "orders waiting"}


def read(samples: Iterable[Sample], at_s: float) -> Reading:
    """Sum up the newest samples of all series (labels with `service_name`, value)."""
    series: dict[str, int] = {}
    by_convention: list[dict[Instance, Requests]] = [{} for _ in _CONVENTIONS]
    values: dict[str, float] = {}
    for labels, value in samples:
        service, name = labels["service_name"], labels["__name__"]
        series[service] = series.get(service, 0) + 1
        if name in _BUSINESS:
            values[name] = values.get(name, 0.0) + value
        for requests, convention in zip(by_convention, _CONVENTIONS, strict=True):
            _add(requests, convention, labels, value)
    # The first convention wins: a service that speaks both must not be counted twice.
    return Reading(at_s, series, {**by_convention[1], **by_convention[0]}, values)


def instance(labels: Mapping[str, str]) -> Instance:
    """The instance that a sample belongs to."""
    return labels["service_name"], labels.get("instance", "")


def _add(
    requests: dict[Instance, Requests], convention: tuple[str, str, float], labels: Mapping[str, str], value: float
) -> None:
    histogram, status, second = convention
    name = labels["__name__"]
    if name == f"{histogram}_count":
        counted = requests.setdefault(instance(labels), Requests())
        counted.all += value
        if labels.get(status, "").startswith("5"):
            counted.failed += value
    elif name == f"{histogram}_sum":
        requests.setdefault(instance(labels), Requests()).time_s += value / second


def rows(readings: Sequence[Reading]) -> list[tuple[str, ...]]:
    """One row per service, in the order of the headings; rates between its first reading and the last of all."""
    now = readings[-1]
    return [(service, str(count), *_rates(service, readings)) for service, count in sorted(now.series.items())]


def _rates(service: str, readings: Sequence[Reading]) -> tuple[str, str, str]:
    now = readings[-1]
    earlier = next((one for one in readings if any(name == service for name, _ in one.requests)), now)
    if earlier is now:
        return "-", "-", "-"
    served = Requests()
    for key, requests in now.requests.items():
        if key[0] == service:
            served += requests - earlier.requests.get(key, Requests())
    if served.all <= 0:
        return "0.0", "-", "-"
    rate = served.all / (now.at_s - earlier.at_s)
    return f"{rate:.1f}", f"{served.failed / served.all:.1%}", f"{served.time_s / served.all * 1000:.0f} ms"


def business(now: Reading) -> str:
    """The shop's own metrics in words, such as `orders placed 12, orders waiting 3`; empty without any."""
    return ", ".join(f"{words} {now.values[name]:.0f}" for name, words in _BUSINESS.items() if name in now.values)


def table(rows_: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a table, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(_HEADINGS, *rows_, strict=True)]
    return [_table_line(row, widths) for row in (_HEADINGS, *rows_)]


def _table_line(row: tuple[str, ...], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "   ".join((first, *others))


def by_instance(samples: Iterable[Sample]) -> dict[Instance, list[Sample]]:
    """The samples of each instance, in the order given."""
    grouped: dict[Instance, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(instance(sample[0]), []).append(sample)
    return grouped


class GatewayReader:
    """Asks the gateway's Prometheus API at `url` (no trailing slash)."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def samples(self) -> list[Sample]:
        """The newest sample of every series of every service; OSError when the gateway does not answer."""
        result = self._query('{service_name!=""}')["result"]
        return [(item["metric"], float(item["value"][1])) for item in result if "value" in item]

    def _query(self, query: str) -> Any:
        parameters = urllib.parse.urlencode({"query": query})
        url = f"{self._url}/api/prometheus/api/v1/query?{parameters}"
        try:
            with self._opener.open(url, timeout=_TIMEOUT_S) as response:
                return json.load(response)["data"]
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(f"the gateway's answer cannot be read: {error}") from error


class Screen:
    """Shows lines: over the ones before on a terminal, else one below the other, with the time in front."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._in_place = out.isatty()
        self._shown = 0

    def show(self, lines: Sequence[str]) -> None:
        """Replace what is shown by `lines`."""
        if self._in_place:
            up = f"\x1b[{self._shown}A" if self._shown else ""
            width = shutil.get_terminal_size().columns - 1  # a line that wraps would count as two
            self._out.write(up + "".join(f"\x1b[2K{line[:width]}\n" for line in lines) + "\x1b[J")
            self._shown = len(lines)
        else:
            stamp = time.strftime("%H:%M:%S")
            self._out.write("".join(f"{stamp}  {line}\n" for line in lines))
        self._out.flush()


class Arrivals:
    """Asks for the samples again and again and shows what has arrived since this was made.

    The gateway answers with the last five minutes: an instance of an earlier demo is left out until it sends again.
    """

    def __init__(self, samples: Callable[[], Iterable[Sample]], out: TextIO) -> None:
        """`samples` answers as `GatewayReader.samples` does; its OSError is passed on here, and shown later."""
        self._samples = samples
        self._screen = Screen(out)
        self._every_s = _EVERY_S if out.isatty() else _EVERY_LOGGED_S
        self._readings: deque[Reading] = deque()
        self._silent = {key: _values(own) for key, own in by_instance(self._samples()).items()}

    def watch(self, pause: Callable[[float], bool]) -> None:
        """Show until `pause`, which is given seconds to wait, answers False."""
        self._screen.show(["waiting for the first data ..."])
        while pause(self._pause_s()):
            lines = self._look()
            if lines:
                self._screen.show(lines)

    def _pause_s(self) -> float:
        if not self._readings:
            return _FIRST_EVERY_S
        return _EVERY_S if len(self._readings) == 1 else self._every_s

    def _look(self) -> list[str]:
        at_s = clock.monotonic_s()
        try:
            now = read(self._heard(self._samples()), at_s)
        except OSError as error:
            return [f"no answer from the gateway: {error}"]
        if not now.series:
            return []
        while self._readings and self._readings[0].at_s < at_s - _WINDOW_S:
            self._readings.popleft()
        self._readings.append(now)
        lines = table(rows(self._readings))
        return [*lines, business(now)] if now.values else lines

    def _heard(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples of the instances that have sent something new."""
        for key, own in by_instance(samples).items():
            # Series of a silent instance leave the answer one after the other: only what is new counts.
            if key not in self._silent or _values(own).items() - self._silent[key].items():
                self._silent.pop(key, None)
                yield from own


def _values(samples: Iterable[Sample]) -> dict[frozenset[tuple[str, str]], float]:
    return {frozenset(labels.items()): value for labels, value in samples}
