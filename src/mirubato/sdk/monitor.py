"""The facade that an app calls."""

import random
from collections.abc import Callable, Generator, Mapping
from typing import Any, Literal

from mirubato.sdk.attributes import Attributes, Metadata, frozen
from mirubato.sdk.drops import DROPPED, say
from mirubato.sdk.instruments import (
    INFINITY,
    BadName,
    Bound,
    Instruments,
    Target,
    Unbound,
    instruments_of,
    usable,
)
from mirubato.sdk.pipeline import Reader, pipeline_in_use
from mirubato.sdk.timing import Timing

Kind = Literal["request", "error", "business", "resource", "performance"]
MS = 1e-3  # seconds


class Done:
    """Awaitable, and done: `await monitor.track_request(...)` works, and so does leaving the `await` out."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


DONE = Done()

# Takes a picked call of `track`: name, doubles, blobs, and how many calls this one stands for.
EventPoints = Callable[[str, Mapping[str, float], Mapping[str, Any], float], None]


def error_type(error: object) -> str:
    """The class of an exception with its module, as `error.type` wants it; a text as it is."""
    if isinstance(error, str):
        return error
    of = error if isinstance(error, type) else type(error)
    return of.__qualname__ if of.__module__ == "builtins" else f"{of.__module__}.{of.__qualname__}"


class Monitor:
    """Tracks into OTel instruments. No method raises or waits; all may be called from any thread.

    Times are milliseconds. `metadata` is a flat mapping whose keys become attributes: `path` is `http.route` (give the
    template, `/score/{id}`, not the path), `method` is `http.request.method`, `worker` is `faas.name`; the others keep
    their names. What is refused or cut is counted in `dropped`. These instruments are never sampled.
    """

    def __init__(
        self,
        instruments: Instruments,
        *,
        method: str | None = None,
        enable_console_errors: bool = False,
        event_points: EventPoints | None = None,
        flush: Callable[[float], bool] | None = None,
    ) -> None:
        self._instruments = instruments
        self._method = method
        self._console = enable_console_errors
        self._event_points = event_points
        self._flush = flush
        self._record_request = instruments.request_duration.record
        # With a default method, every look-up would need that too: such a monitor takes the longer way.
        self._known_request: Callable[[object], Attributes | None] = (
            (lambda _key: None) if method else instruments.request_sets.get
        )

    @property
    def dropped(self) -> Mapping[str, int]:
        """Reason -> count of what this process refused, cut or lost; the metric is `mirubato_sdk_dropped_total`."""
        return DROPPED

    def track_request(self, status: int, response_time_ms: float, metadata: Metadata = None) -> Done:
        """One served request: `http.server.request.duration`, with `error.type` when the status is 500 or more."""
        try:
            attributes = self._known_request((status, *metadata.items()) if metadata else (status,))
            if attributes is not None and 0 <= response_time_ms < INFINITY:
                self._record_request(response_time_ms * MS, attributes)
                return DONE
        except Exception:  # noqa: BLE001, S110 - the way below takes everything, and counts what it cannot use
            pass
        return self._write(response_time_ms, self._request, status, metadata)

    def track_error(self, error: BaseException | str, context: Metadata = None) -> Done:
        """One error: `app.errors` with the exception's class as `error.type`."""
        return self._write(1, self._error, error, context)

    def track_business(self, name: str, value: float = 1, metadata: Metadata = None) -> Done:
        """Something of the business, counted by the counter `business.<name>`."""
        return self._write(value, self._business, name, metadata)

    def track_resource(self, name: str, value: float = 1, metadata: Metadata = None) -> Done:
        """Use of a resource: `resource.usage` with `resource=<name>`."""
        return self._write(value, self._resource, name, metadata)

    def track_performance(self, name: str, duration_ms: float, metadata: Metadata = None) -> Done:
        """How long something took: `performance.duration` with `operation=<name>`."""
        return self._write(duration_ms, self._performance, name, metadata)

    def track(
        self,
        name: str,
        doubles: Mapping[str, Any] | None = None,
        blobs: Mapping[str, Any] | None = None,
        sample: float = 1.0,
    ) -> Done:
        """An event of its own: each double is recorded in a histogram without buckets, `<name>.<key>`, by the blobs.

        `sample` (0 to 1) is the share of calls that become an event point, where there is a receiver of those; the
        histograms count every call. One mapping with `doubles`, `blobs` and `sample` works too.
        """
        try:
            if doubles is not None and isinstance(doubles.get("doubles"), Mapping):
                doubles, blobs, sample = doubles["doubles"], doubles.get("blobs"), doubles.get("sample", 1.0)
            self._event(name, doubles or {}, blobs, sample)
        except Exception as error:  # noqa: BLE001 - nothing may reach the app
            self._swallowed(error)
        return DONE

    def flush(self, timeout_s: float = 5.0) -> Done:
        """Export what was measured so far: at the end of each request of a Worker; elsewhere nobody needs to call it.

        Waits at most `timeout_s`; what did not get out in time is counted.
        """
        try:
            if self._flush is not None and not self._flush(timeout_s):
                DROPPED.add("flush_timeout")
        except Exception as error:  # noqa: BLE001 - nothing may reach the app
            self._swallowed(error)
        return DONE

    def request(self, method: str | None = None, route: str | None = None, **metadata: Any) -> Timing:
        """Measures a request: a context manager and a decorator, for sync and async code.

        `with monitor.request(method="GET", route="/score/{id}") as r: ...; r.status = 404`. The status is 200
        unless set; an exception makes it 500 with its class as `error.type`, and goes on. Cancellation makes it 499.
        """
        given = {"method": method, "path": route, **metadata}
        return Timing(self._timed, {name: value for name, value in given.items() if value is not None})

    def bind(self, kind: Kind, first: Any, metadata: Metadata = None) -> Bound:
        """The label set of a `track_<kind>` call, bound: call the result with ms, or with the count.

        `first` is the first argument of that method: status, error or name. Far cheaper on the calling thread; without
        exemplars. What cannot be bound gives one that drops, and is counted.
        """
        try:
            return self._instruments.bound(getattr(self, f"_{kind}")(first, metadata))
        except Exception as error:  # noqa: BLE001 - nothing may reach the app
            self._swallowed(error)
            return Unbound()

    def _write(
        self, value: float, target_of: Callable[[Any, Metadata], Target], first: Any, metadata: Metadata
    ) -> Done:
        try:
            if usable(value):
                target = target_of(first, metadata)
                target.write(value * target.scale, target.attributes)
            elif self._console:
                say(f"{value!r} is not a number of 0 or more; it is not counted")
        except Exception as error:  # noqa: BLE001 - nothing may reach the app
            self._swallowed(error)
        return DONE

    def _swallowed(self, error: Exception) -> None:
        DROPPED.add(str(error) if isinstance(error, BadName) else "error")
        if self._console:
            say(f"{type(error).__name__}: {error}")

    def _request(self, status: Any, metadata: Metadata) -> Target:
        key = (status, *frozen(metadata))
        if self._method and not (metadata and "method" in metadata):
            metadata = {**(metadata or {}), "method": self._method}
            key = (*key, self._method)
        attributes = self._instruments.request_sets.of(key, metadata, _of_status(status))
        return Target(self._record_request, attributes, MS)

    def _failed_request(self, first: tuple[int, str], metadata: Metadata) -> Target:
        attributes = self._instruments.request_sets.of(
            (*first, *frozen(metadata)), metadata, _of_status(first[0]) | {"error.type": first[1]}
        )
        return Target(self._record_request, attributes, MS)

    def _error(self, error: object, metadata: Metadata) -> Target:
        of = error_type(error)
        attributes = self._instruments.error_sets.of(
            (of, *frozen(metadata)), {"error.type": of, **(metadata or {})}, {}
        )
        return Target(self._instruments.app_errors.add, attributes, adds_up=True)

    def _business(self, name: str, metadata: Metadata) -> Target:
        counter, sets = self._instruments.counter(f"business.{name}")
        return Target(counter.add, sets.of(frozen(metadata), metadata, {}), adds_up=True)

    def _resource(self, name: str, metadata: Metadata) -> Target:
        attributes = self._instruments.resource_sets.of(
            (name, *frozen(metadata)), {"resource": name, **(metadata or {})}, {}
        )
        return Target(self._instruments.resource_usage.add, attributes, adds_up=True)

    def _performance(self, name: str, metadata: Metadata) -> Target:
        attributes = self._instruments.performance_sets.of(
            (name, *frozen(metadata)), {"operation": name, **(metadata or {})}, {}
        )
        return Target(self._instruments.performance_duration.record, attributes, MS)

    def _event(self, name: str, doubles: Mapping[str, Any], blobs: Metadata, sample: float) -> None:
        for key, value in doubles.items():
            if usable(value):
                histogram, sets = self._instruments.values(f"{name}.{key}")
                histogram.record(value, sets.of(frozen(blobs), blobs, {}))
        # Unseeded and not for secrets: which calls become event points must not follow a pattern in the app.
        if self._event_points is not None and sample > 0 and (sample >= 1 or random.random() < sample):  # noqa: S311
            self._event_points(name, doubles, blobs or {}, 1 / min(sample, 1.0))

    def _timed(self, status: int, duration_ms: float, error: object, metadata: Metadata) -> None:
        if error is None:
            self.track_request(status, duration_ms, metadata)
        else:
            self._write(duration_ms, self._failed_request, (status, error_type(error)), metadata)

    trackRequest = track_request  # noqa: N815 - the TypeScript original's names, here and below
    trackError = track_error  # noqa: N815
    trackBusiness = track_business  # noqa: N815
    trackResource = track_resource  # noqa: N815
    trackPerformance = track_performance  # noqa: N815


