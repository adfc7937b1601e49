"""Usage counted from the telemetry that passes through: increases of counters, asked in PromQL hour by hour."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mirubato.costs.datasets import KV_METERS, R2_CLASS_A, R2_CLASS_B
from mirubato.costs.periods import HOUR_MS
from mirubato.costs.prices import Meter, PriceTable
from mirubato.costs.usage import Source, Usage
from mirubato.errors import QueryError
from mirubato.model.seams import Selector
from mirubato.promql.query import QueryBudget, over_steps
from mirubato.promql.values import Steps

DATASET = "telemetry"
"""The name of what is metered, beside those of Cloudflare's datasets."""

HEARTBEAT = "mirubato_cost_today_usd"
"""A series that is written each minute: where it has samples, the gateway was there to count."""

_HEARTBEAT_MS = 60_000
# Scripts and labels of a meter that are told apart in one hour; the others are one.
_NAMES_MAX = 200
_OTHER = "(other)"
# How often it is looked whether counters had samples, in an hour without a heartbeat.
_LOOK_MS = 300_000

Query = Callable[[], QueryBudget]


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of telemetry, and how its increase is read: `meter` of its labels, None for what costs nothing."""

    metric: str
    by: Sequence[str]
    meter: Callable[[Mapping[str, str]], Meter | None]
    times: float = 1.0
    label: str = ""
    where: str = ""

    @property
    def series(self) -> str:
        """Its selector."""
        return f"{self.metric}{{{self.where}}}"


def _of(product: str, name: str) -> Callable[[Mapping[str, str]], Meter | None]:
    return lambda _: Meter(product, name)


_KV_WORDS = {"get": "reads", "put": "writes", **KV_METERS}


def _kv(labels: Mapping[str, str]) -> Meter | None:
    word = re.split(r"[^a-z]", _operation(labels).lower().removeprefix("kv_"))[0]
    name = next((meter for verb, meter in _KV_WORDS.items() if word.startswith(verb)), None)
    return Meter("kv", name) if name else None


_R2_WORDS = {"get": "class_b", "head": "class_b", "put": "class_a", "list": "class_a", "create": "class_a"}


def _r2(labels: Mapping[str, str]) -> Meter | None:
    """By the names of the S3 API (`PutObject`) or of a Worker's binding (`put`)."""
    operation = _operation(labels).removeprefix("r2_")
    if operation in R2_CLASS_A or operation in R2_CLASS_B:
        return Meter("r2", "class_a" if operation in R2_CLASS_A else "class_b")
    name = next((meter for verb, meter in _R2_WORDS.items() if operation.lower().startswith(verb)), None)
    return Meter("r2", name) if name else None


def _operation(labels: Mapping[str, str]) -> str:
    return labels.get("operation") or labels.get("action") or ""


def _queue(operation: str, times: float) -> Counter:
    return Counter(
        "cloudflare_queue_messages_total",
        ("script_name", "queue"),
        _of("queues", "operations"),
        times,
        "queue",
        f'operation="{operation}"',
    )


COUNTERS: Sequence[Counter] = (
    Counter("cloudflare_worker_requests_total", ("script_name",), _of("workers", "requests")),
    Counter("cloudflare_worker_cpu_time_seconds_sum", ("script_name",), _of("workers", "cpu_ms"), 1000.0),
    Counter("cloudflare_d1_rows_read_total", ("script_name",), _of("d1", "rows_read")),
    Counter("cloudflare_d1_rows_written_total", ("script_name",), _of("d1", "rows_written")),
    Counter("cloudflare_kv_operations_total", ("script_name", "operation"), _kv),
    Counter("cloudflare_r2_operations_total", ("script_name", "operation", "bucket"), _r2, label="bucket"),
    _queue("send", 1.0),
    # A message that was consumed has been read and deleted.
    _queue("consume", 2.0),
    Counter("cloudflare_durable_object_rows_read_total", ("script_name",), _of("durable_objects", "rows_read")),
    Counter("cloudflare_durable_object_rows_written_total", ("script_name",), _of("durable_objects", "rows_written")),
    Counter("mirubato_event_points_total", ("dataset",), _of("analytics_engine", "points"), label="dataset"),
)
# Spans and log records of a Worker are events at Cloudflare, stored there and exported to here.
_TELEMETRY = ("traces_span_metrics_calls_total", "logs_records_total")
_EVENTS = (Meter("workers_logs", "events"), Meter("otlp_export", "events"))
RESOURCE = "resource_usage_total"
_RESOURCE_BY = ("resource", "faas_name", "service_name")