def _of_status(status: object) -> Attributes:
    """The attributes of an HTTP status; none, and a count, when it is not one."""
    if not isinstance(status, int) or not 100 <= status <= 599:
        DROPPED.add("bad_status")
        return {}
    code = {"http.response.status_code": int(status)}
    return {**code, "error.type": str(int(status))} if status >= 500 else {**code}


def create_monitor(
    env: object = None,
    request: object = None,
    *,
    service: str | None = None,
    enable_console_errors: bool = False,
    reader: Reader | None = None,
    event_points: EventPoints | None = None,
) -> Monitor:
    """A monitor; cheap enough to make one for each request.

    It uses the meter provider that is set. Where none is, the first call sets up one for the process:
    `service` names it (`OTEL_SERVICE_NAME` wins), and `reader`, a function that makes a metric reader or returns None,
    says where measurements go (default: `mirubato.sdk.pipeline.default_reader`). `env` is where settings are looked up
    before the process' environment: a mapping, or a Worker's `env`; with a binding `ANALYTICS` in it measurements go
    there, when `flush` is called at the end of the request. `request` gives the HTTP method that `track_request` takes
    when the metadata has none. `enable_console_errors` says on stderr what was swallowed. `event_points` takes what
    `track` picks instead of that exporter.
    """
    method = getattr(request, "method", None)
    pipeline = pipeline_in_use(env, service, reader)
    return Monitor(
        instruments_of(pipeline.provider),
        method=method if isinstance(method, str) else None,
        enable_console_errors=enable_console_errors,
        event_points=event_points or pipeline.event,
        flush=pipeline.flush,
    )