@dataclass(slots=True)
class Metered:
    """What was counted in a stretch of time: how much of it was seen (0 to 1), and what could not be counted.

    Where a query failed, the rows are not all: `failed`.
    """

    rows: list[Usage] = field(default_factory=list)
    seen: float = 0.0
    notes: list[str] = field(default_factory=list)
    failed: bool = False


@dataclass(frozen=True, slots=True)
class _Windows:
    """Stretches of one length (ms), one for each step, and what was counted in each by its end."""

    steps: Steps
    length: int
    found: Mapping[int, Metered]

    def hour(self, end: int) -> int:
        """The hour that a stretch is in."""
        return (end - self.length) // HOUR_MS * HOUR_MS


class Metering:
    """Counts usage over a selector; each call runs its queries in the thread that calls."""

    def __init__(self, selector: Selector, query: Query, table: PriceTable) -> None:
        self._selector, self._query = selector, query
        self._resources = resource_names(table)

    def count(self, start: int, end: int) -> Metered:
        """Usage from `start` to `end` (ms), put into the hour that begins at `start`'s."""
        return self._counted(Steps(end, end, HOUR_MS), end - start)[end]

    def hours(self, first: int, last: int) -> dict[int, Metered]:
        """Usage of each hour, from the one that begins at `first` (ms) to the one that does at `last`."""
        found = self._counted(Steps(first + HOUR_MS, last + HOUR_MS, HOUR_MS), HOUR_MS)
        return {end - HOUR_MS: one for end, one in found.items()}

    def _counted(self, steps: Steps, length: int) -> Mapping[int, Metered]:
        windows = _Windows(steps, length, {int(end): Metered() for end in steps.times()})
        for counter in COUNTERS:
            for labels, end, increase in self._increases(counter.series, counter.by, windows):
                meter = counter.meter(labels)
                if meter is not None:
                    script = _text(labels.get("script_name", ""))
                    label = _labelled(counter.label, labels.get(counter.label, ""))
                    amount = increase * counter.times
                    row = Usage(windows.hour(end), meter, amount, Source.METERED, script, label)
                    windows.found[end].rows.append(row)
        self._count_events(windows)
        self._count_resources(windows)
        self._look(windows)
        for one in windows.found.values():
            one.rows = bounded(one.rows)
        return windows.found

    def _increases(
        self, metric: str, by: Sequence[str], windows: _Windows
    ) -> Iterator[tuple[Mapping[str, str], int, float]]:
        """(labels, end of the stretch, increase) of groups of series.

        `anchored`: what one hour counts, the next does not count again, and none is guessed.
        """
        text = f"sum by ({', '.join(by)}) (increase({metric}[{windows.length}ms] anchored))"
        try:
            result = over_steps(self._selector, text, windows.steps, self._query())
        except QueryError as error:
            for one in windows.found.values():
                one.notes.append(f"{metric}: {error}")
                one.failed = True
            return
        for series in result.series:
            labels = dict(series.labels)
            for end, increase in zip(series.times, series.values, strict=True):
                if increase > 0:
                    yield labels, end, increase

    def _count_events(self, windows: _Windows) -> None:
        """Spans and logs of Workers: of the services whose requests Cloudflare's own spans have told of."""
        scripts = {
            row.script
            for one in windows.found.values()
            for row in one.rows
            if row.meter == Meter("workers", "requests")
        }
        for metric in _TELEMETRY if scripts else ():
            for labels, end, increase in self._increases(metric, ("service_name",), windows):
                script = labels.get("service_name", "")
                if script in scripts:
                    windows.found[end].rows += [
                        Usage(windows.hour(end), meter, increase, Source.METERED, script) for meter in _EVENTS
                    ]

    def _count_resources(self, windows: _Windows) -> None:
        """What apps count themselves. Where Cloudflare's spans tell of the same meter of a script, the spans win."""
        told = {end: {(row.meter, row.script) for row in one.rows} for end, one in windows.found.items()}
        for labels, end, increase in self._increases(RESOURCE, _RESOURCE_BY, windows):
            resource, one = labels.get("resource", ""), windows.found[end]
            meter = self._resources.get(_plain(resource))
            if meter is None:
                one.notes.append(f'resource_usage_total{{resource="{resource[:60]}"}} has no price row')
                continue
            script = _text(labels.get("faas_name") or labels.get("service_name", ""))
            if (meter, script) not in told[end]:
                one.rows.append(Usage(windows.hour(end), meter, increase, Source.METERED, script))

    def _look(self, windows: _Windows) -> None:
        """The part of each stretch in which there was somebody to count: by the heartbeat, else by the counters."""
        beats = self._samples(f"max(count_over_time({HEARTBEAT}[{windows.length}ms]))", windows.steps)
        expected = max(1, windows.length // _HEARTBEAT_MS - 1)
        for end, one in windows.found.items():
            one.seen = min(1.0, beats.get(end, 0.0) / expected)
        if all(one.seen >= 1 for one in windows.found.values()):
            return
        names = "|".join(sorted({counter.metric for counter in COUNTERS} | {RESOURCE}))
        start = windows.steps.start - max(0, windows.length - _LOOK_MS) // _LOOK_MS * _LOOK_MS
        looks = self._samples(f'count({{__name__=~"{names}"}})', Steps(start, windows.steps.end, _LOOK_MS))
        each = max(1, windows.length // _LOOK_MS)
        for end, one in windows.found.items():
            there = sum(1 for number in range(each) if end - number * _LOOK_MS in looks)
            one.seen = max(one.seen, there / each)

    def _samples(self, text: str, steps: Steps) -> dict[int, float]:
        """The one series of an answer, by time."""
        try:
            result = over_steps(self._selector, text, steps, self._query())
        except QueryError:
            return {}
        return dict(zip(result.series[0].times, result.series[0].values, strict=True)) if result.series else {}


def resource_names(table: PriceTable) -> Mapping[str, Meter]:
    """What an app may call a resource -> its meter: `d1.rows_written`, `d1_rows_written`, `do_requests`, ..."""
    names: dict[str, Meter] = {}
    for meter in sorted(table.usage_meters()):
        names[_plain(str(meter))] = meter
        for short, product in _SHORT.items():
            if meter.product == product:
                names[_plain(f"{short}.{meter.name}")] = meter
    return names


_SHORT = {"do": "durable_objects", "ae": "analytics_engine", "queue": "queues", "worker": "workers"}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _text(value: str) -> str:
    return value[:128]


def _labelled(name: str, value: str) -> str:
    return f"{name}={value[:128]}" if name and value else ""


def bounded(rows: Sequence[Usage]) -> list[Usage]:
    """At most so many names of a meter: the largest stay, the others become one."""
    by_meter: dict[Meter, list[Usage]] = {}
    for row in rows:
        by_meter.setdefault(row.meter, []).append(row)
    kept: list[Usage] = []
    for meter, some in by_meter.items():
        some.sort(key=lambda row: -row.quantity)
        kept += some[:_NAMES_MAX]
        if rest := some[_NAMES_MAX:]:
            kept.append(Usage(rest[0].hour, meter, sum(row.quantity for row in rest), rest[0].source, _OTHER))
    return kept
